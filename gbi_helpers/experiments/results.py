"""One reader of every record: what was measured, by row, seed and path, as tensors or summaries."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.files import load_asset
from gbi_helpers.metrics import Summary, summarise

Rows = dict[str, dict[str, Any]]  # row -> seed -> what was measured: numbers, lists and dicts of them
Where = tuple[str, ...]  # a row, then the keys inside it: ("faithful", "detection", "fashion", "max_z", "auroc")


@dataclass(frozen=True)
class Results:
    """What ``gbi reproduce`` left of a study: ``rows[row][seed]``; settings and name of each row; facts."""

    name: str
    rows: Rows
    settings: dict[str, Any]
    facts: dict[str, Any]
    words: dict[str, str]

    def seeds(self, row: str | None = None) -> int:
        """How many seeds a row has; without one, the row that has fewest of those that have several."""
        if row is not None:
            return len(_inside(self.rows, [row], "the record"))
        several = [len(seeds) for seeds in self.rows.values() if len(seeds) > 1]
        return min(several, default=1)

    def values(self, row: str, *path: str) -> Tensor:
        """Numbers over seeds on the first axis, (S, ...), float64; infinite where a goal was never reached.

        Raises ``KeyError`` naming the choices for an unknown name.
        """
        return torch.tensor([_numbers(found) for found in self._at(row, path)], dtype=torch.float64, device="cpu")

    def summary(self, row: str, *path: str, at: int | None = None) -> Summary:
        """Mean, sd and 95 % interval over seeds of one number, or of number ``at`` of a list.

        Raises ``ValueError`` for a list without ``at``, and for ``at`` with one number or past the end of a list.
        """
        values = self.values(row, *path)
        if at is not None and values.dim() == 1:
            raise ValueError(f"'{row}' has one number there, and no list: leave out at={at}.")
        if values.dim() > 2:
            raise ValueError(f"'{row}' has a list of lists there: take its numbers with values().")
        if values.dim() > 1 and (at is None or not -values.shape[1] <= at < values.shape[1]):
            raise ValueError(f"'{row}' has a list of numbers there: choose one with at=0 to {values.shape[1] - 1}.")
        return summarise(values if at is None else values[:, at])

    def mean(self, row: str, *path: str) -> float:
        """Mean over seeds of one number."""
        return self.summary(row, *path).mean

    def paired(self, one: Where, other: Where) -> Summary:
        """``one`` minus ``other``, seed by seed; a row of one seed is a constant, the same for each seed of the other.

        (That is what a row without randomness, measured once, has.) Raises ``ValueError`` for a list of numbers, and
        where both rows have several seeds, but not the same ones.
        """
        values = [self.values(*where) for where in (one, other)]
        for (row, *_), found in zip((one, other), values, strict=True):
            if found.dim() > 1:
                raise ValueError(f"'{row}' has a list of numbers there: only one number of each seed can be paired.")
        seeds = [list(self.rows[row]) for row, *_ in (one, other)]
        if seeds[0] != seeds[1] and 1 not in map(len, seeds):
            raise ValueError(f"'{one[0]}' and '{other[0]}' were not measured for the same seeds, so nothing is paired.")
        return summarise(values[0] - values[1])

    def first(self, row: str, *path: str) -> Any:
        """What the first seed has there, numbers or text."""
        return self._at(row, path)[0]

    def has(self, row: str, *path: str) -> bool:
        """Whether that was measured."""
        try:
            self._at(row, path)
        except KeyError:
            return False
        return True

    def _at(self, row: str, path: Sequence[str]) -> list[Any]:
        return [_inside(seed, path, f"'{row}'") for seed in _inside(self.rows, [row], "the record").values()]


def load_results(name: str, path: Path | None = None) -> Results:
    """The shipped record of this name ("mnist_slice"; its SHA-256 is checked), or the one at ``path``."""
    stored = json.loads((path or load_asset(f"records/{name}.json")).read_text(encoding="utf-8"))
    return Results(name, *(stored[part] for part in ("rows", "settings", "facts", "words")))


def plain(value: Any) -> Any:
    """The same as JSON will have it: keys as text, numbers with six significant digits, infinity as None.

    Raises ``ValueError`` for NaN, which no measurement may be, for minus infinity, which would come back as plus, and
    for what is no number, text, list or table.
    """
    if isinstance(value, Tensor | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float | np.floating):
        number = float(value)
        if math.isnan(number):
            raise ValueError("A measurement is NaN (not a number), so it is not kept: look at its inputs.")
        if number == -math.inf:
            raise ValueError("A measurement is minus infinity, which no record can hold: look at its inputs.")
        return float(f"{number:.6g}") if number < math.inf else None
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    if value is None or isinstance(value, str | int):
        return value
    raise ValueError(f"A measurement is of the type {type(value).__name__}: make it numbers, text, lists or tables.")


def _inside(found: Any, path: Sequence[str], where: str) -> Any:
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            choices = sorted(found) if isinstance(found, Mapping) else "nothing, for it is no table"
            raise KeyError(f"There is no '{key}' in {where}: choose one of {choices}.")
        found = found[key]
    return found


def _numbers(value: Any) -> Any:
    return [_numbers(v) for v in value] if isinstance(value, list) else math.inf if value is None else value
