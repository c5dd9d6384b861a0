"""Features that are learned on the way, and no image kept: a network replays what Gaussians dream of old digits.

For each digit two sums are taken while it is shown, of pixels and of their products; at the end of its context they
become a mean, a few directions of largest variance and what each pixel varies beside them. From then on this Gaussian
stands for the digit: images are drawn from it while others are learned. Nobody says at test which context it is. The
idea is generative replay (Shin et al. 2017, arXiv 1705.08690) with a generator that is a sum and cannot forget.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers.continual import Context, FineTuning, Inputs
from gbi_helpers.meter import bytes_of

Settings = Mapping[str, Any]


class LowRank:
    """A Gaussian of vectors x (N, D): mean (D,), ``rank`` principal directions (rank, D), a deviation for each entry.

    Kept in 16 bits: numbers of [0, 1] need no more.
    """

    def __init__(self, x: Tensor, rank: int):
        mean, covariance = x.double().mean(0), torch.cov(x.double().T, correction=0)
        values, vectors = torch.linalg.eigh(covariance)
        top = slice(len(values) - rank, None)
        factor = (vectors[:, top] * values[top].clamp_min(0).sqrt()).T
        left = (covariance.diagonal() - factor.square().sum(0)).clamp_min(0).sqrt()
        self.mean, self.factor, self.left = (part.half() for part in (mean, factor, left))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Vectors (n, D), kept within [0, 1] as pixels are."""
        mean, factor, left = (part.float() for part in (self.mean, self.factor, self.left))
        a = torch.randn(n, len(factor), generator=generator, device=generator.device).to(mean.device)
        b = torch.randn(n, len(mean), generator=generator, device=generator.device).to(mean.device)
        return (mean + a @ factor + b * left).clamp(0, 1)

    @property
    def stored(self) -> int:
        """Bytes."""
        return bytes_of(self.mean, self.factor, self.left)


class Dreams(FineTuning):
    """In context t new images weigh 1/t, and as many dreamed ones of old digits 1 - 1/t; every digit is as likely.

    ``parts``: Gaussians for each digit, whose images are told apart by k-means. ``pixel_noise``: whether what a pixel
    varies beside the directions is dreamed too.
    """

    def __init__(self, rank: int, parts: int = 1, batch_size: int = 64, seed: int = 0):
        self.rank, self.parts, self.batch_size, self.contexts = rank, parts, batch_size, 0
        self.draw = torch.Generator().manual_seed(seed)
        self.known: dict[int, list[tuple[float, LowRank]]] = {}  # of each digit: share and Gaussian

    def loss(self, model: nn.Module, inputs: Inputs, y: Tensor, outputs: Tensor) -> Tensor:
        """Cross-entropy on new and on dreamed images."""
        found = super().loss(model, inputs, y, outputs)
        if not self.contexts:
            return found
        x, old = self.dream()
        share = 1 / (self.contexts + 1)
        return share * found + (1 - share) * super().loss(model, (x,), old.to(y.device), outputs)

    def dream(self) -> tuple[Tensor, Tensor]:
        """Images (B, D) of old digits, and which ones (B,)."""
        whose = [(digit, share / len(self.known), one) for digit, all in self.known.items() for share, one in all]
        p = torch.tensor([share for _, share, _ in whose])
        counts = torch.bincount(torch.multinomial(p, self.batch_size, True, generator=self.draw), minlength=len(p))
        drawn = [one.draw(n, self.draw) for (_, _, one), n in zip(whose, counts.tolist(), strict=True)]
        return torch.cat(drawn), torch.tensor([digit for digit, _, _ in whose]).repeat_interleave(counts)

    def after(self, model: nn.Module, context: Context) -> None:
        """Sum up each new digit."""
        for digit in context.y.unique().tolist():
            x = context.inputs[0][context.y == digit]
            part = k_means(x, self.parts, self.draw)
            groups = [x[part == i] for i in range(self.parts)]
            self.known[digit] = [(len(g) / len(x), LowRank(g, self.rank)) for g in groups if len(g)]
        self.contexts += 1

    @property
    def stored(self) -> int:
        """Bytes of all Gaussians."""
        return sum(one.stored for all in self.known.values() for _, one in all)


def k_means(x: Tensor, k: int, draw: torch.Generator, rounds: int = 10) -> Tensor:
    """Which of k groups (N,) each vector (N, D) belongs to."""
    centres = x[torch.randperm(len(x), generator=draw)[:k].to(x.device)]
    for _ in range(rounds):
        mine = torch.cdist(x, centres).argmin(1)
        centres = torch.stack([x[mine == i].mean(0) if (mine == i).any() else centres[i] for i in range(len(centres))])
    return torch.cdist(x, centres).argmin(1)
