"""Bars that leave nothing behind: in a notebook no dead widget, in a log file a few lines."""

import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from gbi_helpers import progress

ROOT = Path(__file__).parents[1]
LOOP = """\
import time
from gbi_helpers.progress import progress_bar
for _ in progress_bar(range(8), desc="toy", delay=0.05):
    time.sleep(0.03)"""


def outputs_of(source):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(ROOT)}}).execute()
    return notebook.cells[0].outputs


def test_a_notebook_keeps_no_view_of_a_closed_bar():
    plain = LOOP.replace("gbi_helpers.progress import progress_bar", "tqdm.auto import tqdm as progress_bar")
    kinds = [set(output.get("data", {})) for output in outputs_of(plain.replace("delay", "leave=False, delay"))]
    assert any("application/vnd.jupyter.widget-view+json" in kind for kind in kinds), "tqdm itself keeps one"
    (kept,) = outputs_of(LOOP)
    assert kept.data == {"text/html": "", "text/plain": ""}


def test_a_log_file_gets_lines_and_few_of_them(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.05)
    start = time.perf_counter()
    for _ in progress.progress_bar(range(200), desc="toy", delay=0):
        time.sleep(0.005)
    told = capsys.readouterr().err
    assert "\r" not in told
    lines = told.splitlines()
    assert 2 <= len(lines) <= (time.perf_counter() - start) / 0.05 + 1
    assert len(lines) < 190, "not one an item"
    assert all(re.match(r"toy: +\d+%\|[# 0-9]*\| \d+/200", line) for line in lines)


def test_a_bar_within_a_bar_leaves_lines_alone(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.05)
    for _ in progress.progress_bar(range(4), desc="outer", delay=0):
        for _ in progress.progress_bar(range(20), desc="inner", delay=0):
            time.sleep(0.01)
    lines = capsys.readouterr().err.splitlines()
    assert {line.split(":")[0] for line in lines} == {"outer", "inner"}


def test_what_ends_soon_says_nothing():
    done = subprocess.run(
        [sys.executable, "-c", "from gbi_helpers.progress import progress_bar\nfor _ in progress_bar(range(9)): pass"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
