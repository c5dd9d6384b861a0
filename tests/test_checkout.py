"""A clone as Git for Windows makes it by default: every shipped file is still the one that was hashed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOAD_ALL = """from gbi_helpers import files
print(len([files.load_asset(name) for name in files.manifest()]), files.__file__)"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    folder = tmp_path_factory.mktemp("windows") / "clone"
    subprocess.run(["git", "clone", "-q", "-c", "core.autocrlf=true", str(ROOT), str(folder)], check=True)
    return folder


def test_a_clone_with_autocrlf_loads_every_asset(clone):
    variables = {**os.environ, "PYTHONPATH": str(clone)}
    done = subprocess.run([sys.executable, "-c", LOAD_ALL], env=variables, cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, where = done.stdout.split(maxsplit=1)
    assert int(count) >= 20
    assert where.startswith(str(clone))


@pytest.mark.parametrize("name", [".ci/run", "binder/postBuild", "README.md", "gbi_helpers/assets/paper.csv"])
def test_what_other_systems_run_keeps_unix_line_ends(clone, name):
    assert b"\r" not in (clone / name).read_bytes()
