"""What might make one step or K passes cheaper: a compiler, half precision, forward mode, a GPU. Ratios, in turns.

What a machine cannot do is said in a sentence where the numbers would stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.experiments.cost.counted import without_gradients
from gbi_helpers.experiments.cost.decoders import all_at_once, asked, chunks
from gbi_helpers.experiments.cost.wall import bare_step, clock_for, crossover, machine
from gbi_helpers.guards import LossFn
from gbi_helpers.inference import one_step
from gbi_helpers.meter import flops, in_turns, plain_kernels, saved_bytes, timed
from gbi_helpers.runtime import device

Found = dict[str, Any]


def tried(measure: Callable[..., Found], *args: Any, **options: Any) -> Found | str:
    """What is measured; or one sentence, where this machine lacks something, a C++ compiler or a kernel."""
    try:
        return measure(*args, **options)
    except Exception as error:  # PyTorch's compiler and its backends raise any of dozens of kinds
        return f"This machine could not do it: PyTorch raised {type(error.__cause__ or error).__name__}."


def compiled(name: str, n_tasks: int, batch: int, turns: int, seconds: float, backend: str = "inductor") -> Found:
    """Compiled over plain time of one "step" and of K passes in one "batch"; "seconds" that compiling both took.

    PyTorch keeps what it compiled on disk: the second time it takes a fraction of them.
    """
    question = asked(name, n_tasks, batch)
    loss_fn, (passes, *_) = question.rows(), chunks(question)
    try:
        made = [torch.compile(each, backend=backend, dynamic=False) for each in (loss_fn, passes[0])]
        quick: dict[str, Callable[[], Any]] = {
            "step": lambda: bare_step(made[0], question.z0),
            "batch": lambda: without_gradients(made[1], passes[1]),
        }
        took = sum(timed(call)[0] for call in quick.values())  # the first call compiles
        plain = {
            "plain_step": lambda: bare_step(loss_fn, question.z0),
            "plain_batch": lambda: without_gradients(*passes),
        }
        best = in_turns({**quick, **plain}, turns, seconds, clock_for())
    finally:
        torch.compiler.reset()
    return {**{way: best[way] / best[f"plain_{way}"] for way in quick}, "seconds": took}


def halved(name: str, n_tasks: int, batch: int, turns: int, seconds: float, where: str = "cpu") -> Found:
    """Time in bfloat16 over that in float32, of one "step" and of K passes in one "batch"."""
    calls: dict[str, Callable[[], Any]] = {}
    for bits, dtype in (("16", torch.bfloat16), ("32", torch.float32)):
        question = asked(name, n_tasks, batch, device=where, dtype=dtype)
        calls[f"step{bits}"] = _bound(bare_step, question.rows(), question.z0)
        calls[f"batch{bits}"] = _bound(all_at_once, chunks(question), n_tasks)
    best = in_turns(calls, turns, seconds, clock_for(where))
    return {way: best[f"{way}16"] / best[f"{way}32"] for way in ("step", "batch")}


def _bound(call: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    return lambda: call(*args)


def slope_along(loss_fn: LossFn, z0: Tensor, way: Tensor) -> Tensor:
    """How the loss (B,) changes from z0 along ``way`` (K,), by forward mode: nothing is kept for a way back."""
    with plain_kernels():  # fused attention and LSTM have no forward mode
        return torch.func.jvp(loss_fn, (z0,), (way.expand_as(z0),))[1]


def forward_mode(name: str, batch: int, turns: int, seconds: float) -> Found:
    """One slope, which is all that two tasks need: its FLOPs and its time over those of a forward and of one step.

    By algebra it is two forwards. PyTorch takes three: it multiplies what it has by the slope of the weights, too,
    which is zero. "saved": bytes kept for a way back.
    """
    loss_fn, z0, way = _two_tasks(name, batch, "cpu")
    calls: dict[str, Callable[[], Any]] = {
        "slope": lambda: slope_along(loss_fn, z0, way),
        "forward": lambda: without_gradients(loss_fn, z0),
        "step": lambda: bare_step(loss_fn, z0),
    }
    best = in_turns(calls, turns, seconds, clock_for())
    shapes = _two_tasks(name, batch, "meta")
    once, forward = flops(slope_along, *shapes), flops(without_gradients, *shapes[:2])
    step = flops(one_step, *shapes[:2])
    clock = {"forward": best["slope"] / best["forward"], "step": best["slope"] / best["step"]}
    saved = saved_bytes(slope_along, *shapes)
    return {"flops": {"forward": once / forward, "step": once / step}, "time": clock, "saved": saved}


def _two_tasks(name: str, batch: int, where: str) -> tuple[LossFn, Tensor, Tensor]:
    """The loss, its start, and the way from the second task to the first."""
    question = asked(name, 2, batch, device=where)
    way = torch.tensor([1.0, -1.0], dtype=torch.float32, device=where)
    return question.rows(), question.z0, way


def on_gpu(names: Sequence[str], n_tasks: int, batch: int, turns: int, seconds: float, **options: Any) -> Found:
    """The crossover and half precision on a CUDA device; a sentence where there is none."""
    if device().type != "cuda":
        return {"said": "No CUDA device was at hand, so nothing was measured on one."}
    return {
        name: {
            "crossover": tried(crossover, name, turns=turns, seconds=seconds, device="cuda", **options),
            "half": tried(halved, name, n_tasks, batch, turns, seconds, where="cuda"),
        }
        for name in names
    } | {"machine": machine("cuda")}


def over_decoders(
    measure: Callable[..., Found], names: Sequence[str], batches: Sequence[int], **options: Any
) -> dict[str, Any]:
    """``measure(name, batch=..., **options)`` for each decoder and batch, or why not; and on which machine."""
    found: dict[str, Any] = {
        name: {batch: tried(measure, name, batch=batch, **options) for batch in batches} for name in names
    }
    return found | {"machine": machine()}
