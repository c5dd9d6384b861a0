"""The exercises of chapter 08, language; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, uniform, whole


def _after_each_word_inputs(draw: Generator, words: int, tasks: int, scale: float = 1.5) -> Inputs:
    return (scale * normal(draw, words, tasks) - 4.0,)


*_short, _long = drawn(801, _after_each_word_inputs, (6, 4), (9, 3), (3, 7), (400, 3, 20.0))

after_each_word = Exercise(
    "after_each_word",
    "student(evidence (T, K)) -> log posterior (T, K) after 1, 2, ..., T words, flat prior.",
    lambda e: torch.log_softmax(e.cumsum(0), 1),
    _short,
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
            lambda e: torch.log_softmax(e.cumsum(0) / torch.arange(1, len(e) + 1, device=e.device)[:, None], 1),
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
            _long,
            "Right for short texts, but over 400 words probabilities underflow to 0. Stay in logs: log_softmax.",
        )
    ],
    logs=True,
)


def _naive_bayes_inputs(draw: Generator, tasks: int, size: int, words: int) -> Inputs:
    counts = torch.ceil(30 * uniform(draw, tasks, size) ** 4 * (1 + 3 * uniform(draw, tasks, 1)))
    return counts, whole(draw, 0, size, words)


def _bayes(add: float = 1.0, reduce: Callable[[Tensor], Tensor] = lambda p: p.sum(1)) -> Callable[..., Tensor]:
    def posterior(counts: Tensor, words: Tensor) -> Tensor:
        share = (counts + add) / (counts + add).sum(1, keepdim=True)
        return torch.log_softmax(reduce(share.log()[:, words]), 0)

    return posterior


naive_bayes = Exercise(
    "naive_bayes",
    "student(counts (K, V), words (T,)) -> log posterior (K,) of the source, each count raised by 1.",
    _bayes(),
    drawn(802, _naive_bayes_inputs, (3, 12, 5), (5, 8, 9), (2, 20, 3)),
    mistakes=[
        Mistake(
            _bayes(reduce=lambda p: p.mean(1)),
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
            _bayes(0.0),
            "A word that a source never used makes its likelihood 0 for good. Add 1 to each count first.",
        ),
    ],
    logs=True,
)


def _mended_inputs(draw: Generator, batch: int, tasks: int, words: int) -> Inputs:
    return 3 * normal(draw, batch, tasks) / (batch * words), words


def _times(factor: Callable[[int, int], float]) -> Callable[..., Tensor]:
    return lambda g, n: torch.log_softmax(-g * factor(len(g), n), 1)


mended = Exercise(
    "mended",
    "student(grad (B, K), words) -> log q (B, K), from the gradient of a mean over B texts of n words.",
    _times(lambda b, n: b * n),
    drawn(803, _mended_inputs, (4, 5, 20), (7, 3, 50), (2, 8, 6)),
    mistakes=[
        Mistake(_times(lambda b, n: 1), "Still flat: the mean divided the evidence by batch times words. Undo both."),
        Mistake(_times(lambda b, n: n), "The words are mended, but .mean() also divided by the batch size, len(grad)."),
        Mistake(_times(lambda b, n: b), "The batch is mended, but .mean() also divided by the number of words."),
        Mistake(_times(lambda b, n: -b * n), "The sign: q is the softmax of *minus* the gradient."),
        Mistake(_times(lambda b, n: 1 / (b * n)), "You divided once more. Multiply, to undo the mean."),
    ],
    logs=True,
)


def _online_filter_inputs(draw: Generator, words: int, tasks: int, hazard: float, scale: float = 1.5) -> Inputs:
    return scale * normal(draw, words, tasks), hazard


def _filter(leak: Callable[[Tensor, float], Tensor], late: bool = False) -> Callable[..., Tensor]:
    def beliefs(evidence: Tensor, hazard: float) -> Tensor:
        expected = evidence.new_full(evidence.shape[1:], -math.log(evidence.shape[1]))
        found = []
        for row in evidence:
            seen = torch.log_softmax(expected + row, 0)
            expected = leak(seen, hazard)
            found.append(expected if late else seen)
        return torch.stack(found)

    return beliefs


def _to_all(log_q: Tensor, hazard: float) -> Tensor:
    kept = log_q + math.log1p(-hazard)
    return torch.logaddexp(kept, torch.full_like(kept, math.log(hazard / len(log_q))))


def _to_others(log_q: Tensor, hazard: float) -> Tensor:
    q = log_q.exp()
    return ((1 - hazard) * q + hazard / (len(q) - 1) * (1 - q)).log()


*_mild, _strong = drawn(804, _online_filter_inputs, (8, 4, 0.1), (12, 3, 0.3), (6, 6, 0.02), (300, 3, 0.02, 400.0))

online_filter = Exercise(
    "online_filter",
    "student(evidence (T, K), hazard) -> log belief (T, K) after each word of a stream that may switch.",
    _filter(_to_all),
    _mild,
    mistakes=[
        Mistake(
            _filter(lambda q, _: q),
            "Nothing leaks, so the belief can never leave a source it was once sure of. Mix in hazard / K.",
        ),
        Mistake(
            _filter(_to_all, late=True),
            "You return the belief after the leak, which is that *before* the next word. Leak first, then read.",
        ),
        Mistake(
            _filter(_to_others),
            "Your leak goes to the other K - 1 sources. Here a switch may draw any of the K: mix with 1 / K.",
        ),
        Mistake(
            lambda e, h: torch.log_softmax(e, 1),
            "Each row knows one word only. Carry the belief: it is the prior of the next word.",
        ),
        Mistake(
            _filter(lambda q, h: ((1 - h) * q.exp() + h).log()),
            "The leak must be shared: hazard / K to each source, so that the belief still sums to 1.",
        ),
    ],
    hard=[
        (
            _strong,
            "Right for mild evidence, but when it is strong, probabilities underflow. Add evidence in logs, then "
            "normalise with log_softmax.",
        )
    ],
    logs=True,
)


def _next_merge_inputs(draw: Generator, length: int, size: int) -> Inputs:
    ids = (uniform(draw, length) ** 2 * size).long()
    at = torch.randperm(length // 2 - 1, generator=draw, device=draw.device)[: length // 5] * 2 + 1
    ids[at], ids[at + 1] = size - 1, size - 2  # one pair that is frequent only in this order
    return (ids,)


def _pair_of(
    pairs: Callable[[Tensor], Tensor], best: Callable[[Tensor], Tensor] = torch.argmax
) -> Callable[..., Tensor]:
    def chosen(ids: Tensor) -> Tensor:
        kinds, counts = torch.unique(pairs(ids), dim=0, return_counts=True)
        return kinds[best(counts)]

    return chosen


def _neighbours(ids: Tensor) -> Tensor:
    return torch.stack([ids[:-1], ids[1:]], 1)


next_merge = Exercise(
    "next_merge",
    "student(ids (N,)) -> the pair (2,) of neighbours seen most often, ties to the smallest pair.",
    _pair_of(_neighbours),
    drawn(805, _next_merge_inputs, (60, 4), (200, 9), (40, 3)),
    mistakes=[
        Mistake(
            _pair_of(_neighbours, torch.argmin), "That is the rarest pair. Merging the most frequent one saves most."
        ),
        Mistake(lambda i: _pair_of(_neighbours)(i).flip(0), "The pair is the wrong way round: the left one first."),
        Mistake(
            lambda i: _pair_of(lambda x: _neighbours(x[: len(x) // 2 * 2])[::2])(i),
            "You cut the stream into twos. Neighbours overlap: positions (0, 1), (1, 2), (2, 3), ...",
        ),
        Mistake(
            lambda i: _pair_of(lambda x: _neighbours(x).sort(1).values)(i),
            "Order matters: 'th' is not 'ht'. Do not sort within a pair.",
        ),
        Mistake(
            lambda i: torch.bincount(i).topk(2).indices,
            "Those are the two most frequent ids, but do they stand next to each other? Count neighbours.",
        ),
    ],
    hard=[
        (
            (torch.tensor([1, 0, 2, 1, 0, 2, 1], dtype=torch.int64, device="cpu"),),
            "Right, but for ties: in 1 0 2 1 0 2 1 the pairs (1, 0), (0, 2) and (2, 1) are equally frequent. Take "
            "the smallest, (0, 2): compare the left ids, then the right ones; not the pair seen first or last.",
        )
    ],
)
