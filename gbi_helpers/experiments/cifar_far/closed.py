"""The Gaussian decoder of z alone in closed form, of more features than fit into memory twice.

Features are blocks (N, D_i) in 16 bits, side by side; each is standardised over the training images. What is needed of
them are sums over images: class means and the covariance within classes, with a share of the identity mixed in. Its
Cholesky factor gives the K - 1 coordinates of linear discriminant analysis, in which each class has variance 1: there
a decoder of z alone whose patterns are the class means is the whole model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PART, COLUMNS = 2_500, 4_096  # images, and features, that are summed over at a time
Blocks = Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class Sums:
    """Of training images: mean and spread of each feature (D,); of standardised features (float32), what is left.

    ``means`` (K, D): by class. ``within`` (D, D): the covariance around them. ``share`` (K,): of each class.
    """

    mean: Tensor
    spread: Tensor
    means: Tensor
    within: Tensor
    share: Tensor

    def standardised(self, blocks: Blocks, rows: slice | Tensor) -> Tensor:
        """Some rows (n, D) of the blocks, float32."""
        return _joined(blocks, rows).sub_(self.mean).div_(self.spread)

    @property
    def centre(self) -> Tensor:
        """The centroid (D,) of the class means."""
        return self.means.mean(0)


def summed(
    blocks: Blocks, y: Tensor, n_tasks: int, products: bool = True, weights: Sequence[float] | None = None
) -> Sums:
    """The sums over images with classes y (N,), to which the blocks (M >= N, D_i) may have more rows.

    Without ``products`` there is no covariance, ``within`` (0, 0): a kernel has no need of it. ``weights``: share of
    squared distances that each block has, whatever its size; by default each feature counts the same.
    """
    mean, spread = _scales(blocks, len(y))
    spread = spread / _lengths(blocks, weights).to(spread) if weights else spread
    count, size = torch.bincount(y, minlength=n_tasks).to(mean), len(mean) if products else 0
    means, within = mean.new_zeros(n_tasks, len(mean)), mean.new_zeros(size, size)
    sums = Sums(mean, spread, means, within, count / len(y))
    for rows in parts(len(y)):
        x = sums.standardised(blocks, rows)
        means.index_add_(0, y[rows], x)
        _add_products(within, x)
    means.div_(count[:, None])
    within.div_(len(y))
    _add_products(within, means * sums.share.sqrt()[:, None], -1.0)
    mirror(within)
    return sums


def _scales(blocks: Blocks, n: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) of the first n rows; what never changes counts as spread over 1."""
    total = [torch.zeros(block.shape[1], dtype=torch.float64, device=block.device) for block in blocks]
    first, second = torch.cat(total), torch.cat(total)
    for rows in parts(n):
        x = _joined(blocks, rows)
        first += x.sum(0)
        second += x.square_().sum(0)
    mean = first / n
    spread = (second / n - mean.square()).clamp_min(0).sqrt()
    return mean.float(), torch.where(spread > 1e-6, spread, 1).float()


def _lengths(blocks: Blocks, weights: Sequence[float]) -> Tensor:
    """What each feature (D,) is multiplied with, so that the mean of the squares is 1."""
    sizes = torch.tensor([block.shape[1] for block in blocks], dtype=torch.int64, device=blocks[0].device)
    each = (torch.tensor(weights, device=sizes.device, dtype=torch.float32) / sizes).repeat_interleave(sizes)
    return (each / each.mean()).sqrt()


def _add_products(total: Tensor, x: Tensor, sign: float = 1.0) -> None:
    """Add x' x to the lower triangle of ``total`` (D, D), a square at a time: half the work."""
    size = len(total)
    for top in range(0, size, COLUMNS):
        for left in range(0, top + 1, COLUMNS):
            rows, columns = slice(top, top + COLUMNS), slice(left, left + COLUMNS)
            total[rows, columns].addmm_(x[:, rows].T, x[:, columns], alpha=sign)


@dataclass(frozen=True, eq=False)
class Coordinates:
    """(x - centre) @ basis, from standardised features (n, D) to the R <= K - 1 coordinates of the discriminants.

    ``patterns`` (K, R): where the class means lie there, around 0.
    """

    basis: Tensor
    patterns: Tensor

    def of(self, sums: Sums, blocks: Blocks) -> Tensor:
        """The coordinates (N, R) of all rows of the blocks."""
        away = (sums.standardised(blocks, rows) - sums.centre for rows in parts(len(blocks[0])))
        return torch.cat([part @ self.basis for part in away])


def coordinates(sums: Sums, shrink: float) -> Coordinates:
    """With ``shrink`` of the mean variance mixed into the covariance within classes (see ``projection.shrunk``)."""
    away = sums.means - sums.centre
    ridge = shrink / (1 - shrink) * sums.within.diagonal().mean()
    directions = solved(sums.within, ridge, away.T.contiguous()) / (1 - shrink)
    values, vectors = torch.linalg.eigh((away @ directions).double())
    keep = values > 1e-6 * values.max()
    basis = directions @ (vectors[:, keep] / values[keep].sqrt()).float()
    return Coordinates(basis, away @ basis)


def solved(matrix: Tensor, ridge: float | Tensor, right: Tensor) -> Tensor:
    """The inverse of a symmetric matrix (D, D), with a ridge on its diagonal, times ``right`` (D, K).

    Its Cholesky factor takes the place of the lower triangle for a while; the upper one restores it. So no second
    matrix is needed, which would not fit into memory.
    """
    before = matrix.diagonal().clone()
    matrix.diagonal().add_(ridge)
    _factor(matrix)
    half = torch.linalg.solve_triangular(matrix, right, upper=False)  # each reads its own triangle alone
    found = torch.linalg.solve_triangular(matrix.mT, half, upper=True)
    mirror(matrix.mT)
    matrix.diagonal().copy_(before)
    return found


def _factor(matrix: Tensor) -> None:
    """Put the Cholesky factor into the lower triangle, a square and all below it at a time; the upper one stays."""
    for top in range(0, len(matrix), COLUMNS):
        rows, end = slice(top, top + COLUMNS), top + COLUMNS
        square = torch.linalg.cholesky(matrix[rows, rows])
        matrix[rows, rows] = square + matrix[rows, rows].triu(1)
        below = torch.linalg.solve_triangular(square, matrix[end:, rows].mT, upper=False).mT.contiguous()
        matrix[end:, rows] = below
        for left in range(end, len(matrix), COLUMNS):
            product = below[left - end :] @ below[left - end : left - end + COLUMNS].mT
            product[:COLUMNS].tril_()
            matrix[left:, left : left + COLUMNS] -= product


def mirror(matrix: Tensor) -> None:
    """Copy the lower triangle of a matrix (D, D) into the upper one."""
    for top in range(0, len(matrix), COLUMNS):
        rows = slice(top, top + COLUMNS)
        matrix[:top, rows] = matrix[rows, :top].mT
        square = matrix[rows, rows].tril()
        matrix[rows, rows] = square + square.tril(-1).mT


def parts(n: int) -> Iterator[slice]:
    """The rows of n, :data:`PART` at a time."""
    return (slice(start, min(start + PART, n)) for start in range(0, n, PART))


def _joined(blocks: Blocks, rows: slice | Tensor) -> Tensor:
    return torch.cat([block[rows].float() for block in blocks], dim=1)
