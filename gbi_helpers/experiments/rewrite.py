"""Once: the shipped records in their new shape. Values are copied as they are; no number is made or rounded here.

``python -m gbi_helpers.experiments.rewrite OLD``, where OLD is the folder of the records as they were.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from gbi_helpers.experiments.results import Results, plain
from gbi_helpers.experiments.runner import write_record
from gbi_helpers.files import ASSETS, add_asset, manifest

RECORDS = {"mnist_slice": ("mnist", "slice"), "mnist_full": ("mnist", "full"), "ood": ("ood", "")}


def rewritten(name: str, old: dict[str, Any]) -> Results:
    """A record in the one shape: rows as they are, settings and words by row from the study that makes them."""
    study_name, variant = RECORDS[name]
    study = importlib.import_module(f"gbi_helpers.experiments.{study_name}.study").STUDY
    settings = {row: plain(study.settings(row, variant)) for row in old["rows"]}
    words = {row: study.rows[row].words for row in old["rows"]}
    return Results(name, old["rows"], settings, old["facts"], words)


def main(folder: Path) -> None:
    """Rewrite all."""
    for name in RECORDS:
        old = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        results = rewritten(name, old)
        path = write_record(ASSETS / "records" / f"{name}.json", results, results.facts)
        known = {k: v for k, v in manifest()[f"records/{name}.json"].items() if k not in ("bytes", "sha256")}
        add_asset(path, **known)
    add_asset(ASSETS / "paper.csv", source="arXiv 2407.17356, as the column known says", licence="facts")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
