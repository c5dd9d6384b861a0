"""Trusting the course's notebooks, in a process of its own: ``python -m gbi_helpers.course.trust NOTEBOOK...``.

What Jupyter needs for it takes a second to load. JupyterLab loads the same and more before it can show a notebook, so
``gbi lab`` starts both at once.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from gbi_helpers.course.notebooks import course_folder, read
from gbi_helpers.files import questions


def own_beside(notebook: Path) -> list[Path]:
    """The course's own notebooks, this one first, if it lies among them; none beside any other notebook.

    What others have made, a student's copy or a download, is for the reader to trust: its outputs may hold any script.
    """
    try:
        course = (course_folder() / "notebooks").resolve()
    except FileNotFoundError:
        return []
    if notebook.resolve().parent != course:
        return []
    found = dict.fromkeys(path.resolve() for path in (notebook, *sorted(course.glob("*.ipynb"))))
    return [path for path in found if path.stem in questions()]


def trust(paths: Iterable[Path]) -> None:
    """Sign notebooks, so that Jupyter shows their outputs alive. What cannot be read or signed is left out."""
    from nbformat.sign import NotebookNotary

    for path in paths:
        with contextlib.suppress(Exception):  # untrusted outputs show less, but nothing that would stop the course
            NotebookNotary().sign(read(path))


def start_trusting(paths: Iterable[Path]) -> None:
    """Sign notebooks in another process, without waiting for it."""
    names = [str(path) for path in paths]
    if names:
        command = [sys.executable, "-m", __name__, *names]
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    trust(map(Path, sys.argv[1:]))
