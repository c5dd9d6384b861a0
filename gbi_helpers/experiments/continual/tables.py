"""Chapter 09's numbers for readers: matrices R, methods by scenario, accuracy over bytes.

± is 95 % of the mean over five orders of the classes and over the test images, of which there are 10,000.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.tables import Table, sampling_error
from gbi_helpers.metrics import Summary

SCENARIOS = ("task", "domain", "class")
METHODS = ("fine_tuning", "ewc", "si", "lwf", "replay_100", "replay_1000", "joint")
TOLD = {
    "fine_tuning": "nothing",
    "ewc": "where a context ends",
    "si": "where a context ends",
    "lwf": "where a context ends",
    "replay_100": "images it stored",
    "replay_1000": "images it stored",
    "joint": "everything",
}
TESTED = 10_000
RECALLED: Mapping[str, tuple[str, str, str]] = {
    # task, domain, class; van de Ven, Tuytelaars and Tolias 2022, recalled: shown, never asserted
    "fine_tuning": ("84.3", "60.1", "19.9"),
    "ewc": ("99.1", "63.0", "20.6"),
    "lwf": ("99.6", "71.2", "21.9"),
    "replay_1000": ("99.0", "93.8", "88.8"),
    "joint": ("99.7", "98.6", "98.2"),
}


def widened(value: Summary, tested: int = TESTED) -> Summary:
    """The same with an interval that counts the test images, too."""
    return Summary(value.mean, value.sd, math.hypot(value.half_width, sampling_error(value.mean, tested)), value.n)


def told(results: Results, row: str, *path: str, tested: int = TESTED) -> str:
    """An accuracy as "97.3 ± 0.4", or a dash where it was not measured."""
    where = path or ("accuracy",)
    return str(widened(results.summary(row, *where), tested)) if results.has(row, *where) else "–"


def r_of(results: Results, row: str, *path: str) -> Tensor:
    """R (T, T), the mean over orders; NaN for contexts that had not come."""
    r = results.values(row, *path, "r").mean(0)
    return r.where(r >= 0, torch.nan)


def methods(results: Results, where: str) -> Table:
    """Every method in every scenario: what it is told, and its accuracy; beside it what the reference study reports."""
    rows = []
    for name in METHODS:
        known = [f"{where}/{how}/{name}" for how in SCENARIOS]
        there = next((row for row in known if row in results.rows), None)
        if there:
            reported = RECALLED.get(name, ("–",) * 3)
            shown = [told(results, row) if row in results.rows else "–" for row in known]
            columns = [text for pair in zip(shown, reported, strict=True) for text in pair]
            rows.append([results.words[there], TOLD[name], *columns])
    header = ["method", "is told, while learning", *(c for how in SCENARIOS for c in (how, "recalled"))]
    return header, rows


def swept(results: Results, row: str) -> tuple[list[float], Tensor, Tensor]:
    """Of a sweep: the strengths, accuracy (S, C) and learning accuracy (S, C) on test images, by seed and choice."""
    return list(results.settings[row]["sweep"]), results.values(row, "test"), results.values(row, "learned")


def bytes_told(n: float) -> str:
    """A number of bytes for readers."""
    return f"{n / 1e6:.2f} MB" if n >= 1e4 else f"{n:.0f} B"
