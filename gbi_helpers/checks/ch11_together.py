"""Exercise of chapter 11 on joining scores without foreign images; see :mod:`~gbi_helpers.checks.ch11`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, uniform


def _score_inputs(draw: Generator, scores: int, familiar: int, new: int) -> Inputs:
    """Scores that share a part, each in units of its own; of the new samples some are lower."""
    size, place = (torch.exp(2 * normal(draw, scores, 1)), 5 * normal(draw, scores, 1))
    shared, own = normal(draw, familiar + new), normal(draw, scores, familiar + new)
    score = 0.6 * shared + 0.8 * own
    score[:, familiar:] -= 2 * (uniform(draw, new) < 0.5)
    return place + size * score[:, :familiar], place + size * score[:, familiar:]


def _scaled(by: Tensor, x: Tensor) -> Tensor:
    return (x - by.mean(-1, keepdim=True)) / by.std(-1, keepdim=True)


def _sum(familiar: Tensor, new: Tensor) -> Tensor:
    return _scaled(familiar, new).sum(0)


def _gain(familiar: Tensor, new: Tensor) -> Tensor:
    return len(familiar) / _sum(familiar, familiar).std()


def _ranked(among: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Sums of the shares of ``among(familiar, new)`` that lie below each new score."""
    return lambda familiar, new: (among(familiar, new)[:, None] < new[..., None]).double().mean(-1).sum(0)


def _min_max(familiar: Tensor, new: Tensor) -> Tensor:
    low, high = familiar.amin(1, keepdim=True), familiar.amax(1, keepdim=True)
    return ((new - low) / (high - low)).sum(0)


_USES_NEW = (
    "You took mean and deviation of the *new* samples, foreign ones among them: a score that tells them well is spread "
    "by them, and scaled down for it. The unit comes from the familiar samples alone."
)

together = Exercise(
    "together",
    "student(familiar (S, N), new (S, M)) -> one score (M,) of each new sample from S scores, and the gain: by what "
    "factor it separates better than one of them.",
    lambda familiar, new: (_sum(familiar, new), _gain(familiar, new)),
    drawn(1101, _score_inputs, (2, 40, 12), (3, 60, 9), (2, 25, 15)),
    mistakes=[
        Mistake(
            lambda f, n: n.sum(0),
            "You added the scores as they are: whichever has the larger numbers decides alone. Give them one unit "
            "first.",
            "score",
        ),
        Mistake(lambda f, n: _sum(n, n), _USES_NEW, "score"),
        Mistake(lambda f, n: _sum(torch.cat([f, n], 1), n), _USES_NEW, "score"),
        Mistake(
            _ranked(lambda f, n: n),
            "You ranked the new samples among each other: then a sample's score depends on who else was asked, and "
            "half of them are foreign even on a day without any.",
            "score",
        ),
        Mistake(
            _ranked(lambda f, n: f),
            "You added ranks among the familiar samples. That is sound, but whoever lies below all of them has rank 0, "
            "however far below. Asked for are deviations.",
            "score",
        ),
        Mistake(
            _min_max,
            "You scaled by the least and the largest familiar score: two samples, the strangest ones, set the unit. "
            "Use mean and standard deviation.",
            "score",
        ),
        Mistake(
            lambda f, n: (n / f.std(1, keepdim=True)).sum(0),
            "The unit is right, the zero is not: subtract each score's mean on the familiar samples. (The ranking is "
            "the same.)",
            "score",
        ),
        Mistake(
            lambda f, n: (n - f.mean(1, keepdim=True)).sum(0),
            "You subtracted the means only: whichever score varies more decides alone. Divide by the deviation as "
            "well.",
            "score",
        ),
        Mistake(
            lambda f, n: ((n - f.mean(1, keepdim=True)) / f.var(1, keepdim=True)).sum(0),
            "You divided by the variance: the unit is the standard deviation, its root.",
            "score",
        ),
        Mistake(
            lambda f, n: ((n - f.mean()) / f.std()).sum(0),
            "One mean and one deviation for all scores leaves their units as they were. Each score has its own: along "
            "the last axis.",
            "score",
        ),
        Mistake(
            lambda f, n: ((n - f.mean(1, keepdim=True)) / f.std(1, keepdim=True, correction=0)).sum(0),
            "Nearly: divide by N - 1 under the root, as torch.std does, not by N.",
            "score",
        ),
        Mistake(
            lambda f, n: _scaled(f, n).amin(0),
            "You took the lowest of the scaled scores. It lets one noisy score speak alone: add them.",
            "score",
        ),
        Mistake(
            lambda f, n: len(f) ** 0.5,
            "sqrt(S) holds for scores that have nothing in common. These correlate: how much does their *sum* vary?",
            "gain",
        ),
        Mistake(
            lambda f, n: len(f),
            "S is how much the distance grows. The sum's own deviation grows as well: divide by it.",
            "gain",
        ),
        Mistake(
            lambda f, n: 1 / _gain(f, n),
            "Upside down: the distance grows to S d, in units of the sum's deviation.",
            "gain",
        ),
        Mistake(
            lambda f, n: _sum(f, f).std(),
            "That is the deviation of the sum. The distance, which grew to S d, goes over it.",
            "gain",
        ),
        Mistake(
            lambda f, n: len(f) / _sum(f, n).std(),
            "You measured the sum's deviation on the new samples, foreign ones among them. It is the familiar ones' "
            "noise that hides a stranger.",
            "gain",
        ),
        Mistake(
            lambda f, n: len(f) / f.sum(0).std(),
            "That is the deviation of the raw sum: scale the scores first.",
            "gain",
        ),
    ],
    parts=("score", "gain"),
)
