from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from gbi_helpers import metrics


def test_summary_is_students_interval():
    values = [81.5, 83.4, 87.3, 80.0, 85.0]
    summary = metrics.summarise(values)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert (summary.low, summary.high) == pytest.approx((low, high))
    assert (summary.mean, summary.sd, summary.n) == (
        pytest.approx(np.mean(values)),
        pytest.approx(np.std(values, ddof=1)),
        5,
    )
    assert str(summary) == f"83.4 ± {(high - low) / 2:.1f}"


def test_one_seed_has_no_interval_and_none_is_an_error():
    assert math.isnan(metrics.summarise([3.0]).half_width)
    assert str(metrics.summarise([3.0])) == "3.0"
    assert str(metrics.Summary(3.0, math.nan, 0.5, 1)) == "3.0 ± 0.5"  # of its samples
    with pytest.raises(ValueError, match="one number per seed"):
        metrics.summarise([])


def test_accuracy_and_agreement_in_percent():
    assert metrics.accuracy(torch.tensor([1, 2, 3, 3]), torch.tensor([1, 2, 3, 4])) == 75
    q, p = torch.eye(4), torch.eye(4)[[0, 1, 2, 0]]
    assert metrics.agreement(q, p) == 75
    with pytest.raises(ValueError, match="one for each"):
        metrics.accuracy(torch.zeros(3), torch.zeros(4))


def test_calibration_error_of_a_calibrated_and_an_overconfident_answer():
    generator = torch.Generator().manual_seed(0)
    confidence = 0.5 + 0.5 * torch.rand(100_000, generator=generator)
    q = torch.stack([confidence, 1 - confidence], 1)
    labels = (torch.rand(100_000, generator=generator) > confidence).long()
    assert metrics.calibration_error(q, labels) < 1
    sure = torch.tensor([[1.0, 0.0]]).expand(1000, 2)
    half = torch.arange(1000) % 2
    assert metrics.calibration_error(sure, half) == pytest.approx(50)


def test_kl_against_torch_and_with_zero_probability():
    p, q = (torch.log_softmax(torch.randn(5, 4), 1) for _ in range(2))
    expected = torch.nn.functional.kl_div(q, p, log_target=True, reduction="batchmean")
    assert metrics.kl(p, q) == pytest.approx(float(expected), rel=1e-5)
    assert metrics.kl(p, p) == pytest.approx(0, abs=1e-12)
    certain = torch.tensor([[0.0, -math.inf]])
    assert metrics.kl(certain, torch.log(torch.tensor([[0.5, 0.5]]))) == pytest.approx(math.log(2))


def test_correlation_is_pearsons_mean():
    a, b = torch.randn(6, 10), torch.randn(6, 10)
    assert metrics.correlation(a, b) == pytest.approx(
        np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]), abs=1e-5
    )
    assert metrics.correlation(a, 3 * a + 2) == pytest.approx(1, abs=1e-6)


def test_fitted_step_size_finds_the_scale_that_made_the_labels():
    generator = torch.Generator().manual_seed(0)
    score = torch.randn(20_000, 5, generator=generator)
    labels = torch.multinomial(torch.softmax(0.3 * score, 1), 1, generator=generator).squeeze(1)
    assert metrics.fitted_step_size(score, labels) == pytest.approx(0.3, rel=0.1)


def test_negative_log_score():
    log_q = torch.log(torch.tensor([[0.5, 0.5], [0.1, 0.9]]))
    assert metrics.negative_log_score(log_q, torch.tensor([0, 0])) == pytest.approx(
        -(math.log(0.5) + math.log(0.1)) / 2
    )


# Telling the familiar from the foreign


def test_detection_agrees_with_counting_pairs_and_knows_its_extremes():
    draw = torch.Generator().manual_seed(0)
    familiar, foreign = torch.randn(80, generator=draw) + 1, torch.randn(50, generator=draw)
    pairs = (familiar[:, None] > foreign).double().mean()
    assert metrics.detection(familiar, foreign).auroc == pytest.approx(float(pairs))
    apart = metrics.detection(torch.tensor([3.0, 4.0, 5.0]), torch.tensor([0.0, 1.0]))
    assert (apart.auroc, apart.aupr, apart.fpr95) == (1, 1, 0)
    tied = metrics.detection(torch.ones(30), torch.ones(30))
    assert (tied.auroc, tied.fpr95) == (0.5, 1)


@pytest.mark.parametrize("seed", range(5))
def test_detection_of_swapped_scores_is_the_rest_and_no_monotone_change_matters(seed):
    draw = torch.Generator().manual_seed(seed)
    familiar, foreign = torch.randn(60, generator=draw) + 0.5, torch.randn(40, generator=draw)
    found = metrics.detection(familiar, foreign)
    assert metrics.detection(foreign, familiar).auroc == pytest.approx(1 - found.auroc)
    assert metrics.detection(familiar.exp(), foreign.exp()).auroc == pytest.approx(found.auroc)


def test_fpr95_is_the_share_let_in_with_95_of_100():
    familiar, foreign = torch.arange(100.0), torch.tensor([-1.0, 3.5, 4.5, 5.5])
    assert metrics.detection(familiar, foreign).fpr95 == 0.25  # the threshold is 5: one of four is above


def test_detection_refuses_what_is_no_score():
    with pytest.raises(ValueError, match="one number a sample"):
        metrics.detection(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="foreign scores must be"):
        metrics.detection(torch.zeros(3), torch.zeros(0))
    with pytest.raises(ValueError, match="1 of the familiar scores are NaN"):
        metrics.detection(torch.tensor([0.0, math.nan]), torch.zeros(3))


def test_reliability_holds_the_calibration_error():
    draw = torch.Generator().manual_seed(0)
    q, labels = torch.softmax(2 * torch.randn(500, 6, generator=draw), 1), torch.randint(0, 6, (500,), generator=draw)
    n, confidence, right = metrics.reliability(q, labels, bins=15)
    assert (float(n.sum()), float(right.sum())) == (500, float((q.argmax(1) == labels).sum()))
    assert 100 * float((confidence - right).abs().sum()) / 500 == pytest.approx(metrics.calibration_error(q, labels))


def test_a_certain_answer_lies_in_the_last_bin():
    assert metrics.reliability(torch.eye(2), torch.tensor([0, 1]))[0].tolist() == [0] * 9 + [2]


def test_detection_by_hand():
    """A familiar score above the foreign one, and one below; infinite scores have an order, too."""
    assert metrics.detection(torch.tensor([3.0, 1.0]), torch.tensor([2.0])).aupr == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.detection(torch.tensor([math.inf, 1.0]), torch.tensor([-math.inf, 0.0])).auroc == 1
    assert metrics.detection(torch.arange(100.0), torch.arange(100.0)).fpr95 == pytest.approx(0.95)


def test_a_fitted_step_size_undoes_any_scale():
    draw = torch.Generator().manual_seed(0)
    score = torch.randn(20_000, 5, generator=draw)
    y = torch.multinomial(torch.softmax(0.3 * score, 1), 1, generator=draw).squeeze(1)
    assert metrics.fitted_step_size(1000 * score, y) == pytest.approx(3e-4, rel=0.1)
    assert metrics.fitted_step_size(score / 100, y) == pytest.approx(30, rel=0.1)


def test_where_a_curve_first_reaches_a_goal_lies_on_the_line_between_two_looks():
    x, curve = torch.tensor([0.0, 10, 20]), torch.tensor([3.0, 2.0, 1.0])
    reached = [metrics.first_below(x, curve, goal) for goal in (3.5, 2.75, 2.0, 1.0, 0.5)]
    assert reached == [0, 2.5, 10, 20, math.inf]
    assert metrics.blocks_to_criterion(torch.ones(4, 1), 1.0).tolist() == [math.inf]  # below it, not at it


def test_blocks_and_forgetting_ask_for_enough():
    with pytest.raises(ValueError, match="whole number"):
        metrics.by_block(torch.arange(3.0), 4, skipped=5)
    with pytest.raises(ValueError, match="two or more"):
        metrics.forgetting(torch.ones(1, 1))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (lambda: metrics.agreement(torch.zeros(2, 3), torch.zeros(2, 5)), r"\(2, 3\) and \(2, 5\)"),
        (lambda: metrics.kl(torch.zeros(5, 3), torch.zeros(3)), r"\(5, 3\) and \(3,\)"),
        (lambda: metrics.correlation(torch.rand(5, 3), torch.rand(1, 3)), r"\(5, 3\) and \(1, 3\)"),
        (lambda: metrics.excess_error(torch.rand(50, 1), torch.rand(50)), r"same D numbers, .* \(50, 1\) and \(50,\)"),
        (
            lambda: metrics.negative_log_score(torch.zeros(2, 3), torch.tensor([0, 1, 2])),
            r"\(3,\) labels for .* \(2, 3\)",
        ),
        (lambda: metrics.calibration_error(torch.eye(3), torch.tensor([0])), r"\(1,\) labels"),
        (lambda: metrics.reliability(torch.eye(3), torch.arange(3), bins=0), "bins must be 1 or more, but is 0"),
        (lambda: metrics.agreement(torch.eye(3), torch.full((3, 3), torch.nan)), "9 of the numbers are NaN"),
        (lambda: metrics.fitted_step_size(torch.full((2, 3), torch.nan), torch.zeros(2).long()), "6 of the numbers"),
        (lambda: metrics.calibration_error(torch.full((1, 3), torch.nan), torch.zeros(1).long()), "3 of the numbers"),
    ],
)
def test_what_does_not_belong_together_is_refused_and_not_stretched(asked, told):
    with pytest.raises(ValueError, match=told):
        asked()


def test_what_is_unknown_stays_unknown_in_the_kl():
    known = torch.tensor([[0.0, -torch.inf], [-0.7, -0.7]])
    assert metrics.kl(known, torch.log(torch.tensor([[0.5, 0.5], [0.5, 0.5]]))) == pytest.approx(0.343, abs=0.01)
    assert math.isnan(metrics.kl(torch.full_like(known, torch.nan), known))
    assert math.isnan(metrics.kl(known, torch.full_like(known, torch.nan)))


def test_a_curve_that_starts_at_infinity_is_down_where_it_is_finite():
    assert metrics.first_below(torch.tensor([0.0, 10, 20]), torch.tensor([math.inf, 2, 1]), 2.5) == 10


def test_fewer_blocks_than_a_run_reach_no_criterion():
    assert metrics.blocks_to_criterion(torch.zeros(2, 3), 1.0).tolist() == [math.inf] * 3
