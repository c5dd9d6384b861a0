"""Exercise of chapter 11 on learning from a sample whose task nobody names; see :mod:`~gbi_helpers.checks.ch11`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, uniform, whole


def _sample_inputs(draw: Generator, tasks: int, size: int, hazard: float, rate: float, away: float = 1.0) -> Inputs:
    means, belief = normal(draw, tasks, size), torch.log_softmax(normal(draw, tasks), 0)
    x = means[int(whole(draw, 0, tasks, 1))] + away * normal(draw, size)
    return x, means, 0.5 + uniform(draw, 1)[0], belief, hazard, rate


def leak(log_belief: Tensor, h: float | Tensor) -> Tensor:
    """Log belief (..., K) before the next sample: with chance ``h`` the task is another, each as likely."""
    b = log_belief.exp()
    return ((1 - h) * b + h * (b.sum(-1, keepdim=True) - b) / (b.shape[-1] - 1)).log()


def leak_anywhere(log_belief: Tensor, h: float | Tensor) -> Tensor:
    """The typical mistake: a jump may end where it began."""
    return ((1 - h) * log_belief.exp() + h / log_belief.shape[-1]).log()


def _leak_of_logs(log_belief: Tensor, h: float) -> Tensor:
    return (1 - h) * log_belief + h * (log_belief.sum() - log_belief) / (len(log_belief) - 1)


def _score(x: Tensor, means: Tensor, variance: Tensor) -> Tensor:
    return -(x - means).square().sum(1) / (2 * variance)


Says = Callable[..., Tensor]
Leak = Callable[[Tensor, Any], Tensor]


def _believed(leaks: Leak = leak, score: Says = _score) -> Says:
    return lambda x, m, v, b, h, rate: torch.log_softmax(leaks(b, h) + score(x, m, v), 0)


_belief = _believed()


def _moved(weight: Says) -> Says:
    """Means that move towards x by ``weight`` (K,), which is asked with all inputs."""
    return lambda x, m, *more: m + more[-1] * weight(x, m, *more)[:, None] * (x - m)


def _soft(*inputs: Tensor) -> Tensor:
    return _belief(*inputs).exp()


_means = _moved(_soft)


def _varied(error: Says) -> Says:
    """A running mean of ``error(x, means, r, all inputs)``, r (K,) the belief."""
    return lambda *a: a[2] + a[-1] * (error(a[0], a[1], _soft(*a), a) - a[2])


def _spread(x: Tensor, means: Tensor, r: Tensor) -> Tensor:
    return (r * (x - means).square().mean(1)).sum()


_variance = _varied(lambda x, m, r, _: _spread(x, m, r))

read_one = Exercise(
    "read_one",
    "student(x (D,), means (K, D), variance (), log_belief (K,), hazard, rate) -> log_belief, means, variance after x.",
    lambda *a: (_belief(*a), _means(*a), _variance(*a)),
    drawn(1103, _sample_inputs, (3, 2, 0.1, 0.05), (4, 3, 0.3, 0.2), (2, 5, 0.02, 0.1)),
    mistakes=[
        Mistake(
            _believed(lambda b, h: b),
            "The hazard is missing: before x the task may have switched. Without a leak the first slot to win is sure "
            "for ever.",
            "log_belief",
        ),
        Mistake(
            _believed(leak_anywhere),
            "You let a jump end where it began. A switch goes to one of the *other* K - 1: h (1 - b_k) / (K - 1).",
            "log_belief",
        ),
        Mistake(
            _believed(lambda b, h: ((1 - h) * b.exp() + h * (1 - b.exp())).log()),
            "The chance h of a switch is shared by the other tasks: divide by K - 1.",
            "log_belief",
        ),
        Mistake(
            _believed(_leak_of_logs),
            "You leaked *log* beliefs. Probabilities leak: exp, leak, log.",
            "log_belief",
        ),
        Mistake(
            lambda x, m, v, b, h, rate: leak(torch.log_softmax(b + _score(x, m, v), 0), h),
            "You leaked after Bayes' rule: that is the belief before the *next* sample. First leak, then the evidence.",
            "log_belief",
        ),
        Mistake(
            lambda *a: torch.log_softmax(_score(*a[:3]), 0),
            "This forgets everything before x: the belief so far, after the leak, is the prior.",
            "log_belief",
        ),
        Mistake(
            _believed(score=lambda x, m, v: 2 * _score(x, m, v)),
            "The 1/2 of the Gaussian is missing in the evidence: |x - mean|^2 / (2 variance).",
            "log_belief",
        ),
        Mistake(
            _believed(score=lambda x, m, v: _score(x, m, v) / len(x)),
            "You averaged over the D numbers of x. Their evidence adds up.",
            "log_belief",
        ),
        Mistake(
            _believed(score=lambda x, m, v: _score(x, m, v**2)),
            "It is the *variance* that you are given: do not square it again.",
            "log_belief",
        ),
        Mistake(
            _believed(score=lambda x, m, v: _score(x, m, torch.ones_like(v))),
            "The evidence knows no noise: divide by 2 variance.",
            "log_belief",
        ),
        Mistake(
            lambda *a: _belief(*a).exp(),
            "These are probabilities; return their logarithms.",
            "log_belief",
        ),
        Mistake(
            _moved(lambda x, m, v, b, h, rate: b.exp()),
            "You learned with the belief from *before* x. Guess first, then learn from the guess.",
            "means",
        ),
        Mistake(
            _moved(lambda x, m, v, b, h, rate: leak(b, h).exp()),
            "You learned with the prior, which has not seen x. Guess first, then learn from the guess.",
            "means",
        ),
        Mistake(
            _moved(lambda *a: one_hot(_belief(*a).argmax(), len(a[1])).to(a[0])),
            "Only the likeliest slot learns: that is k-means, and a slot that never wins never learns. z is the "
            "belief, soft.",
            "means",
        ),
        Mistake(
            _moved(lambda *a: torch.ones_like(a[3])),
            "All slots move alike, so they end as one. Each moves by rate times its belief.",
            "means",
        ),
        Mistake(_moved(lambda *a: -_soft(*a)), "The means move *away* from x: x - mean, not mean - x.", "means"),
        Mistake(
            _moved(lambda *a: _soft(*a) / a[2]),
            "That is a step down the nats, which goes wild when the noise is small. Asked for is a running mean: no "
            "variance in it.",
            "means",
        ),
        Mistake(
            lambda *a: (1 - a[-1]) * a[1] + a[-1] * _soft(*a)[:, None] * a[0],
            "Slots that do not explain x shrink towards 0: you forget at full rate and learn by the belief. Both go by "
            "rate times belief.",
            "means",
        ),
        Mistake(
            _varied(lambda x, m, r, a: len(x) * _spread(x, m, r)),
            "You summed the squared error over the D numbers: the variance is that of *one* of them.",
            "variance",
        ),
        Mistake(
            _varied(lambda x, m, r, a: (x - r @ m).square().mean()),
            "That is the error of the *mixed* prediction. An unsure belief predicts something between the slots, and "
            "the error of that is not the noise of one slot: take each slot's squared error, weighted by belief.",
            "variance",
        ),
        Mistake(
            _varied(lambda x, m, r, a: _spread(x, _means(*a), r)),
            "You measured the error after the means had moved towards x: it looks too small. Before.",
            "variance",
        ),
        Mistake(
            _varied(lambda x, m, r, a: (x - m).square().mean(1).amin()),
            "The error of the nearest slot alone is too small while nothing is known. Weigh each by belief.",
            "variance",
        ),
        Mistake(
            _varied(lambda x, m, r, a: (x - m).square().mean()),
            "All slots' errors count alike here, so the noise never gets small. Weigh each by belief.",
            "variance",
        ),
        Mistake(lambda *a: _variance(*a).sqrt(), "That is the standard deviation.", "variance"),
    ],
    hard=[
        (
            drawn(1104, _sample_inputs, (3, 4, 0.1, 0.05, 60.0))[0],
            "Right for a mild sample, but for one far from all slots every exp(evidence) is 0. Stay in logs: "
            "log_softmax(prior + evidence).",
        )
    ],
    parts=("log_belief", "means", "variance"),
)
