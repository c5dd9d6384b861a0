"""What moved: values paired by seed, with their interval; what a clock said apart."""

import math
from collections import Counter

import pytest

from gbi_helpers.experiments.moved import (
    ALONE,
    EQUAL,
    INSIDE,
    OUTSIDE,
    ROUNDED,
    UNPAIRED,
    VERDICTS,
    WORDS,
    compare,
    is_time,
    verdict,
)
from gbi_helpers.experiments.results import Results, load_results


def results(**rows):
    """A record whose rows have a list of what each seed measured."""
    by_seed = {row: {str(seed): found for seed, found in enumerate(each)} for row, each in rows.items()}
    return Results("record", by_seed, {}, {}, {})


def numbers(row="row", **metrics):
    """The same of one row, from a list over seeds for each metric."""
    seeds = range(len(next(iter(metrics.values()))))
    return results(**{row: [{name: values[seed] for name, values in metrics.items()} for seed in seeds]})


def the_one(shipped, measured):
    (value,) = compare(shipped, measured).values
    return value


@pytest.mark.parametrize(
    ("shipped", "measured", "told"),
    [
        ([1.0, 2.0], [1.0, 2.0], EQUAL),
        ([0.018534, 2.0], [0.0185338, 2.00001], ROUNDED),  # the oldest records have five digits
        ([0.018534, 2.0], [0.0185325, 2.0], INSIDE),
        ([1e-9, 3e-12], [2e-8, 0.0], ROUNDED),  # what is left of 1 in single precision
        ([1.0, 2.0, 3.0], [1.1, 1.9, 3.0], INSIDE),
        ([1.0, 2.0, 3.0], [1.1, 2.1, 3.11], OUTSIDE),
        ([1.0, 2.0], [1.5, 2.5], OUTSIDE),  # the same in each seed: no interval is narrower
        ([1.0], [1.5], ALONE),
        ([math.inf, 2.0], [math.inf, 2.0], EQUAL),
        ([math.inf, 2.0], [3.0, 2.0], ALONE),
        ([True, False], [True, True], INSIDE),
        (["a", "b"], ["a", "c"], WORDS),
        (["a", "b"], ["a", "b"], EQUAL),
        (["a", "b"], [1.0, 2.0], WORDS),  # a name where a number was
    ],
)
def test_a_value_has_one_verdict(shipped, measured, told):
    assert verdict(list(zip(shipped, measured, strict=True))) == told
    assert told in VERDICTS


def test_the_paired_difference_is_told_with_its_interval():
    value = the_one(numbers(score=[1.0, 2.0, 30.0]), numbers(score=[1.5, 2.4, 30.6]))
    assert (value.row, value.metric, value.verdict) == ("row", "score", OUTSIDE)
    assert (value.shipped, value.measured) == pytest.approx((11.0, 11.5))
    # by hand: differences .5, .4, .6 with sd .1, Student's t of 2 degrees of freedom 4.303
    assert value.difference.mean == pytest.approx(0.5)
    assert value.difference.half_width == pytest.approx(4.303 * 0.1 / math.sqrt(3), rel=1e-3)


def test_of_words_that_moved_a_seed_is_shown_in_which_they_did():
    value = the_one(numbers(named=["a", "b", "c"]), numbers(named=["a", "d", "e"]))
    assert (value.verdict, value.shipped, value.measured) == (WORDS, "b", "d")


def test_only_seeds_that_both_have_are_paired():
    value = the_one(numbers(score=[1.0, 2.0, 3.0]), numbers(score=[1.0, 2.0]))
    assert (value.verdict, value.difference.n) == (EQUAL, 2)


def test_of_a_list_the_number_that_moved_most_is_told_and_each_is_counted():
    shipped = numbers(curve=[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    found = compare(shipped, numbers(curve=[[1.0, 2.5, 3.1], [1.0, 2.5, 3.1]]))
    (value,) = found.values
    assert (value.metric, value.at, value.n, value.verdict) == ("curve", "1", 3, OUTSIDE)
    assert value.difference.mean == pytest.approx(0.5)
    assert found.counts == Counter({EQUAL: 1, OUTSIDE: 2})


def test_of_a_list_what_lies_outside_is_told_before_a_goal_that_was_not_reached():
    value = the_one(numbers(reached=[[1.0, math.inf]] * 2), numbers(reached=[[1.5, 7.0]] * 2))
    assert (value.verdict, value.at) == (OUTSIDE, "0")


def test_tables_inside_a_row_are_told_by_their_keys():
    shipped = results(row=[{"a": {"b": 1.0, "list": [{"c": 2.0}]}}])
    measured = results(row=[{"a": {"b": 1.0, "list": [{"c": 2.5}]}}])
    assert {(v.metric, v.at, v.verdict) for v in compare(shipped, measured).values} == {
        ("a/b", "", EQUAL),
        ("a/list/c", "0", ALONE),
    }


def test_what_one_record_alone_has_is_no_movement():
    found = compare(numbers(score=[1.0], old=[2.0]), numbers(score=[1.0], new=[3.0]))
    assert {(v.metric, v.verdict) for v in found.values} == {("score", EQUAL), ("old", UNPAIRED), ("new", UNPAIRED)}
    assert compare(numbers(score=[1.0]), numbers("another", score=[1.0])).counts == {UNPAIRED: 1}


def test_times_are_ratios_and_never_move():
    shipped = numbers(score=[1.0, 1.0], seconds=[10.0, 40.0], one_step_time=[2.0, 2.0])
    found = compare(shipped, numbers(score=[1.0, 1.0], seconds=[20.0, 20.0], one_step_time=[4.0, 4.0]))
    assert found.counts == {EQUAL: 1}
    assert {one.metric: one.ratio for one in found.times} == pytest.approx({"seconds": 1.0, "one_step_time": 2.0})
    assert found.ratio == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize(
    ("row", "metric", "clock"),
    [
        ("mnist", "train_cpu_seconds", True),
        ("codes", "seconds_to_train", True),
        ("second/vae_mul", "price/seconds_over_passes", True),
        ("prices", "prices/step_over_forward", True),
        ("shuffled", "tokens_per_cpu_second", True),
        ("forward_mode", "gate/2/time/step", True),
        ("wall/mlp", "tie/batch", True),
        ("lookup", "clock/honest", True),
        ("half", "mlp/2/step", True),
        ("sparse", "cost/one_step", True),  # milliseconds an image
        ("half/vae_mul", "accuracy", False),
        ("learning/LSTM", "excess, second half", False),
        ("structure", "second", False),
        ("mnist", "one_step/price", False),  # passes, counted
        ("adapting/means_1", "0/gbi/rates", False),
    ],
)
def test_what_a_clock_said_is_known_by_its_name(row, metric, clock):
    assert is_time(row, metric) is clock


@pytest.mark.parametrize("record", ["mnist_full", "language_babylm", "cifar"])
def test_a_record_beside_itself_has_not_moved(record):
    shipped = load_results(record)
    found = compare(shipped, shipped)
    assert set(found.counts) == {EQUAL}
    assert found.rows == len(shipped.rows)
    assert found.ratio == 1.0


# ---- what has no number, and what only fell ----


def test_a_goal_that_was_never_reached_counts_as_infinite():
    (value,) = compare(numbers(reached=[None, 2.0]), numbers(reached=[3.0, 2.0])).values
    assert (value.verdict, value.shipped) == ("moved, no interval", math.inf)


def test_times_without_a_number_or_of_nothing_make_no_ratio():
    (one,) = compare(numbers(seconds=[0.0, None, 2.0]), numbers(seconds=[1.0, 1.0, 4.0])).times
    assert one.ratio == 2
    assert compare(numbers(seconds=[0.0, None, "?"]), numbers(seconds=[1.0, 1.0, 1.0])).times == []


def test_of_a_list_the_place_that_moved_most_is_named_also_where_it_fell():
    (value,) = compare(numbers(curve=[[1.0, 5.0]] * 2), numbers(curve=[[1.1, 2.0]] * 2)).values
    assert value.at == "1"


def test_a_comparison_bears_the_name_and_counts_the_rows_of_what_was_measured():
    shipped = Results("shipped", {"a": {"0": {"x": 1.0}}, "b": {"0": {"x": 1.0}}}, {}, {}, {})
    measured = Results("measured", {"a": {"0": {"x": 1.0}}}, {}, {}, {})
    found = compare(shipped, measured)
    assert (found.record, found.rows) == ("measured", 1)
