"""The CIFAR-100 experiments: where the paper's 9.57 and 18.52 sit, what lifts one gradient step beyond, and how far.

``reproduce(seeds)`` measures every row on the real set and writes ``assets/records/cifar100.json`` and the confusions
of the best model; it goes on where it was stopped. ``load_cifar_results()`` reads the record. Settings were chosen on
validation images (the last 5,000 of the 50,000 for training); test images are used for the numbers written alone.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.checkpoints import run_facts
from gbi_helpers.data import DataError, ImageData, add_asset, load_cifar100
from gbi_helpers.experiments.cifar import live as cifar_live
from gbi_helpers.experiments.cifar import prices as cifar_cost
from gbi_helpers.experiments.cifar.measure import Labels, confusions, gap, measure, scores
from gbi_helpers.experiments.cifar.rows import REPEATED, ROWS, Row, settings
from gbi_helpers.experiments.cifar.tables import CifarResults, load_cifar_results
from gbi_helpers.experiments.cifar.views import Study
from gbi_helpers.experiments.rows import take
from gbi_helpers.files import ASSETS, part_file, writable_cache
from gbi_helpers.meter import size_of, timed

__all__ = ["CifarResults", "gap", "load_cifar_results", "reproduce", "run", "scores"]

Metrics = dict[str, float]
RECORD, CONFUSIONS = "records/cifar100.json", "records/cifar100_confusions.npz"


@dataclass(frozen=True)
class Job:
    """One row with one seed, and the file from which its training goes on."""

    study: Study
    row: Row
    seed: int
    changes: Mapping[str, Any]
    resume: Path

    def labels(self) -> Labels:
        """The classes of every split, and their groups."""
        train, validation, test = self.images.labels()
        return Labels(train, validation, test, torch.tensor(self.study.data.group_of, device=test.device))

    @functools.cached_property
    def images(self) -> Study:
        """The study, or that with the validation images among those for training."""
        return self.study.joined() if self.row.everything else self.study

    def done(self) -> tuple[Any, Metrics]:
        """The trained model and its numbers."""
        row, labels = self.row, self.labels()
        view = self.images.view(row.view, row.n)
        changes = {} if row.closed_form else dict(self.changes)
        options = row.options_for(self.study.data) | changes
        x, y = view.train[: row.n], labels.train[: row.n]
        model, record = row.recipe(x, y, seed=self.seed, resume=self.resume, **options)
        found: Metrics = {"parameters": size_of(model), "train_n": len(x)}
        found |= {"train_seconds": record.facts["seconds"], "train_cpu_seconds": record.facts["cpu_seconds"]}
        if row.classifier:
            return model, found | _classified(model, view, labels)
        found |= measure(model, view, labels, whole=row.closed_form, bias=row.bias)
        if row.everything:
            del found["validation"]  # it would be that of images trained on
        return model, found


def _classified(model: Any, view: Any, labels: Labels) -> Metrics:
    """Test and validation accuracy of a classifier, in percent."""
    right = predicted(model, view.test)
    return {
        "accuracy": metrics.accuracy(right, labels.test),
        "accuracy_forwards": 1,
        "superclass": labels.groups_right(right),
        "validation": metrics.accuracy(predicted(model, view.validation), labels.validation),
        "test_n": len(labels.test),
    }


@torch.no_grad()
def predicted(classifier: Any, x: Tensor) -> Tensor:
    """Classes (N,) that a classifier names for x."""
    parts = (part if part.is_floating_point() else part.float() / 255 for part in x.split(1000))
    return torch.cat([classifier(part).argmax(1) for part in parts])


def run(
    seeds: Sequence[int],
    rows: Sequence[str] | None = None,
    *,
    data: ImageData,
    work: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    views: Mapping[str, dict[str, Any]] | None = None,
    keep: Callable[[str, int, Any, Study], None] | None = None,
) -> dict[str, dict[str, Metrics]]:
    """Train and measure the named rows (all if None) for each seed: {row: {seed: {metric: value}}}.

    Rows that are not ``REPEATED`` run for the first seed only. Every finished one is in ``work`` at once, and is not
    run again. ``changes`` replace options of every training, ``views`` settings of views;
    ``keep(row, seed, model, study)`` is called with each new model.
    """
    work = work or writable_cache() / "experiments"
    study = Study(data, work, dict(views or {}))
    state = work / f"cifar100-{study.digest[:12]}.json"
    names = {_key(name, changes, views): name for name in rows or ROWS}

    def measure_row(key: str, seed: int) -> Metrics:
        job = Job(study, ROWS[names[key]], seed, changes or {}, work / f"cifar-{key}-{seed}.pt")
        seconds, (model, numbers) = timed(job.done)
        if keep is not None:
            keep(names[key], seed, model, study)
        return numbers | {"seconds": seconds}

    wanted = [(key, s) for s in seeds for key, name in names.items() if s == seeds[0] or name in REPEATED]
    found = take(wanted, measure_row, state, {}, f"{data.name} rows")
    mine = list(map(str, seeds))
    return {name: {seed: found[key][seed] for seed in mine if seed in found[key]} for key, name in names.items()}


def _key(name: str, changes: Any, views: Any) -> str:
    """The row's name with a mark of all settings it was measured with: other settings are another row."""
    plain = json.dumps([settings(name, views), changes or {}], sort_keys=True)
    return f"{name}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


def reproduce(
    seeds: int,
    *,
    data: ImageData | None = None,
    rows: Sequence[str] | None = None,
    changes: Mapping[str, Any] | None = None,
    views: Mapping[str, dict[str, Any]] | None = None,
) -> Path:
    """Measure everything for seeds 0 .. ``seeds`` - 1 and write the record, and the best model's confusions, to assets.

    Then train the two models that are shipped (not with ``data`` or ``rows`` given). Goes on where it was stopped.
    Raises :class:`DataError` where the real CIFAR-100 is not at hand, unless ``data`` are given.
    """
    command, everything = f"gbi reproduce image --seeds {seeds}", data is None and rows is None
    data = data or real_data()
    facts = run_facts(command=command, data=data.source, threads=torch.get_num_threads())

    def keep(name: str, seed: int, model: Any, study: Study) -> None:
        if name == "best" and seed == 0:
            _write_confusions(model, study, facts)

    found = run(range(seeds), rows, data=data, keep=keep, changes=changes, views=views)
    path = _write_record(found, Study(data, Path()), views, facts | {"seed": list(range(seeds))})
    if everything:
        for images in (data, load_cifar100("standin")):
            cifar_live.ship(Study(images, writable_cache() / "experiments"), command)
    print(f"Wrote {path}.", file=sys.stderr)
    return path


def _write_record(found: dict[str, dict[str, Metrics]], study: Study, views: Any, facts: dict[str, Any]) -> Path:
    minutes = round(sum(numbers["seconds"] for by_seed in found.values() for numbers in by_seed.values()) / 60, 1)
    facts = facts | {"sha256_of_images": study.digest, "minutes": minutes, "splits": _sizes(study.data)}
    content = {"facts": facts, "settings": {name: settings(name, views) for name in found}, "rows": found}
    path = ASSETS / RECORD
    with part_file(path) as part:
        part.write_text(json.dumps(content | {"prices": _prices()}, indent=1) + "\n", encoding="utf-8")
    add_asset(path, **facts, metrics=load_cifar_results(path).headline())
    return path


def _prices() -> list[cifar_cost.Price]:
    """What one step costs, measured once and kept in the cache, since it takes a minute."""
    path = writable_cache() / "experiments" / "cifar100-prices.json"
    if not path.exists():
        with part_file(path) as part:
            part.write_text(json.dumps(cifar_cost.prices()), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def real_data() -> ImageData:
    """All of the real CIFAR-100. Raises :class:`DataError` where it is not at hand."""
    data = load_cifar100("full")
    if data.name != "CIFAR-100":
        raise DataError(
            "The numbers of chapter 07 are those of the real CIFAR-100, which is not here: get it with 'gbi data get "
            "cifar-100', or put cifar-100.npz into a folder and name that in GBI_DATA_DIR."
        )
    return data


def _sizes(data: ImageData) -> dict[str, int]:
    return {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}


def _write_confusions(model: Any, study: Study, facts: dict[str, Any]) -> None:
    """Counts (100, 100) of test images by true and predicted class, classes in the order of their groups."""
    data = study.data
    order = sorted(range(len(data.classes)), key=lambda k: (data.group_of[k], data.classes[k]))
    choice = scores(model, study.view(ROWS["best"].view).test).argmax(1)
    counts = confusions(choice, data.test.y, order).numpy().astype(np.uint16)
    path = ASSETS / CONFUSIONS
    classes = np.array([data.classes[k] for k in order])
    groups = np.array([data.groups[data.group_of[k]] for k in order])
    with part_file(path) as part, part.open("wb") as stream:
        np.savez_compressed(stream, counts=counts, order=np.array(order), classes=classes, groups=groups)
    add_asset(path, **facts, seed=0)
