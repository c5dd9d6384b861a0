"""Images made by two factors, which digit and how it is turned, each with a z of its own that enters somewhere else.

z (B, K + A) is the first factor's and the second's, side by side: one gradient tells of both, in K + A numbers for the
K A pairs. Images are (B, 1, 28, 28) with values in [0, 1]; all decoders return pixel values.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.models.base import Described, squared_error
from gbi_helpers.models.image import PIXELS, Join

Order = Literal["product", "late", "pairs", "operator", "repeated", "turned", "equivariant"]


def turned(x: Tensor, degrees: Tensor) -> Tensor:
    """Images x (B, 1, H, W) turned around their middle by ``degrees`` (B,), counterclockwise, black where none was."""
    angle = degrees.to(x) * (math.pi / 180)
    cos, sin, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
    theta = torch.stack([torch.stack([cos, -sin, none], 1), torch.stack([sin, cos, none], 1)], 1)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def all_turned(x: Tensor, n: int, sign: float = 1.0) -> Tensor:
    """Images x (B, 1, H, W) turned by each of n even angles: (B, n, H, W)."""
    angles = sign * 360 / n * torch.arange(n, device=x.device)
    return turned(x.repeat_interleave(n, 0), angles.repeat(len(x))).view(len(x), n, *x.shape[2:])


def mixture_of_turns(x: Tensor, z: Tensor) -> Tensor:
    """Each image of x (B, 1, H, W) turned by all even angles, mixed by z (B, A): of weight 0 none is turned in vain."""
    wanted = torch.ones_like(z, dtype=torch.bool) if z.requires_grad else z != 0
    image, number = wanted.nonzero(as_tuple=True)
    each = turned(x[image], 360 / z.shape[1] * number) * z[image, number][:, None, None, None]
    return torch.zeros_like(x).index_add(0, image, each)


class Meeting(nn.Module):
    """Both factors multiplied into one layer ("product"), or one after the other ("late"), or one z for each pair."""

    def __init__(self, n_first: int, n_second: int, latent: int, width: int, order: Order):
        super().__init__()
        self.n_first, self.order = n_first, order
        self.first = Join(latent, n_first * n_second if order == "pairs" else n_first, width, "mul")
        self.second = nn.Linear(n_second, width) if order != "pairs" else None
        self.between, self.out = nn.Linear(width, width), nn.Linear(width, PIXELS)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """Pixel values from a code (B, latent) and both factors (B, K + A)."""
        one, other = z[:, : self.n_first], z[:, self.n_first :]
        if self.second is None:
            units = self.first(h, (one[:, :, None] * other[:, None]).flatten(1))
        else:
            units = self.first(h, one)
            units = units * self.second(other) if self.order == "product" else units
        hidden = functional.relu(self.between(units))
        if self.second is not None and self.order == "late":
            hidden = hidden * self.second(other)
        return self.out(hidden).view(-1, 1, 28, 28)


class Drawn(nn.Module):
    """A drawing by the first factor, as a code h and z say, then changed by the second as a mixture of linear maps.

    The maps are turns by even angles, known beforehand (``canvas`` 0), or learned: each angle has a matrix from
    ``canvas`` numbers to pixels, which is told nothing of turning but is the same for all digits.
    """

    def __init__(self, n_first: int, n_second: int, latent: int, width: int, canvas: int = 0):
        super().__init__()
        self.n_first, self.canvas = n_first, canvas
        self.first = Join(latent, n_first, width, "mul")
        self.draw = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, canvas or PIXELS))
        self.maps = nn.Linear(canvas, n_second * PIXELS) if canvas else None

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """Pixel values from a code (B, latent) and both factors (B, K + A)."""
        one, other = z[:, : self.n_first], z[:, self.n_first :]
        drawing = self.draw(self.first(h, one))
        if self.maps is None:
            return mixture_of_turns(drawing.view(-1, 1, 28, 28), other)
        each = self.maps(drawing).view(len(z), -1, 28, 28)
        return (other[:, :, None, None] * each).sum(1, keepdim=True)


class Repeated(nn.Module):
    """A drawing by the first factor in ``canvas`` numbers, changed by one learned map, the a-th angle by it a times.

    Nothing is told of turning but that an angle is so many steps of one kind.
    """

    def __init__(self, n_first: int, latent: int, width: int, canvas: int):
        super().__init__()
        self.n_first = n_first
        self.first = Join(latent, n_first, width, "mul")
        self.draw = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, canvas))
        self.step, self.out = nn.Linear(canvas, canvas, bias=False), nn.Linear(canvas, PIXELS)
        nn.init.orthogonal_(self.step.weight)  # so that eight steps neither fade nor grow

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """Pixel values from a code (B, latent) and both factors (B, K + A)."""
        drawing = self.draw(self.first(h, z[:, : self.n_first]))
        mixed = torch.zeros_like(drawing)
        for weight in z[:, self.n_first :].split(1, 1):
            mixed, drawing = mixed + weight * drawing, self.step(drawing)
        return self.out(mixed).view(-1, 1, 28, 28)


class CodeOf(nn.Module):
    """Numbers (B, out) of images by one hidden layer; of several ``turns``, its mean over the image turned by each.

    Then it is the same however the image is turned, but for what is blurred.
    """

    def __init__(self, out: int, width: int, turns: int = 1):
        super().__init__()
        self.turns = turns
        self.hidden, self.out = nn.Linear(PIXELS, width), nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        """From images (B, 1, 28, 28)."""
        seen = all_turned(x, self.turns) if self.turns > 1 else x
        return self.out(functional.relu(self.hidden(seen.flatten(2))).mean(1))


class TwoFactors(Described):
    """A conditional VAE of images by two factors, of ``n_first`` and ``n_second`` values.

    ``order``: "product", "late" or "pairs" (:class:`Meeting`); in the order in which the image is made, "operator" with
    learned maps from ``canvas`` numbers, "repeated" with one that is taken as often as the second factor says, "turned"
    with known turns, "equivariant" with a code that no turn moves, too.
    """

    nll = staticmethod(squared_error)

    def __init__(
        self,
        order: Order = "late",
        n_first: int = 10,
        n_second: int = 8,
        latent: int = 16,
        width: int = 384,
        canvas: int = 64,
    ):
        super().__init__()
        self.n_first, self.n_second, self.n_tasks = n_first, n_second, n_first + n_second
        self.encoder = CodeOf(2 * latent, width, n_second if order == "equivariant" else 1)
        self.decoder: nn.Module
        if order in ("product", "late", "pairs"):
            self.decoder = Meeting(n_first, n_second, latent, width, order)
        elif order == "repeated":
            self.decoder = Repeated(n_first, latent, width, canvas)
        else:
            self.decoder = Drawn(n_first, n_second, latent, width, canvas if order == "operator" else 0)

    def encode(self, x: Tensor) -> Tensor:
        """The mean code (B, latent)."""
        return self.encoder(x).chunk(2, 1)[0]

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Pixel values of images x seen as z (B, K + A), with the mean code."""
        return self.decoder(self.encode(x), z)

    def free_energy(self, x: Tensor, z: Tensor, beta: float) -> Tensor:
        """What the code and z do not explain of x, and beta times what the code costs, nats (B,)."""
        mean, log_var = self.encoder(x).chunk(2, 1)
        h = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        cost = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)
        return self.nll(self.decoder(h, z), x) + beta * cost


class PairClassifier(Described):
    """The plain rival: logits (B, K + A) of both factors from one network with two heads.

    ``turns``: it is told what turning is. One network names the digit in the image turned back by each angle, and its
    logits there are those of the pair (B, K A): what it learned of a digit at one angle it knows at all.
    """

    def __init__(self, n_first: int = 10, n_second: int = 8, width: int = 384, turns: bool = False):
        super().__init__()
        self.n_first, self.n_second, self.turns = n_first, n_second, turns
        out = n_first if turns else n_first + n_second
        self.layers = nn.Sequential(
            nn.Linear(PIXELS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, out)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Log probabilities (B, K, A) of the pairs, from images (B, 1, 28, 28)."""
        if self.turns:
            logits = self.layers(all_turned(x, self.n_second, -1.0).flatten(2)).mT
        else:
            one, other = self.layers(x.flatten(1)).split([self.n_first, self.n_second], 1)
            logits = one[:, :, None] + other[:, None]
        return logits.flatten(1).log_softmax(1).view_as(logits)
