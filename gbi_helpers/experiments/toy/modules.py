"""What notebook 03 shows beside the scrubber: which units serve which task, what a lesion does, and forgetting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.data.toy import Stream, steady_windows
from gbi_helpers.experiments.toy.recipes import NETWORKS, WINDOW, Run, drives, evidence, train
from gbi_helpers.inference import max_entropy, one_step
from gbi_helpers.metrics import excess_error
from gbi_helpers.models.toy import ToyLSTM
from gbi_helpers.modularity import module_of, overlap, shared_ratio, task_variance

Scores = dict[str, Tensor]
ROWS = 200
# The five networks that a measure of modules should tell apart, by what they are told as Z.
GATED: dict[str, dict[str, Any]] = {
    "LSTM": NETWORKS["LSTM"],
    "learned gates, true Z": NETWORKS["GBI post, learned gates"],
    "learned gates, random Z": {"variant": "post", "gates": "learned", "told": "random step"},
    "fixed gates, true Z": NETWORKS["GBI post"],
    "fixed gates, random Z": NETWORKS["random Z per step"],
}


def watched(stream: Stream, network: Mapping[str, Any], every: int) -> dict[str, Any]:
    """A network looked at every ``every`` steps of training, and at its end: measures, modules, and lesions of them.

    "units" (K, S): of each module. "lesion" (1 + K, K, S): see :func:`lesion`; "random lesion" (K, K, S): of as many
    units drawn at random.
    """
    run = train(stream, **network, frames=(stream.x.shape[1] - WINDOW) // every + 1)
    hurt = {"lesion": lesion(run).movedim(0, -1), "random lesion": random_lesion(run).movedim(0, -1)}
    return by_two_blocks(run) | modules_of(run) | {"units": modules_in(run).sum(-1).T} | hurt


def modules_of(run: Run, rows: int = ROWS) -> Scores:
    """Every measure of modularity of the trained networks, (S,) each: what each of them sees.

    "overlap" and "shared ratio" of the drive in each task's own windows; "z-only overlap" on the same windows;
    "specialised" is the share of units with a fractional task variance beyond .9 either way (two tasks); "output gain"
    is the prediction told the last task minus told the first, on the same windows (.6 where Z means the mean).
    """
    stream, model = run.stream, run.model
    shared, _ = steady_windows(stream.means, stream.sd, rows, WINDOW)
    windows = shared.unflatten(0, (stream.n_contexts, rows))
    own, same = drives(model, windows), drives(model, windows, same=True)
    return {
        "overlap": overlap(own),
        "shared ratio": shared_ratio(own),
        "z-only overlap": overlap(same),
        "specialised": (task_variance(_hidden(model, windows)).abs() > 0.9).float().mean(-1),
        "output gain": _told(model, shared, -1) - _told(model, shared, 0),
    }


def _hidden(model: ToyLSTM, windows: Tensor) -> Tensor:
    """Last hidden units (S, 2, rows, H) on the windows (K, rows, T, D) of the first and the last task, Z given."""
    shown = windows[[0, -1]].flatten(0, 1).repeat(model.n_seeds, 1, 1)
    tasks = _pure(model, windows)[[0, -1]].repeat_interleave(windows.shape[1], 0).repeat(model.n_seeds, 1)
    with torch.no_grad():
        return model.hidden(shown, tasks)[:, -1].unflatten(0, (model.n_seeds, 2, -1))


def _told(model: ToyLSTM, windows: Tensor, task: int) -> Tensor:
    """Mean prediction (S,) on windows (rows, T, D), told a task."""
    rows = windows.repeat(model.n_seeds, 1, 1)
    with torch.no_grad():
        told = model(rows, _pure(model, rows)[task].expand(len(rows), -1))[:, -1]
    return told.unflatten(0, (model.n_seeds, -1)).mean((1, 2))


def by_two_blocks(run: Run) -> dict[str, Scores]:
    """Overlap and z-only overlap of a run with frames, over training: "start" (S,), and means over two blocks (P, S).

    What the units do swings with the context that is being learned, so a look now and then would catch it anywhere;
    over two blocks every swing is complete.
    """
    assert run.modules is not None
    kept = {name: run.modules.curves[name] for name in ("overlap", "z-only overlap")}
    pairs = run.stream.x.shape[1] // (2 * run.stream.block)
    means = {name: torch.stack([part.mean(0) for part in curve.chunk(pairs)]) for name, curve in kept.items()}
    return {"start": {name: curve[0] for name, curve in kept.items()}, "two blocks": means}


# ---------------------------------------------------------------- lesions


def modules_in(run: Run, rows: int = ROWS) -> Tensor:
    """Which units (S, K, H) form each task's module: :func:`~gbi_helpers.modularity.module_of`, on fresh windows."""
    stream, model = run.stream, run.model
    windows, _ = steady_windows(stream.means, stream.sd, rows, WINDOW)
    module = module_of(drives(model, windows.unflatten(0, (stream.n_contexts, rows))))
    return torch.stack([module == task for task in range(model.n_tasks)], dim=1)


def lesion(run: Run, rows: int = ROWS) -> Tensor:
    """Excess error (S, 1 + K, K) on each task (last axis) with no unit silenced, and with each module in turn.

    The module of a task: the units that prefer it (:func:`modules_in`). Z is given.
    """
    units = modules_in(run, rows)
    return torch.stack([excess_given(run.model, run), *_silenced(run, units).unbind(1)], dim=1)


def random_lesion(run: Run, rows: int = ROWS) -> Tensor:
    """Excess error (S, K, K) with as many units silenced as each task's module has, but drawn from all."""
    units = modules_in(run, rows)
    draws = [torch.Generator().manual_seed(60_000 + seed) for seed in run.stream.seeds]
    chance = [torch.rand(units.shape[1:], generator=d, dtype=torch.float32, device=d.device) for d in draws]
    order = torch.stack(chance).argsort(-1)
    return _silenced(run, units.gather(-1, order))


def _silenced(run: Run, units: Tensor) -> Tensor:
    """Excess error (S, L, K) with each of L sets of units (S, L, H) silenced."""
    return torch.stack([excess_given(run.model.without(one), run) for one in units.unbind(1)], dim=1)


def excess_given(model: ToyLSTM, run: Run, rows: int = ROWS) -> Tensor:
    """Excess error (S, K) of predictions from fresh windows of each task, told its Z."""
    stream = run.stream
    windows, context = steady_windows(stream.means, stream.sd, rows, WINDOW, model.n_seeds, seed=7)
    with torch.no_grad():
        predicted = model(windows, _pure(model, windows)[context])[:, -1]
    return excess_error(predicted, stream.means[context]).view(model.n_seeds, stream.n_contexts, rows).mean(-1)


# ---------------------------------------------------------------- forgetting


def forgetting(run: Run, rows: int = 500) -> dict[str, Scores]:
    """Excess error (S,) right after the last block, on the second-to-last block's context and on the last one's.

    Keys "previous" and "current" for each way to come by Z: "given", "inferred" (one step on five scored samples) and
    "uniform"; a network without Z has "given" only. Each prediction is of the sample after a window from one context.
    """
    context = run.stream.context
    last = context[:, -1]
    change = (context != last[:, None]).long() * torch.arange(context.shape[1], device=last.device)
    before = context.gather(1, change.argmax(1, keepdim=True))[:, 0]
    ways: dict[str, Callable[[Run, Tensor, Tensor], Tensor]] = {"given": _given}
    if run.model.uses_z:
        ways |= {"inferred": _inferred, "uniform": lambda run, x, context: _uniform(run.model, x)}
    blocks = {"previous": before, "current": last}
    return {
        way: {name: _excess(run, context, find, rows) for name, context in blocks.items()} for way, find in ways.items()
    }


def _given(run: Run, windows: Tensor, context: Tensor) -> Tensor:
    return _pure(run.model, windows)[context]


def _inferred(run: Run, windows: Tensor, context: Tensor) -> Tensor:
    loss = evidence(run.model, windows[:, :-1], run.stream.sd)
    return one_step(loss, _uniform(run.model, windows)).q


def _uniform(model: ToyLSTM, windows: Tensor) -> Tensor:
    return max_entropy(len(windows), model.n_tasks, windows.dtype, windows.device)


def _pure(model: ToyLSTM, windows: Tensor) -> Tensor:
    """Z (K, K) of each task, a row each, as the windows are."""
    return torch.eye(model.n_tasks, dtype=windows.dtype, device=windows.device)


def _excess(run: Run, context: Tensor, find: Callable[[Run, Tensor, Tensor], Tensor], rows: int) -> Tensor:
    """Excess error (S,) on windows of each seed's ``context`` (S,), with Z as ``find`` says.

    The windows are 1 + 5 + 1 samples: history, five that are scored to infer Z, and the next, which is to be predicted
    from all six.
    """
    stream, model = run.stream, run.model
    drawn, which = steady_windows(stream.means, stream.sd, rows, WINDOW + 2, model.n_seeds, seed=8)
    mine = which == context.repeat_interleave(rows * stream.n_contexts)
    windows, which = drawn[mine], which[mine]
    z = find(run, windows, which)
    with torch.no_grad():
        predicted = model(windows[:, :-1], z)[:, -1]
    return excess_error(predicted, stream.means[which]).view(model.n_seeds, -1).mean(1)
