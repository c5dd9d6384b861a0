"""Two factors: what is held out, how both are read from one z, and the rows, small."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.experiments.questions import composition
from gbi_helpers.experiments.results import plain
from gbi_helpers.models.factored import TwoFactors


@pytest.mark.parametrize("name", composition.ROWS)
def test_a_row_tells_of_seen_and_unseen_pairs(world, name):
    row = composition.ROWS[name]
    found = plain(row.measure(world, 0, {**row.settings, **composition.SMALL[name]}))
    assert {*composition.SMALL[name]} <= {*row.settings}
    for pairs in ("seen", "unseen"):
        ways = [found[pairs]] if "classifier" in name else found[pairs].values()
        assert "classifier" in name or {*found[pairs]} == {*composition.PRICES}
        for way in ways:
            assert 0 <= way["both"] <= min(way["digit"], way["angle"]) <= 100


def test_hits_are_counted_for_each_pair_and_add_up_to_all():
    digit, angle = torch.tensor([3, 3, 3, 7]), torch.tensor([1, 1, 5, 0])
    scores = torch.zeros(4, 10, 8)
    scores[torch.arange(4), digit, torch.tensor([1, 2, 5, 1])] = 1
    table = torch.tensor(composition.right_by_pair(scores, digit, angle))
    assert (table[3, 1], table[3, 5], table[7, 0]) == (50, 100, 0)
    assert (table < 0).sum() == 77
    assert composition.right(scores, digit, angle)["both"] == 50


def test_no_digit_is_shown_at_its_held_out_angle_and_each_at_all_others():
    digit = torch.arange(10).repeat(300)
    for seed in range(3):
        _, angle = composition.shown(torch.zeros(3000, 1, 2, 2), digit, seed, torch.Generator().manual_seed(0))
        pairs = set(zip(digit.tolist(), angle.tolist(), strict=True))
        never = {(d, int(composition.held_out(torch.tensor(d), seed))) for d in range(10)}
        assert len(pairs) == 70
        assert not pairs & never


def test_training_never_meets_a_held_out_pair(world, monkeypatch):
    met = set()
    plainly = composition.at

    def noted(x, angle):
        met.add(tuple(angle.tolist()))
        return plainly(x, angle)

    monkeypatch.setattr(composition, "at", noted)
    x, y = world.mnist.sets.train
    y = torch.full_like(y, 3)
    composition.train_factored(x, y, held=5, epochs=1, batch_size=64, width=8, order="late")
    assert {angle for batch in met for angle in batch} == set(range(8)) - {(9 + 5) % 8}


class Additive:
    """A loss without interaction: which digit and which angle is known from one gradient."""

    def __init__(self, n=40):
        draw = torch.Generator().manual_seed(0)
        self.costs = torch.randn(n, 18, generator=draw, dtype=torch.float64)

    def __call__(self, z):
        return (z * self.costs).sum(1)


def test_without_interaction_all_ways_agree():
    loss = Additive()
    z0 = composition.starts(40, loss.costs)
    exact = composition.all_pairs(loss, z0)
    ways = {name: getattr(composition, name)(loss, z0) for name in ("in_one_step", "in_turn", "at_each_angle")}
    for name, scores in ways.items():
        assert (scores.flatten(1).argmax(1) == exact.flatten(1).argmax(1)).all(), name
    torch.testing.assert_close(ways["at_each_angle"], exact)
    assert exact[2, 3, 4] == -(loss.costs[2, 3] + loss.costs[2, 14])


def test_a_gradient_at_each_angle_knows_an_interaction_and_one_gradient_does_not():
    draw = torch.Generator().manual_seed(1)
    table = torch.randn(40, 10, 8, generator=draw, dtype=torch.float64)
    loss = lambda z: torch.einsum("nda,nd,na->n", table, z[:, :10], z[:, 10:])  # noqa: E731
    z0 = composition.starts(40, table)
    exact = composition.all_pairs(loss, z0)
    torch.testing.assert_close(exact, -table)
    torch.testing.assert_close(composition.at_each_angle(loss, z0), exact)
    wrong = composition.in_one_step(loss, z0).flatten(1).argmax(1) != exact.flatten(1).argmax(1)
    assert wrong.double().mean() > 0.3


def test_of_few_pairs_the_exact_best_is_named_where_it_is_among_them():
    exact = -(torch.arange(80.0) - 37).square().view(1, 10, 8)
    rough = torch.zeros(1, 10, 8)
    rough[0, 4, 5] = 1.0
    found = composition.few_pairs(rough, exact, each=3)
    assert int(found.isfinite().sum()) == 9
    assert int(found.flatten().argmax()) == 37


def test_known_turns_draw_a_pair_as_the_one_half_a_turn_away():
    torch.manual_seed(0)
    x, digit, angle = torch.rand(4, 1, 28, 28), torch.arange(4), torch.tensor([0, 3, 5, 7])
    known, learned = (TwoFactors(order, width=12, latent=4, canvas=6) for order in ("turned", "repeated"))
    assert composition.half_turn(known, x, digit, angle) < 1e-3
    assert composition.half_turn(learned, x, digit, angle) > 20
