"""What inference costs, measured: seconds, and passes and parameters, counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def timed(call: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    """Seconds that ``call(*args)`` takes, and what it returns."""
    started = time.perf_counter()
    answer = call(*args)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, answer


def bytes_of(*tensors: Tensor) -> int:
    """Bytes that tensors take in memory."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Passes:
    """Counts the forward passes of a module and the backward passes through it, inside a ``with`` block."""

    def __init__(self, module: nn.Module):
        self.module, self.forwards, self.backwards = module, 0, 0

    def __enter__(self) -> Passes:
        self._handle = self.module.register_forward_hook(self._seen)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    def _seen(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.forwards += 1
        if output.requires_grad:
            output.register_hook(self._seen_back)

    def _seen_back(self, grad: Tensor) -> None:
        self.backwards += 1


def size_of(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())
