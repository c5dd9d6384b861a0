"""Accuracy against price: every row small, its keys, and the package's re-scoring counted."""

from __future__ import annotations

import pytest

from gbi_helpers.experiments.cost import frontier, tables
from gbi_helpers.experiments.cost.study import STUDY
from gbi_helpers.experiments.runner import run
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import SMALL


@pytest.fixture(name="results", scope="module")
def measured_small(little):
    return run(STUDY, [0], list(frontier.ROWS), variant=SMALL, shelf=little(STUDY))


def test_every_way_is_measured_on_every_set(results):
    for row in frontier.ROWS:
        there = set(tables.ways(results, row))
        assert {"all", "midpoint", "zoom_half", "one_step_top_2", "delta_within_99"} <= there
        told = {way for way, found in results.rows[row]["0"].items() if isinstance(found, dict) and "price" in found}
        assert told == there
        assert ("start" in there) == (row in ("cifar_pixels", "cifar_features"))
        passes = results.first(row, "all", "price") - results.first(row, "code")
        assert len(results.first(row, "curves", "one_step", "agreement")) == pytest.approx(passes, abs=1e-3)


def test_rescore_takes_what_it_is_priced_at_and_answers_alike(results):
    for row in frontier.ROWS:
        for way in ("top_2", "within_99"):
            found = results.first(row, "counted", way)
            alone = results.first(row, "one_step", "price")
            assert found["passes"] == pytest.approx(results.first(row, f"one_step_{way}", "price") - alone, abs=1e-5)
            assert found["agreement"] == 100
            assert found["apart"] < 1e-3


def test_the_code_is_paid_by_whoever_asks_a_decoder_that_needs_one(results):
    for row in frontier.ROWS:
        code = results.first(row, "code")
        assert (code > 0) == (row in ("mnist", "mnist_aware", "cifar_code"))
        assert results.first(row, "one_step", "price") == pytest.approx(2 + code, abs=1e-4)
        assert results.first(row, "midpoint", "price") == pytest.approx(4 + code, abs=1e-4)
    code, alone = (results.first("mnist", *path) for path in (("code",), ("softmax", "price")))
    assert results.first("mnist", "softmax_top_2", "price") == pytest.approx(alone + code + 2, abs=1e-5)
    assert alone < code  # it reads the pixels itself


def test_curves_end_where_all_passes_do(results):
    for row in frontier.ROWS:
        for name, curve in results.first(row, "curves").items():
            assert curve["agreement"][-1] == 100
            assert curve["accuracy"][-1] == results.first(row, "all", "accuracy")
            assert curve["agreement"][1] == pytest.approx(results.first(row, f"{name}_top_2", "agreement"))


def test_two_passes_are_taken_where_all_passes_are_the_better_judge(results):
    for row in frontier.ROWS:
        found = results.first(row, "chosen")
        for rule, score in (("by_log_score", "log_score"), ("by_kl", "kl")):
            told = found["validation"]
            if told["all"][score] == pytest.approx(told["one_step"][score], rel=1e-4):
                continue  # records are rounded
            way = "one_step_top_2" if told["all"][score] < told["one_step"][score] else "one_step"
            assert found["judge"][rule] == {"way": way, **found["test"][way]}
        assert found["test"]["one_step"]["accuracy"] == results.first(row, "one_step", "accuracy")


def test_with_delta_a_linear_decoder_needs_no_pass(results):
    for row in ("cifar_pixels", "cifar_features"):
        assert results.first(row, "delta", "agreement") == results.first(row, "start", "agreement") == 100
        assert results.first(row, "delta_within_99", "extra") == 0


def test_seeds_see_other_images(results, tmp_path):
    other = run(STUDY, [1], ["language_5"], variant=SMALL, shelf=Shelf(tmp_path))
    assert other.rows["language_5"]["1"]["one_step"] != results.rows["language_5"]["0"]["one_step"]
    assert "curves" not in other.rows["language_5"]["1"]
