"""Once: the shipped records in their new shape. Values are copied as they are; no number is made or rounded here.

``python -m gbi_helpers.experiments.rewrite OLD [NAME...]``, where OLD is the folder of the records as they were.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gbi_helpers.experiments.results import Results, Rows, plain
from gbi_helpers.experiments.runner import write_record
from gbi_helpers.files import ASSETS, add_asset, manifest

RECORDS = {"mnist_slice": ("mnist", "slice"), "mnist_full": ("mnist", "full"), "ood": ("ood", ""), "toy": ("toy", "")}


def rewritten(name: str, old: dict[str, Any]) -> Results:
    """A record in the one shape: rows as they are, settings and words by row from the study that makes them."""
    study_name, variant = RECORDS[name]
    study = importlib.import_module(f"gbi_helpers.experiments.{study_name}.study").STUDY
    settings = {row: plain(study.settings(row, variant)) for row in old["rows"]}
    words = {row: study.rows[row].words for row in old["rows"]}
    return Results(name, old["rows"], settings, old["facts"], words)


# ---------------------------------------------------------------- toy: two records become one

SECTIONS = {"learning": "learning", "learning, quick": "quick", "forgetting": "forgetting", "theory": "theory"}
CURVES = ("excess", "absolute", "place")  # (network, ..., seed) each
SWEPT = {"rates": "rate", "lengths": "length"}  # (value, network, seed) each


def toy(folder: Path) -> dict[str, Any]:
    """The rows of ``toy_measured.json`` and ``toy_learning.npz``, and the facts of both."""
    measured = json.loads((folder / "toy_measured.json").read_text(encoding="utf-8"))
    arrays = np.load(folder / "toy_learning.npz")
    facts = json.loads(str(arrays["__plain__"]))["facts"]
    rows = _of_sections(measured["sections"])
    _add_learning(rows, arrays, facts["networks"])
    study = importlib.import_module("gbi_helpers.experiments.toy.study").STUDY
    assert set(rows) == set(study.rows)
    return {"rows": {row: rows[row] for row in study.rows}, "facts": measured["facts"] | {"learning": facts}}


def _of_sections(sections: dict[str, dict[str, dict[str, Any]]]) -> Rows:
    rows: Rows = {}
    for section, row, score, value in (
        (s, r, *item) for s in sections for r in sections[s] for item in sections[s][r].items()
    ):
        if row == "floors":
            _put(rows, "exact filter", 0, ["long" if section == "learning" else "quick", score], value)
        elif row == "penalties":
            _put(rows, row, 0, [score], value)
        else:
            name = "linear readout" if row.startswith("linear") else f"{SECTIONS.get(section, 'frozen')}/{row}"
            path = [score] if section in SECTIONS else [section, score]
            for seed in range(20):
                _put(rows, name, seed, path, _of_seed(score, value, seed))
    return rows


def _of_seed(score: str, value: Any, seed: int) -> Any:
    """The seed is on the last axis, but on the first of a lesion; of broken bounds there is one count, and it is 0."""
    if score == "bounds broken":
        assert value == 0
        return 0
    return [inner[seed] for inner in value] if isinstance(value[0], list) and score != "lesion" else value[seed]


def _add_learning(rows: Rows, arrays: Any, networks: list[str]) -> None:
    for curve in CURVES:
        for name, values in zip(networks, arrays[curve], strict=True):
            _put_seeds(rows, f"learning/{name}", curve, values)
    for swept, old in SWEPT.items():
        for place, name in enumerate(("LSTM", "GBI post", "GBI concat")):
            _put_seeds(rows, f"{swept}/{name}", "excess", arrays[old][:, place])
    _put_seeds(rows, "shares/GBI post", "excess", arrays["share"])
    _put(rows, "exact filter", 0, ["place"], _shortest(arrays["filter_place"]))
    _put(rows, "exact filter", 0, ["lengths"], _shortest(arrays["length_floor"]))


def _put_seeds(rows: Rows, row: str, score: str, values: np.ndarray) -> None:
    for seed, of_seed in enumerate(values.T):
        _put(rows, row, seed, [score], _shortest(of_seed))


def _put(rows: Rows, row: str, seed: int, path: list[str], value: Any) -> None:
    found = rows.setdefault(row, {}).setdefault(str(seed), {})
    for key in path[:-1]:
        found = found.setdefault(key, {})
    found[path[-1]] = value


def _shortest(values: np.ndarray) -> list[float]:
    """Of each float32 the shortest decimal that gives it back."""
    return [float(str(value)) for value in values]


READERS = {"toy": toy}


def main(folder: Path, names: list[str]) -> None:
    """Rewrite the named records, or all."""
    for name in names or RECORDS:
        file = folder / f"{name}.json"
        old = READERS[name](folder) if name in READERS else json.loads(file.read_text(encoding="utf-8"))
        results = rewritten(name, old)
        path = write_record(ASSETS / "records" / f"{name}.json", results, results.facts)
        known = manifest().get(f"records/{name}.json", results.facts)
        add_asset(path, **{k: v for k, v in known.items() if k not in ("bytes", "sha256")})
    add_asset(ASSETS / "paper.csv", source="arXiv 2407.17356, as the column known says", licence="facts")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
