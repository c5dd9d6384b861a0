"""The record of chapter 07 for a reader: the ladder, what lifts one step, how far it goes, and what is mixed up."""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor, from_numpy, stack

from gbi_helpers.experiments.cifar.measure import unpacked
from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.tables import over_seeds, passes, with_samples
from gbi_helpers.files import load_asset
from gbi_helpers.metrics import Summary, summarise

CONFUSIONS = "records/cifar_confusions.npz"
READOUTS = ("one_step", "one_step_delta", "one_step_bias", "likelihood", "iterative")
LADDER = ("class_mean", "lda_pixels", "softmax_pixels", "faithful", "unet")  # where the paper's numbers sit
BLOCKS = {  # what lifts one step
    "nothing trained": ("whitened", "features_linear", "lda_features", "equidistant"),
    "trained": (
        "pixels_ga", "pixels_classifier", "features_concat", "features_mul", "features_concat_ga", "features_linear_ga",
        "features_mul_ga",
    ),
    "other kinds of Z": ("grouped_ga", "embedded_ga", "equidistant_learned"),
    "20,000 labels": (
        "whitened_20k", "features_linear_20k", "lda_features_20k", "features_mul_ga_20k", "conv_ga", "conv_classifier",
    ),
}  # fmt: skip


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
        """Half-width of a 95 % interval for ``accuracy``: test images and, from two seeds on, seeds, in percent."""
        return spread(self.accuracy, self.test_n)


def spread(found: Summary, n: int) -> float:
    """Half-width of a 95 % interval of an accuracy in percent: n test images and, from two seeds on, seeds."""
    return with_samples(found, n).half_width


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
    """What lifts one step, block by block."""
    return [one for block in blocks(results).values() for one in block]


def blocks(results: Results) -> dict[str, list[Line]]:
    """What lifts one step, by :data:`BLOCKS`."""
    return {name: [line(results, row) for row in rows] for name, rows in BLOCKS.items()}


def right(results: Results, row: str, *inside: str) -> Tensor:
    """Whether one step, or the classifier, was right: (S, N), by seed and test image; ``inside``: where it stands."""
    seeds = results.rows[row].values()
    packs = [functools.reduce(operator.getitem, (*inside, "right"), seed) for seed in seeds]
    return stack([unpacked(pack, int(seed["test_n"])) for pack, seed in zip(packs, seeds, strict=True)])


def difference(results: Results, row: str, other: str) -> Summary:
    """Points by which ``row`` is more often right than ``other``, paired: seed by seed, image by image.

    The half-width is that of a 95 % interval over seeds (from two on) and test images together.
    """
    return paired(right(results, row), right(results, other))


def paired(right: Tensor, other: Tensor) -> Summary:
    """The same of two readers that are right where (S, N), by seed and image, says so."""
    away = 100 * (right.double() - other.double())
    seeds, images = summarise(away.mean(1)), away.mean(0)
    half_width = math.hypot(1.96 * float(images.std()) / math.sqrt(len(images)), over_seeds(seeds))
    return replace(seeds, half_width=half_width)


def beyond_one_step(results: Results, row: str, readout: str) -> Summary:
    """Points by which another readout of the same model is more often right than one step, paired as above."""
    gains, losses = (results.values(row, f"{readout}_{what}") for what in ("gains", "losses"))
    seeds = summarise(gains - losses)
    changed = float((gains + losses).mean()) / 100
    variance = changed - (seeds.mean / 100) ** 2
    images = 196 * math.sqrt(variance / results.first(row, "test_n"))
    return replace(seeds, half_width=math.hypot(images, over_seeds(seeds)))


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
