"""The language study as a whole: every row in seconds, networks shared by rows, what is shipped."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gbi_helpers import files
from gbi_helpers.experiments.bench import Bench
from gbi_helpers.experiments.language import recipes, ship, world
from gbi_helpers.experiments.language.reading import delta_of, load_language, load_stream
from gbi_helpers.experiments.language.study import PAIR, STUDY
from gbi_helpers.experiments.language.tables import at_length
from gbi_helpers.experiments.results import Results, load_results
from gbi_helpers.experiments.runner import run
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import SMALL, Task
from gbi_helpers.files import DataError
from gbi_helpers.records import TrainingRecord


@pytest.fixture(name="trainings")
def counted_trainings(monkeypatch):
    """A list of the networks that are trained from here on: what each is told, and its seed."""
    done, fit = [], recipes.train

    def train(corpus, seed, **options):
        done.append((options.get("told", "true"), seed))
        return fit(corpus, seed, **options)

    monkeypatch.setattr(recipes, "train", train)
    return done


def test_every_row_is_measured_small(little):
    results = run(STUDY, [0], variant=SMALL, shelf=little(STUDY))
    assert set(STUDY.names("packages")) == set(load_results("language_packages").rows)
    alike = {f"held_out/{source}" for source in ("api", "recipe", "speech")}  # held_out/chat with another source
    assert set(results.rows) == set(STUDY.names("packages")) - alike
    assert set(results.facts) == {"data", "name", "tasks", "text"}
    networks = {network for name in results.rows for network in STUDY.rows[name].needs}
    weights = list(little(STUDY).folder.glob("*.safetensors"))
    assert len(weights) == len(networks)  # each once, however many rows need it


def test_rows_that_need_one_network_share_it(tmp_path, trainings):
    run(STUDY, [0], ["structure", "learning"], variant=SMALL, shelf=Shelf(tmp_path))
    assert trainings == [("true", 0), ("nothing", 0)]
    run(STUDY, [0, 1], ["shuffled"], variant=SMALL, shelf=Shelf(tmp_path))
    assert trainings[2:] == [("shuffled", 0), ("shuffled", 1), ("true", 1), ("nothing", 1)]


def test_the_time_of_a_row_is_its_own(tmp_path, trainings):
    bench = Bench(STUDY, SMALL, Shelf(tmp_path))
    found = bench.measure(Task("structure", (0,)))[0]
    assert len(trainings) == 2
    records = [TrainingRecord.load(path) for path in tmp_path.glob("*.npz")]
    assert found["cpu_seconds"] < sum(record.facts["cpu_seconds"] for record in records)


@pytest.mark.parametrize("variant", STUDY.variants)
def test_rows_are_told_the_networks_that_are_trained_for_them(variant):
    networks = recipes.SMALL_NETWORKS if variant == SMALL else recipes.NETWORKS
    for name in STUDY.names(variant):
        settings = STUDY.settings(name, variant)["networks"]
        assert settings == {need: networks[need] for need in STUDY.rows[name].needs}


def test_a_network_is_trained_on_the_text_that_its_settings_name(tmp_path):
    opened = world.opened(Shelf(tmp_path), SMALL)
    whole, without, pieces = (
        world.corpus_for(opened, recipes.SMALL_NETWORKS[name]) for name in ("gbi", "gbi_without_chat", "gbi_pieces")
    )
    assert whole is opened.corpus
    assert set(whole.tasks) - set(without.tasks) == {"chat"}
    assert (whole.vocabulary.kind, pieces.vocabulary.kind) == ("word", "bpe")
    assert len({whole.digest, without.digest, pieces.digest}) == 3


def test_another_text_has_networks_of_its_own(tmp_path, trainings):
    one = world.opened(Shelf(tmp_path), SMALL)
    flipped = replace(one.corpus, train=tuple(stream.flip(0) for stream in one.corpus.train))
    worlds = one, replace(one, corpus=flipped), one
    for each in worlds:
        world.train(each, "gbi", 0)
    first, other, again = (world.files(each, "gbi", 0) for each in worlds)
    assert first == again != other
    assert all(path.exists() for path in (*first, *other))
    assert len(trainings) == 2


def test_only_sets_at_hand_are_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("GBI_DATA_DIR", raising=False)
    with pytest.raises(DataError, match="BabyLM is not here"):
        world.opened(Shelf(tmp_path), "babylm")
    with pytest.raises(ValueError, match="no size 'penn': choose one of packages, babylm, small"):
        STUDY.variant("penn")


# What is shipped


@pytest.mark.parametrize("variant", ["packages", "babylm"])
def test_the_shipped_records_are_whole(variant):
    results = load_results(f"language_{variant}")
    seeds = results.facts["seed"]
    assert set(results.rows) == set(STUDY.names(variant))
    for row, found in results.rows.items():
        assert sorted(map(int, found)) == seeds[: len(found)]
        assert len(found) >= (1 if STUDY.rows[row].once else len(seeds))
    assert results.values("learning", "gbi_test").shape == (len(seeds), len(results.facts["tasks"]))
    assert at_length(results, "naming", "corrected_accuracy", 20).mean > 70
    assert set(results.settings["learning"]["networks"]) == set(PAIR)
    read = load_stream(variant)
    assert set(read.true.tolist()) <= set(range(len(read.tasks)))
    torch.testing.assert_close(read.belief.sum(1), torch.ones(len(read.words)))


def test_what_is_shipped_can_be_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(ship, "ASSETS", tmp_path)
    monkeypatch.setattr(files, "ASSETS", tmp_path)
    opened = world.opened(Shelf(tmp_path / "shelf"), SMALL)
    settings = {row: STUDY.settings(row, SMALL) for row in ("stream", "map", "held_out/speech", "held_out/recipe")}
    results = Results("language_packages", {}, settings, opened.facts | {"command": "made"}, {})
    assert [path.name for path in ship.ship(opened, results)] == [
        "language_packages_stream.npz", "language_packages.safetensors", "language_plane.safetensors",
        "language_without_speech.safetensors", "language_without_recipe.safetensors",
    ]  # fmt: skip
    lacking, _, known, facts = load_language("without_recipe")
    assert (facts["held_out"], lacking.n_tasks, len(known)) == ("recipe", 7, 7)
    assert "recipe" not in known
    model, vocabulary, tasks, facts = load_language("plane")
    assert (model.plane, vocabulary, tasks) == (2, opened.corpus.vocabulary, opened.corpus.tasks)
    assert delta_of(facts, 60).shape == (60, len(tasks))
    assert len(load_stream("packages").words) == 240


def test_streams_quote_only_what_may_be_passed_on():
    read = load_stream("babylm")
    quoted = {read.tasks[k] for k in read.true.tolist()}
    assert quoted <= {
        "children_stories", "gutenberg", "online_chat", "scripture", "speeches", "techdoc", "wikipedia",
    }  # fmt: skip
