"""Slots for tasks that have no name yet, in networks of images: what images look like, or what their labels mean.

Both are a :class:`gbi_helpers.models.slots.Stream` of R rows that are read side by side, for
:func:`gbi_helpers.discovery.discover`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.models.gated import GatedMLP


class Pictures:
    """Images x (R, T, P) in [0, 1] as coins, one a pixel, with log odds bias + z W: one mean picture for each slot.

    The bias is that of all images. W (K, P) starts from small random numbers, as equal slots stay equal.
    """

    numbers = 0

    def __init__(self, x: Tensor, slots: int, seed: int = 0, start: float = 0.1):
        draw = torch.Generator().manual_seed(seed)
        entry = torch.randn(slots, x.shape[2], generator=draw, dtype=torch.float32, device=draw.device)
        self.x, self.rows, self.slots, self.spread = x, len(x), slots, x.new_ones(len(x))
        self.bias = x.mean((0, 1)).clamp(0.01, 0.99).logit()
        self.entry = nn.Parameter(start * entry.to(x))

    def __len__(self) -> int:
        return self.x.shape[1]

    def weights(self) -> list[nn.Parameter]:
        """W."""
        return [self.entry]

    def given(self, t: int) -> Tensor:
        """Nothing, (R, 1, 0): no image knows of those before."""
        return self.x.new_zeros(self.rows, 1, 0)

    def says(self, given: Tensor, z: Tensor) -> Tensor:
        """Log odds (R, M, P)."""
        return self.bias + z @ self.entry

    def loss(self, said: Tensor, t: int) -> Tensor:
        """Nats of an image."""
        return functional.softplus(said).sum(-1) - (said * self.x[:, t, None]).sum(-1)


class Answers:
    """Labels y (R, T) of images x (R, T, P), as a network says them whose hidden units z switches on and off."""

    numbers = 0

    def __init__(self, model: GatedMLP, x: Tensor, y: Tensor):
        self.model, self.x, self.y = model, x, y
        self.rows, self.slots, self.spread = len(x), model.n_tasks, x.new_ones(len(x))

    def __len__(self) -> int:
        return self.x.shape[1]

    def weights(self) -> list[nn.Parameter]:
        """All of the network's; gates are fixed."""
        return list(self.model.parameters())

    def given(self, t: int) -> Tensor:
        """The image, (R, 1, P)."""
        return self.x[:, t, None]

    def says(self, given: Tensor, z: Tensor) -> Tensor:
        """Logits (R, M, C)."""
        return self.model(given, z)

    def loss(self, said: Tensor, t: int) -> Tensor:
        """Nats of the label."""
        return functional.cross_entropy(
            said.movedim(-1, 1), self.y[:, t, None].expand(said.shape[:2]), reduction="none"
        )
