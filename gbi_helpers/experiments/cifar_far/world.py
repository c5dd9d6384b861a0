"""What is seen of each image: label-free patch features drawn by a seed, and features of a borrowed network.

The patch features of one seed take minutes and gigabytes, so they are kept in memory while the rows of that seed are
measured; those of the network take longer, and are kept on the shelf in parts.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers import runtime
from gbi_helpers.data import ImageData, Images
from gbi_helpers.experiments.cifar import world as cifar
from gbi_helpers.experiments.cifar.views import View
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.source import code_of
from gbi_helpers.experiments.study import Settings
from gbi_helpers.models.eyes import FILE, PACKAGE, SHA256, Eyes, load_eyes
from gbi_helpers.models.features import PatchFeatures

PART = 2_500  # images whose features are kept in one file
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class World:
    """CIFAR-100, the shelf, and the patch features of the seed that is measured."""

    images: cifar.World
    held: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)

    @property
    def data(self) -> ImageData:
        """The images and their classes."""
        return self.images.data

    @property
    def digest(self) -> str:
        """Tells the images from any other."""
        return self.images.digest

    @property
    def facts(self) -> Settings:
        """Where the images are from, which they are, and how many; and whose eyes are borrowed."""
        eyes = {"package": PACKAGE.replace("_", "-"), "file": FILE, "sha256": SHA256, "licence": "Apache-2.0"}
        return {**self.images.facts, "eyes": eyes}

    def patches(self, seed: int, kinds: Sequence[Settings]) -> tuple[Tensor, ...]:
        """Patch features (N, D) of all images, in 16 bits, a block for each kind; only the last ones are held."""
        name = f"{seed} {kinds}"
        if name not in self.held:
            self.held.clear()
            self.held[name] = tuple(self._every(lambda x, see=see: see(x)) for see in self.filters(seed, kinds))
        return self.held[name]

    def filters(self, seed: int, kinds: Sequence[Settings]) -> list[Patches]:
        """What makes the patch features of a seed: filters drawn from every fifth training image."""
        x = self.data.train[::5].pixels()
        return [Patches.drawn(x, seed, **kind) for kind in kinds]

    def eyes(self, settings: Settings) -> Tensor:
        """Features (N, D) of all images through the borrowed network, in 16 bits, from the shelf or made now.

        Those of validation and test images are means over the image and its mirror image, so that one step there
        follows the mean of two gradients; training images are seen once.
        """
        network, code = functools.cache(lambda: self.network(settings)), code_of(load_eyes, Eyes.of, PART)

        def part(name: str, images: Images, start: int) -> Tensor:
            path = self.images.shelf.place(f"eyes-{name}-{start:06d}", [self.digest, dict(settings), code], ".npy")
            x = images.x[start : start + PART]
            made = self.images.shelf.get(
                path, lambda: network().of(_channels_first(x), name != "train").cpu().numpy(), np.load, _save
            )
            return torch.from_numpy(made)

        splits = zip(SPLITS, self._splits, strict=True)
        parts = [part(name, images, start) for name, images in splits for start in range(0, len(images), PART)]
        return torch.cat(parts).to(runtime.device())

    def network(self, settings: Settings) -> Eyes:
        """The borrowed network, on the device."""
        return load_eyes(**settings).to(runtime.device())

    def split(self, x: Tensor) -> View:
        """Rows (N, ...) of all images, by split."""
        return View(*x.split([len(part) for part in self._splits]))

    def _every(self, see: Any) -> Tensor:
        """What ``see`` makes of all images, a part at a time, without a second copy of it."""
        found: Tensor | None = None
        for start in range(0, len(self._images), PART):
            seen = see(_channels_first(self._images[start : start + PART]))
            if found is None:
                found = seen.new_empty(len(self._images), seen.shape[1])
            found[start : start + PART] = seen
        assert found is not None
        return found

    @functools.cached_property
    def _images(self) -> Tensor:
        return torch.cat([part.x for part in self._splits])

    @property
    def _splits(self) -> tuple[Images, Images, Images]:
        return self.data.train, self.data.validation, self.data.test


@dataclass(frozen=True)
class Patches:
    """Patch features of images that were averaged down by ``scale`` first."""

    scale: int
    features: PatchFeatures

    @staticmethod
    def drawn(x: Tensor, seed: int, scale: int = 1, **options: Any) -> Patches:
        """Filters from images x (N, 3, S, S) with values in [0, 1]."""
        with runtime.usual_defaults():
            made = PatchFeatures(**options).fit(_smaller(x, scale), seed)
        return Patches(scale, made.to(runtime.device()))

    def __call__(self, images: Tensor) -> Tensor:
        """Features (N, D), in 16 bits, of images (N, 3, S, S) in 8 bits."""
        return self.features.of(_smaller(images.float() / 255, self.scale))


def _smaller(x: Tensor, scale: int) -> Tensor:
    return functional.avg_pool2d(x, scale) if scale > 1 else x


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2).to(runtime.device())


def _save(array: np.ndarray, path: Path) -> None:
    with path.open("wb") as stream:  # np.save alone would add an ending to the name
        np.save(stream, array)


def opened(shelf: Shelf, variant: str) -> World:
    """All of the real CIFAR-100; a little of its stand-in in the small variant. ``DataError`` without the real set."""
    return World(cifar.opened(shelf, variant))
