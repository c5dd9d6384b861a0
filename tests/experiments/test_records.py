"""Every shipped record as the one reader opens it, and the pairs and single numbers that it gives.

Who ships a record changes its digest in ``manifest.json``; the file is read against it.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from gbi_helpers.experiments import tables
from gbi_helpers.experiments.paper import Reported
from gbi_helpers.experiments.results import Results, load_results, plain
from gbi_helpers.files import load_asset, manifest
from gbi_helpers.metrics import Summary

RECORDS = sorted(Path(name).stem for name in manifest() if name.startswith("records/") and name.endswith(".json"))


@pytest.mark.parametrize("record", RECORDS)
def test_the_reader_returns_what_the_file_holds(record):
    stored = json.loads(load_asset(f"records/{record}.json").read_text(encoding="utf-8"))
    results = load_results(record)
    assert results.rows == plain(stored["rows"])
    assert set(results.rows) == set(results.settings) == set(results.words)


def test_a_summary_is_of_all_seeds():
    results = load_results("mnist_slice")
    by_seed = results.rows["faithful"]
    assert results.values("faithful", "one_step").tolist() == [by_seed[str(seed)]["one_step"] for seed in range(5)]
    assert results.summary("faithful", "one_step").mean == pytest.approx(
        np.mean([found["one_step"] for found in by_seed.values()])
    )


# ---------------------------------------------------------------- pairs, and numbers of a list

MADE = {
    "five": {"0": {"x": 1.0, "list": [1, 2]}, "1": {"x": 3.0, "list": [3, 4]}},
    "same": {"0": {"x": 0.0}, "1": {"x": 1.0}},
    "once": {"0": {"x": 1.0}},
    "others": {"1": {"x": 0.0}, "2": {"x": 1.0}},
    "more": {str(seed): {"x": 0.0} for seed in range(3)},
}


def test_pairs_are_of_the_same_seeds_or_against_a_constant():
    results = Results("made", MADE, {}, {}, {})
    assert results.paired(("five", "x"), ("same", "x")).mean == 1.5
    assert (results.paired(("five", "x"), ("once", "x")).mean, results.paired(("once", "x"), ("five", "x")).n) == (1, 2)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (("others", "x"), "'five' and 'others' were not measured for the same seeds"),
        (("more", "x"), "'five' and 'more' were not measured for the same seeds"),
        (("five", "list"), "'five' has a list of numbers there: only one number of each seed can be paired"),
    ],
)
def test_what_is_no_pair_is_refused(other, told):
    with pytest.raises(ValueError, match=told):
        Results("made", MADE, {}, {}, {}).paired(("five", "x"), other)


@pytest.mark.parametrize(
    ("path", "at", "told"),
    [("x", 0, "has one number there, and no list: leave out at=0"), ("list", 2, "choose one with at=0 to 1")],
)
def test_a_number_that_no_list_has_is_refused(path, at, told):
    results = Results("made", MADE, {}, {}, {})
    assert results.summary("five", "list", at=1).mean == results.summary("five", "list", at=-1).mean == 3
    with pytest.raises(ValueError, match=told):
        results.summary("five", path, at=at)


def test_numbers_of_a_list_of_lists_are_no_seeds():
    nested = Results("made", {"a": {str(s): {"r": [[1.0, 2.0], [3.0, 4.0]]} for s in range(3)}}, {}, {}, {})
    with pytest.raises(ValueError, match="'a' has a list of lists there"):
        nested.summary("a", "r", at=0)


def test_a_single_seed_has_the_interval_of_its_samples_and_no_verdict_without_one():
    single = Summary(90.0, math.nan, math.nan, 1)
    assert tables.interval(single, 1) == "90.0"
    assert tables.interval(tables.with_samples(single, 2_000), 1) == "90.0 ± 1.3"
    told = Reported("mnist", "faithful", ("one_step",), "one step", 90.0, "stated")
    assert (told.held_against(90.0, math.nan), told.held_against(90.0, 1.0)) == ("open", "agrees")
