"""A random part of the training images, for each seed another."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.experiments.cifar import study
from gbi_helpers.experiments.cifar.measure import Labels
from gbi_helpers.experiments.cifar.parts import discriminants_of_part, part_of
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import ALL, SMALL

SETTINGS = {
    "share": 0.9,
    "validation": 30,
    "test": 20,
    "view": "pixel_discriminants",
    "views": study.STUDY.variants[SMALL][ALL]["views"],
}


@pytest.fixture(name="world", scope="module")
def a_little(tmp_path_factory):
    return study.opened(Shelf(tmp_path_factory.mktemp("shelf")), SMALL)


def test_a_part_is_drawn_by_the_seed_and_the_other_splits_are_not(world):
    labels = Labels.of(world.data)
    one, same, other = (part_of(labels, seed, SETTINGS) for seed in (0, 0, 1))
    assert [len(part) for part in one] == [360, 30, 20]
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])
    assert torch.equal(one[2], other[2])


def test_discriminants_stand_beside_their_own_classes(world):
    (x, y), _, (seen, labels) = discriminants_of_part(world, 0, {**SETTINGS, "share": 1.0})
    assert x.shape == (400, 99)
    assert seen.shape == (20, 99)
    assert torch.equal(labels, world.data.test.y[:20])
    means = torch.stack([x[y == k].mean(0) for k in range(100)])
    near = torch.cdist(x, means).argmin(1)
    assert (near == y).double().mean() > 0.3  # by chance .01
