"""Folders of texts: finding them in ``GBI_DATA_DIR``, and which file is which split of which source."""

from __future__ import annotations

import re
from pathlib import Path

from gbi_helpers.data import layouts
from gbi_helpers.files import DataError

FOLDERS = ("text", "texts", "babylm")
ENDINGS = {
    "train": (".train.txt", ".train"),
    "validation": (".valid.txt", ".validation.txt", ".val.txt", ".dev.txt", ".dev"),
    "test": (".test.txt", ".test"),
}
WANTED = "SOURCE.train.txt, SOURCE.valid.txt and SOURCE.test.txt"
LOOKS = r"(^|/)(babylm[^/]*|(texts?|train_10+m)\.(zip|tar|tgz|tar\.gz))$"  # a path below GBI_DATA_DIR
KINDS = {"train": "training", "validation": "validation", "test": "test"}
MISNAMED = re.compile(
    r"(^|[._ -])(train|valid|validation|val|dev|test)([._ -].*)?\.(txt|text|md|zip|tar|tgz|bz2|xz|7z|rar)(\.gz)?$", re.I
)


def split_of(name: str) -> tuple[str, str] | None:
    """Source and split of a text, by the name of its file: ("sea", "train") for ``sea.train.txt``; None for another."""
    name = re.sub(r"\.gz$", "", name, flags=re.IGNORECASE)
    for split, endings in ENDINGS.items():
        for ending in endings:
            if name.lower().endswith(ending):
                return name[: -len(ending)], split
    return None


def lies_in(root: Path) -> Path | None:
    """The folder of texts in ``root``: one called ``text`` or ``babylm``, or else ``root``, if texts lie in it."""
    near = list(layouts.folders(root, FOLDERS))
    named = [folder for folder in near[1:] if layouts.plain(folder.name) in FOLDERS]
    if named:
        return min(named, key=lambda folder: (len(folder.parts), FOLDERS.index(layouts.plain(folder.name))))
    files = (path for folder in near for path in layouts.entries(folder) if path.is_file())
    return root if any((split_of(path.name) or "")[1:] == ("train",) for path in files) else None


def overlooked() -> str:
    """A sentence on what looks like BabyLM in GBI_DATA_DIR, but is not laid as it is read; or ""."""
    root = layouts.data_dir()
    path = layouts.looks_like(root, LOOKS, FOLDERS) if root else None
    if not root or not path:
        return ""
    return f"{path} looks like text, but is not read: put {WANTED} for each source, unpacked, into {root / 'text'}."


def text_files(folder: Path) -> dict[str, dict[str, Path]]:
    """The three files of each source, sources in the order of the alphabet. Raises :class:`DataError` if one lacks."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}: give 'packages', 'babylm', or a folder with texts.")
    found: dict[str, dict[str, Path]] = {}
    for path in _visible(folder):
        if known := split_of(path.name):
            task, split = known
            other = found.setdefault(task, {}).setdefault(split, path)
            if other != path:
                kind = KINDS[split]
                raise DataError(f"{other} and {path} are both the {kind} text of {task}: take one of them away.")
    odd = misnamed(folder)
    if not found:
        raise DataError(f"{folder} holds no texts{odd and f' but {odd}'}: put {WANTED} there, for two or more sources.")
    for task, files in found.items():
        missing = " and ".join(task + ENDINGS[split][0] for split in ENDINGS if split not in files)
        if missing:
            told = f" ({folder} also holds {odd})" if odd else ""
            raise DataError(f"The source {task} lacks {missing}{told}: add what is missing.")
    return dict(sorted(found.items()))


def _visible(folder: Path) -> list[Path]:
    """All files in a folder and below, sorted, without what lies hidden (macOS adds ``._sea.train.txt``)."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def misnamed(folder: Path) -> str:
    """What in a folder of texts seems to be one, but is packed in another way or has another name; "" for nothing."""
    names = [path.name for path in _visible(folder) if not split_of(path.name) and MISNAMED.search(path.name)]
    return " and ".join([*names[:3], *([f"{len(names) - 3} more"] if len(names) > 3 else [])])
