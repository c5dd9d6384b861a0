"""What inference costs, measured: seconds; and counted: passes, parameters, floating-point operations, memory."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook, saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def timed(call: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    """Seconds that ``call(*args)`` takes, and what it returns."""
    started = time.perf_counter()
    answer = call(*args)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, answer


BURST = 0.005  # seconds


def in_turns(
    calls: Mapping[str, Callable[[], Any]],
    turns: int = 20,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """The least seconds of each call, taken in turns, so that a busy machine slows all alike.

    ``turns`` rounds, or as many as ``seconds`` allow, but three at the least; one more round before warms up. In a
    round each call comes twice or, if it is short, up to ten times, for the first ones find the processor's cache and
    the free memory as the call before left them.
    Read them as ratios: the seconds themselves belong to this machine at this hour. ``clock``: for work of one thread,
    ``time.process_time`` leaves out what other programs took meanwhile (on Windows it ticks too rarely for this).
    """

    def took(call: Callable[[], Any]) -> float:
        started = clock()
        timed(call)  # which waits for a GPU
        return clock() - started

    often = {name: min(10, 2 + int(BURST / max(took(call), 1e-9))) for name, call in calls.items()}
    best, spent = dict.fromkeys(calls, torch.inf), 0.0
    for turn in range(turns):
        if turn >= 3 and spent > seconds:
            break
        for name, call in calls.items():
            burst = [took(call) for _ in range(often[name])]
            best[name], spent = min(best[name], *burst), spent + sum(burst)
    return best


def flops(call: Callable[..., Any], *args: Any) -> int:
    """Floating-point operations of ``call(*args)``, backward passes in it included: products and convolutions.

    A multiplication with its addition counts as two; what is done number by number (ReLU, a sum, a look-up) as none.
    It is exact and depends on shapes alone, so tensors on PyTorch's device "meta", which have no numbers, give the
    same count at once, however large.
    """
    counter: Any = FlopCounterMode(display=False)
    counter.mod_tracker = _NoModules()
    with counter, plain_kernels():
        call(*args)
    return counter.get_total_flops()


def saved_bytes(call: Callable[..., Any], *args: Any, apart_from: Iterable[Tensor] = ()) -> int:
    """Bytes that ``call(*args)``, a forward, keeps for its backward; what several tensors share counts once.

    ``apart_from``: what is in memory anyhow, such as a model's parameters and its inputs. On the device "meta" too.
    """
    anyhow = {tensor.untyped_storage()._cdata for tensor in apart_from}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in anyhow:
            kept[storage._cdata] = storage  # held, or its place would go to another
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor), plain_kernels():
        call(*args)
    return sum(storage.nbytes() for storage in kept.values())


@contextlib.contextmanager
def plain_kernels() -> Iterator[None]:
    """LSTM and attention as the products of which they consist: the counter does not know a processor's fused ones."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32")  # PyTorch's own word on the flags, wherever they are set
        with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
            yield


class _NoModules:
    """Counts for no module apart: telling them apart forbids torch.autograd.grad, by which a step is taken."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def bytes_of(*tensors: Tensor) -> int:
    """Bytes that tensors take in memory."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Passes:
    """Counts the forward passes of a module and the backward passes through it, inside a ``with`` block.

    Its output is a tensor, or tensors in tuples, lists and dictionaries, as an nn.LSTM's.
    """

    def __init__(self, module: nn.Module):
        self.module, self.forwards, self.backwards = module, 0, 0

    def __enter__(self) -> Passes:
        self._handle = self.module.register_forward_hook(self._seen)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    def _seen(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.forwards += 1
        parts = [part for part in tree_leaves(output) if isinstance(part, Tensor) and part.requires_grad]
        if parts:
            register_multi_grad_hook(parts, self._seen_back, mode="any")  # one pass, by however many parts it comes in

    def _seen_back(self, grad: Tensor) -> None:
        self.backwards += 1


def size_of(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())
