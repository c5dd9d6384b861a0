"""Every shipped record, opened by the one reader, has the values it was shipped with.

``frozen.json`` was made from the records as they lay before they got their present shape, without any of the package's
code: a digest of each row's values. Whoever measures a row again and ships it changes the digest with it, knowingly.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from gbi_helpers.experiments.results import Results, load_results

FROZEN = json.loads((Path(__file__).parent / "frozen.json").read_text())


def digest(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


NAMED = {"cifar": "cifar100"}  # as they were when frozen, where that was another name


@pytest.mark.parametrize(
    "record", ["mnist_slice", "mnist_full", "ood", "cifar", "language_packages", "language_babylm", "toy"]
)
def test_every_value_is_the_one_that_was_shipped(record):
    results, frozen = load_results(record), FROZEN[NAMED.get(record, record)]
    assert {row: digest(results.rows[row]) for row in frozen} == frozen
    assert set(results.rows) == set(results.settings) == set(results.words)


def test_the_prices_of_a_step_are_those_that_were_shipped():
    assert digest(load_results("cifar").first("prices", "prices")) == FROZEN["cifar100 prices"]


def test_the_reader_returns_what_the_file_holds():
    results = load_results("mnist_slice")
    by_seed = results.rows["faithful"]
    assert results.values("faithful", "one_step").tolist() == [by_seed[str(seed)]["one_step"] for seed in range(5)]
    assert results.summary("faithful", "one_step").mean == pytest.approx(
        np.mean([found["one_step"] for found in by_seed.values()])
    )


# ---------------------------------------------------------------- toy: two records that became one

TOY_ROWS = {"learning": "learning/", "learning, quick": "quick/", "theory": "theory/"}  # "forgetting" was measured anew


def toy_measured(toy, section, row, *score):
    """An array of the record that the toy chapters once had, with its axes: the seed last, but first of a lesion."""
    if row == "floors":
        return toy.first("exact filter", "long" if section == "learning" else "quick", *score)
    if row == "penalties":
        return toy.first("penalties", *score)
    name = "linear readout" if row.startswith("linear") else TOY_ROWS.get(section, "frozen/") + row
    values = toy.values(name, *(score if section in TOY_ROWS else (section, *score))).numpy()
    if score == ("bounds broken",):
        return values.sum()  # of all seeds
    return values if score == ("lesion",) else np.moveaxis(values, 0, -1)


def toy_learning(toy):
    """The arrays that notebook 02 once read: 32 bits, of which the record has the shortest decimals."""
    networks, compared = toy.facts["learning"]["networks"], ("LSTM", "GBI post", "GBI concat")

    def seed_last(rows, score):
        return np.stack([np.moveaxis(toy.values(row, score).numpy(), 0, -1) for row in rows])

    found = {
        **{curve: seed_last([f"learning/{n}" for n in networks], curve) for curve in ("excess", "absolute", "place")},
        "rate": seed_last([f"rates/{name}" for name in compared], "excess").swapaxes(0, 1),
        "length": seed_last([f"lengths/{name}" for name in compared], "excess").swapaxes(0, 1),
        "share": seed_last(["shares/GBI post"], "excess")[0],
        "filter_place": np.array(toy.first("exact filter", "place")),
        "length_floor": np.array(toy.first("exact filter", "lengths")),
    }
    return {name: values.astype(np.float32) for name, values in found.items()}


def array_digest(values):
    values = np.asarray(values, np.float64)
    return [list(values.shape), hashlib.sha256(values.tobytes()).hexdigest()[:16]]


def test_every_value_of_the_two_toy_records_is_in_the_one():
    toy = load_results("toy")
    measured = {name: array_digest(toy_measured(toy, *name.split(" | "))) for name in FROZEN["toy_measured"]}
    assert measured == FROZEN["toy_measured"]
    assert {name: array_digest(array) for name, array in toy_learning(toy).items()} == FROZEN["toy_learning"]
    assert (len(FROZEN["toy_measured"]), len(FROZEN["toy_learning"])) == (629, 8)
    assert toy.facts["learning"]["filter_excess"] == 0.017276279628276825


def test_the_toy_record_holds_nothing_else():
    toy = load_results("toy")
    arrays = [*FROZEN["toy_measured"].values(), *FROZEN["toy_learning"].values()]
    broken_bounds = 9 * 19  # counts: one for each of 20 seeds, where there was one in all

    def size(found):
        inner = found.values() if isinstance(found, dict) else found
        return sum(map(size, inner)) if isinstance(found, dict | list) else 1

    moved = {row: found for row, found in toy.rows.items() if row not in FROZEN["toy"]}  # the others came later
    assert size(moved) == sum(int(np.prod(shape)) for shape, _ in arrays) + broken_bounds
    assert set(toy.rows) == set(toy.settings) == set(toy.words)


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
