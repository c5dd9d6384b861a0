"""The image sets of MNIST's kind: what is known of each, and finding their files in ``GBI_DATA_DIR``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gbi_helpers.data import layouts
from gbi_helpers.files import DataError

FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


@dataclass(frozen=True)
class ImageSet:
    """What is known of a set before it is read. ``folder`` is torchvision's name of the set and of its folder."""

    name: str
    key: str
    folder: str
    classes: tuple[str, ...]
    licence: str
    digests: tuple[str, ...]  # SHA-256 of the unpacked files, in the order of FILES
    pattern: str  # of a path that looks like the set
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
    r"^(?!.*fashion).*(?<![a-z])mnist[^/]*$",
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
    r"fashion.*mnist[^/]*$|mnist.*fashion[^/]*$",
    {"test": 2_000},
)
SETS = (MNIST, FASHION_MNIST)
FOLDERS = (*(spec.folder for spec in SETS), "raw")


def given(spec: ImageSet) -> tuple[Path, ...]:
    """The set's files in GBI_DATA_DIR, however they are laid, in the order of FILES; () if none of them is there.

    Raises :class:`DataError` if one is missing or damaged.
    """
    root = layouts.data_dir()
    return lying(root, spec) if root else ()


def lying(root: Path, spec: ImageSet) -> tuple[Path, ...]:
    """As :func:`given`, under ``root``."""
    found = [files for files in _all_files(root) if _belong(files, spec)]
    if not found:
        return ()
    own = root / spec.folder / "raw"
    files = max(found, key=lambda files: (len(files), next(iter(files.values())).parent == own))
    missing = " and ".join(name for name in FILES if name not in files)
    if missing:
        folder = next(iter(files.values())).parent
        raise DataError(f"{spec.name} lacks {missing}: put what is missing into {folder}.")
    for name, digest in zip(FILES, spec.digests, strict=True):
        if layouts.digest(files[name]) != digest:
            raise DataError(f"{files[name]} is damaged, incomplete or another file (wrong SHA-256): {layouts.REPLACE}.")
    return tuple(files[name] for name in FILES)


def overlooked(spec: ImageSet) -> str:
    """A sentence on what looks like the set in GBI_DATA_DIR, but is not laid as it is read; or ""."""
    root = layouts.data_dir()
    path = (layouts.looks_like(root, spec.pattern, FOLDERS) or _nobodys(root)) if root else None
    if not root or not path:
        return ""
    return (
        f"{path} looks like {spec.name}, but is not read: put the four files {FILES[0]}, {FILES[1]}, {FILES[2]} and "
        f"{FILES[3]}, unpacked or as .gz, into {root / spec.folder / 'raw'}."
    )


def _all_files(root: Path) -> Iterator[layouts.Files]:
    """What there is of such files, folder by folder."""
    return filter(None, (layouts.files_in(folder, FILES) for folder in layouts.folders(root, FOLDERS)))


def _belong(files: layouts.Files, spec: ImageSet) -> bool:
    """Whether they are of this set, since their folder says so, or their content: all such sets name them alike."""
    if layouts.plain(_called(files)) == layouts.plain(spec.folder):
        return True
    with contextlib.suppress(DataError):
        return any(layouts.digest(file) in spec.digests for file in sorted(files.values(), key=os.path.getsize))
    return False


def _called(files: layouts.Files) -> str:
    """The name of the set's folder, where the files lie in it or in ``raw``."""
    names = [folder.name for folder in next(iter(files.values())).absolute().parents]
    return next((name for name in names if layouts.plain(name) not in ("raw", *map(layouts.plain, FILES))), "")


def _nobodys(root: Path) -> Path | None:
    """A file that is named as in these sets, but belongs to none of them, nor to one of their kin (KMNIST)."""
    for files in _all_files(root):
        if "mnist" not in _called(files).lower() and not any(_belong(files, spec) for spec in SETS):
            return next(iter(files.values()))
    return None
