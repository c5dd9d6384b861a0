"""The closed form of many features: the sums, the coordinates, and that they are those of discriminant analysis."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.experiments.cifar_far import closed, rivals
from gbi_helpers.experiments.cifar_far.closed import coordinates, summed
from gbi_helpers.models.hundred import class_means
from gbi_helpers.models.projection import shrunk, within_classes

K, N, D = 8, 400, 30


@pytest.fixture(name="known")
def blocks_and_classes(monkeypatch):
    """Two blocks in 16 bits, with more rows than there are classes, summed in uneven parts; one feature is constant."""
    monkeypatch.setattr(closed, "PART", 97)
    monkeypatch.setattr(closed, "COLUMNS", 7)
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(N) % K
    means, mix = torch.randn(K, D, generator=draw), torch.randn(D, D, generator=draw) / 4
    x = means[y] + torch.randn(N, D, generator=draw) @ mix + 3
    x[:, 20] = 1
    x = torch.cat([x, torch.randn(50, D, generator=draw)]).half()
    return (x[:, :11], x[:, 11:]), y


def standardised(blocks):
    x = torch.cat([*blocks], 1).double()
    spread = x[:N].std(0, unbiased=False)
    return (x - x[:N].mean(0)) / torch.where(spread > 0, spread, 1)


def test_sums_are_the_means_and_the_covariance_within_classes(known):
    blocks, y = known
    sums, x = summed(blocks, y, K), standardised(blocks)
    torch.testing.assert_close(sums.standardised(blocks, slice(None)).double(), x, rtol=1e-4, atol=1e-5)
    means = class_means(x[:N], y, K).double()
    torch.testing.assert_close(sums.means.double(), means, rtol=1e-4, atol=1e-5)
    away = x[:N] - means[y]
    within = (away.T @ away / N).tril()
    torch.testing.assert_close(sums.within.double().tril(), within, rtol=1e-4, atol=1e-5)


def test_coordinates_are_those_of_discriminant_analysis(known):
    """Up to a rotation: the same distances between images, and the class means where the patterns are."""
    blocks, y = known
    sums = summed(blocks, y, K)
    found = coordinates(sums, 0.05)
    at, x = found.of(sums, blocks), standardised(blocks)
    expected = within_classes(x[:N], y, 0.05, K)(x.float())  # around the mean, which is the classes' centroid here
    torch.testing.assert_close(at @ at.T, expected @ expected.T, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(class_means(at[:N], y, K), found.patterns, rtol=1e-3, atol=1e-3)


def test_trying_a_share_leaves_the_sums_as_they_were(known):
    sums = summed(*known, K)
    before = sums.within.clone()
    first = coordinates(sums, 0.3)
    coordinates(sums, 0.01)
    assert torch.equal(before, sums.within)
    assert torch.equal(first.basis, coordinates(sums, 0.3).basis)


def test_ridge_is_least_squares_to_the_classes(known):
    """A regression of 0 and 1 on all features, in which the covariance within classes is the shrunk one."""
    blocks, y = known
    sums, x = summed(blocks, y, K), standardised(blocks)
    target, within = torch.eye(K, dtype=torch.float64)[y] - 1 / K, sums.within.double()
    within = within.tril() + within.tril(-1).T
    away = (sums.means - sums.centre).double()
    total = shrunk(within, 0.1) + away.T @ away / K
    expected = x @ torch.linalg.solve(total, x[:N].T @ target / N)
    found = coordinates(sums, 0.1)
    score = rivals.ridge(found, found.of(sums, blocks)).double()
    torch.testing.assert_close(score / K, expected, rtol=1e-3, atol=1e-3)


def test_the_nearest_mean_and_neighbours_are_those_of_their_definitions(known):
    blocks, y = known
    sums, x = summed(blocks, y, K), standardised(blocks).float()
    near = torch.cdist(x, class_means(x[:N], y, K)).argmin(1)
    assert torch.equal(rivals.nearest_mean(sums, blocks).argmax(1), near)
    assert torch.equal(rivals.nearest(x[:N], y, x[:N], 1)[:, 0], y)
    by_hand = y[torch.cdist(x[N:], x[:N]).sort(1).indices[:, :7]]
    assert torch.equal(rivals.nearest(x[:N], y, x[N:], 7), by_hand)


def test_a_weight_is_the_share_of_a_block_in_squared_distances(known):
    blocks, y = known
    even, uneven = (summed(blocks, y, K, products=False, weights=w) for w in (None, (1.0, 8.0)))
    (one, other), sizes = (sums.standardised(blocks, slice(2)) for sums in (even, uneven)), [len(b[0]) for b in blocks]
    each = [(x[0] - x[1]).square().split(sizes) for x in (one, other)]
    ratio = [float(after.sum() / before.sum()) for before, after in zip(*each, strict=True)]
    assert ratio == pytest.approx(
        [30 / 9 / 11, 8 * 30 / 9 / 19], rel=1e-4
    )  # 1 and 8 of 9 in all, of 11 and 19 features


@pytest.mark.parametrize("size", [1, 6, 7, 8, 20])
def test_a_matrix_is_solved_in_its_own_place_and_comes_back(size, monkeypatch):
    monkeypatch.setattr(closed, "COLUMNS", 7)
    x = torch.randn(size, size + 5, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    matrix, right = x @ x.T, x[:, :3].contiguous()
    closed.mirror(matrix)
    before = matrix.clone()
    found = closed.solved(matrix, 0.1, right)
    torch.testing.assert_close(found, torch.linalg.solve(before + 0.1 * torch.eye(size, dtype=before.dtype), right))
    assert torch.equal(matrix, before)
