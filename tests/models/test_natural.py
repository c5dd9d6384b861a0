from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions as D

from gbi_helpers import theory
from gbi_helpers.inference import enumerate_tasks, loss_of, max_entropy, one_step
from gbi_helpers.models.natural import FAMILIES, NaturalGates, Streamed

WORDS = 20


def draws(family, n_tasks, n, seed):
    """Data of a family (n, D), float64, drawn from ``n_tasks`` tasks, and the task of each."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % n_tasks

    def normal(*shape):
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    means = normal(n_tasks, 4)
    if family == "bernoulli":
        return torch.bernoulli(means.sigmoid()[y], generator=draw), y
    if family == "poisson":
        return torch.poisson((1 + means).exp()[y], generator=draw), y
    if family == "words":
        return torch.stack([counts(p, draw) for p in means.softmax(1)[y]]), y
    roots = normal(n_tasks, 4, 4) + 2 * torch.eye(4, dtype=torch.float64)
    return means[y] + (roots[y] @ normal(n, 4, 1))[..., 0], y


def counts(p, draw):
    return torch.bincount(torch.multinomial(p, WORDS, True, generator=draw), minlength=len(p)).double()


def log_density(family, x, gates):
    """log p(x) (B, K), by PyTorch's own distributions, but for what no task changes."""
    theta = gates.decoder.patterns.detach()
    if family == "bernoulli":
        return D.Bernoulli(logits=theta).log_prob(x[:, None]).sum(-1)
    if family == "poisson":
        return D.Poisson(theta.exp()).log_prob(x[:, None]).sum(-1)
    if family == "words":
        return torch.stack([D.Multinomial(WORDS, logits=one).log_prob(x) for one in theta], dim=1)
    size = x.shape[1]
    covariance = torch.linalg.inv(-2 * theta[:, size:].unflatten(1, (size, size)))
    means = (covariance @ theta[:, :size, None])[..., 0]
    return D.MultivariateNormal(means, covariance).log_prob(x[:, None])


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@settings(max_examples=10, deadline=None)
@given(n_tasks=st.integers(2, 8), seed=st.integers(0, 10_000))
@pytest.mark.parametrize("family", FAMILIES)
def test_one_step_with_one_fixed_delta_is_bayes_for_every_x(family, n_tasks, seed):
    x, y = draws(family, n_tasks, 40 * n_tasks, seed)
    gates = Streamed(family).add(x, y).gates(share=0.05)
    new, _ = draws(family, n_tasks, 50, seed + 1)
    loss, z0 = loss_of(gates, new, gates.nll), max_entropy(50, n_tasks, torch.float64)
    measured = theory.gap(loss, z0)
    samples = WORDS if family == "words" else 1
    delta = theory.natural_gap(gates.family.log_partition, gates.decoder.patterns, z0[0], samples)
    assert (measured - delta).abs().max() < 1e-10 * (1 + delta.abs().max())
    exact = torch.log_softmax(log_density(family, new, gates), dim=1)
    assert (theory.corrected_one_step(loss, z0, delta).log_q - exact).abs().max() < 1e-9 * (1 + exact.abs().max())


def test_without_delta_one_step_is_not_exact(family):
    x, y = draws(family, 6, 300, 0)
    gates = Streamed(family).add(x, y).gates(share=0.05)
    loss, z0 = loss_of(gates, x, gates.nll), max_entropy(300, 6, torch.float64)
    exact, step = enumerate_tasks(loss, z0), one_step(loss, z0)
    assert (exact.log_q - step.log_q).abs().max() > 0.1


def test_mixing_means_and_covariances_instead_has_another_gap_for_every_x():
    x, y = draws("gaussian", 4, 200, 0)
    means = torch.stack([x[y == k].mean(0) for k in range(4)])
    covariances = torch.stack([torch.cov(x[y == k].T) for k in range(4)])

    def mixed(z):
        precise = torch.einsum("bk,kij->bij", z, covariances)
        return -D.MultivariateNormal(z @ means, precise).log_prob(x)

    found = theory.gap(mixed, max_entropy(200, 4, torch.float64))
    assert (found.amax(0) - found.amin(0)).max() > 1  # nats: no constant repairs it


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
@pytest.mark.parametrize("family", FAMILIES)
def test_any_order_in_any_parts_ends_at_the_same_gates(family, seed):
    x, y = draws(family, 3, 120, seed)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(seed))
    at_once, in_parts = Streamed(family).add(x, y), Streamed(family)
    for part in order.split(17):
        in_parts.add(x[part], y[part])
    one, other = (streamed.gates().decoder.patterns for streamed in (at_once, in_parts))
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_a_new_task_leaves_the_others_gates_alone(family):
    x, y = draws(family, 3, 90, 3)
    streamed, old = Streamed(family), y < 2
    before = streamed.add(x[old], y[old]).gates(share=0.0 if family == "gaussian" else 1e-3)
    after = streamed.add(x[~old], y[~old]).gates(share=0.0 if family == "gaussian" else 1e-3)
    if family != "poisson":  # there the mean over tasks is mixed in
        torch.testing.assert_close(before.decoder.patterns, after.decoder.patterns[:2])
    assert after.n_tasks == 3


def test_bad_data_are_told_and_not_taken_in():
    streamed = Streamed("poisson").add(torch.ones(2, 3), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="a class for each"):
        streamed.add(torch.ones(2, 3), torch.tensor([0]))
    with pytest.raises(ValueError, match="must be finite"):
        streamed.add(torch.full((1, 3), torch.nan), torch.tensor([0]))
    with pytest.raises(ValueError, match="do not go with those added before"):
        streamed.add(torch.ones(1, 4), torch.tensor([7]))
    assert streamed.samples.tolist() == [1, 1]
    with pytest.raises(ValueError, match="No data yet of class 0"):
        Streamed("words").add(torch.ones(1, 3), torch.tensor([1])).gates()
    with pytest.raises(ValueError, match="choose one of bernoulli, poisson, words, gaussian"):
        NaturalGates("beta", 3, 2)
