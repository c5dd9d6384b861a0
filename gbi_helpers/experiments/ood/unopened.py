"""Foreign images that nobody looked at until every score and setting was fixed: letters, and CIFAR-10 in grey."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers.data import layouts, standin
from gbi_helpers.data.download import offline
from gbi_helpers.data.image_files import torchvision
from gbi_helpers.experiments.needed import at_hand
from gbi_helpers.files import ZIP_ERRORS, DataError, cache_dir
from gbi_helpers.runtime import usual_defaults

ALPHABETS = ("round capitals", "straight capitals", "slanted capitals", "small bowls", "Greek", "Cyrillic", "Georgian",
             "Armenian")  # fmt: skip
INK = 20  # pixels of a letter's longest side, as of a digit's in MNIST


@usual_defaults()
def letters(n: int = 2000, seed: int = 0) -> Tensor:
    """Printed letters (n, 1, 28, 28) in [0, 1], white on black, in several fonts: sized, turned and moved a little.

    An O among them is a 0 to any reader; they are left in.
    """
    wanted = {name for group in ALPHABETS for name in _members(group)}
    masks, first, fonts = standin._masks()
    rows = [at + k for at, many, name in zip(first, fonts, standin.CLASSES, strict=True) for k in range(many)
            if name in wanted]  # fmt: skip
    draw = torch.Generator().manual_seed(seed)
    chosen = masks[torch.tensor(rows)[torch.randint(len(rows), (n,), generator=draw)]]
    turn, size = 0.15 * torch.randn(n, generator=draw), 1 + 0.1 * torch.randn(n, generator=draw)
    zoom = (28 / INK) * (standin.GLYPH / standin.ATLAS) / size
    move = 0.07 * torch.randn(n, 2, generator=draw)
    grid = torch.stack([torch.stack([zoom * turn.cos(), -zoom * turn.sin(), move[:, 0]], 1),
                        torch.stack([zoom * turn.sin(), zoom * turn.cos(), move[:, 1]], 1)], 1)  # fmt: skip
    placed = functional.affine_grid(grid, [n, 1, 28, 28], align_corners=False)
    return functional.grid_sample(chosen, placed, align_corners=False).clamp(0, 1)


def _members(group: str) -> list[str]:
    return [word.split("=")[0] for word in standin.FAMILIES[group].split()]


@usual_defaults()
def photographs(n: int = 2000) -> Tensor:
    """The first ``n`` test images of CIFAR-10 at hand (n, 1, 28, 28), grey, in [0, 1], the outer two pixels cut off.

    From "cifar-10-test.npz" (x_test, uint8) in GBI_DATA_DIR, else by torchvision's download.
    Raises ``DataError`` where neither is to be had, or the file is damaged or another.
    """
    x = torch.from_numpy(_cifar10()[:n]).float() / 255
    return (x @ torch.tensor([0.299, 0.587, 0.114]))[:, None, 2:30, 2:30]


def _cifar10() -> np.ndarray:
    """CIFAR-10's test images (N, 32, 32, 3) uint8; ``DataError`` where they are not at hand, or not they."""
    folder = layouts.data_dir()
    file = folder / "cifar-10-test.npz" if folder else None
    return _unpacked(file) if file and file.exists() else _downloaded(folder or cache_dir())


def _unpacked(file: Path) -> np.ndarray:
    try:
        with file.open("rb") as stream, np.load(stream) as stored:
            x = stored["x_test"]
        if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1:] != (32, 32, 3):
            raise ValueError(f"x_test is {x.dtype} of shape {x.shape}")
    except (OSError, KeyError, ValueError, TypeError, AttributeError, *ZIP_ERRORS) as error:
        why = f"{error}".strip("'\"").rstrip(".")
        told = f"{file.name} is damaged or has no x_test (N, 32, 32, 3) uint8 ({why}): {layouts.REPLACE}."
        raise DataError(told) from error
    return x


def _downloaded(folder: Path) -> np.ndarray:
    try:
        return np.asarray(torchvision().datasets.CIFAR10(str(folder), train=False, download=not offline()).data)
    except (ImportError, OSError, RuntimeError) as error:
        advice = "put cifar-10-test.npz into GBI_DATA_DIR, or leave the row out with --rows"
        raise DataError(f"CIFAR-10 is not at hand: {advice}.") from error


@functools.cache
def digest() -> str:
    """Tells the photographs at hand from any other; "" where there are none, for nothing is fetched to look at them."""
    return hashlib.sha256(photographs().numpy().tobytes()).hexdigest() if at_hand("cifar-10") else ""


UNOPENED: dict[str, Callable[[], Tensor]] = {"letters": letters, "photographs": photographs}
