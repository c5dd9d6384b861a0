"""The checks of chapter 05 accept right answers, written in other ways, and name the typical mistakes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gbi_helpers.checks import ch05


def nll_by_softplus(logits, x):
    return (F.softplus(logits) - x * logits).flatten(1).sum(1)


def nll_by_hand(logits, x):
    p = torch.sigmoid(logits)
    return -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)


def step_size_by_loop(grad, y, candidates):
    best = min((float(F.nll_loss(torch.log_softmax(-a * grad, 1), y)), float(a)) for a in candidates)
    return torch.tensor(best[1])


def norms_by_loop(loss_fn, batch, n_tasks):
    columns = []
    for k in range(n_tasks):
        z = torch.zeros(batch, n_tasks, dtype=torch.float64)
        z[:, k] = 1
        z.requires_grad_()
        loss_fn(z).sum().backward()
        columns.append(z.grad.pow(2).sum(1).sqrt())
    return torch.stack(columns, 1)


def norm_at_uniform(loss_fn, batch, n_tasks):
    z = torch.full((batch, n_tasks), 1 / n_tasks, dtype=torch.float64, requires_grad=True)
    loss_fn(z).sum().backward()
    return z.grad.abs()


def corrected_right(seen_grad, seen_loss, grad):
    delta = (seen_grad - seen_grad.mean(1, keepdim=True)) - (seen_loss - seen_loss.mean(1, keepdim=True))
    return torch.log_softmax(delta.mean(0) - grad, 1)


def stub(*inputs):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (ch05.image_nll, nll_by_softplus),
        (ch05.best_step_size, step_size_by_loop),
        (ch05.norms_at_corners, norms_by_loop),
        (ch05.corrected, corrected_right),
    ],
)
def test_a_right_answer_is_accepted_with_one_line(capsys, check, answer):
    check(answer)
    assert capsys.readouterr().out.startswith(f"✓ {check.__name__}: right on ")


@pytest.mark.parametrize(
    ("check", "answer", "advice"),
    [
        (ch05.image_nll, nll_by_hand, "Stay in logits"),
        (ch05.image_nll, lambda a, x: nll_by_softplus(a, x) / x[0].numel(), "take the sum"),
        (ch05.image_nll, lambda a, x: -nll_by_softplus(a, x), "The sign"),
        (ch05.image_nll, lambda a, x: nll_by_softplus(a, x).sum(), "the shape should be"),
        (ch05.image_nll, lambda a, x: nll_by_softplus(torch.sigmoid(a), x), "The numbers are wrong"),
        (ch05.best_step_size, lambda g, y, c: step_size_by_loop(-g, y, c), "The sign"),
        (ch05.best_step_size, lambda g, y, c: c[0], "by accuracy|largest|wrong"),
        (
            ch05.best_step_size,
            lambda g, y, c: c[torch.stack([torch.softmax(-a * g, 1).gather(1, y[:, None]).mean() for a in c]).argmax()],
            "Average their logarithms",
        ),
        (ch05.norms_at_corners, norm_at_uniform, "from each corner"),
        (ch05.norms_at_corners, lambda f, b, k: norms_by_loop(f, b, k) ** 2, "square root"),
        (ch05.norms_at_corners, lambda f, b, k: norms_by_loop(f, b, k) / b, "sum it"),
        (ch05.norms_at_corners, lambda f, b, k: norms_by_loop(f, b, k).T, "axes are swapped"),
        (ch05.corrected, lambda g, loss, new: torch.log_softmax(-new, 1), "delta is missing"),
        (ch05.corrected, lambda g, loss, new: torch.log_softmax((loss - g).mean(0) - new, 1), "wrong sign"),
        (ch05.corrected, lambda g, loss, new: corrected_right(g, loss, new).exp(), "return their logarithms"),
        (ch05.corrected, lambda g, loss, new: (g - loss).mean(0) - new, "not normalised"),
        *((check, stub, "write your answer first") for check in (ch05.image_nll, ch05.corrected)),
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong(check, answer, advice):
    with pytest.raises(AssertionError, match=advice):
        check(answer)
