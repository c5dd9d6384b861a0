"""Each statement of the paper beside what the course measured, and the verdict: nothing but paper and records.

``assets/verdicts.toml`` says of each statement which number of the paper (``paper.csv``), which place in a record, and
which rule it is judged by. No measured number stands there, so a record that changes changes every verdict.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor, allclose

from gbi_helpers.experiments.cifar.tables import paired, right
from gbi_helpers.experiments.ood.tables import with_images
from gbi_helpers.experiments.paper import Reported, reported
from gbi_helpers.experiments.results import Results, load_results
from gbi_helpers.experiments.study import typed
from gbi_helpers.experiments.tables import over_seeds, sampling_error
from gbi_helpers.files import ASSETS
from gbi_helpers.metrics import Summary, summarise

Load = Callable[[str], Results]
RULE = re.compile(r"(near|(above|below) -?[0-9.]+(e[+-]?[0-9]+)?)?")
NEAR = {"agrees": "holds", "open": "undecided", "differs": "does not hold"}
VERDICTS = {
    "holds": "✓",
    "holds otherwise": "(✓)",
    "undecided": "?",
    "does not hold": "✗",
    "not comparable": "–",
    "not measured": "…",
}


@dataclass(frozen=True)
class Place:
    """A number in a record, ``record: row > key > key``, seed by seed; of lists the last keys are indices, or mean."""

    record: str
    row: str
    path: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> Place:
        """Raises ``ValueError`` for a text of another form."""
        record, colon, rest = text.partition(": ")
        row, *path = rest.split(" > ")
        if not (colon and row and path):
            raise ValueError(f"'{text}' names no place in a record: write 'record: row > key'.")
        return cls(record, row, tuple(path))

    def values(self, load: Load) -> Tensor:
        """The number (S,) of each seed. Raises ``KeyError`` naming the choices where there is no such place."""
        results, path, inside = load(self.record), list(self.path), list[str]()
        while path and not results.has(self.row, *path) and _counts(path[-1]):
            inside.insert(0, path.pop())
        found = results.values(self.row, *path)
        if len(inside) != found.dim() - 1:
            raise KeyError(f"'{self.row} > {' > '.join(self.path)}' needs {found.dim() - 1} indices in {self.record}.")
        for key in inside:
            found = found.mean(1) if key == "mean" else found[:, int(key)]
        return found

    def interval(self, load: Load) -> Summary | None:
        """The interval over samples, of a place that holds "mean", "low" and "high"; None of any other."""
        results = load(self.record)
        found = results.first(self.row, *self.path) if results.has(self.row, *self.path) else None
        if not isinstance(found, Mapping) or not {"mean", "low", "high"} <= set(found):
            return None
        return Summary(found["mean"], math.nan, (found["high"] - found["low"]) / 2, results.seeds(self.row))

    def right(self, load: Load) -> Tensor:
        """Of an accuracy of one step or of a classifier, which images were right: (S, N), by seed and test image.

        Raises ``ValueError`` where what is packed beside it is not of this accuracy.
        """
        found = right(load(self.record), self.row, *self.path[:-1])
        if not allclose(100 * found.double().mean(1), self.values(load), atol=1e-3):
            raise ValueError(f"What is right beside '{self.row} > {' > '.join(self.path)}' is of another readout.")
        return found

    def again(self, load: Load) -> tuple[tuple[str, ...], int]:
        """The words that measure its study, and the seeds its row has; of a record of no study, its command, and 0."""
        results, (study, size) = load(self.record), (self.record, "")
        if not _is_study(study):
            study, _, size = self.record.rpartition("_")
        if not _is_study(study):
            return (str(results.facts["command"]),), 0
        seeds = len(results.facts.get("seed", ())) or results.seeds(self.row)
        return ("gbi", "reproduce", study, *(("--size", size) if size else ())), seeds


def sides(places: Sequence[str], load: Load) -> list[Tensor]:
    """The numbers (S,) of each place, of the seeds that all have; a row that was measured once stands beside any."""
    found = [Place.read(text).values(load) for text in places]
    both = min((len(side) for side in found if len(side) > 1), default=1)
    return [side[:both] for side in found]


@dataclass(frozen=True)
class Statement:
    """What is stated, ``says``, and ``where``; what it is held against, and by which ``rule``; ``why``: a remark.

    ``rule``: "near" (the reported number within our interval; undecided if it is only with the paper's own ±, of which
    the paper does not say what it spans), "above x" or "below x". ``images``: how many test images it was found on;
    their chance widens the interval over seeds, as squares add. (A difference is given the chance of two sets of them,
    though both saw the same: too wide, on the safe side, unless the two are shares of one whole. ``paired``: its own,
    image by image, from what the records hold of each.)
    ``measured``: one place in a record, or two: the first minus the second, seed by seed. ``otherwise``: another
    measurement, by the same rule, that counts where the first fails; ``elsewhere`` says which it is. ``of``: what
    differs from run to run.
    """

    group: str
    where: str
    says: str
    chapter: str
    unit: str = ""
    of: str = "seeds"
    rule: str = ""
    paper: str = ""
    measured: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()
    elsewhere: str = ""
    why: str = ""
    images: int = 0
    paired: bool = False
    scale: float = 1.0
    digits: int = 1

    def __post_init__(self) -> None:
        if not RULE.fullmatch(self.rule):
            raise ValueError(f"'{self.rule}' of '{self.says}' is no rule: write near, above x or below x, or nothing.")


@dataclass(frozen=True)
class Judged:
    """A statement with what was measured of it, read from the records by ``load``."""

    statement: Statement
    load: Load = load_results

    @cached_property
    def reported(self) -> Reported | None:
        """The number of the paper, or None."""
        if not self.statement.paper:
            return None
        study, row, path = self.statement.paper.split(":")
        return next(one for one in reported(study) if (one.row, one.path) == (row, tuple(path.split("/"))))

    @cached_property
    def measured(self) -> Summary | None:
        """Mean with its 95 % interval, over seeds and images; of a difference seed by seed; None if not measured."""
        return self._summary(self.statement.measured)

    @cached_property
    def otherwise(self) -> Summary | None:
        """The other measurement, or None."""
        return self._summary(self.statement.otherwise)

    @property
    def verdict(self) -> str:
        """One of :data:`VERDICTS`."""
        statement = self.statement
        if self.measured is None:
            return "not measured"
        if not statement.rule:
            return "not comparable"
        found = self._judge(self.measured)
        if found != "holds" and self.otherwise is not None and self._judge(self.otherwise) == "holds":
            return "holds otherwise"
        return found

    @property
    def commands(self) -> list[str]:
        """What measures it again, a line a study: rows that are compared belong into one record."""
        studies: dict[tuple[str, ...], dict[str, int]] = {}
        for place in (Place.read(text) for text in (*self.statement.measured, *self.statement.otherwise)):
            words, seeds = place.again(self.load)
            studies.setdefault(words, {})[place.row] = seeds
        return [
            typed([*words, "--seeds", str(seeds), "--rows", *rows]) if (seeds := max(rows.values())) else words[0]
            for words, rows in studies.items()
        ]

    def _summary(self, texts: Sequence[str]) -> Summary | None:
        if not texts:
            return None
        if len(texts) == 1 and (interval := Place.read(texts[0]).interval(self.load)):
            return interval
        if self.statement.paired:
            return paired(*(Place.read(text).right(self.load) for text in texts))
        one, *other = (self.statement.scale * side for side in sides(texts, self.load))
        found = summarise(one - other[0] if other else one)
        if not self.statement.images:
            return found
        chance = [self._chance(float(side.mean())) for side in (one, *other)]
        return replace(found, half_width=math.hypot(*chance, over_seeds(found)))

    def _chance(self, mean: float) -> float:
        """Half-width of the 95 % interval that the test images alone give an accuracy, or an AUROC."""
        if self.statement.unit == "AUROC":
            return with_images(Summary(mean, 0.0, 0.0, 1)).half_width
        return sampling_error(mean, self.statement.images)

    def _judge(self, found: Summary) -> str:
        kind, _, limit = self.statement.rule.partition(" ")
        if kind == "near":
            told = self.reported
            if told is None or told.value is None:
                raise ValueError(f"'{self.statement.says}' is near no number of the paper: name one that has a value.")
            return NEAR[told.held_against(found.mean, found.half_width)]
        ahead = (found.mean - float(limit)) * (1 if kind == "above" else -1)
        if not abs(ahead) > found.half_width:  # not known at all from a single run
            return "undecided"
        return "holds" if ahead > 0 else "does not hold"


def judged(group: str | None = None, load: Load = load_results) -> list[Judged]:
    """All statements, or those of one group, each with its verdict.

    ``load``: name of a record -> Results. Raises ``KeyError`` for a group without statements.
    """
    with (ASSETS / "verdicts.toml").open("rb") as stream:
        told = [_statement(one) for one in tomllib.load(stream)["statement"]]
    once = functools.cache(load)
    found = [Judged(one, once) for one in told if group in (None, one.group)]
    if not found:
        raise KeyError(f"No statement is of the group '{group}': choose one of {sorted({one.group for one in told})}.")
    return found


def _statement(told: dict[str, Any]) -> Statement:
    """From a table of the file, in which one place may stand without brackets."""
    for name in ("measured", "otherwise"):
        found = told.get(name, ())
        told[name] = (found,) if isinstance(found, str) else tuple(found)
    return Statement(**told)


def _is_study(name: str) -> bool:
    return bool(name) and importlib.util.find_spec(f"gbi_helpers.experiments.{name}") is not None


def _counts(key: str) -> bool:
    """Whether a key may stand for a place in a list, or for its mean."""
    return key == "mean" or key.lstrip("-").isdigit()
