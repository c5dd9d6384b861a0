"""Each measure says what its name promises, on units made by hand."""

import pytest
import torch

from gbi_helpers.metrics import blocks_to_criterion, by_block, excess_error
from gbi_helpers.modularity import module_of, overlap, selectivity, shared_ratio, task_variance, unit_order

SHARED = torch.tensor([[1.0, 0.5, 2.0, 0.3], [1.0, 0.5, 2.0, 0.3]])
APART = torch.tensor([[1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 2.0, 0.3]])


def test_overlap_is_one_for_shared_units_and_zero_for_modules():
    found = overlap(torch.stack([SHARED, APART]))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0]))
    half = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    assert float(overlap(half)) == pytest.approx(0.5)
    assert float(overlap(3 * half)) == pytest.approx(0.5)


def test_overlap_of_three_tasks_is_the_mean_over_pairs():
    drive = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    assert float(overlap(drive)) == pytest.approx(1 / 3)


def test_the_shared_ratio_moves_with_the_threshold_and_the_overlap_does_not():
    drive = torch.tensor([[1.0, 1.0, 0.2, 0.2], [1.0, 0.2, 1.0, 0.2]])
    assert float(shared_ratio(drive, 0.1)) == 1
    assert float(shared_ratio(drive, 0.3)) == pytest.approx(1 / 3)
    assert shared_ratio(torch.stack([SHARED, APART])).tolist() == [1, 0]


def test_the_shared_ratio_of_three_tasks_is_the_mean_over_pairs():
    drive = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert float(shared_ratio(drive)) == pytest.approx(1 / 3)


def test_active_is_what_is_loud_beside_the_loudest_of_all_tasks_not_of_its_own():
    assert float(shared_ratio(torch.tensor([[1.0, 1.0], [0.05, 0.05]]))) == 0


def test_silent_networks_give_numbers_and_not_nan():
    silent = torch.zeros(2, 2, 5)
    for found in (overlap(silent), shared_ratio(silent), selectivity(silent)):
        assert found.isfinite().all()
    assert (module_of(silent) == -1).all()


def test_task_variance_says_which_task_moves_a_unit():
    draw = torch.Generator().manual_seed(0)
    hidden = (
        torch.randn(3, 2, 4000, 4, generator=draw) * torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]])[:, None]
    )
    expected = torch.tensor([1.0, -1.0, 0.0, 0.0]).expand(3, 4)
    torch.testing.assert_close(task_variance(hidden), expected, rtol=0, atol=0.06)


def test_task_variance_holds_variances_against_each_other_and_not_their_roots():
    hidden = torch.tensor([[[0.0], [2.0]], [[0.0], [1.0]]])  # variances 2 and 1/2
    assert task_variance(hidden).tolist() == pytest.approx([(2 - 0.5) / (2 + 0.5)])


def test_selectivity_among_three_tasks_holds_the_best_against_the_mean_of_the_others():
    drive = torch.tensor([[0.9], [0.2], [0.4]])
    assert selectivity(drive).tolist() == pytest.approx([(0.9 - 0.3) / (0.9 + 0.3)])


def test_modules_are_the_selective_units_that_are_not_silent():
    drive = torch.tensor([[1.0, 0.1, 0.5, 0.001], [0.1, 1.0, 0.5, 0.0]])
    assert module_of(drive).tolist() == [0, 1, -1, -1]
    assert selectivity(drive)[2] == 0


def test_how_selective_a_unit_of_a_module_must_be_can_be_told():
    drive = torch.tensor([[1.0], [0.5]])  # selective by a third
    assert [module_of(drive, least).tolist() for least in (0.3, 0.4)] == [[0], [-1]]
    assert module_of(drive).tolist() == [-1]


def test_units_are_ordered_from_the_first_task_over_shared_ones_to_the_last():
    drive = torch.tensor([[0.5, 0.0, 1.0, 0.9, 0.1], [0.55, 1.0, 0.0, 0.1, 0.9]])
    assert unit_order(drive).tolist() == [2, 3, 0, 4, 1]


def test_excess_error_leaves_out_the_noise():
    mean = torch.full((1000, 2), 0.4)
    noisy = mean + 0.3 * torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    assert excess_error(mean, mean).max() == 0
    assert float(excess_error(noisy, mean).mean()) == pytest.approx(0.09, rel=0.1)


def test_blocks_are_averaged_and_the_first_may_be_short():
    values = torch.arange(2, 12.0)[:, None]  # blocks 2..3 (two skipped), 4..7, 8..11
    assert by_block(values, 4, skipped=2)[:, 0].tolist() == [2.5, 5.5, 9.5]
    with pytest.raises(ValueError, match="whole number of blocks"):
        by_block(values, 4)


def test_blocks_to_criterion_waits_for_a_run_of_good_blocks():
    lucky = torch.tensor([9.0, 0.0, 9.0, 9.0, 9.0, 9.0, 9.0])
    good = torch.tensor([9.0, 9.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    found = blocks_to_criterion(torch.stack([lucky, good], 1), criterion=2.0)
    assert found.tolist() == [float("inf"), 5]
