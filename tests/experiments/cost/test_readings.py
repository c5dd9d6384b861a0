"""Ways to spend a few passes, done to matrices: that they are what the package does with a model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gbi_helpers.experiments.cost import readings
from gbi_helpers.experiments.cost.readings import Answer, Proposer, Reading, Samples
from gbi_helpers.experiments.cost.sets import of_images
from gbi_helpers.inference import rescore
from gbi_helpers.models.hundred import CodeModel, ZOnly

F64 = torch.float64
some = settings(max_examples=30, deadline=None)


def linear(seed, n=40, n_tasks=7, dims=9):
    """Samples of a linear-Gaussian decoder."""
    draw = torch.Generator().manual_seed(seed)
    model = ZOnly(dims, n_tasks).double()
    model.decoder.patterns.data = torch.randn(n_tasks, dims, generator=draw, dtype=F64)
    y = torch.randint(n_tasks, (n,), generator=draw)
    x = model.decoder.patterns.detach()[y] + torch.randn(n, dims, generator=draw, dtype=F64)
    return of_images(model, x, y)


def bent(n=40, n_tasks=7):
    torch.manual_seed(0)
    model = CodeModel(9, latent=3, n_tasks=n_tasks, width=16).double().eval()
    return of_images(model, 3 * torch.randn(n, 9, dtype=F64), torch.arange(n) % n_tasks)


@some
@given(seed=st.integers(0, 2**31), m=st.sampled_from([2, 3, 5]), within=st.floats(0, 8))
def test_the_matrices_do_what_rescore_does(seed, m, within):
    samples = linear(seed)
    seen = samples.read()
    log_q = torch.log_softmax(seen.one, 1)
    found = readings.ways(log_q, seen.exact, 2.0, {0.99: within})
    for way, told in ((f"_top_{m}", {"m": m}), ("_within_99", {"within": within})):
        theirs = rescore(log_q, samples.everything(), samples.uniform(), rows=samples.rows, **told)
        torch.testing.assert_close(found[way].log_q, theirs.log_q)
        price = float(theirs.loss.isfinite().sum() / len(log_q))
        assert found[way].price == pytest.approx(2 + price)


@pytest.mark.parametrize("within", [0.5, 3.0])
def test_who_ranks_without_the_code_pays_for_it_where_a_pass_follows(within):
    """Once a sample, and not at all where no second candidate is near."""
    seen = linear(3).read()
    log_q = torch.log_softmax(seen.one, 1)
    bare, coded = (readings.ways(log_q, seen.exact, 0.5, {0.99: within}, code) for code in (0.0, 1.25))
    behind = log_q.amax(1, keepdim=True) - log_q
    asked = float(((behind <= within).sum(1) > 1).double().mean())
    assert 0 < asked < 1
    assert coded[""].price == 0.5
    assert coded["_top_3"].price == 0.5 + 3 + 1.25
    assert coded["_within_99"].price == pytest.approx(bare["_within_99"].price + 1.25 * asked)
    assert coded["_within_99"].extra == bare["_within_99"].extra == pytest.approx(bare["_within_99"].price - 0.5)


def test_a_batch_is_read_in_parts_as_a_whole():
    whole = bent()
    parts = Samples(whole.rows, whole.y, whole.n_tasks, whole.dtype, batch=7)
    for one, other in zip(vars(whole.read()).values(), vars(parts.read()).values(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_curve_names_what_each_number_of_candidates_would():
    seen = bent().read()
    log_q = torch.log_softmax(seen.one, 1)
    named = readings.curve(log_q, seen.exact)
    for m in range(1, 8):
        rescored = readings.decided(log_q, seen.exact, readings.best(log_q, m))
        assert torch.equal(named[:, m - 1], (rescored if m > 1 else log_q).argmax(1))
    assert torch.equal(named[:, -1], seen.exact.argmax(1))


@some
@given(seed=st.integers(0, 2**31))
def test_the_midpoint_of_two_is_as_good_as_passing_both_where_the_decoder_is_linear(seed):
    samples = linear(seed)
    seen = samples.read()
    log_q = torch.log_softmax(seen.one, 1)
    midpoint = readings.narrowed(samples, log_q, [2])
    torch.testing.assert_close(midpoint.log_q, readings.decided(log_q, seen.exact, readings.best(log_q, 2)))
    assert midpoint.price == 4


@pytest.mark.parametrize(
    ("n_tasks", "keep", "sizes"),
    [(10, 0.5, [5, 3, 2]), (8, 0.5, [4, 2]), (100, 0.5, [50, 25, 13, 7, 4, 2]), (100, 0.25, [25, 7, 2])],
)
def test_survivors_shrink_to_two(n_tasks, keep, sizes):
    assert readings.shrinking(n_tasks, keep) == sizes


def test_who_was_dropped_does_not_come_back():
    log_q = torch.tensor([[0.1, 0.6, 0.3]]).log()
    assert readings.best(log_q, 1, among=torch.tensor([[True, False, True]])).tolist() == [[False, False, True]]
    samples = Samples(lambda index: lambda z: (z * torch.tensor([[0.0, 5.0, 9.0, 1.0]])).sum(1), torch.zeros(1), 4)
    log_q = torch.tensor([[0.3, 0.1, 0.35, 0.25]]).log()  # the third falls, below the second that was dropped before
    zoomed = readings.narrowed(samples, log_q, [3, 3])
    torch.testing.assert_close(zoomed.log_q[0, 1].exp(), torch.tensor(0.1))


def test_zooming_in_keeps_those_who_survived_and_the_beliefs_sum_to_one():
    samples = bent()
    log_q = torch.log_softmax(samples.read().one, 1)
    zoomed = readings.narrowed(samples, log_q, [4, 2])
    torch.testing.assert_close(zoomed.log_q.logsumexp(1), torch.zeros(40, dtype=F64))
    assert readings.best(log_q, 4).gather(1, zoomed.log_q.argmax(1, keepdim=True)).all()
    assert zoomed.price == 6


def made(right, y):
    """Log beliefs that name the true task where ``right``, and the next one elsewhere."""
    named = torch.where(right, y, (y + 1) % 3)
    return torch.log_softmax(3 * torch.nn.functional.one_hot(named, 3).double(), 1)


def test_validation_favours_a_way_whatever_test_samples_say():
    y = torch.arange(12) % 3
    good, poor = made(torch.arange(12) < 11, y), made(torch.arange(12) < 6, y)
    before, after = ({"one": Answer(a, 2.0), "other": Answer(b, 4.0)} for a, b in ((poor, good), (good, poor)))
    known = Reading(poor, poor, y)  # all passes are no better than the one way, and the same
    scores = readings.scored(before, after, known, Reading(good, good, y))
    rules = {"by_accuracy": "other", "by_log_score": "other", "by_kl": "one"}
    assert readings.favoured(scores, ("one", "other")) == rules
    assert scores["test"]["other"]["accuracy"] == 50
    assert scores["validation"]["one"]["kl"] == 0
    alike = readings.scored(before | {"one": before["other"]}, after, known, known)
    assert set(readings.favoured(alike, ("one", "other")).values()) == {"one"}  # the first of equals: the cheapest


def test_a_log_score_does_not_depend_on_the_scale_of_the_beliefs():
    y = torch.arange(12) % 3
    log_q = made(torch.arange(12) < 8, y)
    both = {"one": Answer(log_q, 2.0), "unsure": Answer(torch.log_softmax(log_q / 10, 1), 2.0)}
    known = Reading(log_q, log_q, y)
    found = readings.scored(both, both, known, known)["test"]
    assert found["one"]["log_score"] == pytest.approx(found["unsure"]["log_score"], rel=1e-3)


def test_the_number_of_candidates_is_chosen_on_validation_samples():
    y = torch.zeros(4, dtype=torch.int64)
    log_q = torch.log_softmax(torch.tensor([[3.0, 2, 1]]).expand(4, 3), 1)
    helps, hurts = torch.tensor([[0.0, -1, -2]]), torch.tensor([[0.0, 1, -2]])
    one = Proposer(log_q, log_q, 2.0)
    right, wrong = (Reading(log_q, exact.expand(4, 3), y) for exact in (helps, hurts))
    assert readings.best_many(one, right, wrong) == {"m": 1, "accuracy": 100, "agreement": 0, "price": 2.0}
    y = torch.ones_like(y)
    assert readings.best_many(replace(one, code=1.5), right, wrong)["price"] == 2.0  # no pass, no code
    right, wrong = (Reading(log_q, exact.expand(4, 3), y) for exact in (hurts, helps))
    assert readings.best_many(one, right, wrong) == {"m": 2, "accuracy": 0, "agreement": 100, "price": 4.0}
    assert readings.best_many(replace(one, code=1.5), right, wrong)["price"] == 5.5
