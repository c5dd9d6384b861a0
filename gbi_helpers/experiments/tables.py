"""Tables for readers: numbers over seeds as text, passes, and what was measured beside what the paper reports."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gbi_helpers.experiments.paper import Reported, reported
from gbi_helpers.experiments.results import Results
from gbi_helpers.metrics import Summary

Table = tuple[list[str], list[list[str]]]  # header and rows of text, for ``plots.table(*table, caption)``


@dataclass(frozen=True)
class Compared:
    """One number of the paper, and what was measured in its place."""

    reported: Reported
    measured: Summary


def against_paper(results: Results, study: str) -> list[Compared]:
    """All that the paper reports of a study, in its order, as far as it was measured."""
    there = [one for one in reported(study) if results.has(one.row, *one.path)]
    return [Compared(one, results.summary(one.row, *one.path)) for one in there]


def interval(value: Summary, digits: int = 3) -> str:
    """Mean ± half of its 95 % interval. Without one (a single seed) the mean alone."""
    over = "" if math.isnan(value.half_width) else f" ± {value.half_width:.{digits}f}"
    return f"{value.mean:.{digits}f}{over}"


def sampling_error(percent: float, n: int) -> float:
    """Half-width of the 95 % interval, in percent, of an accuracy found on n images."""
    return 196 * math.sqrt(percent / 100 * (1 - percent / 100) / n)


def over_seeds(found: Summary) -> float:
    """Half-width of the 95 % interval over seeds; 0 where one seed has none."""
    return 0.0 if math.isnan(found.half_width) else found.half_width


def with_samples(percent: Summary, n: int) -> Summary:
    """The same with its interval over seeds, if there are several, widened by the chance of the n test samples.

    They add as squares.
    """
    return replace(percent, half_width=math.hypot(over_seeds(percent), sampling_error(percent.mean, n)))


def passes(results: Results, row: str, readout: str) -> tuple[int, int]:
    """Forward and backward passes of a readout for each sample; 0 where none were counted."""
    names = (f"{readout}_forwards", f"{readout}_backwards")
    forwards, backwards = (int(results.first(row, name)) if results.has(row, name) else 0 for name in names)
    return forwards, backwards
