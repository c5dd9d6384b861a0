"""The toy study: every row measures in little, the shipped record says what the chapters do, and can be made again."""

import dataclasses

import pytest
import torch

from gbi_helpers.data.toy import switching_stream
from gbi_helpers.experiments.bench import Bench
from gbi_helpers.experiments.results import load_results, plain
from gbi_helpers.experiments.runner import run
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import SMALL
from gbi_helpers.experiments.toy.measures import World
from gbi_helpers.experiments.toy.recipes import train
from gbi_helpers.experiments.toy.study import STUDY

pytestmark = pytest.mark.xdist_group("toy")  # two seeds are measured once, for all tests

ASKED_LATER = {"learning/GBI recurrent": "overlap", "judged/GBI post": "filter", "linear readout": "one step"}


@pytest.fixture(scope="module", name="small")
def all_rows_in_little(little):
    return run(STUDY, [0], variant=SMALL, shelf=little(STUDY))


@pytest.fixture(scope="module", name="shipped")
def what_is_shipped():
    return load_results("toy")


def shape(found):
    """The names inside, by which one row is told from another."""
    return {k: shape(v) for k, v in found.items() if "seconds" not in k} if isinstance(found, dict) else None


@pytest.mark.slow
def test_every_row_measures_what_the_shipped_record_holds(small, shipped):
    assert list(small.rows) == list(shipped.rows) == list(STUDY.rows)
    for row in set(small.rows) - {"learning/LSTM, 128 units"}:  # of which curves alone were shipped
        assert shape(small.first(row)) == shape(shipped.first(row)), row
        assert set(small.settings[row]) == set(shipped.settings[row]), row
    assert {row for row, by_seed in shipped.rows.items() if set(by_seed) == {"0"}} == {"penalties", "exact filter"}


@pytest.fixture(scope="module", name="two")
def three_rows_of_two_seeds_in_one_pass(tmp_path_factory):
    shelf = Shelf(tmp_path_factory.mktemp("toy"))
    return shelf, run(STUDY, [0, 1], list(ASKED_LATER), variant=SMALL, shelf=shelf)


@pytest.mark.slow
def test_seeds_that_lie_on_the_shelf_are_not_measured_again(two, monkeypatch):
    monkeypatch.setattr(Bench, "keep", lambda *a: pytest.fail("measured again"))
    shelf, both = two
    fewer = run(STUDY, [0], list(ASKED_LATER), variant=SMALL, shelf=shelf)
    assert fewer.rows == {row: {"0": by_seed["0"]} for row, by_seed in both.rows.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("row", "score"), ASKED_LATER.items())
def test_a_seed_asked_for_later_finds_its_own_windows(two, row, score):
    measured = plain(STUDY.rows[row].measure(World(), [1], STUDY.settings(row, SMALL)))
    assert set(measured) == {"1"}
    assert measured["1"][score] == pytest.approx(two[1].rows[row]["1"][score], rel=1e-3)


def test_the_shipped_record_can_be_made_again(shipped):
    whole = switching_stream(20, blocks=100, block=50)
    start = dataclasses.replace(whole, x=whole.x[:, :150], context=whole.context[:, :150])
    there = shipped.values("learning/GBI post", "excess").T.float()
    torch.testing.assert_close(train(start, "post").blocks(), there[:3], rtol=0, atol=1e-3)


def test_the_shipped_record_holds_what_the_chapters_say(shipped):
    assert shipped.seeds() == 20
    assert shipped.mean("judged/GBI post", "filter", "kl") <= 0.006
    assert shipped.mean("judged/GBI post", "filter", "r") >= 0.99
    assert shipped.values("adapted/GBI post", "free").mean(0).max() <= 0.005
    gbi, lstm = (f"forgetting/{name}, 10 blocks of 200" for name in ("GBI post", "LSTM"))
    given = shipped.mean(gbi, "given, previous")
    assert shipped.mean(gbi, "inferred, previous") <= 1.5 * given
    assert shipped.mean(lstm, "given, previous") >= 8 * given
    assert all(shipped.values(row, "bounds broken").sum() == 0 for row in shipped.rows if row.startswith("theory/"))


@pytest.mark.parametrize("length", ["40 blocks of 25", "100 blocks of 50", "25 blocks of 200"])
def test_of_the_lstm_s_error_some_is_order_and_some_remains_with_nothing_to_forget(shipped, length):
    row = f"order/LSTM, {length}"
    order = shipped.paired((row, "as they came", "excess"), (row, "shuffled", "excess"))
    rest = shipped.paired((row, "shuffled", "excess"), (row, "filter"))
    assert order.low > 0.003
    assert rest.low > 0.003
    assert shipped.paired((row, "as they came", "other"), (row, "as they came", "last")).low > 0.02


def test_a_criterion_that_was_never_met_is_infinite(shipped):
    assert shipped.values("learning/LSTM", "blocks to .01").isinf().any()
