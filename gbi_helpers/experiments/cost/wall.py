"""K passes against one step by the clock: as ratios, in one run, taken in turns, the least of many turns of each.

One thread works, so its CPU time is what a clock on the wall would say on a machine that does nothing else.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.experiments.cost.counted import forward_of, without_gradients
from gbi_helpers.experiments.cost.decoders import Asked, all_at_once, asked, chunks
from gbi_helpers.experiments.cost.lookup import cheap
from gbi_helpers.guards import LossFn
from gbi_helpers.inference import enumerate_tasks, one_step, rescore
from gbi_helpers.meter import in_turns


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the seconds depend on: processor, threads, PyTorch. No name of the machine."""
    found = {"processor": _processor(), "instructions": torch.backends.cpu.get_cpu_capability()}
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    kind = "CPU time" if clock_for(device) is time.process_time else "wall time"
    return {**found, "threads": torch.get_num_threads(), "torch": torch.__version__, "clock": kind}


def clock_for(device: str = "cpu") -> Callable[[], float]:
    """CPU time, of which a busy machine takes nothing; wall time where a GPU works, or CPU time is coarse."""
    coarse = platform.system() == "Windows"  # it ticks 64 times a second there
    return time.perf_counter if coarse or device != "cpu" else time.process_time


def _processor() -> str:
    """As the processor calls itself: Linux says it in a file, where Python knows the architecture alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (named or [platform.processor() or platform.machine()])[0]


def bare_step(loss_fn: LossFn, z0: Tensor) -> Tensor:
    """One step's log posterior (B, K) without the package's checks."""
    z = z0.detach().requires_grad_()
    (grad,) = torch.autograd.grad(loss_fn(z).sum(), z)
    return torch.log_softmax(-grad, dim=-1)


def bare_passes(passes: Sequence[tuple[LossFn, Tensor]], n_tasks: int) -> Tensor:
    """The exact log posterior (B, K) by K passes as one batch, without any check either."""
    return torch.log_softmax(-all_at_once(passes, n_tasks), dim=-1)


def ways(question: Asked) -> dict[str, Callable[[], Tensor]]:
    """What is timed: from a code and a loss function that are ready to a log posterior (B, K).

    "bare" and "batch" do what must be done and no more; "step", "rescored" and "loop" are the package's functions, with
    their checks: one step, all K passes as one batch, and one after another.
    """
    loss_fn, z0, n_tasks, passes = question.rows(), question.z0, question.n_tasks, chunks(question)
    uniform = z0.log()
    return {
        "bare": lambda: bare_step(loss_fn, z0),
        "batch": lambda: bare_passes(passes, n_tasks),
        "step": lambda: one_step(loss_fn, z0).log_q,
        "rescored": lambda: rescore(uniform, loss_fn, z0, m=n_tasks, rows=question.rows).log_q,
        "loop": lambda: enumerate_tasks(loss_fn, z0).log_q,
    }


def ratios(question: Asked, turns: int, seconds: float, device: str = "cpu") -> dict[str, float]:
    """Times as ratios: bare ways to the bare step, the package's to its one step; "checks": what these add to it."""
    loss_fn, z0 = question.rows(), question.z0
    calls = {**ways(question), "forward": lambda: without_gradients(loss_fn, z0)}
    best = in_turns(calls, turns, seconds, clock_for(device))
    bare, step = best["bare"], best["step"]
    found = {"step_over_forward": bare / best["forward"], "checks": step / bare, "batch": best["batch"] / bare}
    return found | {"rescored": best["rescored"] / step, "loop": best["loop"] / step}


def crossover(
    name: str,
    tasks: Sequence[int],
    batches: Sequence[int],
    gigaflops: float,
    turns: int,
    seconds: float,
    device: str = "cpu",
) -> dict[str, Any]:
    """For each batch, :func:`ratios` by K as far as K passes stay below ``gigaflops``; and where K passes tie."""
    found = {batch: _by_tasks(name, tasks, batch, gigaflops, turns, seconds, device) for batch in batches}
    by_batch = {batch: row for batch, row in found.items() if row}
    ties = {kind: {b: tie(row, kind) for b, row in by_batch.items()} for kind in ("batch", "rescored", "loop")}
    return {"ratios": by_batch, "tie": ties, "machine": machine(device)}


def _by_tasks(
    name: str, tasks: Sequence[int], batch: int, gigaflops: float, turns: int, seconds: float, device: str
) -> dict[int, dict[str, float]]:
    found = {}
    for n_tasks in tasks:
        forward = forward_of(asked(name, n_tasks, device="meta"))
        if n_tasks * batch * forward <= gigaflops * 1e9:
            found[n_tasks] = ratios(asked(name, n_tasks, batch, device=device), turns, seconds, device)
    return found


def tie(by_tasks: Mapping[int, Mapping[str, float]], kind: str) -> float | None:
    """The K from which on this way takes longer than one step, interpolated between those measured.

    The least K that was measured, where it takes longer there already; None where it never does.
    """
    points = sorted((n_tasks, row[kind]) for n_tasks, row in by_tasks.items())
    cheap = [point for point in points if point[1] < 1]
    dear = [point for point in points if not cheap or point[0] > cheap[-1][0]]
    if not cheap or not dear:
        return dear[0][0] if dear else None
    (low, below), (high, above) = cheap[-1], dear[0]
    share = -math.log(below) / math.log(above / below)
    return round(low * (high / low) ** share, 1)


def looked_up(tasks: Sequence[int], batch: int, turns: int, seconds: float) -> list[dict[str, float]]:
    """Times of the MLP by K as ratios: K passes by look-up over the cheap step and the package's, and a loop of passes.

    "loop": K times one pass by a one-hot z, as no pass depends on which task it is of, over the package's step.
    """
    return [_looked_up(n_tasks, batch, turns, seconds) for n_tasks in tasks]


def _looked_up(n_tasks: int, batch: int, turns: int, seconds: float) -> dict[str, float]:
    known = cheap("deep", n_tasks, batch)
    question = known.question
    loss_fn, z0 = question.rows(), question.z0
    calls: dict[str, Callable[[], Any]] = {
        "every": known.all_losses,
        "cheap": known.log_q,
        "step": lambda: one_step(loss_fn, z0),
        "pass": lambda: without_gradients(loss_fn, z0),
    }
    best = in_turns(calls, turns, seconds, clock_for())
    loop = n_tasks * best["pass"]
    found = {"tasks": n_tasks, "honest": best["every"] / best["cheap"], "every_over_step": best["every"] / best["step"]}
    return found | {"step_over_cheap": best["step"] / best["cheap"], "loop_over_step": loop / best["step"]}
