"""A hub: users who are not root share one read-only course and one read-only folder of data, at the same time.

Root may write everywhere, so as root these tests run as users without an account; where those cannot reach this
Python (it may lie in root's home), they run as a root who has given up all privileges.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
LOAD = """from gbi_helpers.data import catalogue, load_mnist, load_text
print(len(catalogue()) > 0, len(load_mnist().test.x), load_text("packages").n_tasks)"""
QUOTA = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"  # bytes a file may have

pytestmark = [
    pytest.mark.notebook,
    pytest.mark.skipif(os.name != "posix", reason="users and rights as POSIX knows them"),
]


def ordinary(number):
    """What makes a program one of an ordinary user: a prefix of its command, and options of subprocess."""
    if os.geteuid() != 0:
        return [], {}
    user = {"user": 60_000 + number, "group": 60_000 + number, "extra_groups": []}
    try:
        subprocess.run([sys.executable, "-c", "import torch"], check=True, capture_output=True, cwd="/", **user)
    except (PermissionError, subprocess.CalledProcessError):
        if not shutil.which(UNPRIVILEGED[0]):
            pytest.skip("this is root, no other user can run this Python, and setpriv is missing")
        return UNPRIVILEGED, {}
    return [], user


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def hub():
    """A read-only ``course`` and ``data``, and room for homes; not in pytest's folder, which is its user's alone."""
    folder = Path(tempfile.mkdtemp(prefix="hub-"))
    folder.chmod(0o755)
    for name in ("gbi_helpers", "notebooks"):
        shutil.copytree(ROOT / name, folder / "course" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    subprocess.run(["chmod", "-R", "a-w,a+rX", "course", "data"], cwd=folder, check=True)
    yield folder
    subprocess.run(["chmod", "-R", "u+w", "."], cwd=folder, check=True)
    shutil.rmtree(folder)


def start(hub, number, *arguments, rights=0o700):
    """Start this Python as a user with a home of its own; returns the home and the process."""
    prefix, options = ordinary(number)
    home = Path(tempfile.mkdtemp(prefix="home-", dir=hub))
    if options:
        os.chown(home, options["user"], options["group"])
    home.chmod(rights)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    own = {"HOME": str(home), "PYTHONPATH": str(hub / "course"), "GBI_DATA_DIR": str(hub / "data"), "GBI_OFFLINE": "1"}
    command = [*prefix, sys.executable, *(argument.format(home=home) for argument in arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen(
        command, cwd=hub / "course", env={**kept, **own, "OMP_NUM_THREADS": "1"}, **pipes, **options
    )
    return home, running


def test_two_users_run_a_chapter_at_once_and_leave_the_course_as_it_was(hub):
    before = contents(hub / "course")
    users = [start(hub, k, "-m", "gbi_helpers.cli", "run", "00", "--out", "{home}/build") for k in (1, 2)]
    for home, running in users:
        _, told = running.communicate(timeout=300)
        assert running.returncode == 0, told[-2000:]
        assert "✓" in (home / "build" / "00_start_here.html").read_text("utf-8")
    assert contents(hub / "course") == before


@pytest.mark.parametrize(("limit", "rights"), [("", 0o555), (QUOTA, 0o700)], ids=["read-only", "full"])
def test_a_home_that_is_read_only_or_full_costs_time_and_no_more(hub, limit, rights):
    home, running = start(hub, 1, "-c", limit + LOAD, rights=rights)
    said, told = running.communicate(timeout=300)
    assert said.split() == ["True", "2000", "8"], told[-2000:]
    assert [path.name for path in home.rglob("*.part")] == []
    assert (home / ".cache").exists() == bool(limit)


def test_a_user_who_runs_without_a_folder_is_told_before_anything_runs(hub):
    _, running = start(hub, 1, "-m", "gbi_helpers.cli", "run", "00")
    _, told = running.communicate(timeout=300)
    assert told.strip() == f"gbi: {hub / 'course' / 'build'} cannot be written (Permission denied): " + (
        "choose another folder with --out."
    )
