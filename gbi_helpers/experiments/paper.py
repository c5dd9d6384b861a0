"""What the paper reports, in one table: each number once, with where it is known from.

Hummos et al. (2024), arXiv 2407.17356. ``assets/paper.csv`` names the row of a study, and the path inside it, that a
number is to be held against. "stated": it stands in a source at hand; "recalled": from memory of the paper, unverified;
an empty value: the paper has such a row, but its number is not known to us, or there is none. "spread": the paper's own
±, where it gives one; of what (runs, how many, sd or interval) is not known to us.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass

from gbi_helpers.files import load_asset


@dataclass(frozen=True)
class Reported:
    """One number of the paper: its ``name`` in words, its ``value`` or None, ``known`` from where, its ± or None."""

    study: str
    row: str
    path: tuple[str, ...]
    name: str
    value: float | None
    known: str
    spread: float | None = None

    def allowed(self, half_width: float) -> float:
        """By how much the number may lie off a mean known to ± before the two differ: both ± together."""
        return math.hypot(half_width, self.spread or 0.0)

    def held_against(self, mean: float, half_width: float) -> str:
        """A mean known to ±: "agrees" (the number is within it), "differs" (by more than both ±), "open" in between.

        The paper does not say whether its ± is an interval of the mean. "–" where it has no number.
        """
        if self.value is None:
            return "–"
        if math.isnan(half_width):  # a single run
            return "open"
        apart = abs(mean - self.value)
        return "agrees" if apart <= half_width else "open" if apart <= self.allowed(half_width) else "differs"


def reported(study: str) -> list[Reported]:
    """What the paper reports of a study, in its order. Raises ``KeyError`` for a study of which it reports nothing."""
    with load_asset("paper.csv").open(encoding="utf-8", newline="") as stream:
        lines = [line for line in csv.DictReader(stream) if line["study"] == study]
    if not lines:
        raise KeyError(f"The paper reports nothing of a study '{study}'.")
    return [_read(line) for line in lines]


def paper_number(study: str, row: str, *path: str) -> float:
    """One number. Raises ``KeyError`` where there is none."""
    for one in reported(study):
        if (one.row, one.path) == (row, path) and one.value is not None:
            return one.value
    raise KeyError(f"The paper reports no {'/'.join(path)} of '{row}' in {study}.")


def _read(line: dict[str, str]) -> Reported:
    value, spread = (float(line[name]) if line[name] else None for name in ("value", "spread"))
    path = tuple(line["path"].split("/"))
    return Reported(line["study"], line["row"], path, line["name"], value, line["known"], spread)
