"""The record of chapter 07 for a reader: the ladder, what lifts one step, how far it goes, and what is mixed up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, from_numpy

from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.tables import passes
from gbi_helpers.files import load_asset
from gbi_helpers.metrics import Summary

CONFUSIONS = "records/cifar_confusions.npz"
READOUTS = ("one_step", "one_step_delta", "one_step_bias", "likelihood", "iterative")
LADDER = ("class_mean", "lda_pixels", "softmax_pixels", "faithful", "unet")  # where the paper's numbers sit
BEST = ("best", "best_label_loss", "best_classifier", "best_softmax")


@dataclass(frozen=True)
class Line:
    """One line of a table: ``accuracy`` in percent over seeds, of one step, or of the classifier.

    ``others``: of the readouts measured beside it. ``passes``: by readout, (forwards, backwards) for each image.
    ``cpu_seconds``: of training, features not included, mean over seeds. ``train_n``, ``test_n``: labelled images
    learned from, and tried.
    """

    name: str
    words: str
    classifier: bool
    accuracy: Summary
    others: dict[str, Summary]
    passes: dict[str, tuple[int, int]]
    cpu_seconds: float
    train_n: int
    test_n: int

    @property
    def half_width(self) -> float:
        """Half-width of a 95 % interval for ``accuracy``: test images and, from three seeds on, seeds, in percent."""
        seeds = self.accuracy.half_width if self.accuracy.n >= 3 else 0.0
        return math.hypot(sampling_error(self.accuracy.mean, self.test_n), seeds)


def sampling_error(percent: float, n: int) -> float:
    """Half-width of the 95 % interval, in percent, of an accuracy found on n images."""
    return 196 * math.sqrt(percent / 100 * (1 - percent / 100) / n)


def line(results: Results, row: str) -> Line:
    """One row."""
    classifier = results.has(row, "accuracy")
    accuracy = results.summary(row, "accuracy" if classifier else "one_step")
    others = {name: results.summary(row, name) for name in READOUTS if results.has(row, name)}
    counted = {name: passes(results, row, name) for name in (*READOUTS, "accuracy")}
    return Line(
        row, results.words[row], classifier, accuracy, others, {name: n for name, n in counted.items() if n != (0, 0)},
        results.mean(row, "train_cpu_seconds"), *(int(results.first(row, name)) for name in ("train_n", "test_n")),
    )  # fmt: skip


def ladder(results: Results) -> list[Line]:
    """Where the paper's numbers sit."""
    return [line(results, row) for row in LADDER]


def lifts(results: Results) -> list[Line]:
    """What lifts one step: all other rows but the best, in the study's order."""
    return [line(results, row) for row in results.rows if row not in (*LADDER, *BEST, "prices")]


def best(results: Results) -> list[Line]:
    """The best model, and what it must be compared with: the same features, discriminative models."""
    return [line(results, row) for row in BEST]


def prices(results: Results) -> list[dict[str, float]]:
    """One entry for each number of classes, see :func:`gbi_helpers.experiments.cifar.prices.prices`."""
    return results.first("prices", "prices")


@dataclass(frozen=True)
class Confusions:
    """Counts (K, K) of test images by true (row) and predicted class (column), the classes in order of their groups."""

    counts: Tensor
    classes: tuple[str, ...]
    groups: tuple[str, ...]


def load_confusions(path: Path | None = None) -> Confusions:
    """The shipped confusions of the best model (their SHA-256 is checked), or those at ``path``.

    ``groups`` names the group of each class, in the order of ``classes``.
    """
    with np.load(path or load_asset(CONFUSIONS), allow_pickle=False) as stored:
        counts = from_numpy(stored["counts"].astype(np.int64))
        return Confusions(counts, tuple(stored["classes"].tolist()), tuple(stored["groups"].tolist()))
