"""GBI with other networks: what the rows leave, on a few images."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.experiments import borrowed
from gbi_helpers.experiments.ood.scores import Look
from gbi_helpers.experiments.questions import together, unsure
from gbi_helpers.experiments.results import plain
from gbi_helpers.experiments.shelf import Shelf

ROWS, SMALL = together.ROWS | unsure.ROWS, together.SMALL | unsure.SMALL


@pytest.fixture(scope="module", name="world")
def few_images(tmp_path_factory):
    return borrowed.opened(Shelf(tmp_path_factory.mktemp("shelf") / "questions"), "small")


@pytest.fixture(scope="module", name="found")
def measured(world):
    return {name: plain(row.measure(world, 0, {**row.settings, **SMALL[name]})) for name, row in ROWS.items()}


def test_every_row_can_be_had_small():
    assert set(SMALL) == set(ROWS)
    for name, changes in SMALL.items():
        assert set(changes) <= set(ROWS[name].settings)


def test_every_foreign_set_is_asked_of_every_score(found, world):
    for name in ("together_detection", "together_last_layer", "together_dropout"):
        auroc = found[name]["auroc"]
        assert set(auroc) == set(world.ood.sets.foreign)
        scores = {key: value for one in auroc.values() for key, value in one.items() if "better" not in key}
        assert all(0 <= value <= 1 for value in scores.values())


def test_untrained_noise_is_no_digit_to_stored_pixels(found):
    assert found["together_detection"]["auroc"]["noise"]["pixels"] > 0.99


def test_networks_of_a_seed_are_its_own(world):
    settings = {**together.NETS, **SMALL["together_naming"]}
    seeds = [together.seeds_of(seed, settings) for seed in range(5)]
    assert len({one for several in seeds for one in several}) == 10
    nets = together.generative(world, 0, settings)
    weights = [net.decoder.join.task.weight for net in nets]
    assert not torch.equal(*weights)


def looked(members=3, n=30, n_tasks=4):
    draw = torch.Generator().manual_seed(0)
    grad, losses = (torch.randn(members, n, n_tasks, generator=draw, dtype=torch.float64) for _ in range(2))
    loss = 5 + torch.rand(members, n, generator=draw, dtype=torch.float64)
    return Look(loss, grad, 5 + losses.abs())


def test_networks_that_are_one_say_together_what_each_says():
    seen = looked(members=1)
    same = Look(*(part.expand(3, *part.shape[1:]) for part in (seen.loss, seen.grad, seen.losses)))
    places = {"validation": slice(0, 20), "test": slice(20, 25), "strange": slice(25, 30)}
    labels = torch.arange(20) % 4
    logits = seen.grad.exp().expand(3, -1, -1)
    stored = {"pixels": torch.arange(30.0), "features": torch.arange(30.0).flip(0)}
    scores = together.several(same, logits, stored, places, labels)
    torch.testing.assert_close(scores["four_relative_product"], scores["relative"][0])
    torch.testing.assert_close(scores["four_max_z"], scores["max_z"][0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(scores["four_softmax"], scores["softmax"][0], rtol=1e-6, atol=1e-6)
    for way in ("four_disagreement", "four_max_z_disagreement"):
        assert scores[way].abs().max() < 1e-9
    torch.testing.assert_close(scores["features_and_pixels"], torch.zeros(30).double())  # they say the opposite
    torch.testing.assert_close(scores["four_of_each"], 3 * scores["one_of_each"][1, 2])


def test_ways_of_one_network_are_one_way():
    answers = looked(members=1).grad
    labels = torch.arange(20) % 4
    found = together.ways(answers, labels, torch.arange(10) % 4)
    assert found["single"]["accuracy"] == found["product"]["accuracy"] == found["mixture"]["accuracy"]
    assert found["single"]["nll"] == pytest.approx(found["product"]["nll"])


def test_a_step_agrees_with_its_own_passes_where_these_are_the_same(found):
    agreement = found["together_naming"]["agreement"]
    assert all(0 <= value <= 100 for value in agreement.values())
    one = looked().grad
    assert together._agreements(one, one)["single"] == together._agreements(one, one)["product"] == 100
    assert together._agreements(one, one)["passes_of_another"] < 100


def test_the_price_is_counted_in_passes(found):
    assert found["together_naming"]["price"]["several_one_step"] == 4  # two networks
    assert together.prices(4, 10) == {
        "one_step": 2, "passes": 10, "classifier": 1, "one_of_each": 3, "one_of_each_passes": 11,
        "several_one_step": 8, "several_passes": 40, "several_classifiers": 4,
    }  # fmt: skip


def test_classifiers_told_a_belief_stand_beside_those_told_nothing(found):
    row = found["together_belief"]
    assert row["ways"]["alone"] == found["together_naming"]["ways"]["classifier"]
    assert row["ways"]["told"] != row["ways"]["alone"]


def test_masks_disagree(found):
    disagreement = [one["disagreement"] for one in found["together_dropout"]["auroc"].values()]
    assert any(value != 0.5 for value in disagreement)
