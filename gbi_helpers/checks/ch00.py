"""The exercises of the start page, a warm-up; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal


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
        Mistake(lambda g, a: -a * g, "That is minus the scaled gradient. Make probabilities of it: softmax."),
        Mistake(lambda g, a: torch.exp(-a * g), "These do not sum to 1 yet: divide by their sum."),
        Mistake(lambda g, a: torch.log_softmax(-a * g, dim=-1), "These are log probabilities: take softmax."),
    ],
)


def _images(draw: Generator, count: int, tasks: int) -> Inputs:
    """Images (B, 4, 4) of which each is a picture (K, 4, 4) and much noise, and whose pictures they are, (B,)."""
    pictures = normal(draw, tasks, 4, 4)
    y = torch.randint(tasks, (count,), generator=draw)
    return pictures[y] + 1.5 * normal(draw, count, 4, 4), y, pictures


def _share(choose: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda x, y, pictures: (choose(x, pictures) == y).double().mean()


def _one_step(x: Tensor, pictures: Tensor) -> Tensor:
    """The task (B,) named by the steepest fall of the squared error at the middle of all pictures."""
    return torch.einsum("bhw,khw->bk", x - pictures.mean(0), pictures).argmax(1)


def _nearest(x: Tensor, pictures: Tensor) -> Tensor:
    return (x[:, None] - pictures).square().sum((2, 3)).argmin(1)


accuracy = Exercise(
    "accuracy",
    "student(x (B, H, W), y (B,), pictures (K, H, W)) -> share () of the images that one step names as y says.",
    _share(_one_step),
    drawn(2, _images, (40, 3), (60, 5), (80, 10)),
    mistakes=[
        Mistake(_share(_nearest), "That tries every picture, K passes an image: take one step from the middle."),
        Mistake(_share(lambda x, p: _one_step(-x + 2 * p.mean(0), p)), "You take the task where the loss rises most."),
        Mistake(lambda x, y, p: _share(_one_step)(x, y, p) * len(x), "That is how many: divide by the images."),
        Mistake(lambda x, y, p: 1 - _share(_one_step)(x, y, p), "That is the share named wrong."),
        Mistake(lambda x, y, p: 100 * _share(_one_step)(x, y, p), "Give the share, between 0 and 1, not per cent."),
    ],
)
