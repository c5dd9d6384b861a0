"""How a set may lie in ``GBI_DATA_DIR``: as its maker or torchvision lays it, or as other sites and tools leave it.

The folder named may be one too deep or too shallow, names may be in another case or with other signs between their
letters, and files may be packed by gzip. What only looks like a set is named: nothing is passed over in silence.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

from gbi_helpers.files import DataError

Files = dict[str, Path]  # a set's own name of a file -> where it lies
DEPTH = 4  # folders inside each other that are looked into at most
REPLACE = "put the original in its place, or take it out of GBI_DATA_DIR"
DATA = r"(csv|npz|npy|pkl|pickle|mat|parquet|arrow|h5|hdf5|pt|pth|zip|gz|tgz|tar|bz2|xz|7z|rar)"


def data_dir() -> Path | None:
    """The folder named by ``GBI_DATA_DIR``, or None. Raises :class:`DataError` when it names none."""
    named = os.environ.get("GBI_DATA_DIR")
    if not named:
        return None
    folder = Path(os.path.expanduser(named))  # unlike Path.expanduser, it leaves an unknown user's ~ as it is
    if not folder.is_dir():
        raise DataError(f"GBI_DATA_DIR is {folder}, which is no folder: correct it, or unset it.")
    return folder


def bring() -> str:
    """How to bring a set along instead of fetching it, for the end of a sentence."""
    named = os.environ.get("GBI_DATA_DIR")
    return f"put it into GBI_DATA_DIR ({named})" if named else "set GBI_DATA_DIR to a folder with it"


def plain(name: str) -> str:
    """A name's letters and digits, in lower case and unpacked: "Train-Images.idx3-ubyte.gz" is trainimagesidx3ubyte."""
    return re.sub(r"[\W_]", "", name.lower().removesuffix(".gz"))


def entries(folder: Path, needed: bool = False) -> list[Path]:
    """What lies in a folder, sorted, without what is hidden; [] where it cannot be read, or an error if ``needed``."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        if needed:
            raise DataError(f"{folder} cannot be read ({error.strerror or error}): make it readable.") from error
        return []


def folders(root: Path, names: Collection[str]) -> Iterator[Path]:
    """``root``, the folders in it, and inside these, at any depth, the ones called as in ``names``. Nearest first.

    So the folder above the right one may be named, and a whole disk is not searched.
    """
    known = set(map(plain, names))
    level = [root]
    for depth in range(DEPTH):
        yield from level
        inside = [path for folder in level for path in entries(folder, not depth or plain(folder.name) in known)]
        level = [path for path in inside if os.path.isdir(path) and (not depth or plain(path.name) in known)]


def files_in(folder: Path, files: Collection[str]) -> Files:
    """Which of a set's ``files`` lie in a folder, whatever their spelling; one spelt as in ``files`` comes first.

    Some unpackers give a file a folder of its own name; that counts as the file.
    """
    own = {plain(name): name for name in files}
    found: Files = {}
    for path in entries(folder):
        name = own.get(plain(path.name), "")
        for file in entries(path) if name and os.path.isdir(path) else [path]:
            if name and plain(file.name) == plain(name) and os.path.isfile(file):
                found[name] = file if file.name == name else found.get(name, file)
    return found


def looks_like(root: Path, pattern: str, names: Collection[str]) -> Path | None:
    """The first folder or file of data in the :func:`folders` whose path below ``root``, in lower case, fits."""
    for path in (path for folder in folders(root, names) for path in entries(folder)):
        below = path.relative_to(root).as_posix().lower()
        if re.search(pattern, below) and (os.path.isdir(path) or re.search(rf"\.{DATA}$|ubyte", below)):
            return path
    return None


def content(path: Path) -> bytes:
    """What is in a file, unpacked if gzip has packed it. Raises :class:`DataError` where it cannot be read."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged or incomplete: {REPLACE}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): make it readable.") from error


def digest(path: Path) -> str:
    """SHA-256 of :func:`content`; computed once per process as long as the file does not change."""
    state = path.stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    return hashlib.sha256(content(path)).hexdigest()
