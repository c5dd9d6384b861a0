"""Run a study: what is not on the shelf yet is measured, here or on many machines; and the record is written.

Every row is kept at once, so a study may be stopped at any moment. Whoever else works on the same shelf takes other
rows meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gbi_helpers.checkpoints import run_facts
from gbi_helpers.experiments.bench import Bench
from gbi_helpers.experiments.results import Results, load_results, plain
from gbi_helpers.experiments.shelf import Shelf, mark, read_kept, write_values
from gbi_helpers.experiments.study import SMALL, Study, Task, tasks, typed
from gbi_helpers.experiments.workers import measure_there
from gbi_helpers.files import ASSETS, DataError, add_asset, locked, part_file, try_writing
from gbi_helpers.progress import progress_bar
from gbi_helpers.records import TrainingRecord
from gbi_helpers.runtime import one_thread

if TYPE_CHECKING:
    from distributed import Client


def run(
    study: Study,
    seeds: Sequence[int],
    rows: Sequence[str] | None = None,
    *,
    variant: str | None = None,
    shelf: Shelf | None = None,
    workers: Client | None = None,
    left_out: dict[str, Exception] | None = None,
) -> Results:
    """Measure the named rows (all if None) for each seed, and nothing twice: what lies on the shelf is taken from it.

    ``workers``: a client of Dask's scheduler, to which the rows go; None: this process. ``left_out``: where to enter
    the rows that failed, or whose data are not at hand, and why; without it the first such error is raised, when the
    others are done. What no row can help stops all at once: Ctrl-C, a full disk (``OSError``).
    Raises ``ValueError`` for an unknown row or variant, with the choices.
    """
    chosen = study.variant(variant)
    names = study.names(chosen, rows)
    bench = Bench(study, chosen, shelf or Shelf.of(study.name))
    wanted, lost = list(tasks(study, names, seeds)), {} if left_out is None else left_out
    with _progress(study, chosen, [task for task in wanted if bench.missing(task)]) as done:
        if workers is None:
            _here(bench, wanted, done, lost)
        else:
            measure_there(workers, bench, wanted, done, lost)
    if lost and (left_out is None or len(lost) == len(names)):
        raise next(iter(lost.values()))
    names = [name for name in names if name not in lost]
    found = {name: {} for name in names}  # type: dict[str, dict[str, Any]]
    for task in wanted:
        if task.row in found:
            found[task.row] |= {str(seed): bench.kept(task.row, seed) for seed in task.seeds}
    settings = {name: plain(study.settings(name, chosen)) for name in names}
    words = {name: study.rows[name].words for name in names}
    return Results(study.record(chosen), found, settings, dict(bench.world.facts), words)


def _here(bench: Bench, wanted: Sequence[Task], done: Callable[[Task], None], lost: dict[str, Exception]) -> None:
    """Measure in this process. What another process is at comes last: perhaps it is done by then."""
    queue, busy = deque(wanted), 0
    while queue:
        task = queue.popleft()
        if task.row in lost or not bench.missing(task):
            done(task)  # perhaps by another process
            busy = 0
            continue
        with locked(bench.place(task.row, task.seeds[0]), wait=busy > len(queue)) as mine:
            if mine:
                try:
                    bench.measure(task)
                except OSError:
                    raise
                except Exception as error:  # whatever a row may raise; the others go on
                    traceback.clear_frames(error.__traceback__)  # the memory that they hold is the others'
                    lost[task.row] = error
                done(task)
            else:
                queue.append(task)
        busy = 0 if mine else busy + 1


@contextlib.contextmanager
def _progress(study: Study, variant: str, left: Sequence[Task]) -> Iterator[Callable[[Task], None]]:
    """A bar whose length is the time that the shipped record took, so that the time left is one to count on."""
    took = seconds_of(study.record(variant)) or seconds_of(study.record(study.variant(None)))
    usual = sum(took.values()) / len(took) if took else 1.0
    cost = {task: took.get(task.row, usual) * len(task.seeds) for task in left}
    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with progress_bar(total=sum(cost.values()), desc=study.record(variant), bar_format=form) as bar:

        def done(task: Task) -> None:
            bar.set_postfix_str(f"{task.row} {task.seeds[0]}", refresh=False)
            bar.update(cost.get(task, 0.0))

        yield done


def seconds_of(record: str) -> dict[str, float]:
    """CPU seconds of one seed of each row, as far as the shipped record has them; empty where there is none."""
    try:
        rows = load_results(record).rows
    except DataError:
        return {}
    spent = {name: [by[s].get("cpu_seconds", by[s].get("seconds")) for s in by] for name, by in rows.items()}
    return {name: sum(values) / len(values) for name, values in spent.items() if None not in values}


# ---------------------------------------------------------------- the record


def reproduce(
    study: Study,
    seeds: int,
    rows: Sequence[str] | None = None,
    *,
    variant: str | None = None,
    workers: Client | None = None,
) -> list[Path]:
    """Measure for seeds 0 .. ``seeds`` - 1 and write the record, and what is shipped beside it; the paths.

    The shipped record is replaced by a whole one only, and where it can be: some rows, fewer seeds, the small variant,
    or an install that cannot be written leave theirs on the shelf. Rows that failed, or whose data are not at hand, are
    left out, and the record says so: ``facts["left_out"]``. Where that would be all of them, the first error is raised.
    """
    chosen = study.variant(variant)
    bench = Bench(study, chosen, Shelf.of(study.name))
    left_out: dict[str, Exception] = {}
    whole = replaces(study, chosen, seeds, rows) and not barred()
    results = run(study, range(seeds), rows, variant=chosen, shelf=bench.shelf, workers=workers, left_out=left_out)
    whole = whole and not left_out
    options = [*(["--size", chosen] if chosen else []), *(["--rows", *rows] if rows else [])]
    command = typed(["gbi", "reproduce", study.name, "--seeds", str(seeds), *options])
    minutes = round((_row_seconds(results) + _network_seconds(bench, results)) / 60, 1)
    facts = run_facts(command=command, seed=list(range(seeds)), threads=1, minutes=minutes, **results.facts)
    if left_out:
        facts["left_out"] = {name: why(error) for name, error in left_out.items()}
    if whole:
        _keep_shipped(results, bench.shelf)
    folder = ASSETS / "records" if whole else bench.shelf.folder / "records"
    path = write_record(folder / f"{results.name}.json", results, facts)
    if not whole:
        return [path]
    add_asset(path, **facts)
    with one_thread():
        return [path, *(study.ship(bench.world, load_results(results.name)) if study.ship else ())]


def why(error: Exception) -> str:
    """Why a row was left out, for a record: what is to be done about its data, or how it failed."""
    return str(error) if isinstance(error, DataError) else f"it failed with {type(error).__name__}: {error}"


def replaces(study: Study, variant: str, seeds: int, rows: Sequence[str] | None) -> bool:
    """Whether the record of so many seeds and of these rows (all if None) is to replace the shipped one."""
    return rows is None and variant != SMALL and seeds >= study.shipped_seeds(variant)


def barred() -> str:
    """Why the shipped records cannot be replaced here, as where the course is installed read-only; "" if they can."""
    try:
        for folder in (ASSETS, ASSETS / "records"):
            try_writing(folder)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def write_record(path: Path, results: Results, facts: Mapping[str, Any]) -> Path:
    """The one shape of all records: settings and words by row, facts, and what was measured by row and seed."""
    content = {"settings": results.settings, "facts": facts, "words": results.words, "rows": results.rows}
    with part_file(path) as part:
        part.write_bytes((json.dumps(content, separators=(",", ":")) + "\n").encode())  # Unix line ends: it is hashed
    return path


def _keep_shipped(results: Results, shelf: Shelf) -> None:
    """Keep the shipped record that other numbers are about to replace, so that they can be held against it.

    And a mark of those numbers: the record that they leave is no shipped one, and never kept as such.
    """
    shipped = shipped_results(results.name)
    if shipped and shipped.rows == results.rows:
        return
    if shipped and not _made_here(shipped, shelf):
        write_record(_beside(shipped.name, "before", shelf), shipped, shipped.facts)
    own = _beside(results.name, "own", shelf)
    marks = {mark(results.rows), *(read_kept(own) or [])}
    with part_file(own) as part:
        write_values(sorted(marks), part)


def shipped_before(measured: Results, shelf: Shelf) -> Results | None:
    """The shipped record, or the one that numbers measured here have replaced; None where there is none."""
    shipped, before = shipped_results(measured.name), _beside(measured.name, "before", shelf)
    if not shipped or not _made_here(shipped, shelf):
        return shipped
    try:
        return load_results(measured.name, before) if before.exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        print(f"{before} cannot be read: {measured.name} is held against no shipped record.", file=sys.stderr)
        return None


def _made_here(shipped: Results, shelf: Shelf) -> bool:
    """Whether the record among the assets holds numbers that were measured here, and not those that were shipped."""
    return mark(shipped.rows) in (read_kept(_beside(shipped.name, "own", shelf)) or [])


def _beside(record: str, which: str, shelf: Shelf) -> Path:
    """A file beside a record on the shelf: the shipped one "before", or marks of its "own" numbers."""
    return shelf.folder / "records" / f"{record}.{which}.json"


def shipped_results(record: str) -> Results | None:
    """The shipped record of this name; None where there is none, or none that can be read."""
    with contextlib.suppress(DataError):
        return load_results(record)
    return None


def _row_seconds(results: Results) -> float:
    return sum(found["cpu_seconds"] for by_seed in results.rows.values() for found in by_seed.values())


def _network_seconds(bench: Bench, results: Results) -> float:
    """Of the networks behind the rows, whenever and wherever they were trained, as far as they lie on this shelf."""
    needed = {(need, seed) for row, by in results.rows.items() for need in bench.study.rows[row].needs for seed in by}
    files = [path for need, seed in sorted(needed) for path in bench.files(need, int(seed)) if path.suffix == ".npz"]
    return sum(map(_cpu_seconds, files))


def _cpu_seconds(path: Path) -> float:
    """Of the training that left this record; 0 where there is none, or none that can be read."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return TrainingRecord.load(path).facts["cpu_seconds"]
    return 0.0


def on_the_shelf(
    study: Study, seeds: int, variant: str | None = None, rows: Sequence[str] | None = None
) -> list[tuple[str, str, str, str]]:
    """A line for each row (all if None): name, words, how many seeds lie on the shelf, minutes of a seed as shipped."""
    chosen = study.variant(variant)
    bench, took = Bench(study, chosen, Shelf.of(study.name)), seconds_of(study.record(chosen))
    lines = []
    for name in study.names(chosen, rows):
        asked = list(tasks(study, [name], range(seeds)))
        total = sum(len(task.seeds) for task in asked)
        there = total - sum(len(bench.missing(task)) for task in asked)
        minutes = f"{took[name] / 60:.1f}" if name in took else "?"
        lines.append((name, study.rows[name].words, f"{there} of {total}", minutes))
    return lines
