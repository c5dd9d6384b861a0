"""A classifier whose hidden units z switches on and off: context-dependent gates (XdG)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gbi_helpers.models.base import Described


class GatedMLP(Described):
    """Layers of the given ``sizes``, ReLU between them; in context k only the units that gate k leaves on take part.

    ``off``: share of hidden units that each context, at random and for good, leaves out (Masse et al. 2018, doi
    10.1073/pnas.1803839115). z (B, K) mixes gates, so an inferred z serves as a given one does. 0 is the plain network.
    """

    def __init__(self, sizes: Sequence[int], n_tasks: int, off: float = 0.5, seed: int = 0):
        super().__init__()
        self.n_tasks = n_tasks
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        self.layers, like = nn.ModuleList(layers), layers[0].weight.detach()
        draw = torch.Generator().manual_seed(seed)
        for i, size in enumerate(sizes[1:-1]):
            shuffled = torch.rand(n_tasks, size, generator=draw, device=draw.device).argsort(1)
            self.register_buffer(f"gate_{i}", (shuffled >= round(off * size)).to(like))

    def gates(self) -> list[Tensor]:
        """The gates (K, units) of each hidden layer."""
        return [getattr(self, f"gate_{i}") for i in range(len(self.layers) - 1)]

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Logits (B, C) of vectors x (B, D) in contexts z (B, K)."""
        for layer, gate in zip(self.layers, self.gates(), strict=False):
            x = layer(x).relu() * (z @ gate)
        return self.layers[-1](x)
