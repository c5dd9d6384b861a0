"""What the rows of the toy study measure: a world, seeds (or a seed) and settings in, plain numbers out.

The networks of all seeds are trained stacked, in one pass. Test windows are drawn for one seed after the other, so the
stack always begins with seed 0 and has all shipped seeds, whichever are asked for: then each finds its own windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gbi_helpers.data.toy import Stream, floors, switching_stream
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import Settings
from gbi_helpers.experiments.toy import learning, modules, theory
from gbi_helpers.experiments.toy.recipes import Run, shuffled_order, train

Found = Mapping[str, Any]  # tensors (..., S), or tables or lists of them
BySeed = dict[int, dict[str, Any]]
Measure = Callable[["World", Sequence[int], Settings], BySeed]


@dataclass(frozen=True)
class World:
    """Nothing to open: every stream is drawn from its seed."""

    digest: str = "drawn"
    facts: Settings = field(default_factory=lambda: {"data": "toy (generated)"})


def opened(shelf: Shelf, variant: str) -> World:
    """The same for every variant: how long a stream is stands in a row's settings."""
    return World()


# ---------------------------------------------------------------- rows of networks


def learned(world: World, seeds: Sequence[int], settings: Settings) -> BySeed:
    """How fast a network learns at a constant rate, its modules, and what a lesion of each does.

    "lesion" (1 + K, K): excess error on each task (last axis) with no unit silenced, and with each module in turn.
    With the setting ``late``, the curves too.
    """
    run = _trained(seeds, settings)
    found = learning.speed(run) | modules.modules_of(run) | {"lesion": modules.lesion(run).movedim(0, -1)}
    return _by_seed(found | (learning.curves(run, settings["late"]) if "late" in settings else {}), seeds)


def rates(world: World, seeds: Sequence[int], settings: Settings) -> BySeed:
    """Late excess error, by learning rate."""
    return _by_seed({"excess": [_late(seeds, settings, lr=rate) for rate in settings["rates"]]}, seeds)


def lengths(world: World, seeds: Sequence[int], settings: Settings) -> BySeed:
    """Late excess error, by length of a block, on as many samples."""
    runs = (train(stream, **settings["network"]) for stream in _streams(_stack(seeds, settings), settings))
    return _by_seed({"excess": [learning.late_excess(run) for run in runs]}, seeds)


def shares(world: World, seeds: Sequence[int], settings: Settings) -> BySeed:
    """Late excess error, by the share of blocks whose label is right in training."""
    stream = _stream(seeds, settings)
    told = (learning.unreliable_z(stream, share) for share in settings["shares"])
    return _by_seed({"excess": [_late(seeds, settings, told=z) for z in told]}, seeds)


def raced(world: World, seeds: Sequence[int], settings: Settings) -> BySeed:
    """Errors by block, with squared ones, and excess by place in the block."""
    run = _trained(seeds, settings)
    return _by_seed(learning.curves(run, settings["late"]) | {"squared": run.blocks("squared")}, seeds)


def orders(world: World, seeds: Sequence[int], settings: Settings) -> BySeed:
    """Excess error at rest on a fresh stream, after training on windows as they came, and on the same ones shuffled.

    "filter": the exact filter's on that stream.
    """
    stream = _stream(seeds, settings)
    runs = {"as they came": None, "shuffled": shuffled_order(stream)}
    found = {name: learning.rested(train(stream, **settings["network"], order=order)) for name, order in runs.items()}
    ideal = learning.filter_excess(learning.fresh_stream(stream)).mean(0)
    return _by_seed(found | {"filter": ideal}, seeds)


def forgetting(world: World, seeds: Sequence[int], settings: Settings) -> BySeed:
    """Excess error right after a block on the one before and on its own, with Z given and inferred.

    With the setting ``gain``, also how far apart the predictions are when told one task and the other.
    """
    run = _trained(seeds, settings)
    ways = modules.forgetting(run)
    found = {f"{way}, {on}": value for way, both in ways.items() for on, value in both.items()}
    return _by_seed(found | ({"gain": modules.modules_of(run)["output gain"]} if settings.get("gain") else {}), seeds)


def watched(world: World, seeds: Sequence[int], settings: Settings) -> BySeed:
    """How the units divide in training, and what lesions of the modules do: :func:`modules.watched`."""
    return _by_seed(modules.watched(_stream(seeds, settings), settings["network"], settings["every"]), seeds)


def gap(world: World, seeds: Sequence[int], settings: Settings) -> BySeed:
    """The gap of one step against its bounds, mean over windows; with contexts between others, who is found there."""
    run = _trained(seeds, settings)
    measured = theory.gap_in_networks(run)
    found = {name: value.mean(1) for name, value in measured.items()} | {"bounds broken": theory.broken(measured)}
    return _by_seed(found | (theory.in_between(run) if run.model.n_tasks > 2 else {}), seeds)


def of_run(what: Callable[[Run, Settings], Found], world: World, seeds: Sequence[int], settings: Settings) -> BySeed:
    """What a function of another module finds in the trained networks."""
    return _by_seed(what(_trained(seeds, settings), settings), seeds)


def linear(world: World, seeds: Sequence[int], settings: Settings) -> BySeed:
    """Contexts between others for the linear readout itself, without a network."""
    drawn = {name: value for name, value in settings.items() if name != "stack"}
    return _by_seed(theory.linear_in_between(**drawn, seeds=_stack(seeds, settings)), seeds)


def _late(seeds: Sequence[int], settings: Settings, **changes: Any) -> Tensor:
    return learning.late_excess(_trained(seeds, settings, **changes))


def _trained(seeds: Sequence[int], settings: Settings, **changes: Any) -> Run:
    return train(_stream(seeds, settings), **settings["network"], **changes)


def _stream(seeds: Sequence[int], settings: Settings) -> Stream:
    return switching_stream(_stack(seeds, settings), **settings["stream"])


def _streams(seeds: int, settings: Settings) -> list[Stream]:
    total = settings["stream_length"]
    return [switching_stream(seeds, blocks=total // length, block=length) for length in settings["lengths"]]


def _stack(seeds: Sequence[int], settings: Settings) -> int:
    """How many seeds are stacked: 0 to the last one asked for, or the last one that is shipped."""
    return max(*seeds, settings["stack"] - 1) + 1


def _by_seed(found: Found, seeds: Sequence[int]) -> BySeed:
    return {seed: {name: _of(value, seed) for name, value in found.items()} for seed in seeds}


def _of(value: Any, seed: int) -> Any:
    """What a tensor (..., S), or each in a table or list, has of one seed."""
    if isinstance(value, Mapping):
        return {name: _of(inner, seed) for name, inner in value.items()}
    return [_of(inner, seed) for inner in value] if isinstance(value, list) else value[..., seed]


# ---------------------------------------------------------------- rows without a seed


def exact_filter(world: World, seed: int, settings: Settings) -> Found:
    """Errors that nobody beats, mean over as many streams as are stacked; by place, and by length."""
    long, quick = (switching_stream(settings["stack"], **settings[name]) for name in ("stream", "quick"))
    place = learning.by_place(learning.filter_excess(long), long.block, settings["late"]).mean(1)
    by_length = [learning.filter_excess(stream).mean() for stream in _streams(settings["stack"], settings)]
    return {"long": vars(floors(long)), "quick": vars(floors(quick)), "place": place, "lengths": by_length}


def penalties(world: World, seed: int, settings: Settings) -> Found:
    """What each penalty on iterating costs, in nats from the exact posterior, by scale of the evidence."""
    return {f"scale {scale}": theory.penalties(scale, steps=settings["steps"]) for scale in settings["scales"]}
