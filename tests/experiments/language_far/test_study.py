"""The study of the large language model, in its small size: every row, stretches of training, and a new column."""

import pytest
import torch

from gbi_helpers import metrics
from gbi_helpers.experiments.bench import Bench
from gbi_helpers.experiments.language import inference
from gbi_helpers.experiments.language.novel import on_the_way
from gbi_helpers.experiments.language.windows import losses
from gbi_helpers.experiments.language_far import column, measures, recipes, world
from gbi_helpers.experiments.language_far.study import STUDY
from gbi_helpers.experiments.results import load_results
from gbi_helpers.experiments.runner import run
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import SMALL, Task
from gbi_helpers.models.deep import DeepTransformer


@pytest.fixture(name="opened")
def opened_small(tmp_path):
    return world.opened(Shelf(tmp_path), SMALL)


def trained(opened, network="gbi", seed=0, **changes):
    networks = {name: {**options, **changes.get(name, {})} for name, options in opened.networks.items()}
    return world.trained(opened, network, seed, {"networks": networks})


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_every_row_is_measured_small(little):
    results = run(STUDY, [0], variant=SMALL, shelf=little(STUDY))
    assert set(results.rows) == set(STUDY.rows) == set(load_results("language_far").rows)
    assert {"gbi", "none", "lstm_gbi", "lstm_none"} == set(results.first("learning", "curves"))
    gap = results.first("learning", "deep", "gap")
    assert gap["low"] <= gap["mean"] <= gap["high"]
    assert gap["mean"] == pytest.approx(
        results.first("learning", "deep", "none", "mean") - results.first("learning", "deep", "told", "mean"), abs=1e-4
    )
    assert results.facts["new"] not in results.first("learning", "sources")
    ways = results.first("naming", "deep", "20")
    assert ways["exact"]["agreement"] == pytest.approx(100)
    assert sum(ways["one_step"]["taken_for"]) == pytest.approx(100)
    assert ways["bigram"]["over_bigram"] == {"mean": 0, "low": 0, "high": 0}
    ahead = ways["exact"]["accuracy"]["mean"] - ways["bigram"]["accuracy"]["mean"]
    assert ways["exact"]["over_bigram"]["mean"] == pytest.approx(ahead, abs=1e-3)
    assert len(results.first("mixed", "z_free")) == len(results.first("mixed", "known"))
    assert results.first("mixed", "free")[0] == results.first("mixed", "uniform")
    gain = results.first("mixed", "uniform") - results.first("mixed", "free")[-1]
    assert results.first("mixed", "gain_on_uniform", "mean") == pytest.approx(gain, abs=1e-4)
    assert set(results.rows["tuned"]["0"]) >= {"gbi", "none"}


@pytest.mark.parametrize("variant", STUDY.variants)
def test_rows_are_told_the_networks_that_are_trained_for_them(variant):
    networks = recipes.SMALL_NETWORKS if variant == SMALL else recipes.NETWORKS
    for name in STUDY.names(variant):
        settings = STUDY.settings(name, variant)["networks"]
        assert settings == {need: networks[need] for need in STUDY.rows[name].needs}


def test_a_row_that_is_measured_is_not_measured_again(tmp_path):
    bench = Bench(STUDY, SMALL, Shelf(tmp_path))
    task = Task("reading_on", (0,))
    first = bench.measure(task)
    assert not bench.missing(task)
    assert Bench(STUDY, SMALL, Shelf(tmp_path)).measure(task) == first


# ---------------------------------------------------------------- stretches


def test_a_stretch_goes_on_from_the_one_before(opened):
    stem, _ = trained(opened, "gbi_stem")
    still, record = trained(opened, "gbi_far", gbi_far={"lr": 0.0})
    assert same(stem, still)
    assert record.curves["step"][0] == opened.networks["gbi_stem"]["steps"]
    far, _ = trained(opened, "gbi_far")
    assert not same(stem, far)
    cooled, record = trained(opened, "gbi")
    assert record.curves["step"][0] == opened.networks["gbi_stem"]["steps"] + opened.networks["gbi_far"]["steps"]
    assert not same(far, cooled)


def test_a_longer_stem_takes_the_shorter_one_from_the_shelf(opened, tmp_path):
    trained(opened, "gbi")
    (stem,) = tmp_path.glob("gbi_stem-0-*.safetensors")
    written = stem.stat().st_mtime_ns
    more = {**opened.networks["gbi_far"], "after": "gbi_far", "steps": 3}
    networks = {**opened.networks, "gbi_more": more, "gbi": {**opened.networks["gbi"], "after": "gbi_more"}}
    assert list(world.stretches(networks, "gbi")) == ["gbi_stem", "gbi_far", "gbi_more", "gbi"]
    record = world.trained(opened, "gbi", 0, {"networks": networks})[1]
    assert record.curves["step"][0] == sum(opened.networks[name]["steps"] for name in ("gbi_stem", "gbi_far")) + 3
    assert list(tmp_path.glob("gbi_stem-0-*.safetensors")) == [stem]
    assert stem.stat().st_mtime_ns == written
    assert len(list(tmp_path.glob("gbi-0-*.safetensors"))) == 2


class StoppedError(Exception):
    """As if the machine had gone away."""


def test_a_training_that_was_stopped_ends_with_the_same_weights(opened, monkeypatch, tmp_path):
    options = {name: value for name, value in opened.networks["gbi_stem"].items() if name not in world.TEXT}
    whole, _ = recipes.train(opened.known, 0, **options)
    fit, read, file = recipes.fit, recipes.random_windows, tmp_path / "run.pt"

    def stop(corpus, per_source, window, seed):
        if seed == 3:
            raise StoppedError
        return read(corpus, per_source, window, seed)

    monkeypatch.setattr(recipes, "fit", lambda *args, **how: fit(*args, **{**how, "save_every": 0.0}))
    monkeypatch.setattr(recipes, "random_windows", stop)
    with pytest.raises(StoppedError):
        recipes.train(opened.known, 0, resume=file, **options)
    assert file.exists()
    monkeypatch.setattr(recipes, "random_windows", read)
    again, record = recipes.train(opened.known, 0, resume=file, **options)
    assert same(whole, again)
    assert len(record.loss) == options["steps"]


def test_twins_meet_the_same_windows(opened, monkeypatch):
    met, read = [], recipes.random_windows

    def noted(*args):
        met.append(read(*args))
        return met[-1]

    monkeypatch.setattr(recipes, "random_windows", noted)
    trained(opened, "gbi")
    trained(opened, "none")
    half = len(met) // 2
    assert half == sum(opened.networks[name]["steps"] for name in ("gbi_stem", "gbi_far", "gbi"))
    assert all(torch.equal(a.words, b.words) for a, b in zip(met[:half], met[half:], strict=True))
    assert len({tuple(windows.words.flatten().tolist()) for windows in met}) == half  # none twice in a training


def test_nobody_is_trained_on_the_source_that_is_asked_later(opened):
    assert opened.new in opened.whole.tasks
    assert opened.new not in opened.known.tasks
    assert all(trained(opened, name)[0].n_tasks == len(opened.whole.tasks) - 1 for name in opened.networks)


# ---------------------------------------------------------------- what is measured


def test_counted_pairs_are_weighed_by_how_well_they_name(opened):
    """Not by how well they predict words, for which a larger share is best."""
    corpus = opened.known
    windows = measures.even_windows(corpus.validation, corpus.start, 8, 20)

    def missed(share):
        score = inference.naive_bayes(corpus, windows, share).sum(1).float()
        size = metrics.fitted_step_size(score, windows.task)
        return metrics.negative_log_score(torch.log_softmax(size * score, 1), windows.task)

    (share,) = inference.naming_shares(corpus, windows, (20,)).values()
    assert missed(share) == min(missed(one) for one in (0.05, 0.1, 0.2, 0.4, 0.6, 0.8))


def test_an_interval_is_over_windows_of_each_source():
    task = torch.arange(3).repeat_interleave(64)
    even = measures.over_windows(task.float(), task)  # between sources nothing is drawn
    assert even["low"] == even["high"] == even["mean"] == 1
    draw = torch.Generator().manual_seed(0)
    noisy = measures.over_windows(torch.randn(192, generator=draw), task)
    assert 0.1 < noisy["high"] - noisy["low"] < 0.6  # 4 / sqrt(192) = 0.29
    alike = torch.randn(24, generator=draw).repeat_interleave(measures.BLOCK)  # a block says one thing only
    wide = measures.over_windows(alike, task)
    assert wide["high"] - wide["low"] > 1.5 * (noisy["high"] - noisy["low"])


def test_a_falling_curve_says_how_fast(opened):
    tokens = torch.tensor([0.0, 1e5, 2e5, 3e5, 4e5])
    assert measures._doubling(tokens, 5 - 0.25 * (tokens + 1e-9).log2()) == pytest.approx(-0.25)


def test_a_new_column_starts_at_the_mean_and_alone_is_learnt(opened):
    model, _ = trained(opened)
    wider = column.widened(model)
    known = torch.cat([torch.eye(model.n_tasks), torch.zeros(model.n_tasks, 1)], 1)
    words = opened.known.test[0][None, :9].expand(model.n_tasks, -1)
    torch.testing.assert_close(wider(words, known), model(words, torch.eye(model.n_tasks)))
    new = torch.eye(wider.n_tasks)[-1:]
    uniform = torch.full((1, model.n_tasks), 1 / model.n_tasks)
    torch.testing.assert_close(wider(words[:1], new), model(words[:1], uniform))
    before = {name: value.clone() for name, value in wider.state_dict().items()}
    learn = measures.even_windows(opened.whole.only([opened.new]).train, opened.whole.start, 4, column.WINDOW)
    *_, learnt = on_the_way(wider, learn, new[0], 1e-2, column.LOOKS, column.COLUMNS)
    for name, value in learnt.state_dict().items():
        if name.startswith("turns."):
            assert torch.equal(value[:, :-1], before[name][:, :-1])
            assert not torch.equal(value[:, -1], before[name][:, -1])
        else:
            assert torch.equal(value, before[name])


def test_a_column_is_chosen_on_validation_text(opened):
    """And asked on test text at that moment."""
    torch.manual_seed(0)
    model = DeepTransformer(opened.whole.size, opened.known.n_tasks, width=16, layers=1, heads=2)
    new, rates = opened.whole.only([opened.new]), [1e-3, 1e-1]
    learn, stop, test = (
        measures.even_windows(part, new.start, n, column.WINDOW)
        for part, n in ((new.train, 4), (new.validation, 32), (new.test, 4))
    )
    met, z = [], torch.eye(model.n_tasks + 1)[-1]
    for rate in rates:
        wider = column.widened(model)
        tuned = on_the_way(wider, learn, z, rate, column.LOOKS, column.COLUMNS)
        for steps, wider in zip(column.LOOKS, tuned, strict=True):
            watched, asked = (float(losses(wider, part, z).mean()) for part in (stop, test))
            met.append((watched, asked, rate, steps))
    found = column.column(model, new, 4 * column.WINDOW, rates, 4)
    assert (found["watched"], found["loss"], found["rate"], found["steps"]) == min(met)
    assert found["moved"] == 2 * 16


def test_the_shipped_record_says_how_far_it_was_trained():
    """Its curves are not flat, and it says so: a longer run goes on from its stretches."""
    record = load_results("language_far")
    for name in ("gbi", "none"):
        found = record.first("learning", "curves", name)
        assert found["tokens"][-1] == found["seen"]
        assert found["passes"] > 4
        assert found["per_doubling"] < 0
    assert 5e6 < record.first("learning", "deep", "weights") < 2e7
