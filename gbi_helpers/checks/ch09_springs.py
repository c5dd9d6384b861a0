"""Exercise of chapter 09 on what holds a weight; see :mod:`~gbi_helpers.checks.ch09`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal


def _fisher_inputs(draw: Generator, batch: int, size: int, hidden: int, classes: int) -> Inputs:
    return normal(draw, hidden, size), normal(draw, classes, hidden), normal(draw, batch, size)


def _fisher(
    of: Callable[[Tensor, Tensor], Tensor], masked: bool = True
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """``of``: from gradients (B, C, ...) for each image and label, and p (B, C), to what is returned (...)."""

    def found(w1: Tensor, w2: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = (x @ w1.T).relu()
        p = torch.softmax(hidden @ w2.T, 1)
        top = p[:, None] - torch.eye(len(w2), dtype=p.dtype, device=p.device)  # (B, label, C)
        below = top @ w2 * ((hidden > 0)[:, None] if masked else 1)
        return of(below[..., None] * x[:, None, None], p), of(top[..., None] * hidden[:, None, None], p)

    return found


def _expected(g: Tensor, p: Tensor) -> Tensor:
    return torch.einsum("bc,bc...->b...", p, g)


def _of_argmax(g: Tensor, p: Tensor) -> Tensor:
    return g[torch.arange(len(p), device=p.device), p.argmax(1)]


_OF_THE_MEAN = (
    "You squared the gradient of the batch's *mean*, in which images cancel: it is far smaller. Square image by image, "
    "then average."
)
_LAYERS = ("first", "second")
_FISHER_MISTAKES: list[tuple[Callable[[Tensor, Tensor], Tensor], str]] = [
    (
        lambda g, p: _expected(g, p).mean(0).square(),
        "All is zero: you averaged over the labels before you squared, and the model's own labels pull to no side on "
        "average. Square each label's gradient first, then weigh by p.",
    ),
    (lambda g, p: _of_argmax(g, p).mean(0).square(), _OF_THE_MEAN),
    (lambda g, p: torch.einsum("c,c...->...", p.mean(0), g.mean(0).square()), _OF_THE_MEAN),
    (lambda g, p: torch.einsum("bc,bc...->c...", p, g).div(len(p)).square().sum(0), _OF_THE_MEAN),
    (
        lambda g, p: _of_argmax(g, p).square().mean(0),
        "You took the model's likeliest label only. Fisher information is the mean over all labels, each as likely as "
        "the model finds it.",
    ),
    (
        lambda g, p: _expected(g.square(), p).sum(0),
        "You summed over the images, so a larger batch makes stiffer springs. Fisher information is the mean.",
    ),
    (
        lambda g, p: g.square().sum(1).mean(0),
        "Every label counts as much as any other. Weigh each one's squared gradient by p, how likely the model finds "
        "it.",
    ),
    (
        lambda g, p: g.square().mean((0, 1)),
        "You averaged over the labels as if all were as likely. Weigh each one's squared gradient by p.",
    ),
    (
        lambda g, p: (g * p.reshape(*p.shape, 1, 1)).square().sum(1).mean(0),
        "p is squared as well: you weighed the loss by it, then squared. Square the gradient, then weigh by p.",
    ),
]

fisher_diagonal = Exercise(
    "fisher_diagonal",
    "student(w1 (H, D), w2 (C, H), x (B, D)) -> Fisher diagonals (H, D), (C, H) of softmax(relu(x w1') w2').",
    _fisher(lambda g, p: _expected(g.square(), p).mean(0)),
    drawn(904, _fisher_inputs, (8, 3, 4, 3), (12, 5, 3, 4), (9, 2, 5, 2)),
    mistakes=[
        *(
            Mistake(lambda *inputs, of=of, part=part: _fisher(of)(*inputs)[part], advice, name)
            for of, advice in _FISHER_MISTAKES
            for part, name in enumerate(_LAYERS)
        ),
        Mistake(
            lambda *inputs: _fisher(lambda g, p: _expected(g.square(), p).mean(0), masked=False)(*inputs)[0],
            "The ReLU is missing on the way back: a hidden unit that is off passes no gradient to its weights.",
            "first",
        ),
    ],
    parts=_LAYERS,
)
