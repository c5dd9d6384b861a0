"""The exercise of the start page, a warm-up; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gbi_helpers.checks.exercise import Exercise, Mistake, drawn, normal


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
