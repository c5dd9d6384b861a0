"""New means, digits and sources: what is held out, who moves what, and the rows, small."""

from __future__ import annotations

import math

import pytest
import torch

from gbi_helpers.adaptation import descend
from gbi_helpers.experiments.questions import adapting, new_digit, new_means, new_source
from gbi_helpers.experiments.results import plain

ROWS, SMALL = adapting.ROWS, adapting.SMALL


def settings_of(name):
    return {**ROWS[name].settings, **SMALL[name]}


def test_settings_of_the_small_rows_are_settings_of_the_rows():
    for name, changes in SMALL.items():
        assert {*changes} <= {*ROWS[name].settings}


# ---------------------------------------------------------------- means


@pytest.fixture(name="means", scope="module")
def measured_means():
    row = ROWS["adapting/means_4"]
    return plain(row.measure(None, [0, 3], settings_of("adapting/means_4")))


def test_every_side_is_scored_on_means_inside_and_beyond(means):
    sides = {*ROWS["adapting/means_4"].settings["sides"], "mean", "shrunk"}
    for found in means.values():
        assert {*found} == {"1", "10"}
        for scores in found.values():
            assert {*scores} == sides
            for name, score in scores.items():
                pairs = torch.tensor([score["inside"], score["beyond"]])
                assert pairs.shape == ((2, 2) if name in ("mean", "shrunk") else (2, 2, 2))
                assert pairs.min() >= 0


def test_a_seed_is_the_same_alone(means):
    alone = plain(ROWS["adapting/means_4"].measure(None, [3], settings_of("adapting/means_4")))["3"]
    for name in ("gbi", "maml", "shrunk"):
        torch.testing.assert_close(
            torch.tensor(alone["10"][name]["inside"]), torch.tensor(means["3"]["10"][name]["inside"])
        )


def test_the_mean_of_n_samples_is_off_by_one_over_n_and_nothing_comes_before_what_was_seen():
    settings = {**settings_of("adapting/means_4"), "tasks": 4000, "windows": 2, "weights": (0.0, 1.0)}
    task = new_means.Means(0, settings)
    found = new_means.untrained(task, 5, settings)
    whole = sum(1 / (5 + n) for n in range(5)) / 5
    assert found["mean"]["inside"].tolist() == pytest.approx([whole, 1 / 5], rel=0.05)
    assert (found["shrunk"]["beyond"] >= found["mean"]["beyond"]).all()  # drawn to the trained means, which are far
    assert ((task.inside > 0) & (task.inside < 1)).all()
    assert (task.beyond - 0.5).norm(dim=1) == pytest.approx(1)


def test_moved_weights_are_each_task_s_own():
    settings = settings_of("adapting/means_4")
    tasks = [new_means.Means(seed, settings) for seed in (0, 1)]
    model = new_means.trained(tasks, "nothing", None, settings).requires_grad_(False)
    x = torch.cat([task.around(task.inside, 2, 5) for task in tasks])
    evidence = new_means.evidence(model, x, 0.15)
    start = new_means.beginning(model, len(x), "weights")
    z = new_means.beginning(model, len(x), "z")
    torch.testing.assert_close(evidence(start), evidence(z))
    after = evidence(descend(evidence, start, 1e-3, 5)[-1])
    assert (after < evidence(start)).all()


# ---------------------------------------------------------------- digits


@pytest.fixture(name="digits", scope="module")
def few_digits(world):
    return new_digit.Digits(world, 2, settings_of("adapting/digit"))


def test_no_network_meets_the_digits_that_are_held_out(digits, world):
    assert (digits.asked, digits.chooser) == (2, 7)
    x, y = world.mnist.sets.train
    kept = torch.cat([x[y == digit] for digit in (0, 1, 3, 4, 5, 6, 8, 9)])
    assert len(digits.train[0]) == len(kept)
    assert {*map(float, digits.train[0].sum((1, 2, 3)))} == {*map(float, kept.sum((1, 2, 3)))}
    torch.testing.assert_close(digits.train[0][digits.train[1] == 2], x[y == 3])


def test_rates_are_chosen_on_validation_data(digits, world):
    x, y = world.mnist.sets.validation
    torch.testing.assert_close(digits.to_ask(7), x[y == 7][:4])
    corpus = world.language.corpus
    sources = new_source.Sources(corpus, 6, settings_of("adapting/source"))
    for source, text in ((sources.chooser, corpus.validation[1]), (sources.asked, corpus.test[6])):
        first, last = sources.to_ask(source)[[0, -1]]
        assert torch.equal(torch.cat([first, last]), torch.cat([text[:16], text[-16:]]))


def test_a_row_tells_of_a_new_digit_and_of_names(world):
    found = plain(new_digit.new_digit(world, 1, settings_of("adapting/digit")))
    for name in ROWS["adapting/digit"].settings["sides"]:
        assert {*found[name]} == {"1", "2", "rates", "names"}
        assert len(found[name]["2"]) == 2
    assert {*found["gbi"]["names"]} == {"one_step", "fitted", "passes", "nine", "new"}
    assert {*found["cavia"]["names"]} == {"fitted", "passes", "nine", "new"}
    assert {*found["gbi tuned"]["names"]} == {"one_step"}
    assert found["maml"]["names"] == {}
    assert found["mean image"]["2"] < 28 * 28 * math.log(2)


def test_passes_and_slopes_are_those_of_single_images(digits):
    settings = settings_of("adapting/digit")
    model = new_digit.trained(digits, "names", None, settings)
    x = digits.test[0][:3]
    eye = torch.eye(8)
    scores = new_digit.passes(model, x, eye)
    torch.testing.assert_close(scores[1, 5], model.nll(model(x[1:2], eye[5:6]), x[1:2])[0])
    torch.testing.assert_close(new_digit.slopes(model, x)[2:], new_digit.slopes(model, x[2:3]), rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------- sources


def test_no_network_meets_the_sources_that_are_held_out(world):
    corpus = world.language.corpus
    sources = new_source.Sources(corpus, 6, settings_of("adapting/source"))
    assert sources.asked.tasks[0] == corpus.tasks[6]
    assert sources.chooser.tasks[0] == corpus.tasks[1]
    assert {*sources.known.tasks} == {*corpus.tasks} - {corpus.tasks[6], corpus.tasks[1]}


def test_a_row_tells_of_a_new_source(world):
    found = plain(new_source.new_source(world, 1, settings_of("adapting/source")))
    for name in ROWS["adapting/source"].settings["sides"]:
        assert {*found[name]} == {"16", "32", "rates"}
        assert found[name]["16"][0] == found[name]["32"][0]  # before any step
    assert 0 < found["counts"]["32"] < 10


def test_only_what_moves_moves(world):
    settings = settings_of("adapting/source")
    sources = new_source.Sources(world.language.corpus, 0, settings)
    model = new_source.trained(sources, "context", (0.1, 1), settings)
    before = {name: value.clone() for name, value in model.named_parameters()}
    words = sources.to_learn(sources.asked, 2)
    evidence = new_source.evidence(model, words, sources.asked.start)
    at_start = [evidence(new_source.beginning(model, len(words), moves)) for moves in ("z", "weights", "bias")]
    for other in at_start[1:]:
        torch.testing.assert_close(other, at_start[0])
    for moves in ("z", "weights", "bias"):
        start = new_source.beginning(model, len(words), moves)
        assert (evidence(descend(evidence, start, 0.05, 3)[-1]) < at_start[0]).all()
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("module", [new_means, new_digit, new_source])
@pytest.mark.parametrize(("told", "names"), [("context", {"z"}), ("weights", None)])
def test_training_moves_what_is_adapted_later(world, monkeypatch, module, told, names):
    begun = []
    plainly = module.beginning

    def noted(model, n, moves):
        begun.append((plainly(model, n, moves), {name for name, _ in model.named_parameters()}))
        return begun[-1][0]

    monkeypatch.setattr(module, "beginning", noted)
    settings = settings_of(f"adapting/{ {new_means: 'means_4', new_digit: 'digit', new_source: 'source'}[module] }")
    data = {
        new_means: lambda: [new_means.Means(0, settings)],
        new_digit: lambda: new_digit.Digits(world, 0, settings),
        new_source: lambda: new_source.Sources(world.language.corpus, 0, settings),
    }[module]()
    module.trained(data, told, (1e-3, 1), settings)
    assert begun
    assert all({*start} == (names or weights) for start, weights in begun)
