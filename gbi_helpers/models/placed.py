"""Images of a small thing at one of eight places, and models told that a place is a shift, or where places are.

The places are those of a 3 x 3 grid without its middle, 7 pixels apart, so that neighbours overlap by half; a thing has
14 x 14 of the 28 x 28 pixels. z (B, K + 8) is which thing it is and where, side by side (:mod:`.factored`).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.models.base import Described
from gbi_helpers.models.factored import TwoFactors
from gbi_helpers.models.image import Join

SIDE, CELL, STEP = 28, 14, 7  # pixels: of an image, of a thing, and between places
GRID = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))  # rows and columns, once around the border


def points(like: Tensor) -> Tensor:
    """Images (8, 28, 28) with one bright pixel: where the upper left corner of a thing is at each place."""
    found = like.new_zeros(len(GRID), SIDE, SIDE)
    for place, (row, column) in enumerate(GRID):
        found[place, STEP * row, STEP * column] = 1
    return found


def stamped(x: Tensor, kernel: Tensor) -> Tensor:
    """Things x (B, 1, 14, 14) at each bright pixel of kernels (B, 28, 28), around the rim: (B, 1, 28, 28).

    That is a circular convolution, by Fourier transforms; it is linear in both, and a shift of either shifts the image.
    """
    size = (SIDE, SIDE)
    return torch.fft.irfft2(torch.fft.rfft2(x, size) * torch.fft.rfft2(kernel[:, None]), size)


def at_places(x: Tensor, place: Tensor) -> Tensor:
    """Images (B, 1, 28, 28) shrunk to half their size and set at places (B,), black elsewhere."""
    return stamped(functional.avg_pool2d(x, 2), points(x)[place])


class Stamp(nn.Module):
    """A drawing by the first factor, set where the second says: one drawing for all places.

    ``told``: places are known beforehand; else each has a kernel that is learned, so that nothing is told but that a
    place is a shift.
    """

    def __init__(self, n_first: int, latent: int, width: int, told: bool):
        super().__init__()
        self.n_first = n_first
        self.first = Join(latent, n_first, width, "mul")
        self.draw = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CELL * CELL))
        known = points(self.first.code.weight.detach())
        self.kernels = nn.Parameter(known if told else torch.randn_like(known) / SIDE, requires_grad=not told)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """Pixel values from a code (B, latent) and both factors (B, K + 8)."""
        drawing = self.draw(self.first(h, z[:, : self.n_first])).view(-1, 1, CELL, CELL)
        return stamped(drawing, (z[:, self.n_first :] @ self.kernels.flatten(1)).view(-1, SIDE, SIDE))


class Windows(nn.Module):
    """What is seen (B, width, 4, 4) through windows of 14 x 14 pixels, 7 apart and around the rim: a convolution.

    A thing at another place is seen in the same way through another window.
    """

    def __init__(self, width: int):
        super().__init__()
        self.look = nn.Conv2d(1, width, CELL, STEP)

    def forward(self, x: Tensor) -> Tensor:
        """From images (B, 1, 28, 28)."""
        return functional.relu(self.look(functional.pad(x, (0, STEP, 0, STEP), mode="circular")))


class PooledCode(nn.Module):
    """Numbers (B, out) of images that are the same wherever the thing is: each unit's largest answer in any window."""

    def __init__(self, out: int, width: int):
        super().__init__()
        self.windows, self.out = Windows(width), nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        """From images (B, 1, 28, 28)."""
        return self.out(self.windows(x).amax((2, 3)))


class Stamped(TwoFactors):
    """A conditional VAE of a thing at a place that sets one drawing at all places (:class:`Stamp`).

    ``told``: where the places are. ``pooled``: its code is the same wherever the thing is, seen through windows by
    ``seen`` units.
    """

    def __init__(
        self,
        told: bool = False,
        pooled: bool = True,
        n_first: int = 10,
        latent: int = 16,
        width: int = 384,
        seen: int = 128,
    ):
        super().__init__("late", n_first, len(GRID), latent, width)
        self.decoder = Stamp(n_first, latent, width, told)
        if pooled:
            self.add_module("encoder", PooledCode(2 * latent, seen))  # in the place of that which sees all pixels


class PlaceClassifier(Described):
    """The plain rival that looks through windows: logits of which thing it is, and where.

    ``told`` "shifts": it names the thing from each unit's largest answer in any window, the place from all of them.
    "places": one network names the thing in the window at each place, and its logits there are those of the pair.
    """

    def __init__(self, told: Literal["shifts", "places"] = "shifts", n_first: int = 10, width: int = 128):
        super().__init__()
        self.told = told
        self.layers = nn.Sequential(Windows(width), nn.Conv2d(width, width, 1), nn.ReLU())
        self.thing = nn.Linear(width, n_first)
        self.place = nn.Linear(width * 16, len(GRID)) if told == "shifts" else None

    def forward(self, x: Tensor) -> Tensor:
        """Log probabilities (B, K, 8) of the pairs, from images (B, 1, 28, 28)."""
        seen = self.layers(x)
        if self.place is None:
            row, column = zip(*GRID, strict=True)
            logits = self.thing(seen[:, :, row, column].mT).mT
        else:
            logits = self.thing(seen.amax((2, 3)))[:, :, None] + self.place(seen.flatten(1))[:, None]
        return logits.flatten(1).log_softmax(1).view_as(logits)
