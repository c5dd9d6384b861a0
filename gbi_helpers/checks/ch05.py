"""Checks of chapter 05, MNIST. Each takes the student's function; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, normal, uniform

Student = Callable[..., Any]


def image_nll(student: Student) -> None:
    """Check ``student(logits (B, H, W), x (B, H, W))`` -> -log p(x) (B,), in nats, of pixels as coins."""
    draw = torch.Generator().manual_seed(501)

    def inputs(batch: int, height: int, width: int, scale: float = 2.0) -> Inputs:
        return scale * normal(draw, batch, height, width), uniform(draw, batch, height, width)

    Exercise(
        "image_nll",
        lambda a, x: _coins(a, x).sum((1, 2)),
        [inputs(3, 4, 5), inputs(2, 6, 3), inputs(5, 2, 2)],
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
                inputs(3, 4, 4, scale=2000.0),
                "Right for mild logits, but with large ones sigmoid rounds to 0 or 1 and its log is infinite. "
                "Stay in logits: torch.nn.functional.logsigmoid or binary_cross_entropy_with_logits.",
            )
        ],
    ).check(student)


def best_step_size(student: Student) -> None:
    """Check ``student(grad (N, K), y (N,), candidates (A,))`` -> the candidate whose q gives y the least NLL, ()."""
    draw = torch.Generator().manual_seed(502)
    candidates = torch.tensor([0.01, 0.03, 0.1, 0.3, 1.0, 3.0], dtype=torch.float64)

    def inputs(samples: int, tasks: int, sharpness: float) -> Inputs:
        y = torch.randint(tasks, (samples,), generator=draw)
        return (normal(draw, samples, tasks) - 1.5 * F.one_hot(y, tasks)) * sharpness, y, candidates.flip(0)

    def choose(score: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
        return lambda g, y, c: c[torch.stack([score(-a * g, y) for a in c]).argmin()]

    def nll(logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits, y)

    Exercise(
        "best_step_size",
        choose(nll),
        [inputs(200, 10, s) for s in (0.5, 2.0, 8.0, 30.0)],
        mistakes=[
            Mistake(
                choose(lambda a, y: nll(-a, y)),
                "The sign: q is the softmax of *minus* step size times gradient.",
            ),
            Mistake(
                lambda g, y, c: c[torch.stack([nll(-a * g, y) for a in c]).argmax()],
                "You chose the candidate with the largest NLL. Small is good.",
            ),
            Mistake(
                choose(lambda a, y: -(a.argmax(-1) == y).double().mean()),
                "You chose by accuracy, but no step size changes which task wins. Score the probability given to y.",
            ),
            Mistake(
                choose(lambda a, y: -torch.softmax(a, -1)[torch.arange(len(y)), y].mean()),
                "You averaged probabilities. Average their logarithms: being sure and wrong must cost much.",
            ),
        ],
    ).check(student)


def norms_at_corners(student: Student) -> None:
    """Check ``student(loss_fn, batch, n_tasks)`` -> |dL/dz| (B, K) at each one-hot z, what NBI compares."""
    draw = torch.Generator().manual_seed(503)

    def inputs(batch: int, tasks: int) -> Inputs:
        w1, w2, x = normal(draw, tasks, 6), normal(draw, 6, 4), normal(draw, batch, 4)
        return lambda z: ((torch.tanh(z.to(x) @ w1) @ w2 - x) ** 2).sum(-1), batch, tasks

    def norms(loss_fn: Callable[[Tensor], Tensor], batch: int, tasks: int) -> Tensor:
        return _corner_gradients(loss_fn, batch, tasks).norm(dim=-1)

    def at_uniform(loss_fn: Callable[[Tensor], Tensor], batch: int, tasks: int) -> Tensor:
        return _gradient(loss_fn, torch.full((batch, tasks), 1 / tasks, dtype=torch.float64)).abs()

    Exercise(
        "norms_at_corners",
        norms,
        [inputs(3, 4), inputs(5, 2), inputs(2, 6)],
        mistakes=[
            Mistake(lambda f, b, k: norms(f, b, k) ** 2, "That is the squared norm: take the square root."),
            Mistake(
                lambda f, b, k: _corner_gradients(f, b, k).diagonal(dim1=1, dim2=2).abs(),
                "You took only entry k of the gradient at corner k. The norm is over all K entries.",
            ),
            Mistake(
                lambda f, b, k: _corner_gradients(f, b, k).abs().sum(-1),
                "You summed absolute values. The norm is the root of the sum of squares.",
            ),
            Mistake(
                at_uniform, "You took the gradient at the uniform z. NBI looks from each corner, one-hot z, in turn."
            ),
            Mistake(
                lambda f, b, k: norms(f, b, k) / b,
                "You averaged the loss over the batch, so each gradient is B times too small: sum it.",
            ),
        ],
    ).check(student)


def corrected(student: Student) -> None:
    """Check ``student(seen_grad (N, K), seen_loss (N, K), grad (B, K))`` -> log q (B, K), with delta measured once."""
    draw = torch.Generator().manual_seed(504)

    def inputs(seen: int, batch: int, tasks: int) -> Inputs:
        curvature, grads = 2 * normal(draw, tasks), normal(draw, seen + batch, tasks)
        losses = grads + curvature + 0.3 * normal(draw, seen + batch, tasks) + 5 * normal(draw, seen + batch, 1)
        return grads[:seen], losses[:seen], grads[seen:]

    def answer(sign: float) -> Callable[..., Tensor]:
        return lambda g, loss, new: torch.log_softmax(-new + sign * (g - loss).mean(0), dim=-1)

    Exercise(
        "corrected",
        answer(1.0),
        [inputs(40, 5, 4), inputs(100, 3, 10), inputs(25, 6, 2)],
        mistakes=[
            Mistake(answer(-1.0), "delta has the wrong sign: it is what must be *added* to -gradient to reach -loss."),
            Mistake(answer(0.0), "delta is missing: this is the plain one-step answer."),
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
    ).check(student)


def _coins(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none")


def _gradient(loss_fn: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss_fn(z).sum(), z)[0]


def _corner_gradients(loss_fn: Callable[[Tensor], Tensor], batch: int, tasks: int) -> Tensor:
    """dL/dz (B, K, K): axis 1 the corner, axis 2 the entry of the gradient there."""
    corners = torch.eye(tasks, dtype=torch.float64)
    return torch.stack([_gradient(loss_fn, c.repeat(batch, 1)) for c in corners], dim=1)
