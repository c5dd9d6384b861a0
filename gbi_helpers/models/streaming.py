"""A decoder linear in z that learns by adding: streaming linear discriminant analysis, read by one gradient.

What it keeps is a count and a sum for each class and one sum of outer products, all exact in float64, so it ends at the
same weights in whatever order its data come, and has nothing to forget. These statistics are streaming LDA (Hayes and
Kanan 2020, arXiv 1909.01520); the reading, one step on z with :func:`gbi_helpers.theory.one_step_gap` put back, is its
exact posterior.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gbi_helpers.meter import bytes_of
from gbi_helpers.models.hundred import ZOnly, nearest_equidistant
from gbi_helpers.models.natural import checked, grown, seen_all
from gbi_helpers.models.projection import Projection, discriminants, shrunk
from gbi_helpers.runtime import usual_defaults


class StreamedMeans:
    """Counts (K,), sums (K, D) and outer products (D, D) of all vectors seen, in float64; K grows as classes come."""

    def __init__(self, size: int, device: torch.device | str | None = None):
        self.outer = torch.zeros(size, size, dtype=torch.float64, device=device)
        self.counts, self.total = self.outer.new_zeros(0), self.outer.new_zeros(0, size)

    @property
    def n_tasks(self) -> int:
        """Classes seen so far."""
        return len(self.counts)

    @property
    def means(self) -> Tensor:
        """Mean (K, D) of each class. Raises ``ValueError`` if one below the highest has no data yet."""
        seen_all(self.counts)
        return self.total / self.counts[:, None]

    @property
    def within(self) -> Tensor:
        """Covariance (D, D) of the vectors around the means of their classes."""
        return (self.outer - self.total.T @ self.means) / self.counts.sum()

    @property
    def stored(self) -> int:
        """Bytes that are kept."""
        return bytes_of(self.counts, self.total, self.outer)

    def add(self, x: Tensor, y: Tensor) -> StreamedMeans:
        """Take in vectors x (B, D) of classes y (B,), each once. Raises ``ValueError`` for other shapes, and NaN."""
        exact = checked(x, y).to(self.outer)
        if x.shape[1] != len(self.outer):
            raise ValueError(f"Vectors of {len(self.outer)} numbers are summed here, but these have {x.shape[1]}.")
        self.counts, self.total = (grown(part, int(y.max()) + 1) for part in (self.counts, self.total))
        self.counts += torch.bincount(y, minlength=len(self.counts))
        self.total.index_add_(0, y, exact)
        self.outer += exact.T @ exact
        return self

    def least_squares(self, shrink: float = 0.03) -> tuple[Tensor, Tensor]:
        """Weights (D, K) and offsets (K,) of ridge regression to the classes, float64: no decoder, and no z.

        From the same sums, so it has nothing to forget either (ACIL, Zhuang et al. 2022, arXiv 2205.14922).
        ``shrink``: see :func:`gbi_helpers.models.projection.shrunk`, here of the covariance of all vectors.
        """
        n = self.counts.sum()
        mean, share = self.total.sum(0) / n, self.counts / n
        around = shrunk(self.outer / n - mean.outer(mean), shrink)
        weights = torch.linalg.solve(around, (share[:, None] * (self.means - mean)).T)
        return weights, share - mean @ weights

    def decoder(self, shrink: float = 0.03, equidistant: bool = False) -> tuple[Projection, ZOnly]:
        """The map to coordinates in which each class has variance 1, and the decoder of z there: float64, eval mode.

        ``shrink``: see :func:`gbi_helpers.models.projection.shrunk`; few vectors need much. ``equidistant``: the means
        are moved to one distance from each other, and one step then needs no delta. Two classes or more.
        """
        if self.n_tasks < 2:
            raise ValueError("One class leaves nothing to tell apart: add a second one first.")
        to = discriminants(self.means, self.within, shrink, dtype=torch.float64)
        patterns = to(self.means)
        with usual_defaults():
            made = ZOnly(patterns.shape[1], self.n_tasks).to(patterns)
        with torch.no_grad():
            made.decoder.patterns.copy_(nearest_equidistant(patterns) if equidistant else patterns)
        return to, made.eval()
