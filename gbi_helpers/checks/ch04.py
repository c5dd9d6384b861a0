"""The exercises of chapter 04, infer Z; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from gbi_helpers.bayes import bayes_filter
from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal
from gbi_helpers.inference import LossFn


def _filter(grad: Tensor, hazard: float, switch: Callable[[Tensor], Tensor]) -> Tensor:
    """A filter with another switch between samples, from a flat belief."""
    beliefs: list[Tensor] = []
    belief = torch.full_like(grad[0], 1 / grad.shape[1])
    for row in grad:
        prior = switch(belief) if beliefs else belief
        beliefs.append(torch.log_softmax(prior.clamp_min(1e-300).log() - row, -1))
        belief = beliefs[-1].exp()
    return torch.stack(beliefs)


def _jump(belief: Tensor, hazard: float) -> Tensor:
    return (1 - hazard) * belief + hazard * (1 - belief) / (belief.shape[-1] - 1)


def _leaking_logs(grad: Tensor, hazard: float) -> Tensor:
    """A filter that leaks log beliefs in the place of beliefs."""
    beliefs: list[Tensor] = []
    expected = torch.full_like(grad[0], 1 / grad.shape[1]).log()
    for row in grad:
        beliefs.append(torch.log_softmax(expected - row, -1))
        others = (beliefs[-1].sum() - beliefs[-1]) / (len(row) - 1)
        expected = (1 - hazard) * beliefs[-1] + hazard * others
    return torch.stack(beliefs)


def _corner(z0: Tensor, task: int) -> Tensor:
    return torch.eye(z0.shape[1], dtype=z0.dtype, device=z0.device)[task].expand_as(z0)


def _way(z0: Tensor, task: int) -> Tensor:
    return _corner(z0, task) - z0


def _gradient(loss_fn: LossFn, z0: Tensor) -> Tensor:
    z = z0.clone().requires_grad_()
    return torch.autograd.grad(loss_fn(z).sum(), z)[0]


def _bend(loss_fn: LossFn, z0: Tensor, way: Tensor) -> Tensor:
    """The Hessian times ``way``, (B, K)."""
    z = z0.clone().requires_grad_()
    slope = (torch.autograd.grad(loss_fn(z).sum(), z, create_graph=True)[0] * way).sum()
    return torch.autograd.grad(slope, z)[0]


def _second(loss_fn: LossFn, z0: Tensor, way: Tensor) -> Tensor:
    return (_bend(loss_fn, z0, way) * way).sum(-1)


def _from_mean_loss_inputs(draw: Generator, batch: int, tasks: int, samples: int, sd: float) -> Inputs:
    return 0.3 * normal(draw, batch, tasks), samples, sd


def _scaled_by(scale: Callable[[int, float], float]) -> Callable[..., Tensor]:
    return lambda g, n, s: torch.log_softmax(-scale(n, s) * g, dim=-1)


from_mean_loss = Exercise(
    "from_mean_loss",
    "student(grad (B, K), samples, sd) -> log q (B, K), from the gradient of a *mean* squared error.",
    _scaled_by(lambda n, s: n / (2 * s**2)),
    drawn(401, _from_mean_loss_inputs, (4, 2, 5, 0.3), (3, 3, 8, 0.7), (5, 4, 3, 1.6), (2, 6, 20, 0.9)),
    mistakes=[
        Mistake(
            _scaled_by(lambda n, s: -n / (2 * s**2)), "The sign: where the loss falls along z_k, task k explains more."
        ),
        Mistake(
            _scaled_by(lambda n, s: 1.0), "That is the gradient as it is: not in nats yet. What turns it into nats?"
        ),
        Mistake(
            _scaled_by(lambda n, s: 1 / (2 * s**2)),
            "The mean over the samples is still in it: evidence adds up, so multiply by their number.",
        ),
        Mistake(_scaled_by(lambda n, s: float(n)), "Nats of a Gaussian are error^2 / (2 sd^2): the 2 sd^2 is missing."),
        Mistake(_scaled_by(lambda n, s: n / s**2), "The 2 in error^2 / (2 sd^2) is missing."),
        Mistake(_scaled_by(lambda n, s: n / (2 * s)), "Divide by sd squared, not by sd."),
        Mistake(
            _scaled_by(lambda n, s: 2 * s**2 / n), "The wrong way up: the gradient is too *small*, so make it larger."
        ),
    ],
    logs=True,
)


def _gradient_filter_inputs(draw: Generator, time: int, tasks: int, hazard: float, scale: float = 1.5) -> Inputs:
    return scale * normal(draw, time, tasks), hazard


*_mild, _steep = drawn(
    402, _gradient_filter_inputs, (6, 2, 0.1), (9, 3, 0.2), (5, 4, 0.05), (12, 3, 0.4), (30, 3, 0.1, 2000.0)
)

gradient_filter = Exercise(
    "gradient_filter",
    "student(grad (T, K), hazard) -> log belief (T, K): one-step gradients in the place of likelihoods.",
    lambda g, h: bayes_filter(-g, h),
    _mild,
    mistakes=[
        Mistake(
            bayes_filter,
            "The sign: the log-likelihood is *minus* the gradient, up to a constant.",
        ),
        Mistake(
            lambda g, h: torch.log_softmax(-g, -1),
            "That is one step on each sample alone. Yesterday's belief is today's prior: it has no memory yet.",
        ),
        Mistake(
            lambda g, h: bayes_filter(-g, 0.0),
            "The switch is missing: before each sample a little belief leaks to the other contexts.",
        ),
        Mistake(
            lambda g, h: _filter(g, h, lambda b: (1 - h) * b + h * (1 - b)),
            "Right for two contexts only: a jump goes to each of the other K - 1, so divide by K - 1.",
        ),
        Mistake(
            lambda g, h: _filter(g, h, lambda b: (1 - h) * b + h / b.shape[-1]),
            "In your switch a context may jump to itself: a jump goes to one of the *other* K - 1.",
        ),
        Mistake(
            _leaking_logs,
            "You leak *log* beliefs. What moves from one context to another is probability: take exp, leak, take the "
            "logarithm again.",
        ),
        Mistake(
            lambda g, h: _jump(bayes_filter(-g, h).exp(), h).log(),
            "That is the belief *before the next* sample. Return it after each sample, before the next switch.",
        ),
    ],
    hard=[
        (
            _steep,
            "Right for mild gradients, but with large ones exp(-grad) under- or overflows. Add in logs, and let "
            "log_softmax normalise.",
        )
    ],
    logs=True,
    without=("bayes_filter",),
)


def _curvature_towards_inputs(draw: Generator, batch: int, tasks: int, task: int) -> Inputs:
    w1, w2, x = normal(draw, tasks, 5), normal(draw, 5, 4), normal(draw, batch, 4)
    z0 = torch.softmax(normal(draw, batch, tasks), -1)
    return (lambda z: (torch.tanh(z.to(x) @ w1) @ w2 - x).square().sum(-1)), z0, task


def _bent_along(way: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
    return lambda f, z0, k: _second(f, z0, way(z0, k))


curvature_towards = Exercise(
    "curvature_towards",
    "student(loss_fn, z0 (B, K), task) -> d' H d (B,) at z0, on the way d from z0 to pure task.",
    _bent_along(_way),
    drawn(403, _curvature_towards_inputs, (3, 4, 0), (5, 3, 2), (2, 6, 1), (4, 2, 1)),
    mistakes=[
        Mistake(_bent_along(_corner), "You look along e_k. The way to pure task k begins at z0: d = e_k - z0."),
        Mistake(
            lambda f, z0, k: (_gradient(f, z0) * _way(z0, k)).sum(-1),
            "That is the slope d . g, the first derivative. Differentiate it once more.",
        ),
        Mistake(
            lambda f, z0, k: (_bend(f, z0, torch.ones_like(z0)) * _way(z0, k)).sum(-1),
            "One of your two products with d is a plain sum. The slope along d is grad . d, a number a sample; its "
            "gradient, times d once more, is the curvature.",
        ),
        Mistake(
            lambda f, z0, k: _second(f, z0, _way(z0, k)) - (_gradient(f, z0) * _way(z0, k)).sum(-1),
            "Your d depends on z, so it was differentiated, too. d = e_k - z0 is a fixed arrow: make it from z0, which "
            "asks for no gradient.",
        ),
        Mistake(
            lambda f, z0, k: _second(f, z0, _way(z0, k)) / len(z0),
            "You averaged the loss over the batch, so each curvature is B times too small: sum it.",
        ),
        Mistake(
            lambda f, z0, k: _second(f, z0, _way(z0, k)) / 2,
            "The 1/2 belongs to the gap, delta_k = -d' H d / 2, not to the curvature itself.",
        ),
        Mistake(
            lambda f, z0, k: _second(f, z0, _way(z0, k)) / _way(z0, k).square().sum(-1),
            "You made d a unit vector. Leave it as long as the way is.",
        ),
    ],
    without=("curvature_along", "second_order_gap"),
)


def _delta_from_inputs(draw: Generator, tasks: int, size: int, samples: int, sd: float) -> Inputs:
    return normal(draw, tasks, size) + 1, sd, samples, torch.softmax(normal(draw, tasks), -1)


def _gap_from(
    centre: Callable[[Tensor, Tensor], Tensor], scale: Callable[[float, int], float]
) -> Callable[..., Tensor]:
    return lambda w, s, n, z0: -scale(s, n) * (w - centre(w, z0)).square().sum(-1)


def _predicted(w: Tensor, z0: Tensor) -> Tensor:
    return z0 @ w


_delta = _gap_from(_predicted, lambda s, n: n / (2 * s**2))

delta_from = Exercise(
    "delta_from",
    "student(patterns (K, D), sd, samples, z0 (K,)) -> the gap (K,) of one step from z0, constants aside.",
    _delta,
    drawn(404, _delta_from_inputs, (3, 4, 5, 0.5), (2, 3, 1, 0.8), (5, 2, 3, 1.4), (4, 6, 2, 0.7)),
    mistakes=[
        Mistake(
            lambda w, s, n, z0: -_delta(w, s, n, z0),
            "The sign: one step flatters the tasks far from where it starts, so their delta is negative.",
        ),
        Mistake(
            _gap_from(lambda w, z0: w.mean(0), lambda s, n: n / (2 * s**2)),
            "You measure from the mean pattern, which is right for the uniform start only. What does the network "
            "predict at *this* z0?",
        ),
        Mistake(
            _gap_from(lambda w, z0: torch.zeros_like(w[0]), lambda s, n: n / (2 * s**2)),
            "You measure from the origin. Measure from what the network predicts at z0.",
        ),
        Mistake(
            _gap_from(_predicted, lambda s, n: 1 / (2 * s**2)),
            "Every sample adds its evidence, and its gap: multiply by the number of samples.",
        ),
        Mistake(_gap_from(_predicted, lambda s, n: n / s**2), "The factor 1/2 of the second-order term is missing."),
        Mistake(_gap_from(_predicted, lambda s, n: n / (2 * s)), "Divide by sd squared, not by sd."),
        Mistake(
            lambda w, s, n, z0: -n * (w - z0 @ w).norm(dim=-1) / (2 * s**2),
            "That is the distance: the squared error takes its square.",
        ),
    ],
    up_to_constant=True,
    without=("gap", "natural_gap", "one_step_gap"),
)
