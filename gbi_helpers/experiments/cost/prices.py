"""The rows of chapter 10 that say what one step and K passes cost: by look-up, by the clock, and made faster.

Counts are the same on every machine. Times are ratios within one run, beside the machine that gave them.
"""

from __future__ import annotations

from typing import Any

from gbi_helpers.experiments.cost.decoders import NAMES, SIZE
from gbi_helpers.experiments.cost.faster import compiled, forward_mode, halved, on_gpu, over_decoders
from gbi_helpers.experiments.cost.lookup import WORDS, ceiling, counted_ratios, honest_ratio
from gbi_helpers.experiments.cost.wall import crossover, looked_up, machine
from gbi_helpers.experiments.study import Row, Settings


def _lookup(world: Any, seed: int, settings: Settings) -> dict[str, Any]:
    """The formula's and the counted ratios, the ceiling, the clock's, and the three decoders that gain nothing."""
    tasks, above = settings["tasks"], 2 * SIZE * SIZE
    counted = {kind: counted_ratios(kind, tasks) for kind in WORDS}
    formula = [{"tasks": n_tasks, "honest": honest_ratio(n_tasks, above, SIZE)} for n_tasks in tasks]
    clock = looked_up(tasks, settings["batch"], settings["turns"], settings["seconds"])
    said = {"formula": formula, "ceiling": ceiling(above, SIZE), "half_at": above / SIZE}
    return {**said, "counted": counted, "clock": clock, "machine": machine()}


def _wall(world: Any, seed: int, settings: Settings) -> dict[str, Any]:
    return crossover(**settings)


def _compile(world: Any, seed: int, settings: Settings) -> dict[str, Any]:
    return over_decoders(compiled, **settings)


def _half(world: Any, seed: int, settings: Settings) -> dict[str, Any]:
    return over_decoders(halved, **settings)


def _forward_mode(world: Any, seed: int, settings: Settings) -> dict[str, Any]:
    return over_decoders(forward_mode, **settings)


def _gpu(world: Any, seed: int, settings: Settings) -> dict[str, Any]:
    return on_gpu(**settings)


TASKS = (10, 100, 1_000, 10_000)
CLOCK = {"turns": 40, "seconds": 2.0}
CROSSOVER = {"tasks": (2, 3, 5, 10, 30, 100), "batches": (1, 16, 256, 4_096), "gigaflops": 30.0, **CLOCK}
FASTER = {"n_tasks": 10, "names": tuple(NAMES), "batches": (1, 16), **CLOCK}
GPU = {**CROSSOVER, "gigaflops": 1_000.0, "names": tuple(NAMES), "n_tasks": 10, "batch": 256}
MODES = {"names": tuple(NAMES), "batches": (1, 16), **CLOCK}

ROWS: dict[str, Row] = {
    "lookup": Row(
        _lookup, "columns looked up, what lies before Z once", {"tasks": TASKS, "batch": 16, **CLOCK}, once=True
    ),
    **{
        f"wall/{name}": Row(_wall, f"by the clock: {words}", {"name": name, **CROSSOVER}, once=True)
        for name, words in NAMES.items()
    },
    "compile": Row(_compile, "torch.compile", {"backend": "inductor", **FASTER}, once=True),
    "half": Row(_half, "bfloat16", FASTER, once=True),
    "forward_mode": Row(_forward_mode, "one slope by forward mode", MODES, once=True),
    "gpu": Row(_gpu, "on a GPU", GPU, once=True),
}

BRIEF = {"turns": 1, "seconds": 0.0}
SMALL: dict[str, dict[str, Any]] = {
    "lookup": {"tasks": (10, 100), "batch": 2, **BRIEF},
    **{f"wall/{name}": {"tasks": (2, 5), "batches": (1, 4), **BRIEF} for name in NAMES},
    "compile": {"backend": "eager", "names": ("mlp",), "batches": (1,), **BRIEF},
    "half": {"names": ("mlp",), "batches": (2,), **BRIEF},
    "forward_mode": {"names": ("mlp", "gate"), "batches": (2,), **BRIEF},
    "gpu": {"tasks": (2, 5), "batches": (1, 4), "batch": 4, **BRIEF},
}
