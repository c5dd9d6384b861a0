"""The files of the image sets: where the whole set is at hand, and how torchvision fetches it into the cache."""

from __future__ import annotations

import contextlib
import errno
import http.client
import importlib
import os
import shutil
import socket
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from gbi_helpers.data import layouts
from gbi_helpers.data.download import offline, reachable
from gbi_helpers.data.image_sets import FILES, ImageSet, given
from gbi_helpers.files import DataError, cache_dir, checked, sweep, writable_cache

DISK_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EIO,
)  # fmt: skip
TRIES, PAUSE = 3, 0.5  # seconds before the second try, and twice as many before the third
NMS_MISSING = "operator torchvision::nms does not exist"
_declared: list[torch.library.Library] = []  # the declarations last as long as this list


def find(spec: ImageSet) -> tuple[str, tuple[Path, ...]]:
    """Where the whole set lies, (place, its files in the order of FILES), or ("", ()).

    Raises :class:`DataError` on damage in GBI_DATA_DIR.
    """
    if files := given(spec):
        return "from GBI_DATA_DIR", files
    folder = cached(spec)
    return ("from the cache", tuple(folder / name for name in FILES)) if folder else ("", ())


def cached(spec: ImageSet) -> Path | None:
    """The set's folder in the cache, or None. A damaged copy is set aside, with a warning, so it is fetched anew."""
    try:
        return present(cache_dir(), spec)
    except DataError as error:
        if out_of_reach(error.__cause__):
            raise
        set_aside(spec.name, cache_dir() / spec.folder)
        return None


def out_of_reach(error: BaseException | None) -> bool:
    """Whether the system would not let us read a file that is there, and may be whole: too many open, no permission."""
    return isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR)


def set_aside(name: str, damaged: Path) -> None:
    """Move a damaged copy of the set ``name`` out of its place in the cache, with a warning to who loads the set."""
    aside = damaged.with_name(f"{damaged.name}.damaged")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        damaged.replace(aside)
        done = f"moved to {aside}, which can be deleted"
    except OSError:
        done = f"left alone; delete {damaged}"
    warnings.warn(f"{name} in the cache is damaged or incomplete, so it is not used but {done}.", stacklevel=5)


def present(root: Path, spec: ImageSet) -> Path | None:
    """Folder of the set's files under ``root``, laid as torchvision does; None if none is there.

    Raises :class:`DataError` if one is missing or damaged.
    """
    if not any(os.path.exists(root / spec.folder / "raw" / name) for name in FILES):
        return None
    for name, digest in zip(FILES, spec.digests, strict=True):
        checked(root / spec.folder / "raw" / name, digest)
    return root / spec.folder / "raw"


def torchvision() -> ModuleType:
    """The torchvision package, imported at first use.

    PyPI's wheel of torchvision is built for CUDA, and beside a PyTorch without CUDA its import fails since the
    operator nms is missing. In exactly that case the two operators are declared (not implemented), which is enough for
    data sets, transforms and models; every other install, and every other failure, is left as it is.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if torch.version.cuda is not None or _declared or NMS_MISSING not in str(error):
            raise
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    return importlib.import_module("torchvision")


def fetch_images(spec: ImageSet) -> Path:
    """Have torchvision download the set to a part folder of the cache, check it, and move it into its place.

    Returns the folder of its four files. Raises :class:`DataError` when offline, unreachable, damaged or not writable.
    """
    return fetch_with(
        spec.name,
        spec.folder,
        lambda dataset: [f"{mirror}{FILES[0]}.gz" for mirror in dataset.mirrors],
        lambda part, cache: _settle(spec, part, cache),
    )


def fetch_with(name: str, kind: str, urls: Callable[[Any], list[str]], settle: Callable[[Path, Path], Path]) -> Path:
    """Have torchvision's class ``kind`` download to a part folder of the cache, which ``settle`` checks and moves.

    ``urls``: from that class, where to ask whether a server is there. ``settle``: (part folder, cache) -> the place.
    Raises :class:`DataError` when offline, unreachable, damaged or not writable.
    """
    if offline():
        raise DataError(f"GBI_OFFLINE is set, so {name} is not downloaded: unset it, or {layouts.bring()}.")
    cache, dataset = writable_cache(), getattr(torchvision().datasets, kind)
    if not reachable(urls(dataset)):
        raise DataError(f"No server of {name} can be reached: check the network, or {layouts.bring()}.")
    sweep(cache, f".{kind}.*.part")
    with tempfile.TemporaryDirectory(prefix=f".{kind}.", suffix=".part", dir=cache, ignore_cleanup_errors=True) as part:
        _download(name, dataset, Path(part))
        return settle(Path(part), cache)


def _download(name: str, dataset: Any, part: Path) -> None:
    """Call torchvision until it succeeds; it keeps the files it has, checks their MD5, and tries each mirror."""
    for attempt in range(TRIES):
        time.sleep(PAUSE * 2 ** (attempt - 1) if attempt else 0)
        try:
            with _socket_timeout(10.0):
                dataset(part, download=True)
            return
        except (RuntimeError, OSError, EOFError, http.client.HTTPException, zlib.error) as error:
            problem = error
            blame_disk(name, error)
    raise DataError(
        f"{name} could not be downloaded in {TRIES} tries: try again later, or {layouts.bring()}."
    ) from problem


def blame_disk(name: str, error: Exception) -> None:
    """Raise :class:`DataError` with what to do if it was the disk that kept the set from the cache."""
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        raise DataError(
            f"{name} cannot be written to the cache ({error.strerror}): free some space, or set GBI_CACHE_DIR to "
            "another folder."
        ) from error


def _settle(spec: ImageSet, part: Path, cache: Path) -> Path:
    for packed in (part / spec.folder / "raw").glob("*.gz"):
        packed.unlink()
    try:
        present(part, spec)
    except DataError as error:
        raise DataError(
            f"{spec.name} was downloaded, but its SHA-256 is not the one expected: try again later."
        ) from error
    with contextlib.suppress(OSError):  # another process may have been quicker; then its copy is used
        (part / spec.folder).rename(cache / spec.folder)
    settled = present(cache, spec)
    if settled is None:
        raise DataError(
            f"{spec.name} cannot be moved to {cache / spec.folder}: delete what is there, or set GBI_CACHE_DIR."
        )
    return settled


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Give torchvision's downloads, which set no time limit, one."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
