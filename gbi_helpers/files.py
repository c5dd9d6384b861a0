"""Files that the course keeps: never half-written, the user's cache, checksums, and the shipped assets.

What cannot be had is a :class:`DataError` of one sentence that says what to do; what cannot be written is an
``OSError`` that names the file, the reason, and a way out.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import errno
import functools
import hashlib
import json
import lzma
import os
import shutil
import sys
import tempfile
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

ASSETS = Path(__file__).parent / "assets"
MANIFEST = "manifest.json"

# What a damaged zip or npz may raise besides OSError (RuntimeError: it seems to have a password, or another method).
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
# What no free space mends: the name, or what lies there.
MISPLACED = (
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.EINVAL,
    errno.EROFS,
)  # fmt: skip


class DataError(RuntimeError):
    """A data file that cannot be had, read or written; the message is one sentence that says what to do."""


@contextlib.contextmanager
def _writing(path: Path, part: Path) -> Iterator[None]:
    """Say of an ``OSError`` that ``path`` cannot be written, and what to do; one about a file of others passes."""
    try:
        yield
    except OSError as error:
        named = Path(error.filename) if isinstance(error.filename, str) else part
        if not named.is_relative_to(part) and named not in (path, *path.parents):
            raise
        advice = "Free some space or choose another folder."
        if isinstance(error, PermissionError):
            advice = "Choose another folder, or close what has it open."  # Windows replaces no open file
        elif error.errno in MISPLACED:
            advice = "Choose another name or folder."
        raise OSError(error.errno, f"Cannot write {path} ({error.strerror or error}). {advice}") from error


@contextlib.contextmanager
def part_file(path: Path) -> Iterator[Path]:
    """Yield a part file to write to; rename it to ``path`` when all went well, remove it when not.

    Raises ``OSError`` with the reason and what to do when ``path`` cannot be written, or the disk is full.
    """
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.part")  # nobody else's, also on a shared disk
    try:
        with _writing(path, part):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def part_folder(folder: Path) -> Iterator[Path]:
    """Yield a part folder to fill; it takes the place of ``folder`` when all went well, and is removed when not.

    Raises ``OSError`` with the reason and what to do when ``folder`` cannot be written, or the disk is full.
    """
    part, old = (folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:12]}.{end}") for end in ("part", "old"))
    try:
        with _writing(folder, part):
            part.mkdir(parents=True)
            yield part
            if folder.exists():
                folder.replace(old)
            part.replace(folder)
    finally:
        if old.exists() and not folder.exists():
            old.replace(folder)
        for left in (part, old):
            shutil.rmtree(left, ignore_errors=True)


def cache_dir() -> Path:
    """The user's cache folder: ``GBI_CACHE_DIR``, or ``gbi`` where this system keeps caches. Not created here.

    Raises :class:`DataError` where it would lie in a home folder that cannot be found.
    """
    try:
        return _cache_dir()
    except RuntimeError as error:  # of Path.home() and expanduser()
        raise DataError(
            "The cache would lie in a home folder, which cannot be found: set GBI_CACHE_DIR to a folder of yours."
        ) from error


def _cache_dir() -> Path:
    named = os.environ.get("GBI_CACHE_DIR")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "gbi"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gbi"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gbi"


def try_writing(folder: Path) -> None:
    """Create the folder if need be, and try it with a real file. Raises ``OSError`` if it cannot be written.

    Permission bits alone would not tell: they do not bind root, and a full or read-only disk has them set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as stream:
        stream.write(b"gbi")


def writable_cache() -> Path:
    """The cache folder, created if need be and tried. Raises :class:`DataError` if it is not writable."""
    folder = cache_dir()
    try:
        try_writing(folder)
    except OSError as error:
        raise DataError(
            f"The cache folder {folder} cannot be written ({error.strerror or error}): set GBI_CACHE_DIR to a folder "
            "of yours with some space left."
        ) from error
    return folder


def sweep(folder: Path, pattern: str) -> None:
    """Remove what fits the pattern, part files and part folders, if a killed process left it more than a day ago."""
    for left in folder.glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 86_400:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock beside ``path``, so that one process at a time works on it; True where it is held.

    Without ``wait``, False at once where another holds it. The system lets it go even when the process is killed.
    Raises ``OSError`` with the reason and what to do where no lock can be written.
    """
    place = path.with_name(f".{path.name}.lock")
    lock = FileLock(place)
    with _writing(path, place):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(Timeout):
            lock.acquire(blocking=wait)
    try:
        yield lock.is_locked
    finally:
        lock.release()


@functools.lru_cache(maxsize=256)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; computed once per process as long as the file does not change."""
    state = path.stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


def checked(path: Path, digest: str) -> Path:
    """``path``, once its SHA-256 is found to be ``digest``; raises :class:`DataError` if it is not."""
    try:
        same = sha256(path) == digest
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}): put the file there, or make it readable."
        ) from error
    if not same:
        raise DataError(
            f"{path} is damaged, incomplete or another file (wrong SHA-256): delete it, so that a good one is used."
        )
    return path


def manifest() -> dict[str, dict[str, Any]]:
    """What is known of every shipped asset, by its name (path inside ``assets``, with forward slashes)."""
    try:
        return dict(json.loads((ASSETS / MANIFEST).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"The list of assets cannot be read; {_restore(MANIFEST)}") from error


@functools.cache
def questions() -> dict[str, str]:
    """The question of each chapter of the course, written or planned, by its name."""
    with (ASSETS / "chapters.csv").open(encoding="utf-8", newline="") as rows:
        return {row["name"]: row["question"] for row in csv.DictReader(rows)}


def load_asset(name: str) -> Path:
    """Path of the shipped file ``name`` (say, ``data/mnist-slice.npz``), checked against the manifest's SHA-256.

    Raises :class:`DataError` when the manifest does not know it, or the file is missing or damaged.
    """
    known = manifest()
    if name not in known:
        like = difflib.get_close_matches(name, known, 3, 0.0)
        raise DataError(f"There is no asset '{name}': choose another, such as {', '.join(like) or 'none'}.")
    try:
        return checked(ASSETS / name, known[name]["sha256"])
    except DataError as error:
        raise DataError(f"The shipped file {name} is missing or damaged; {_restore(name)}") from error


def _restore(name: str) -> str:
    return f"restore it with 'git checkout -- gbi_helpers/assets/{name}', or install the package again."


def add_asset(path: str | Path, **facts: Any) -> dict[str, Any]:
    """Enter a file that lies in ``assets`` into the manifest, with its size and SHA-256, and return the entry.

    ``facts``, as plain JSON values, say where it comes from: for data ``licence``, ``source`` and ``made_by``; for a
    checkpoint or record command, commit, seed, device, versions, minutes, metrics and data source.
    Raises ``ValueError`` when the file is not inside ``assets`` or no facts are given.
    """
    path = Path(path).resolve()
    if not path.is_relative_to(ASSETS.resolve()) or not facts:
        raise ValueError(f"{path.name} must lie in {ASSETS} and come with facts, such as command= and source=.")
    name = path.relative_to(ASSETS.resolve()).as_posix()
    entry = {**facts, "bytes": path.stat().st_size, "sha256": sha256(path)}
    with locked(ASSETS / MANIFEST):  # two who write at once must not lose each other's entry
        entries = manifest() | {name: entry}
        with part_file(ASSETS / MANIFEST) as part:
            part.write_bytes((json.dumps(entries, indent=1, sort_keys=True) + "\n").encode())  # Unix line ends
    return entry
