"""Reading the record of chapter 07: tables, intervals and single numbers for the notebook."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, from_numpy

from gbi_helpers.data import load_asset
from gbi_helpers.experiments.cifar.rows import BEST_ROWS, LADDER, LIFTS, ROWS
from gbi_helpers.metrics import Summary, summarise

RECORD, CONFUSIONS = "records/cifar100.json", "records/cifar100_confusions.npz"
# What the paper's Table 4 reports, in percent.
PAPER = {"GBI, one step": 18.52, "GBI, iterative": 18.53, "pure generative": 9.57}
READOUTS = ("one_step", "one_step_delta", "one_step_bias", "likelihood", "iterative")


@dataclass(frozen=True)
class CifarRow:
    """One row: accuracies in percent by readout, over seeds, with passes and price.

    ``accuracy``: of one step, or of the classifier. ``others``: of the readouts measured beside it. ``passes``: by
    readout, (forwards, backwards) for each image. ``numbers``: everything measured, a value for each seed.
    """

    name: str
    words: str
    accuracy: Summary
    others: dict[str, Summary]
    passes: dict[str, tuple[int, int]]
    numbers: dict[str, list[float]]
    classifier: bool

    @property
    def sampling_error(self) -> float:
        """Half-width of the 95 % interval of ``accuracy`` that comes from the number of test images alone, percent."""
        return sampling_error(self.accuracy.mean, int(self.numbers["test_n"][0]))

    @property
    def half_width(self) -> float:
        """Half-width of a 95 % interval for ``accuracy``: test images and, from three seeds on, seeds, in percent."""
        seeds = self.accuracy.half_width if self.accuracy.n >= 3 else 0.0
        return math.hypot(self.sampling_error, seeds)

    def error_of(self, readout: str) -> float:
        """Half-width of the 95 % interval of another readout that comes from the number of images it was tried on."""
        n = int(self.numbers.get(f"{readout}_n", self.numbers["test_n"])[0])
        return sampling_error(self.others[readout].mean, n)

    @property
    def cpu_seconds(self) -> float:
        """Seconds of the processor that training took (features not included), mean over seeds."""
        return summarise(self.numbers["train_cpu_seconds"]).mean

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return int(self.numbers["parameters"][0])


def sampling_error(percent: float, n: int) -> float:
    """Half-width of the 95 % interval, in percent, of an accuracy found on n images."""
    return 196 * math.sqrt(percent / 100 * (1 - percent / 100) / n)


@dataclass(frozen=True)
class CifarResults:
    """What ``gbi reproduce image`` left of CIFAR-100: ``rows[name][seed][metric]``, settings, and facts about the run.

    ``prices``: one row for each number of classes, see :func:`gbi_helpers.experiments.cifar.prices.prices`.
    """

    rows: dict[str, dict[str, dict[str, float]]]
    settings: dict[str, dict[str, Any]]
    facts: dict[str, Any]
    prices: list[dict[str, float]]

    def values(self, name: str, metric: str) -> list[float]:
        """One number a seed. Raises ``KeyError`` naming the choices for an unknown row or metric."""
        if name not in self.rows:
            raise KeyError(f"There is no row '{name}' in these results: choose one of {sorted(self.rows)}.")
        by_seed = self.rows[name]
        first = next(iter(by_seed.values()))
        if metric not in first:
            raise KeyError(f"'{name}' has no metric '{metric}': choose one of {sorted(first)}.")
        return [found[metric] for found in by_seed.values()]

    def summary(self, name: str, metric: str) -> Summary:
        """Mean, standard deviation and 95 % interval over seeds."""
        return summarise(self.values(name, metric))

    def row(self, name: str) -> CifarRow:
        """One row of a table."""
        first = next(iter(self.rows[name].values())) if name in self.rows else {}
        numbers = {metric: self.values(name, metric) for metric in first}
        classifier = "accuracy" in first
        main = self.summary(name, "accuracy" if classifier else "one_step")
        others = {readout: self.summary(name, readout) for readout in READOUTS if readout in first}
        passes = {
            readout: (int(first[f"{readout}_forwards"]), int(first.get(f"{readout}_backwards", 0)))
            for readout in (*READOUTS, "accuracy")
            if f"{readout}_forwards" in first
        }
        return CifarRow(name, ROWS[name].words, main, others, passes, numbers, classifier)

    def ladder(self) -> list[CifarRow]:
        """Where the paper's numbers sit, as far as it was run."""
        return self._some(LADDER)

    def lifts(self) -> list[CifarRow]:
        """What lifts one step, as far as it was run."""
        return self._some(LIFTS)

    def best(self) -> list[CifarRow]:
        """The best model, and what it must be compared with: the same features, discriminative models."""
        return self._some(BEST_ROWS)

    def _some(self, names: Sequence[str]) -> list[CifarRow]:
        return [self.row(name) for name in names if name in self.rows]

    def headline(self) -> dict[str, float]:
        """Mean accuracy of each row, of one step or of the classifier."""
        return {name: round(self.row(name).accuracy.mean, 2) for name in self.rows}


@dataclass(frozen=True)
class Confusions:
    """Counts (K, K) of test images by true (row) and predicted class (column), the classes in order of their groups."""

    counts: Tensor
    classes: tuple[str, ...]
    groups: tuple[str, ...]


def load_cifar_results(path: Path | None = None) -> CifarResults:
    """The shipped record of chapter 07 (its SHA-256 is checked), or the one at ``path``."""
    stored = json.loads((path or load_asset(RECORD)).read_text(encoding="utf-8"))
    return CifarResults(stored["rows"], stored["settings"], stored["facts"], stored["prices"])


def load_confusions(path: Path | None = None) -> Confusions:
    """The shipped confusions of the best model (their SHA-256 is checked), or those at ``path``.

    ``groups`` names the group of each class, in the order of ``classes``.
    """
    with np.load(path or load_asset(CONFUSIONS), allow_pickle=False) as stored:
        counts = from_numpy(stored["counts"].astype(np.int64))
        return Confusions(counts, tuple(stored["classes"].tolist()), tuple(stored["groups"].tolist()))
