"""Checks of chapter 07, a hundred tasks. Each takes the student's function; see :class:`checks.Exercise`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, normal

Student = Callable[..., Any]


def one_step_by_hand(student: Student) -> None:
    """Check ``student(x (B, D), patterns (K, D))`` -> log q (B, K) of one step, loss |x - z patterns|^2 / 2."""
    draw = torch.Generator().manual_seed(701)

    def inputs(batch: int, tasks: int, size: int, scale: float = 1.0) -> Inputs:
        return scale * normal(draw, batch, size) + 0.5, scale * normal(draw, tasks, size) + 0.5

    def scores(x: Tensor, patterns: Tensor) -> Tensor:
        return (x - patterns.mean(0)) @ patterns.T

    def answer(of: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x, patterns: torch.log_softmax(of(x, patterns), 1)

    Exercise(
        "one_step_by_hand",
        answer(scores),
        [inputs(3, 4, 6), inputs(5, 7, 3), inputs(2, 3, 9)],
        mistakes=[
            Mistake(
                answer(lambda x, p: x @ p.T),
                "You compared each pattern with the image. At the uniform z the decoder draws the mean pattern, and "
                "the gradient sees what is left of the image after that: subtract patterns.mean(0) from x.",
            ),
            Mistake(
                answer(lambda x, p: -torch.cdist(x, p).square() / 2),
                "That is exact Bayes, the loss at each pure task. One step has only the slope at the uniform z.",
            ),
            Mistake(answer(lambda x, p: -scores(x, p)), "The sign: q is the softmax of *minus* the gradient."),
            Mistake(
                answer(lambda x, p: 2 * scores(x, p)),
                "Twice too large: the loss is half the squared error, so its derivative has no 2.",
            ),
            Mistake(
                answer(lambda x, p: scores(x, p) / x.shape[1]),
                "You averaged over the D numbers of an image. Evidence adds up: take the sum.",
            ),
        ],
        hard=[
            (
                inputs(3, 5, 50, scale=30.0),
                "Right for small scores, but with large ones the softmax rounds to 0 and its log is infinite: use "
                "torch.log_softmax.",
            )
        ],
        logs=True,
    ).check(student)


def with_the_gap(student: Student) -> None:
    """Check ``student(grad (B, K), patterns (K, D))`` -> log q (B, K) with what one step leaves out put back."""
    draw = torch.Generator().manual_seed(702)

    def inputs(batch: int, tasks: int, size: int) -> Inputs:
        patterns = normal(draw, tasks, size) * (0.5 + torch.arange(tasks)[:, None] / tasks) + 0.3
        x = patterns[torch.randint(tasks, (batch,), generator=draw)] + normal(draw, batch, size)
        return -(x - patterns.mean(0)) @ patterns.T, patterns

    def away(patterns: Tensor) -> Tensor:
        return patterns - patterns.mean(0)

    def answer(delta: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda grad, patterns: torch.log_softmax(delta(patterns) - grad, 1)

    Exercise(
        "with_the_gap",
        answer(lambda p: -away(p).square().sum(1) / 2),
        [inputs(4, 5, 3), inputs(3, 8, 6), inputs(6, 3, 4)],
        mistakes=[
            Mistake(
                answer(lambda p: torch.zeros(len(p), dtype=p.dtype)),
                "That is one step as it was. Add delta to minus the gradient before the softmax.",
            ),
            Mistake(
                answer(lambda p: away(p).square().sum(1) / 2),
                "The sign: a pattern far from the mean was favoured too much, so its delta is negative.",
            ),
            Mistake(
                answer(lambda p: -p.square().sum(1) / 2),
                "You took the length of each pattern. What counts is its distance from the mean pattern.",
            ),
            Mistake(
                answer(lambda p: -away(p).square().sum(1)), "Twice too much: delta is *half* the squared distance."
            ),
            Mistake(answer(lambda p: -away(p).norm(dim=1) / 2), "Square the distance: delta is curvature, not length."),
            Mistake(
                answer(lambda p: -away(p).square().mean(1) / 2),
                "You averaged over the D numbers. The loss is a sum over them, and so is the squared distance.",
            ),
            Mistake(
                lambda grad, p: torch.log_softmax(grad - away(p).square().sum(1) / 2, 1),
                "The gradient has the wrong sign: *minus* gradient, plus delta.",
            ),
        ],
        logs=True,
    ).check(student)


def group_posterior(student: Student) -> None:
    """Check ``student(log_q (B, K), group_of (K,), n_groups)`` -> log posterior of the groups (B, G)."""
    draw = torch.Generator().manual_seed(703)

    def inputs(batch: int, tasks: int, groups: int, scale: float = 2.0) -> Inputs:
        mixed = (torch.arange(tasks) % groups)[torch.randperm(tasks, generator=draw)]  # no group without a task
        return torch.log_softmax(scale * normal(draw, batch, tasks), 1), mixed, groups

    def answer(of: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
        return lambda log_q, group, n: torch.stack([of(log_q[:, group == g]) for g in range(n)], 1)

    Exercise(
        "group_posterior",
        answer(lambda part: part.logsumexp(1)),
        [inputs(3, 6, 3), inputs(5, 10, 4), inputs(2, 9, 2)],
        mistakes=[
            Mistake(
                answer(lambda part: part.amax(1)),
                "You took the best class of each group. A group is true if *any* of its classes is: add them up.",
            ),
            Mistake(
                answer(lambda part: part.exp().mean(1).log()),
                "You averaged over the classes of a group. Probabilities of classes that exclude each other add up.",
            ),
            Mistake(
                answer(lambda part: part.sum(1)),
                "You added logarithms, which multiplies probabilities. Add the probabilities: logsumexp.",
            ),
            Mistake(
                lambda log_q, group, n: torch.log_softmax(
                    torch.stack([log_q[:, group == g].mean(1) for g in range(n)], 1), 1
                ),
                "You averaged logarithms. Add probabilities: logsumexp over the classes of a group.",
            ),
        ],
        hard=[
            (
                inputs(3, 6, 3, scale=3000.0),
                "Right for mild beliefs, but here exp underflows to 0, whose log is infinite. Stay in logs: logsumexp.",
            )
        ],
        logs=True,
    ).check(student)


def equidistant(student: Student) -> None:
    """Check ``student(means (K, D))`` -> the nearest orthogonal patterns of one length (K, D)."""
    draw = torch.Generator().manual_seed(704)

    def inputs(tasks: int, size: int) -> Inputs:
        return (normal(draw, tasks, size) * (1 + torch.arange(tasks)[:, None]),)

    def turned(means: Tensor) -> Tensor:
        left, _, right = torch.linalg.svd(means, full_matrices=False)
        return left @ right

    def unit(means: Tensor) -> Tensor:
        return means / means.norm(dim=1, keepdim=True)

    Exercise(
        "equidistant",
        lambda m: torch.linalg.svdvals(m).mean() * turned(m),
        [inputs(3, 5), inputs(4, 4), inputs(6, 11)],
        mistakes=[
            Mistake(
                turned,
                "Orthogonal, but of length 1. The length that comes nearest is the mean of the singular values.",
            ),
            Mistake(
                lambda m: m.norm(dim=1).mean() * turned(m),
                "Orthogonal, but the length that comes nearest is the mean of the *singular values*, not of the norms.",
            ),
            Mistake(
                unit, "All of length 1, but not orthogonal: they still lie at different distances from their mean."
            ),
            Mistake(
                lambda m: m.norm(dim=1).mean() * unit(m),
                "All of one length, but not orthogonal: they still lie at different distances from their mean.",
            ),
            Mistake(lambda m: m, "These are the means as they were. Replace the singular values by one number."),
        ],
    ).check(student)
