"""Streams without labels, the scores of slots without names, rivals on streams whose answer is known, and every row."""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch

from gbi_helpers.bayes import bayes_filter
from gbi_helpers.data.toy import switching_stream
from gbi_helpers.experiments.questions import discovered, time_rivals
from gbi_helpers.experiments.questions.study import STUDY
from gbi_helpers.experiments.questions.unlabelled import Chunks, agreement, chunked, crossed
from gbi_helpers.experiments.runner import run

F64 = torch.float64


# ---------------------------------------------------------------- streams and scores


def test_a_stream_runs_on_in_one_source_and_changes_it_at_the_hazard():
    sources = [torch.arange(0, 500), torch.arange(500, 900), torch.arange(900, 1200)]
    made = chunked(sources, rows=20, chunks=300, words=7, hazard=0.1, seed=1)
    first = made.words[..., 0].contiguous()
    assert ((made.words - first[..., None]) == torch.arange(7)).all()
    assert torch.equal(torch.bucketize(first, torch.tensor([500, 900]), right=True), made.task)
    stayed = made.task[:, 1:] == made.task[:, :-1]
    assert (~stayed).double().mean() == pytest.approx(0.1, abs=0.02)
    on = (first[:, 1:] - first[:, :-1])[stayed]
    assert (on == 7).double().mean() > 0.95  # else it began again
    assert torch.bincount(made.task.flatten()).min() > 1500
    assert not torch.equal(made.task, chunked(sources, 20, 300, 7, 0.1, seed=2).task)


def test_a_source_shorter_than_a_chunk_is_said():
    with pytest.raises(ValueError, match="more than 5 words"):
        chunked([torch.arange(9), torch.arange(5)], 1, 3, 5, 0.1, 0)


def test_counts_are_those_of_the_words():
    made = Chunks(torch.tensor([[[0, 2, 2], [1, 1, 1]]]), torch.tensor([[0, 1]]))
    assert made.counts(4).tolist() == [[[1, 0, 2, 0], [0, 3, 0, 0]]]


def test_scores_do_not_depend_on_what_slots_are_called_and_split_tasks_cost_one_to_one_alone():
    draw = torch.Generator().manual_seed(0)
    task = torch.randint(3, (600,), generator=draw)
    renamed = agreement(torch.tensor([4, 0, 2])[task], task)
    assert renamed == {"one_to_one": 100, "many_to_one": 100, "ari": 1, "nmi": pytest.approx(1), "slots": 3}
    half = torch.randint(2, (600,), generator=draw)
    split = agreement(torch.where((task == 0) & (half == 1), 3, task), task)
    assert split["many_to_one"] == pytest.approx(100)
    lost = min(float(((task == 0) & (half == h)).double().mean()) for h in (0, 1))
    assert split["one_to_one"] == pytest.approx(100 * (1 - lost))
    joined = agreement(task.clamp_max(1), task)
    assert joined["one_to_one"] == joined["many_to_one"] < 75
    assert abs(agreement(torch.randint(3, (600,), generator=draw), task)["ari"]) < 0.02


def test_a_table_of_slots_and_tasks_holds_shares():
    found = crossed(torch.tensor([0, 0, 2, 2]), torch.tensor([1, 1, 0, 1]))
    assert found.tolist() == [[0, 0.5], [0, 0], [0.25, 0.25]]


# ---------------------------------------------------------------- the hidden Markov model


def little_hmm(seed=0, states=3, size=5):
    draw = torch.Generator().manual_seed(seed)
    parts = (torch.randn(shape, generator=draw, dtype=F64) for shape in ((states,), (states, states), (states, size)))
    first, jump, word = (part.log_softmax(-1) for part in parts)
    return time_rivals.HMM(first, jump, lambda counts: counts @ word.mT), torch.randint(
        4, (2, 4, size), generator=draw
    ).double()


def test_the_hidden_markov_model_is_that_of_all_paths():
    model, counts = little_hmm()
    paths = torch.tensor(list(itertools.product(range(3), repeat=4)))
    chance = model.first[paths[:, 0]] + model.jump[paths[:, :-1], paths[:, 1:]].sum(1)
    score = model.says(counts)
    joint = chance + score[:, torch.arange(4), paths].sum(-1)
    weight = joint.softmax(1)
    belief, jumps = model.smoothed(counts)
    of_state = torch.nn.functional.one_hot(paths, 3).double()
    torch.testing.assert_close(belief, torch.einsum("rp,pts->rts", weight, of_state))
    expected = torch.einsum("rp,pti,ptj->ij", weight, of_state[:, :-1], of_state[:, 1:])
    torch.testing.assert_close(jumps, expected)
    torch.testing.assert_close(model.filtered(counts)[1].sum(1), -joint.logsumexp(1))


def test_its_filter_is_that_of_bayes_where_all_jumps_are_alike():
    model, counts = little_hmm()
    jump = torch.full((3, 3), 0.1, dtype=F64).fill_diagonal_(0.8).log()
    alike = time_rivals.HMM(torch.full((3,), -math.log(3), dtype=F64), jump, model.says)
    torch.testing.assert_close(alike.filtered(counts)[0], bayes_filter(model.says(counts), 0.2))


SOURCES = [torch.randint(20 * k, 20 * k + 35, (3000,), generator=torch.Generator().manual_seed(k)) for k in range(3)]


def test_every_round_of_em_makes_the_stream_likelier_and_the_sources_are_found():
    train, test = (chunked(SOURCES, 4, 60, 8, 0.1, seed) for seed in (0, 1))
    counts = train.counts(80)
    fitted = [time_rivals.word_hmm(counts, 3, 0, bland=0.01, rounds=n) for n in (1, 4, 15)]
    nats = [float(model.filtered(counts)[1].sum()) for model in fitted]
    assert nats[0] > nats[1] > nats[2]
    models = time_rivals.fitted_hmms(counts, (2, 3), (1.0,), starts=2, seed=0, rounds=15)
    assert [len(model.first) for model in models] == [2, 2, 3, 3]
    new = test.counts(80)
    best = min(models, key=lambda model: float(model.filtered(new)[1].sum()))
    assert len(best.first) == 3
    assert agreement(best.filtered(new)[0].argmax(-1).flatten(), test.task.flatten())["ari"] > 0.8


def test_a_weight_makes_beliefs_vaguer_and_leaves_nats_those_of_all_words():
    model, counts = little_hmm()
    half = time_rivals.HMM(model.first, model.jump, model.says, weight=0.5)
    torch.testing.assert_close(
        half.filtered(counts)[0][:, 0], (model.first + model.says(counts)[:, 0] / 2).log_softmax(-1)
    )
    torch.testing.assert_close(half.filtered(counts)[1][:, 0], model.filtered(counts)[1][:, 0])


def test_gaussians_of_a_stream_are_found_by_em():
    stream = switching_stream(1, sd=0.2, blocks=10, block=30)
    fitted = [time_rivals.gaussian_hmm(stream.x, 2, seed=0, rounds=n) for n in (1, 3, 12)]
    nats = [float(model.filtered(stream.x)[1].sum()) for model in fitted]
    assert nats[0] > nats[1] > nats[2]
    slot = fitted[-1].filtered(stream.x)[0].argmax(-1)
    assert agreement(slot[0], stream.context[0])["one_to_one"] > 95
    swapped = time_rivals.gaussian_hmm(stream.x, 2, seed=0, rounds=12, means=stream.means.flip(0))
    slot = swapped.filtered(stream.x)[0].argmax(-1)
    assert (slot == 1 - stream.context).double().mean() > 0.95


def lasting(tasks, length, seed):
    """Which of ``tasks`` (3, length) lasts: a change in one place of fifteen."""
    draw = torch.Generator().manual_seed(seed)
    moved = torch.rand(3, length, generator=draw) < 1 / 15
    return (torch.randint(1, tasks, moved.shape, generator=draw) * moved).cumsum(1) % tasks


def test_densities_are_those_of_torch():
    draw = torch.Generator().manual_seed(0)
    means, root, data = (torch.randn(size, generator=draw, dtype=F64) for size in ((3, 4), (3, 4, 9), (2, 5, 4)))
    covariance = root @ root.mT
    expected = torch.distributions.MultivariateNormal(means, covariance).log_prob(data[:, :, None])
    torch.testing.assert_close(time_rivals.shaped_says(means, covariance, data), expected)


def test_states_of_one_mean_are_told_apart_by_their_shapes_unless_all_of_it_is_shrunk():
    task = lasting(2, 300, 0)
    draw = torch.Generator().manual_seed(1)
    x = torch.randn((3, 300, 2), generator=draw, dtype=F64) * torch.tensor([[3.0, 0.3], [0.3, 3.0]], dtype=F64)[task]
    start = torch.where(torch.rand(task.shape, generator=draw) < 0.3, 1 - task, task)

    def right(share):
        belief = time_rivals.shaped_hmm(x, start, share, rounds=10).filtered(x)[0]
        return agreement(belief.argmax(-1).flatten(), task.flatten())["one_to_one"]

    assert right(0.01) > 95
    assert right(1.0) < 70


def test_names_tell_states_apart_where_images_do_not():
    """Five groups of images, alike in both states; the second calls each by the next one's name."""
    task, draw = lasting(2, 300, 2), torch.Generator().manual_seed(3)
    group = torch.randint(5, task.shape, generator=draw)
    pairs = torch.nn.functional.one_hot(5 * group + (group + task) % 5, 25).to(F64)
    start = torch.where(torch.rand(task.shape, generator=draw) < 0.3, 1 - task, task)
    found = time_rivals.names_hmm(pairs, start, names=5, rounds=10)
    assert agreement(found.filtered(pairs)[0].argmax(-1).flatten(), task.flatten())["one_to_one"] > 95
    each = found.says(pairs.new_ones(1, 1, 25).diag_embed()[0]).exp().view(5, 5, 2).sum(1)  # over the names of a group
    torch.testing.assert_close(each, torch.ones_like(each))


def test_of_several_starts_the_likeliest_is_kept():
    x = switching_stream(1, sd=0.1, blocks=8, block=20).x.double()
    far, near = (x[..., 0] > 5).long(), (x[..., 0] > 0.5).long()
    far[0, 0] = 1
    fit = functools.partial(time_rivals.shaped_hmm, share=0.1, rounds=0)
    kept = time_rivals.likeliest(x, [far, near], fit)
    torch.testing.assert_close(kept.says(x), fit(x, near).says(x))


# ---------------------------------------------------------------- k-means


def test_smoothed_features_help_clusters_of_a_stream_and_see_no_future():
    train, test = (chunked(SOURCES, 4, 100, 2, 0.03, seed) for seed in (0, 1))
    made = time_rivals.Clusters(train, 80, size=6, seed=0)

    def ari(keep, later=0):
        return agreement(made.slots(train, test, 3, keep, later).flatten(), test.task.flatten())["ari"]

    assert min(ari(0.6), ari(0.0, later=4)) > ari(0.0) + 0.05
    cut = Chunks(test.words[:, :30], test.task[:, :30])
    whole, part = (made.features(chunks, 0.6) for chunks in (test, cut))
    torch.testing.assert_close(whole[:, :30], part, rtol=1e-4, atol=1e-5)
    assert (made.features(test, 0.0, 4)[:, :30] - made.features(cut, 0.0, 4)).abs().max() > 0.1


# ---------------------------------------------------------------- the rows


@pytest.mark.parametrize("name", discovered.ROWS)
def test_every_row_is_measured_in_small(name, little):
    kept = run(STUDY, [0], [name], variant="small", shelf=little(STUDY)).first(name)
    assert 0 <= kept["one_to_one"] <= kept["many_to_one"] <= 100
    if name == "two/sd_.1":
        assert {"merged", "bayes", "sd", "hazard", "ari", "nmi", "slots"} <= {*kept}


def test_two_tasks_are_told_apart_in_a_row(tmp_path):
    row = discovered.ROWS["two/sd_.1"]
    stream = {**row.settings["stream"], "blocks": 25}
    found = row.measure(None, [0], {**row.settings, "stream": stream})[0]
    assert found["one_to_one"] > 97
    assert found["merged"] == {name: found[name] for name in found["merged"]}
