"""What stands beside the gradient: counts, an LSTM that names the source, and tuning from the Z that was found."""

import copy
import dataclasses

import pytest
import torch

from gbi_helpers.data.vocabulary import Vocabulary
from gbi_helpers.experiments.language import counts, inference, namer, stream, tuning
from gbi_helpers.experiments.language.recipes import train
from gbi_helpers.experiments.language.windows import Corpus, even_windows

V, K = 40, 3


@pytest.fixture(scope="module", name="corpus")
def made_text():
    draw = torch.Generator().manual_seed(0)

    def chain(source, length):
        words = [2]
        for step in torch.randint(0, 3, (length,), generator=draw).tolist():
            words.append(2 + (words[-1] * (source + 2) + step) % (V - 2))
        return torch.tensor(words[1:])

    parts = (tuple(chain(k, n) for k in range(K)) for n in (3000, 500, 500))
    words = ("<unk>", "<bos>", *(chr(97 + i % 26) * (1 + i // 26) for i in range(V - 2)))
    return Corpus(("a", "b", "c"), Vocabulary(words), *parts)


@pytest.fixture(scope="module", name="gbi")
def trained(corpus):
    return train(corpus, 0, steps=150, per_source=8, window=16, hidden=24, looks=(150,))[0]


def test_beliefs_of_counts_are_bayes_and_leak():
    evidence = torch.randn(2, 5, K, generator=torch.Generator().manual_seed(0))
    never, always = (counts.believed(evidence, stream.Filter(1, hazard)) for hazard in (0.0, 1.0))
    assert never[:, 0].eq(1 / K).all()
    torch.testing.assert_close(never[:, 1:], torch.softmax(evidence.cumsum(1), 2)[:, :-1])
    torch.testing.assert_close(always, torch.full_like(always, 1 / K))


def test_a_belief_that_never_moves_is_read_alike_with_and_without_reading_again(corpus, gbi):
    made = stream.make_streams(corpus, "test", 2, 40, seed=1)
    z = torch.tensor([0.2, 0.5, 0.3]).expand(2, 40, K)
    again, once = (counts.read_believing(gbi, made, z, reread) for reread in (7, 0))
    torch.testing.assert_close(again.loss, once.loss)


def test_the_filter_is_chosen_that_reads_best(corpus):
    made = stream.make_streams(corpus, "validation", 3, 40, seed=1)
    grid = {"hazard": [0.01, 0.05, 0.2], "step_size": [0.5, 1.0]}

    def read(streams, how):
        far = (torch.as_tensor(how.hazard) - 0.05).abs() + (torch.as_tensor(how.step_size) - 0.5).abs()
        return stream.Reading(far.repeat(1, 40), torch.zeros(1))

    how, loss = counts.chosen(read, made, grid)
    assert (how.hazard, how.step_size, how.reread) == (0.05, 0.5, 0)
    assert loss == pytest.approx(0, abs=1e-6)


def test_settings_tried_side_by_side_read_as_one_after_the_other(corpus, gbi):
    made = stream.make_streams(corpus, "validation", 2, 40, seed=1)

    def read(streams, how):
        return stream.read_inferred(gbi, streams, how)

    grid = {"hazard": [0.01, 0.2], "step_size": [0.3, 1.2]}
    how, loss = counts.chosen(read, made, grid)
    losses = [float(read(made, stream.Filter(1, h, s)).loss.mean()) for h in grid["hazard"] for s in grid["step_size"]]
    assert loss == pytest.approx(min(losses), abs=1e-5)
    assert float(read(made, how).loss.mean()) == pytest.approx(min(losses), abs=1e-5)


def test_in_text_made_of_pairs_counts_of_pairs_find_the_z_of_later_words(corpus, gbi):
    gaps = inference.fit_gaps(gbi, corpus, (5, 20), per_source=8)
    found = counts.rest(gbi, corpus, gaps, per_source=8)
    assert found["true"] < found["bigram_fitted"][-1] + 0.02
    assert found["bigram_fitted"][-1] < found["unigram_fitted"][-1] < found["uniform"]
    assert set(found) >= {f"{way}{end}" for way in counts.BELIEFS for end in ("", "_fitted", "_step_size")}


def test_streams_of_pairs_are_read_best_by_counts_of_pairs(corpus, gbi):
    test, validation = counts.streams_of(corpus, 0, 4, 80, (20, 40))
    assert len(validation.words) == 2
    found = counts.compare(gbi, corpus, test, validation, {"hazard": [0.02], "step_size": [0.5, 1.0]}, 5)
    assert found["bigram"]["accuracy"] > found["unigram"]["accuracy"]
    assert found["bigram"]["settings"]["hazard"] == 0.02
    assert found["bigram"]["accuracy"] == found["bigram_forward"]["accuracy"]


def test_a_namer_learns_the_source_and_asks_no_later_word(corpus):
    sizes = {"steps": 150, "per_source": 8, "window": 16, "lr": 8e-3, "schedule": "constant", "hidden": 24}
    model, record = namer.train(corpus, 0, weight=1.0, **sizes)
    assert record.facts["tokens"] == 150 * 8 * K * 16
    windows = even_windows(corpus.test, corpus.start, 20, 16)
    scores = namer.named(model, windows)
    assert scores.shape == (60, 16, K)
    assert float((scores[:, -1].argmax(1) == windows.task).float().mean()) > 0.6
    changed = dataclasses.replace(windows, words=windows.words.clone())
    changed.words[:, 10:] = 2
    torch.testing.assert_close(namer.named(model, changed)[:, :10], scores[:, :10])
    found = namer.naming(model, corpus, 8, lengths=(1, 10))
    assert found["accuracy"][0] < found["accuracy"][1]
    again, _ = namer.train(corpus, 0, weight=1.0, **sizes)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_tuning_of_the_biases_leaves_all_else(corpus, gbi):
    learn = even_windows(corpus.train[2:], corpus.start, 2, tuning.WINDOW)
    z = torch.full((K,), 1 / K)
    moved = {
        only: {
            name
            for network in tuning.on_the_way(gbi, learn, z, 1e-2, tuning.LOOKS, only)
            for (name, value), old in zip(network.named_parameters(), gbi.parameters(), strict=True)
            if not torch.equal(value, old)
        }
        for only in ("bias", "")
    }
    assert moved["bias"] == {"bias"}
    assert moved[""] == {name for name, _ in gbi.named_parameters()}


def test_what_is_tuned_is_stopped_by_validation_text_alone(corpus, gbi):
    learn, stop, test = (
        even_windows(p[2:], corpus.start, 2, 64) for p in (corpus.train, corpus.validation, corpus.test)
    )
    z = torch.full((K,), 1 / K)
    kept = tuning.best_of(gbi, learn, stop, test, z, rates=[1e3], moving="")  # every step ruins it, so none is taken
    assert kept["steps"] == 0
    assert kept["loss"] == pytest.approx(tuning._loss(gbi, test, z), abs=1e-6)
    assert tuning.best_of(gbi, learn, stop, test, z, rates=[1e-3, 1e-2], moving="")["loss"] < kept["loss"]


def test_each_way_of_tuning_chooses_among_its_own_rates_and_says_which(corpus, gbi):
    off = copy.deepcopy(gbi)
    off.bias.data += torch.randn(off.bias.shape, generator=torch.Generator().manual_seed(0))
    looks, rates, bias = (0, 2, 6), [1e-3, 1e-2], {"rates": [1e-1, 1e3], "looks": (0, 3, 9)}
    found = tuning.compare(off, gbi, corpus, corpus.tasks[2], [128], rates, looks, bias, 2)["128"]
    chosen = found["chosen"]
    assert set(chosen) == {f"{name}{way}" for name in ("gbi", "lstm") for way in ("", "_found", "_free", "_bias")}
    for way, how in chosen.items():
        assert how["steps"] in (bias["looks"] if "bias" in way else looks)
        assert how["rate"] in ([1e-1] if "bias" in way else rates)  # 1e3 ruins all
    assert found["gbi_bias"] < found["gbi_untuned"]
