"""The exercises of chapter 07, a hundred tasks; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, whole


def _one_step_by_hand_inputs(draw: Generator, batch: int, tasks: int, size: int, scale: float = 1.0) -> Inputs:
    return scale * normal(draw, batch, size) + 0.5, scale * normal(draw, tasks, size) + 0.5


def _scores(x: Tensor, patterns: Tensor) -> Tensor:
    return (x - patterns.mean(0)) @ patterns.T


def _log_softmax_of(of: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, patterns: torch.log_softmax(of(x, patterns), 1)


*_small, _large = drawn(701, _one_step_by_hand_inputs, (3, 4, 6), (5, 7, 3), (2, 3, 9), (3, 5, 50, 30.0))

one_step_by_hand = Exercise(
    "one_step_by_hand",
    "student(x (B, D), patterns (K, D)) -> log q (B, K) of one step, loss |x - z patterns|^2 / 2.",
    _log_softmax_of(_scores),
    _small,
    mistakes=[
        Mistake(
            _log_softmax_of(lambda x, p: x @ p.T),
            "You compared each pattern with the image. At the uniform z the decoder draws the mean pattern, and "
            "the gradient sees what is left of the image after that: subtract patterns.mean(0) from x.",
        ),
        Mistake(
            _log_softmax_of(lambda x, p: -torch.cdist(x, p).square() / 2),
            "That is exact Bayes, the loss at each pure task. One step has only the slope at the uniform z.",
        ),
        Mistake(_log_softmax_of(lambda x, p: -_scores(x, p)), "The sign: q is the softmax of *minus* the gradient."),
        Mistake(
            _log_softmax_of(lambda x, p: 2 * _scores(x, p)),
            "Twice too large: the loss is half the squared error, so its derivative has no 2.",
        ),
        Mistake(
            _log_softmax_of(lambda x, p: _scores(x, p) / x.shape[1]),
            "You averaged over the D numbers of an image. Evidence adds up: take the sum.",
        ),
    ],
    hard=[
        (
            _large,
            "Right for small scores, but with large ones the softmax rounds to 0 and its log is infinite: use "
            "torch.log_softmax.",
        )
    ],
    logs=True,
    without=("autograd", "backward", "one_step"),
)


def _with_the_gap_inputs(draw: Generator, batch: int, tasks: int, size: int) -> Inputs:
    place = torch.arange(tasks, dtype=torch.float64, device=draw.device)[:, None]
    patterns = normal(draw, tasks, size) * (0.5 + place / tasks) + 0.3
    x = patterns[whole(draw, 0, tasks, batch)] + normal(draw, batch, size)
    return -(x - patterns.mean(0)) @ patterns.T, patterns


def _away(patterns: Tensor) -> Tensor:
    return patterns - patterns.mean(0)


def _gap_filled_by(delta: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda grad, patterns: torch.log_softmax(delta(patterns) - grad, 1)


with_the_gap = Exercise(
    "with_the_gap",
    "student(grad (B, K), patterns (K, D)) -> log q (B, K) with what one step leaves out put back.",
    _gap_filled_by(lambda p: -_away(p).square().sum(1) / 2),
    drawn(702, _with_the_gap_inputs, (4, 5, 3), (3, 8, 6), (6, 3, 4)),
    mistakes=[
        Mistake(
            _gap_filled_by(lambda p: p.new_zeros(len(p))),
            "That is one step as it was. Add delta to minus the gradient before the softmax.",
        ),
        Mistake(
            _gap_filled_by(lambda p: _away(p).square().sum(1) / 2),
            "The sign: a pattern far from the mean was favoured too much, so its delta is negative.",
        ),
        Mistake(
            _gap_filled_by(lambda p: -p.square().sum(1) / 2),
            "You took the length of each pattern. What counts is its distance from the mean pattern.",
        ),
        Mistake(
            _gap_filled_by(lambda p: -_away(p).square().sum(1)), "Twice too much: delta is *half* the squared distance."
        ),
        Mistake(
            _gap_filled_by(lambda p: -_away(p).norm(dim=1) / 2), "Square the distance: delta is curvature, not length."
        ),
        Mistake(
            _gap_filled_by(lambda p: -_away(p).square().mean(1) / 2),
            "You averaged over the D numbers. The loss is a sum over them, and so is the squared distance.",
        ),
        Mistake(
            lambda grad, p: torch.log_softmax(grad - _away(p).square().sum(1) / 2, 1),
            "The gradient has the wrong sign: *minus* gradient, plus delta.",
        ),
    ],
    logs=True,
    without=("corrected_one_step", "one_step_gap"),
)


def _group_posterior_inputs(draw: Generator, batch: int, tasks: int, groups: int, scale: float = 2.0) -> Inputs:
    mixed = torch.randperm(tasks, generator=draw, device=draw.device) % groups  # no group without a task
    return torch.log_softmax(scale * normal(draw, batch, tasks), 1), mixed, groups


def _by_group(of: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda log_q, group, n: torch.stack([of(log_q[:, group == g]) for g in range(n)], 1)


*_mild, _sure = drawn(703, _group_posterior_inputs, (3, 6, 3), (5, 10, 4), (2, 9, 2), (3, 6, 3, 3000.0))

group_posterior = Exercise(
    "group_posterior",
    "student(log_q (B, K), group_of (K,), n_groups) -> log posterior of the groups (B, G).",
    _by_group(lambda part: part.logsumexp(1)),
    _mild,
    mistakes=[
        Mistake(
            _by_group(lambda part: part.amax(1)),
            "You took the best class of each group. A group is true if *any* of its classes is: add them up.",
        ),
        Mistake(
            _by_group(lambda part: part.exp().mean(1).log()),
            "You averaged over the classes of a group. Probabilities of classes that exclude each other add up.",
        ),
        Mistake(
            _by_group(lambda part: part.sum(1)),
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
            _sure,
            "Right for mild beliefs, but here exp underflows to 0, whose log is infinite. Stay in logs: logsumexp.",
        )
    ],
    logs=True,
)


def _equidistant_inputs(draw: Generator, tasks: int, size: int) -> Inputs:
    return (normal(draw, tasks, size) * (1 + torch.arange(tasks, device=draw.device)[:, None]),)


def _turned(means: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(means, full_matrices=False)
    return left @ right


def _unit(means: Tensor) -> Tensor:
    return means / means.norm(dim=1, keepdim=True)


equidistant = Exercise(
    "equidistant",
    "student(means (K, D)) -> the nearest orthogonal patterns of one length (K, D).",
    lambda m: torch.linalg.svdvals(m).mean() * _turned(m),
    drawn(704, _equidistant_inputs, (3, 5), (4, 4), (6, 11)),
    mistakes=[
        Mistake(
            _turned,
            "Orthogonal, but of length 1. The length that comes nearest is the mean of the singular values.",
        ),
        Mistake(
            lambda m: m.norm(dim=1).mean() * _turned(m),
            "Orthogonal, but the length that comes nearest is the mean of the *singular values*, not of the norms.",
        ),
        Mistake(_unit, "All of length 1, but not orthogonal: they still lie at different distances from their mean."),
        Mistake(
            lambda m: m.norm(dim=1).mean() * _unit(m),
            "All of one length, but not orthogonal: they still lie at different distances from their mean.",
        ),
        Mistake(lambda m: m, "These are the means as they were. Replace the singular values by one number."),
    ],
    without=("nearest_equidistant",),
)
