"""The checks of chapter 06 accept right answers, written in other ways, and name the typical mistakes."""

from __future__ import annotations

import pytest
import torch
from checking import assert_broken_is_told, assert_one_stable_line, assert_told
from sklearn.metrics import roc_auc_score

from gbi_helpers.checks import ch06


def relative_by_loop(loss, grad):
    return torch.stack([torch.softmax(-g / value, 0).max() for value, g in zip(loss, grad, strict=True)])


def auroc_by_sklearn(familiar, foreign):
    truth = [1] * len(familiar) + [0] * len(foreign)
    return torch.tensor(roc_auc_score(truth, torch.cat([familiar, foreign]).numpy()))


def auroc_by_rank(familiar, foreign):
    """The rank-sum statistic, ties at their mean rank."""
    both = torch.cat([familiar, foreign])
    rank = (both[:, None] > both[None, :]).sum(1) + (both[:, None] == both[None, :]).sum(1) / 2 + 0.5
    n, m = len(familiar), len(foreign)
    return (rank[:n].sum() - n * (n + 1) / 2) / (n * m)


def ece_by_bins(q, y, bins):
    confidence, chosen = q.max(1)
    total = 0.0
    for b in range(bins):
        inside = (confidence >= b / bins) & ((confidence < (b + 1) / bins) | (b == bins - 1))
        if inside.any():
            total += abs(float((confidence - (chosen == y).double())[inside].sum()))
    return total / len(q)


def regret(loss_fn, h, n_tasks, steps, lr, sign=1.0, start=None, mean=False, up=False):
    corners = torch.eye(n_tasks, dtype=h.dtype)
    losses = torch.stack([loss_fn(h, c.expand(len(h), n_tasks)) for c in corners], 1)
    z = corners[losses.argmin(1)]
    code = h.clone().requires_grad_()
    descent = torch.optim.SGD([code], lr=lr, maximize=up)
    for _ in range(steps):
        descent.zero_grad()
        (loss_fn(code, z).mean() if mean else loss_fn(code, z).sum()).backward()
        descent.step()
    before = losses.min(1).values if start is None else loss_fn(h, start.to(h).expand(len(h), -1))
    return sign * (before - loss_fn(code, z)).detach()


def regret_from_uniform(loss_fn, h, n_tasks, steps, lr):
    return regret(loss_fn, h, n_tasks, steps, lr, start=torch.full((1, n_tasks), 1 / n_tasks))


RIGHT = [
    (ch06.relative_score, relative_by_loop),
    (ch06.auroc, auroc_by_sklearn),
    (ch06.auroc, auroc_by_rank),
    (ch06.expected_calibration_error, ece_by_bins),
    (ch06.likelihood_regret, regret),
]
WRONG = [
    (ch06.relative_score, lambda loss, g: relative_by_loop(loss, -g), "The sign"),
    (ch06.relative_score, lambda loss, g: torch.softmax(-g, 1).max(1).values, "plain max Z"),
    (ch06.relative_score, lambda loss, g: relative_by_loop(loss.mean().expand_as(loss), g), "mean loss of the batch"),
    (ch06.relative_score, lambda loss, g: torch.softmax(-g, 1).max(1).values / loss, "not the gradient"),
    (ch06.relative_score, lambda loss, g: relative_by_loop(loss.sqrt(), g), "not by its root"),
    (ch06.relative_score, lambda loss, g: relative_by_loop(g.norm(dim=1), g), "direction only"),
    (ch06.relative_score, lambda loss, g: -(g / loss[:, None]).min(1).values, "softmax is missing"),
    (ch06.relative_score, lambda loss, g: torch.softmax(-g / loss[:, None], 1), "the shape should be"),
    (ch06.auroc, lambda a, b: 1 - auroc_by_sklearn(a, b), "wrong way round"),
    (ch06.auroc, lambda a, b: (a[:, None] > b).double().mean(), "Ties are missing"),
    (ch06.auroc, lambda a, b: (a[:, None] >= b).double().mean(), "ties as won"),
    (ch06.auroc, lambda a, b: (a > b.mean()).double().mean(), "every one of them"),
    (ch06.expected_calibration_error, lambda q, y, bins: 100 * ece_by_bins(q, y, bins), "in percent"),
    (
        ch06.expected_calibration_error,
        lambda q, y, bins: (q.max(1).values - (q.argmax(1) == y).double()).abs().mean(),
        "inside each bin first",
    ),
    (
        ch06.expected_calibration_error,
        lambda q, y, bins: q.max(1).values.mean() - (q.argmax(1) == y).double().mean(),
        "The gaps cancel",
    ),
    (ch06.likelihood_regret, lambda *a: regret(*a, sign=-1.0), "before"),
    (ch06.likelihood_regret, regret_from_uniform, "what choosing z wins"),
    (ch06.likelihood_regret, lambda *a: regret(*a, mean=True), "sum it"),
    (ch06.likelihood_regret, lambda *a: regret(*a, up=True), "uphill"),
    (ch06.likelihood_regret, lambda f, h, k, steps, lr: regret(f, h, k, 1, lr), "one step only"),
    (ch06.likelihood_regret, lambda f, h, k, steps, lr: regret(f, h, k, steps - 1, lr), "One step is missing"),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_a_right_answer_is_accepted_with_one_line(capsys, check, answer):
    assert_one_stable_line(check, answer, capsys)


@pytest.mark.parametrize(("check", "answer", "advice"), WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(check, answer, advice):
    assert_told(check, answer, advice)


@pytest.mark.parametrize(
    "check", [ch06.relative_score, ch06.auroc, ch06.expected_calibration_error, ch06.likelihood_regret]
)
def test_an_answer_that_is_not_written_or_does_not_run_is_told(check):
    assert_broken_is_told(check)
