"""How long a study will take: by the record's own seconds, less what is measured, by the workers at hand."""

from __future__ import annotations

import importlib

import pytest
from counting import STUDY

from gbi_helpers.experiments import STUDIES, bench, estimate, needed
from gbi_helpers.experiments.estimate import Estimate, as_shipped, minutes_with
from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.runner import run


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTING", str(tmp_path))
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "cache"))
    bench._world.cache_clear()
    return tmp_path


SECONDS = {"fast": 60, "once": 120, "together": 30, "net a": 6, "net b": 6}


@pytest.fixture(autouse=True)
def shipped(monkeypatch):
    """A shipped record of three seeds: 480 seconds of rows, and 12 minutes in all, so 80 for each of three networks."""
    seeds = {"once": ["0"]}
    rows = {row: {seed: {"cpu_seconds": float(s)} for seed in seeds.get(row, "012")} for row, s in SECONDS.items()}
    record = Results("counting", rows, {}, {"minutes": 11.1}, {})
    monkeypatch.setattr(estimate, "shipped_results", lambda name: record if name == "counting" else None)
    monkeypatch.setattr(estimate, "seconds_of", lambda name: {row: float(s) for row, s in SECONDS.items()})
    return record


def test_an_empty_shelf_costs_what_the_record_says():
    found = estimate.estimate(STUDY, 3)
    # rows 3 * (60 + 30 + 6 + 6) + 120 = 426 s; 11.1 minutes are 666 s, the rest 240 s of three networks
    assert (found.record, found.left, found.total) == ("counting", 13, 13)
    assert found.minutes == pytest.approx(11.1)
    assert found.longest == pytest.approx(2.0)  # "once" and its two minutes


def test_fewer_seeds_and_rows_cost_less():
    assert estimate.estimate(STUDY, 1, ["fast"]).minutes == pytest.approx(1.0)
    assert estimate.estimate(STUDY, 2, ["net a", "net b"]).minutes == pytest.approx(2 * (6 + 6 + 80) / 60)


def test_what_lies_on_the_shelf_costs_nothing():
    run(STUDY, [0, 1], ["fast", "net a"])
    found = estimate.estimate(STUDY, 3, ["fast", "net a"])
    assert (found.left, found.total) == (2, 6)
    assert found.minutes == pytest.approx((60 + 6 + 80) / 60)  # its network, too, is trained for two seeds of three
    assert estimate.estimate(STUDY, 2, ["fast", "net a"]) == Estimate("counting", 0, 4)


def test_what_no_record_tells_is_not_made_up():
    found = estimate.estimate(STUDY, 1, variant="small")
    assert (found.left, found.minutes, found.longest) == (5, None, None)


def test_workers_share_the_minutes_but_not_the_longest_row():
    assert minutes_with(2, [Estimate("a", 8, 8, 8.0, 1.0)]) == 4.0
    assert minutes_with(100, [Estimate("a", 8, 8, 8.0, 1.0), Estimate("b", 1, 1, None, None)]) == 1.0


def test_rows_that_wait_for_data_are_named_and_not_counted(monkeypatch):
    monkeypatch.setattr(needed, "NEEDED", {"counting": {"net": "cifar-100"}})
    found = estimate.estimate(STUDY, 3)
    assert found.lacking == {"cifar-100": ["net a", "net b"]}
    assert (found.total, found.minutes) == (7, pytest.approx((3 * 90 + 120) / 60))


def test_an_unknown_row_or_size_is_told_with_the_choices():
    with pytest.raises(ValueError, match="has no row 'nothing': choose among fast"):
        estimate.estimate(STUDY, 1, ["nothing"])
    with pytest.raises(ValueError, match="has no size 'large': choose one of small"):
        estimate.estimate(STUDY, 1, variant="large")


@pytest.mark.parametrize("name", STUDIES)
def test_every_shipped_record_tells_how_long_it_took(name, monkeypatch):
    monkeypatch.undo()
    study = importlib.import_module(STUDIES[name]).STUDY
    for variant in [variant for variant in study.variants if variant != "small"]:
        found = as_shipped(study, variant)
        assert found.left == found.total > 0
        assert 0 < found.longest <= found.minutes
