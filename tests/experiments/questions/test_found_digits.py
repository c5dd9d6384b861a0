"""Streams of digits changed by a task, a network that reads them with a z, and every row in small."""

from __future__ import annotations

import functools
import json

import pytest
import torch

from gbi_helpers.experiments.questions import found_digits, time_rivals
from gbi_helpers.experiments.results import plain
from gbi_helpers.models.gated import GatedMLP

SIZES = {"rows": 3, "length": 40, "tasks": 4, "hazard": 0.2}
DRAW = torch.Generator().manual_seed(0)
IMAGES = torch.rand(150, 1, 28, 28, generator=DRAW), torch.randint(10, (150,), generator=DRAW)


def made(kind, seed=0):
    return found_digits.digits(IMAGES, kind, SIZES, seed)


def test_pixels_are_reordered_alike_within_a_task_and_labels_called_alike():
    plain_images = made("relabelled")
    moved = made("permuted")
    assert torch.equal(moved.task, plain_images.task)
    assert torch.equal(moved.x.sort(-1).values, plain_images.x.sort(-1).values)
    for task in range(4):
        here = moved.task == task
        first, other = plain_images.x[here], moved.x[here]
        order = (first[0, None, :] == other[0, :, None]).int().argmax(1)
        assert torch.equal(first[:, order], other)
        pairs = {(int(a), int(b)) for a, b in zip(moved.y[here], plain_images.y[here], strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_turned_digits_are_turned_by_even_angles():
    whole, upright = made("rotated"), made("relabelled")
    half = whole.task == 2
    around = upright.x[half].view(-1, 28, 28).flip(1, 2).flatten(1)
    torch.testing.assert_close(whole.x[half], around, atol=1e-4, rtol=0)


def test_no_image_comes_twice_and_too_few_are_said():
    rows = made("relabelled").x.flatten(0, 1)
    assert len(rows.unique(dim=0)) == len(rows)
    with pytest.raises(ValueError, match="need 120 images, but there are 100"):
        found_digits.digits((IMAGES[0][:100], IMAGES[1][:100]), "rotated", SIZES, 0)


def test_a_network_that_is_told_how_labels_are_called_reads_better():
    """The image is its label, one pixel each; two tasks shift it."""
    y = torch.randint(10, (4, 300), generator=DRAW)
    task = torch.randint(2, (4, 300), generator=DRAW)
    stream = found_digits.Digits(torch.eye(10)[y], (y + 3 * task) % 10, task)

    def right(z):
        torch.manual_seed(0)
        return found_digits.read(stream, z, z, GatedMLP((10, 64, 10), z.shape[-1], 0.5), lr=0.01)

    assert right(torch.eye(2)[task]) > right(torch.full((4, 300, 2), 0.5)) + 20


def test_main_components_are_those_of_the_first_half():
    x = torch.randn(2, 20, 6, generator=DRAW)
    later = x.clone()
    later[:, 10:] *= torch.tensor([9.0, 1, 1, 1, 1, 1])
    torch.testing.assert_close(found_digits.main(later, 3)[:, :10], found_digits.main(x, 3)[:, :10])


def test_a_markov_model_chooses_how_to_see_by_held_out_streams_and_never_by_the_tasks():
    """Four tasks, far apart; one way sees them, the other sees noise, which is less likely."""
    task, wrong = (torch.randint(4, (4, 60), generator=DRAW) for _ in range(2))
    told = 5 * torch.eye(4)[task].double() + 0.3 * torch.randn(4, 60, 4, generator=DRAW)
    data = {0.1: told, 0.3: 20 * torch.randn(4, 60, 4, generator=DRAW).double()}
    starts = found_digits.begun(told, {"k": 4, "keep": 0.0, "keeps": [0.9], "starts": 3}, seed=0)

    def fit(share):
        return functools.partial(time_rivals.shaped_hmm, share=share, rounds=3)

    true, other = (
        found_digits.chosen(found_digits.Digits(told, names, names), data, fit, starts) for names in (task, wrong)
    )
    assert (true["way"], other["way"]) == (0.1, 0.1)
    assert true["one_to_one"] > 95 > 50 > other["one_to_one"]
    assert true["likeliest"]["one_to_one"] > 95


@pytest.mark.parametrize("name", found_digits.ROWS)
def test_every_row_is_measured_in_small(name, world):
    row = found_digits.ROWS[name]
    kept = json.loads(json.dumps(plain(row.measure(world, 0, {**row.settings, **found_digits.SMALL[name]}))))
    assert 0 <= kept["one_to_one"] <= kept["many_to_one"] <= 100
    if row.settings.get("read"):
        assert {*kept["accuracy"]} == {"discovered", "true", "none"}
