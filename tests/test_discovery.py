"""The filter against exact Bayes, the numbers that are estimated on the way, and what a slot needs to be trained."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gbi_helpers.bayes import bayes_filter
from gbi_helpers.data.toy import switching_stream
from gbi_helpers.discovery import count_switches, discover, merged, predict, update
from gbi_helpers.models.slots import Samples, Words, WordSlots
from gbi_helpers.models.toy import ToyLSTM

F64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def filtered(score, hazard, towards=None):
    """The filter of this module over evidence (..., T, K)."""
    belief, found = update(torch.zeros_like(score[..., 0, :]), score[..., 0, :]), []
    for t, now in enumerate(score.unbind(-2)):
        belief = update(predict(belief, hazard, towards), now) if t else belief
        found.append(belief)
    return torch.stack(found, -2)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    slots=st.integers(2, 12),
    hazard=st.sampled_from([0.0, 1e-4, 0.02, 0.3, 0.99]),
    strength=st.sampled_from([0.1, 3.0, 300.0]),
)
def test_the_filter_is_exact_bayes(seed, slots, hazard, strength):
    score = strength * normal(3, 20, slots, seed=seed)
    found, expected = filtered(score, hazard), bayes_filter(score, hazard)
    torch.testing.assert_close(found.exp(), expected.exp(), rtol=1e-9, atol=1e-12)


def test_jumps_go_where_they_are_said_to_go_and_never_where_they_began():
    towards = torch.tensor([0.5, 0.3, 0.2], dtype=F64)
    at_the_first = torch.tensor([1.0, 0.0, 0.0], dtype=F64).log()
    found = predict(at_the_first, 0.1, towards).exp()
    torch.testing.assert_close(found, torch.tensor([0.9, 0.06, 0.04], dtype=F64))
    assert predict(towards.log(), 0.4, towards).exp().sum() == pytest.approx(1)


@pytest.mark.parametrize("by_usage", [False, True])
def test_expected_switches_are_those_of_all_paths(by_usage):
    """Enumerated: every sequence of slots, weighed by its posterior."""
    samples, slots, hazard = 5, 3, 0.2
    score = normal(samples, slots)
    towards = torch.tensor([0.5, 0.3, 0.2], dtype=F64) if by_usage else torch.full((slots,), 1 / slots, dtype=F64)
    log_belief, switches = update(torch.zeros(slots, dtype=F64), score[0]), torch.zeros(slots, dtype=F64)
    for t in range(1, samples):
        prior = predict(log_belief, hazard, towards)
        switches = count_switches(switches, log_belief, prior, hazard, 1 / t, towards)
        log_belief = update(prior, score[t])
    paths = torch.cartesian_prod(*[torch.arange(slots)] * samples)
    before, after = paths[:, :-1], paths[:, 1:]
    jump = hazard * towards[after] / (1 - towards[before])
    chance = torch.where(before == after, torch.tensor(1 - hazard, dtype=F64), jump).log().sum(1)
    weight = (chance + score[torch.arange(samples), paths].sum(1)).softmax(0)
    expected = (weight * (before != after).double().mean(1)).sum()
    assert float((log_belief.exp() * switches).sum()) == pytest.approx(float(expected), rel=1e-9)


def two(seeds=2, sd=0.1, blocks=15, slots=2, **options):
    stream = switching_stream(seeds, sd=sd, blocks=blocks, block=40)
    model = ToyLSTM(stream.seeds, "post", n_tasks=slots, hidden=16)
    return stream, discover(Samples(model, stream.x), lr=1e-2, **options)


def right(stream, found, after=300):
    """Share of samples whose slot is that of their task, (S,), whatever the slots are called."""
    same = (stream.context[:, 5 + after :] == found.slot[after:].T).double().mean(1)
    return torch.maximum(same, 1 - same)


@pytest.mark.parametrize("evidence", ["one_step", "exact"])
def test_two_tasks_are_found_with_their_noise_and_hazard_untold(evidence):
    stream, found = two(evidence=evidence, hazard=0.1)
    assert right(stream, found).min() > 0.97
    assert found.sd[0].min() > 0.25
    assert ((found.sd[-100:].mean(0) / stream.sd - 1).abs() < 0.2).all()
    assert ((found.hazard[-1] - stream.hazard).abs() < 0.02).all()
    said = found.prediction[-100:].mean(0).sort(1).values[..., 0]
    assert (said - torch.tensor([0.2, 0.8])).abs().max() < 0.15


def test_what_is_known_is_left_as_it_is():
    _, found = two(1, blocks=1, sd=0.2, hazard=0.1, learn_hazard=False)
    assert (found.hazard == 0.1).all()
    _, told = two(1, blocks=1, sd=0.2)
    assert told.sd.std() > 0


def test_a_slot_that_is_never_chosen_is_never_trained():
    """The failure that fulfils itself: no sample's gradient reaches what only an unused slot says."""
    model = WordSlots(torch.zeros(12), slots=3, seed=1)
    with torch.no_grad():
        model.entry[0, :6], model.entry[1, 6:], model.entry[2] = 3.0, 3.0, -30 * torch.arange(12)  # the last: one word
    before = model.entry.detach().clone()
    draw = torch.Generator().manual_seed(0)
    words = torch.randint(1, 6, (4, 30, 20), generator=draw) + 6 * torch.randint(2, (4, 30, 1), generator=draw)
    found = discover(Words(model, words), "exact")
    assert found.belief[..., 2].max() < 1e-20
    moved = (model.entry.detach() - before).abs().amax(1)
    assert moved[2] < 1e-6
    assert moved[:2].min() > 0.01


def test_of_tasks_on_a_line_one_step_leaves_out_those_in_between_and_the_gap_brings_them_back():
    """What is left out looks like noise."""
    stream = switching_stream(2, means=[-0.1, 0.3, 0.7, 1.1], sd=0.1, blocks=20, block=40)
    noise = {}
    for way in ("one_step", "corrected"):
        model = ToyLSTM(stream.seeds, "post", n_tasks=6, hidden=16)
        noise[way] = discover(Samples(model, stream.x), way, lr=1e-2).sd[-1]
    assert noise["one_step"].min() > 0.15
    assert noise["corrected"].max() < 0.13


def words_of(slots, seed=3, start=1.0):
    draw = torch.Generator().manual_seed(seed)
    model = WordSlots(normal(20, seed=seed), slots, seed, start)
    return model, torch.randint(20, (3, 12, 7), generator=draw)


def test_for_words_one_gradient_and_the_gap_are_exact_bayes_though_measured_once():
    """Natural gates: the gap is the same for all data."""
    model, words = words_of(5)
    told = {"lr": 0, "hazard": 0.1, "learn_hazard": False}
    found = {way: discover(Words(model, words), way, every=10**6, **told) for way in ("corrected", "exact", "one_step")}
    for name in ("belief", "nats"):
        torch.testing.assert_close(getattr(found["corrected"], name), getattr(found["exact"], name))
    assert (found["one_step"].belief - found["exact"].belief).abs().max() > 0.05


def test_reading_without_learning_is_the_filter_of_frozen_slots_and_its_nats_are_those_of_the_stream():
    model, words = words_of(4)
    before = model.entry.detach().clone()
    found = discover(Words(model, words), "exact", lr=0, hazard=0.2, learn_hazard=False, by_usage=False)
    assert torch.equal(model.entry.detach(), before)
    log_p = (model.bias + model.entry.detach()).log_softmax(-1)
    score = log_p[:, words].sum(-1).movedim(0, -1)
    torch.testing.assert_close(found.belief.transpose(0, 1), bayes_filter(score, 0.2).exp())
    joint, nats = torch.full((3, 4), math.log(0.25), dtype=F64), 0.0
    jump = torch.full((4, 4), 0.2 / 3, dtype=F64).fill_diagonal_(0.8)
    for t in range(words.shape[1]):
        joint = ((joint.exp() @ jump).log() if t else joint) + score[:, t]
    nats = -joint.logsumexp(-1)
    torch.testing.assert_close(found.nats.sum(0), nats)


def test_a_step_size_weighs_the_evidence_of_each_sample():
    model, words = words_of(4)
    told = {"lr": 0, "hazard": 0.2, "learn_hazard": False, "by_usage": False}
    found = discover(Words(model, words), "exact", step_size=0.3, **told)
    score = (model.bias + model.entry.detach()).log_softmax(-1)[:, words].sum(-1).movedim(0, -1)
    torch.testing.assert_close(found.belief.transpose(0, 1), bayes_filter(0.3 * score, 0.2).exp())


def test_nats_of_numbers_are_those_of_their_density():
    _, found = two(1, blocks=10, hazard=0.025, evidence="exact")
    about = found.nats[-150:].mean()
    assert about == pytest.approx(math.log(0.1 * math.sqrt(2 * math.pi * math.e)), abs=0.25)  # entropy of the noise


def test_a_network_stacked_with_others_finds_what_it_finds_alone():
    stream, both = two(2, blocks=2, evidence="corrected")
    alone = ToyLSTM(stream.seeds[1:], "post", n_tasks=2, hidden=16)
    one = discover(Samples(alone, stream.x[1:]), "corrected", lr=1e-2)
    torch.testing.assert_close(one.belief[:, 0], both.belief[:, 1], atol=1e-3, rtol=0)


def test_the_slot_used_most_takes_in_those_that_say_the_same():
    at = torch.tensor([0.0, 0.1, 1.0, 0.15, 5.0])
    apart = (at[:, None] - at).abs()
    names = merged(apart, torch.tensor([0.2, 0.3, 0.3, 0.1, 0.1]), below=0.12)
    assert names.tolist() == [1, 1, 2, 1, 4]
    assert merged(torch.full((2, 2), torch.nan), torch.ones(2), 1.0).tolist() == [0, 1]  # never left without a name


def test_a_record_comes_back_from_its_file(tmp_path):
    _, found = two(1, blocks=1)
    again = type(found).load(found.save(tmp_path / "found.npz"))
    assert torch.equal(again.prediction, found.prediction)
    assert again.prediction.shape == (35, 1, 2, 1)
    assert again.facts == {"evidence": "one_step"}


@pytest.mark.parametrize("wrong", [{"evidence": "two_step"}, {"hazard": 1.0}, {"hazard": -0.1}])
def test_what_cannot_be_is_said(wrong):
    with pytest.raises(ValueError, match=r"evidence is one of one_step, corrected, exact, and hazard"):
        two(1, blocks=1, **wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"sd": 0.0}, {"sd": -1.0}, {"forget": 2.0}, {"forget": -0.1}, {"memory": 0}, {"every": 0}, {"lr": -1e-3},
     {"step_size": -1.0}],
    ids=str,
)  # fmt: skip
def test_a_setting_out_of_its_range_is_said(wrong):
    model = ToyLSTM(1, "post", hidden=4)
    with pytest.raises(ValueError, match=f"but they are .*{next(iter(wrong.values()))}"):
        discover(Samples(model, normal(1, 8, 1).float()), "corrected", **wrong)


def test_a_stream_with_nothing_to_tell_apart_is_said():
    x = normal(1, 8, 1).float()
    with pytest.raises(ValueError, match="give it two or more"):
        discover(Samples(ToyLSTM(1, "post", hidden=4, n_tasks=1), x))
    model, still = ToyLSTM(1, "post", hidden=4), torch.ones(1, 8, 1)
    with pytest.raises(ValueError, match=r"never changes, .* give sd"):
        discover(Samples(model, still))
    assert discover(Samples(model, still), sd=0.1).sd.unique() == pytest.approx(0.1)


def test_a_stream_too_short_to_be_read_is_said():
    model = ToyLSTM(1, "post", hidden=4)
    for length in (3, 5):
        with pytest.raises(ValueError, match="no sample to read"):
            discover(Samples(model, torch.zeros(1, length, 1), window=5))
