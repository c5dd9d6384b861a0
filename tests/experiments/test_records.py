"""Every shipped record, opened by the one reader, has the values it was shipped with.

``frozen.json`` was made from the records as they lay before they got their present shape, without any of the package's
code: a digest of each row's values. Whoever measures a row again and ships it changes the digest with it, knowingly.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from gbi_helpers.experiments.results import load_results

FROZEN = json.loads((Path(__file__).parent / "frozen.json").read_text())


def digest(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


NAMED = {"cifar": "cifar100"}  # as they were when frozen, where that was another name


@pytest.mark.parametrize(
    "record", ["mnist_slice", "mnist_full", "ood", "cifar", "language_packages", "language_babylm"]
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
