"""Once: the shipped records in their new shape. Values are copied as they are; no number is made or rounded here.

``python -m gbi_helpers.experiments.rewrite OLD``, where OLD is the folder of the records as they were.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save

from gbi_helpers.experiments.results import Results, plain
from gbi_helpers.experiments.runner import write_record
from gbi_helpers.files import ASSETS, add_asset, manifest, part_file
from gbi_helpers.models.base import Described, description
from gbi_helpers.models.image import Classifier, ConditionalVAE

RECORDS = {"mnist_slice": ("mnist", "slice"), "mnist_full": ("mnist", "full"), "ood": ("ood", "")}

# What the weights in the shipped checkpoints belong to.
DESCRIBED: dict[str, Described] = {
    "mnist_vae_mul": ConditionalVAE(),
    "mnist_gradient_aware": ConditionalVAE(),
    "ood_vae_mul": ConditionalVAE(),
    "ood_classifier": Classifier(),
}


def describe(name: str, model: Described) -> None:
    """Write class and sizes into a checkpoint's facts; its tensors stay as they are."""
    path = ASSETS / "checkpoints" / f"{name}.safetensors"
    with safe_open(path, framework="pt") as stored:
        facts = json.loads(stored.metadata()["facts"])
        weights = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    told = {"model": description(model)} | facts
    with part_file(path) as part:
        part.write_bytes(save(weights, metadata={"facts": json.dumps(told)}))
    known = {k: v for k, v in manifest()[f"checkpoints/{name}.safetensors"].items() if k not in ("bytes", "sha256")}
    add_asset(path, **known)


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
    for name, model in DESCRIBED.items():
        describe(name, model)
    add_asset(ASSETS / "paper.csv", source="arXiv 2407.17356, as the column known says", licence="facts")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
