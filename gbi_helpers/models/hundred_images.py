"""Convolutional models of colour images with a task abstraction Z: an autoencoder with a small code, and a U-Net.

Images are (B, 3, 32, 32) with values in [0, 1]. GroupNorm, not BatchNorm: with that one image's gradient would depend
on the others of its batch. What is described is the standardised image, and losses are nats of a Gaussian.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.models.base import Described, gaussian_nll
from gbi_helpers.models.hundred import CLASSES
from gbi_helpers.models.image import Conditioning, Decoder, Join

CENTRE, SPREAD = 0.48, 0.27  # of CIFAR-100's pixels, roughly


def standardised(x: Tensor, side: int = 32) -> Tensor:
    """Images (B, 3, 32, 32) with mean near 0 and spread near 1, averaged down to ``side`` pixels."""
    return (functional.adaptive_avg_pool2d(x, side) - CENTRE) / SPREAD


def block(channels: int, out: int, stride: int) -> nn.Sequential:
    """Convolution, GroupNorm, ReLU."""
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.GroupNorm(8, out), nn.ReLU())


class ConvModel(Described):
    """Convolutions to a code, and a decoder of code and z to a 16x16 image (B, 3, 16, 16)."""

    def __init__(
        self,
        latent: int = 64,
        n_tasks: int = CLASSES,
        conditioning: Conditioning = "concat",
        channels: int = 32,
        width: int = 256,
    ):
        super().__init__()
        self.latent, self.n_tasks = latent, n_tasks
        self.encoder = conv_encoder(latent, channels)
        body = nn.Sequential(nn.Linear(width, 3 * 16 * 16), nn.Unflatten(1, (3, 16, 16)))
        self.decoder = Decoder(Join(latent, n_tasks, width, conditioning), body)

    @staticmethod
    def nll(output: Tensor, x: Tensor) -> Tensor:
        """Nats (B,) of images x, standardised and averaged down to 16x16, around the output."""
        return gaussian_nll(output, standardised(x, 16))

    def encode(self, x: Tensor) -> Tensor:
        """The code h (B, latent) of images x."""
        return self.encoder(x)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Standardised image (B, 3, 16, 16) of x seen as z (B, K)."""
        return self.decoder(self.encode(x), z)


def conv_encoder(out: int, channels: int = 32) -> nn.Sequential:
    """Three convolutions of stride 2, 32 -> 4 pixels wide, and a linear layer to ``out`` numbers."""
    return nn.Sequential(
        block(3, channels, 2),
        block(channels, 2 * channels, 2),
        block(2 * channels, 4 * channels, 2),
        nn.Flatten(),
        nn.Linear(4 * channels * 16, out),
    )


class ConvClassifier(Described):
    """The plain classifier: the convolutions and the code of :class:`ConvModel`, one hidden layer, class logits."""

    def __init__(self, n_tasks: int = CLASSES, latent: int = 64, channels: int = 32, width: int = 256):
        super().__init__()
        head = (nn.ReLU(), nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, n_tasks))
        self.layers = nn.Sequential(conv_encoder(latent, channels), *head)

    def forward(self, x: Tensor) -> Tensor:
        """Class logits (B, K) of images x."""
        return self.layers(x)


Maps = tuple[Tensor, Tensor, Tensor]


class UNet(Described):
    """Encoder and decoder joined by skip connections; z is multiplied in at the narrowest place.

    The skips carry the image past z, so the decoder hardly needs it: a model that fails, and shows how.
    """

    latent = 1

    def __init__(self, n_tasks: int = CLASSES, channels: int = 16):
        super().__init__()
        self.n_tasks = n_tasks
        c = channels
        self.down = nn.ModuleList([block(3, c, 2), block(c, 2 * c, 2), block(2 * c, 4 * c, 2)])
        self.decoder = UNetDecoder(n_tasks, c)

    @staticmethod
    def nll(output: Tensor, x: Tensor) -> Tensor:
        """Nats (B,) of standardised images x around the output."""
        return gaussian_nll(output, standardised(x))

    def encode(self, x: Tensor) -> Maps:
        """The maps (B, c, 16, 16), (B, 2c, 8, 8) and (B, 4c, 4, 4), the first two of which skip z."""
        wide = self.down[0](standardised(x))
        middle = self.down[1](wide)
        return wide, middle, self.down[2](middle)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Standardised image (B, 3, 32, 32) of x seen as z (B, K)."""
        return self.decoder(self.encode(x), z)


class UNetDecoder(nn.Module):
    """From the maps of the encoder and z to a standardised image (B, 3, 32, 32)."""

    def __init__(self, n_tasks: int, c: int):
        super().__init__()
        self.task = nn.Linear(n_tasks, 4 * c)
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(size, out, 2, 2) for size, out in ((4 * c, 2 * c), (4 * c, c), (2 * c, 3))]
        )

    def forward(self, maps: Maps, z: Tensor) -> Tensor:
        """Standardised image (B, 3, 32, 32)."""
        wide, middle, narrow = maps
        seen = narrow * self.task(z)[:, :, None, None]
        seen = torch.cat([functional.relu(self.up[0](seen)), middle], dim=1)
        seen = torch.cat([functional.relu(self.up[1](seen)), wide], dim=1)
        return self.up[2](seen)
