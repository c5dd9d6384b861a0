"""Every notebook of the course: strict comparison of its outputs, and the shape that all of them share.

nbval compares all text of every output, except: pictures (it skips image/png itself; sanitize.cfg takes the bytes out
of <img> tags in text/html, so alt text and size are compared), live widget views, and cells tagged
nbval-ignore-output, which are only executed.
"""

import ast
import json
import os
import re
import statistics
import subprocess
import sys
import types
from functools import cache
from pathlib import Path

import nbformat
import pacing
import pytest
from bs4 import BeautifulSoup
from intervals import unfounded

from gbi_helpers import checks
from gbi_helpers.course import coursework, execution, notebooks

ROOT = Path(__file__).parents[2]
BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHAPTERS = [path for path in BOOKS if not path.name.startswith("00")]
every_book = pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
DRAWERS = {
    "scrub",
    "modules",
    "read_along",
    "learn_along",
    "slide",
    "type_along",
    "discovery_view",
    "sphere_view",
    "draw_along",
    "type_here",
    "to_browser",
}


@cache
def book(path):
    return nbformat.read(path, as_version=4)


def code(path):
    return [cell for cell in book(path).cells if cell.cell_type == "code"]


def prose(path):
    return "\n\n".join(cell.source for cell in book(path).cells if cell.cell_type == "markdown")


def outputs(path):
    return [output for cell in code(path) for output in cell.outputs]


def tags(cell):
    return cell.metadata.get("tags", [])


def grader(cell):
    return cell.metadata.get("nbgrader", {})


def python(source):
    """The cell without IPython's magics, which are no Python."""
    return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE))


def calls(cell, names):
    found = (node.func for node in ast.walk(python(cell.source)) if isinstance(node, ast.Call))
    return any(getattr(func, "id", getattr(func, "attr", "")) in names for func in found)


def html_of(output):
    return output.get("data", {}).get("text/html", "")


def test_the_first_chapters_are_there():
    numbers = {path.name[:2] for path in BOOKS}
    assert numbers >= {"00", "01", "05"}, f"the notebooks 00, 01 and 05 belong to the course; found {sorted(numbers)}"


@pytest.fixture(scope="session")
def drawing_is_warm():
    """Matplotlib's first use on a machine lists the fonts, slowly, and says so: not in a notebook's output."""
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], check=True, capture_output=True)


# Runs what follows it and says on stderr what that cost, its kernel included: seconds of a processor, and the largest
# process in kB. Time that a notebook waits for a busy machine is not counted; that a shared core is slower, is.
COST = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("cost", used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
raise SystemExit(done.returncode)
"""


@pytest.mark.notebook
@pytest.mark.usefixtures("drawing_is_warm")
@every_book
def test_stored_outputs_come_out_again(path, record_property):
    with execution.environment(plain=True) as variables:
        variables = {name: value for name, value in variables.items() if not name.startswith("PYTEST")}
        command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", "-q"]
        command = [*command, "-p", "no:xdist", str(path)]
        if sys.platform == "linux":
            command = [sys.executable, "-c", COST, *command]
        done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    if cost := re.search(r"^cost (\S+) (\S+)$", done.stderr, re.MULTILINE):
        seconds, peak_mb = float(cost[1]), float(cost[2]) * 1024 / 1e6
        record_property("cpu_seconds", seconds)
        record_property("peak_mb", peak_mb)
        assert peak_mb < 1500, f"{path.name} takes {peak_mb:.0f} MB: a Binder has 2,000 for it and its server"


@every_book
def test_first_code_cell_finds_the_package(path):
    address = notebooks.address_of((ROOT / "pyproject.toml").read_text("utf-8"))
    assert code(path)[0].source == notebooks.bootstrap(address)


@every_book
def test_no_live_widget_is_stored(path):
    assert "widgets" not in book(path).metadata
    assert not [output for output in outputs(path) if execution.WIDGET_VIEW in output.get("data", {})]


@every_book
def test_stored_from_top_to_bottom_without_an_error(path):
    assert [output.ename for output in outputs(path) if output.output_type == "error"] == []
    assert [cell.execution_count for cell in code(path)] == list(range(1, len(code(path)) + 1))


@every_book
def test_metadata_is_the_same_on_every_machine(path):
    assert set(book(path).metadata) <= {"kernelspec", "language_info", "title", "authors"}
    assert book(path).metadata.kernelspec.name == "python3"
    assert not [cell.id for cell in book(path).cells if "execution" in cell.metadata]
    assert path.read_bytes().endswith(b"}\n")


@every_book
def test_every_picture_has_a_description(path):
    for output in outputs(path):
        data = output.get("data", {})
        assert not [kind for kind in data if kind.startswith("image/")] or "text/html" in data, (
            "use plots.show(fig, alt)"
        )
        for image in BeautifulSoup(html_of(output), "html.parser").find_all("img"):
            assert len(image.get("alt", "").split()) >= 3, str(image)[:200]
    assert not re.search(r"!\[\s*\]\(", prose(path))
    assert all(image.get("alt") for image in BeautifulSoup(prose(path), "html.parser").find_all("img"))


@every_book
def test_a_scrubber_stands_alone_tagged_after_its_claim(path):
    for before, cell in zip(code(path), code(path)[1:], strict=False):
        if calls(cell, DRAWERS):
            assert len(python(cell.source).body) == 1, f"this cell should only show the widget:\n{cell.source}"
            assert "nbval-ignore-output" in tags(cell), cell.source
            assert calls(before, {"claim"}), f"the cell before should claim the numbers shown:\n{cell.source}"


@every_book
def test_no_cell_is_kept_from_the_comparison_in_another_way(path):
    for cell in code(path):
        assert not {tag for tag in tags(cell) if tag.startswith(("nbval", "raises"))} - {"nbval-ignore-output"}
        assert not re.search(r"#\s*(NBVAL|PYTEST_VALIDATE)_", cell.source), f"use a tag:\n{cell.source}"


def said(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


@every_book
def test_an_exercise_arrives_unsolved_with_a_check_and_a_folded_solution(path):
    cells = book(path).cells
    for index, cell in enumerate(cells):
        if not grader(cell).get("solution"):
            continue
        task, check, solution = cells[index - 1], cells[index + 1], cells[index + 2]
        assert re.search(r"\d+\s*min", task.source), f"say how many minutes:\n{task.source}"
        assert re.search(r"easy|medium|hard", task.source, re.IGNORECASE), f"say how hard it is:\n{task.source}"
        assert "<details>" in task.source, f"give a hint that unfolds:\n{task.source}"
        assert all(words in cell.source for words in coursework.STUB), f"leave a stub:\n{cell.source}"
        assert grader(check).get("grade") is True, f"a check should follow:\n{cell.source}"
        assert grader(check).get("locked") is True, check.source
        _, name, student = coursework.CHECK.fullmatch(check.source).groups()
        assert said(check).startswith(f"{name}: not tried yet."), said(check)
        assert tags(solution) == [coursework.SOLUTION], f"a solution should follow:\n{check.source}"
        assert solution.metadata.get("jupyter", {}).get("source_hidden"), f"fold the solution:\n{solution.source}"
        assert check.source.replace(f"({student})", f"({student}{coursework.SUFFIX})") in solution.source
        assert said(solution).startswith(f"✓ {name}: "), said(solution)


CLAIM = re.compile(r"^✓ (.+): (\S+?)(?: ± \S+)? \(((?:≥|≤|=) [^()]+)\)$", re.MULTILINE)


def is_wide(value, bound):
    """Whether a bound would hold with the effect gone: twice as large, or half as large, is another finding.

    A sign ("≥ 0") is a finding by itself, and so is agreement to four digits.
    """
    numbers = [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", bound)]
    if bound.startswith("="):
        return len(numbers) == 2 and numbers[0] != 0 and numbers[1] > abs(numbers[0]) / 2
    if " and " in bound:
        return numbers[1] - numbers[0] > abs(value)
    if bound.startswith("≥"):
        return 0 < numbers[0] < value / 2 or numbers[0] < 0 < value
    return numbers[0] > max(2 * value, 1e-4)


@every_book
def test_every_interval_of_the_prose_is_in_an_output(path):
    """Each mean ± half-width stands in a table, in a printed line or beside a claim, which shows it of a summary."""
    texts = [text for output in outputs(path) for text in _texts(output)]
    assert unfounded(prose(path), "\n".join(texts)) == []


def _texts(output):
    yield output.get("text", "")
    yield from (text for kind, text in output.get("data", {}).items() if kind.startswith("text/"))


@pytest.mark.parametrize(
    ("told", "output", "missing"),
    [
        ("by 0.9 ± 0.2 points", "0.94 ± 0.17", []),
        ("by .9 ± .2 points", "0.94 ± 0.17", []),
        ("by -3 ± 12", "−2.9 ± 11.6", []),
        ("by 0.9 ± 0.2", "0.9 ± 0.3", ["0.9 ± 0.2"]),
        ("by 0.94 ± 0.17", "0.9 ± 0.2", ["0.94 ± 0.17"]),
        ("by 0.9 ± 0.2", "✓ lead: 0.9 (= 0.9 ± 0.2)", ["0.9 ± 0.2"]),
        ("by 0.9 ± 0.2", "✓ lead: 0.900 ± 0.171 (= 0.9 ± 0.05)", []),
        ("2,000 images", "", []),
    ],
)
def test_an_interval_is_found_where_an_output_has_it_in_as_many_digits(told, output, missing):
    assert unfounded(told, output) == missing


@every_book
def test_no_bound_is_wider_than_its_effect(path):
    wide = [line[0] for cell in code(path) for line in CLAIM.finditer(said(cell)) if is_wide(float(line[2]), line[3])]
    assert not wide, "\n".join(wide)


@pytest.mark.parametrize(
    ("value", "bound", "wide"),
    [
        (9.3, "≥ 5", False),
        (33.6, "≥ 10", True),
        (0.005, "≤ 0.021", True),
        (0.012, "≤ 0.021", False),
        (3e-7, "≤ 0.002", True),
        (3e-7, "≤ 1e-05", False),
        (0.3, "≥ 0", False),
        (0.3, "≥ -1", True),
        (4, "= 4", False),
        (0.6, "= 0.5 ± 0.4", True),
        (0.2, "≥ 0.1 and ≤ 0.25", False),
        (0.2, "≥ 0.04 and ≤ 0.4", True),
    ],
)
def test_a_wide_bound_is_recognised(value, bound, wide):
    assert is_wide(value, bound) is wide


@every_book
def test_grading_names_are_unique_and_complete(path):
    marks = [grader(cell) for cell in book(path).cells if grader(cell)]
    names = [mark["grade_id"] for mark in marks]
    assert len(set(names)) == len(names)
    for mark in marks:
        assert {"grade", "grade_id", "locked", "schema_version", "solution", "task"} <= set(mark)
        assert "points" in mark or not mark["grade"]


@every_book
def test_opens_with_why_objectives_minutes_and_what_to_know(path):
    first = book(path).cells[0].source
    assert first.startswith("# ")
    opening = prose(path)[:4000].lower()
    for what, pattern in {
        "objectives": r"objectives|you can\b|you will",
        "minutes": r"minutes",
        "what to know before": r"\bbefore\b",
    }.items():
        assert re.search(pattern, opening), f"no {what} at the beginning"


def minutes(path, pattern):
    """What the opening's line on minutes says of reading or exercises; None where it does not."""
    line = re.search(r"^.*\*\*Minutes\*\*.*$", book(path).cells[0].source, re.MULTILINE)[0]
    found = re.search(pattern, line)
    return found and int(next(filter(None, found.groups())))


@every_book
def test_the_minutes_of_the_exercises_add_up(path):
    told = minutes(path, r"exercises (\d+)|(\d+) more for the exercises")
    assert told in (None, pacing.exercises(prose(path)))


@every_book
def test_the_minutes_of_reading_are_those_of_a_steady_reader(path):
    told, needed = minutes(path, r"reading (\d+)|(\d+) to read"), pacing.reading(book(path).cells)
    assert told % 5 == 0
    assert abs(told - needed) <= 5, f"{path.name} says {told} minutes of reading, but takes {needed:.0f}"


@every_book
def test_each_section_has_a_clock_that_is_right(path):
    clocks = pacing.clocks(book(path).cells)
    wrong = {name: f"by minute {at:.0f}" for name, told, at in clocks if told is None or abs(told - at) > 3}
    numbered = [int(number[0]) for name, *_ in clocks if (number := re.search(r"\d+", name))]
    assert numbered == list(range(1, len(numbered) + 1))
    assert not wrong, f"under these headings should stand: {wrong}"


def test_pacing_counts_what_a_reader_does():
    cells = [
        nbformat.v4.new_markdown_cell(
            "word " * 150 + "\n\n## 1. First\n\n*by minute 1*\n\n> **Predict before you look.**"
        ),
        nbformat.v4.new_code_cell("a = 1\n\nb = 2\n" * 6),
        nbformat.v4.new_code_cell("fig = plots.new()\nplots.show(fig, 'what is seen')"),
        nbformat.v4.new_code_cell("claim('a', a, equals=1)"),
        nbformat.v4.new_markdown_cell(
            "*Easy, important, 10 minutes.*\n\n**Exercise 2** · hard · 5 minutes\n\n## 2. Next"
        ),
        nbformat.v4.new_code_cell("lines = 0\n" * 60, metadata={"tags": ["solution"]}),
    ]
    words = 150 + 2 + 3 + 4 + 4 + 5 + 2  # a heading, a clock and a line with minutes are read, too
    assert pacing.reading(cells) == pytest.approx(words / 150 + 0.75 + 1 + 0.5)
    assert pacing.exercises(cells[4].source) == 15
    clocks = pacing.clocks(cells)
    assert [told for _, told, _ in clocks] == [1, None]
    assert [at for *_, at in clocks] == pytest.approx([1, pacing.reading(cells[:5]) - 2 / 150 + 15])


@every_chapter
def test_closes_with_failures_quiz_recap_references_and_next(path):
    headings = "\n".join(re.findall(r"^#+ .*$", prose(path), re.MULTILINE)).lower()
    for what, pattern in {
        "failure signatures": r"fail|wrong",
        "exercises": r"exercise",
        "quiz": r"quiz",
        "recap": r"recap|learned",
        "references": r"references",
        "where next": r"next",
    }.items():
        assert re.search(pattern, headings), f"no section on {what}"


@every_chapter
def test_quiz_of_three_with_answers_that_unfold(path):
    quiz = re.split(r"^#+ .*quiz.*$", prose(path), flags=re.MULTILINE | re.IGNORECASE)[1]
    assert len(re.findall(r"<details>", re.split(r"^#+ ", quiz, flags=re.MULTILINE)[0])) == 3


@every_chapter
def test_three_to_six_exercises(path):
    assert 3 <= sum(bool(grader(cell).get("solution")) for cell in book(path).cells) <= 6


@every_book
def test_no_path_of_a_machine(path):
    text = json.dumps(book(path), ensure_ascii=False)
    text = re.sub(r"[A-Za-z0-9+/=]{200,}", "", text)  # pictures
    assert re.findall(r".{0,30}(?<![\w.])/(?:home|root|work|tmp|Users|mnt|private)/\w.{0,30}", text) == []


@every_book
def test_small_files_and_short_cells(path):
    assert path.stat().st_size <= 1_500_000
    lines = sorted(sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code(path))
    assert statistics.median(lines) <= 8
    assert lines[int(0.9 * len(lines))] <= 20


@every_book
def test_prose_leads_to_the_code(path):
    kinds = "".join("c" if cell.cell_type == "code" else "m" for cell in book(path).cells)
    assert kinds.startswith("mc")
    assert "ccccc" not in kinds, "five code cells in a row: say in between what comes"


@every_book
def test_no_progress_bar_is_stored(path):
    shown = json.dumps([output for cell in code(path) for output in cell.outputs])
    assert not re.search(r"\d+%\|", shown)


@every_book
def test_a_students_copy_has_no_solutions_and_does_not_speak_of_them(path):
    version = coursework.student_version(book(path))
    answers = [cell for cell in version.cells if grader(cell).get("solution")]
    assert answers
    assert len(version.cells) == len(book(path).cells) - len(answers)
    for cell in version.cells:
        assert not cell.get("outputs")
        assert coursework.SUFFIX not in cell.source
        assert "a solution" not in cell.source or (cell.cell_type == "markdown" and "holds" not in cell.source)
        assert "elow the solution" not in cell.source, "the check stands there"


BETWEEN = re.compile(rf"^ *{coursework.BEGIN}.*{coursework.END}$", re.DOTALL | re.MULTILINE)


def graded(version, replace=lambda source: source):
    """Run a teacher's version's answers and checks as a grader does, after the notebook's imports; the points won."""
    names = {}
    for cell in version.cells:
        if cell.cell_type == "code":
            imports = [node for node in python(cell.source).body if isinstance(node, ast.Import | ast.ImportFrom)]
            exec(compile(ast.Module(imports, []), "imports", "exec"), names)
    won = []
    for cell in version.cells:
        if grader(cell).get("solution"):
            exec(replace(cell.source), names)
        elif grader(cell).get("grade"):
            try:
                exec(cell.source, names)
            except AssertionError:
                continue
            won.append(cell.metadata.nbgrader.points)
    return sum(won)


@every_book
def test_nbgraders_source_gives_all_points_to_solutions_and_none_to_stubs(path, capfd):
    version = coursework.teacher_version(book(path))
    points = sum(grader(cell).get("points", 0) for cell in version.cells)
    assert points == graded(version) > 0
    for wrong in ("raise NotImplementedError()", "return 0.5"):
        assert graded(version, lambda source, wrong=wrong: BETWEEN.sub(f"    {wrong}", source)) == 0
    assert capfd.readouterr().err == ""


@every_book
def test_a_student_who_rebinds_the_checks_gets_no_points(path, monkeypatch):
    version = coursework.teacher_version(book(path))
    chapter = next(coursework.CHECK.search(cell.source)[1] for cell in code(path) if grader(cell).get("grade"))
    kind = types.SimpleNamespace(**dict.fromkeys(checks.exercises(), lambda *_: None), grade=lambda *_: None)
    monkeypatch.setattr(checks, chapter, kind)
    assert graded(version, lambda source: BETWEEN.sub("    return 0.5", source)) == 0


@every_book
def test_notebook_code_is_clean(path):
    done = subprocess.run([sys.executable, "-m", "ruff", "check", str(path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def differs(tmp_path_factory):
    """Which of CHANGES a plain nbval run sees, beside the course's conftest: by name."""
    folder = tmp_path_factory.mktemp("compared")
    cells = [
        nbformat.v4.new_code_cell(source, execution_count=1, outputs=[output]) for source, output, _ in CHANGES.values()
    ]
    notebooks.write(nbformat.v4.new_notebook(cells=cells), folder / "notebooks" / "one.ipynb")
    for part in (Path("notebooks", "conftest.py"), Path("tests", "notebooks", "sanitize.cfg")):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).write_bytes((ROOT / part).read_bytes())
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-rA", "-p", "no:cacheprovider"]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run([*command, "notebooks"], env=variables, cwd=folder, capture_output=True, text=True)
    found = re.findall(r"^(PASSED|FAILED) \S+::Cell (\d+)", done.stdout, re.MULTILINE)
    told = {number: verdict == "FAILED" for verdict, number in found}
    assert len(told) == len(CHANGES), done.stdout + done.stderr
    return {name: told[str(number)] for number, name in enumerate(CHANGES)}


def picture(stored):
    source = 'from IPython.display import HTML\nHTML(\'<img alt="a dot" src="data:image/png;base64,AAAA">\')'
    html = {"text/html": f'<img alt="a dot" src="data:image/png;base64,{stored}">'}
    data = {**html, "text/plain": "<IPython.core.display.HTML object>"}
    return source, nbformat.v4.new_output("execute_result", data, execution_count=1)


CLAIMS = """\
from gbi_helpers import claim
claim("LSTM over GBI (paired), excess error", 9.3, at_least=5)
claim("exact", 4, equals=4)
claim("near", 0.52, equals=0.5, within=0.1)
print("from a record: 0.25")"""
STORED = """\
✓ LSTM over GBI (paired), excess error: 9.1 (≥ 5)
✓ exact: 4 (= 4)
✓ near: 0.58 (= 0.5 ± 0.1)
from a record: 0.25
"""


def claimed(old="", new="", source=CLAIMS):
    assert old in STORED
    return source, nbformat.v4.new_output("stream", name="stdout", text=STORED.replace(old, new) if old else STORED)


CHANGES = {  # a cell, its stored output, and whether a comparison must see the difference
    "bytes of a picture": (*picture("BBBB"), False),
    "size of a picture": (*picture('AAAA" width="9'), True),
    "number of a claim": (*claimed("9.1", "9.10001"), False),
    "bound": (*claimed("≥ 5", "≥ 4"), True),
    "tolerance": (*claimed("± 0.1", "± 0.2"), True),
    "name": (*claimed("LSTM", "GRU"), True),
    "no tick": (*claimed("✓ near", "near"), True),
    "no claim": (*claimed("✓ near: 0.58 (= 0.5 ± 0.1)\n", ""), True),
    "exact value": (*claimed("exact: 4", "exact: 5"), True),
    "value of a record": (*claimed("0.25", "0.26"), True),
    "verdict": (*claimed(source=CLAIMS.replace("9.3", "4.3")), True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_comparison_sees_every_change_but_those_of_a_machine(name, differs):
    assert differs[name] is CHANGES[name][-1]
