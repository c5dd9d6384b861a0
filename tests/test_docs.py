"""The README keeps its word: its commands exist and are the ones CI runs, its links lead somewhere, its map is true."""

import re
import shlex
import subprocess
from pathlib import Path

import nbformat
import pytest

from gbi_helpers import cli
from gbi_helpers.experiments import reproducing

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def prose(path):
    if path.suffix == ".md":
        return path.read_text("utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def without_code(text):
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def command_below(mark):
    found = re.search(rf"<!-- {mark} -->\n```bash\n(.+)\n```", README)
    assert found, f"README.md needs one line in a bash block below <!-- {mark} -->"
    return found[1]


@pytest.mark.parametrize("mark", ["run-command", "test-command"])
def test_commands_are_one_line_that_start_from_nothing(mark):
    first, second, third = command_below(mark).split(" && ")
    assert first == "python3.11 -m venv .venv"
    assert second == ".venv/bin/pip install -r requirements.txt"
    assert third.startswith(".venv/bin/gbi lab" if mark == "run-command" else ".venv/bin/pytest")


def test_the_test_command_leaves_no_test_out():
    options = shlex.split(command_below("test-command").split(" && ")[-1])[1:]
    assert not {"-k", "-m", "--ignore", "--deselect"} & set(options)
    assert not [option for option in options if not option.startswith("-") and option not in ("2", "loadgroup", "auto")]


def test_ci_runs_the_readme_s_test_command():
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    extract = next(line for line in script.splitlines() if line.startswith("test_command="))
    done = subprocess.run(
        ["bash", "-c", f'{extract}\nprintf "%s" "$test_command"'], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == command_below("test-command")
    assert 'bash -c "$test_command"' in script
    assert re.search(r"^export CI=1\b", script, re.MULTILINE), "without it, browser tests that cannot run would skip"


def test_what_all_numbers_take_is_what_the_records_say():
    """``python -m gbi_helpers.experiments.reproducing`` prints what belongs there."""
    table = re.search(r"<!-- reproduce:begin -->\n(.*)\n<!-- reproduce:end -->", README, re.DOTALL)[1]
    assert table == reproducing.what_it_takes()


def test_every_gbi_command_in_the_texts_exists():
    texts = [README, *map(prose, BOOKS)]
    named = {word for text in texts for word in re.findall(r"(?:`|bin/|Scripts\\)gbi ([a-z]+)", text)}
    assert named >= {"lab", "run", "store", "student", "data", "links"}
    for command in named:
        with pytest.raises(SystemExit) as end:
            cli.main([command, "--help"])
        assert end.value.code == 0, f"gbi {command}"


def test_a_teacher_reads_the_points_of_each_chapter():
    cells = {path.stem[:2]: nbformat.read(path, as_version=4).cells for path in BOOKS}
    points = {
        number: sum(c.metadata.get("nbgrader", {}).get("points", 0) for c in all) for number, all in cells.items()
    }
    told = re.search(r"(\d+) in all: <!-- points:begin -->(.*)<!-- points:end -->", README)
    assert told[2] == ", ".join(f"{number}: {own}" for number, own in points.items())
    assert int(told[1]) == sum(points.values())


def test_a_teachers_round_is_the_one_that_is_tried():
    tried = (ROOT / "tests" / "course" / "test_nbgrader.py").read_text("utf-8")
    block = re.search(r"```bash\n +gbi teach.*?```", README, re.DOTALL)[0]
    commands = re.findall(r"^ +nbgrader (\w+)(.*?)(?: +#.*)?$", block, re.MULTILINE)
    assert [name for name, _ in commands] == ["generate_assignment", "autograde", "generate_feedback", "export"]
    for name, options in commands:
        assert ", ".join(f'"{word}"' for word in ["nbgrader", name, *options.split()]) in tried
    config = re.findall(r"^c\..*", tried, re.MULTILINE)
    assert len(config) == 3
    assert all(f"  {line}" in README for line in config)


def anchors(path):
    """The anchors of a page: GitHub's for Markdown, JupyterLab's for notebooks."""
    headings = re.findall(r"^#+ +(.+?)\s*$", re.sub(r"^```.*?^```", "", prose(path), flags=re.M | re.S), re.MULTILINE)
    if path.suffix == ".ipynb":
        return {re.sub(r"[*`]", "", heading).replace(" ", "-") for heading in headings}
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [ROOT / "README.md", *BOOKS], ids=lambda path: path.stem)
def test_links_inside_the_repository_lead_somewhere(path):
    links = re.findall(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)", without_code(prose(path)))
    links += re.findall(r"(?:src|href)=[\"']([^\"']+)", without_code(prose(path)))
    lost = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


def test_the_map_has_every_notebook_and_calls_the_others_planned():
    rows = dict(re.findall(r"^\| *\[?(\d\d_\w+)\]?(.*)$", README, re.MULTILINE))
    assert len(rows) == 13
    for name, rest in rows.items():
        if (ROOT / "notebooks" / f"{name}.ipynb").exists():
            assert rest.startswith(f"(notebooks/{name}.ipynb)"), f"link to {name}"
            assert "planned" not in rest
        else:
            assert "(planned)" in rest, f"{name} is not there, and not said to be planned"
    assert {path.stem for path in BOOKS} <= set(rows)


def test_the_map_has_the_minutes_that_the_notebooks_say():
    told = dict(re.findall(r"^\| \[(\d\d_\w+)\].*?\| (\d+) min \|", README, re.MULTILINE))
    for path in BOOKS:
        opening = nbformat.read(path, as_version=4).cells[0].source
        minutes = re.search(r"\*\*Minutes\*\*.*?(?:reading (\d+)|(\d+) to read)", opening)
        assert told[path.stem] in minutes.groups(), path.stem


def test_no_dead_badge_before_the_address_is_known():
    from gbi_helpers.course.notebooks import address_of

    known = address_of((ROOT / "pyproject.toml").read_text("utf-8"))
    shown = re.search(r"<!-- badges:begin -->(.*?)<!-- badges:end -->", README, re.DOTALL)
    assert shown, "the place of the badges"
    assert bool(known) == bool(shown[1].strip())
    assert known in shown[1] or known.removeprefix("https://github.com/") in shown[1]


def test_a_file_that_the_readme_names_is_there():
    """Names alone, such as requirements.txt, may be the reader's own; of another folder than these, too."""
    named = set(re.findall(r"`((?:tests|experiments|assets|widgets|gbi_helpers|\.ci)/[\w./-]+\.\w+)", README))
    assert len(named) > 5
    assert not [name for name in named if not ((ROOT / name).exists() or (ROOT / "gbi_helpers" / name).exists())]
