"""Exercise of chapter 09 on what can be made of a few stored vectors; see :mod:`~gbi_helpers.checks.ch09`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.contest import Contest
from gbi_helpers.checks.exercise import Inputs, Mistake, drawn, normal, whole
from gbi_helpers.models.projection import shrunk


def _store_inputs(draw: Generator, classes: int, size: int, each: int, new: int) -> Inputs:
    """A few vectors of each class, all spread in the same way, more in some directions than in others."""
    spread = torch.logspace(-0.4, 0.4, size, dtype=torch.float64, device=draw.device)
    mix, means = torch.linalg.qr(normal(draw, size, size))[0] * spread, 0.35 * normal(draw, classes, size)
    y = torch.arange(classes * each, device=draw.device) % classes
    truth = whole(draw, 0, classes, new)
    x, unknown = (means[of] + normal(draw, len(of), size) @ mix.T for of in (y, truth))
    return x, y, unknown, truth


def _means(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([x[y == k].mean(0) for k in range(int(y.max()) + 1)])


def _spread(away: Tensor) -> Tensor:
    return away.T @ away / len(away)


def _discriminant(share: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def named(x: Tensor, y: Tensor, new: Tensor) -> Tensor:
        means = _means(x, y)
        towards = torch.linalg.solve(shrunk(_spread(x - means[y]), share), means.T)
        return (new @ towards - (means.T * towards).sum(0) / 2).argmax(1)

    return named


def _one_by_one(share: float, volume: bool = True) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A covariance for each class; ``volume``: with its log determinant."""

    def score(x: Tensor, new: Tensor) -> Tensor:
        root = torch.linalg.cholesky(shrunk(_spread(x - x.mean(0)), share))
        away = torch.linalg.solve_triangular(root, (new - x.mean(0)).T, upper=False)
        return -away.square().sum(0) / 2 - volume * root.diagonal().log().sum()

    return lambda x, y, new: torch.stack([score(x[y == k], new) for k in range(int(y.max()) + 1)]).argmax(0)


_stores = drawn(908, _store_inputs, *[(8, 120, 18, 400)] * 3)
_OWN = (
    "Each class has a covariance of its own here, from far fewer vectors than it has directions. Pool: the spread "
    "around the class means, all classes together, then shrink it."
)

name_new = Contest(
    "name_new",
    "student(x (N, D), y (N,), new (M, D)) -> the class (M,) of each new vector, from N stored ones.",
    _discriminant(0.1),
    [store[:3] for store in _stores],
    mistakes=[
        Mistake(
            lambda x, y, new: torch.cdist(new, _means(x, y)).argmin(1),
            "That is the nearest mean, for which all directions are alike. Measure distances in units of the spread "
            "within classes: linear discriminant analysis.",
        ),
        Mistake(
            _discriminant(0.0),
            "The covariance comes from hardly more vectors than it has directions, so its inverse blows up those it "
            "knows least. Shrink it: mix in a share of its mean variance times the identity.",
        ),
        Mistake(_one_by_one(0.1), _OWN),
        Mistake(_one_by_one(0.1, volume=False), _OWN),
    ],
    truth=[store[3] for store in _stores],
    margin=7.0,
)
