"""Who proposes beside one step, and what that costs."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.experiments.cost import rivals
from gbi_helpers.experiments.cost.sets import of_images
from gbi_helpers.models.hundred import CodeModel, VectorClassifier


@pytest.fixture(name="data")
def classes_apart():
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 3
    return torch.eye(3).repeat(1, 2)[y] * 3 + 2 * torch.randn(400, 6, generator=draw), y


def test_a_pass_is_priced_without_the_code():
    model = CodeModel(6, latent=2, n_tasks=3, width=8).eval()
    samples = of_images(model, torch.zeros(4, 6), torch.zeros(4, dtype=torch.int64))
    assert rivals.forward_flops(samples) == 2 * (2 * 8 + 3 * 8 + 8 * 6)


def test_rivals_name_classes_and_are_priced_beside_a_pass(data):
    halves = (data[0][:200], data[1][:200]), (data[0][200:], data[1][200:])
    mean = rivals.nearest_mean(halves[0], halves[0], halves[1], 3, forward=360)
    softmax = rivals.softmax_regression(halves[0], halves[0], halves[1], 3, 360, seed=0, epochs=100)
    for name, one in (("mean", mean), ("softmax", softmax)):
        assert one.price == pytest.approx(2 * 6 * 3 / 360)
        torch.testing.assert_close(one.after.logsumexp(1), torch.zeros(200))
        assert (one.after.argmax(1) == halves[1][1]).float().mean() > 0.6, name
    centres = torch.stack([data[0][:200][data[1][:200] == k].mean(0) for k in range(3)])
    assert torch.equal(mean.after.argmax(1), torch.cdist(data[0][200:], centres).argmin(1))


def test_beliefs_of_a_rival_are_as_sure_as_validation_says(data):
    x, y = data
    model = VectorClassifier(6, 3, width=0)
    with torch.no_grad():
        model.layers.weight.copy_(100 * torch.eye(3).repeat(1, 2))
    sure = rivals.classified(model, (x, y), (x, y), forward=36)
    assert sure.price == 1
    assert torch.nn.functional.nll_loss(sure.before, y) < torch.nn.functional.cross_entropy(model(x), y)


def test_a_race_drops_who_is_behind_and_pays_for_who_still_runs():
    # one window of four words, three sources: the second falls back after two words, the third after three
    steps = torch.tensor([[0.0, -1.0, -1.0], [0.0, -4.0, -1.0], [0.0, 0.0, -3.0], [0.0, 0.0, 0.0]])
    so_far = steps.cumsum(0)[None]
    log_q, price = rivals.race(so_far, nats=3.0)
    assert price == (3 + 3 + 2) / 4  # nobody reads on alone
    torch.testing.assert_close(log_q, torch.log_softmax(torch.tensor([[0.0, -5.0, -5.0]]), 1))
    patient, whole = rivals.race(so_far, nats=100.0)
    assert whole == 3
    torch.testing.assert_close(patient, torch.log_softmax(so_far[:, -1], 1))


def test_gaussians_know_classes_that_differ_in_spread_alone():
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(900) % 2
    x = torch.randn(900, 8, generator=draw) * torch.tensor([1.0, 3.0])[y][:, None]
    parts = [(x[i::3], y[i::3]) for i in range(3)]
    found = rivals.gaussians(*parts, 2, forward=1000, components=8)
    assert float((found.after.argmax(1) == parts[2][1]).double().mean()) > 0.9
    assert found.price == (2 * 8 * 8 * 2 + 8 * 8 * 2) / 1000
