from __future__ import annotations

import math

import pytest
import torch

from gbi_helpers.continual import Context, learn
from gbi_helpers.data.vocabulary import Vocabulary
from gbi_helpers.experiments.continual import language
from gbi_helpers.experiments.language.inference import naive_bayes
from gbi_helpers.experiments.language.windows import Corpus, even_windows
from gbi_helpers.metrics import accuracy

SETTINGS = {
    "steps": 40, "batch_size": 4, "window": 12, "known": 4, "per_source": 10, "shares": (0.01, 0.5), "z": "both",
}  # fmt: skip


@pytest.fixture(scope="module", name="corpus")
def two_sources():
    """Two sources of the same eight words, which one says in a circle forwards and the other backwards."""
    up = torch.arange(4_000) % 8 + 3
    words = Vocabulary.of_words({"a": [" ".join(f"w{i}" for i in range(30))]}, 11)
    return Corpus(("up", "down"), words, *[(up, up.flip(0))] * 3)


def learned(corpus, method, settings=SETTINGS):
    model = language.network(corpus, 0, 16, settings["z"])
    windows = even_windows(corpus.test, corpus.start, 10, 12)

    def test(i):
        return language.later(model, windows, windows.z(2), 4).tolist()

    told = language.contexts(corpus, 0, settings)
    return learn(model, told, method, test, steps=settings["steps"], batch_size=4, lr=3e-2), model


@pytest.mark.parametrize("name", language.ROWS)
def test_every_row_reads_all_sources(name):
    row = language.ROWS[name]
    found = row.measure(None, 0, {**row.settings, **language.SMALL[name]})
    assert len(found["order"]) == 8
    for way in row.settings["ways"]:
        assert found[way]["r"].shape == (8, 8)
        assert float(found[way]["before"].mean()) == pytest.approx(math.log(300), abs=0.2)
    assert set(found["named"]) == set(row.settings["ways"]) & set(language.INFERRED)


def test_the_order_of_the_sources_is_the_seeds():
    settings = {**language.TEXT, **language.SMALL["lang/no_z"]}
    (_, one, windows), (_, other, _) = (language.opened(seed, settings) for seed in (0, 1))
    assert set(one.tasks) == set(other.tasks)
    assert one.tasks != other.tasks
    name = one.tasks[3]
    assert torch.equal(one.train[3], other.train[other.tasks.index(name)])
    assert windows.task.tolist() == sorted(windows.task.tolist())


def test_a_source_is_forgotten_and_replay_keeps_it(corpus):
    bare, _ = learned(corpus, language.Words(), {**SETTINGS, "z": "nothing"})
    kept, _ = learned(corpus, language.ReplayedWords(6, batch_size=4, share=0.5), {**SETTINGS, "z": "nothing"})
    assert bare.diagonal().max() < 1
    assert bare[1, 0] > bare[0, 0] + 1
    assert kept[1, 0] < bare[1, 0] - 1


def test_the_store_holds_so_many_windows_of_each_source(corpus):
    method, (up, down) = language.ReplayedWords(6, batch_size=64, share=0.5), language.contexts(corpus, 0, SETTINGS)
    for context in (up, down):
        method.after(torch.nn.Identity(), context)
    assert method.inputs[1].argmax(1).tolist() == [0] * 6 + [1] * 6  # with the z of each
    assert ((method.y[:, 1] - method.y[:, 0]) % 8 == 1).tolist() == [True] * 6 + [False] * 6
    assert method.stored == 12 * (2 * 12 + 1)


def test_stored_windows_weigh_as_much_as_told(corpus):
    method, (up, down) = language.ReplayedWords(6, batch_size=64, share=0.1), language.contexts(corpus, 0, SETTINGS)
    model = language.network(corpus, 0, 8, "both")
    args = (model, [part[:4] for part in down.inputs], down.y[:4], down.outputs)
    new = language.Words().loss(*args)
    assert float(method.loss(*args).detach()) == pytest.approx(float(new.detach()))
    method.after(model, up)
    again = language.Words().loss(model, method.inputs, method.y, up.outputs)  # all six are in a batch
    mixed = 0.9 * new + 0.1 * again
    assert float(method.loss(*args).detach()) == pytest.approx(float(mixed.detach()), rel=1e-5)


@pytest.mark.parametrize("kind", ["gate", "gatein"])
def test_fixed_gates_stay_and_close_half_of_the_units(corpus, kind):
    settings = {**SETTINGS, "z": kind, "steps": 5}
    before = language.network(corpus, 0, 16, kind).gate.weight
    _, model = learned(corpus, language.Words(), settings)
    assert torch.equal(model.gate.weight, before)
    assert before.sum(0).tolist() == [8.0, 8.0]
    units = model.units(torch.tensor([[3, 4, 5]]), torch.tensor([[1.0, 0.0]]))
    assert ((units == 0).all(1)[0] == (before[:, 0] == 0)).all()


def test_networks_that_are_told_different_things_meet_the_same_windows(corpus):
    one, other = (language.contexts(corpus, 3, {**SETTINGS, "z": z}) for z in ("nothing", "gate"))
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.y, b.y)
        assert (a.inputs[1] == 0.5).all()
        assert (b.inputs[1].sum(1) == 1).all()
        assert not torch.equal(a.inputs[1], b.inputs[1])


def test_counts_are_naive_bayes_and_unseen_sources_get_nothing():
    settings = {**language.TEXT, **language.SMALL["lang/both"], "shares": (1e-9,)}
    _, corpus, windows = language.opened(0, settings)
    words = windows.first(20).words
    common = torch.stack([torch.bincount(part, minlength=corpus.size) > 0 for part in corpus.train]).all(0)
    read = torch.where(common[words], words, common.nonzero()[0, 0])  # words that every source has
    gates = language.namers(corpus, settings)
    expected = torch.stack([torch.bincount(part, minlength=corpus.size).double() for part in corpus.train])
    log_p = (expected / expected.sum(1, keepdim=True)).log()[:, read].sum(2).T
    torch.testing.assert_close(language.by_counts(gates[-1], read, 8), log_p.softmax(1).float(), rtol=1e-4, atol=1e-6)
    early = language.by_counts(gates[2], read, 8)
    assert (early[:, 3:] == 0).all()
    torch.testing.assert_close(early[:, :3], log_p[:, :3].softmax(1).float(), rtol=1e-4, atol=1e-6)


def test_what_was_counted_names_sources_as_the_strongest_rival_does():
    settings = {**language.TEXT, "per_source": 32}
    _, corpus, windows = language.opened(0, settings)
    first = windows.first(20)
    mine = accuracy(language.by_counts(language.namers(corpus, settings)[-1], first.words, 8).argmax(1), first.task)
    rival = accuracy(naive_bayes(corpus, first).sum(1).argmax(1), first.task)
    assert mine > 70
    assert mine == pytest.approx(rival, abs=5)


def test_a_gradient_believes_in_sources_seen_and_in_no_others(corpus):
    windows = even_windows(corpus.test, corpus.start, 10, 8)
    _, model = learned(corpus, language.ReplayedWords(6, batch_size=4, share=0.5))
    both = language.by_gradient(model, windows, 2)
    assert accuracy(both.argmax(1), windows.task) > 90
    assert (language.by_gradient(model, windows, 1)[:, 0] == 1).all()


def test_what_r_says_in_nats():
    r = torch.tensor([[2.0, 2.5, 9.0], [1.5, 3.0, 9.0], [4.0, 3.5, 1.0]], dtype=torch.float64)
    found = language.told(r, torch.full((3,), 7.0))
    assert float(found["forgetting"]) == pytest.approx((2.5 + 0.5) / 2)
    assert float(found["learning"]) == pytest.approx(2)
    assert float(found["loss"]) == pytest.approx(8.5 / 3)


def test_losses_are_of_the_words_after_the_known_ones(corpus):
    """Words before them may be anything; their own loss does not count."""
    windows = even_windows(corpus.test, corpus.start, 2, 12)
    model = language.network(corpus, 0, 8, "nothing")
    whole = language.losses(model, windows)
    found = language.later(model, windows, windows.uniform(2), 4)
    torch.testing.assert_close(found, torch.stack([whole[:2, 4:].mean(), whole[2:, 4:].mean()]).double())


def test_a_context_is_what_learning_asks_for(corpus):
    (context, _) = language.contexts(corpus, 0, SETTINGS)
    assert isinstance(context, Context)
    assert context.inputs[0].shape == context.y.shape == (160, 12)
    assert torch.equal(context.inputs[0][:, 1:], context.y[:, :-1])
