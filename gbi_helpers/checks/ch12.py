"""The exercises of chapter 12, paper against measured; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

import math

import torch
from scipy import stats
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, uniform

# -- a reported number, and what was measured over seeds ---------------------------------------------------------------


def _t(n: int, tail: float = 0.975) -> float:
    return float(stats.t.ppf(tail, n - 1))


def _near_inputs(draw: Generator, statements: int, seeds: int) -> Inputs:
    """Measurements of some statements, some close to what is reported; of some of those a ± is reported, too."""
    values = 80 + normal(draw, statements, 1) + 2 * normal(draw, statements, seeds)
    far = torch.linspace(0, 6, statements, dtype=values.dtype, device=values.device)
    spread = 2 * (uniform(draw, statements) < 0.5)
    return values, values.mean(1) + far * normal(draw, statements).sign(), spread.double(), _t(seeds)


def _half(x: Tensor, t: float, correction: int = 1) -> Tensor:
    return t * x.std(1, correction=correction) / math.sqrt(x.shape[1])


def _room(x: Tensor, told: Tensor, allowed: Tensor) -> Tensor:
    return allowed - (x.mean(1) - told).abs()


def _both(x: Tensor, spread: Tensor, t: float) -> Tensor:
    return torch.hypot(_half(x, t), spread)


_SD = (
    "That is the standard deviation: how far single seeds spread. Asked for is how well their *mean* is known: t times "
    "the deviation over sqrt(S)."
)

near = Exercise(
    "near",
    "student(values (M, S), reported (M,), spread (M,), t) -> half of the 95 % interval of each mean (M,), and the "
    "room (M,): how far the mean could still move away before the reported number is out of reach. t: Student's t for "
    "S seeds.",
    lambda x, told, spread, t: (_half(x, t), _room(x, told, _both(x, spread, t))),
    drawn(1211, _near_inputs, (12, 5), (20, 3), (30, 8)),
    mistakes=[
        Mistake(lambda x, told, spread, t: x.std(1), _SD, "half"),
        Mistake(
            lambda x, told, spread, t: x.std(1) / math.sqrt(x.shape[1]),
            "That is the standard error. The 95 % interval is t times as wide.",
            "half",
        ),
        Mistake(
            lambda x, told, spread, t: _half(x, 1.96),
            "1.96 is for a deviation that one *knows*. Yours is estimated from S numbers: use t, which is wider.",
            "half",
        ),
        Mistake(
            lambda x, told, spread, t: _half(x, t, correction=0),
            "Divide by S - 1 under the root of the standard deviation, as torch.std does.",
            "half",
        ),
        Mistake(
            lambda x, told, spread, t: 2 * _half(x, t),
            "That is the whole interval. Return half of it, what stands after the ±.",
            "half",
        ),
        Mistake(
            lambda x, told, spread, t: t * x.std(1),
            "The mean of S seeds is known sqrt(S) times better than one of them: divide by it.",
            "half",
        ),
        Mistake(
            lambda x, told, spread, t: (t * x.std() / math.sqrt(x.shape[1])).expand(len(x)),
            "You took one deviation for all statements. Each has its own: along the last axis.",
            "half",
        ),
        Mistake(
            lambda x, told, spread, t: t * x.std(1) / math.sqrt(len(x)),
            "You divided by the root of the number of *statements*. The mean is over seeds: sqrt(values.shape[1]).",
            "half",
        ),
        Mistake(
            lambda x, told, spread, t: _room(x, told, _half(x, t) + spread),
            "You added the two ± as they are. Two uncertainties that know nothing of each other rarely err together: "
            "their squares add, as in chapter 05.",
            "room",
        ),
        Mistake(
            lambda x, told, spread, t: _both(x, spread, t),
            "The distance is missing: subtract |mean - reported|.",
            "room",
        ),
        Mistake(
            lambda x, told, spread, t: _room(x, told, _half(x, t)),
            "You left out the paper's own ±. Its number is uncertain as well: both count, as squares.",
            "room",
        ),
        Mistake(
            lambda x, told, spread, t: _room(x, told, spread),
            "You left out your own interval: the mean of S seeds is uncertain as well. Both count, as squares.",
            "room",
        ),
        Mistake(
            lambda x, told, spread, t: _room(x, told, torch.hypot(x.std(1), spread)),
            "You used the spread of single seeds. Asked is how well their *mean* is known: use half.",
            "room",
        ),
        Mistake(
            lambda x, told, spread, t: -_room(x, told, _both(x, spread, t)),
            "The sign is turned round: room is positive where the number is reproduced.",
            "room",
        ),
        Mistake(
            lambda x, told, spread, t: _both(x, spread, t) - (x.mean(1) - told),
            "Far *below* is not near either: take the absolute difference.",
            "room",
        ),
    ],
    parts=("half", "room"),
)

# -- how many seeds a difference needs ---------------------------------------------------------------------------------


def _seed_inputs(draw: Generator, seeds: int, effect: float) -> Inputs:
    """Differences of a pilot, and the effect that is to be told from nothing."""
    return 0.3 + normal(draw, seeds), effect


def _needed(differences: Tensor, effect: float, quantile: float | None = None, correction: int = 1) -> int:
    sd, n = float(differences.std(correction=correction)), 2
    while (quantile or _t(n)) * sd / math.sqrt(n) > effect:
        n += 1
    return n


seeds_needed = Exercise(
    "seeds_needed",
    "student(differences (S,), effect) -> the least number of seeds, 2 or more, whose mean would be known to ± effect.",
    _needed,
    drawn(1202, _seed_inputs, (5, 0.5), (6, 0.25), (8, 1.0), (5, 0.8), (6, 20.0), (5, 0.12)),
    mistakes=[
        Mistake(
            lambda d, effect: _needed(d, effect, 1.96),
            "With 1.96 you promise too much when few seeds are enough: the spread is estimated from them. Student's t "
            "depends on n, so try n = 2, 3, 4, ... until it fits.",
        ),
        Mistake(
            lambda d, effect: _needed(d, effect, _t(len(d))),
            "You kept the t of the *pilot*. With n seeds it has n - 1 degrees of freedom.",
        ),
        Mistake(
            lambda d, effect: _needed(d, effect) - 1,
            "One too few: the interval of so many is still wider than the effect.",
        ),
        Mistake(lambda d, effect: _needed(d, effect) + 1, "One more than needed."),
        Mistake(
            lambda d, effect: max(_needed(d, effect) - len(d), 0),
            "That is how many *more* than the pilot has. Return all of them.",
        ),
        Mistake(
            lambda d, effect: _needed(d, effect, _t(2)),
            "You kept one t, that of two seeds. It falls as n grows: look it up anew for each n.",
        ),
        Mistake(
            lambda d, effect: len(d),
            "That is the pilot's own number of seeds. Ask how many would make its interval as narrow as `effect`.",
        ),
        Mistake(
            lambda d, effect: _needed(d, effect / 2),
            "You asked for an interval of half the width: ± effect, not ± effect / 2.",
        ),
        Mistake(
            lambda d, effect: _needed(d, effect, correction=0),
            "The pilot's standard deviation divides by S - 1, as torch.std does.",
        ),
    ],
)

# -- many verdicts at once ---------------------------------------------------------------------------------------------


def _p_inputs(draw: Generator, true: int, null: int) -> Inputs:
    """p values, some of them small, in no order."""
    p = torch.cat([0.01 * uniform(draw, true) ** 2, uniform(draw, null)])
    return (p[uniform(draw, true + null).argsort()],)


def _holm(p: Tensor) -> Tensor:
    order = p.argsort()
    factor = torch.arange(len(p), 0, -1, dtype=p.dtype, device=p.device)
    adjusted = (factor * p[order]).cummax(0).values.clamp(max=1)
    return torch.empty_like(p).scatter(0, order, adjusted)


def _not_raised(p: Tensor) -> Tensor:
    order = p.argsort()
    factor = torch.arange(len(p), 0, -1, dtype=p.dtype, device=p.device)
    return torch.empty_like(p).scatter(0, order, (factor * p[order]).clamp(max=1))


def _benjamini(p: Tensor) -> Tensor:
    order = p.argsort(descending=True)
    factor = len(p) / torch.arange(len(p), 0, -1, dtype=p.dtype, device=p.device)
    return torch.empty_like(p).scatter(0, order, (factor * p[order]).cummin(0).values.clamp(max=1))


holm = Exercise(
    "holm",
    "student(p (M,)) -> Holm's adjusted p values (M,), in the same order, at most 1.",
    _holm,
    drawn(1203, _p_inputs, (4, 8), (2, 5), (10, 20)),
    mistakes=[
        Mistake(lambda p: p, "These are the p values as they came in. With M of them each must be smaller to count."),
        Mistake(
            lambda p: (len(p) * p).clamp(max=1),
            "That is Bonferroni's, times M for all. Holm's is never weaker: the smallest is multiplied by M, the next "
            "by M - 1, and so on.",
        ),
        Mistake(
            _not_raised,
            "Nearly: an adjusted value must not be below that of a smaller p. Go through them in order and keep the "
            "largest so far (cummax).",
        ),
        Mistake(
            lambda p: _holm(p).sort().values,
            "The numbers are right but sorted. Put each back where its p came from.",
        ),
        Mistake(
            _benjamini,
            "That is Benjamini and Hochberg's: it bounds the *share* of false verdicts among those passed. Holm bounds "
            "the chance of a single one.",
        ),
        Mistake(
            lambda p: (_holm(p) <= 0.05).to(p.dtype),
            "Return the adjusted values, not who passes.",
        ),
        Mistake(lambda p: 1 - (1 - p) ** len(p), "That is Šidák's in one step: Holm goes down the sorted list."),
    ],
    between=(0.0, 1.0),
)
