"""Exercises of chapter 09 on what is measured and what is summed; see :mod:`~gbi_helpers.checks.ch09`."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from gbi_helpers import metrics
from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, uniform, whole


def _summary_inputs(draw: Generator, contexts: int) -> Inputs:
    r = 30 + 60 * uniform(draw, contexts, contexts)
    return (r.masked_fill(torch.ones_like(r, dtype=torch.bool).triu(1), torch.nan),)


def _best(r: Tensor) -> Tensor:
    return r.nan_to_num(-torch.inf).amax(0)


summary = Exercise(
    "summary",
    "student(R (T, T), NaN above the diagonal) -> final accuracy, learning accuracy, forgetting, backward transfer.",
    lambda r: (
        metrics.final_accuracy(r),
        metrics.learning_accuracy(r),
        metrics.forgetting(r),
        metrics.backward_transfer(r),
    ),
    drawn(901, _summary_inputs, (4,), (6,), (5,)),
    mistakes=[
        Mistake(
            lambda r: r.nanmean(),
            "That is the mean over all of R. What the learner can do in the end is the last row.",
            "final accuracy",
        ),
        Mistake(
            lambda r: r.diagonal().mean(),
            "That is the diagonal, what was right just after learning. In the end counts the last row.",
            "final accuracy",
        ),
        Mistake(
            lambda r: r[-1, :-1].mean(),
            "Here the last context counts, too: the mean of the whole last row.",
            "final accuracy",
        ),
        Mistake(
            lambda r: r[-1, -1],
            "That is one number. Rows are times, columns contexts: the mean of the last *row*, r[-1].",
            "final accuracy",
        ),
        Mistake(
            lambda r: r.nanmean(),
            "That is the mean over all of R. Just after it was learned, context i is right in R[i, i].",
            "learning accuracy",
        ),
        Mistake(
            lambda r: r.diagonal()[:-1].mean(),
            "Here the last context counts, too: the mean of the whole diagonal.",
            "learning accuracy",
        ),
        Mistake(
            lambda r: r[:, 0].mean(),
            "You followed the first context through time. Take each context when it was learned: the diagonal.",
            "learning accuracy",
        ),
        Mistake(
            lambda r: (_best(r) - r[-1]).mean(),
            "You counted the last context, which nothing came after and which cannot be forgotten: leave it out.",
            "forgetting",
        ),
        Mistake(
            lambda r: (r.diagonal() - r[-1])[:-1].mean(),
            "You started from the diagonal, which is minus backward transfer. Start from the best a context *ever* "
            "had, which may have come later.",
            "forgetting",
        ),
        Mistake(
            lambda r: (r[-1] - r.diagonal())[:-1].mean(),
            "That is backward transfer. Forgetting is the best a context ever had minus its last, and comes before it.",
            "forgetting",
        ),
        Mistake(
            lambda r: (_best(r[:-1]) - r[-1])[:-1].mean(),
            "You looked for the best before the end only. The best *ever* may be the last, so that nothing is lost.",
            "forgetting",
        ),
        Mistake(
            lambda r: (r[-1].max() - r[-1])[:-1].mean(),
            "You compared with the best context of the last row. Compare each context with its own best: a column.",
            "forgetting",
        ),
        Mistake(
            lambda r: (r.nan_to_num(-torch.inf).amax(1) - r[-1])[:-1].mean(),
            "You took the best of each row. A context is a column: its best through time.",
            "forgetting",
        ),
        Mistake(
            lambda r: (r.diagonal() - r[-1])[:-1].mean(),
            "The sign: last minus just learned, so that who loses has a negative transfer.",
            "backward transfer",
        ),
        Mistake(
            lambda r: (r[-1] - r.diagonal()).mean(),
            "You counted the last context, which nothing came after: its transfer is 0 for want of time. Leave it out.",
            "backward transfer",
        ),
        Mistake(
            lambda r: (r[-1] - _best(r))[:-1].mean(),
            "That is minus forgetting, from the best ever. Backward transfer starts from the diagonal.",
            "backward transfer",
        ),
        Mistake(
            lambda r: (r.diagonal(-1) - r.diagonal()[:-1]).mean(),
            "That is what the next context alone did. Compare with the *last* row.",
            "backward transfer",
        ),
    ],
    parts=("final accuracy", "learning accuracy", "forgetting", "backward transfer"),
    without=("backward_transfer", "final_accuracy", "forgetting", "learning_accuracy"),
)


def _add(counts: Tensor, totals: Tensor, outer: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    one, x = functional.one_hot(y, len(counts)).double(), x.double()
    return counts + one.sum(0), totals + one.T @ x, outer + x.T @ x


def _nothing(draw: Generator, tasks: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    like = normal(draw, 1)
    return like.new_zeros(tasks), like.new_zeros(tasks, size), like.new_zeros(size, size)


def _stream_inputs(draw: Generator, tasks: int, size: int, seen: int, batch: int) -> Inputs:
    """A state that has seen some classes, and a batch in which some come again and the last is new."""
    state = _add(*_nothing(draw, tasks, size), 1 + normal(draw, seen, size), whole(draw, 0, tasks - 1, seen))
    y = whole(draw, 0, tasks, batch)
    y[-1] = tasks - 1
    return *state, (1 + normal(draw, batch, size)).float(), y


def _cancelling_inputs(draw: Generator, size: int, pairs: int) -> Inputs:
    """Large whole numbers, exact in float32, of which products nearly cancel."""
    x = whole(draw, 1_000_000, 2_000_000, pairs, size)
    turned = torch.cat([x[:, :1], whole(draw, -1, 2, pairs, size - 1) - x[:, 1:]], 1)
    return *_nothing(draw, 2, size), torch.cat([x, turned]).float(), whole(draw, 0, 2, 2 * pairs)


def _class_means(x: Tensor, y: Tensor, tasks: int) -> Tensor:
    one = functional.one_hot(y, tasks).double()
    return one.T @ x.double() / one.sum(0).clamp_min(1)[:, None]


def _comes(c: Tensor, y: Tensor) -> Tensor:
    return torch.bincount(y, minlength=len(c)) > 0


def _replaced(c: Tensor, s: Tensor, y: Tensor, new: Tensor) -> Tensor:
    return torch.where(_comes(c, y)[:, None], new, s)


def _spread(x: Tensor) -> Tensor:
    return x.T @ x


streaming = Exercise(
    "streaming",
    "student(counts (K,), totals (K, D), outer (D, D), x (B, D), y (B,)) -> the three sums with the batch taken in.",
    _add,
    drawn(902, _stream_inputs, (4, 3, 7, 6), (3, 5, 5, 9), (5, 2, 8, 1)),
    mistakes=[
        Mistake(
            lambda c, s, o, x, y: torch.bincount(y, minlength=len(c)),
            "You counted the batch alone: add to the counts that came in.",
            "counts",
        ),
        Mistake(
            lambda c, s, o, x, y: c + _comes(c, y),
            "A class that is in the batch more than once counts once: `counts[y] += 1` does that. Use torch.bincount.",
            "counts",
        ),
        Mistake(
            lambda c, s, o, x, y: torch.where(_comes(c, y), torch.bincount(y, minlength=len(c)), c),
            "A class that comes again is overwritten. Add to what it had.",
            "counts",
        ),
        Mistake(
            lambda c, s, o, x, y: _add(0 * c, 0 * s, 0 * o, x, y)[1],
            "You summed the batch alone: add to the totals that came in.",
            "totals",
        ),
        Mistake(
            lambda c, s, o, x, y: _replaced(c, s, y, _add(0 * c, 0 * s, 0 * o, x, y)[1]),
            "A class that comes again is overwritten: that is how a network forgets. Add to what it had.",
            "totals",
        ),
        Mistake(
            lambda c, s, o, x, y: s + _replaced(c, 0 * s, y, torch.stack([_last(x, y, k) for k in range(len(c))])),
            "Of several vectors of one class only the last is added: `totals[y] += x` does that. Use "
            "totals.index_add(0, y, x), or a one-hot y.",
            "totals",
        ),
        Mistake(
            lambda c, s, o, x, y: s + _class_means(x, y, len(c)),
            "You added the *mean* of a class in the batch, so a batch of one vector weighs as much as a large one. "
            "Keep sums.",
            "totals",
        ),
        Mistake(
            lambda c, s, o, x, y: _replaced(c, s, y, (s / c.clamp_min(1)[:, None] + _class_means(x, y, len(c))) / 2),
            "You averaged the old mean and the batch's, half and half, as if both came from equally many vectors. Keep "
            "sums: then no weight can be wrong.",
            "totals",
        ),
        Mistake(
            lambda c, s, o, x, y: _add(c, s, o, x, y)[1] / _add(c, s, o, x, y)[0].clamp_min(1)[:, None],
            "These are the means. Return the totals: a mean is total / count, whenever it is asked for.",
            "totals",
        ),
        Mistake(
            lambda c, s, o, x, y: _spread(x.double()),
            "You summed the batch alone: add to the outer products that came in.",
            "outer",
        ),
        Mistake(
            lambda c, s, o, x, y: o + _spread(x.double()) / len(x),
            "You added the batch's *mean*, so the answer depends on how the data are cut into batches. Keep sums.",
            "outer",
        ),
        Mistake(
            lambda c, s, o, x, y: o + _spread(x.double() - _class_means(x, y, len(c))[y]),
            "You centred x on the means of this batch, so the answer depends on how the data are cut. Add raw outer "
            "products; the means can be taken out at the end, from the totals.",
            "outer",
        ),
        Mistake(
            lambda c, s, o, x, y: o + _spread(x.double() - x.double().mean(0)),
            "You centred x on the mean of this batch, so the answer depends on how the data are cut. Add raw outer "
            "products; the means can be taken out at the end, from the totals.",
            "outer",
        ),
        Mistake(
            lambda c, s, o, x, y: o + _spread(x.double() - _running(c, s, o, x, y)[y]),
            "You centred x on the means so far, so the answer depends on the order of the data. Add raw outer "
            "products; the means can be taken out at the end, from the totals.",
            "outer",
        ),
    ],
    hard=[
        (
            drawn(903, _cancelling_inputs, (3, 40))[0],
            "Right for numbers of one size, but where large products nearly cancel, float32 loses what is left. x is "
            "float32 here: x.double() *before* you multiply, not after.",
        )
    ],
    parts=("counts", "totals", "outer"),
)


def _last(x: Tensor, y: Tensor, k: int) -> Tensor:
    return x[y == k][-1].double() if (y == k).any() else x.new_zeros(x.shape[1], dtype=torch.float64)


def _running(c: Tensor, s: Tensor, o: Tensor, x: Tensor, y: Tensor) -> Tensor:
    counts, totals, _ = _add(c, s, o, x, y)
    return totals / counts.clamp_min(1)[:, None]
