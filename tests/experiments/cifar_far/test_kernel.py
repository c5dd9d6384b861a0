"""Discriminants in the space of a kernel, against the same by features, and against ridge regression in it."""

import pytest
import torch

from gbi_helpers.experiments.cifar_far import closed
from gbi_helpers.experiments.cifar_far.closed import summed
from gbi_helpers.experiments.cifar_far.kernel import Kernel, alike
from gbi_helpers.experiments.cifar_far.rivals import ridge

K, D, N = 5, 8, 400


@pytest.fixture(name="data")
def some_data():
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(N) % K
    x = 2 * torch.randn(K, D, generator=draw)[y] + torch.randn(N, D, generator=draw) * torch.linspace(0.5, 2, D)
    return (x.half(),), y


def kernel_of(data, rate):
    blocks, y = data
    sums = summed(blocks, y, K, products=False)
    assert sums.within.numel() == 0
    return sums, Kernel(sums, blocks, N, rate)


def test_where_all_are_much_alike_they_are_the_discriminants_of_the_features(data):
    """A slow kernel is linear in the products of features, so both must find the same directions and lengths."""
    blocks, y = data
    sums, kernel = kernel_of(data, 1e-5)
    share = 0.01
    found = alike(kernel, y, share)
    x = sums.standardised(blocks, slice(None)).double()
    total = x.T @ x / N
    ridge = share * total.trace()
    within = torch.stack([torch.cov(x[y == k].T, correction=0) for k in range(K)]).mean(0)
    shrunk = within + ridge * torch.eye(D, dtype=torch.float64)
    means = torch.stack([x[y == k].mean(0) for k in range(K)])
    expected = means @ torch.linalg.solve(shrunk, x.T)  # by products, in which coordinates may be turned
    got = found.patterns @ found.of(sums, blocks).T
    torch.testing.assert_close(got.double(), expected, rtol=0.01, atol=0.02)


def test_class_means_lie_where_the_patterns_say(data):
    sums, kernel = kernel_of(data, 0.5)
    found = alike(kernel, data[1], 1e-3)
    at = found.of(sums, data[0])
    means = torch.stack([at[data[1] == k].mean(0) for k in range(K)])
    torch.testing.assert_close(means, found.patterns, rtol=1e-3, atol=1e-3)
    assert found.patterns.shape == (K, K - 1)


def test_each_coordinate_over_one_and_its_variance_is_ridge_regression(data):
    """In the same kernel, to the classes, each image weighing the same."""
    (block,), y = data
    sums, kernel = kernel_of(data, 0.5)
    found = alike(kernel, y, 1e-3)
    x = sums.standardised((block,), slice(None)).double()
    gram = torch.exp(-0.5 * torch.cdist(x, x).square() / D)
    centre = torch.eye(N, dtype=torch.float64) - 1 / N
    gram = centre @ gram @ centre
    target = torch.nn.functional.one_hot(y, K).double()
    fit = gram @ torch.linalg.solve(gram + 1e-3 * gram.trace() * torch.eye(N, dtype=torch.float64), target - 1 / K)
    scores = ridge(found, found.of(sums, (block,)))
    torch.testing.assert_close(scores.double() / K, fit, rtol=0.01, atol=2e-3)


@pytest.mark.parametrize("share", [1e-8, 1e-6, 1e-4])
def test_a_tiny_ridge_does_not_let_rounding_into_the_constant_direction(share):
    """There nothing stands but the ridge, and all else would drown."""
    draw, k, d, n = torch.Generator().manual_seed(0), 5, 100, 1000
    y = torch.arange(n + 200) % k
    x = (0.5 * torch.randn(k, d, generator=draw)[y] + torch.randn(n + 200, d, generator=draw)).half()
    sums = summed((x,), y[:n], k, products=False)
    found = alike(Kernel(sums, (x,), n, 0.03), y[:n], share)
    score = found.of(sums, (x,))[n:] @ found.patterns.T - found.patterns.square().sum(1) / 2
    assert (score.argmax(1) == y[n:]).double().mean() > 0.95


def test_several_shares_go_by_one_matrix_which_stays_as_it_is(data):
    _, kernel = kernel_of(data, 0.5)
    before = kernel.whole[0].clone()
    first = alike(kernel, data[1], 1e-3)
    alike(kernel, data[1], 1e-1)
    assert torch.equal(kernel.whole[0], before)
    assert torch.equal(alike(kernel, data[1], 1e-3).weights, first.weights)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_must_be_above_zero(data, rate):
    with pytest.raises(ValueError, match="above 0"):
        kernel_of(data, rate)


def test_a_class_without_an_image_is_refused(data):
    _, kernel = kernel_of(data, 0.5)
    with pytest.raises(ValueError, match="Each class"):
        alike(kernel, data[1].clamp(max=K - 2), 1e-3)


def test_more_alike_than_32_bits_can_tell_behind_a_one(data):
    """At 1 - 1e-6 a likeness keeps one digit of its difference from 1, and less than that where rows differ little."""
    sums, kernel = kernel_of(data, 1e-6)
    found = alike(kernel, data[1], 1e-4)
    score = found.of(sums, data[0]) @ found.patterns.T - found.patterns.square().sum(1) / 2
    assert (score.argmax(1) == data[1]).double().mean() > 0.8


def test_known_images_are_read_off_the_matrix_as_if_they_were_new(data, monkeypatch):
    monkeypatch.setattr(closed, "PART", 97)
    monkeypatch.setattr(closed, "COLUMNS", 64)
    (block,), y = data
    blocks = (torch.cat([block, block[:30] + 1]),)  # the last 30 are none of those that are known
    sums = summed(blocks, y, K, products=False)
    found = alike(Kernel(sums, blocks, N, 0.5), y, 1e-3)
    torch.testing.assert_close(found.of(sums, blocks), found.of(sums, (blocks[0],)), rtol=1e-3, atol=1e-3)
