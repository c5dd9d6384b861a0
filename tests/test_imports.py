"""The order of the package: who may import whom, how long a module is, what is documented; and the linters' word."""

import ast
import graphlib
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import gbi_helpers

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gbi_helpers"
FLOORS = (
    {"runtime", "files", "claims", "bayes", "meter", "metrics", "modularity", "progress", "guards"},
    {"records", "models", "adaptation"},
    {"data", "inference", "training", "checkpoints"},
    {"theory", "starts", "readouts", "continual", "discovery"},
    {"plots", "widgets", "watching"},
    {"checks"},
    {"experiments"},
    {"course"},
    {"cli"},
)
ROOMS = (  # inside experiments
    {"results", "shelf", "source", "needed"},
    {"recipe", "study", "paper", "moved"},
    {"bench", "report"},
    {"workers"},
    {"runner"},
    {"tables", "estimate"},
    {"reproducing"},
    {"toy", "mnist", "cifar", "language"},
    {"ood", "language_far", "cifar_far"},
    {"borrowed"},
    {"cost", "continual", "questions"},
    {"verdicts"},
    {"verdict_views"},
)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "assets" not in path.parts)
every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


def dotted(path):
    """A module's name: "experiments.ood.scores"."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


NAMES = {dotted(path) for path in MODULES}


def imported(path):
    """The modules of the package that a module imports, wherever in the module, lazily too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith("gbi_helpers."):
                name = name.removeprefix("gbi_helpers.")
                yield name if name in NAMES else name.rpartition(".")[0]


def floor(name, floors):
    """The number of the floor on which a part lives."""
    found = [number for number, parts in enumerate(floors) if name in parts]
    assert found, f"give {name} its floor in this test"
    return found[0]


@every_module
def test_imports_go_down(path):
    """Strictly: parts of one floor do not know each other."""
    own = dotted(path).split(".")
    for name in imported(path) if own != [""] else ():
        other = name.split(".")
        floors, depth = (ROOMS, 1) if own[0] == other[0] == "experiments" and len(own) > 1 < len(other) else (FLOORS, 0)
        if own[depth] != other[depth]:
            up, down = floor(own[depth], floors), floor(other[depth], floors)
            assert down < up, f"{dotted(path)} imports {name}, which is not below it"


def test_no_import_goes_in_a_circle():
    edges = {dotted(path): {name for name in imported(path) if name} - {dotted(path)} for path in MODULES}
    tuple(graphlib.TopologicalSorter(edges).static_order())  # raises CycleError, which names the circle


@every_module
def test_no_module_is_long(path):
    assert len(path.read_text("utf-8").splitlines()) <= 300


def functions():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield path, node


def public_definitions(path):
    """Functions and classes at the top of a public module, and the methods of those classes, without underscore."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (m for m in node.body if isinstance(m, ast.FunctionDef) and not m.name.startswith("_"))


@every_module
def test_everything_public_is_documented(path):
    assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), "no docstring of the module"
    if not path.stem.startswith("_") or path.stem == "__init__":
        missing = [node.name for node in public_definitions(path) if not ast.get_docstring(node)]
        missing = [name for name in missing if name != "forward"]  # told by its class
        assert missing == []


def test_functions_are_short():
    defs = [node for _, node in functions() if not isinstance(node, ast.ClassDef)]
    assert statistics.median(node.end_lineno - node.lineno + 1 for node in defs) <= 7


HEAVY = {"torch", "torchvision", "numpy", "scipy", "matplotlib", "ipywidgets", "anywidget", "sklearn", "pandas"}


@pytest.mark.parametrize("module", ["gbi_helpers", "gbi_helpers.cli", "gbi_helpers.course.trust"])
def test_import_is_light(module):
    """So that `gbi lab` has JupyterLab on its way at once, and `gbi --help` answers at once."""
    program = f"import sys, {module}; print(len(sys.modules), *sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    count, *names = done.stdout.split()
    assert not HEAVY & {*names}
    assert int(count) < 300, "PyTorch alone brings 900"


def test_every_name_is_found_at_its_first_use():
    assert {*gbi_helpers.__all__, "inference", "metrics", "training"} <= {*dir(gbi_helpers)}
    for name in dir(gbi_helpers):
        assert getattr(gbi_helpers, name) is getattr(gbi_helpers, name)
    with pytest.raises(AttributeError, match="nothing"):
        gbi_helpers.nothing  # noqa: B018


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "gbi_helpers", "tests"], ["mypy"]],
    ids=lambda command: "-".join(command[:2]),
)
def test_linters_find_nothing(command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_at_the_top_is_there_by_attribute():
    """In a process of its own: an import elsewhere would make any of them an attribute."""
    names = sorted({name.partition(".")[0] for name in NAMES} - {""})
    program = f"import gbi_helpers; print(*[name for name in {names} if not hasattr(gbi_helpers, name)])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_what_a_module_passes_on_is_taken_from_it():
    """Where a name is imported as itself, so that others find it there, some do."""
    texts = {path: path.read_text("utf-8") for place in (PACKAGE, ROOT / "tests") for path in place.rglob("*.py")}
    for path in MODULES:
        for name in re.findall(r"import (\w+) as \1$", texts[path], re.M) if path.stem != "__init__" else ():
            uses = re.compile(rf"\b{path.stem}\.{name}\b|{dotted(path)} import [^\n]*\b{name}\b")
            others = (other for other in texts if other != path)
            assert any(uses.search(texts[other]) for other in others), f"{dotted(path)} passes on {name} to nobody"
