"""Exercises of chapter 10 on the gap as a divergence and the start without it; see :mod:`~gbi_helpers.checks.ch10`."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal


def _kl_inputs(draw: Generator, tasks: int, pixels: int, scale: float = 1.5) -> Inputs:
    return scale * normal(draw, tasks, pixels), torch.softmax(normal(draw, tasks), 0)


def _kl(of: Tensor, to: Tensor) -> Tensor:
    """KL (...,) of coins with the logits ``of`` (..., D) to those with ``to``."""
    return (of.sigmoid() * (of - to) - functional.softplus(of) + functional.softplus(to)).sum(-1)


def _minus_kl(weights: Tensor, z0: Tensor) -> Tensor:
    return -_kl(z0 @ weights, weights)


def _uniform(z0: Tensor) -> Tensor:
    return torch.full_like(z0, 1 / len(z0))


kl_gap = Exercise(
    "kl_gap",
    "student(weights (K, D), z0 (K,)) -> delta (K,), minus the KL divergence of each task from the dream at z0.",
    _minus_kl,
    drawn(1001, _kl_inputs, (4, 6), (3, 5), (6, 4)),
    mistakes=[
        Mistake(
            lambda w, z: -_minus_kl(w, z),
            "The sign: one step flatters the tasks that are far from its start, so delta is *minus* the divergence.",
        ),
        Mistake(
            lambda w, z: -_kl(w, z @ w),
            "The divergence the other way round, KL(task || start). The images are *dreamed at z0*, so the mean is "
            "taken there.",
        ),
        Mistake(
            lambda w, z: _minus_kl(w, z) / w.shape[1],
            "You averaged over the pixels. They are independent coins, and divergences of those add up.",
        ),
        Mistake(
            lambda w, z: _minus_kl(w, _uniform(z)),
            "That is the gap of the uniform start. What does the network dream at *this* z0?",
        ),
        Mistake(
            lambda w, z: -_kl((z @ w.sigmoid()).logit(), w),
            "You mixed the tasks' *chances* by z0. This decoder mixes logits: sigmoid(z0 @ weights).",
        ),
        Mistake(
            lambda w, z: -((z @ w).sigmoid() * (functional.logsigmoid(z @ w) - functional.logsigmoid(w))).sum(-1),
            "Half of it: a pixel that is off has its say, too, (1 - p) log((1 - p) / (1 - p_k)).",
        ),
        Mistake(
            lambda w, z: ((z @ w).sigmoid() * w - functional.softplus(w)).sum(-1),
            "That is the dream's mean log probability under each task. How much *less* is it than under z0 itself?",
        ),
        Mistake(
            lambda w, z: -((z @ w).sigmoid() * (-(z @ w)).sigmoid() * (w - z @ w) ** 2).sum(-1) / 2,
            "That is its second order, by the Fisher information at z0: right near z0 only. The divergence itself has "
            "a closed form.",
        ),
    ],
    hard=[
        (
            drawn(1002, _kl_inputs, (4, 5, 900.0))[0],
            "Right for mild logits, but for large ones sigmoid is 0 or 1 and its logarithm infinite. Write log p as "
            "minus softplus(-a), or the divergence with softplus alone.",
        )
    ],
    between=(-float("inf"), 0),
    without=("natural_gap", "natural_kl"),
)


def _three_inputs(draw: Generator, size: int, height: float) -> Inputs:
    """Two points and a third above the middle between them: obtuse where it is low."""
    first, second, way = normal(draw, 3, size)
    return (torch.stack([first, second, (first + second) / 2 + height * way]),)


def _solved(w: Tensor, factor: float = 2.0, squares: float = 1.0) -> Tensor:
    """z (3,) with factor G z + s = squares |w_k|^2 for all k, and sum z = 1."""
    system = functional.pad(factor * w @ w.T, (0, 1, 0, 1), value=1.0)
    system[-1, -1] = 0
    right = functional.pad(squares * w.square().sum(1), (0, 1), value=1.0)
    return torch.linalg.solve(system, right)[:-1]


def _cosines(w: Tensor) -> Tensor:
    """Of the triangle's angles, (3,)."""
    away = functional.normalize(w - w[:, None], dim=-1)  # [k, j]: from corner k to corner j
    return torch.stack([away[k, k - 1] @ away[k, k - 2] for k in range(3)])


def _opposite(w: Tensor) -> Tensor:
    return torch.stack([(w[k - 1] - w[k - 2]).norm() for k in range(3)])


def _pulled_in(z: Tensor) -> Tensor:
    return z.clamp_min(0) / z.clamp_min(0).sum()


_triangles = drawn(1003, _three_inputs, (3, 1.0), (4, 0.3), (5, 0.9), (3, 0.4))

circumcentre = Exercise(
    "circumcentre",
    "student(patterns (3, D)) -> z (3,) equally far from all three, and the cosine of the triangle's largest angle.",
    lambda w: (_solved(w), _cosines(w).min()),
    _triangles,
    mistakes=[
        Mistake(
            lambda w: torch.full_like(w[:, 0], 1 / 3),
            "That is the centroid, the uniform start. It is equally far from all three only where their sides are.",
            "z",
        ),
        Mistake(
            lambda w: torch.linalg.solve(2 * w @ w.T, w.square().sum(1)),
            "Equally far, but not a z: it must sum to 1. Solve for z and the shared s at once, with sum z = 1 as the "
            "last row.",
            "z",
        ),
        Mistake(
            lambda w: _solved(w, factor=1.0),
            "A factor 2: |z W - w_k|^2 holds -2 w_k . z W, so the matrix is 2 G.",
            "z",
        ),
        Mistake(
            lambda w: _solved(w, squares=0.0),
            "That is the point nearest to the origin: the squares |w_k|^2, the diagonal of G, are missing.",
            "z",
        ),
        Mistake(
            lambda w: _opposite(w) / _opposite(w).sum(),
            "That is the centre of the circle *inside*, equally far from the three sides. Asked for is equally far "
            "from the corners.",
            "z",
        ),
        Mistake(
            lambda w: _pulled_in(_solved(w)),
            "You pulled it back onto the simplex, where the three are not equally far any more. A z with a negative "
            "entry is what was asked for.",
            "z",
        ),
        Mistake(
            lambda w: _cosines(w).max(),
            "That is the largest cosine, which belongs to the *smallest* angle: cosines fall as angles grow.",
            "cosine",
        ),
        Mistake(lambda w: _cosines(w).min().acos(), "That is the angle itself: return its cosine.", "cosine"),
        Mistake(
            lambda w: _cosines(w).min().acos().rad2deg(), "That is the angle in degrees: return its cosine.", "cosine"
        ),
        Mistake(
            lambda w: -_cosines(w).max(),
            "You went around the triangle, so these are the outer angles. At a corner *both* arrows start there.",
            "cosine",
        ),
        Mistake(
            lambda w: (_cosines(w) * _opposite(w).prod() / _opposite(w)).min(),
            "These are inner products: divide by the lengths of both sides.",
            "cosine",
        ),
    ],
    hard=[
        (
            drawn(1004, _three_inputs, (2, 0.8))[0],
            "Right in space, but in a plane G = W W' cannot be inverted. Solve for z and s at once: the row sum z = 1 "
            "is what makes the system regular.",
        )
    ],
    parts=("z", "cosine"),
    without=("exact_start",),
)
