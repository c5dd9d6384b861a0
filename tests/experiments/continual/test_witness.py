from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from gbi_helpers.experiments.continual.witness import witnessed
from gbi_helpers.experiments.results import load_results

WAYS = ["avalanche", "avalanche_new_adam", "matched", "own"]


def test_the_record_has_every_method_by_each_convention_and_says_which():
    record = load_results("avalanche")
    assert set(record.rows) == set(record.settings) == set(record.words)
    assert record.facts["avalanche"] == "0.6.0"
    assert list(record.facts["conventions"]) == WAYS
    assert {record.seeds(row) for row in record.rows} == {5}
    assert list(witnessed()) == ["fine-tuning", "EWC", "LwF", "replay of 1,000"]
    assert list(witnessed()["EWC"]) == WAYS


def test_with_its_conventions_our_methods_end_where_avalanche_does():
    record = load_results("avalanche")
    for method in ("fine_tuning", "ewc", "lwf", "replay"):
        apart = record.paired((f"matched/{method}", "accuracy"), (f"avalanche_new_adam/{method}", "accuracy"))
        assert apart.low < 0 < apart.high, method
    apart = record.paired(("own/replay", "accuracy"), ("matched/replay", "accuracy"))
    assert apart.low > 5  # and the convention is no trifle


def test_without_avalanche_the_script_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "avalanche", None)  # as if it were not there
    script = runpy.run_path(str(Path(__file__).parent / "avalanche_witness.py"))
    with pytest.raises(SystemExit, match=r"pip install --no-deps avalanche-lib==0\.6\.0"):
        script["main"]()
