"""Exercise of chapter 11 on embeddings of one length; see :mod:`~gbi_helpers.checks.ch11`."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, uniform


def _embedding_inputs(draw: Generator, tasks: int, size: int, sd: float) -> Inputs:
    """Points of quite different lengths, not around the origin, and in general position."""
    lengths = 0.5 + 2 * uniform(draw, tasks, 1)
    return lengths * normal(draw, tasks, size) + normal(draw, size), sd


def _distances(w: Tensor) -> Tensor:
    return (w - w.mean(0)).norm(dim=1)


def _along(away: Tensor, length: float | Tensor | None = None) -> Tensor:
    """Vectors of one length, by default their mean one."""
    own = away.norm(dim=1, keepdim=True)
    return away / own * (own.mean() if length is None else length)


def _sphere(w: Tensor) -> Tensor:
    return w.mean(0) + _along(w - w.mean(0))


def _centred(x: Tensor) -> Tensor:
    return x - x.mean()


def _missed(w: Tensor, sd: float, start: Tensor | float | None = None) -> Tensor:
    """Minus half a squared distance from a place, in nats, not centred."""
    place = w.mean(0) if start is None else start
    return -(w - place).square().sum(1) / (2 * sd**2)


def _delta(w: Tensor, sd: float) -> Tensor:
    return _centred(_missed(_sphere(w), sd))


def _start(w: Tensor) -> Tensor:
    return _distances(w) / _distances(w).sum()


def _inverse(w: Tensor) -> Tensor:
    return (1 / _distances(w)) / (1 / _distances(w)).sum()


_ORIGIN = "You moved them along lines from the *origin*, which is nowhere in particular. Start at the centroid."

sphere_start = Exercise(
    "sphere_start",
    "student(embeddings (K, D), sd) -> sphere (K, D), all at their mean distance from the centroid; delta (K,), "
    "centred, of one step from the uniform start; start (K,), from which it is gone.",
    lambda w, sd: (_sphere(w), _delta(w, sd), _start(w)),
    drawn(1102, _embedding_inputs, (4, 3, 0.7), (3, 5, 1.5), (6, 5, 0.4)),
    mistakes=[
        Mistake(
            lambda w, sd: w.mean(0) + _along(w - w.mean(0), 1.0),
            "Their length is 1 now, which throws away how far apart tasks are in units of the noise. Keep the mean "
            "distance.",
            "sphere",
        ),
        Mistake(lambda w, sd: _along(w), _ORIGIN, "sphere"),
        Mistake(lambda w, sd: _along(w, 1.0), f"{_ORIGIN} And keep their mean length, instead of 1.", "sphere"),
        Mistake(
            lambda w, sd: _along(w - w.mean(0)),
            "Right, but around the origin: move them back, by adding the centroid again.",
            "sphere",
        ),
        Mistake(
            lambda w, sd: _along(w - w.mean(0), 1.0),
            "Directions are right. Give them their mean distance instead of 1, and add the centroid again.",
            "sphere",
        ),
        Mistake(
            lambda w, sd: w.mean(0) + _along(w - w.mean(0), (w - w.mean(0)).norm()),
            "norm() without an axis is one number for all K: take the mean of K distances, norm(dim=1).",
            "sphere",
        ),
        Mistake(
            lambda w, sd: w.mean(0) + _along(w - w.mean(0), (w - w.mean(0)).square().sum(1).mean().sqrt()),
            "That is the root of the mean square, a little more than the mean distance.",
            "sphere",
        ),
        Mistake(
            lambda w, sd: (w - w.mean(0)) / w.std(0),
            "You scaled each *dimension*. What shall be alike is the length of each embedding, over its dimensions.",
            "sphere",
        ),
        Mistake(
            lambda w, sd: torch.zeros_like(_delta(w, sd)),
            "Equal distances from the sphere's centre: but the uniform start predicts the centroid of the *moved* "
            "points, which is elsewhere.",
            "delta",
        ),
        Mistake(
            lambda w, sd: _centred(_missed(w, sd)),
            "That is the gap of the embeddings as they were. Of those on the sphere, please.",
            "delta",
        ),
        Mistake(
            lambda w, sd: -_delta(w, sd),
            "The sign: one step flatters what is far from its start, and delta takes that away.",
            "delta",
        ),
        Mistake(
            lambda w, sd: _missed(_sphere(w), sd),
            "Right up to a constant, and constants do not matter: subtract the mean, so that it can be compared.",
            "delta",
        ),
        Mistake(lambda w, sd: 2 * _delta(w, sd), "The 1/2 of the Gaussian is missing: |..|^2 / (2 sd^2).", "delta"),
        Mistake(lambda w, sd: sd * _delta(w, sd), "The noise is to be squared: |..|^2 / (2 sd^2).", "delta"),
        Mistake(
            lambda w, sd: _centred(_missed(_sphere(w), sd, 0.0)),
            "You measured from the origin. One step starts at what the uniform z predicts, the mean of the moved "
            "points.",
            "delta",
        ),
        Mistake(
            lambda w, sd: torch.full_like(w[:, 0], 1 / len(w)),
            "The uniform z predicts the centroid of the moved points. The centre of their sphere is the *old* "
            "centroid.",
            "start",
        ),
        Mistake(
            lambda w, sd: _distances(w),
            "In the right proportions, but a z sums to 1.",
            "start",
        ),
        Mistake(
            lambda w, sd: _inverse(w),
            "Upside down: a point that was moved inwards pulls less than it did, so it needs *more* weight.",
            "start",
        ),
        Mistake(
            lambda w, sd: torch.softmax(_distances(w), 0),
            "In proportion to the old distances, not to their exponential: divide by their sum.",
            "start",
        ),
        Mistake(
            lambda w, sd: _distances(w).square() / _distances(w).square().sum(),
            "Squared distances are too much: the point moved by the factor mean distance / distance. Undo that one.",
            "start",
        ),
    ],
    parts=("sphere", "delta", "start"),
)
