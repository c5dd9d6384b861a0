"""Digit and place: what is held out, how far a drawing is from what it should be, and the rows, small."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.experiments.questions import composition, places
from gbi_helpers.experiments.results import plain
from gbi_helpers.models.factored import TwoFactors
from gbi_helpers.models.placed import Stamped


@pytest.mark.parametrize("name", places.ROWS)
def test_a_row_tells_of_seen_and_unseen_pairs(world, name):
    row = places.ROWS[name]
    found = plain(row.measure(world, 0, {**row.settings, **places.SMALL[name]}))
    assert {*places.SMALL[name]} <= {*row.settings}
    for pairs in ("seen", "unseen"):
        ways = [found[pairs]] if "classifier" in name else found[pairs].values()
        assert "classifier" in name or {*found[pairs]} == {*composition.PRICES}
        for way in ways:
            assert 0 <= way["both"] <= min(way["digit"], way["place"]) <= 100


def test_no_digit_is_shown_at_its_held_out_place_and_each_at_all_others():
    digit = torch.arange(10).repeat(100)
    x = torch.ones(1000, 1, 28, 28)
    images, place = places.shown(x, digit, 3, torch.Generator().manual_seed(0))
    pairs = set(zip(digit.tolist(), place.tolist(), strict=True))
    assert len(pairs) == 70
    assert not pairs & {(d, int(places.held_out(torch.tensor(d), 3))) for d in range(10)}
    at_first = images[place == 0][0, 0]
    torch.testing.assert_close(at_first[:14, :14], torch.ones(14, 14))
    assert at_first.sum() == pytest.approx(196, abs=1e-3)


def test_training_never_meets_a_held_out_pair(world, monkeypatch):
    met = set()
    plainly = places.at_places

    def noted(x, place):
        met.update(place.tolist())
        return plainly(x, place)

    monkeypatch.setattr(places, "at_places", noted)
    x, y = world.mnist.sets.train
    y = torch.full_like(y, 3)
    places.train_stamped(x, y, held=5, epochs=1, batch_size=64, width=8, seen=8, told=True, pooled=True)
    assert met == set(range(8)) - {(9 + 5) % 8}


def test_who_sets_one_drawing_everywhere_draws_a_pair_as_the_one_opposite():
    torch.manual_seed(0)
    x, digit, place = torch.rand(4, 1, 28, 28), torch.arange(4), torch.tensor([0, 3, 5, 6])
    told, plain_one = Stamped(told=True, width=12, latent=4, seen=4), TwoFactors("late", width=12, latent=4)
    assert places.elsewhere(told, x, digit, place) < 1e-3
    assert places.elsewhere(plain_one, x, digit, place) > 20
