"""Exercises of chapter 10 on re-scoring and its threshold; see :mod:`~gbi_helpers.checks.ch10`."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal
from gbi_helpers.checks.priced import LossOf, unspent
from gbi_helpers.inference import rescore


def _rescore_inputs(draw: Generator, batch: int, tasks: int, m: int, scale: float = 2.0) -> Inputs:
    """One step that is right up to noise, and exact losses."""
    losses = scale * normal(draw, batch, tasks)
    return torch.log_softmax(scale / 2 * normal(draw, batch, tasks) - losses, 1), LossOf(losses, m), m


def _rescored(log_q: Tensor, loss_of: LossOf, m: int) -> Tensor:
    ask = unspent(loss_of)
    return rescore(log_q, lambda z: ask(z.argmax(1)), torch.full_like(log_q, 1 / log_q.shape[1]), m).log_q


def _with(score: Callable[..., Tensor], largest: bool = True, ordered: bool = True) -> Callable[..., Tensor]:
    """What becomes of log q where the candidates get ``score(log q of theirs, their losses)``."""

    def wrong(log_q: Tensor, loss_of: LossOf, m: int) -> Tensor:
        ask, best = unspent(loss_of), log_q.topk(m, 1, largest=largest).indices
        losses = torch.stack([ask(task) for task in best.T], 1)
        found = score(log_q.gather(1, best), losses)
        return log_q.scatter(1, best if ordered else best.sort(1).values, found)

    return wrong


def _alone(_: Tensor, losses: Tensor) -> Tensor:
    return torch.log_softmax(-losses, 1)


def _shared(log_q: Tensor, losses: Tensor) -> Tensor:
    return torch.log_softmax(-losses, 1) + log_q.logsumexp(1, keepdim=True)


def _others_dropped(log_q: Tensor, loss_of: LossOf, m: int) -> Tensor:
    kept = log_q >= log_q.topk(m, 1).values[:, -1:]
    return torch.log_softmax(_with(_shared)(log_q, loss_of, m).masked_fill(~kept, -math.inf), 1)


rescore_by_hand = Exercise(
    "rescore_by_hand",
    "student(log_q (B, K), loss_of, m) -> log q (B, K), the best m of each sample re-scored by loss_of(task (B,)).",
    _rescored,
    drawn(1005, _rescore_inputs, (4, 6, 2), (5, 7, 3), (3, 8, 4)),
    mistakes=[
        Mistake(
            lambda log_q, loss_of, m: log_q,
            "That is one step as it was: nothing is re-scored.",
        ),
        Mistake(
            _others_dropped,
            "The tasks that were not re-scored are gone, with probability 0. They keep what one step gave them.",
        ),
        Mistake(
            _with(_alone),
            "The candidates sum to 1 by themselves, so each row sums to more. They share what they had *together*: add "
            "the logsumexp of their log q.",
        ),
        Mistake(
            lambda *inputs: torch.log_softmax(_with(_alone)(*inputs), 1),
            "You normalised the whole row in the end, which takes from the tasks that were not asked. Let the "
            "candidates share what they had together.",
        ),
        Mistake(
            lambda *inputs: torch.log_softmax(_with(lambda _, losses: -losses)(*inputs), 1),
            "Minus a loss and a log probability stand side by side in a softmax: they differ by a constant that nobody "
            "knows. Normalise among the candidates, then give them what they had together.",
        ),
        Mistake(
            _with(lambda log_q, losses: torch.log_softmax(log_q - losses, 1) + log_q.logsumexp(1, keepdim=True)),
            "You added the losses to log q, so the same evidence counts twice. The exact losses take its *place*.",
        ),
        Mistake(
            _with(lambda log_q, losses: torch.log_softmax(losses, 1) + log_q.logsumexp(1, keepdim=True)),
            "The sign: the task with the *smallest* loss explains most.",
        ),
        Mistake(
            _with(lambda log_q, losses: _alone(log_q, losses) + log_q.amax(1, keepdim=True)),
            "They share what the best of them had. They had more *together*: the logsumexp of their log q.",
        ),
        Mistake(
            _with(_shared, ordered=False),
            "Right numbers in the wrong places: topk gives the candidates by rank, a mask by number. Put them back "
            "with scatter(1, best, ...).",
        ),
        Mistake(
            _with(_shared, largest=False),
            "You re-scored the *worst* m tasks.",
        ),
    ],
    hard=[
        (
            drawn(1006, _rescore_inputs, (4, 5, 3, 3000.0))[0],
            "Right for mild losses, but exp(-loss) under- or overflows for large ones. Stay in logs: log_softmax, "
            "logsumexp.",
        )
    ],
    logs=True,
)


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
    drawn(1007, _threshold_inputs, (50, 6, 0.9), (30, 4, 0.8), (120, 8, 0.95)),
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
)
