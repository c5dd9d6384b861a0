"""Exercise of chapter 10 on the threshold of re-scoring; see :mod:`~gbi_helpers.checks.ch10`."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal


def _threshold_inputs(draw: Generator, samples: int, tasks: int, coverage: float) -> Inputs:
    exact = torch.log_softmax(2 * normal(draw, samples, tasks), 1)
    one = torch.log_softmax(exact + 2 * normal(draw, samples, tasks), 1)
    return one, exact, torch.multinomial(exact.exp(), 1, generator=draw)[:, 0], coverage


def _deficit(log_q: Tensor, task: Tensor) -> Tensor:
    return log_q.amax(1) - log_q.gather(1, task[:, None])[:, 0]


def _rank(n: int, coverage: float) -> int:
    return math.ceil((n + 1) * coverage)


def _within(deficit: Tensor, coverage: float) -> Tensor:
    return deficit.sort().values[_rank(len(deficit), coverage) - 1]


def _of_missed(quantile: Callable[[Tensor, float], Tensor]) -> Callable[..., Tensor]:
    """Another quantile of the right deficits."""
    return lambda q, exact, y, c: quantile(_deficit(q, exact.argmax(1)), c)


threshold = Exercise(
    "threshold",
    "student(log_q (N, K), exact (N, K), y (N,), coverage) -> nats within which to re-score, and the share of new "
    "samples whose exact best then is among the candidates.",
    lambda q, exact, y, c: (_within(_deficit(q, exact.argmax(1)), c), _rank(len(q), c) / (len(q) + 1)),
    drawn(1007, _threshold_inputs, (50, 6, 0.9), (32, 4, 0.8), (120, 8, 0.95), (39, 4, 0.75)),
    mistakes=[
        Mistake(
            _of_missed(torch.quantile),
            "That is the plain quantile of the samples at hand, between two of them. A *new* sample is one more: take "
            "number ceil((n + 1) coverage) of the sorted ones.",
            "within",
        ),
        Mistake(
            _of_missed(lambda d, c: d.sort().values[math.ceil(len(d) * c) - 1]),
            "Number ceil(n coverage) covers so many of the *old* samples. A new one is one more: n + 1.",
            "within",
        ),
        Mistake(
            _of_missed(lambda d, c: d.sort().values[_rank(len(d), c)]),
            "One too far: the r-th of the sorted deficits has the index r - 1.",
            "within",
        ),
        Mistake(
            _of_missed(lambda d, c: d.sort(descending=True).values[_rank(len(d), c) - 1]),
            "The wrong tail: so many lie *above*. Sort from small to large.",
            "within",
        ),
        Mistake(
            _of_missed(lambda d, c: d.max()),
            "That is the largest deficit of all, which promises more than was asked, and costs passes.",
            "within",
        ),
        Mistake(
            _of_missed(lambda d, c: d.mean() + NormalDist().inv_cdf(c) * d.std()),
            "Mean and standard deviation promise that for a Gaussian. Deficits are none; ranks need no shape.",
            "within",
        ),
        Mistake(
            lambda q, exact, y, c: _within(_deficit(q, y), c),
            "You took the deficit of the *label*. What must not be lost is the exact passes' winner, right or wrong: "
            "no label is needed.",
            "within",
        ),
        Mistake(
            lambda q, exact, y, c: _within(_deficit(exact, q.argmax(1)), c),
            "The two are swapped: how far one step's winner lies down in the *exact* ones. It is one step that "
            "proposes: how far down in *its* list is the exact winner?",
            "within",
        ),
        Mistake(
            lambda q, exact, y, c: _within(_deficit(q.exp(), exact.argmax(1)), c),
            "You subtracted probabilities. The distance is in nats: leave the logarithms.",
            "within",
        ),
        Mistake(
            lambda q, exact, y, c: c,
            "That is what was asked for. A rank is a whole number, so what is promised is a little more: rank / (n + "
            "1).",
            "covers",
        ),
        Mistake(
            lambda q, exact, y, c: _rank(len(q), c) / len(q),
            "That is the share of the samples it was fitted on. A new one falls into each of n + 1 places alike: "
            "rank / (n + 1).",
            "covers",
        ),
        Mistake(
            lambda q, exact, y, c: (q.argmax(1) == exact.argmax(1)).double().mean(),
            "That is how often one step agrees without any re-scoring.",
            "covers",
        ),
    ],
    parts=("within", "covers"),
    without=("fit_within",),
)
