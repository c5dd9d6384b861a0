"""The checks of chapter 07 accept right answers, written in other ways, and name the typical mistakes."""

from __future__ import annotations

import pytest
import torch
from checking import assert_broken_is_told, assert_one_stable_line, assert_told

from gbi_helpers import max_entropy, one_step
from gbi_helpers.checks import ch07


def by_autograd(x, patterns):
    z0 = max_entropy(len(x), len(patterns), x.dtype)
    return one_step(lambda z: (x - z @ patterns).square().sum(1) / 2, z0).log_q


def by_plain_softmax(x, patterns):
    return torch.softmax((x - patterns.mean(0)) @ patterns.T, 1).log()


def gap_by_loop(grad, patterns):
    centre = sum(patterns) / len(patterns)
    delta = torch.stack([-((row - centre) @ (row - centre)) / 2 for row in patterns])
    logits = delta - grad
    return logits - logits.logsumexp(1, keepdim=True)


def gap_by_expanding(grad, patterns):
    """|m - c|^2 / 2 is |m|^2 / 2 - m.c, up to what all share."""
    delta = patterns @ patterns.mean(0) - patterns.square().sum(1) / 2
    return torch.log_softmax(delta - grad, 1)


def groups_by_matrix(log_q, group_of, n_groups):
    member = torch.nn.functional.one_hot(group_of, n_groups).to(log_q)
    return torch.logsumexp(log_q[:, :, None] + member.log(), 1)


def groups_in_probabilities(log_q, group_of, n_groups):
    return torch.stack([log_q.exp()[:, group_of == g].sum(1) for g in range(n_groups)], 1).log()


def groups_by(reduce):
    return lambda log_q, group_of, n: torch.stack([reduce(log_q[:, group_of == g]) for g in range(n)], 1)


def equidistant_by_root(means):
    """The polar factor by the inverse root of the Gram matrix."""
    values, vectors = torch.linalg.eigh(means @ means.T)
    return values.sqrt().mean() * (vectors / values.sqrt()) @ vectors.T @ means


def polar(means):
    left, _, right = torch.linalg.svd(means, full_matrices=False)
    return left @ right


RIGHT = [
    (ch07.one_step_by_hand, by_autograd),
    (ch07.with_the_gap, gap_by_loop),
    (ch07.with_the_gap, gap_by_expanding),
    (ch07.group_posterior, groups_by_matrix),
    (ch07.equidistant, equidistant_by_root),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=lambda value: value.__name__)
def test_a_right_answer_is_accepted_with_one_stable_line(check, answer, capsys):
    assert_one_stable_line(check, answer, capsys)


@pytest.mark.parametrize(
    ("check", "wrong", "speaks_of"),
    [
        (ch07.one_step_by_hand, by_plain_softmax, "use torch.log_softmax"),
        (ch07.one_step_by_hand, lambda x, p: torch.log_softmax(x @ p.T, 1), "draws the mean pattern"),
        (ch07.one_step_by_hand, lambda x, p: torch.log_softmax(-(torch.cdist(x, p) ** 2) / 2, 1), "exact Bayes"),
        (ch07.one_step_by_hand, lambda x, p: torch.log_softmax(-(x - p.mean(0)) @ p.T, 1), "The sign"),
        (ch07.one_step_by_hand, lambda x, p: torch.log_softmax(2 * (x - p.mean(0)) @ p.T, 1), "Twice too large"),
        (ch07.one_step_by_hand, lambda x, p: torch.log_softmax((x - p.mean(0)) @ p.T / x.shape[1], 1), "averaged"),
        (ch07.one_step_by_hand, lambda x, p: by_autograd(x, p).exp(), "return their logarithms"),
        (ch07.one_step_by_hand, lambda x, p: by_autograd(x, p)[:, :1], "the shape should be"),
        (ch07.with_the_gap, lambda g, p: torch.log_softmax(-g, 1), "one step as it was"),
        (ch07.with_the_gap, lambda g, p: gap_by_loop(-g, p), "*minus* gradient"),
        (ch07.with_the_gap, lambda g, p: torch.log_softmax(-g - p.square().sum(1) / 2, 1), "from the mean pattern"),
        (ch07.with_the_gap, lambda g, p: torch.log_softmax(-g - d2(p), 1), "Twice too much"),
        (ch07.with_the_gap, lambda g, p: torch.log_softmax(-g + d2(p) / 2, 1), "its delta is negative"),
        (ch07.with_the_gap, lambda g, p: torch.log_softmax(-g - d2(p).sqrt() / 2, 1), "Square the distance"),
        (ch07.with_the_gap, lambda g, p: torch.log_softmax(-g - d2(p) / p.shape[1] / 2, 1), "You averaged"),
        (ch07.group_posterior, groups_in_probabilities, "Stay in logs"),
        (ch07.group_posterior, groups_by(lambda part: part.amax(1)), "*any* of its classes"),
        (ch07.group_posterior, groups_by(lambda part: part.sum(1)), "multiplies probabilities"),
        (ch07.group_posterior, groups_by(lambda part: part.exp().mean(1).log()), "You averaged over the classes"),
        (
            ch07.group_posterior,
            lambda q, g, n: torch.log_softmax(groups_by(lambda part: part.mean(1))(q, g, n), 1),
            "You averaged logarithms",
        ),
        (ch07.group_posterior, lambda q, g, n: groups_by_matrix(q, g, n).T, "axes are swapped"),
        (ch07.equidistant, polar, "of length 1"),
        (ch07.equidistant, lambda m: m.norm(dim=1).mean() * polar(m), "not of the norms"),
        (ch07.equidistant, lambda m: m / m.norm(dim=1, keepdim=True), "not orthogonal"),
        (ch07.equidistant, lambda m: m.norm(dim=1).mean() * m / m.norm(dim=1, keepdim=True), "not orthogonal"),
        (ch07.equidistant, lambda m: m, "as they were"),
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong(check, wrong, speaks_of):
    assert_told(check, wrong, speaks_of)


def d2(patterns):
    """Squared distance of each pattern from the mean pattern."""
    return (patterns - patterns.mean(0)).square().sum(1)


@pytest.mark.parametrize("check", dict.fromkeys(check for check, _ in RIGHT), ids=lambda check: check.__name__)
def test_a_broken_answer_is_told(check):
    assert_broken_is_told(check)


def test_what_the_exercise_builds_makes_one_step_exact():
    draw = torch.Generator().manual_seed(5)
    means = torch.randn(30, 40, generator=draw, dtype=torch.float64) * torch.rand(30, 1, generator=draw).double()
    patterns = equidistant_by_root(means)
    x = torch.randn(50, 40, generator=draw, dtype=torch.float64)
    nearest = torch.cdist(x, patterns).argmin(1)
    assert torch.equal(by_autograd(x, patterns).argmax(1), nearest)
    assert not torch.equal(by_autograd(x, means).argmax(1), torch.cdist(x, means).argmin(1))
