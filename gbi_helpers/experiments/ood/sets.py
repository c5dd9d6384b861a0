"""The images of the out-of-distribution study: MNIST, and what is foreign to it, each standardised.

Clothes, noise and inverted digits are standardised by their own mean and deviation, so that brightness and contrast
give nothing away; what is made of the test images by moving pixels has their scale already. The one exception are the
faint clothes, which are there to show what low contrast does to a likelihood. But black is then another number in each
set, and gives all away to whoever compares pixels: :meth:`Sets.with_one_black` is for those who would rather not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers import runtime
from gbi_helpers.data import ImageData

FAINT = 0.3  # contrast of the faint clothes
ANGLES = tuple(range(0, 181, 15))


@dataclass(frozen=True)
class Scale:
    """The mean and standard deviation of the pixels of one set: what it is standardised by."""

    mean: float
    sd: float

    @staticmethod
    def of(x: Tensor) -> Scale:
        """The scale of images x, over all pixels of all images."""
        return Scale(float(x.mean()), float(x.std()))

    def __call__(self, x: Tensor) -> Tensor:
        """The images x with this set's mean taken away and its deviation divided out."""
        return (x - self.mean) / self.sd

    def undo(self, x: Tensor) -> Tensor:
        """Standardised images as pixels in [0, 1] again, for drawing."""
        return (x * self.sd + self.mean).clamp(0, 1)


def rotated(x: Tensor, degrees: float) -> Tensor:
    """Images x (N, 1, H, W) in [0, 1] turned counter-clockwise about their middle, black where nothing was."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.tensor([[c, -s, 0.0], [s, c, 0.0]], dtype=x.dtype, device=x.device).expand(len(x), 2, 3)
    grid = functional.affine_grid(turn, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def shuffled(x: Tensor, seed: int = 0) -> Tensor:
    """Images x (N, ...) with the pixels of each in a random order of its own."""
    draw = torch.Generator().manual_seed(seed)
    order = torch.rand(len(x), x[0].numel(), generator=draw, dtype=torch.float32, device=draw.device).argsort(1)
    return x.flatten(1).gather(1, order.to(x.device)).view_as(x)


@dataclass(frozen=True)
class Sets:
    """Standardised images on one device: splits of MNIST, foreign sets by name, and turned test images by angle."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    foreign: dict[str, Tensor]
    turned: dict[int, Tensor]
    scale: Scale
    kept: tuple[int, ...] = tuple(range(10))  # the digits that are known

    @staticmethod
    def of(data: ImageData, fashion: Tensor) -> Sets:
        """The sets made of MNIST and of pictures of clothes (N, 1, 28, 28)."""
        device = runtime.device()
        parts = [(part.pixels().to(device), part.y.to(device)) for part in (data.train, data.validation, data.test)]
        scale, fashion = Scale.of(parts[0][0]), fashion.to(device)
        test = parts[2][0]
        draw = torch.Generator().manual_seed(0)
        noise = torch.randn(test.shape, generator=draw, dtype=torch.float32, device=draw.device).to(device)
        foreign = {
            "fashion": Scale.of(fashion)(fashion),
            "faint": FAINT * Scale.of(fashion)(fashion),
            "noise": noise,
            "shuffled": shuffled(scale(test)),
            "rotated": scale(rotated(test, 90)),
            "inverted": Scale.of(1 - test)(1 - test),
        }
        turned = {angle: scale(rotated(test, angle)) for angle in ANGLES}
        train, validation, known = ((scale(x), y) for x, y in parts)
        return Sets(train, validation, known, foreign, turned, scale)

    def clothes_only(self) -> Sets:
        """The same with the paper's foreign set alone: for models of which less is asked."""
        clothes = {"fashion": self.foreign["fashion"]}
        return Sets(self.train, self.validation, self.test, clothes, {}, self.scale)

    def with_one_black(self, clothes: Tensor) -> dict[str, Tensor]:
        """Foreign images whose black is that of the digits, made of clothes (N, 1, 28, 28) in [0, 1] and of the digits.

        "fashion" is standardised by itself but for its black; the others by the digits' scale, so "bright" are the
        clothes as they are, and "faint" those of little contrast.
        """
        clothes, digits = clothes.to(self.test[0]), self.scale.undo(self.test[0])
        own = torch.where(clothes == 0, self.scale(torch.zeros_like(clothes)), Scale.of(clothes)(clothes))
        raw = {"bright": clothes, "faint": FAINT * clothes, "inverted": 1 - digits}
        return {"fashion": own} | {name: self.scale(x) for name, x in raw.items()}

    def without(self, pair: tuple[int, int]) -> Sets:
        """The sets of the eight other digits, numbered anew 0 .. 7; foreign are the test images of the pair."""
        digits = tuple(digit for digit in range(10) if digit not in pair)
        kept = torch.tensor(digits, dtype=torch.int64, device=self.test[1].device)

        def split(part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            inside = torch.isin(part[1], kept)
            return part[0][inside], torch.searchsorted(kept, part[1][inside])

        foreign = {"near": self.test[0][~torch.isin(self.test[1], kept)]}
        return Sets(split(self.train), split(self.validation), split(self.test), foreign, {}, self.scale, digits)
