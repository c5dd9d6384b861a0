"""For teachers and for whoever puts the course on line: students' copies, and the repository's address."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from gbi_helpers.course.notebooks import read, write

BEGIN, END = "BEGIN SOLUTION", "END SOLUTION"
# nbgrader's own words, so that its student version of a notebook and ours are the same.
CODE_STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")
TEXT_STUB = ("YOUR ANSWER HERE",)


def student_source(source: str, stub: tuple[str, ...] = CODE_STUB) -> str:
    """A cell's source with each region between the solution marks replaced by ``stub``, its indentation kept.

    Raises ``ValueError`` when a mark has no partner.
    """
    kept: list[str] = []
    inside = False
    for line in source.splitlines():
        if BEGIN in line:
            if inside:
                raise ValueError(f"a second '{BEGIN}' comes before '{END}'")
            inside = True
            indent = line[: len(line) - len(line.lstrip())]
            kept += [indent + words for words in stub]
        elif END in line:
            if not inside:
                raise ValueError(f"'{END}' comes without '{BEGIN}'")
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise ValueError(f"'{BEGIN}' comes without '{END}'")
    return "\n".join(kept)


def student_version(notebook: NotebookNode) -> NotebookNode:
    """A copy for students: stubs instead of solutions, no outputs, nothing collapsed; nbgrader's metadata stays.

    An answer cell without marks becomes a stub as a whole, as in nbgrader. Raises ``ValueError`` for unpaired marks.
    """
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        stub = CODE_STUB if cell.cell_type == "code" else TEXT_STUB
        is_answer = bool(cell.metadata.get("nbgrader", {}).get("solution"))
        marked = BEGIN in cell.source or END in cell.source
        if marked:
            cell.source = student_source(cell.source, stub)
        elif is_answer:
            cell.source = "\n".join(stub)
        if marked or is_answer:
            cell.metadata.pop("jupyter", None)  # was collapsed
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return copy


def write_students(paths: Iterable[Path], out: Path) -> tuple[list[Path], list[Path]]:
    """Write the students' copies of ``paths`` to ``out``; returns those written, and those kept as they differ.

    A file that is there with other content is somebody's work, and is never overwritten.
    Raises ``ValueError`` for a notebook with unpaired solution marks, before anything is written.
    """
    copies: dict[Path, NotebookNode] = {}
    for path in dict.fromkeys(paths):
        if out / path.name in copies:
            raise ValueError(f"Two of the notebooks are called {path.name}: write them to two folders.")
        try:
            copies[out / path.name] = student_version(read(path))
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}.") from error
        if (out / path.name).resolve() == path.resolve():
            raise ValueError(f"{out} holds the course's own notebooks: choose another folder for the students' copies.")
    differ = [target for target, copy in copies.items() if target.exists() and not _same(target, copy)]
    written = [target for target in copies if not target.exists()]
    for target in written:
        write(copies[target], target)
    return written, differ


def _same(target: Path, copy: NotebookNode) -> bool:
    """Whether the file holds this copy. Cells' ids do not count: nbstripout numbers them, Jupytext makes new ones."""
    try:
        return _without_ids(read(target)) == _without_ids(copy)
    except ValueError:  # no notebook
        return False


def _without_ids(notebook: NotebookNode) -> dict[str, Any]:
    cells = [{key: value for key, value in cell.items() if key != "id"} for cell in notebook.cells]
    return {**notebook, "cells": cells}
