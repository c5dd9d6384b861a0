"""Where one process measures: it knows what lies on the shelf, and makes what does not."""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gbi_helpers.experiments.results import plain
from gbi_helpers.experiments.shelf import Shelf, read_kept, write_values
from gbi_helpers.experiments.source import code_of
from gbi_helpers.experiments.study import Study, Task
from gbi_helpers.files import DataError, part_file
from gbi_helpers.runtime import device, one_thread


@dataclass(frozen=True, eq=False)
class Bench:
    """Where one process measures: the study, its variant, the shelf."""

    study: Study
    variant: str
    shelf: Shelf

    @property
    def world(self) -> Any:
        """Opened once in each process."""
        return _world(self.study.module, self.variant, self.shelf)

    def place(self, name: str, seed: int) -> Path:
        """Where a row of a seed lies, or would: under a mark of data, settings, code, networks, and kind of device."""
        return _place(self, name, seed)

    def kept(self, name: str, seed: int) -> Any:
        """The values of a row of a seed from the shelf; None where they are not there, or damaged."""
        return read_kept(self.place(name, seed))

    def missing(self, task: Task) -> list[int]:
        """The seeds of a task that are not on the shelf."""
        return [seed for seed in task.seeds if self.kept(task.row, seed) is None]

    def keep(self, name: str, found: Mapping[int, Any]) -> None:
        """Put a row of some seeds on the shelf."""
        for seed, values in found.items():
            with part_file(self.place(name, seed)) as part:
                write_values(values, part)

    def measure(self, task: Task) -> dict[int, Any]:
        """The values of a task by seed: from the shelf, and what is missing there measured now, and kept."""
        missing = self.missing(task)
        if missing:
            self.keep(task.row, self._measured(task.row, missing))
        return {seed: self.kept(task.row, seed) for seed in task.seeds}

    def train(self, network: str, seed: int) -> None:
        """See to it that a network of this seed lies on the shelf."""
        assert self.study.train is not None, f"{self.study.name} does not say how to train '{network}'"
        with one_thread():
            self.study.train(self.world, network, seed)

    def files(self, network: str, seed: int) -> Sequence[Path]:
        """Where a network of this seed lies, or would."""
        assert self.study.files is not None, f"{self.study.name} does not say where '{network}' lies"
        return self.study.files(self.world, network, seed)

    def _measured(self, name: str, seeds: Sequence[int]) -> dict[int, Any]:
        row = self.study.rows[name]
        for need, seed in ((need, seed) for need in row.needs for seed in seeds):
            self.train(need, seed)
        wall, cpu = time.perf_counter(), time.process_time()
        with one_thread():  # the digits must not depend on the machine's cores; rows are what runs side by side
            settings = self.study.settings(name, self.variant)
            if row.together:
                found = row.measure(self.world, seeds, settings)
            else:
                found = {seed: row.measure(self.world, seed, settings) for seed in seeds}
        spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        return {s: plain({**found[s], **{k: value / len(seeds) for k, value in spent.items()}}) for s in seeds}


@functools.lru_cache(maxsize=1)
def _world(module: str, variant: str, shelf: Shelf) -> Any:
    with one_thread():
        return importlib.import_module(module).STUDY.open(shelf, variant)


@functools.cache
def _place(bench: Bench, name: str, seed: int) -> Path:
    study, world = bench.study, bench.world
    row, settings = study.rows[name], plain(study.settings(name, bench.variant))
    networks = [path.name for need in row.needs for path in bench.files(need, seed)]
    code = code_of(row.measure, type(world), study.open)
    depends = [world.digest, settings, code, networks, device().type]
    further = _further(bench, name)
    return bench.shelf.place(f"{name}-{seed}", [*depends, further] if further else depends)


@functools.cache
def _further(bench: Bench, name: str) -> str:
    """Tells a row's data that are not in the world's digest; "" where it has none, or where they cannot be read."""
    study = bench.study
    if study.digest_for is None:
        return ""
    try:
        return study.digest_for(bench.world, name, study.settings(name, bench.variant))
    except DataError:
        return ""  # the row cannot be measured, and says so when it is asked for
