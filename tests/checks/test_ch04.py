"""The checks of chapter 04 accept right answers written another way, and name the mistake in wrong ones."""

import pytest
import torch

from gbi_helpers.checks import ch04


# -- right answers, written as a student would -----------------------------------------------------------------------
def from_mean_loss(grad, samples, sd):
    nats = -grad * samples / (2 * sd * sd)
    return nats - nats.logsumexp(1, keepdim=True)


def gradient_filter(grad, hazard):
    tasks = grad.shape[1]
    jump = torch.full((tasks, tasks), hazard / (tasks - 1), dtype=grad.dtype)
    jump.fill_diagonal_(1 - hazard)
    log_belief, found = torch.zeros(tasks, dtype=grad.dtype), []
    for t, row in enumerate(grad):
        expected = log_belief if t == 0 else (log_belief.exp() @ jump).log()
        log_belief = torch.log_softmax(expected - row, 0)
        found.append(log_belief)
    return torch.stack(found)


def curvature_towards(loss_fn, z0, task):
    found = []
    for row in range(len(z0)):  # one sample at a time, with the whole Hessian
        hessian = torch.autograd.functional.hessian(lambda z, r=row: loss_fn(z.expand(len(z0), -1))[r], z0[row])
        way = torch.eye(len(z0[row]), dtype=z0.dtype)[task] - z0[row]
        found.append(way @ hessian @ way)
    return torch.stack(found)


def delta_from(patterns, sd, samples, z0):
    predicted = (z0[:, None] * patterns).sum(0)
    return samples * (patterns @ predicted - (patterns**2).sum(1) / 2) / sd**2  # a constant is no mistake


RIGHT = {f.__name__: f for f in (from_mean_loss, gradient_filter, curvature_towards, delta_from)}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_passes(name, capsys):
    getattr(ch04, name)(RIGHT[name])
    assert f"{name}: right on" in capsys.readouterr().out


# -- wrong answers: (exercise, the mistake, what the message must speak of) ------------------------------------------
def in_probabilities(grad, hazard):
    belief, found = torch.full((grad.shape[1],), 1 / grad.shape[1], dtype=grad.dtype), []
    for t, row in enumerate(grad):
        prior = belief if t == 0 else (1 - hazard) * belief + hazard * (1 - belief) / (len(belief) - 1)
        belief = prior * torch.exp(-row)
        belief = belief / belief.sum()
        found.append(belief.log())
    return torch.stack(found)


def two_contexts_only(grad, hazard):
    belief, found = torch.full((grad.shape[1],), 1 / grad.shape[1], dtype=grad.dtype), []
    for t, row in enumerate(grad):
        prior = belief if t == 0 else (1 - hazard) * belief + hazard * (1 - belief)
        belief = torch.softmax(prior.log() - row, 0)
        found.append(belief.log())
    return torch.stack(found)


def slope(loss_fn, z0, task):
    z = z0.clone().requires_grad_()
    grad = torch.autograd.grad(loss_fn(z).sum(), z)[0]
    return (grad * (torch.eye(z0.shape[1], dtype=z0.dtype)[task] - z0)).sum(1)


def along_the_corner(loss_fn, z0, task):
    z = z0.clone().requires_grad_()
    grad = torch.autograd.grad(loss_fn(z).sum(), z, create_graph=True)[0]
    return torch.autograd.grad(grad[:, task].sum(), z)[0][:, task]


WRONG = [
    ("from_mean_loss", lambda g, n, s: torch.log_softmax(-g, 1), "not in nats"),
    ("from_mean_loss", lambda g, n, s: torch.log_softmax(-g / (2 * s**2), 1), "multiply by their number"),
    ("from_mean_loss", lambda g, n, s: from_mean_loss(-g, n, s), "The sign"),
    ("from_mean_loss", lambda g, n, s: from_mean_loss(g, n, s**0.5), "sd squared"),
    ("from_mean_loss", lambda g, n, s: from_mean_loss(2 * g, n, s), "The 2 in"),
    ("from_mean_loss", lambda g, n, s: from_mean_loss(g, n, s).exp(), "return their logarithms"),
    ("gradient_filter", lambda g, h: torch.log_softmax(-g, 1), "no memory"),
    ("gradient_filter", lambda g, h: torch.log_softmax(-g.cumsum(0), 1), "switch is missing"),
    ("gradient_filter", lambda g, h: gradient_filter(-g, h), "The sign"),
    ("gradient_filter", two_contexts_only, "divide by K - 1"),
    ("gradient_filter", in_probabilities, "Add in logs"),
    ("gradient_filter", lambda g, h: gradient_filter(g, h).T, "axes are swapped"),
    ("curvature_towards", slope, "once more"),
    ("curvature_towards", along_the_corner, "begins at z0"),
    ("curvature_towards", lambda f, z, k: curvature_towards(f, z, k) / 2, "The 1/2"),
    ("curvature_towards", lambda f, z, k: curvature_towards(f, z, k) / len(z), "sum it"),
    ("curvature_towards", lambda f, z, k: curvature_towards(f, z, k).sum(), "the shape should be"),
    ("delta_from", lambda w, s, n, z0: delta_from(w, s, n, torch.full_like(z0, 1 / len(z0))), "uniform start only"),
    ("delta_from", lambda w, s, n, z0: -delta_from(w, s, n, z0), "The sign"),
    ("delta_from", lambda w, s, n, z0: delta_from(w, s, 1, z0), "number of samples"),
    ("delta_from", lambda w, s, n, z0: delta_from(w, s, n, 0 * z0), "from the origin"),
    ("delta_from", lambda w, s, n, z0: 2 * delta_from(w, s, n, z0), "1/2"),
    *((name, lambda *_: None, "returns nothing") for name in RIGHT),
]


@pytest.mark.parametrize(("name", "answer", "advice"), WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(name, answer, advice):
    with pytest.raises(AssertionError, match=advice):
        getattr(ch04, name)(answer)
