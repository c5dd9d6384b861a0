"""What a check does around a student's function: reads its code, keeps it quiet, and tells of inputs and errors."""

from __future__ import annotations

import contextlib
import inspect
import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.checks.priced import Ask

CHECK = "the check itself"  # anything of this package, by whatever way it was reached
OURS = ("reference", "settled", CHECK)  # parts of an Exercise that are, or hand out, the right answer


def called(function: Callable[..., Any], given: Iterable[str] = ()) -> set[str]:
    """The names of what a function calls outside itself, as it writes them and as they were defined.

    A function written beside it is read in its place, whatever its name, unless it is one of those ``given``.
    """
    names, left, seen = set[str](), [function], list[Any]()
    while left:
        one = inspect.unwrap(left.pop())
        if one in seen or not hasattr(one, "__code__"):  # what C wrote has none
            continue
        seen.append(one)
        written = _names(one.__code__)
        if {part for name in written for part in name.split(".")}.issuperset(__package__.split(".")):
            names.add(CHECK)  # by the package's name, or imported inside
        for name in written:
            value = one.__globals__.get(name)
            if name not in given and isinstance(value, FunctionType) and value.__globals__ is one.__globals__:
                left.append(value)
            else:
                module, defined = getattr(value, "__module__", None) or "", getattr(value, "__name__", "")
                names.update(name.split("."), module.split("."), defined.split("."))
                if {FunctionType: module, ModuleType: defined}.get(type(value), "").startswith(__package__):
                    names.add(CHECK)
    return names


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


def shapes(inputs: Iterable[Any]) -> str:
    """A call's inputs in words: which are tensors of what shape, functions, numbers."""
    return ", ".join(_shape(i) for i in inputs)


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if callable(value):
        return "a function"
    return repr(value) if isinstance(value, Ask) else f"{value:.3g}"


def rows_of(values: Tensor) -> Tensor:
    """An answer as rows (R, C): a vector is one row, a number a row of one."""
    return values.reshape(-1, values.shape[-1]) if values.dim() else values[None, None]


def told_of(row: Tensor, column: int) -> str:
    """Four numbers of a row, the one at ``column`` among them."""
    start = max(0, column - 3)
    numbers = [f"{v:.4g}" for v in row[start : start + 4].tolist()]
    return "[" + ", ".join(["..."] * (start > 0) + numbers + ["..."] * (start + 4 < len(row))) + "]"


def narrow(value: Any) -> Any:
    """An input in float32 if it was in float64."""
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.float64 else value


def unchanged(before: Tensor, after: Tensor) -> bool:
    """Whether a tensor is what it was; a NaN is, where there was one."""
    return before.shape == after.shape and bool(((before == after) | (before.isnan() & after.isnan())).all())


def numeric(answer: Any) -> Tensor:
    """An answer in float64, dense; one with an imaginary part as it is."""
    numbers = torch.as_tensor(answer, dtype=torch.complex128, device="cpu").detach().to_dense()
    return numbers if numbers.imag.any() else numbers.real
