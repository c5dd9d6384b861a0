"""Checks of chapter 08, language. Each takes the student's function; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, normal, uniform

Student = Callable[..., Any]


def after_each_word(student: Student) -> None:
    """Check ``student(evidence (T, K))`` -> log posterior (T, K) after 1, 2, ..., T words, flat prior."""
    draw = torch.Generator().manual_seed(801)

    def inputs(words: int, tasks: int, scale: float = 1.5) -> Inputs:
        return (scale * normal(draw, words, tasks) - 4.0,)

    Exercise(
        "after_each_word",
        lambda e: torch.log_softmax(e.cumsum(0), 1),
        [inputs(6, 4), inputs(9, 3), inputs(3, 7)],
        mistakes=[
            Mistake(
                lambda e: torch.log_softmax(e, 1),
                "Each row looks at one word only. Evidence adds up: row n needs the sum over the first n words.",
            ),
            Mistake(
                lambda e: torch.log_softmax(e.sum(0, keepdim=True), 1).expand_as(e),
                "Every row has the evidence of the whole text. Row n may know the first n words only: a running sum.",
            ),
            Mistake(
                lambda e: torch.log_softmax(e.cumsum(0) / torch.arange(1, len(e) + 1)[:, None], 1),
                "You took a running mean. Evidence adds up: a mean makes word 50 as unsure as word 1.",
            ),
            Mistake(
                lambda e: torch.log_softmax(e.cumsum(0), 0),
                "You normalised over the words. Each row is a posterior over tasks, so it must sum to 1 there.",
            ),
            Mistake(
                lambda e: torch.log_softmax(e.cumsum(1), 1),
                "You summed over tasks. The running sum goes down the words, axis 0.",
            ),
            Mistake(
                lambda e: torch.log_softmax(-e.cumsum(0), 1),
                "The sign: evidence is a log-likelihood already, so the task with the most of it wins.",
            ),
        ],
        hard=[
            (
                inputs(400, 3, scale=20.0),
                "Right for short texts, but over 400 words probabilities underflow to 0. Stay in logs: log_softmax.",
            )
        ],
        logs=True,
    ).check(student)


def naive_bayes(student: Student) -> None:
    """Check ``student(counts (K, V), words (T,))`` -> log posterior (K,) of the source, each count raised by 1."""
    draw = torch.Generator().manual_seed(802)

    def inputs(tasks: int, size: int, words: int) -> Inputs:
        counts = torch.ceil(30 * uniform(draw, tasks, size) ** 4 * (1 + 3 * uniform(draw, tasks, 1)))
        return counts, torch.randint(size, (words,), generator=draw)

    def answer(add: float = 1.0, reduce: Callable[[Tensor], Tensor] = lambda p: p.sum(1)) -> Callable[..., Tensor]:
        def posterior(counts: Tensor, words: Tensor) -> Tensor:
            share = (counts + add) / (counts + add).sum(1, keepdim=True)
            return torch.log_softmax(reduce(share.log()[:, words]), 0)

        return posterior

    Exercise(
        "naive_bayes",
        answer(),
        [inputs(3, 12, 5), inputs(5, 8, 9), inputs(2, 20, 3)],
        mistakes=[
            Mistake(
                answer(reduce=lambda p: p.mean(1)),
                "You averaged over the words. Their evidence adds up, so that fifty words say more than one.",
            ),
            Mistake(
                lambda c, w: torch.log_softmax((c + 1).log()[:, w].sum(1), 0),
                "The counts are not divided by the size of each source, so a long source wins whatever is written. "
                "(A sum over sources is the same for all of them and drops out: sum over the *words* of each.)",
            ),
            Mistake(
                lambda c, w: torch.log_softmax(((c + 1) / c.sum(1, keepdim=True)).log()[:, w].sum(1), 0),
                "The added ones are missing in the total: divide by the sum of counts + 1, else shares sum to over 1.",
            ),
            Mistake(
                answer(0.0),
                "A word that a source never used makes its likelihood 0 for good. Add 1 to each count first.",
            ),
        ],
        logs=True,
    ).check(student)


def mended(student: Student) -> None:
    """Check ``student(grad (B, K), words)`` -> log q (B, K), from the gradient of a mean over B texts of n words."""
    draw = torch.Generator().manual_seed(803)

    def inputs(batch: int, tasks: int, words: int) -> Inputs:
        return 3 * normal(draw, batch, tasks) / (batch * words), words

    def times(factor: Callable[[int, int], float]) -> Callable[..., Tensor]:
        return lambda g, n: torch.log_softmax(-g * factor(len(g), n), 1)

    Exercise(
        "mended",
        times(lambda b, n: b * n),
        [inputs(4, 5, 20), inputs(7, 3, 50), inputs(2, 8, 6)],
        mistakes=[
            Mistake(
                times(lambda b, n: 1), "Still flat: the mean divided the evidence by batch times words. Undo both."
            ),
            Mistake(
                times(lambda b, n: n), "The words are mended, but .mean() also divided by the batch size, len(grad)."
            ),
            Mistake(times(lambda b, n: b), "The batch is mended, but .mean() also divided by the number of words."),
            Mistake(times(lambda b, n: -b * n), "The sign: q is the softmax of *minus* the gradient."),
            Mistake(times(lambda b, n: 1 / (b * n)), "You divided once more. Multiply, to undo the mean."),
        ],
        logs=True,
    ).check(student)


def online_filter(student: Student) -> None:
    """Check ``student(evidence (T, K), hazard)`` -> log belief (T, K) after each word of a stream that may switch."""
    draw = torch.Generator().manual_seed(804)

    def inputs(words: int, tasks: int, hazard: float, scale: float = 1.5) -> Inputs:
        return scale * normal(draw, words, tasks), hazard

    def answer(leak: Callable[[Tensor, float], Tensor], late: bool = False) -> Callable[..., Tensor]:
        def beliefs(evidence: Tensor, hazard: float) -> Tensor:
            expected = evidence.new_full(evidence.shape[1:], -math.log(evidence.shape[1]))
            found = []
            for row in evidence:
                seen = torch.log_softmax(expected + row, 0)
                expected = leak(seen, hazard)
                found.append(expected if late else seen)
            return torch.stack(found)

        return beliefs

    def to_all(log_q: Tensor, hazard: float) -> Tensor:
        kept = log_q + math.log1p(-hazard)
        return torch.logaddexp(kept, torch.full_like(kept, math.log(hazard / len(log_q))))

    def to_others(log_q: Tensor, hazard: float) -> Tensor:
        q = log_q.exp()
        return ((1 - hazard) * q + hazard / (len(q) - 1) * (1 - q)).log()

    Exercise(
        "online_filter",
        answer(to_all),
        [inputs(8, 4, 0.1), inputs(12, 3, 0.3), inputs(6, 6, 0.02)],
        mistakes=[
            Mistake(
                answer(lambda q, _: q),
                "Nothing leaks, so the belief can never leave a source it was once sure of. Mix in hazard / K.",
            ),
            Mistake(
                answer(to_all, late=True),
                "You return the belief after the leak, which is that *before* the next word. Leak first, then read.",
            ),
            Mistake(
                answer(to_others),
                "Your leak goes to the other K - 1 sources. Here a switch may draw any of the K: mix with 1 / K.",
            ),
            Mistake(
                lambda e, h: torch.log_softmax(e, 1),
                "Each row knows one word only. Carry the belief: it is the prior of the next word.",
            ),
            Mistake(
                answer(lambda q, h: ((1 - h) * q.exp() + h).log()),
                "The leak must be shared: hazard / K to each source, so that the belief still sums to 1.",
            ),
        ],
        hard=[
            (
                inputs(300, 3, 0.02, scale=400.0),
                "Right for mild evidence, but when it is strong, probabilities underflow. Add evidence in logs, then "
                "normalise with log_softmax.",
            )
        ],
        logs=True,
    ).check(student)


def next_merge(student: Student) -> None:
    """Check ``student(ids (N,))`` -> the pair (2,) of neighbours seen most often, ties to the smallest pair."""
    draw = torch.Generator().manual_seed(805)

    def inputs(length: int, size: int) -> Inputs:
        ids = (uniform(draw, length) ** 2 * size).long()
        at = torch.randperm(length // 2 - 1, generator=draw)[: length // 5] * 2 + 1
        ids[at], ids[at + 1] = size - 1, size - 2  # one pair that is frequent only in this order
        return (ids,)

    def answer(
        pairs: Callable[[Tensor], Tensor], best: Callable[[Tensor], Tensor] = torch.argmax
    ) -> Callable[..., Tensor]:
        def chosen(ids: Tensor) -> Tensor:
            kinds, counts = torch.unique(pairs(ids), dim=0, return_counts=True)
            return kinds[best(counts)]

        return chosen

    def neighbours(ids: Tensor) -> Tensor:
        return torch.stack([ids[:-1], ids[1:]], 1)

    Exercise(
        "next_merge",
        answer(neighbours),
        [inputs(60, 4), inputs(200, 9), inputs(40, 3)],
        mistakes=[
            Mistake(
                answer(neighbours, torch.argmin), "That is the rarest pair. Merging the most frequent one saves most."
            ),
            Mistake(lambda i: answer(neighbours)(i).flip(0), "The pair is the wrong way round: the left one first."),
            Mistake(
                lambda i: answer(lambda x: neighbours(x[: len(x) // 2 * 2])[::2])(i),
                "You cut the stream into twos. Neighbours overlap: positions (0, 1), (1, 2), (2, 3), ...",
            ),
            Mistake(
                lambda i: answer(lambda x: neighbours(x).sort(1).values)(i),
                "Order matters: 'th' is not 'ht'. Do not sort within a pair.",
            ),
            Mistake(
                lambda i: torch.bincount(i).topk(2).indices,
                "Those are the two most frequent ids, but do they stand next to each other? Count neighbours.",
            ),
        ],
        hard=[
            (
                (torch.tensor([1, 0, 2, 1, 0, 2, 1]),),
                "Right, but for ties: in 1 0 2 1 0 2 1 the pairs (1, 0), (0, 2) and (2, 1) are equally frequent. Take "
                "the smallest, (0, 2): compare the left ids, then the right ones; not the pair seen first or last.",
            )
        ],
    ).check(student)
