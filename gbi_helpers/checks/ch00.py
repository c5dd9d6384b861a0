"""Check of the start page's warm-up; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.checks.exercise import Exercise, Mistake


def posterior_from_gradient(student: Callable[..., Any]) -> None:
    """Check ``student(grad (K,), step_size)`` -> q (K,) = softmax(-step_size * grad)."""
    draw = torch.Generator().manual_seed(1)

    def softmax_of(sign: float) -> Callable[..., Tensor]:
        return lambda g, a: torch.softmax(sign * a * g, dim=-1)

    Exercise(
        "posterior_from_gradient",
        softmax_of(-1.0),
        [(torch.randn(k, generator=draw, dtype=torch.float64), a) for k, a in [(3, 1.0), (10, 0.5), (5, 3.0)]],
        mistakes=[
            Mistake(softmax_of(1.0), "The sign: where the loss *falls*, the task explains more. Put a minus before g."),
            Mistake(lambda g, a: torch.softmax(-g, dim=-1), "The step size is missing: multiply the gradient by it."),
            Mistake(lambda g, a: -a * g, "That is minus the scaled gradient. Make probabilities of it: softmax."),
            Mistake(lambda g, a: torch.exp(-a * g), "These do not sum to 1 yet: divide by their sum."),
            Mistake(lambda g, a: torch.log_softmax(-a * g, dim=-1), "These are log probabilities: take softmax."),
        ],
    ).check(student)
