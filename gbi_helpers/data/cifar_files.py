"""The files of CIFAR-100: finding them in ``GBI_DATA_DIR``, and reading what its makers' archive holds."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zipfile
from pathlib import Path, PurePath

from gbi_helpers.data import layouts
from gbi_helpers.data.image_files import torchvision
from gbi_helpers.files import cache_dir

NAME = "CIFAR-100"
FILE = "cifar-100.npz"
FOLDER = "cifar-100-python"  # its makers' and torchvision's
FOLDERS = (FOLDER, "cifar-100")
PYTHON = ("train", "test", "meta")  # the files in it
DELETE = "delete it, so that a good one is used"
ARCHIVES = ("cifar100pythontar", "cifar100pythontgz", "cifar100pythonzip")  # plain names


def kept(name: str) -> Path | None:
    """:data:`FILE` or :data:`FOLDER` in the cache, if it is there; it is not looked into."""
    path = cache_dir() / name
    return path if path.exists() else None


def given() -> Path | None:
    """The file, folder or archive of the set in GBI_DATA_DIR, if there is one; of a folder only a little is read."""
    root = layouts.data_dir()
    return lies_in(root) if root else None


def lies_in(root: Path) -> Path | None:
    """As :func:`given`, under ``root``, however it is laid there."""
    every = [path for folder in layouts.folders(root, FOLDERS) for path in (folder, *layouts.entries(folder))]
    best = max(every, key=_worth)
    return best if _worth(best) else None


def _worth(path: Path) -> int:
    """How readily a file or folder is taken for the set; 0 for what is not it."""
    name = layouts.plain(path.name)
    if os.path.isfile(path):
        return 4 if name == layouts.plain(FILE) else 2 * (name in ARCHIVES)
    files = layouts.files_in(path, PYTHON)
    if name == layouts.plain(FOLDER):
        return 3 if len(files) == len(PYTHON) else bool(files)
    return 3 * (len(files) == len(PYTHON) and _md5(layouts.content(files["meta"])) == _checksums()["meta"])


def overlooked() -> str:
    """A sentence on what looks like the set in GBI_DATA_DIR, but is not laid as it is read; or ""."""
    root = layouts.data_dir()
    path = layouts.looks_like(root, r"cifar.?100[^/]*$", FOLDERS) if root else None
    if not root or not path:
        return ""
    return f"{path} looks like {NAME}, but is not read: put {FOLDER}.tar.gz, unpacked or not, into {root}."


def python_files(path: Path) -> dict[str, bytes]:
    """The files that its makers give away, by name, out of their folder or archive.

    Raises ``ValueError`` unless each has the MD5 that torchvision knows: pickles of others are not to be loaded.
    """
    files = _contents(path)
    for name, md5 in _checksums().items():
        if _md5(files.get(name, b"")) != md5:
            raise ValueError("a file in it is missing or has the wrong MD5")
    return files


def _checksums() -> dict[str, str]:
    """The MD5 of each of the three files, which torchvision knows."""
    known = torchvision().datasets.CIFAR100
    return dict([*known.train_list, *known.test_list, (known.meta["filename"], known.meta["md5"])])


def _contents(path: Path) -> dict[str, bytes]:
    """The files by name, out of a folder or an archive."""
    if path.is_dir():
        return {name: layouts.content(file) for name, file in layouts.files_in(path, PYTHON).items()}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            names = [name for name in packed.namelist() if PurePath(name).name in PYTHON]
            return {PurePath(name).name: packed.read(name) for name in names}
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if PurePath(member.name).name in PYTHON and (stream := archive.extractfile(member)):
                    files[PurePath(member.name).name] = stream.read()
    except tarfile.TarError as error:  # which tells what it has tried, in five lines
        raise ValueError("it is no whole archive") from error
    return files


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
