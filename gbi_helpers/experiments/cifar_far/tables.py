"""The record of how far one step goes on CIFAR-100, for a reader: each row beside its honest ceiling."""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass, replace

from torch import Tensor, stack

from gbi_helpers.experiments.cifar.measure import unpacked
from gbi_helpers.experiments.cifar.tables import spread
from gbi_helpers.experiments.results import Results
from gbi_helpers.metrics import Summary, summarise

# What is read out of a row, and where it stands in the record.
READOUTS = {
    "one step": ("free", "one_step"),
    "one step, with delta": ("free", "one_step_delta"),
    "one step, sphere": ("sphere", "one_step"),
    "every class tried": ("free", "likelihood"),
    "50 steps": ("free", "iterative"),
    "ridge regression": ("rivals", "ridge", "accuracy"),
    "softmax regression": ("rivals", "softmax", "accuracy"),
    "nearest class mean": ("rivals", "nearest_mean", "accuracy"),
    "nearest neighbours": ("rivals", "neighbours", "accuracy"),
}
CEILING = ("every class tried", "ridge regression", "softmax regression")  # equal classifiers of the same features


@dataclass(frozen=True)
class Line:
    """One row: ``accuracy`` on test images in percent by readout, over seeds.

    Each half-width is that of a 95 % interval over test images and, from three seeds on, seeds. ``validation``: of one
    step on the sphere. ``milliseconds``: of CPU for one image, by part.
    """

    name: str
    words: str
    features: int
    accuracy: dict[str, Summary]
    validation: float
    milliseconds: dict[str, float]

    @property
    def ceiling(self) -> str:
        """The equal classifier that is right most often."""
        return max((name for name in CEILING if name in self.accuracy), key=lambda name: self.accuracy[name].mean)


def line(results: Results, row: str) -> Line:
    """One row."""
    n = int(results.first(row, "test_n"))
    found = {name: results.summary(row, *path) for name, path in READOUTS.items() if results.has(row, *path)}
    return Line(
        row,
        results.words[row],
        int(results.first(row, "size")),
        {name: replace(one, half_width=spread(one, n)) for name, one in found.items()},
        results.mean(row, "sphere", "validation"),
        {name: results.mean(row, "cost", name) for name in results.first(row, "cost")},
    )


def lines(results: Results) -> list[Line]:
    """All rows."""
    return [line(results, row) for row in results.rows]


def difference(results: Results, row: str, path: tuple[str, ...], other: tuple[str, ...]) -> Summary:
    """Points by which one reader of a row ("sphere",) is right more often than another ("rivals", "ridge").

    Paired, seed by seed and image by image; the interval is as in :class:`Line`.
    """
    away = 100 * (right(results, row, path).double() - right(results, row, other).double())
    seeds, images = summarise(away.mean(1)), away.mean(0)
    over_images = 1.96 * float(images.std()) / math.sqrt(len(images))
    return replace(seeds, half_width=math.hypot(over_images, seeds.half_width if seeds.n >= 3 else 0.0))


def right(results: Results, row: str, path: tuple[str, ...]) -> Tensor:
    """Whether a reader was right: (S, N), by seed and test image."""
    n, seeds = int(results.first(row, "test_n")), results.rows[row].values()
    return stack([unpacked(functools.reduce(operator.getitem, (*path, "right"), seed), n) for seed in seeds])
