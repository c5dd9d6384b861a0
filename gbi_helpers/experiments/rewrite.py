"""Once: the shipped records in their new shape. Values are copied as they are; no number is made or rounded here.

``python -m gbi_helpers.experiments.rewrite OLD [NAME...]``, where OLD is the folder of the records as they were.
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
from gbi_helpers.files import ASSETS, add_asset, manifest
from gbi_helpers.models.base import Described, description
from gbi_helpers.models.image import Classifier, ConditionalVAE
from gbi_helpers.models.picture import PictureModel

RECORDS = {
    "mnist_slice": ("mnist", "slice"),
    "mnist_full": ("mnist", "full"),
    "ood": ("ood", ""),
    "cifar": ("cifar", ""),
}
OLD_NAMES = {"cifar": "cifar100"}
CHECKPOINTS: dict[str, dict[str, Described]] = {
    "mnist_slice": {"mnist_vae_mul": ConditionalVAE(), "mnist_gradient_aware": ConditionalVAE()},
    "ood": {"ood_vae_mul": ConditionalVAE(), "ood_classifier": Classifier()},
    "cifar": {"cifar100_picture": PictureModel(400), "cifar100_standin_picture": PictureModel(100)},
}


def rewritten(name: str, old: dict[str, Any]) -> Results:
    """A record in the one shape: rows as they are, settings and words by row from the study that makes them."""
    study_name, variant = RECORDS[name]
    study = importlib.import_module(f"gbi_helpers.experiments.{study_name}.study").STUDY
    rows = old["rows"] | ({"prices": {"0": {"prices": old["prices"]}}} if "prices" in old else {})
    settings = {row: plain(study.settings(row, variant)) for row in rows}
    words = {row: study.rows[row].words for row in rows}
    return Results(name, rows, settings, old["facts"], words)


def describe(path: Path, model: Described) -> None:
    """Write into a checkpoint which model it is of; its weights are copied as they are."""
    with safe_open(path, framework="pt") as stored:
        facts = json.loads(stored.metadata()["facts"])
        weights = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118, it is no dict
    path.write_bytes(save(weights, metadata={"facts": json.dumps({"model": description(model)} | facts)}))


def registered_again(path: Path) -> None:
    """Enter a file that changed into the manifest, with the facts that are there."""
    known = manifest()[path.relative_to(ASSETS).as_posix()]
    add_asset(path, **{name: fact for name, fact in known.items() if name not in ("bytes", "sha256")})


def main(folder: Path, names: Sequence[str]) -> None:
    """Rewrite the named records, or all."""
    for name in names or RECORDS:
        old = json.loads((folder / f"{OLD_NAMES.get(name, name)}.json").read_text(encoding="utf-8"))
        results = rewritten(name, old)
        registered_again(write_record(ASSETS / "records" / f"{name}.json", results, results.facts))
        for checkpoint, model in CHECKPOINTS.get(name, {}).items():
            path = ASSETS / "checkpoints" / f"{checkpoint}.safetensors"
            describe(path, model)
            registered_again(path)
    add_asset(ASSETS / "paper.csv", source="arXiv 2407.17356, as the column known says", licence="facts")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
