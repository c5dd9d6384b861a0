"""Rules by which networks say one thing together, on scores of which the answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gbi_helpers.experiments.questions import combining
from gbi_helpers.inference import one_step

F64 = torch.float64
KNOWN, FOREIGN = slice(0, 400), slice(400, 800)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_the_mean_gradient_is_one_step_down_the_mean_loss():
    weights, z0 = drawn(3, 5, 4), torch.full((6, 4), 1 / 4, dtype=F64)

    def loss(network):
        return lambda z: ((z @ network.T + 1) ** 2).sum(1)

    grads = torch.stack([one_step(loss(network), z0).grad for network in weights])
    mean = one_step(lambda z: sum(loss(network)(z) for network in weights) / 3, z0)
    torch.testing.assert_close(torch.log_softmax(combining.product(-grads), 1), mean.log_q)


def test_a_mixture_of_two_that_are_sure_of_different_tasks_is_a_coin():
    log_q = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]], dtype=F64).log()
    torch.testing.assert_close(combining.mixture(log_q).exp(), torch.tensor([[0.5, 0.5]], dtype=F64))
    torch.testing.assert_close(combining.disagreement(log_q), torch.tensor([math.log(2)], dtype=F64))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), networks=st.integers(1, 5))
def test_disagreement_lies_between_none_and_the_networks_names(seed, networks):
    log_q = torch.log_softmax(3 * drawn(networks, 20, 4, seed=seed), -1)
    found = combining.disagreement(log_q)
    assert (found >= -1e-9).all()
    assert (found <= math.log(networks) + 1e-9).all()
    assert combining.disagreement(log_q[:1].expand(3, -1, -1)).abs().max() < 1e-9


def test_weights_find_the_odds_that_made_the_labels():
    scores = drawn(2, 40_000, 3) * torch.tensor([1.0, 1e4], dtype=F64)[:, None, None]  # of very different sizes
    made = torch.log_softmax(2 * scores[0] + 0.5e-4 * scores[1], 1)
    labels = torch.multinomial(made.exp(), 1, generator=torch.Generator().manual_seed(0))[:, 0]
    found = combining.fitted_weights(scores, labels)
    torch.testing.assert_close(found, torch.tensor([2.0, 0.5e-4], dtype=F64), rtol=0.1, atol=0)


def test_a_unit_is_learned_from_familiar_samples_alone():
    scores = 7 * drawn(2, 800) + 3
    found = combining.standardised(scores, KNOWN)
    torch.testing.assert_close(found[:, KNOWN].mean(1), torch.zeros(2, dtype=F64), rtol=0, atol=1e-12)
    torch.testing.assert_close(found[:, KNOWN].std(1), torch.ones(2, dtype=F64))
    scores[:, FOREIGN] = 1e6
    torch.testing.assert_close(combining.standardised(scores, KNOWN)[:, KNOWN], found[:, KNOWN])


def test_a_score_that_never_varies_has_no_unit():
    with pytest.raises(ValueError, match="leave it out of the sum"):
        combining.standardised(torch.ones(1, 800), KNOWN)


def test_a_rank_is_the_share_of_familiar_samples_below_whatever_the_scores_unit():
    scores = torch.tensor([[1.0, 2.0, 3.0, 4.0, -9.0, 2.5, 9.0]])
    found = combining.log_share_below(scores, slice(0, 4)).exp() * 5
    torch.testing.assert_close(found, torch.tensor([[2.0, 3.0, 4.0, 5.0, 1.0, 3.0, 5.0]], dtype=F64))
    torch.testing.assert_close(combining.log_share_below(scores.exp(), slice(0, 4)).exp() * 5, found)


def test_of_familiar_samples_the_log_p_value_is_one_on_average():
    """As minus the logarithm of a uniform number is: what Fisher's sum counts on."""
    found = combining.log_share_below(drawn(2, 20_000), slice(0, 10_000))[:, 10_000:]
    torch.testing.assert_close(-found.mean(1), torch.ones(2, dtype=F64), rtol=0, atol=0.05)


def two_kinds(noise):
    """Scores (3, 800) of two kinds that see the same shift of foreign samples, each kind with an error of its own."""
    shift = torch.zeros(800, dtype=F64)
    shift[FOREIGN] = -1.5
    kinds = [shift + drawn(1, 800, seed=seed) + noise * drawn(3, 800, seed=seed + 10) for seed in (1, 2)]
    return [combining.standardised(kind, KNOWN) for kind in kinds]


def test_one_of_each_beats_two_of_a_kind_where_errors_are_shared_inside_kinds():
    one, other = two_kinds(noise=0.2)
    alone, own = (combining.auroc(kind, KNOWN, FOREIGN) for kind in (one, other))
    pairs = combining.auroc(combining.one_of_each(one, other), KNOWN, FOREIGN)
    two = combining.auroc(combining.two_of_a_kind(one), KNOWN, FOREIGN)
    assert pairs.shape == (3, 3)
    assert two.shape == (3,)
    assert pairs.min() > two.max() + 0.03
    assert combining.better_than_both(pairs, alone, own) == 100
    inside, also_inside, across = combining.correlations(*(kind[:, KNOWN] for kind in (one, other)))
    assert min(inside, also_inside) > 0.9 > 0.3 > abs(across)


def test_the_sum_with_each_stands_where_its_row_and_column_say():
    one, other = drawn(2, 5), drawn(3, 5, seed=1)
    torch.testing.assert_close(combining.one_of_each(one, other)[1, 2], one[1] + other[2])
    torch.testing.assert_close(combining.two_of_a_kind(other)[2], other[1] + other[2])


def test_auroc_counts_pairs():
    scores = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    found = combining.auroc(scores, slice(0, 2), slice(2, 4))
    torch.testing.assert_close(found, torch.tensor([0.75, 0.0], dtype=F64))


def test_half_of_the_pairs_beat_both_their_members():
    pairs = torch.tensor([[0.9, 0.75], [0.8, 0.6]])
    assert combining.better_than_both(pairs, torch.tensor([0.8, 0.7]), torch.tensor([0.6, 0.7])) == 50


def test_one_network_of_a_kind_agrees_with_itself():
    inside, other, _ = combining.correlations(drawn(1, 30), drawn(2, 30, seed=1))
    assert inside == 1
    assert other < 1
