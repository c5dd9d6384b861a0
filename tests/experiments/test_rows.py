"""One loop for all studies: nothing is measured twice, nothing finished is lost, other settings begin anew."""

from __future__ import annotations

import json
import math

import pytest

from gbi_helpers.data import DataError
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


def test_two_at_once_keep_each_others_rows(tmp_path):
    state = tmp_path / "state.json"

    def measure(name, seed):
        take([("b", 0)], counting()[0], state, {}, "made")  # another process, meanwhile
        return {"score": 1.0}

    take([("a", 0)], measure, state, {}, "made")
    assert set(json.loads(state.read_text())["rows"]) == {"a", "b"}


@pytest.mark.parametrize("content", ['{"settings": {}, "rows": {"a', "[]", '{"settings": {}}'])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(DataError, match=r"state.json is damaged: delete it"):
        take(WANTED, counting()[0], tmp_path / "state.json", {}, "made")


def test_nan_is_no_measurement():
    with pytest.raises(ValueError, match="is NaN"):
        plain({"loss": [1.0, math.nan]})


def test_numbers_become_plain():
    found = plain({1: [1 / 3, math.inf], "text": ("a", 7, None)})
    assert found == {"1": [0.333333, None], "text": ["a", 7, None]}
