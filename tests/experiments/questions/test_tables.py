"""Chapter 11's numbers for readers."""

from __future__ import annotations

import pytest

from gbi_helpers.experiments.questions import tables
from gbi_helpers.experiments.results import Results


def found(share):
    return {"one_to_one": share, "many_to_one": share + 5, "ari": share / 100, "nmi": 0.5, "slots": 4.0, "bayes": 99.0}


def results_of(**rows):
    return Results(
        "questions", {name: {str(s): one for s, one in enumerate(seeds)} for name, seeds in rows.items()}, {}, {}, {}
    )


def test_a_stream_has_its_finders_then_bayes_and_none_that_was_not_measured():
    results = results_of(
        **{
            "square/exact": [found(90.0), found(94.0)],
            "streams/square/kmeans": [found(80.0)] * 2,
            "line/hmm": [found(70.0)] * 2,
        },
    )
    header, lines = tables.discovered(results)
    assert [line[:2] for line in lines] == [
        ["four on a square", "all slots read out"],
        ["four on a square", "k-means, smoothed, told how many"],
        ["four on a square", "Bayes, told everything"],
        ["four on a line", "hidden Markov model"],
        ["four on a line", "Bayes, told everything"],
    ]
    assert {len(line) for line in lines} == {len(header)}
    assert lines[0][2].startswith("92.0 ± ")
    assert lines[2][2] == "99.0"


def test_differences_are_paired_in_thousandths():
    seeds = [{"auroc": {key: {"one": 0.95 + s, "other": 0.94 + s} for key in tables.SETS}} for s in (0, 0.02, 0.04)]
    results = results_of(together_detection=seeds)
    ahead = tables.ahead(results, "fashion", "one", "other")
    assert (ahead.mean, ahead.half_width) == pytest.approx((10, 0))
    _, (line,) = tables.duels(results, "one", {"other": "the other"})
    assert line == ["the other", *["10.0 ± 0.0"] * len(tables.SETS)]
    _, (line,) = tables.detectors(results, {"one": "one"})
    assert line == ["one", *["0.970"] * len(tables.SETS)]


def test_decoders_have_a_number_for_each_way_and_classifiers_one_for_all():
    ways = {"one_step": {"both": 20.0}, "pairs": {"both": 60.0}}
    rows = {
        f"composition/{order}": [{"seen": ways, "unseen": ways}] for order in tables.ORDERS if "classifier" not in order
    }
    rows |= {
        f"composition/{order}": [{"seen": {"both": 80.0}, "unseen": {"both": 10.0}}]
        for order in ("classifier", "classifier_turned")
    }
    header, lines = tables.composed(results_of(**rows), {"one_step": "one step", "pairs": "all"})
    assert {len(line) for line in lines} == {len(header)}
    assert lines[0][1:] == ["20.0", "60.0", "60.0"]
    assert lines[-1][1:] == ["", "10.0", "80.0"]


def test_readers_are_told_by_the_words_given_and_an_unmeasured_score_is_left_blank():
    first = {**found(60.0), "deeper": {k: v for k, v in found(40.0).items() if k != "nmi"}}
    _, lines = tables.readers(results_of(reader=[first]), {"itself": ["reader"], "inside": ["reader", "deeper"]})
    assert lines == [
        ["itself", "60.0", "65.0", "0.600", "0.500", "4.0"],
        ["inside", "40.0", "45.0", "0.400", "", "4.0"],
    ]
