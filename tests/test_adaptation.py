"""Few gradient steps on many tasks at once: each its own, to first and to second order, and the rate that is chosen."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.adaptation import at_best_rate, descend, for_each, outer_loss, tried

F64 = torch.float64
GOAL = torch.tensor([[1.0, 2.0], [0.0, -1.0], [4.0, 4.0]], dtype=F64)


def to_goal(moved, goal=GOAL):
    return (moved["z"] - goal).square().sum(1) / 2


def test_each_task_descends_its_own_loss_as_far_as_the_rate_says():
    start = {"z": torch.zeros(3, 2, dtype=F64)}
    path = descend(to_goal, start, 0.25, 3)
    for steps, moved in enumerate(path):
        torch.testing.assert_close(moved["z"], (1 - 0.75**steps) * GOAL)
    alone = descend(lambda moved: to_goal(moved, GOAL[1:2]), {"z": start["z"][1:2]}, 0.25, 3)
    torch.testing.assert_close(alone[-1]["z"], path[-1]["z"][1:2])
    with pytest.raises(ValueError, match="0 or more"):
        descend(to_goal, start, 0.25, -1)


def learned(weight, through):
    """What a context learns for: the slope of the loss after two steps from 0 to what the loss depends on, a weight."""
    weight = torch.tensor(weight, dtype=F64, requires_grad=True)
    loss = lambda moved: (weight * moved["z"] - GOAL).square().sum(1)  # noqa: E731
    after = loss(descend(loss, {"z": torch.zeros(3, 2, dtype=F64)}, 0.1, 2, through)[-1]).sum()
    return float(after.detach()), float(torch.autograd.grad(after, weight)[0])


def test_through_the_steps_the_slope_is_that_of_the_loss_after_them():
    by_differences = (learned(0.7 + 1e-5, True)[0] - learned(0.7 - 1e-5, True)[0]) / 2e-5
    assert learned(0.7, True)[1] == pytest.approx(by_differences, rel=1e-6)
    assert learned(0.7, False)[0] == learned(0.7, True)[0]
    assert abs(learned(0.7, False)[1] - by_differences) > 0.1


def test_to_first_order_weights_learn_from_the_slope_at_their_end():
    weight = torch.tensor([0.5, -0.5], dtype=F64, requires_grad=True)
    path = descend(to_goal, {"z": for_each({"z": weight}, 3)["z"]}, 0.1, 2)
    (slope,) = torch.autograd.grad(to_goal(path[-1]).sum(), weight)
    torch.testing.assert_close(slope, (path[-1]["z"] - GOAL).sum(0))


def test_weights_without_a_gradient_move_too_and_stay_themselves():
    weight = torch.zeros(2, dtype=F64)
    moved = descend(to_goal, for_each({"z": weight}, 3), 1.0, 1)[-1]["z"]
    torch.testing.assert_close(moved, GOAL)
    assert not weight.any()


def test_a_rate_is_chosen_for_each_number_of_steps_on_validation_and_divergence_never_wins():
    start, rates = {"z": torch.zeros(3, 2, dtype=F64)}, (0.1, 1.0, 1e200)
    validation = tried(to_goal, to_goal, start, rates, (0, 1, 4))
    assert validation.shape == (3, 3, 3)
    assert validation[2, 2].isinf().all()
    test = tried(to_goal, lambda moved: to_goal(moved, GOAL / 10), start, rates, (0, 1, 4))
    score, best = at_best_rate(validation, test)
    assert best.tolist() == [0, 1, 1]
    torch.testing.assert_close(score, torch.stack([test[0, 0].mean(), test[1, 1].mean(), test[1, 2].mean()]))
    assert score[1] > test.mean(2)[0, 1]  # the rate that suits the test tasks best is not asked for


def test_who_is_told_names_learns_at_them_and_who_is_meta_trained_after_its_steps():
    names, start = torch.eye(3, 2, dtype=F64), {"z": torch.zeros(3, 2, dtype=F64)}
    begun = []

    def begin(moves):
        begun.append(moves)
        return start

    def of(told):
        return outer_loss(told, to_goal, lambda moved: 3 * to_goal(moved), names, begin, (0.25, 2))

    torch.testing.assert_close(of("names"), 2 * to_goal({"z": names}))
    torch.testing.assert_close(of("nothing"), 2 * to_goal({"z": torch.full_like(names, 0.5)}))
    assert begun == []
    for told in ("context", "weights"):
        torch.testing.assert_close(of(told), 3 * to_goal({"z": (1 - 0.75**2) * GOAL}))
    assert begun == ["z", "weights"]


@pytest.mark.parametrize(("told", "through"), [("context", True), ("weights", False)])
def test_a_context_is_trained_for_through_its_steps_and_weights_to_first_order(told, through):
    weight, start = torch.tensor(0.7, dtype=F64, requires_grad=True), {"z": torch.zeros(3, 2, dtype=F64)}
    loss = lambda moved: (weight * moved["z"] - GOAL).square().sum(1)  # noqa: E731
    after = outer_loss(told, loss, loss, GOAL, lambda moves: start, (0.1, 2)).sum()
    (slope,) = torch.autograd.grad(after, weight)
    assert (float(after.detach()), float(slope)) == pytest.approx(learned(0.7, through))


def test_a_rate_is_chosen_by_the_mean_of_the_tasks_and_not_by_the_worst():
    validation = torch.tensor([[[0.0, 5.0]], [[3.0, 3.0]]])  # two rates, after one number of steps, of two tasks
    score, best = at_best_rate(validation, 10 * validation)
    assert (score.tolist(), best.tolist()) == ([25], [0])


def test_what_was_tried_holds_no_graph():
    weight = torch.ones(1, dtype=F64, requires_grad=True)
    query = lambda moved: (weight * moved["z"]).sum(1)  # noqa: E731
    assert not tried(to_goal, query, {"z": torch.zeros(3, 2, dtype=F64)}, [0.1], [1]).requires_grad
