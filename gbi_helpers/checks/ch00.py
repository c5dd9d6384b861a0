"""The exercises of the start page, a warm-up; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, whole


def _softmax_of(sign: float) -> Callable[..., Tensor]:
    return lambda g, a: torch.softmax(sign * a * g, dim=-1)


posterior_from_gradient = Exercise(
    "posterior_from_gradient",
    "student(grad (K,), step_size) -> q (K,) = softmax(-step_size * grad).",
    _softmax_of(-1.0),
    drawn(1, lambda draw, tasks, step_size: (normal(draw, tasks), step_size), (3, 1.0), (10, 0.5), (5, 3.0)),
    mistakes=[
        Mistake(_softmax_of(1.0), "The sign: where the loss *falls*, the task explains more. Put a minus before g."),
        Mistake(lambda g, a: torch.softmax(-g, dim=-1), "The step size is missing: multiply the gradient by it."),
        Mistake(
            lambda g, a: torch.softmax(-g / a, dim=-1),
            "You divide by the step size: multiply. A larger step goes further, and the posterior is sharper.",
        ),
        Mistake(lambda g, a: -a * g, "That is minus the scaled gradient. Make probabilities of it: softmax."),
        Mistake(lambda g, a: torch.exp(-a * g), "These do not sum to 1 yet: divide by their sum."),
        Mistake(lambda g, a: torch.log_softmax(-a * g, dim=-1), "These are log probabilities: take softmax."),
    ],
)


def _images(draw: Generator, count: int, tasks: int) -> Inputs:
    """Images (B, 4, 4) of which each is a picture (K, 4, 4) and much noise, and whose pictures they are, (B,)."""
    pictures = normal(draw, tasks, 4, 4)
    y = whole(draw, 0, tasks, count)
    return pictures[y] + 1.5 * normal(draw, count, 4, 4), y, pictures


def _gradient(x: Tensor, pictures: Tensor, at: float | None = None) -> Tensor:
    """Minus the gradient (B, K) of the squared error to z, at z = 1/K everywhere, or at ``at``."""
    drawn_there = pictures.sum(0) * (1 / len(pictures) if at is None else at)
    return 2 * torch.einsum("bhw,khw->bk", x - drawn_there, pictures)


def _evidence(x: Tensor, pictures: Tensor) -> Tensor:
    return -(x[:, None] - pictures).square().sum((2, 3))


def _of_right(score: Tensor, y: Tensor) -> Tensor:
    return torch.log_softmax(score, 1).gather(1, y[:, None])[:, 0]


def _one_step(scale: float = 1.0, at: float | None = None) -> Callable[..., Tensor]:
    return lambda x, y, p: _of_right(scale * _gradient(x, p, at), y).mean()


def _hits(x: Tensor, y: Tensor, pictures: Tensor) -> Tensor:
    return (_gradient(x, pictures).argmax(1) == y).double().mean()


log_score = Exercise(
    "log_score",
    "student(x (B, H, W), y (B,), pictures (K, H, W)) -> mean () of log q of y, q from one step on the squared error.",
    _one_step(),
    drawn(2, _images, (40, 3), (60, 5), (80, 10)),
    mistakes=[
        Mistake(
            lambda x, y, p: _of_right(_gradient(x, p) / x[0].numel(), y).mean(),
            "You average the error over the pixels of an image. Sum them, or the evidence is H x W times too weak.",
        ),
        Mistake(
            lambda x, y, p: _of_right(_gradient(x, p) / len(x), y).mean(),
            "You average the error over the batch, so each image's gradient is B times too small. Sum over the images.",
        ),
        Mistake(
            lambda x, y, p: _of_right(_gradient(x, p) / x.numel(), y).mean(),
            "You average the error over batch and pixels, as F.mse_loss does: every gradient is B x H x W times too "
            "small. Take the sum.",
        ),
        Mistake(_one_step(-1.0), "The sign: evidence is *minus* the gradient. Where the loss falls, q is large."),
        Mistake(
            lambda x, y, p: _of_right(_evidence(x, p), y).mean(),
            "That tries every picture in turn, K passes: take one step from the middle, max_entropy.",
        ),
        Mistake(_one_step(0.5), "You halve the squared error. Here its noise has variance 1/2: no factor in front."),
        Mistake(_one_step(at=0.0), "You start at z = 0. Start where no picture is favoured: 1/K everywhere."),
        Mistake(
            lambda x, y, p: _of_right(_gradient(x, p), y).exp().mean(),
            "That is the mean of q: take its logarithm for each image, then the mean.",
        ),
        Mistake(
            lambda x, y, p: _of_right(_gradient(x, p), y).exp().mean().log(),
            "You take the mean first. Take the logarithm for each image, then the mean.",
        ),
        Mistake(lambda x, y, p: _of_right(_gradient(x, p), y).sum(), "That is the sum: divide by the images."),
        Mistake(
            lambda x, y, p: torch.log_softmax(_gradient(x, p), 1).max(1).values.mean(),
            "That is log q of the digit that is chosen: take the right one's, y.",
        ),
        Mistake(_hits, "That is the share of right answers: now how sure is it of the right one, in logs?"),
    ],
)
