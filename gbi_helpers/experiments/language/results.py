"""Reading the records of the language study: numbers over seeds, for notebooks and README."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.experiments.rows import Rows
from gbi_helpers.files import load_asset
from gbi_helpers.metrics import Summary, summarise
from gbi_helpers.records import WordsRecord


@dataclass(frozen=True)
class LanguageResults:
    """What ``gbi reproduce language`` left of one set: ``rows[job][seed]``, names of the sources, settings, facts.

    Jobs: "learning", "naming", "rest", "stream", "structure", "shuffled" and "held_out/<source>"; of the packages also
    "gate", "concat", "gatein", "udrop", "transformer", "bpe", and, of the first seed only, "map".
    What a job holds is told by its function in :mod:`gbi_helpers.experiments.language.jobs`.
    """

    data: str
    tasks: tuple[str, ...]
    rows: Rows
    settings: dict[str, Any]
    facts: dict[str, Any]

    def values(self, job: str, *path: str) -> Tensor:
        """Numbers over seeds on the first axis, (S, ...): say, ``values("naming", "corrected_accuracy")`` (S, lengths).

        Infinite where a goal was never reached. Raises ``KeyError`` naming the choices for an unknown name.
        """
        return torch.tensor([_numbers(_found(found, job, path)) for found in self._job(job).values()])

    def summary(self, job: str, *path: str, at: int | None = None) -> Summary:
        """Mean, sd and 95 % interval over seeds of one number, or of number ``at`` of a list.

        Raises ``ValueError`` for a list without ``at``.
        """
        values = self.values(job, *path)
        if at is None and values.dim() > 1:
            raise ValueError(f"'{job}' has a list of numbers there: choose one with at=0 to {values.shape[1] - 1}.")
        return summarise(values if at is None else values[:, at])

    def first(self, job: str, *path: str) -> Any:
        """What the first seed has under that name, numbers or text."""
        return _found(next(iter(self._job(job).values())), job, path)

    def at_length(self, way: str, score: str, n: int, job: str = "naming") -> Summary:
        """A score of one way ("one_step", "corrected", "exact", "unigram", "bigram") after n words; see ``naming``."""
        lengths: list[int] = self.first(job, "lengths")
        if n not in lengths:
            raise KeyError(f"Nothing was measured after {n} words: choose one of {lengths}.")
        return self.summary(job, f"{way}_{score}" if job == "naming" else way, at=lengths.index(n))

    def held_out(self) -> list[str]:
        """The sources that were held out, one at a time; :mod:`~.language_tables` has what became of them."""
        return [job.partition("/")[2] for job in self.rows if job.startswith("held_out/")]

    def headline(self) -> dict[str, float]:
        """The few numbers that stand in the manifest, as far as they were measured."""
        wanted = {
            "gap": ("learning", "gap"), "tokens_to_lstm": ("learning", "tokens_to_lstm"),
            "online_recovered": ("stream", "filter", "recovered"),
        }  # fmt: skip
        return {name: round(self.summary(*path).mean, 4) for name, path in wanted.items() if path[0] in self.rows}

    def _job(self, job: str) -> dict[str, dict[str, Any]]:
        if job not in self.rows:
            raise KeyError(f"There is no job '{job}' in these results: choose one of {sorted(self.rows)}.")
        return self.rows[job]


def _found(found: Any, job: str, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(found, dict) or key not in found:
            raise KeyError(f"'{job}' has no '{key}' here: choose one of {sorted(found)}.")
        found = found[key]
    return found


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers(inner) for inner in value]
    return math.inf if value is None else value


def load_results(data: str = "packages", path: Path | None = None) -> LanguageResults:
    """The shipped record of "packages" or "babylm" (its SHA-256 is checked), or the one at ``path``."""
    stored = json.loads((path or load_asset(f"records/language_{data}.json")).read_text(encoding="utf-8"))
    return LanguageResults(stored["data"], tuple(stored["tasks"]), stored["rows"], stored["settings"], stored["facts"])


def load_stream(data: str = "packages") -> WordsRecord:
    """A test stream of that set that switches its source, as the online filter read it, word by word."""
    return WordsRecord.load(load_asset(f"records/language_{data}_stream.npz"))
