"""Exercises of chapter 09 on a belief that opens gates, and its gap; see :mod:`~gbi_helpers.checks.ch09`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.func import grad, hessian, jacrev, vmap
from torch.nn import functional

from gbi_helpers import theory
from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, uniform, whole


def _gates_inputs(draw: Generator, batch: int, contexts: int, size: int, units: int) -> Inputs:
    means = 0.1 + 0.8 * uniform(draw, contexts, size)
    gates = (uniform(draw, contexts, units) < 0.5).double()
    each = torch.arange(units, device=gates.device)
    gates[each % contexts, each] = 1  # no unit that is off everywhere
    x = (uniform(draw, batch, size) < means[whole(draw, 0, contexts, batch)]).double()
    return means, gates, x


def _slope(means: Tensor, x: Tensor) -> Tensor:
    """Gradient (B, K) at the uniform z, z in the logits."""
    return (means.logit().mean(0).sigmoid() - x) @ means.logit().T


def _delta(means: Tensor) -> Tensor:
    theta = means.logit()
    return theta.mean(0).sigmoid() @ theta.T - functional.softplus(theta).sum(1)


def _gated(z: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda means, gates, x: z(means, x) @ gates


def _hardest(score: Tensor) -> Tensor:
    return functional.one_hot(score.argmax(1), score.shape[1]).to(score)


def _pictures_slope(means: Tensor, x: Tensor) -> Tensor:
    """Gradient (B, K) at the uniform z, z in the pictures themselves."""
    at = means.mean(0)
    return ((at - x) / (at * (1 - at))) @ means.T


gates_from_images = Exercise(
    "gates_from_images",
    "student(means (K, D), gates (K, H), x (B, D)) -> gates (B, H), mixed by the belief of one gradient and its delta.",
    _gated(lambda m, x: torch.softmax(_delta(m) - _slope(m, x), 1)),
    drawn(905, _gates_inputs, (5, 4, 6, 5), (4, 3, 9, 7), (6, 5, 4, 6)),
    mistakes=[
        Mistake(
            _gated(lambda m, x: torch.softmax(-_slope(m, x), 1)),
            "That is one step as it was. Put back what it leaves out: add delta to minus the gradient.",
        ),
        Mistake(
            _gated(lambda m, x: torch.softmax(-_delta(m) - _slope(m, x), 1)),
            "Delta has the wrong sign: it is exact minus one-step, dA/dz_k at z0, minus A of context k.",
        ),
        Mistake(
            _gated(lambda m, x: torch.softmax(_delta(m) + _slope(m, x), 1)),
            "The gradient has the wrong sign: the loss falls fastest towards the right context. *Minus* gradient, plus "
            "delta.",
        ),
        Mistake(
            _gated(lambda m, x: _hardest(_slope(m, x))),
            "You took the context with the largest gradient, where the loss *rises* fastest. *Minus* gradient, plus "
            "delta, softmax.",
        ),
        Mistake(
            _gated(lambda m, x: _delta(m) - _slope(m, x)),
            "These scores are in nats. Turn them into a belief first, by softmax over the contexts.",
        ),
        Mistake(
            _gated(lambda m, x: _hardest(_delta(m) - _slope(m, x))),
            "You opened the likeliest context's gate alone. Asked for is the mixture by the whole belief, z @ gates.",
        ),
        Mistake(
            _gated(lambda m, x: torch.softmax(_delta(m) - _slope(m, x) / len(x), 1)),
            "Your gradient is B times too small: the mean over the batch divided it. Sum the losses of all images.",
        ),
        Mistake(
            _gated(lambda m, x: torch.softmax(_delta(m) - _slope(m, x), 1).mean(0).expand(len(x), -1)),
            "All images get one gate, that of their mean belief. Each image has a context of its own.",
        ),
        Mistake(
            _gated(lambda m, x: torch.softmax((_delta(m) - _slope(m, x)) / x.shape[1], 1)),
            "You averaged over the D pixels. Evidence adds up: take the sum.",
        ),
        Mistake(
            _gated(lambda m, x: torch.softmax(-_pictures_slope(m, x), 1)),
            "You mixed the mean *images* by z. Mix their logits, z @ means.logit(): those are the natural parameters.",
        ),
        Mistake(
            _gated(lambda m, x: x.new_full((len(x), len(m)), 1 / len(m))),
            "These are the gates of the uniform z, where one starts. Mix them by the belief that one gradient gives.",
        ),
    ],
    hard=[
        (
            drawn(906, _gates_inputs, (4, 3, 3000, 5))[0],
            "Right for a few pixels, but over thousands exp underflows to 0 for all contexts: use torch.softmax.",
        )
    ],
    between=(0, 1),
)


def _natural_inputs(draw: Generator, log_partition: Callable[[Tensor], Tensor], tasks: int, size: int) -> Inputs:
    return log_partition, normal(draw, tasks, size), torch.softmax(normal(draw, tasks), 0)


Partition = Callable[[Tensor], Tensor]


def _at(a: Partition, theta: Tensor, z: Tensor) -> Tensor:
    """dA/dz (K,) at z (K,)."""
    return grad(lambda z: a(z @ theta))(z)


def _second_order(a: Partition, theta: Tensor, z0: Tensor) -> Tensor:
    ways = torch.eye(len(z0), dtype=z0.dtype, device=z0.device) - z0
    curved = hessian(lambda z: a(z @ theta))(z0)
    return -torch.einsum("ki,ij,kj->k", ways, curved, ways) / 2


def _at_corners(a: Partition, theta: Tensor, z0: Tensor) -> Tensor:
    corners = torch.eye(len(z0), dtype=z0.dtype, device=z0.device)
    return vmap(jacrev(lambda z: a(z @ theta)))(corners).diagonal()


natural_gap = Exercise(
    "natural_gap",
    "student(log_partition, theta (K, P), z0 (K,)) -> delta (K,), exact minus one-step logits, up to a constant.",
    theory.natural_gap,
    drawn(
        907,
        _natural_inputs,
        (lambda t: t.exp().sum(-1), 4, 3),  # Poisson
        (lambda t: t.logsumexp(-1), 6, 5),  # words
        (lambda t: functional.softplus(t).sum(-1), 3, 7),  # Bernoulli
    ),
    mistakes=[
        Mistake(
            lambda a, t, z: -a(t),
            "That is the exact part, -A(theta_k), alone. Take away what one step says of it already: add dA/dz_k at "
            "z0.",
        ),
        Mistake(
            _at,
            "That is the slope of A at z0, alone. Exact Bayes has A itself at each pure task: subtract A(theta_k).",
        ),
        Mistake(
            lambda a, t, z: a(t) - _at(a, t, z),
            "The sign: exact minus one-step. Minus the loss is T(x) . theta - A, so A comes with a minus.",
        ),
        Mistake(
            lambda a, t, z: _at(a, t, torch.full_like(z, 1 / len(z))) - a(t),
            "You took the slope at the uniform z. Take it at z0, where the step starts.",
        ),
        Mistake(
            lambda a, t, z: _at_corners(a, t, z) - a(t),
            "You took each slope at its own pure task. One step has one gradient, at z0.",
        ),
        Mistake(
            lambda a, t, z: -_at(a, t, z) - a(t),
            "The slope has the wrong sign: minus the gradient holds -dA/dz_k, and *exact minus that* adds dA/dz_k.",
        ),
        Mistake(
            _second_order,
            "That is the curvature at z0, right for a quadratic A only. No approximation is needed: A can be computed.",
        ),
    ],
    up_to_constant=True,
    without=("natural_gap", "natural_kl"),
)
