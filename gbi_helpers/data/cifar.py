"""CIFAR-100: the real set where it is at hand, and a stand-in of rendered glyphs, named as such, where it is not.

No package carries CIFAR-100, and its images come with no licence, so the course does not ship them. The real set is
kept in one fixed, shuffled, stratified order that does not depend on the order of the file it came in: a slice is the
beginning of the full split. (A file with fewer test images gives another slice of those.)
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch

from gbi_helpers import runtime
from gbi_helpers.data import layouts, standin
from gbi_helpers.data.cifar_files import DELETE, FOLDER, NAME, given, kept, overlooked, python_files
from gbi_helpers.data.cifar_files import FILE as FILE
from gbi_helpers.data.cifar_files import lies_in as lies_in
from gbi_helpers.data.download import offline
from gbi_helpers.data.image_files import fetch_with, out_of_reach, set_aside
from gbi_helpers.data.images import SEED, SPLITS, ImageData, Images, stratified_order
from gbi_helpers.files import ZIP_ERRORS, DataError, cache_dir, part_file

STANDIN_FILE = "glyphs-100-v1.npz"
TRAIN, TEST = 50_000, 10_000
HELD_OUT = 5_000  # validation images among those for training
SLICE = {"train": 16_000, "validation": 2_000, "test": 2_000}
SUPERCLASSES: dict[str, str] = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
GROUPS = tuple(SUPERCLASSES)
CLASSES = tuple(sorted(word for members in SUPERCLASSES.values() for word in members.split()))
_GROUP_OF = {word: group for group, members in enumerate(SUPERCLASSES.values()) for word in members.split()}
GROUP_OF = tuple(_GROUP_OF[word] for word in CLASSES)

Parts = dict[str, tuple[np.ndarray, np.ndarray]]  # "train" and "test": x (N, 32, 32, 3) uint8 and y (N,)


def load_cifar100(size: str | None = None) -> ImageData:
    """CIFAR-100 (Krizhevsky 2009): photographs of 100 classes in 20 superclasses, 32x32 in colour, or its stand-in.

    ``size``: "slice" is 16,000 training, 2,000 validation and 2,000 test images, never downloaded; "full" is 45,000,
    5,000 and all test images there are, downloaded by torchvision (169 MB) if need be; None takes "slice" in the quick
    profile and "full" in the full one. Looks for ``cifar-100.npz``, then for torchvision's ``cifar-100-python/`` or its
    archive, in ``GBI_DATA_DIR``, then in the cache. Where the real set cannot be had the stand-in is returned (see
    :mod:`standin`), with a warning if "full" was asked for; ``size="standin"`` asks for it. ``source`` names what was
    used. Raises ``ValueError`` for another size, :class:`DataError` when the files in ``GBI_DATA_DIR`` are damaged.
    """
    size = size or ("full" if runtime.profile() == "full" else "slice")
    if size not in ("slice", "full", "standin"):
        raise ValueError(f"size is '{size}': use 'slice', 'full', 'standin', or None to go by the profile.")
    if size == "standin":
        return _load_standin("as asked for")
    place, path = find()
    told = "" if place == "from GBI_DATA_DIR" else overlooked()
    if path is None and size == "full":
        try:
            place, path = "downloaded by torchvision", fetch_cifar100()
        except DataError as error:
            told = f"{NAME} is not at hand, so a stand-in is used. {told or error}"
    if told:
        warnings.warn(told, stacklevel=2)
    return _real(read(path), size, place) if path else _load_standin(f"since {NAME} is not at hand")


def find() -> tuple[str, Path | None]:
    """Where the real set lies, (place, file or folder), or ("", None). A damaged copy in the cache is set aside."""
    if path := given():
        return "from GBI_DATA_DIR", path
    path = find_cached()
    return ("from the cache", path) if path else ("", None)


def find_cached() -> Path | None:
    """The file or folder of the set in the cache, or None; a damaged one is set aside, with a warning."""
    for path in filter(None, map(kept, (FILE, FOLDER))):
        try:
            read(path, DELETE)
            return path
        except DataError as error:
            if out_of_reach(error.__cause__):
                raise
            set_aside(NAME, path)
    return None


def read(path: Path, advice: str = layouts.REPLACE) -> Parts:
    """The arrays in ``cifar-100.npz``, or in the folder or archive that its makers and torchvision use.

    Raises :class:`DataError`, with ``advice``, for a damaged or other one.
    """
    try:
        parts = _read_npz(path) if layouts.plain(path.name).endswith("npz") else _read_python(path)
        _check(parts)
    except (OSError, KeyError, ValueError, *ZIP_ERRORS) as error:
        why = f"{error}".strip("'\"").rstrip(".")
        told = f"{path} is damaged or not {NAME} ({why}): {advice}."
        if out_of_reach(error):
            told = f"{path} cannot be read ({why}): make it readable, or try again."
        raise DataError(told) from error
    return parts


def _check(parts: Parts) -> None:
    """Raise ``ValueError`` for arrays that are not of the set's shape."""
    for name, (x, y) in parts.items():
        wanted = TRAIN if name == "train" else min(max(len(x), 1), TEST)
        if x.dtype != np.uint8 or x.shape != (wanted, 32, 32, 3) or y.shape != (wanted,) or y.dtype.kind not in "iu":
            raise ValueError(f"its {name} images are {x.dtype} {x.shape} with labels {y.dtype} {y.shape}")
        if y.min() < 0 or y.max() >= len(CLASSES):
            raise ValueError(f"its {name} labels go from {y.min()} to {y.max()}, not from 0 to 99")


def _read_npz(path: Path) -> Parts:
    if not zipfile.is_zipfile(path):  # NumPy would take it for a pickle
        raise ValueError("it is no whole npz file")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:  # NumPy leaves a damaged file open
        names = stored["fine_label_names"].tolist() if "fine_label_names" in stored else list(CLASSES)
        if names != list(CLASSES):
            raise ValueError("its classes have other names")
        return {part: (stored[f"x_{part}"], stored[f"y_{part}"]) for part in ("train", "test")}


def _read_python(path: Path) -> Parts:
    files, parts = python_files(path), {}
    for name in ("train", "test"):
        stored = pickle.loads(files[name], encoding="latin1")
        parts[name] = (stored["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(stored["fine_labels"]))
    return parts


def fetch_cifar100() -> Path:
    """Have torchvision download the set to the cache; its folder. Raises :class:`DataError` when it cannot be had."""
    return fetch_with(NAME, "CIFAR100", lambda dataset: [dataset.url], _settle)


def _settle(part: Path, cache: Path) -> Path:
    read(part / FOLDER, "try again later")
    with contextlib.suppress(OSError):  # another process may have been quicker; then its copy is used
        (part / FOLDER).rename(cache / FOLDER)
    read(cache / FOLDER, DELETE)
    return cache / FOLDER


def _real(parts: Parts, size: str, place: str) -> ImageData:
    order = {name: _canonical_order(*part, SEED + (name == "test")) for name, part in parts.items()}
    chosen = {
        "train": ("train", order["train"][:-HELD_OUT]),
        "validation": ("train", order["train"][-HELD_OUT:]),
        "test": ("test", order["test"]),
    }
    images = {}
    for name, (part, index) in chosen.items():
        x, y = parts[part]
        index = index if size == "full" else index[: SLICE[name]]
        images[name] = Images(torch.from_numpy(x[index]), torch.from_numpy(y[index].astype(np.int64)))
    total = sum(len(y) for _, y in parts.values())
    share = "all" if size == "full" else f"{sum(map(len, images.values())):,} of the"
    source = f"{NAME}, {share} {total:,} images at hand, {place}"
    return ImageData(NAME, source, **images, classes=CLASSES, groups=GROUPS, group_of=GROUP_OF)


def _canonical_order(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """A stratified order that is the same in whatever order the images come: they are first sorted by their hash."""
    digests = np.array([hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in x], dtype="V8")
    by_hash = np.lexsort((y, digests.view(">u8")))
    return by_hash[stratified_order(y[by_hash], seed)]


def _load_standin(why: str) -> ImageData:
    x, y = _rendered()
    order = stratified_order(y, SEED)
    ends = np.cumsum([SLICE[name] for name in SPLITS])
    images = {
        name: Images(
            torch.from_numpy(x[order[end - SLICE[name] : end]]), torch.from_numpy(y[order[end - SLICE[name] : end]])
        )
        for name, end in zip(SPLITS, ends, strict=True)
    }
    source = f"Glyphs-100, {len(y):,} pictures of glyphs rendered here: a stand-in for {NAME}, {why}"
    return ImageData(
        "Glyphs-100", source, **images, classes=standin.CLASSES, groups=standin.GROUPS, group_of=standin.GROUP_OF
    )


def _rendered() -> tuple[np.ndarray, np.ndarray]:
    """The pictures and classes of the stand-in: from the cache, or rendered, and kept there where it can be written."""
    n, path = sum(SLICE.values()), cache_dir() / STANDIN_FILE
    with (
        contextlib.suppress(OSError, KeyError, ValueError, *ZIP_ERRORS),
        path.open("rb") as file,
        np.load(file) as stored,
    ):
        x, y = stored["x"], stored["y"]
        if x.shape == (n, 32, 32, 3) and x.dtype == np.uint8 and y.shape == (n,):
            return x, y
    x, y = standin.render_standin(n)
    with contextlib.suppress(OSError), part_file(path) as part, part.open("wb") as stream:
        np.savez(stream, x=x, y=y)
    return x, y


def how_many(at_hand: int) -> str:
    """How many of the images at hand :func:`load_cifar100` gives in this profile, in words."""
    return f"{sum(SLICE.values()):,}" if runtime.profile() == "quick" else f"all {at_hand:,}"


def without_files() -> str:
    """What :func:`load_cifar100` gives in this profile if it finds no file, in words."""
    pictures = f"{sum(SLICE.values()):,} rendered pictures, a stand-in"
    if runtime.profile() == "quick":
        return pictures
    if offline():
        return f"{pictures}, since GBI_OFFLINE is set"
    return f"all {TRAIN + TEST:,} images, downloaded at first use ({pictures} without a network)"
