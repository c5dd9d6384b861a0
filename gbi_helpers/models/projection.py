"""Linear maps fitted to data in closed form: whitening by all vectors, or within classes.

In the coordinates they lead to, squared error is the right loss: half of it is -log p in nats of a Gaussian whose
covariance is that of all vectors (:func:`whitening`), or of the vectors of one class (:func:`within_classes`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gbi_helpers.models.hundred import CLASSES, class_means
from gbi_helpers.runtime import random_state_kept, usual_defaults


class Projection(nn.Module):
    """(x - mean) @ matrix, from vectors (B, D) to (B, R)."""

    mean: Tensor
    matrix: Tensor

    def __init__(self, size: int, out: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("matrix", torch.zeros(size, out))

    def forward(self, x: Tensor) -> Tensor:
        """Coordinates (B, R) of vectors x (B, D)."""
        return (x - self.mean) @ self.matrix

    @classmethod
    def of(cls, mean: Tensor, matrix: Tensor, dtype: torch.dtype = torch.float32) -> Projection:
        """A projection with these numbers."""
        with usual_defaults():
            made = cls(*matrix.shape).to(matrix.device, dtype)
        made.mean.copy_(mean)
        made.matrix.copy_(matrix)
        return made


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of vectors x (N, D), a part at a time (x may be in 16 bits).

    They are float64, but the products of the covariance are summed in float32: vectors are centred before that.
    """
    mean = torch.stack([part.double().sum(0) for part in x.split(5000)]).sum(0) / len(x)
    total = mean.new_zeros(x.shape[1], x.shape[1], dtype=torch.float32)
    for part in x.split(5000):
        wide = part.to(torch.promote_types(part.dtype, torch.float32))
        centred = (wide - mean.to(wide)).float()
        total.addmm_(centred.T, centred)
    return mean, total.double() / len(x)


def shrunk(covariance: Tensor, share: float) -> Tensor:
    """``share`` of its mean variance mixed into the diagonal of a covariance (D, D): (1 - share) C + share tr(C)/D I.

    It keeps directions of little variance, which are badly estimated, from being blown up.
    """
    even = covariance.diagonal().mean().expand(len(covariance)).diag()
    return (1 - share) * covariance + share * even


def whitening(mean: Tensor, covariance: Tensor, out: int, floor: float = 1e-3) -> Projection:
    """The first ``out`` principal components, each divided by its standard deviation. Label-free.

    ``floor``, relative to the mean variance, is added to each variance, so that the smallest are not blown up. Of large
    matrices the components are found by subspace iteration, which is exact enough for all but the last few.
    """
    if len(covariance) > 2000:
        with random_state_kept(covariance.device, seed=0):
            vectors, values, _ = torch.svd_lowrank(covariance.float(), q=min(out + 50, len(covariance)), niter=4)
        values, vectors = values[:out], vectors[:, :out]
    else:
        values, vectors = torch.linalg.eigh(covariance)
        values, vectors = values[-out:].flip(0), vectors[:, -out:].flip(1)
    spread = (values.clamp_min(0) + floor * covariance.diagonal().mean()).sqrt()
    return Projection.of(mean, vectors / spread)


def within_classes(
    x: Tensor, y: Tensor, shrink: float = 0.1, n_tasks: int = CLASSES, known: tuple[Tensor, Tensor] | None = None
) -> Projection:
    """The K - 1 directions of linear discriminant analysis, scaled so that each class has variance 1 in each.

    Between two classes, squared distances in these coordinates are the squared Mahalanobis distances within classes, so
    a Gaussian decoder of z alone that is trained here is LDA. ``shrink``: see :func:`shrunk`; 0 shrinks nothing.
    ``known``: the :func:`moments` of x, if they were computed before.
    """
    mean, covariance = known or moments(x)
    means = class_means(x, y, n_tasks).double()
    return discriminants(means, covariance - _between(means, mean, y), shrink, mean)


def _between(means: Tensor, mean: Tensor, y: Tensor) -> Tensor:
    """Covariance (D, D) of the class means, by the classes' shares."""
    share = torch.bincount(y, minlength=len(means)).double() / len(y)
    away = means - mean
    return (away * share[:, None]).T @ away


def discriminants(
    means: Tensor, within: Tensor, shrink: float, mean: Tensor | None = None, dtype: torch.dtype = torch.float32
) -> Projection:
    """The directions, from class means (K, D) and the covariance within classes (D, D)."""
    mean = means.mean(0) if mean is None else mean
    regular = shrunk(within, shrink)
    away = (means - means.mean(0)).T  # (D, K), of rank K - 1
    solved = torch.cholesky_solve(away, torch.linalg.cholesky(regular))
    values, vectors = torch.linalg.eigh(away.T @ solved)  # (K, K): products of the means in the metric within classes
    keep = values > 1e-9 * values.max()
    basis = solved @ (vectors[:, keep] / values[keep].sqrt())
    return Projection.of(mean, basis, dtype)
