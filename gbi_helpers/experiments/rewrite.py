"""Once: the shipped records in their new shape. Values are copied as they are; no number is made or rounded here.

``python -m gbi_helpers.experiments.rewrite OLD [RECORD ...]``, where OLD is the folder of the records as they were.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save

from gbi_helpers.experiments.results import Results, plain
from gbi_helpers.experiments.runner import write_record
from gbi_helpers.files import ASSETS, add_asset, manifest, part_file
from gbi_helpers.models.base import Described, description
from gbi_helpers.models.language import WordLSTM

RECORDS = {
    "mnist_slice": ("mnist", "slice"),
    "mnist_full": ("mnist", "full"),
    "ood": ("ood", ""),
    "language_packages": ("language", "packages"),
    "language_babylm": ("language", "babylm"),
}


def rewritten(name: str, old: dict[str, Any]) -> Results:
    """A record in the one shape: rows as they are, settings and words by row from the study that makes them."""
    study_name, variant = RECORDS[name]
    study = importlib.import_module(f"gbi_helpers.experiments.{study_name}.study").STUDY
    settings = {row: plain(study.settings(row, variant)) for row in old["rows"]}
    words = {row: study.rows[row].words for row in old["rows"]}
    return Results(name, old["rows"], settings, old["facts"] | facts_beside(old), words)


def facts_beside(old: dict[str, Any]) -> dict[str, Any]:
    """Facts of a language record that stood beside the others."""
    return {"name": old["data"], "tasks": old["tasks"], "text": old["settings"]["text"]} if "tasks" in old else {}


def describe(path: Path, model: Described) -> None:
    """Write into a shipped checkpoint which model it is, where it does not say so yet; its weights stay as they are."""
    with safe_open(path, framework="pt") as stored:
        facts = json.loads(stored.metadata()["facts"])
        weights = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118, it is no dict
    assert {key: value.shape for key, value in weights.items()} == {k: v.shape for k, v in model.state_dict().items()}
    if "model" not in facts:
        known = {k: v for k, v in manifest()[f"checkpoints/{path.name}"].items() if k not in ("bytes", "sha256")}
        with part_file(path) as part:
            part.write_bytes(save(weights, metadata={"facts": json.dumps({"model": description(model)} | facts)}))
        add_asset(path, **known)


def language_checkpoints() -> None:
    """The networks of chapter 08."""
    for name, plane in (("packages", 0), ("plane", 2)):
        describe(ASSETS / "checkpoints" / f"language_{name}.safetensors", WordLSTM(2000, 8, plane=plane))


def main(folder: Path, names: Sequence[str] = ()) -> None:
    """Rewrite the named records, or all."""
    for name in names or RECORDS:
        old = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        results = rewritten(name, old)
        path = write_record(ASSETS / "records" / f"{name}.json", results, results.facts)
        known = {k: v for k, v in manifest()[f"records/{name}.json"].items() if k not in ("bytes", "sha256")}
        add_asset(path, **known)
    language_checkpoints()
    add_asset(ASSETS / "paper.csv", source="arXiv 2407.17356, as the column known says", licence="facts")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
