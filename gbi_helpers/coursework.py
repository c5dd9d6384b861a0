"""For teachers and for whoever puts the course on line: students' copies, and the repository's address."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from gbi_helpers.notebooks import bootstrap, read, write
from gbi_helpers.runtime import part_file

BEGIN, END = "BEGIN SOLUTION", "END SOLUTION"
# nbgrader's own words, so that its student version of a notebook and ours are the same.
CODE_STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")
TEXT_STUB = ("YOUR ANSWER HERE",)
BADGES = ("<!-- badges:begin -->", "<!-- badges:end -->")


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
    return target.read_bytes().rstrip(b"\n") == nbformat.writes(copy).rstrip("\n").encode()


def check_repository(name: str) -> str:
    """The address of the repository OWNER/NAME. Raises ``ValueError`` for another form."""
    if not re.fullmatch(r"[A-Za-z0-9](-?[A-Za-z0-9]){0,38}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}(?<!\.git)", name):
        raise ValueError(f"'{name}' is not a repository's name: write OWNER/NAME, for instance ada/gbi-notebooks.")
    return f"https://github.com/{name}"


def link(name: str, folder: Path) -> list[Path]:
    """Write the address of OWNER/NAME into pyproject.toml, the README's badges and each notebook's first code cell.

    Returns the files that changed; a second call changes none. Raises ``ValueError`` for a wrong name, or where a file
    lacks the place the address goes to, before anything is written.
    """
    address = check_repository(name)
    texts = {
        folder / "pyproject.toml": _linked_project((folder / "pyproject.toml").read_text("utf-8"), address),
        folder / "README.md": _linked_readme((folder / "README.md").read_text("utf-8"), name),
    }
    books = {path: _linked_notebook(path, address) for path in sorted((folder / "notebooks").glob("*.ipynb"))}
    changed = [path for path, text in texts.items() if path.read_text("utf-8") != text]
    for path in changed:
        with part_file(path) as part:
            part.write_bytes(texts[path].encode())
    for path, book in books.items():
        if book is not None:
            write(book, path)
            changed.append(path)
    return changed


def _linked_project(text: str, address: str) -> str:
    before, header, after = text.partition("[project.urls]\n")
    if not header:
        raise ValueError("pyproject.toml has no section [project.urls]: add it as a line of its own.")
    return before + header + f'Repository = "{address}"\n' + re.sub(r'\ARepository = "[^"]*"\n', "", after)


def _linked_readme(text: str, name: str) -> str:
    begin, end = BADGES
    if begin not in text or end not in text:
        raise ValueError(f"README.md has no place for the badges: add the lines {begin} and {end}.")
    start = "notebooks/00_start_here.ipynb"
    badges = (
        f"[![Open on Binder](https://mybinder.org/badge_logo.svg)]"
        f"(https://mybinder.org/v2/gh/{name}/HEAD?urlpath=lab/tree/{start})\n"
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{name}/blob/HEAD/{start})"
    )
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{badges}\n{end}{rest.partition(end)[2]}"


def _linked_notebook(path: Path, address: str) -> NotebookNode | None:
    """The notebook with the address in its first code cell, or None when it is there already."""
    book = read(path)
    first = next((cell for cell in book.cells if cell.cell_type == "code"), None)
    if first is None or "gbi_helpers" not in first.source:
        raise ValueError(f"{path.name} does not begin with the cell that finds the package.")
    if first.source == bootstrap(address):
        return None
    first.source = bootstrap(address)
    return book
