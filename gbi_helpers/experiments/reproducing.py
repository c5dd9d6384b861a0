"""``gbi reproduce``: how long it will take, the studies one after the other, what moved, and a page about it."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gbi_helpers.experiments import STUDIES, runner, workers
from gbi_helpers.experiments.estimate import Estimate, as_shipped, estimate, minutes_with
from gbi_helpers.experiments.moved import compare
from gbi_helpers.experiments.needed import NAMES, NEEDED, advice
from gbi_helpers.experiments.report import Outcome, columns, summary, write_page
from gbi_helpers.experiments.results import load_results
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import SMALL, Study
from gbi_helpers.files import DataError, writable_cache

ALL_STUDIES = "all"


@dataclass(frozen=True)
class Asked:
    """One record that is asked for: of a study, a variant, for so many seeds, some rows or all."""

    study: Study
    variant: str
    size: str | None  # the variant as it was asked for
    seeds: int
    rows: Sequence[str] | None

    @property
    def record(self) -> str:
        """The name of the record."""
        return self.study.record(self.variant)

    @property
    def replaces(self) -> bool:
        """Whether it is to replace the shipped one."""
        return runner.replaces(self.study, self.variant, self.seeds, self.rows)


def asked(name: str, size: str | None, seeds: int | None, rows: Sequence[str] | None) -> list[Asked]:
    """The records that are meant by a study's name or "all"; without a size, of all studies every shipped one.

    Of several records those are meant that have all the rows.
    Raises ``ValueError`` for a size or a row that one of them does not have, with the choices.
    """
    whole = name == ALL_STUDIES
    studies = [importlib.import_module(STUDIES[one]).STUDY for one in (STUDIES if whole else [name])]
    if whole and (lack := [study.name for study in studies if size is not None and size not in study.variants]):
        raise ValueError(f"No size '{size}' in {', '.join(lack)}: for all studies choose small, or leave --size out.")
    return [_asked(study, which, seeds, rows) for study in studies for which in _sizes(study, size, rows, whole)]


def _asked(study: Study, size: str | None, seeds: int | None, rows: Sequence[str] | None) -> Asked:
    variant = study.variant(size)
    study.names(variant, rows)  # raises
    return Asked(study, variant, size, seeds or study.shipped_seeds(variant), rows)


def _sizes(study: Study, size: str | None, rows: Sequence[str] | None, whole: bool) -> Sequence[str | None]:
    """The variant asked for; without a word the first one, of language and of all studies each that is shipped."""
    several = [variant for variant in study.variants if variant != SMALL]
    if size is not None or len(several) < 2 or not (whole or study.name == "language"):
        return [size]
    # where none has all the rows, all of them: then the first one says which rows there are
    return [variant for variant in several if set(rows or ()) <= set(study.names(variant))] or several


def reproduce(wanted: Sequence[Asked], title: str, on: str | None = None, dry: bool = False) -> int:
    """Say how long, measure, say what moved, and write a page; 1 where something failed or has no data, else 0.

    ``on``: a number of processes, or the address of a Dask scheduler; ``dry``: say how long, and no more.
    """
    folder = writable_cache() / "shelf"  # or every study of several would be left out, each for the same reason
    with contextlib.nullcontext() if on is None else workers.connected(on) as client:
        estimates = [estimate(one.study, one.seeds, one.rows, one.variant) for one in wanted]
        print(foretold(estimates, max(1, len(client.nthreads())) if client else 1), flush=True)
        if dry:
            return int(any(one.lacking or one.problem for one in estimates))
        _say_if_barred(wanted, folder)
        outcomes = [_reproduced(one, client, alone=len(wanted) == 1) for one in wanted]
    print(summary(outcomes))
    name = "-".join(title.removeprefix("gbi ").split())
    print(f"The report is {write_page(folder / f'{name}.html', title, outcomes)}.")
    print(f"The shelf takes {sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 1e6:,.0f} MB.")
    return int(any(one.left_out for one in outcomes))


def _say_if_barred(wanted: Sequence[Asked], folder: Path) -> None:
    """Say in a sentence that records are to be replaced and cannot be, if so."""
    why = runner.barred() if any(one.replaces for one in wanted) else ""
    if why:
        stay = f"the shipped records stay, and those measured now lie in {folder}"
        print(f"gbi: the course's own folder cannot be written ({why}): {stay}.", file=sys.stderr)


def foretold(estimates: Sequence[Estimate], at_hand: int) -> str:
    """What is left to measure, and the minutes of it by the shipped records: a line for each, and one for all."""
    there = f"with {at_hand} workers" if at_hand > 1 else "in one process"
    lines = [["to measure", "left", "CPU minutes", there]]
    for one in estimates:
        unknown = one.problem or one.minutes is None
        minutes = ["?", "?"] if unknown else [f"{one.minutes:.1f}", f"{minutes_with(at_hand, [one]):.1f}"]
        lines.append([one.record, f"{one.left:,} of {one.total:,}", *minutes])
    if len(estimates) > 1:
        cpu = sum(one.minutes or 0.0 for one in estimates)
        left, total = sum(one.left for one in estimates), sum(one.total for one in estimates)
        any_known = any(not one.problem and one.minutes is not None for one in estimates)
        known = [f"{cpu:.1f}", f"{minutes_with(at_hand, estimates):.1f}"] if any_known else ["?", "?"]
        lines.append(["all", f"{left:,} of {total:,}", *known])
    return "\n".join([columns(lines), *_notes(estimates)])


def _notes(estimates: Sequence[Estimate]) -> list[str]:
    """Where the minutes are from, and what waits for data."""
    told = ["Minutes are those of the shipped records; what lies on the shelf costs none."]
    if any(one.minutes is None for one in estimates):
        told = ["No shipped record says how long this takes (?)."]
    for one in estimates:
        told += [f"{one.record}: {_rows(len(rows))} for {advice(key)}." for key, rows in one.lacking.items()]
        told += [f"{one.record}: {one.problem}"] * bool(one.problem)
    return told


def _rows(n: int) -> str:
    return "1 row waits" if n == 1 else f"{n} rows wait"


def _reproduced(one: Asked, client: Any, alone: bool) -> Outcome:
    """A record measured anew and held against the shipped one; of several, one of which no row is left is named.

    (What no other one would survive is raised: Ctrl-C, a full disk.)
    """
    try:
        paths = runner.reproduce(one.study, one.seeds, one.rows, variant=one.size, workers=client)
    except OSError:
        raise
    except Exception as error:  # whatever a row may raise
        if alone:
            raise
        _left_out(one, error)
        return Outcome(one.record, left_out=dict.fromkeys(one.study.names(one.variant, one.rows), runner.why(error)))
    for path in paths:
        print(f"{path.name} is in {path.parent}.", flush=True)
    return _compared(one, paths[0])


def _left_out(one: Asked, error: Exception) -> int:
    print(f"gbi: {one.record} was left out: {runner.why(error)}", file=sys.stderr)
    return 1


def _compared(one: Asked, path: Path) -> Outcome:
    measured = load_results(one.record, path)
    left_out = measured.facts.get("left_out", {})
    for row, why in left_out.items():
        print(f"gbi: {one.record}: row {row} was left out: {why}", file=sys.stderr)
    shipped = runner.shipped_before(measured, Shelf.of(one.study.name))
    return Outcome(one.record, len(measured.rows), path, compare(shipped, measured) if shipped else None, left_out)


def list_rows(wanted: Sequence[Asked]) -> int:
    """Print of each record its rows, how many seeds of each are measured already, and the minutes of one.

    1 where one of several has no data to tell by, else 0; raises ``DataError`` where it is the only one.
    """
    lost = 0
    for one in wanted:
        head = (f"{one.study.name} {one.size or ''}".strip(), "in words", "measured", "minutes a seed")
        try:
            print(columns([head, *runner.on_the_shelf(one.study, one.seeds, one.size, one.rows)]))
        except DataError as error:
            if len(wanted) == 1:
                raise
            lost = _left_out(one, error)
    return lost


def what_it_takes() -> str:
    """The README's table: of each shipped record its rows and seeds, the data that it needs, and its CPU minutes."""
    everything = asked(ALL_STUDIES, None, None, None)
    found = [as_shipped(one.study, one.variant) for one in everything]
    lines = [
        "| record | chapter | rows | seeds | what does not come with the course | CPU minutes |",
        "|---" * 6 + "|",
    ]
    for one, cost in zip(everything, found, strict=True):
        rows = one.study.names(one.variant)
        told = [f"`{one.record}`", one.study.chapter, str(len(rows)), str(one.seeds), _data(one.record, rows)]
        lines.append(f"| {' | '.join([*told, f'{cost.minutes or 0:.0f}'])} |")
    return "\n".join([*lines, f"| all | | | | | {sum(cost.minutes or 0 for cost in found) / 60:.1f} hours |"])


def _data(record: str, rows: Sequence[str]) -> str:
    """The sets that rows of a record need, and which rows: "all of MNIST; CIFAR-100 (`cifar/...`)"."""
    by_set: dict[str, list[str]] = {}
    for start, key in NEEDED.get(record, {}).items():
        by_set.setdefault(key, []).extend([f"`{start}{'' if start in rows else '...'}`"] * bool(start))
    return "; ".join(NAMES[key] + (f" ({', '.join(which)})" if which else "") for key, which in by_set.items()) or "-"


if __name__ == "__main__":
    print(what_it_takes())
