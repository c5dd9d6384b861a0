"""Mean and spread: closed forms against each other and against PyTorch's normal, and the rows, small."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.experiments.questions import moments, moments_learned
from gbi_helpers.experiments.results import plain

SIZES = (4, 3)
ROWS, SMALL = moments.ROWS | moments_learned.ROWS, moments.SMALL | moments_learned.SMALL
MEANS, SDS = (torch.tensor(moments.LEVELS[name], dtype=torch.float64) for name in ("means", "sds"))
PAIR = torch.arange(600) % 12


def seen(blend, seed=0, n=5):
    truth = moments.gaussian("natural" if blend == "natural" else "sd", MEANS, SDS)
    draw = torch.Generator().manual_seed(seed)
    return moments.drawn(truth, moments.pure(PAIR, SIZES), n, draw)


def ways(blend, seed):
    reader = moments.of_pairs if blend == "pairs" else moments.read
    return reader(moments.gaussian(blend, MEANS, SDS), seen(blend, seed), SIZES)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_measured_in_small(name):
    row = ROWS[name]
    assert {*SMALL[name]} <= {*row.settings}
    found = plain(row.measure(None, 0, {**row.settings, **SMALL[name]}))
    assert {*found} == {"1", "3"}
    for values in found.values():
        for part in (values["seen"], values["unseen"]) if "trained" in name else (values,):
            named = [way for what, way in part.items() if what != "gap"]
            assert all(0 <= way["both"] <= min(way["mean"], way["sd"]) <= 100 for way in named)


@pytest.mark.parametrize("blend", moments.WORDS)
def test_all_pairs_are_exact_bayes_however_z_blends(blend):
    x = seen(blend)
    one, other = PAIR[:12] // 3, PAIR[:12] % 3
    mean = MEANS[one] * (SDS[other] / 0.1) ** 2 if blend == "natural" else MEANS[one]
    normal = torch.distributions.Normal(mean, SDS[other])
    known = normal.log_prob(x[:, :, None]).sum(1)
    torch.testing.assert_close(ways(blend, 0)["bayes"].flatten(1).softmax(1), known.softmax(1))


@pytest.mark.parametrize("blend", ["natural", "pairs"])
def test_with_natural_parameters_one_delta_for_all_windows_makes_one_step_exact(blend):
    known, found = ways(blend, 1), ways(blend, 0)
    scores = moments.repaired(known, found)["one_step_delta"]
    torch.testing.assert_close(scores, moments.centred(found["bayes"]))
    assert moments.gap(found["one_step"], found["bayes"])["within"] < 1e-6


@pytest.mark.parametrize("blend", moments.BLENDS)
def test_otherwise_the_gap_is_another_for_each_window_and_no_delta_repairs_it(blend):
    known, found = ways(blend, 1), ways(blend, 0)
    repaired = moments.repaired(known, found)
    score = {name: moments.right(scores, PAIR)["both"] for name, scores in repaired.items()}
    assert moments.gap(found["one_step"], found["bayes"])["within"] > 40
    assert score["one_step_delta"] < score["bayes"] - 30


@pytest.mark.parametrize("blend", moments.BLENDS)
def test_a_gradient_at_each_deviation_is_exact_with_its_delta(blend):
    known, found = ways(blend, 1), ways(blend, 0)
    torch.testing.assert_close(moments.repaired(known, found)["each_sd_delta"], moments.centred(found["bayes"]))


def test_what_no_sum_of_two_can_say_is_told_apart():
    scores = torch.randn(5, 4, 1) + torch.randn(5, 1, 3)
    torch.testing.assert_close(moments.without_interaction(scores), moments.centred(scores))
    assert moments.gap(torch.zeros(5, 4, 3), scores)["interaction"] < 1e-6
    only = torch.einsum("n,k,a->nka", torch.randn(50), MEANS.float(), torch.tensor([1.0, 0.0, -1.0]))
    assert moments.gap(torch.zeros(50, 4, 3), only)["interaction"] == pytest.approx(100)
    constant = torch.randn(4, 3).expand(50, -1, -1)
    assert moments.gap(torch.zeros(50, 4, 3), constant)["within"] < 1e-6


def test_each_mean_lacks_one_deviation_and_training_never_meets_it(monkeypatch):
    never = moments_learned.held_out(SIZES, 2)
    assert [pair // 3 for pair in never] == [0, 1, 2, 3]
    met, plainly = set(), moments_learned.drawn

    def noted(decoder, z, n, draw):
        pairs = z.split(SIZES, 1)
        met.update((3 * pairs[0].argmax(1) + pairs[1].argmax(1)).tolist())
        return plainly(decoder, z, n, draw)

    monkeypatch.setattr(moments_learned, "drawn", noted)
    shown = [pair for pair in range(12) if pair not in never]
    row = ROWS["moments/trained_joined"]
    truth = moments.gaussian("sd", MEANS, SDS)
    moments_learned.fitted(truth, shown, SIZES, 1, 2, {**row.settings, "steps": 5})
    assert met == set(shown)


def test_a_decoder_in_which_each_factor_enters_where_it_belongs_learns_pairs_it_never_saw():
    row = ROWS["moments/trained_separate"]
    settings = {**row.settings, "samples": (20,), "steps": 500, "lr": 0.03, "windows": 500, "fit": 50}
    found = row.measure(None, 0, settings)["20"]
    assert found["unseen"]["bayes"]["both"] > found["unseen"]["truth"]["both"] - 3
