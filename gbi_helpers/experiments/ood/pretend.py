"""Strangers made of digits: on these, and on nothing else that is foreign, a score's open settings are chosen.

None is of a kind that the study then asks about (no clothes, no noise, nothing turned, shuffled or inverted, no digit
left out), so that a setting chosen here has seen none of them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def strangers(x: Tensor, y: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Five kinds of strangers, each made of digits x (N, 1, 28, 28), standardised, of classes y (N,).

    "spliced": the upper half of one digit on the lower half of one of another class. "overlaid": the brighter pixel of
    two such digits; "averaged": their mean. "quartered": quarters exchanged across the middle. "blurred": a mean over
    7 x 7 pixels.
    """
    other = x[_partners(y, seed)]
    middle = x.shape[2] // 2
    return {
        "spliced": torch.cat([x[:, :, :middle], other[:, :, middle:]], 2),
        "overlaid": torch.maximum(x, other),
        "averaged": (x + other) / 2,
        "quartered": x.roll((middle, middle), (2, 3)),
        "blurred": functional.avg_pool2d(x, 7, 1, 3, count_include_pad=False),
    }


def _partners(y: Tensor, seed: int) -> Tensor:
    """For each image the index of one of another class, at random."""
    draw = torch.Generator().manual_seed(seed)
    order = torch.rand(len(y), len(y), generator=draw, dtype=torch.float32, device=draw.device).to(y.device)
    return torch.where(y[:, None] == y, -1.0, order).argmax(1)
