"""What a study is: rows, each measured for each seed, and how a process opens what they need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.shelf import Shelf

Settings = Mapping[str, Any]  # of a row, by name

SMALL = "small"  # the variant that every study has: minutes for all of it, for tests; never shipped
ALL = "*"  # in a variant's changes: all rows


class World(Protocol):
    """What the rows of one process share: data, and the shelf on which networks lie."""

    @property
    def digest(self) -> str:
        """Tells the data from any other."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the record says of the data."""


@dataclass(frozen=True)
class Row:
    """One line of a table: ``measure(world, seed, settings)`` returns plain values; ``words``: its name for readers.

    ``settings``: what its numbers depend on beside data and code; they are handed to ``measure``, so none can be left
    out of the mark under which the row is kept. ``once``: no randomness, so the first seed alone. ``needs``: networks
    of the same seed, which the study's ``train`` makes. ``only``: the variants that have this row; all if empty.
    ``together``: all seeds go through one pass, ``measure(world, seeds, settings)`` returns {seed: values}. ``times``:
    so many seeds for each one that is asked for, where a seed is cheap and one seed says little.
    """

    measure: Callable[[Any, Any, Mapping[str, Any]], Any]
    words: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    once: bool = False
    needs: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    together: bool = False
    times: int = 1

    def seeds(self, asked: Sequence[int]) -> tuple[int, ...]:
        """Those that it has of seeds s, s + 1, ..., and those behind them."""
        return tuple(range(asked[0], asked[0] + self.times * len(asked))) if self.times > 1 else tuple(asked)


@dataclass(frozen=True)
class Study:
    """``open(shelf, variant)`` -> the world of a process. ``module``: where the study stands as ``STUDY``.

    ``variants``: sizes or sets of data, each with the settings that differ there, by row (:data:`ALL` for all rows);
    the first is what is meant without a word. ``seeds``: how many of a variant are shipped, where not five.
    ``train(world, network, seed)`` sees to it that a network lies on the shelf; ``files(world, network, seed)``: where
    it lies, or would. ``ship(world, results)`` writes what is shipped beside the record; the paths.
    ``digest_for(world, row, settings)``: tells the data of a row that are not in the world's digest from any other; ""
    where it has none, or where they are not at hand. (It looks; it fetches nothing.)
    """

    name: str
    module: str
    chapter: str
    rows: Mapping[str, Row]
    open: Callable[[Shelf, str], Any]
    variants: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=lambda: {"": {}, SMALL: {}})
    seeds: Mapping[str, int] = field(default_factory=dict)
    train: Callable[[Any, str, int], Any] | None = None
    files: Callable[[Any, str, int], Sequence[Path]] | None = None
    ship: Callable[[Any, Results], Iterable[Path]] | None = None
    digest_for: Callable[[Any, str, Mapping[str, Any]], str] | None = None

    def variant(self, name: str | None) -> str:
        """The variant of this name, or the first. Raises ``ValueError`` naming the choices."""
        if name is not None and name not in self.variants:
            raise ValueError(f"The study {self.name} has no size '{name}': choose one of {_said(self.variants)}.")
        return next(iter(self.variants)) if name is None else name

    def shipped_seeds(self, variant: str) -> int:
        """How many seeds the shipped record of a variant has."""
        return self.seeds.get(variant, 5)

    def record(self, variant: str) -> str:
        """The name of the record: "mnist_slice"."""
        return f"{self.name}_{variant}" if variant else self.name

    def names(self, variant: str, rows: Sequence[str] | None = None) -> list[str]:
        """The rows of a variant, or the named ones of them. Raises ``ValueError`` naming the choices."""
        there = [name for name, row in self.rows.items() if not row.only or variant in row.only]
        for name in rows or ():
            if name not in there:
                raise ValueError(f"The study {self.name} has no row '{name}': choose among {_said(there)}.")
        return list(dict.fromkeys(rows or there))

    def settings(self, name: str, variant: str) -> dict[str, Any]:
        """The settings of a row in a variant."""
        changes = self.variants[variant]
        return {**self.rows[name].settings, **changes.get(ALL, {}), **changes.get(name, {})}


@dataclass(frozen=True)
class Task:
    """One measurement: a row, and the seeds that it takes in one pass."""

    row: str
    seeds: tuple[int, ...]


def tasks(study: Study, names: Sequence[str], seeds: Sequence[int]) -> Iterator[Task]:
    """All there is to measure, in the order in which it is taken: seed by seed, the first one whole."""
    for turn, _ in enumerate(seeds):
        for name in names:
            row = study.rows[name]
            mine = row.seeds(seeds)
            if row.once or row.together:
                if turn == 0:
                    yield Task(name, mine if row.together and not row.once else mine[:1])
            else:
                yield from (Task(name, (seed,)) for seed in mine[turn * row.times :][: row.times])


def typed(words: Iterable[str]) -> str:
    """A command as it is typed: a word with a space stands in quotes, which sh, cmd and PowerShell all take."""
    return " ".join(f'"{word}"' if " " in word else word for word in words)


def _said(choices: Iterable[str]) -> str:
    return ", ".join(choice for choice in choices if choice)
