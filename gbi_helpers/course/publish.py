"""For whoever puts the course on line: the repository's address, in every place that needs it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from nbformat import NotebookNode

from gbi_helpers.course.notebooks import address_of, bootstrap, read, write
from gbi_helpers.files import part_file

BADGES = ("<!-- badges:begin -->", "<!-- badges:end -->")


def check_repository(name: str) -> str:
    """The address of the repository OWNER/NAME. Raises ``ValueError`` for another form."""
    if not re.fullmatch(r"[A-Za-z0-9](-?[A-Za-z0-9]){0,38}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}(?<!\.git)", name):
        raise ValueError(f"'{name}' is not a repository's name: write OWNER/NAME, for instance ada/gbi-notebooks.")
    return f"https://github.com/{name}"


def check_url(url: str) -> str:
    """The address of a site, with a slash at its end. Raises ``ValueError`` for what is none."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        good = good and not re.search(r"[\s<>\"'\\]", url) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"'{url}' is not a site's address: write it whole, for instance https://ada.github.io/gbi/.")
    return url.rstrip("/") + "/"


def repository(folder: Path) -> str:
    """OWNER/NAME as ``gbi links`` wrote it into the course's pyproject.toml; empty before that."""
    project = folder / "pyproject.toml"
    address = address_of(project.read_text("utf-8")) if project.is_file() else ""
    return address.removeprefix("https://github.com/")


def binder(name: str, path: str) -> str:
    """The address at which Binder opens the file at ``path`` of the repository OWNER/NAME in JupyterLab."""
    return f"https://mybinder.org/v2/gh/{name}/HEAD?urlpath=lab/tree/{path}"


def colab(name: str, path: str) -> str:
    """The address at which Colab opens the notebook at ``path`` of the repository OWNER/NAME."""
    return f"https://colab.research.google.com/github/{name}/blob/HEAD/{path}"


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
        f"({binder(name, start)})\n"
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"({colab(name, start)})"
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
