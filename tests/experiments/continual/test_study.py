from __future__ import annotations

import math

import pytest
import torch

from gbi_helpers import metrics
from gbi_helpers.experiments.continual import networks, permuted, scenarios, study, sums
from gbi_helpers.experiments.continual.study import STUDY
from gbi_helpers.experiments.runner import run
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.files import DataError


@pytest.fixture(scope="module", name="split")
def pixels_of_seed_3(world):
    return world.split(3, {"sees": "pixels", "n": 600})


@pytest.mark.slow
def test_the_small_study_measures_every_row(little):
    results = run(STUDY, [0], variant="small", shelf=little(STUDY))
    assert set(results.rows) == set(STUDY.rows)
    r = results.values("pixels/class/ewc", "r")[0]
    assert r.shape == (5, 5)
    assert (r.triu(1) == torch.full((5, 5), -1.0, dtype=torch.float64).triu(1)).all()


@pytest.mark.filterwarnings("ignore:Not all of MNIST")
def test_without_the_full_set_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GBI_OFFLINE", "1")
    monkeypatch.delenv("GBI_DATA_DIR", raising=False)
    with pytest.raises(DataError, match="The full set is not at hand"):
        study.opened(Shelf(tmp_path), "")


def test_the_order_of_the_digits_is_the_seeds_and_no_image_is_lost(world):
    one, other = (scenarios.in_order(world.images, seed) for seed in (0, 1))
    assert not torch.equal(one["train"][1], other["train"][1])
    before, after = (torch.bincount(y, minlength=10).sort().values for y in (world.images["train"][1], one["train"][1]))
    assert torch.equal(before, after)


def test_outputs_count_as_the_scenario_says(split):
    for scenario, counts in (("task", [2, 2, 2, 2, 2]), ("domain", [2, 2, 2, 2, 2]), ("class", [2, 4, 6, 8, 10])):
        contexts = split.contexts(scenario)
        assert [int(context.outputs.sum()) for context in contexts] == counts
        assert all(context.outputs[context.y].all() for context in contexts)
        assert sum(len(context.y) for context in contexts) == 600


def test_features_know_the_first_context_alone(world):
    settings = {"sees": "patches", "n": 600, "filters": 4}
    whole = world.split(0, settings)
    ordered = scenarios.in_order(world.images, 0)
    x, y = ordered["train"]
    ordered["train"] = torch.where((y < 2)[:, None, None, None], x, 1 - x), y  # the contexts to come look otherwise
    changed = scenarios.patches(ordered, 4)
    first = whole.train[1] < 2
    torch.testing.assert_close(changed.train[0][first], whole.train[0][first])
    assert not torch.allclose(changed.train[0][~first], whole.train[0][~first])


def test_sums_after_the_last_context_are_those_of_all_images_at_once(split):
    at_once = sums.StreamedMeans(784).add(*split.train)
    last = sums.stages(split)[-1]
    torch.testing.assert_close(last.within, at_once.within, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(last.means, at_once.means, rtol=1e-9, atol=1e-12)


def test_accuracy_is_nan_where_no_learner_has_heard_of_a_class(split):
    model = networks.mlp(784, (8,), 10, seed=0)
    found = scenarios.accuracies(model, split.contexts("class", "test"), "class", after=1)
    assert [math.isnan(value) for value in found] == [False, False, True, True, True]
    assert not any(map(math.isnan, scenarios.accuracies(model, split.contexts("task", "test"), "task", after=1)))


def test_domain_scores_add_up_over_contexts():
    score = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()
    torch.testing.assert_close(sums._by_place(score).exp(), torch.tensor([[0.4, 0.6]]))


def test_the_digit_of_a_context_is_read_among_its_own_two():
    score = torch.tensor([[0.0, 1.0, 5.0, 4.0]])
    assert sums.right(score, torch.tensor([1]), "class")[0] == 0
    assert sums.right(score, torch.tensor([1]), "task")[0] == 100


def test_orders_move_as_many_pixels_as_they_say():
    made = permuted.orders(5, moved=30, seed=0)
    assert ((made != torch.arange(784)).any(0).sum()) <= 30
    assert all(torch.equal(row.sort().values, torch.arange(784)) for row in made)


def test_a_single_image_names_its_order(world):
    views = permuted.views({"contexts": 4, "moved": 784}, seed=0)
    x, y = permuted.seen(world.images["train"], views, 300)
    asked, answers = permuted.seen(world.images["test"], views, 100)
    decoder = permuted.context_decoders(x)[-1]
    for i, part in enumerate(asked):
        assert metrics.accuracy(permuted.inferred(decoder, part).argmax(1), torch.full_like(answers, i)) > 98
    assert len(y) == 300


def test_a_context_that_has_not_come_is_no_belief(world):
    views = permuted.views({"contexts": 3, "moved": 20}, seed=0)  # alike: images take themselves for others
    x, asked = (permuted.seen(world.images[name], views, 100)[0] for name in ("train", "test"))
    beliefs = permuted.beliefs_of(permuted.context_decoders(x), asked)
    assert [tuple(belief.shape) for belief in beliefs] == [(1, 100, 3), (2, 100, 3), (3, 100, 3)]
    for i, belief in enumerate(beliefs):
        torch.testing.assert_close(belief.sum(2), torch.ones(i + 1, 100, dtype=torch.float64))
        assert (belief[..., i + 1 :] == 0).all()
    assert not torch.equal(beliefs[2][0].argmax(1), torch.zeros(100, dtype=torch.int64))  # so it would have been taken


def test_readings_are_of_contexts_that_have_come():
    ways = permuted.readings(torch.tensor([[[0.7, 0.3, 0.0]], [[0.4, 0.6, 0.0]]]))
    assert ways["given"].tolist() == [[[1, 0, 0]], [[0, 1, 0]]]
    assert ways["uniform"].tolist() == [[[0.5, 0.5, 0]]] * 2
    assert ways["other"].tolist() == [[[0, 1, 0]], [[1, 0, 0]]]


def test_a_row_of_gates_is_filled_for_what_has_come(world):
    settings = {
        "contexts": 3,
        "moved": 784,
        "n": 100,
        "test": 50,
        "hidden": (8, 8),
        "off": 0.5,
        "method": "fine_tuning",
    }
    told = {**settings, "training": {"steps": 3, "batch_size": 16, "lr": 1e-3}, "sweep": ("off", (0.3, 0.5))}
    found = permuted.permuted(world.images, 0, told)
    for way in permuted.WAYS:
        r = torch.tensor(found[way]["r"])
        assert torch.equal(r < 0, torch.ones(3, 3, dtype=torch.bool).triu(1))
    assert found["choice"] == (0.3, 0.5)[found["validation"].index(max(found["validation"]))]
    assert found["switch"] == 3 * (784 * 4 + 8)


def test_new_images_compete_among_their_own_and_stored_ones_among_all_so_far(split):
    told = split.contexts("task")

    def moved(share):
        model, method = networks.mlp(784, (8,), 10, seed=0), networks.Apart(20, share=share, batch_size=20)
        method.after(model, told[0])
        method.loss(model, told[1].inputs, told[1].y, told[1].outputs).backward()
        return [i for i, value in enumerate(model[-1].bias.grad.tolist()) if value]

    assert moved(0.0) == [2, 3]
    assert moved(0.2) == [0, 1, 2, 3]
    assert moved(1.0) == [0, 1, 2, 3]


def test_images_are_turned_about_their_centre(world):
    x = world.images["test"][0][:5].flatten(1)
    torch.testing.assert_close(permuted.turned(x, 0), x)
    quarter = torch.rot90(x.view(-1, 28, 28), 1, (1, 2)).flatten(1)
    torch.testing.assert_close(permuted.turned(x, 90), quarter, atol=1e-4, rtol=0)


def test_few_images_are_as_many_of_each_digit(split):
    part = scenarios.few(split, 7)
    assert torch.bincount(part.train[1]).tolist() == [7] * 10


def test_random_mixtures_are_the_same_for_all_three_sets(split):
    wide = scenarios.expanded(split, 20)
    assert wide.train[0].shape == (600, 20)
    assert (wide.train[0] >= 0).all()
    again = scenarios.expanded(scenarios.Split(split.train, split.train, split.train), 20)
    torch.testing.assert_close(again.test[0], wide.train[0])


@pytest.mark.parametrize(("own", "counts"), [(False, {2, 4, 6, 8, 10}), (True, {2})])
def test_all_classes_so_far_compete_or_a_contexts_own_alone(split, own, counts):
    seen = set()

    class Spy(networks.FineTuning):
        def loss(self, model, inputs, y, outputs):
            seen.add(int(outputs.sum()))
            return super().loss(model, inputs, y, outputs)

    settings = {"hidden": (8,), "training": {"steps": 3, "batch_size": 16, "lr": 1e-3}, "own": own}
    r = networks.run(split, "class", Spy(), 0, settings)["test"]
    assert seen == counts
    assert torch.equal(r.isnan(), torch.ones(5, 5, dtype=torch.bool).triu(1))  # asked is the same: which of all so far
