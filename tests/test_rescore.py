"""One step proposes, exact passes decide: what re-scoring keeps, what it mends, what it costs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gbi_helpers.inference import candidates, enumerate_tasks, fit_within, max_entropy, one_step, rescore
from gbi_helpers.theory import one_step_gap

F64 = torch.float64
problems = settings(max_examples=60, deadline=None)
sizes = {"seed": st.integers(0, 2**31), "batch": st.integers(1, 7), "n_tasks": st.integers(2, 12)}


def gaussian(seed: int, batch: int, n_tasks: int, dims: int = 5, noise: float = 1.0):
    """A linear-Gaussian decoder: the loss of samples, that of some of them, and the patterns."""
    draw = torch.Generator().manual_seed(seed)
    patterns = torch.randn(n_tasks, dims, generator=draw, dtype=F64)
    x = torch.randn(batch, dims, generator=draw, dtype=F64) * 1.5

    def rows(index):
        return lambda z: (x[index] - z @ patterns).square().sum(-1) / (2 * noise**2)

    return rows(slice(None)), rows, patterns


def asked(seed, batch, n_tasks, **options):
    loss_fn, rows, patterns = gaussian(seed, batch, n_tasks, **options)
    z0 = max_entropy(batch, n_tasks, F64)
    return loss_fn, rows, patterns, z0, one_step(loss_fn, z0).log_q, enumerate_tasks(loss_fn, z0)


@problems
@given(**sizes, packed=st.booleans())
def test_all_tasks_rescored_are_the_enumeration(seed, batch, n_tasks, packed):
    loss_fn, rows, _, z0, log_q, exact = asked(seed, batch, n_tasks)
    for told in ({"m": n_tasks}, {"within": 1e9}):
        found = rescore(log_q, loss_fn, z0, **told, rows=rows if packed else None)
        torch.testing.assert_close(found.log_q, exact.log_q, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found.loss, exact.loss, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("packed", [False, True])
def test_losses_finer_than_z_decide_as_they_are(packed):
    loss = torch.tensor([[1e6 + 0.03, 1e6, 1e6 + 5]], dtype=F64)
    rows = (lambda index: lambda z: (z * loss[index]).sum(1)) if packed else None
    z0 = max_entropy(1, 3)
    found = rescore(torch.log_softmax(torch.zeros(1, 3), 1), lambda z: (z * loss).sum(1), z0, m=3, rows=rows)
    exact = enumerate_tasks(lambda z: (z * loss).sum(1), z0)
    torch.testing.assert_close(found.loss, exact.loss)
    torch.testing.assert_close(found.log_q.double(), exact.log_q, rtol=1e-6, atol=1e-6)
    again = rescore(found.log_q, lambda z: (z * loss).sum(1), z0, m=1)
    assert torch.equal(again.log_q, found.log_q)


@problems
@given(**sizes, packed=st.booleans(), data=st.data())
def test_candidates_share_what_they_had_and_all_others_keep_theirs(seed, batch, n_tasks, packed, data):
    m = data.draw(st.integers(1, n_tasks))
    loss_fn, rows, _, z0, log_q, exact = asked(seed, batch, n_tasks)
    found = rescore(log_q, loss_fn, z0, m, rows=rows if packed else None)
    chosen = found.loss.isfinite()
    assert (chosen.sum(1) == m).all()
    assert torch.equal(chosen, torch.zeros_like(chosen).scatter(1, log_q.topk(m).indices, True))
    torch.testing.assert_close(found.q.sum(1), torch.ones(batch, dtype=F64))
    assert torch.equal(found.log_q[~chosen], log_q[~chosen])
    # among the candidates the odds are those of exact Bayes, and its best of them is the best of all
    alone = exact.log_q.masked_fill(~chosen, -torch.inf)
    for row in range(batch):
        ours, theirs = found.log_q[row][chosen[row]], exact.log_q[row][chosen[row]]
        torch.testing.assert_close(ours - ours[0], theirs - theirs[0], rtol=1e-9, atol=1e-9)
    assert torch.equal(found.log_q.argmax(1), alone.argmax(1))


@settings(max_examples=100, deadline=None)
@given(**sizes, noise=st.floats(0.2, 3))
def test_the_winner_lies_within_the_range_of_the_gap_always(seed, batch, n_tasks, noise):
    """The certificate: all tasks within range(delta) of the best hold the exact best, so nothing is lost."""
    loss_fn, rows, patterns, z0, log_q, exact = asked(seed, batch, n_tasks, noise=noise)
    delta = one_step_gap(patterns, noise)
    within = float(delta.max() - delta.min()) + 1e-9
    found = rescore(log_q, loss_fn, z0, within=within, rows=rows)
    assert torch.equal(found.log_q.argmax(1), exact.log_q.argmax(1))


def test_the_certificate_is_needed_to_its_last_nat():
    """A task just outside a smaller distance is missed: nothing is re-scored but what is near."""
    loss_fn = lambda z: (z * torch.tensor([[0.0, 1.0, 5.0]], dtype=F64)).sum(-1)  # noqa: E731
    z0, log_q = max_entropy(1, 3, F64), torch.log_softmax(torch.tensor([[0.0, -1.0, -3.0]], dtype=F64), 1)
    assert rescore(log_q, loss_fn, z0, within=0.9).loss.isnan().all()  # one alone has no rival: no pass
    assert rescore(log_q, loss_fn, z0, within=1.1).loss.isfinite().tolist() == [[True, True, False]]


@pytest.mark.parametrize("packed", [True, False])
def test_the_price_in_passes_of_a_batch(packed):
    loss_fn, rows, _ = gaussian(0, 50, 8)
    calls = []

    def counted(index=None):
        made = loss_fn if index is None else rows(index)
        return lambda z: calls.append(len(z)) or made(z)

    z0 = max_entropy(50, 8, F64)
    log_q = one_step(loss_fn, z0).log_q
    found = rescore(log_q, counted(), z0, within=1.0, rows=counted if packed else None)
    priced = found.loss.isfinite().sum(1)
    assert 0 < priced.sum() < 400
    assert calls == ([int(priced.sum())] if packed else [50] * int(priced.max()))


def test_many_candidates_go_in_several_passes(monkeypatch):
    monkeypatch.setattr("gbi_helpers.inference.PACKED", 7)
    loss_fn, rows, _, z0, log_q, exact = asked(1, 5, 6)
    seen = []

    def counted(index):
        seen.append(len(index))
        return rows(index)

    assert torch.allclose(rescore(log_q, loss_fn, z0, 6, rows=counted).log_q, exact.log_q)
    assert seen == [7, 7, 7, 7, 2]


def test_z0_gives_only_its_shape_and_a_sample_without_candidates_is_asked_nothing_new():
    p = torch.tensor([[0.2, 0.5, 0.3], [0.98, 0.01, 0.01], [0.3, 0.4, 0.3]], dtype=F64)
    found = rescore(p.log(), lambda z: -(z * p).sum(1).log(), torch.zeros(3, 3, dtype=F64), within=0.6)
    assert found.loss.isfinite().sum(1).tolist() == [2, 0, 3]  # at zeros the loss would be infinite


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), coverage=st.sampled_from([0.8, 0.9, 0.95]))
def test_the_fitted_distance_covers_new_samples(seed, coverage):
    loss_fn, _, _ = gaussian(seed, 3000, 10, dims=20)
    z0 = max_entropy(3000, 10, F64)
    log_q, exact = one_step(loss_fn, z0).log_q, enumerate_tasks(loss_fn, z0).log_q
    within = fit_within(log_q[:1000], exact[:1000], coverage)
    deficit = log_q.amax(1) - log_q.gather(1, exact.argmax(1, keepdim=True))[:, 0]
    assert float((deficit[1000:] <= within).double().mean()) >= coverage - 0.05


def test_the_fitted_distance_is_the_conformal_quantile():
    """19 samples at 95 %: the largest of them; at 90 % the one below it."""
    deficit = torch.arange(19.0, dtype=F64)
    log_q = torch.log_softmax(torch.stack([torch.zeros_like(deficit), -deficit], 1), 1)
    exact = torch.tensor([[-1.0, 0.0]], dtype=F64).log_softmax(1).expand(19, 2)
    assert fit_within(log_q, exact, 0.95) == pytest.approx(18)
    assert fit_within(log_q, exact, 0.90) == pytest.approx(17)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"m": 0}, "m must lie between 1 and the 3 tasks, but is 0"),
        ({"m": 4}, "between 1 and the 3 tasks"),
        ({"within": -1.0}, "must be >= 0, but is -1"),
        ({"within": float("nan")}, "must be >= 0"),
        ({"log_q": torch.zeros(2, 4)}, r"log_q must be \(samples, tasks\), here \(2, 3\), but is \(2, 4\)"),
        ({"log_q": torch.full((2, 3), torch.nan)}, "row 0 does not sum to 1"),
        ({"log_q": torch.zeros(2, 3)}, r"does not sum to 1. Take torch.log_softmax\(scores, dim=1\)"),
        ({"log_prior": torch.zeros(2)}, "log_prior must hold"),
    ],
)
def test_bad_input_is_answered_with_a_sentence(told, words):
    told = {"log_q": torch.zeros(2, 3).log_softmax(1), **told}
    with pytest.raises(ValueError, match=words):
        rescore(loss_fn=lambda z: z.sum(-1), z0=max_entropy(2, 3), **told)


FLAT = torch.zeros(9, 3).log_softmax(1)


@pytest.mark.parametrize(
    ("log_q", "exact", "coverage", "words"),
    [
        (FLAT, FLAT[:, :2], 0.9, "log_q must be"),
        (FLAT, -FLAT, 0.9, "exact must hold log probabilities, but row 0"),  # losses, not their softmax
        (FLAT, FLAT, 0.99, "n = 9 samples, but is 0.99"),
        (FLAT, FLAT, 1.5, "must lie between 0 and"),
    ],
)
def test_a_coverage_that_cannot_be_promised_is_refused(log_q, exact, coverage, words):
    with pytest.raises(ValueError, match=words):
        fit_within(log_q, exact, coverage)


@problems
@given(**sizes)
def test_a_prior_counts_among_the_candidates_as_it_does_among_all(seed, batch, n_tasks):
    loss_fn, rows, _, z0, _, _ = asked(seed, batch, n_tasks)
    prior = torch.randn(n_tasks, generator=torch.Generator().manual_seed(seed), dtype=F64).log_softmax(0)
    step = torch.log_softmax(prior + one_step(loss_fn, z0).log_q, 1)
    found = rescore(step, loss_fn, z0, n_tasks, rows=rows, log_prior=prior)
    torch.testing.assert_close(found.log_q, enumerate_tasks(loss_fn, z0, prior).log_q, rtol=1e-9, atol=1e-9)


def test_a_start_off_the_simplex_and_a_loss_of_another_precision_will_do():
    loss_fn, _, _, z0, log_q, exact = asked(3, 5, 6)
    off = torch.full_like(z0, 2.0)
    assert torch.allclose(rescore(log_q, loss_fn, off, 6).log_q, exact.log_q)
    whole = rescore(log_q.float().log_softmax(1), lambda z: loss_fn(z.double()), z0.float(), 6)
    assert whole.log_q.dtype == torch.float32
    assert torch.allclose(whole.log_q.double(), exact.log_q, atol=1e-4)


@pytest.mark.parametrize("n_tasks", [5, 20, 50])
def test_tasks_that_were_ruled_out_are_asked_again_like_any_other(n_tasks):
    certain = torch.full((1, n_tasks), -torch.inf)
    certain[0, 3] = 0
    losses = torch.arange(float(n_tasks))
    found = rescore(certain, lambda z: (z * losses).sum(-1), max_entropy(1, n_tasks), log_prior=certain)
    assert torch.equal(found.log_q, certain)
    assert torch.equal(found.loss.isfinite(), candidates(certain))


def test_a_prior_that_rules_out_all_candidates_of_a_sample_is_refused():
    proposed = torch.tensor([[0.5, 0.4, 0.1], [0.1, 0.4, 0.5]]).log()
    with pytest.raises(ValueError, match="log_prior rules out all candidates of a sample"):
        rescore(
            proposed,
            lambda z: z.sum(1),
            max_entropy(2, 3),
            log_prior=torch.tensor([0.0, -torch.inf, -torch.inf]).flip(0),
        )
    alone = rescore(
        proposed, lambda z: z.sum(1), max_entropy(2, 3), within=0.1, log_prior=torch.tensor([0.0, 0.0, -torch.inf])
    )
    assert torch.equal(alone.log_q, proposed)
