"""The files of the image sets: where they lie, whether they are whole, and how torchvision fetches them."""

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
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from gbi_helpers.data.download import offline, reachable
from gbi_helpers.files import DataError, cache_dir, checked, sweep, writable_cache

FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
DISK_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EIO,
)  # fmt: skip
NMS_MISSING = "operator torchvision::nms does not exist"
_declared: list[torch.library.Library] = []  # the declarations last as long as this list


@dataclass(frozen=True)
class ImageSet:
    """What is known of a set before it is read. ``folder`` is torchvision's name of the set and of its folder."""

    name: str
    key: str
    folder: str
    classes: tuple[str, ...]
    licence: str
    digests: tuple[str, ...]  # SHA-256 of the unpacked files, in the order of FILES
    shipped: dict[str, int]  # images in the slice, by split
    total: int = 70_000

    @property
    def asset(self) -> str:
        """Name of the slice among the assets."""
        return f"data/{self.key}-slice.npz"


MNIST = ImageSet(
    "MNIST",
    "mnist",
    "MNIST",
    tuple("0123456789"),
    "CC BY-SA 3.0",
    (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    {"train": 10_000, "validation": 2_000, "test": 2_000},
)
FASHION_MNIST = ImageSet(
    "Fashion-MNIST",
    "fashion-mnist",
    "FashionMNIST",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    "MIT",
    (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    {"test": 2_000},
)
SETS = (MNIST, FASHION_MNIST)


def find(spec: ImageSet) -> tuple[str, Path | None]:
    """Where the whole set lies, (place, folder), or ("", None). Raises :class:`DataError` on damage in GBI_DATA_DIR."""
    if folder := present(data_dir(), spec):
        return "from GBI_DATA_DIR", folder
    folder = cached(spec)
    return ("from the cache", folder) if folder else ("", None)


def cached(spec: ImageSet) -> Path | None:
    """The set's folder in the cache, or None. A damaged copy is set aside, with a warning, so it is fetched anew."""
    try:
        return present(cache_dir(), spec)
    except DataError:
        damaged = cache_dir() / spec.folder
    aside = damaged.with_name(f"{spec.folder}.damaged")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        damaged.rename(aside)
        done = f"moved to {aside}, which can be deleted"
    except OSError:
        done = f"left alone; delete {damaged}"
    warnings.warn(f"{spec.name} in the cache is damaged or incomplete, so it is not used but {done}.", stacklevel=4)
    return None


def data_dir() -> Path | None:
    """The folder named by ``GBI_DATA_DIR``, or None. Raises :class:`DataError` when it names none."""
    named = os.environ.get("GBI_DATA_DIR")
    if not named:
        return None
    folder = Path(os.path.expanduser(named))  # unlike Path.expanduser, it leaves an unknown user's ~ as it is
    if not folder.is_dir():
        raise DataError(f"GBI_DATA_DIR is {folder}, which is no folder: correct it, or unset it.")
    return folder


def present(root: Path | None, spec: ImageSet) -> Path | None:
    """Folder of the set's four files under ``root``, None if none is there. Raises :class:`DataError` if damaged."""
    if root is None or not any(os.path.exists(root / spec.folder / "raw" / name) for name in FILES):
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


def fetch_images(spec: ImageSet, tries: int = 3, pause: float = 0.5) -> Path:
    """Have torchvision download the set to a part folder of the cache, check it, and move it into its place.

    Returns the folder of its four files. Raises :class:`DataError` when offline, unreachable, damaged or not writable.
    """
    return fetch_with(
        spec.name,
        spec.folder,
        lambda dataset: [f"{mirror}{FILES[0]}.gz" for mirror in dataset.mirrors],
        lambda part, cache: _settle(spec, part, cache),
        tries,
        pause,
    )


def fetch_with(
    name: str,
    kind: str,
    urls: Callable[[Any], list[str]],
    settle: Callable[[Path, Path], Path],
    tries: int = 3,
    pause: float = 0.5,
) -> Path:
    """Have torchvision's class ``kind`` download to a part folder of the cache, which ``settle`` checks and moves.

    ``urls``: from that class, where to ask whether a server is there. ``settle``: (part folder, cache) -> the place.
    Raises :class:`DataError` when offline, unreachable, damaged or not writable.
    """
    if offline():
        raise DataError(
            f"GBI_OFFLINE is set, so {name} is not downloaded: unset it, or set GBI_DATA_DIR to a folder with it."
        )
    cache, dataset = writable_cache(), getattr(torchvision().datasets, kind)
    if not reachable(urls(dataset)):
        raise DataError(
            f"No server of {name} can be reached: check the network, or set GBI_DATA_DIR to a folder with it."
        )
    sweep(cache, f".{kind}.*.part")
    with tempfile.TemporaryDirectory(prefix=f".{kind}.", suffix=".part", dir=cache, ignore_cleanup_errors=True) as part:
        _download(name, dataset, Path(part), tries, pause)
        return settle(Path(part), cache)


def _download(name: str, dataset: Any, part: Path, tries: int, pause: float) -> None:
    """Call torchvision until it succeeds; it keeps the files it has, checks their MD5, and tries each mirror."""
    for attempt in range(tries):
        time.sleep(pause * 2 ** (attempt - 1) if attempt else 0)
        try:
            with _socket_timeout(10.0):
                dataset(part, download=True)
            return
        except (RuntimeError, OSError, EOFError, http.client.HTTPException, zlib.error) as error:
            problem = error
            blame_disk(name, error)
    raise DataError(
        f"{name} could not be downloaded in {tries} tries: try again later, or set GBI_DATA_DIR to a folder with it."
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
