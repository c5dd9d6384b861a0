"""The same discriminants in the space of a Gaussian kernel: an image is described by how alike it is to each known one.

In closed form as well (kernel discriminants, Mika et al. 1999, by way of one Cholesky factor, as in Cai, He and Han
2011), from an N x N matrix instead of the D x D one: 8 GB for 45,000 images. The covariance that is inverted is the
total one, T = W + B; along a discriminant whose share of between-class variance is b, that within is 1 - b.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers.experiments.cifar_far.closed import Blocks, Coordinates, Sums, mirror, parts, solved


@dataclass(frozen=True, eq=False)
class Kernel:
    """exp(-rate * d) - 1 for the mean squared difference d of standardised features, to each of the first ``n`` rows.

    Less 1, by ``expm1``: where all are much alike, 32 bits would lose half of the digits behind a 1. It drops out of
    all that follows, since coefficients there sum to zero. Raises ``ValueError`` unless the rate is above 0.
    """

    sums: Sums
    known: Blocks
    n: int
    rate: float

    def __post_init__(self) -> None:
        """See that it is a kernel."""
        if not self.rate > 0:
            raise ValueError(f"The rate of a kernel is {self.rate}: it must be above 0.")

    def of(self, x: Tensor, first: int | None = None) -> Tensor:
        """Likeness (m, n) of standardised features (m, D) to the known ones, or to the ``first`` of them."""
        found = x.new_empty(len(x), self.n if first is None else first)
        for rows in parts(found.shape[1]):
            other = self.sums.standardised(self.known, rows)
            away = x.square().sum(1)[:, None] + other.square().sum(1) - 2 * x @ other.T
            found[:, rows] = torch.expm1(away.clamp_min_(0).mul_(-self.rate / x.shape[1]))
        return found

    @functools.cached_property
    def whole(self) -> tuple[Tensor, Tensor, float]:
        """Of the known ones among each other: the centred matrix (n, n), the row means taken off it, and its trace.

        The constant direction, in which a centred matrix has nothing, is filled up: else what is solved for would be
        divided by the ridge alone there, and rounding would drown all else.
        """
        matrix = torch.empty(self.n, self.n, dtype=self.sums.mean.dtype, device=self.sums.mean.device)
        for rows in parts(self.n):  # the likeness is mutual: half of it is enough
            matrix[rows, : rows.stop] = self.of(self.sums.standardised(self.known, rows), rows.stop)
        mirror(matrix)
        means = matrix.mean(1)
        matrix.sub_(means[:, None]).sub_(means).add_(means.mean())
        mirror(matrix)  # rounding has left the halves a little apart
        trace = float(matrix.diagonal().double().sum())
        return matrix.add_(trace / self.n), means, trace

    @functools.cached_property
    def others(self) -> Tensor:
        """Of the blocks' other rows to the known ones, (N - n, n), less the row means: each share asks for it again."""
        found = self.whole[1].new_empty(len(self.known[0]) - self.n, self.n)
        for rows in parts(len(found)):
            found[rows] = self.centred(self.known, slice(self.n + rows.start, self.n + rows.stop))
        return found

    def centred(self, blocks: Blocks, rows: slice) -> Tensor:
        """Likeness (m, n) of those rows of the blocks to the known ones, less the row means of these."""
        return self.of(self.sums.standardised(blocks, rows)).sub_(self.whole[1])


@dataclass(frozen=True, eq=False)
class Alike:
    """From likeness to R <= K - 1 coordinates, in which each class has variance 1, around the mean of all known images.

    ``patterns`` (K, R): where the class means lie there.
    """

    kernel: Kernel
    weights: Tensor
    patterns: Tensor

    def of(self, sums: Sums, blocks: Blocks) -> Tensor:
        """The coordinates (N, R) of all rows of the blocks; of known ones, the likeness is there already."""
        if blocks is self.kernel.known:  # centring drops out of the first: the weights sum to zero
            return torch.cat([self.kernel.whole[0] @ self.weights, self.kernel.others @ self.weights])
        return torch.cat([self.kernel.centred(blocks, rows) @ self.weights for rows in parts(len(blocks[0]))])


Found = Coordinates | Alike


def alike(kernel: Kernel, y: Tensor, share: float) -> Alike:
    """From known images of classes y (n,): ``share`` of their whole variance is added to that in each direction.

    Raises ``ValueError`` for a class without any.
    """
    matrix, _, trace = kernel.whole
    count = torch.bincount(y, minlength=len(kernel.sums.share)).to(matrix)
    if not count.all():
        raise ValueError("Each class needs an image that is known.")
    root, ridge = (count / len(y)).sqrt().double(), share * trace
    average = functional.one_hot(y, len(count)).to(matrix) / count - 1 / len(y)  # class means, less the mean of all
    weights = solved(matrix, ridge, average).double() * root
    within = ridge * len(y) * root[:, None] * (average.double().T @ weights)  # 1 - b, in the basis of classes
    everything = torch.eye(len(root), dtype=root.dtype, device=root.device) - root.outer(root)
    values, vectors = torch.linalg.eigh(everything - (within + within.T) / 2)
    vectors = vectors[:, values > 1e-6]
    left = (vectors * (within @ vectors)).sum(0)  # 1 - b of each discriminant: as 1 - its value it would have no digits
    patterns = vectors * ((1 - left) / left).sqrt() / root[:, None]
    weights = weights @ vectors * (len(y) / (left * (1 - left)).sqrt())
    return Alike(kernel, (weights - weights.mean(0)).float(), patterns.float())
