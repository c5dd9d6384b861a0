"""The exercises of chapter 05, MNIST; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, uniform, whole


def _coins(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none")


def _gradient(loss_fn: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss_fn(z).sum(), z)[0]


def _corner_gradients(loss_fn: Callable[[Tensor], Tensor], batch: int, tasks: int) -> Tensor:
    """dL/dz (B, K, K): axis 1 the corner, axis 2 the entry of the gradient there."""
    corners = torch.eye(tasks, dtype=torch.float64, device="cpu")
    return torch.stack([_gradient(loss_fn, c.repeat(batch, 1)) for c in corners], dim=1)


def _image_nll_inputs(draw: Generator, batch: int, height: int, width: int, scale: float = 2.0) -> Inputs:
    return scale * normal(draw, batch, height, width), uniform(draw, batch, height, width)


*_mild, _extreme = drawn(501, _image_nll_inputs, (3, 4, 5), (2, 6, 3), (5, 2, 2), (3, 4, 4, 2000.0))

image_nll = Exercise(
    "image_nll",
    "student(logits (B, H, W), x (B, H, W)) -> -log p(x) (B,), in nats, of pixels as coins.",
    lambda a, x: _coins(a, x).sum((1, 2)),
    _mild,
    mistakes=[
        Mistake(
            lambda a, x: _coins(a, x).mean((1, 2)),
            "You average over the pixels. Evidence adds up: take the sum, or the posterior comes out far too flat.",
        ),
        Mistake(
            lambda a, x: -_coins(a, x).sum((1, 2)),
            "The sign: a likely image should have a *small* loss, so put a minus before the log-likelihood.",
        ),
        Mistake(
            lambda a, x: -(x * F.logsigmoid(a)).sum((1, 2)),
            "The black pixels are missing: add (1 - x) log(1 - p) for each.",
        ),
        Mistake(
            lambda a, x: (torch.sigmoid(a) - x).square().sum((1, 2)),
            "That is the squared error. A coin that lands white with probability p has log p, or log(1 - p).",
        ),
        Mistake(
            lambda a, x: _coins(a, (x > 0.5).to(x)).sum((1, 2)),
            "You rounded the pixels to 0 and 1: let a grey pixel count for both sides, by its grey value.",
        ),
    ],
    hard=[
        (
            _extreme,
            "Right for mild logits, but with large ones sigmoid rounds to 0 or 1 and its log is infinite. "
            "Stay in logits: torch.nn.functional.logsigmoid or binary_cross_entropy_with_logits.",
        )
    ],
    without=("bernoulli_nll",),
)


_CANDIDATES = torch.tensor([3.0, 1.0, 0.3, 0.1, 0.03, 0.01], dtype=torch.float64, device="cpu")


def _best_step_size_inputs(draw: Generator, samples: int, tasks: int, sharpness: float) -> Inputs:
    y = whole(draw, 0, tasks, samples)
    return (normal(draw, samples, tasks) - 1.5 * F.one_hot(y, tasks)) * sharpness, y, _CANDIDATES


def _close_call_inputs(draw: Generator, samples: int, right: float) -> Inputs:
    """Two tasks, one nat apart, of which a share ``right`` is the true one: here every score chooses its own size."""
    y = whole(draw, 0, 2, samples)
    chosen = torch.where(uniform(draw, samples) < right, y, 1 - y)
    return -F.one_hot(chosen, 2).double(), y, 1.1 * _CANDIDATES


def _choose(score: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda g, y, c: c[torch.stack([score(-a * g, y) for a in c]).argmin()]


best_step_size = Exercise(
    "best_step_size",
    "student(grad (N, K), y (N,), candidates (A,)) -> the candidate whose q gives y the least NLL, ().",
    _choose(F.cross_entropy),
    [
        *drawn(502, _best_step_size_inputs, (200, 10, 0.5), (200, 10, 2.0), (200, 10, 8.0), (200, 10, 30.0)),
        *drawn(505, _close_call_inputs, (400, 0.6)),
    ],
    mistakes=[
        Mistake(
            _choose(lambda a, y: F.cross_entropy(-a, y)),
            "The sign: q is the softmax of *minus* step size times gradient.",
        ),
        Mistake(
            lambda g, y, c: c[torch.stack([F.cross_entropy(-a * g, y) for a in c]).argmax()],
            "You chose the candidate with the largest NLL. Small is good.",
        ),
        Mistake(
            _choose(lambda a, y: -(a.argmax(-1) == y).double().mean()),
            "This is the first candidate, whatever the data, as accuracy would choose: no step size changes which task "
            "wins. Score the probability given to y.",
        ),
        Mistake(
            lambda g, y, c: torch.stack([F.cross_entropy(-a * g, y) for a in c]).argmin(),
            "You return the place of the best candidate in the list. Return the step size that stands there.",
        ),
        Mistake(
            _choose(lambda a, y: F.cross_entropy(torch.softmax(a, -1), y)),
            "You took the softmax twice: F.cross_entropy takes it itself, so give it -(step size) * grad as it is.",
        ),
        Mistake(
            _choose(lambda a, y: -torch.softmax(a, -1).gather(1, y[:, None]).mean()),
            "You averaged probabilities. Average their logarithms: being sure and wrong must cost much.",
        ),
    ],
)


def _norms_at_corners_inputs(draw: Generator, batch: int, tasks: int) -> Inputs:
    w1, w2, x = normal(draw, tasks, 6), normal(draw, 6, 4), normal(draw, batch, 4)
    return lambda z: ((torch.tanh(z.to(x) @ w1) @ w2 - x) ** 2).sum(-1), batch, tasks


def _norms(loss_fn: Callable[[Tensor], Tensor], batch: int, tasks: int) -> Tensor:
    return _corner_gradients(loss_fn, batch, tasks).norm(dim=-1)


def _gradient_at_uniform(loss_fn: Callable[[Tensor], Tensor], batch: int, tasks: int) -> Tensor:
    return _gradient(loss_fn, torch.full((batch, tasks), 1 / tasks, dtype=torch.float64, device="cpu")).abs()


norms_at_corners = Exercise(
    "norms_at_corners",
    "student(loss_fn, batch, n_tasks) -> |dL/dz| (B, K) at each one-hot z, what NBI compares.",
    _norms,
    drawn(503, _norms_at_corners_inputs, (3, 4), (5, 2), (2, 6)),
    mistakes=[
        Mistake(lambda f, b, k: _norms(f, b, k) ** 2, "That is the squared norm: take the square root."),
        Mistake(
            lambda f, b, k: _corner_gradients(f, b, k).diagonal(dim1=1, dim2=2).abs(),
            "You took only entry k of the gradient at corner k. The norm is over all K entries.",
        ),
        Mistake(
            lambda f, b, k: _corner_gradients(f, b, k).abs().sum(-1),
            "You summed absolute values. The norm is the root of the sum of squares.",
        ),
        Mistake(
            _gradient_at_uniform,
            "You took the gradient at the uniform z. NBI looks from each corner, one-hot z, in turn.",
        ),
        Mistake(
            lambda f, b, k: _norms(f, b, k) / b,
            "You averaged the loss over the batch, so each gradient is B times too small: sum it.",
        ),
    ],
)


def _corrected_inputs(draw: Generator, seen: int, batch: int, tasks: int) -> Inputs:
    curvature, grads = 2 * normal(draw, tasks), normal(draw, seen + batch, tasks)
    losses = grads + curvature + 0.3 * normal(draw, seen + batch, tasks) + 5 * normal(draw, seen + batch, 1)
    return grads[:seen], losses[:seen], grads[seen:]


def _with_delta(sign: float) -> Callable[..., Tensor]:
    return lambda g, loss, new: torch.log_softmax(-new + sign * (g - loss).mean(0), dim=-1)


corrected = Exercise(
    "corrected",
    "student(seen_grad (N, K), seen_loss (N, K), grad (B, K)) -> log q (B, K), with delta measured once.",
    _with_delta(1.0),
    drawn(504, _corrected_inputs, (40, 5, 4), (100, 3, 10), (25, 6, 2)),
    mistakes=[
        Mistake(_with_delta(-1.0), "delta has the wrong sign: it is what must be *added* to -gradient to reach -loss."),
        Mistake(
            _with_delta(0.0),
            "This is the plain one-step answer: delta is missing, or the same for every task. Take mean(0).",
        ),
        Mistake(
            lambda g, loss, new: torch.log_softmax(-new - loss.mean(0), dim=-1),
            "You added the mean of -loss. delta is the mean of the *difference* between -loss and -gradient.",
        ),
        Mistake(
            lambda g, loss, new: torch.log_softmax(-new + (g - loss).sum(0), dim=-1),
            "You summed delta over the seen samples. It is their mean.",
        ),
        Mistake(
            lambda g, loss, new: torch.log_softmax(new + (g - loss).mean(0), dim=-1),
            "The sign of the gradient: evidence is *minus* the gradient.",
        ),
    ],
    logs=True,
)
