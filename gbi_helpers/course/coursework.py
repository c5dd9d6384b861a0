"""For teachers: students' copies, and what nbgrader makes assignments of."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from gbi_helpers.course.notebooks import NO_COURSE, read, write

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"  # nbgrader's marks
STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")  # and its words, so that its students' version is ours
SOLUTION = "solution"  # the tag of a folded cell below a check; its function is called as the student's, plus:
SUFFIX = "_solution"
FOLDED = " The folded cell below the check holds a solution."  # said in the course, not in a copy without it
BELOW = re.compile(r"(?<=elow the )solution\b")  # which is not there in a copy: the check is
NO_COPY = "Install the course first, as your teacher says: pip install its .whl file."  # a copy comes without a clone
GOES_ON = "raises-exception"  # the tag of a cell whose error does not stop the notebook
CHECK = re.compile(r"checks\.(ch\d\d)\.(\w+)\((\w+)\)")


def student_version(notebook: NotebookNode) -> NotebookNode:
    """A copy for students: no solutions, no outputs; stubs stand in the answer cells already."""
    copy = nbformat.from_dict(notebook)
    copy.cells = [cell for cell in copy.cells if not _is_solution(cell)]
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = cell.source.replace(NO_COURSE, NO_COPY)
        else:
            cell.source = BELOW.sub("check", cell.source.replace(FOLDED, ""))
    return copy


def teacher_version(notebook: NotebookNode) -> NotebookNode:
    """A copy for nbgrader's ``source``: each solution between marks in its answer cell, and checks that give points.

    Raises ``ValueError`` for an answer cell that no solution follows, or a check that is not one call.
    """
    copy = student_version(notebook)
    solutions = iter(cell.source for cell in notebook.cells if _is_solution(cell))
    for cell in copy.cells:
        grader = cell.metadata.get("nbgrader", {})
        if grader.get("solution"):
            cell.source = _with_solution(cell.source, next(solutions, ""))
        elif grader.get("grade"):
            cell.source = _graded(cell.source)
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), GOES_ON]
    return copy


def _is_solution(cell: NotebookNode) -> bool:
    return SOLUTION in cell.metadata.get("tags", [])


def _with_solution(stub: str, solution: str) -> str:
    """The answer cell with the body of the solution's function, between nbgrader's marks, for the stub's."""
    lines = [line.strip() for line in stub.splitlines()]
    statements = ast.parse(solution).body
    functions = [node for node in statements if isinstance(node, ast.FunctionDef) and node.name.endswith(SUFFIX)]
    if STUB[0] not in lines or not functions:
        raise ValueError(f"no solution follows the answer cell that begins '{stub.splitlines()[0]}'")
    if any(node is not functions[0] and not isinstance(node, ast.Expr) for node in statements):
        raise ValueError(f"what {functions[0].name} needs must stand inside it: it alone goes into the answer cell")
    place = lines.index(STUB[0])
    body = solution.splitlines()[_head(functions[0], solution) : functions[0].end_lineno]
    body = [re.sub(rf"(?<=\w){SUFFIX}\b", "", line) for line in body]
    kept = stub.splitlines()
    return "\n".join([*kept[:place], f"    {BEGIN}", *body, f"    {END}", *kept[place + len(STUB) :]])


def _head(function: ast.FunctionDef, source: str) -> int:
    """The number of lines before the function's body: its signature, and its docstring if it has one."""
    first, lines = function.body[0], source.splitlines()
    if ast.get_docstring(function) is not None:
        return first.end_lineno or 0
    head = first.lineno - 1
    while lines[head - 1].strip().startswith("#") or not lines[head - 1].strip():
        head -= 1  # comments at the body's beginning are no statements, and belong to it
    if head < function.lineno:
        raise ValueError(f"the body of {function.name} must stand on lines of its own")
    return head


def _graded(source: str) -> str:
    """The check as a grader runs it: strict with stubs, no stderr, and loaded anew whatever ``checks`` has become."""
    found = CHECK.fullmatch(source.strip())
    if not found:
        raise ValueError(f"a check is one call such as checks.ch01.posterior(my_posterior), not: {source}")
    chapter, name, student = found.groups()
    loaded = '[name for name in sys.modules if name.startswith("gbi_helpers.checks")]'
    forget = f"for name in {loaded}:\n    del sys.modules[name]"
    module = f'importlib.import_module("gbi_helpers.checks.{chapter}")'
    return f"import importlib\nimport sys\n\n{forget}\n{module}.{name}.grade({student})"


def write_copies(
    paths: Iterable[Path], out: Path, version: Callable[[NotebookNode], NotebookNode]
) -> tuple[list[Path], list[Path]]:
    """Write a version of each of ``paths`` to ``out``; returns those written, and those kept as they differ.

    A file that is there with other content is somebody's work, and is never overwritten.
    Raises ``ValueError`` for a notebook of which no version can be made, before anything is written.
    """
    copies: dict[Path, NotebookNode] = {}
    for path in dict.fromkeys(paths):
        if out / path.name in copies:
            raise ValueError(f"Two of the notebooks are called {path.name}: write them to two folders.")
        try:
            copies[out / path.name] = version(read(path))
        except ValueError as error:
            raise ValueError(f"{path.name}: {str(error).removesuffix('.')}.") from error
        if (out / path.name).resolve() == path.resolve():
            raise ValueError(f"{out} holds the course's own notebooks: choose another folder for the copies.")
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
