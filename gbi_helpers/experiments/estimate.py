"""How long a study will take, before it starts: by the times in the shipped records, less what is measured already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gbi_helpers.experiments.bench import Bench
from gbi_helpers.experiments.needed import at_hand, needs
from gbi_helpers.experiments.runner import seconds_of, shipped_results
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import Study, Task, tasks
from gbi_helpers.files import DataError

Network = tuple[str, int]  # its name, and its seed


@dataclass(frozen=True)
class Estimate:
    """What is left of a record: ``left`` of ``total`` measurements (rows times seeds), in CPU ``minutes``.

    ``longest``: minutes of the longest single one, which no number of workers shortens; both None where no record
    tells. ``lacking``: rows by the data set that they wait for; they are not counted. ``problem``: why none can be.
    """

    record: str
    left: int = 0
    total: int = 0
    minutes: float | None = 0.0
    longest: float | None = 0.0
    lacking: Mapping[str, list[str]] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Usual:
    """Seconds of one seed of each row as a record has them, and of each row and network of which it does not tell."""

    rows: Mapping[str, float]
    other: float

    @staticmethod
    def of(study: Study, variant: str) -> Usual | None:
        """None where nothing is shipped, or nothing with times."""
        shipped = shipped_results(study.record(variant))
        rows = seconds_of(study.record(variant))
        if shipped is None or not (rows or _minutes(shipped.facts)):
            return None
        told = sum(rows[row] * len(by_seed) for row, by_seed in shipped.rows.items() if row in rows)
        untold = sum(len(by_seed) for row, by_seed in shipped.rows.items() if row not in rows)
        there = {row: study.rows[row].needs for row in shipped.rows if row in study.rows}
        networks = {(need, seed) for row, found in there.items() for need in found for seed in shipped.rows[row]}
        others = untold + len(networks)
        rest = 60 * _minutes(shipped.facts) - told
        return Usual(rows, max(0.0, rest) / others if others else 0.0)

    def seconds(self, row: str) -> float:
        """CPU seconds of one seed."""
        return self.rows.get(row, self.other)


def _minutes(facts: Mapping[str, Any]) -> float:
    """All that a record says it took, in whatever parts."""
    here = sum(facts.get(name, 0.0) for name in ("minutes", "cpu_minutes"))
    return here + sum(_minutes(part) for part in facts.values() if isinstance(part, Mapping))


def estimate(study: Study, seeds: int, rows: Sequence[str] | None = None, variant: str | None = None) -> Estimate:
    """What is left to do for seeds 0 .. ``seeds`` - 1 of the named rows (all if None).

    Raises ``ValueError`` for an unknown row or variant, with the choices.
    """
    chosen = study.variant(variant)
    record, names = study.record(chosen), study.names(chosen, rows)
    lacking = _lacking(record, names)
    waiting = {row for found in lacking.values() for row in found}
    wanted = list(tasks(study, [name for name in names if name not in waiting], range(seeds)))
    try:
        bench = _bench(study, chosen) if wanted else None
        left = {task: len(bench.missing(task)) if bench else len(task.seeds) for task in wanted}
        networks = list(_untrained(study, bench, [task for task in wanted if left[task]]))
    except DataError as error:
        return Estimate(record, lacking=lacking, problem=str(error))
    return _summed(Usual.of(study, chosen), left, networks, Estimate(record, lacking=lacking))


def _summed(usual: Usual | None, left: Mapping[Task, int], networks: list[Network], known: Estimate) -> Estimate:
    counts, total = sum(left.values()), sum(len(task.seeds) for task in left)
    if usual is None and counts:
        return Estimate(known.record, counts, total, None, None, known.lacking)
    if usual is None:
        return Estimate(known.record, 0, total, lacking=known.lacking)
    seconds = sum(usual.seconds(task.row) * n for task, n in left.items()) + usual.other * len(networks)
    longest = max((usual.rows.get(task.row, 0.0) * n for task, n in left.items()), default=0.0)
    return Estimate(known.record, counts, total, seconds / 60, longest / 60, known.lacking)


def _lacking(record: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Rows by the set that they wait for."""
    by_set: dict[str, list[str]] = {}
    for name in names:
        for key in needs(record, name):
            by_set.setdefault(key, []).append(name)
    return {key: found for key, found in by_set.items() if not at_hand(key)}


def _bench(study: Study, variant: str) -> Bench | None:
    """None for an empty shelf: then there is no need to open the data."""
    shelf = Shelf.of(study.name)
    return Bench(study, variant, shelf) if any(shelf.folder.glob("*.json")) else None


def _untrained(study: Study, bench: Bench | None, left: Sequence[Task]) -> Iterator[Network]:
    """The networks that rows wait for, and that are not on the shelf."""
    for need, seed in {(need, seed) for task in left for need in study.rows[task.row].needs for seed in task.seeds}:
        if bench is None or not all(path.exists() for path in bench.files(need, seed)):
            yield need, seed


def minutes_with(workers: int, estimates: Sequence[Estimate]) -> float:
    """Minutes of all of them on so many workers, one study after the other; what no record tells is not in it."""
    return sum(max((one.minutes or 0.0) / workers, one.longest or 0.0) for one in estimates)


def as_shipped(study: Study, variant: str) -> Estimate:
    """What a shipped record takes from nothing: all its rows and seeds, whatever is at hand here."""
    names = study.names(variant)
    wanted = {task: len(task.seeds) for task in tasks(study, names, range(study.shipped_seeds(variant)))}
    networks = list(_untrained(study, None, list(wanted)))
    return _summed(Usual.of(study, variant), wanted, networks, Estimate(study.record(variant)))
