from __future__ import annotations

import pytest
import torch

from gbi_helpers.experiments.continual import tables
from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.tables import sampling_error


@pytest.fixture(name="results")
def two_orders():
    r = [[99.0, -1.0], [50.0, 98.0]]
    by_seed = {"0": {"accuracy": 74.0, "r": r}, "1": {"accuracy": 76.0, "r": r}}
    swept = {s: {**v, "test": [70.0, 74.0], "learned": [90.0, 91.0]} for s, v in by_seed.items()}
    rows = {"pixels/class/fine_tuning": by_seed, "pixels/class/ewc": swept}
    settings = {"pixels/class/fine_tuning": {}, "pixels/class/ewc": {"sweep": [1.0, 100.0]}}
    return Results("continual", rows, settings, {}, {name: name.rsplit("/", 1)[1] for name in rows})


def test_an_interval_counts_the_test_images_too(results):
    value = results.summary("pixels/class/ewc", "accuracy")
    wider = tables.widened(value)
    assert wider.mean == value.mean
    assert wider.half_width == pytest.approx((value.half_width**2 + sampling_error(75, 10_000) ** 2) ** 0.5)
    assert tables.widened(value, tested=100).half_width > wider.half_width


def test_contexts_to_come_have_no_accuracy(results):
    r = tables.r_of(results, "pixels/class/ewc")
    torch.testing.assert_close(r, torch.tensor([[99.0, torch.nan], [50.0, 98.0]]).double(), equal_nan=True)


def test_what_was_not_measured_is_a_dash(results):
    header, rows = tables.methods(results, "pixels")
    assert [row[0] for row in rows] == ["fine_tuning", "ewc"]
    assert header[2:] == ["task", "recalled", "domain", "recalled", "class", "recalled", "class, own outputs compete"]
    assert rows[1][2::2] == ["–", "–", "75.0 ± 12.7", "–"]
    assert tables.told(results, "never/measured") == "–"


def test_a_sweep_is_told_by_seed_and_strength(results):
    strengths, accuracy, learned = tables.swept(results, "pixels/class/ewc")
    assert strengths == [1.0, 100.0]
    assert accuracy.tolist() == [[70.0, 74.0]] * 2
    assert learned.shape == (2, 2)


def test_the_worst_and_the_best_order_are_named(results):
    assert tables.extremes(results, "pixels/class/ewc") == (74.0, 76.0)


def test_bytes_are_told_in_megabytes():
    assert tables.bytes_told(784_000) == "0.78 MB"
    assert tables.bytes_told(50) == "50 B"
