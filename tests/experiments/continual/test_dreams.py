from __future__ import annotations

import pytest
import torch

from gbi_helpers.continual import FineTuning
from gbi_helpers.experiments.continual import dreams, study
from gbi_helpers.experiments.continual.networks import mlp, run


@pytest.fixture(scope="module", name="split")
def pixels_of_seed_1(world):
    return world.split(1, {"sees": "pixels", "n": 600})


def test_a_gaussian_of_full_rank_has_the_mean_and_covariance_of_its_images():
    draw = torch.Generator().manual_seed(0)
    x = 0.5 + 0.05 * torch.randn(400, 6, generator=draw) @ torch.randn(6, 6, generator=draw) / 6**0.5
    drawn = dreams.LowRank(x, 6).draw(100_000, draw)
    torch.testing.assert_close(drawn.mean(0), x.mean(0), atol=2e-3, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(x.T), atol=1e-4, rtol=0.03)


def test_dreams_lie_in_the_directions_kept_and_are_pixels():
    draw = torch.Generator().manual_seed(0)
    x = 0.5 + 0.02 * torch.randn(100, 8, generator=draw)
    drawn = dreams.LowRank(x, 2).draw(50, draw) - x.mean(0)
    assert torch.linalg.svdvals(drawn)[2] < 0.03 * torch.linalg.svdvals(drawn)[1]
    wide = dreams.LowRank(torch.randn(100, 8, generator=draw), 3).draw(200, draw)
    assert (wide.min(), wide.max()) == (0, 1)


def test_groups_are_those_of_the_nearest_mean():
    draw = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(40, 3, generator=draw) / 10, 5 + torch.randn(60, 3, generator=draw) / 10])
    group = dreams.k_means(x, 2, draw)
    assert sorted(torch.bincount(group).tolist()) == [40, 60]
    assert len(dreams.k_means(x[:3], 10, draw)) == 3  # fewer images than groups


def test_every_old_digit_is_dreamed_as_often_and_no_image_is_kept(split):
    method, contexts = dreams.Dreams(2, 3, batch_size=2_000), split.contexts("class")
    for context in contexts[:2]:
        method.after(mlp(784, (4,), 10, 0), context)
    x, y = method.dream()
    counts = torch.bincount(y)
    assert x.shape == (2_000, 784)
    assert len(counts) == 4
    assert counts.min() > 400
    for digit in range(4):  # what is dreamed looks like the digit
        mine = torch.cat([c.inputs[0][c.y == digit] for c in contexts]).mean(0)
        torch.testing.assert_close(x[y == digit].mean(0), mine, atol=0.15, rtol=0)
    assert method.stored == 4 * 2 * (1 + 3) * 784 * 2  # digits, Gaussians, mean and directions, 16 bits


def test_new_images_weigh_less_with_each_context(split):
    method, model, contexts = dreams.Dreams(1, 2, batch_size=500), mlp(784, (8,), 10, 0), split.contexts("class")
    method.after(model, contexts[0])
    with torch.no_grad():  # sure of the second context's digits, so the new images cost next to nothing
        model[2].bias[2:4] += 30
    second = contexts[1]
    args = (second.inputs, second.y, second.outputs)
    new = float(FineTuning().loss(model, *args).detach())
    assert float(method.loss(model, *args).detach()) == pytest.approx(new / 2 + 30 / 2, rel=0.1)


def test_what_was_learned_is_kept_that_fine_tuning_loses(split):
    settings = {"hidden": (32,), "training": {"steps": 60, "batch_size": 32, "lr": 3e-3}}
    r = {
        name: run(split, "class", method, 0, settings)["test"][-1]
        for name, method in (("dreams", dreams.Dreams(1, 10, 32)), ("bare", FineTuning()))
    }
    assert r["bare"][:4].mean() < 10
    assert r["dreams"][:4].mean() > 50


@pytest.mark.parametrize("name", dreams.ROWS)
def test_a_row_keeps_to_the_bytes_allowed(world, name):
    settings = study.STUDY.settings(name, "small")
    found = study.STUDY.rows[name].measure(world, 0, settings)
    assert len(found["r"]) == 5
    if "sizes" in settings:
        assert len(found["test"]) == len(found["validation"]) == len(settings["sizes"])
        small = study.STUDY.rows[name].measure(world, 0, {**settings, "bytes": found["stored_by_size"][0]})
        assert (small["size"], small["stored"]) == (settings["sizes"][0], found["stored_by_size"][0])
