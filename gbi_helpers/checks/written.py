"""What a check does around a student's function: reads its code, keeps it quiet, reads the error that it stops with."""

from __future__ import annotations

import contextlib
import inspect
import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from types import CodeType
from typing import Any

import torch
from torch import Tensor

OURS = ("reference", "settled")  # parts of an Exercise that are, or hand out, the right answer


def called(function: Callable[..., Any]) -> set[str]:
    """The names that a function looks up outside itself, those of functions inside it and of imports too."""
    code = getattr(inspect.unwrap(function), "__code__", None)  # what C wrote has none
    return {part for name in _names(code) for part in name.split(".")} if code else set()


def _names(code: CodeType) -> set[str]:
    inside = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names, inside))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let nothing through to stderr, no warning either."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def hint(error: Exception, inputs: Iterable[Any]) -> str:
    """What to do about a float32 tensor that met the float64 inputs; empty for any other error."""
    kinds = {i.dtype for i in inputs if isinstance(i, Tensor) and i.is_floating_point()}
    mixed = all(kind in str(error).lower() for kind in ("float", "double"))
    return "The inputs here are float64: make yours with dtype=x.dtype. " if mixed and kinds == {torch.float64} else ""
