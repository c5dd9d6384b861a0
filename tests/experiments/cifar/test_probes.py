from __future__ import annotations

import pytest
import torch

from gbi_helpers.experiments.cifar import probes
from gbi_helpers.models.hundred import class_means


@pytest.fixture(scope="module", name="slanted")
def a_hundred_long_clouds():
    """Classes apart by a little, in a direction in which pictures of one class scatter little; loud in the first."""
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(4000) % 100
    x = torch.randn(4000, 6, generator=draw)
    x[:, 1:] += 3 * torch.randn(100, 5, generator=draw)[y]
    x[:, 0] *= 30
    return (x[:2000], y[:2000]), (x[2000:], y[2000:])


def test_the_probe_is_not_deafened_by_a_loud_direction(slanted):
    (known, labels), (x, y) = slanted
    assert probes.discriminant_accuracy(known, labels, x, y) > 60
    assert probes.nearest_mean_accuracy(known, labels, x, y) < 20


def test_nearest_mean_is_the_nearest_of_the_class_means(slanted):
    (known, labels), (x, y) = slanted
    nearest = torch.cdist(x, class_means(known, labels)).argmin(1)
    assert probes.nearest_mean_accuracy(known, labels, x, y) == pytest.approx(
        100 * float((nearest == y).double().mean())
    )


def test_strong_directions_come_first(slanted):
    centre, directions = probes.strong_directions(slanted[0][0])
    assert abs(float(directions[0, 0])) > 0.99
    spread = ((slanted[0][0] - centre) @ directions).var(0)
    assert torch.equal(spread, spread.sort(descending=True).values)


def test_an_answer_has_settled_when_it_no_longer_changes():
    """Class 0 of group 0 leads first; class 2 from the second step on, its group of two from the third."""
    q = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.3, 0.3, 0.35, 0.05], [0.1, 0.1, 0.7, 0.1], [0.1, 0.1, 0.7, 0.1]])
    one, group = probes.settled(q[:, None], torch.tensor([0, 0, 1, 1]))
    assert (one.tolist(), group.tolist()) == ([1], [2])
    still = probes.settled(q[:1].expand(4, -1)[:, None], torch.tensor([0, 0, 1, 1]))
    assert [at.tolist() for at in still] == [[0], [0]]
