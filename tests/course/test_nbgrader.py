"""nbgrader itself, from `gbi teach` to points, feedback, grades.csv. By a flag: GBI_TEST_NBGRADER=00 (or all)."""

import csv
import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest

from gbi_helpers.course import coursework, notebooks

ROOT = Path(__file__).parents[2]
FLAG = os.environ.get("GBI_TEST_NBGRADER", "")
pytestmark = pytest.mark.skipif(not FLAG, reason="set GBI_TEST_NBGRADER to a chapter such as 00, or to all")
NBGRADER = "nbgrader==0.9.6"
CONFIG = """\
c = get_config()
c.CourseDirectory.course_id = "gbi"
c.Execute.timeout = 600
c.Execute.iopub_timeout = 60
"""
SCORES = """\
import json
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db") as book:
    print(json.dumps({one.student.id: [one.score, one.max_score] for one in book.assignment_submissions("one")}))
"""
STUB = "# YOUR CODE HERE\n    raise NotImplementedError()"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a command of an environment that has nbgrader beside this one's packages: ``run(folder, *command)``."""
    place = tmp_path_factory.mktemp("nbgrader")
    venv.create(place, with_pip=True)
    scripts = place / ("Scripts" if os.name == "nt" else "bin")
    packages = sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)})
    Path(packages, "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    path = os.pathsep.join([str(scripts), os.environ["PATH"]])
    variables = {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "JUPYTER_PATH": str(Path(sys.prefix, "share", "jupyter")),
        "GBI_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }

    def command(folder, *arguments):
        done = subprocess.run(
            [scripts / arguments[0], *arguments[1:]], cwd=folder, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    command(place, "python", "-m", "pip", "install", "-q", NBGRADER)
    return command


def grader(cell):
    return cell.metadata.get("nbgrader", {})


def replaced(notebook, source, new):
    for cell in notebook.cells:
        cell.source = cell.source.replace(source, new)


def turned_to_text(notebook):
    for cell in filter(lambda cell: grader(cell).get("solution"), notebook.cells):
        cell.cell_type = "markdown"
        del cell["outputs"], cell["execution_count"]


def without_checks(notebook):
    notebook.cells = [cell for cell in notebook.cells if not grader(cell).get("grade")]


def solved_as_in(path):
    """Answers for stubs, from nbgrader's source; the checks stay the notebook's own, as `gbi student` wrote them."""
    answers = {grader(c).grade_id: c.source for c in notebooks.read(path).cells if grader(c).get("solution")}

    def solve(notebook):
        for cell in notebook.cells:
            cell.source = answers.get(grader(cell).get("grade_id"), cell.source)

    return solve


def handed_in(course, name):
    """What eight students hand in, by student: the solved notebook, the released one or `gbi student`'s, changed."""
    solved, released, copied = (course / folder / "one" / name for folder in ("source", "release", "copies"))
    changes = {
        "copy": (copied, solved_as_in(solved)),
        "copied stub": (copied, lambda notebook: None),
        "right": (solved, lambda notebook: None),
        "stub": (released, lambda notebook: None),
        "wrong": (released, lambda notebook: replaced(notebook, STUB, "return 0.5")),
        "nothing": (released, lambda notebook: replaced(notebook, STUB, "pass")),
        "deleted": (solved, without_checks),
        "text": (solved, turned_to_text),
    }
    for student, (path, change) in changes.items():
        notebook = nbformat.read(path, as_version=4)
        change(notebook)
        notebooks.write(notebook, course / "submitted" / student / "one" / name)


@pytest.mark.parametrize("number", [p.name[:2] for p in sorted((ROOT / "notebooks").glob("*.ipynb"))])
def test_points_are_those_that_a_teacher_expects(number, run, tmp_path):
    if FLAG not in ("all", number):
        pytest.skip(f"GBI_TEST_NBGRADER is {FLAG}")
    (tmp_path / "nbgrader_config.py").write_text(CONFIG)
    source, version = tmp_path / "source" / "one", coursework.teacher_version
    (written,), _ = coursework.write_copies(notebooks.select([number]), source, version)
    coursework.write_copies(notebooks.select([number]), tmp_path / "copies" / "one", coursework.student_version)
    points = sum(grader(cell).get("points", 0) for cell in notebooks.read(written).cells)
    run(tmp_path, "nbgrader", "generate_assignment", "one", "--create")
    handed_in(tmp_path, written.name)
    run(tmp_path, "nbgrader", "autograde", "one", "--create")
    scores = json.loads(run(tmp_path, "python", "-c", SCORES))
    full = {"right", "text", "copy"}  # nbgrader gives a cell its kind and its check back; a check gone gives nothing
    assert scores == {student: [points if student in full else 0, points] for student in scores}
    assert len(scores) == 8
    run(tmp_path, "nbgrader", "generate_feedback", "one")
    assert len(list((tmp_path / "feedback").rglob("*.html"))) == 8
    told = {name: (tmp_path / "feedback" / name / "one").glob("*.html") for name in ("right", "stub")}
    right, stub = (next(pages).read_text("utf-8") for pages in told.values())
    assert "random inputs" in right, "the tutor's own words"
    assert "not tried yet" in stub
    run(tmp_path, "nbgrader", "export")
    rows = csv.DictReader((tmp_path / "grades.csv").open(encoding="utf-8"))
    assert {row["student_id"]: float(row["score"]) for row in rows} == {
        name: score for name, (score, _) in scores.items()
    }
