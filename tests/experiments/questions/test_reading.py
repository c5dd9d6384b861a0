"""Filters asked word by word see no word that is still to be predicted, readers are told alike, and every row."""

from __future__ import annotations

import json
import math

import pytest
import torch

from gbi_helpers.bayes import bayes_filter
from gbi_helpers.experiments.language.windows import Corpus
from gbi_helpers.experiments.questions import reading, words
from gbi_helpers.experiments.questions.discovered import READ
from gbi_helpers.experiments.questions.unlabelled import Chunks, agreement, chunked
from gbi_helpers.experiments.results import plain
from gbi_helpers.models.slots import WordSlots

SIZE = 40


def text(k, n, seed=0):
    """A source of which every third word is of its own ten, the others are anyone's."""
    draw = torch.Generator().manual_seed(10 * seed + k)
    own, any_word = torch.randint(10 * k, 10 * k + 10, (n,), generator=draw), torch.randint(SIZE, (n,), generator=draw)
    return torch.where(torch.rand(n, generator=draw) < 0.34, own, any_word)


@pytest.fixture(scope="module", name="corpus")
def four_sources():
    parts = (tuple(text(k, 1500, seed) for k in range(4)) for seed in range(3))
    return Corpus(("a", "b", "c", "d"), range(SIZE), *parts)  # type: ignore[arg-type]


def stream(corpus, seed, chunks=40):
    return chunked(corpus.test, rows=5, chunks=chunks, words=6, hazard=0.1, seed=seed)


# ---------------------------------------------------------------- filters


def test_the_labelled_filter_is_that_of_bayes(corpus):
    made = reading.labelled_filter(corpus, 0.1)
    test = stream(corpus, 0)
    score = test.counts(SIZE) @ reading.labelled_log_p(corpus).mT
    torch.testing.assert_close(reading.before_words(made, test, SIZE)[1], bayes_filter(score, 0.1).exp())


def test_a_jump_of_a_filter_goes_where_it_is_told_and_never_back():
    towards = torch.tensor([0.5, 0.3, 0.2])
    jump = reading.filter_of(torch.zeros(3, 4), 0.2, towards).jump.exp()
    torch.testing.assert_close(jump.sum(1), torch.ones(3))
    torch.testing.assert_close(jump.diagonal(), torch.full((3,), 0.8))
    assert jump[2, :2].tolist() == pytest.approx([0.125, 0.075])


def test_no_belief_knows_a_word_that_is_yet_to_come(corpus):
    made, test = reading.labelled_filter(corpus, 0.1), stream(corpus, 1)
    before = reading.before_words(made, test, SIZE)[0]
    changed = test.words.clone()
    changed[:, 20, 3] = (changed[:, 20, 3] + 17) % SIZE
    other = reading.before_words(made, Chunks(changed, test.task), SIZE)[0]
    flat = (before - other).abs().amax((0, 3)).flatten()
    at = 20 * 6 + 3
    assert flat[: at + 1].max() < 1e-6
    assert flat[at + 1] > 1e-2


def test_the_last_word_of_a_chunk_leads_to_the_belief_after_it(corpus):
    made, test = reading.labelled_filter(corpus, 0.1), stream(corpus, 2)
    before, after = reading.before_words(made, test, SIZE)
    score = reading.labelled_log_p(corpus).mT[test.words[:, :, -1]]
    torch.testing.assert_close((before[:, :, -1].log() + score).softmax(-1), after)
    torch.testing.assert_close(before[:, 0, 0], torch.full((5, 4), 0.25))


def test_the_likeliest_filter_is_the_one_that_knows_the_sources(corpus):
    made = reading.labelled_filter(corpus, 0.1)
    blank = reading.filter_of(torch.full((4, SIZE), -math.log(SIZE)), 0.1, torch.full((4,), 0.25))
    test = stream(corpus, 3)
    assert reading.own_nats(blank, test, SIZE) == pytest.approx(math.log(SIZE), rel=1e-5)
    best = reading.likeliest([blank, made], (0.01, 1.0), test, SIZE)
    assert best.says is made.says
    assert best.weight == 1.0


def test_slots_of_one_pass_are_a_filter_that_finds_the_sources(corpus):
    train = chunked(corpus.train, rows=16, chunks=60, words=12, hazard=0.1, seed=0)
    test = chunked(corpus.test, rows=16, chunks=20, words=12, hazard=0.1, seed=1)
    made = reading.discovered_filter(corpus, train, 0, {"slots": 6, "lr": 0.05, "discover": READ})
    after = reading.before_words(made, test, SIZE)[1]
    assert after.shape == (16, 20, 6)
    assert agreement(after.argmax(-1).flatten(), test.task.flatten())["ari"] > 0.5


# ---------------------------------------------------------------- readers


class Knowing(torch.nn.Module):
    """Says the words of the slot that it is told, whatever it has read."""

    def __init__(self, log_p):
        super().__init__()
        self.log_p = log_p

    def forward(self, tokens, z):
        assert tokens[:, 0].eq(7).all()  # <bos>
        assert z.shape == (*tokens.shape, 6)
        return z[..., :4] @ self.log_p


@pytest.mark.parametrize("window", [1, 4])
def test_a_reader_tells_each_word_the_z_of_its_own_place(corpus, window, monkeypatch):
    monkeypatch.setattr(Corpus, "start", 7)
    test = stream(corpus, 4)
    log_p = reading.labelled_log_p(corpus)
    reader = reading.Reader(corpus, test, test, 0, {"slots": 6, "window": window})
    z = torch.nn.functional.one_hot(test.task, 4).float()[:, :, None]
    nats = -log_p[test.task][..., None, :].expand(-1, -1, 6, -1).gather(-1, test.words[..., None])[..., 0]
    found = reader.scored(Knowing(log_p), z)
    assert found["nats"] == pytest.approx(float(nats.mean()), rel=1e-5)
    torch.testing.assert_close(found["by_place"], nats.mean((0, 1)))


def test_a_network_told_the_sources_reads_better_than_one_told_nothing(corpus, monkeypatch):
    monkeypatch.setattr(Corpus, "start", 7)
    train = chunked(corpus.train, rows=8, chunks=60, words=6, hazard=0.1, seed=0)
    settings = {"slots": 4, "window": 1, "hidden": 16, "batch": 96, "epochs": 5}
    reader = reading.Reader(corpus, train, stream(corpus, 5), 0, settings)
    even = torch.full((1, 1, 1, 4), 0.25)
    told, new = (torch.nn.functional.one_hot(part.task, 4).float()[:, :, None] for part in (train, reader.test))
    none, true = reader.scored(reader.trained(even), even), reader.scored(reader.trained(told), new)
    assert true["nats"] < none["nats"] - 0.05
    again = reader.scored(reader.trained(even), even)
    assert again["nats"] == none["nats"]


# ---------------------------------------------------------------- few dimensions


def test_with_as_many_numbers_as_sources_the_passes_are_naive_bayes_and_the_gap_is_what_divides_one_step(corpus):
    test = stream(corpus, 6, chunks=80)
    counts, task = test.counts(SIZE).flatten(0, 1).double(), test.task.flatten()
    log_p = reading.labelled_log_p(corpus).double()
    model = WordSlots(log_p.mean(0), 4)
    entry = log_p - log_p.mean(0)
    found = words.read(counts, task, log_p.mean(0), entry)
    bayes = (counts @ log_p.mT).argmax(-1)
    assert found["passes"] == pytest.approx(100 * float((bayes == task).double().mean()))
    model.entry.data = entry
    z = torch.full((len(task), 4), 0.25, dtype=torch.float64, requires_grad=True)
    (counts * model(z).log_softmax(-1)).sum().backward()
    assert z.grad is not None
    assert found["one_step"] == pytest.approx(100 * float((z.grad.argmax(-1) == task).double().mean()))


def test_words_logits_are_those_of_the_sources_and_rest_in_the_mean(corpus):
    log_p = reading.labelled_log_p(corpus).double()
    base, entry = words._word_logits(log_p)
    torch.testing.assert_close((base + entry).log_softmax(-1), log_p)
    torch.testing.assert_close(entry @ base.exp(), torch.zeros(4, dtype=torch.float64))


# ---------------------------------------------------------------- the rows


@pytest.mark.parametrize("name", reading.ROWS)
def test_every_reader_is_measured_in_small(name, world):
    row = reading.ROWS[name]
    settings = {**row.settings, **reading.SMALL[name]}
    found = row.measure(world, 0, settings)
    assert json.loads(json.dumps(plain(found))).keys() == found.keys()
    assert {"none", "true", "true_filtered", "slots", "labelled"} <= {*found}
    assert ("hmm" in found) == ("kmeans" in found) == ("hmm" in settings)
    gap = found["none"]["nats"] - found["true"]["nats"]
    for one in found.values():
        assert one["recovered"] == pytest.approx(100 * (found["none"]["nats"] - one["nats"]) / gap)
        assert len(one["by_place"]) == settings["words"]
    assert found["true"]["recovered"] == found["labelled"]["of_labelled"] == pytest.approx(100)


@pytest.mark.parametrize("name", words.ROWS)
def test_every_row_of_words_is_measured_in_small(name, world):
    row = words.ROWS[name]
    found = json.loads(json.dumps(plain(row.measure(world, 0, {**row.settings, **words.SMALL[name]}))))
    if name == "reading/dimensions":
        assert len(found["free"]["one_step"]) == len(found["sphere"]["passes"]) == len(found["dims"])
        assert found["free"]["passes"][-1] > found["free"]["passes"][0]
    else:
        assert 0 <= found["one_to_one"] <= found["many_to_one"] <= 100


def test_settings_are_chosen_by_nats_without_a_look_at_labels(world):
    row = words.ROWS["reading/chosen_by_nats"]
    found = row.measure(world, 0, {**row.settings, **words.SMALL["reading/chosen_by_nats"], "lrs": (0.001, 0.02)})
    lr, size, nats, _, ari = min(found["grid"], key=lambda one: one[2])
    assert found["setting"] == {"lr": lr, "size": size}
    assert found["ari"] == ari
    assert found["by_labels"]["setting"]["lr"] == max(found["grid"], key=lambda one: one[3])[0]
    assert nats < math.log(world.language.corpus.size)
