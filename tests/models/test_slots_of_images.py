"""What slots of images say and lose, beside the same written out."""

from __future__ import annotations

import torch
from torch.nn import functional

from gbi_helpers.models.gated import GatedMLP
from gbi_helpers.models.slots_of_images import Answers, Pictures

PURE = torch.eye(3).expand(2, -1, -1)
DRAW = torch.Generator().manual_seed(0)
X, Y = torch.rand(2, 5, 12, generator=DRAW), torch.randint(4, (2, 5), generator=DRAW)


def test_an_image_costs_the_coins_of_its_pixels_at_each_slot():
    read = Pictures(X, slots=3, seed=1, start=1.0)
    assert (read.rows, read.slots, len(read)) == (2, 3, 5)
    loss = read.loss(read.says(read.given(2), PURE), 2)
    for slot in range(3):
        chance = (read.bias + read.entry[slot]).sigmoid().expand_as(X[:, 2])
        expected = functional.binary_cross_entropy(chance, X[:, 2], reduction="none").sum(-1)
        torch.testing.assert_close(loss[:, slot], expected)


def test_before_slots_differ_each_is_the_mean_picture():
    read = Pictures(X, slots=3, start=0.0)
    torch.testing.assert_close(read.says(read.given(0), PURE)[0, 1].sigmoid(), X.mean((0, 1)))


def test_an_answer_costs_the_label_at_each_z_of_the_network():
    model = GatedMLP((12, 8, 4), 3, off=0.5, seed=0)
    read = Answers(model, X, Y)
    loss = read.loss(read.says(read.given(3), PURE), 3)
    assert loss.shape == (2, 3)
    for slot in range(3):
        torch.testing.assert_close(
            loss[:, slot], functional.cross_entropy(model(X[:, 3], PURE[:, slot]), Y[:, 3], reduction="none")
        )
