"""What the course needs is said three times, as ranges, as pins and for Binder: all three say the same."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from rattler import MatchSpec, VersionSpec
from rattler import Version as CondaVersion
from rattler.exceptions import InvalidMatchSpecError

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
NEEDED = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = PROJECT["optional-dependencies"]
EXTRA = [Requirement(line) for group in EXTRAS.values() for line in group]
ASIDE = {Requirement(line).name for line in EXTRAS["borrowed"]}  # 17 MB for one record: who wants it asks for it
BUILD = [Requirement(line) for line in PYPROJECT["build-system"]["requires"]]
RANGES = {need.name: need.specifier for need in [*NEEDED, *EXTRA, *BUILD]}

PINS = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
PINS = [line for line in PINS if line and not line.startswith("#")]
PINNED = {pin.name: pin.specifier for pin in map(Requirement, PINS[:-1])}

BINDER = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text("utf-8"))
CONDA = [line for line in BINDER["dependencies"] if isinstance(line, str)]
FROM_PIP = [line for entry in BINDER["dependencies"] if isinstance(entry, dict) for line in entry["pip"]]
PIP_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib", "nbconvert-core": "nbconvert"}
PIP_NAMES["seaborn-base"] = "seaborn"


def lowest(specifier):
    """The one version below which a range ends; it is the one that .ci/weekly installs."""
    (only,) = specifier
    assert only.operator == ">="
    return Version(only.version)


def conda(line):
    """The specification as conda reads it, and its name on PyPI."""
    spec = MatchSpec(line, strict=True)
    return spec, PIP_NAMES.get(spec.name.normalized, spec.name.normalized)


def test_every_range_has_a_lower_bound_and_nothing_else():
    assert all(lowest(specifier) for specifier in RANGES.values())


def test_what_stands_in_two_groups_has_one_range():
    assert [need for need in EXTRA if need.specifier != RANGES[need.name]] == []


def test_the_course_itself_is_installed_last():
    assert PINS[-1] == "-e ."


def test_pins_are_exact_versions():
    exact = {name: [part.operator for part in specifier] for name, specifier in PINNED.items()}
    assert [name for name, operators in exact.items() if operators != ["=="]] == []
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][\w.]*", line) for line in PINS[:-1]), "name==version, no host"


def test_what_is_needed_is_pinned_and_nothing_else():
    assert set(PINNED) == {need.name for need in [*NEEDED, *EXTRA]} - ASIDE


@pytest.mark.parametrize("name", PINNED)
def test_a_pin_lies_in_its_range(name):
    (pin,) = PINNED[name]
    assert RANGES[name].contains(pin.version)


@pytest.mark.parametrize("line", CONDA)
def test_conda_reads_every_line_and_it_allows_the_pin(line):
    spec, name = conda(line)
    if name in PINNED:
        (pin,) = PINNED[name]
        assert VersionSpec(str(spec.version)).matches(CondaVersion(pin.version))


@pytest.mark.parametrize("line", FROM_PIP)
def test_pip_reads_every_line_of_binder_s(line):
    need = Requirement(line)
    assert need.specifier == RANGES[need.name]


def test_binder_has_all_that_the_package_needs():
    named = [conda(line)[1] for line in CONDA] + [Requirement(line).name for line in FROM_PIP]
    assert sorted(named) == sorted({"python", "pip", *(need.name for need in [*NEEDED, *BUILD])})


def test_binder_goes_no_lower_than_the_package():
    bounds = {conda(line)[1]: re.search(r">=([0-9.]+)", line) for line in CONDA}
    lower = [name for name, bound in bounds.items() if bound and Version(bound[1]) < lowest(RANGES[name])]
    assert lower == []
    assert {name for name, bound in bounds.items() if not bound} == {"python", "pip"}


def test_binder_has_no_cuda():
    (torch,) = [spec for spec, name in map(conda, CONDA) if name == "torch"]
    assert torch.build == "cpu_*"


def test_everything_names_the_same_oldest_python():
    oldest = lowest(SpecifierSet(PROJECT["requires-python"]))
    readme = (ROOT / "README.md").read_text("utf-8")
    assert f"You need Python {oldest} or newer" in readme
    assert PYPROJECT["tool"]["mypy"]["python_version"] == str(oldest)
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.major}{oldest.minor}"
    (python,) = [spec for spec, name in map(conda, CONDA) if name == "python"]
    assert VersionSpec(str(python.version)).matches(CondaVersion(f"{oldest}.0"))


@pytest.mark.parametrize("script", [".ci/run", ".ci/weekly", "binder/postBuild"])
def test_scripts_are_executable_in_a_clone(script):
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    listed = subprocess.run(["git", "ls-files", "-s", script], cwd=ROOT, capture_output=True, text=True).stdout
    assert listed.startswith("100755 ")


@pytest.mark.parametrize("line", ["pytorch>=2.11=cpu_*", "pytorch => 2.11"])
def test_lines_that_conda_would_not_read_as_meant_are_found(line):
    with pytest.raises(InvalidMatchSpecError):
        conda(line)
