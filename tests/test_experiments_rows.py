"""One loop for all studies: nothing is measured twice, nothing finished is lost, other settings begin anew."""

from __future__ import annotations

import json
import math

import pytest

from gbi_helpers.experiments.rows import plain, take


def counting(fails=()):
    called = []

    def measure(name, seed):
        called.append((name, seed))
        if (name, seed) in fails:
            raise KeyboardInterrupt
        return {"score": seed / 3}

    return measure, called


WANTED = [("a", 0), ("a", 1), ("b", 0)]


def test_a_stopped_study_goes_on_where_it_was(tmp_path):
    state = tmp_path / "deep" / "state.json"
    measure, called = counting(fails=[("b", 0)])
    with pytest.raises(KeyboardInterrupt):
        take(WANTED, measure, state, {"lr": 1}, "made")
    assert set(json.loads(state.read_text())["rows"]) == {"a"}
    measure, called = counting()
    rows = take(WANTED, measure, state, {"lr": 1}, "made")
    assert called == [("b", 0)]
    assert rows == {"a": {"0": {"score": 0.0}, "1": {"score": 0.333333}}, "b": {"0": {"score": 0.0}}}


def test_what_others_asked_for_is_kept(tmp_path):
    measure, _ = counting()
    take([("c", 5)], measure, tmp_path / "state.json", {}, "made")
    assert set(take(WANTED, measure, tmp_path / "state.json", {}, "made")) == {"a", "b", "c"}


def test_other_settings_begin_anew(tmp_path):
    take(WANTED, counting()[0], tmp_path / "state.json", {"sizes": (1, 2)}, "made")
    measure, called = counting()
    take(WANTED, measure, tmp_path / "state.json", {"sizes": (1, 2)}, "made")
    assert called == []
    take(WANTED, measure, tmp_path / "state.json", {"sizes": (1, 3)}, "made")
    assert called == WANTED


def test_a_file_of_another_make_counts_for_nothing(tmp_path):
    (tmp_path / "state.json").write_text('{"a": {"0": 1}}')
    measure, called = counting()
    take(WANTED, measure, tmp_path / "state.json", {}, "made")
    assert called == WANTED


def test_numbers_become_plain():
    found = plain({1: [1 / 3, math.inf], "text": ("a", 7, None)})
    assert found == {"1": [0.333333, None], "text": ["a", 7, None]}
