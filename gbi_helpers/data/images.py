"""MNIST and Fashion-MNIST: the real sets where they are at hand, real slices of them shipped with the course if not.

Both are kept in one fixed, shuffled, stratified order: the first n images of a split hold the classes in the set's own
shares, and a slice is the beginning of the full split, so ``slice.test[7]`` and ``full.test[7]`` are the same image.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex, cast

import numpy as np
import torch
from torch import Tensor

from gbi_helpers import runtime
from gbi_helpers.data import layouts
from gbi_helpers.data.image_files import fetch_images, find
from gbi_helpers.data.image_sets import FASHION_MNIST, FILES, MNIST, ImageSet, overlooked
from gbi_helpers.files import DataError, load_asset

SEED = 20240918
HELD_OUT = 5_000  # validation images among the 60,000 for training
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Images:
    """N images of one split: ``x`` (N, 28, 28), or (N, 32, 32, 3) in colour, uint8; their classes ``y`` (N,) int64.

    Raises ``ValueError`` for others.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        """Check what :meth:`pixels` would divide by 255 once more, or turn over."""
        x, y = self.x, self.y
        pictures = x.dim() == 3 or (x.dim() == 4 and x.shape[3] == 3)
        if x.dtype != torch.uint8 or not pictures or y.shape != x.shape[:1]:
            raise ValueError(
                "Images need x in uint8, (N, height, width) or in colour (N, height, width, 3), and y (N,), but x is "
                f"{x.dtype} {tuple(x.shape)}, and y {tuple(y.shape)}."
            )

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.y)

    def __getitem__(self, index: SupportsIndex | slice | Tensor | Sequence[int]) -> Images:
        """Some of the images, always as a batch: ``images[3]`` holds one. Raises ``IndexError`` past the end."""
        if isinstance(index, SupportsIndex) and not getattr(index, "ndim", 0):  # of NumPy and PyTorch, too
            index = [range(len(self))[index]]
        return Images(self.x[index], self.y[index])

    def __repr__(self) -> str:
        """Number, size and classes."""
        return f"Images({len(self):,} of {'x'.join(map(str, self.x.shape[1:]))}, classes {len(self.y.unique())})"

    def pixels(self) -> Tensor:
        """The images as a model wants them: (N, 1, 28, 28), or (N, 3, 32, 32) in colour, float32 in [0, 1]."""
        channels_first = self.x.unsqueeze(1) if self.x.dim() == 3 else self.x.permute(0, 3, 1, 2)
        return channels_first.float().contiguous() / 255


@dataclass(frozen=True, eq=False)
class ImageData:
    """A set in three splits. ``source``: one short sentence naming what was used; ``classes``: a name for each y.

    ``train`` and ``validation`` are None in the slice of Fashion-MNIST, which brings test images only. ``groups``:
    names of the superclasses, and ``group_of`` the one of each class, where the set has such.
    """

    name: str
    source: str
    train: Images
    validation: Images
    test: Images
    classes: tuple[str, ...]
    groups: tuple[str, ...] = ()
    group_of: tuple[int, ...] = ()

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all images and labels, in their order: it tells this set from any other."""
        found = hashlib.sha256()
        for part in filter(None, (self.train, self.validation, self.test)):
            found.update(part.x.numpy().tobytes())
            found.update(part.y.numpy().tobytes())
        return found.hexdigest()

    def cut(self, train: int, validation: int, test: int) -> ImageData:
        """The set with the first so many images of each split; a split that is None stays so."""
        sizes = dict(zip(SPLITS, (train, validation, test), strict=True))
        there = {name: size for name, size in sizes.items() if getattr(self, name) is not None}
        return dataclasses.replace(self, **{name: getattr(self, name)[:size] for name, size in there.items()})

    def __repr__(self) -> str:
        """The source and the size of each split."""
        splits = {name: getattr(self, name) for name in SPLITS}
        sizes = ", ".join(f"{name} {len(part):,}" for name, part in splits.items() if part is not None)
        return f"ImageData({self.source}: {sizes})"


def load_mnist(size: str | None = None) -> ImageData:
    """MNIST: handwritten digits, 28x28, ten classes (LeCun, Cortes and Burges 1998).

    ``size``: "slice" is 10,000 training, 2,000 validation and 2,000 test images, the same wherever they come from, and
    never downloaded, since they come with the course; "full" is 55,000, 5,000 and 10,000, downloaded to the cache if
    need be; None takes "slice" in the quick profile and "full" in the full one. Where "full" cannot be had, a warning
    says why and the slice is returned; ``source`` always names what was used.
    Raises ``ValueError`` for another size, :class:`DataError` when the files in ``GBI_DATA_DIR`` are damaged.
    """
    return _load(MNIST, size)


def load_fashion_mnist(size: str | None = None) -> ImageData:
    """Fashion-MNIST: clothes, 28x28, ten classes (Xiao, Rasul and Vollgraf 2017). As :func:`load_mnist`.

    Its "slice" has 2,000 test images and nothing else (``train`` and ``validation`` are None).
    """
    return _load(FASHION_MNIST, size)


def _load(spec: ImageSet, size: str | None) -> ImageData:
    size = size or ("full" if runtime.profile() == "full" else "slice")
    if size not in ("slice", "full"):
        raise ValueError(f"size is '{size}': use 'slice', 'full', or None to go by the profile.")
    place, files = find(spec)
    told = "" if place == "from GBI_DATA_DIR" else overlooked(spec)
    if not files and size == "full":
        try:
            folder = fetch_images(spec)
            place, files = "downloaded by torchvision", tuple(folder / name for name in FILES)
        except DataError as error:
            told = f"Not all of {spec.name} is at hand, so the shipped slice is used. {told or error}"
    if told:
        warnings.warn(told, stacklevel=3)
    if not files:
        return _shipped(spec, f" (all of {spec.name} was asked for, but could not be had)" if size == "full" else "")
    return _from_files(spec, files, size, place)


def read_idx(path: Path) -> np.ndarray:
    """The array in an idx file of bytes, packed or not, as MNIST comes in: images (N, 28, 28) or labels (N,), uint8."""
    data = layouts.content(path)
    n_axes = data[3]
    shape = np.frombuffer(data, ">i4", count=n_axes, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A random order of ``labels`` (N,) in which every run of neighbours holds the classes in their overall shares."""
    random = np.random.RandomState(seed)  # its stream is frozen: the same numbers in every version of NumPy
    shuffled = random.permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + random.random_sample(len(members))) / len(members)
    return np.argsort(place, kind="stable")


def splits(train_labels: np.ndarray, test_labels: np.ndarray) -> dict[str, np.ndarray]:
    """Indices of each full split: train and validation into the 60,000 training images, test into the 10,000."""
    order = stratified_order(train_labels, SEED)
    return {
        "train": order[:-HELD_OUT],
        "validation": order[-HELD_OUT:],
        "test": stratified_order(test_labels, SEED + 1),
    }


def _from_files(spec: ImageSet, files: Sequence[Path], size: str, place: str) -> ImageData:
    train_x, train_y, test_x, test_y = map(read_idx, files)
    parts: dict[str, Images | None] = dict.fromkeys(SPLITS)
    for name, index in splits(train_y, test_y).items():
        x, y = (test_x, test_y) if name == "test" else (train_x, train_y)
        if size == "full" or name in spec.shipped:
            index = index if size == "full" else index[: spec.shipped[name]]
            parts[name] = _images(x[index], y[index])
    share = "all" if size == "full" else f"{sum(spec.shipped.values()):,} of its"
    return _data(spec, f"{spec.name}, {share} {spec.total:,} images, {place}", parts)


def _shipped(spec: ImageSet, why: str) -> ImageData:
    parts: dict[str, Images | None] = dict.fromkeys(SPLITS)
    with np.load(load_asset(spec.asset), allow_pickle=False) as stored:
        for name in spec.shipped:
            parts[name] = _images(stored[f"{name}_x"], stored[f"{name}_y"])
    n = sum(spec.shipped.values())
    return _data(spec, f"{spec.name}, the {n:,} images that come with the course{why}", parts)


def _images(x: np.ndarray, y: np.ndarray) -> Images:
    return Images(torch.from_numpy(x), torch.from_numpy(y.astype(np.int64)))


def _data(spec: ImageSet, source: str, parts: dict[str, Images | None]) -> ImageData:
    return ImageData(spec.name, source, classes=spec.classes, **cast(dict[str, Any], parts))
