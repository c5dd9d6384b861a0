"""A wide residual network that describes images, under a decoder with Z, and under a plain classifier's last layer.

After Zagoruyko and Komodakis (2016, arXiv 1605.07146). Images are (B, 3, 32, 32) with values in [0, 1]. BatchNorm's
running means are used wherever z is inferred, in eval mode, so no image's gradient depends on another image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.models.base import Described
from gbi_helpers.models.hundred import CLASSES
from gbi_helpers.models.hundred_images import ConvModel, standardised
from gbi_helpers.models.image import Decoder, Join

PART = 500  # images


class Residual(nn.Module):
    """Two convolutions, each after BatchNorm and ReLU, added to what came in (through one of size 1 where it grows)."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels), nn.BatchNorm2d(out)])
        self.layers = nn.ModuleList([_convolution(channels, out, stride), _convolution(out, out)])
        self.past = nn.Conv2d(channels, out, 1, stride, bias=False) if stride > 1 or channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, out, S / stride, S / stride) of maps x (B, channels, S, S)."""
        first = functional.relu(self.norms[0](x))
        found = self.layers[1](functional.relu(self.norms[1](self.layers[0](first))))
        return found + (x if self.past is None else self.past(first))


class WideResNet(nn.Sequential):
    """From images to (B, 64 * widen) numbers: ``depth`` = 6 n + 4 layers in three groups, then a mean over places."""

    def __init__(self, depth: int = 16, widen: int = 8):
        blocks, channels = (depth - 4) // 6, [16, 16 * widen, 32 * widen, 64 * widen]
        sizes = [
            (channels[group + (turn > 0)], channels[group + 1], 2 if group and not turn else 1)
            for group in range(3)
            for turn in range(blocks)
        ]
        last = (nn.BatchNorm2d(channels[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(_convolution(3, 16), *(Residual(*size) for size in sizes), *last)


class WideModel(Described):
    """A wide residual network to a code, and a decoder of code and z ("mul") to a 16x16 image (B, 3, 16, 16).

    ``log_step_size``: of the one gradient step that it is trained for (:func:`.image.gradient_loss`).
    """

    nll = staticmethod(ConvModel.nll)

    def __init__(self, n_tasks: int = CLASSES, depth: int = 16, widen: int = 8, width: int = 512):
        super().__init__()
        self.n_tasks, self.latent = n_tasks, 64 * widen
        self.encoder = WideResNet(depth, widen)
        body = nn.Sequential(nn.Linear(width, 3 * 16 * 16), nn.Unflatten(1, (3, 16, 16)))
        self.decoder = Decoder(Join(self.latent, n_tasks, width, "mul"), body)
        self.log_step_size = nn.Parameter(torch.zeros(()))

    def encode(self, x: Tensor) -> Tensor:
        """The code h (B, latent) of images x."""
        return _described(self.encoder, x)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Standardised image (B, 3, 16, 16) of x seen as z (B, K)."""
        return self.decoder(self.encode(x), z)


class WideClassifier(Described):
    """The plain classifier: the same network, and class logits (B, K) by one layer."""

    def __init__(self, n_tasks: int = CLASSES, depth: int = 16, widen: int = 8):
        super().__init__()
        self.encoder, self.head = WideResNet(depth, widen), nn.Linear(64 * widen, n_tasks)

    def forward(self, x: Tensor) -> Tensor:
        """Class logits (B, K) of images x."""
        return self.head(_described(self.encoder, x))


def _described(network: WideResNet, x: Tensor) -> Tensor:
    """In training all of a batch, which BatchNorm sees at once; else a part at a time, for the sake of memory."""
    parts = (x,) if network.training else x.split(PART)
    return torch.cat([network(standardised(part)) for part in parts]).float()


def _convolution(channels: int, out: int, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
