"""From PyTorch's operations to the few that graph.js knows; how, by name, in :data:`LOWERED`.

Each function is told the builder, PyTorch's own output, and the arguments. What is put into a part of a tensor (cat,
pad, scatter) is a copy to a view of the output; whatever moves numbers about is a gather by positions known here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
# The same name and meaning in graph.js, with PyTorch's arguments in their order.
ELEMENTWISE = (
    *("abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "exp", "expm1", "floor", "isnan", "log", "log1p"),
    *("neg", "reciprocal", "relu", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "tan", "tanh", "trunc"),
    *("atan2", "div", "maximum", "minimum", "mul", "pow", "remainder", "where"),
    *("eq", "ge", "gt", "le", "lt", "ne", "logical_and", "logical_not", "logical_or"),
)
EACH = {*ELEMENTWISE, "add", "copy", "sub"}  # those that take a number for a tensor
MOVED = ("_unsafe_index", "embedding", "flip", "gather", "index", "index_select", "repeat", "roll", "take")
# Made from nothing but the shape of what they are given.
FIXED = {getattr(aten, f"{how}_like") for how in ("empty", "full", "ones", "zeros")}
FIXED |= {getattr(aten, f"new_{how}") for how in ("empty", "empty_strided", "full", "ones", "zeros")}


# ---- number by number ----


def _elementwise(name: str) -> Callable[..., None]:
    def lowered(to: Any, out: Tensor, *args: Any, **kwargs: Any) -> None:
        if unknown := set(kwargs) - {"rounding_mode"}:
            told = ", ".join(sorted(unknown))
            raise ValueError(f"The page does not know {name} with {told}: write the loss without it.")
        if kwargs.get("rounding_mode"):
            _elementwise(name)(to, out, *args)
            return to.emit(kwargs["rounding_mode"], out, out)
        return to.emit(name, out, *(_like(value, out) for value in args))

    return lowered


def _bitwise(name: str) -> Callable[..., None]:
    def lowered(to: Any, out: Tensor, *args: Any) -> None:
        if out.dtype != torch.bool:
            raise ValueError(f"The page knows bitwise_{name} of true and false alone: write the loss without it.")
        _elementwise(f"logical_{name}")(to, out, *args)

    return lowered


def _like(value: Any, out: Tensor) -> Any:
    """A number, or a tensor spread over the output."""
    return value.expand(out.shape) if isinstance(value, Tensor) else value


def _adding(name: str) -> Callable[..., None]:
    def lowered(to: Any, out: Tensor, one: Any, other: Any, alpha: float = 1) -> None:
        if alpha != 1:
            given, other = other, out.new_empty(out.shape)
            to.emit("mul", other, _like(given, out), alpha)
        to.emit(name, out, _like(one, out), _like(other, out))

    return lowered


def _clamp(to: Any, out: Tensor, x: Tensor, low: Any = None, high: Any = None) -> None:
    to.emit("copy", out, x) if low is None else to.emit("maximum", out, x, _like(low, out))
    if high is not None:
        to.emit("minimum", out, out, _like(high, out))


def _converted(to: Any, out: Tensor, x: Tensor, *_: Any, **__: Any) -> None:
    if out.dtype == torch.bool:
        return to.emit("ne", out, x, 0)
    to.emit("trunc" if x.is_floating_point() and not out.is_floating_point() else "copy", out, x)


# ---- sums and products ----


def _over(x: Tensor, dim: Any) -> tuple[Tensor, int]:
    """The axes that go, behind those that stay; and how many numbers meet in one."""
    dims = [dim] if isinstance(dim, int) else list(range(x.dim())) if dim is None or len(dim) == 0 else list(dim)
    dims = [d % max(x.dim(), 1) for d in dims][: x.dim()]
    kept = [d for d in range(x.dim()) if d not in dims]
    return x.permute(*kept, *dims), math.prod(x.shape[d] for d in dims)


def _reduced(name: str) -> Callable[..., None]:
    def lowered(to: Any, out: Tensor, x: Tensor, dim: Any = None, *_: Any, **__: Any) -> None:
        to.emit(name, out, _over(x, dim)[0])

    return lowered


def _mean(to: Any, out: Tensor, x: Tensor, dim: Any = None, *_: Any, **__: Any) -> None:
    turned, count = _over(x, dim)
    to.emit("sum", out, turned)
    to.emit("mul", out, out, 1 / count)


def _product(to: Any, out: Tensor, one: Tensor, other: Tensor) -> None:
    batch = (lambda x: x.unsqueeze(0)) if out.dim() == 2 else lambda x: x
    to.emit("products", batch(out), batch(one), batch(other))


def _added_product(
    to: Any, out: Tensor, start: Tensor, one: Tensor, other: Tensor, *, beta: float = 1, alpha: float = 1
) -> None:
    product = out.new_empty(out.shape)
    _product(to, product, one, other)
    if alpha != 1:
        to.emit("mul", product, product, alpha)
    _adding("add")(to, out, product, start, beta)


# ---- numbers that move ----


def _joined(to: Any, out: Tensor, parts: Sequence[Tensor], dim: int = 0) -> None:
    at = 0
    for part in parts:
        if part.numel():
            to.emit("copy", out.narrow(dim, at, part.shape[dim]), part)
            at += part.shape[dim]


def _padded(to: Any, out: Tensor, x: Tensor, pad: Sequence[int], value: float = 0) -> None:
    to.emit("copy", out, value)
    region = out
    for axis, (low, high) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        dim = x.dim() - 1 - axis
        x = x.narrow(dim, max(0, -low), x.shape[dim] - max(0, -low) - max(0, -high))
        region = region.narrow(dim, max(0, low), x.shape[dim])
    to.emit("copy", region, x)


def _put(look: Callable[..., Tensor]) -> Callable[..., None]:
    """``look``: the part of a tensor that is written anew."""

    def lowered(to: Any, out: Tensor, x: Tensor, part: Tensor, *where: Any, **named: Any) -> None:
        to.emit("copy", out, x)
        region = look(out, *where, **named)
        to.emit("copy", region, part.expand(region.shape))

    return lowered


def _windows(x: Tensor, kernel: Any, dilation: Any, stride: Any, size: Sequence[int]) -> Tensor:
    """All patches of padded images (N, C, H, W), which overlap: (N, C, kernel..., places...)."""
    batch, channels, down, right = x.stride()
    steps = (batch, channels, down * dilation[0], right * dilation[1], down * stride[0], right * stride[1])
    return x.as_strided((*x.shape[:2], *kernel, *size), steps, x.storage_offset())


def _places(shape: Sequence[int], kernel: Any, dilation: Any, padding: Any, stride: Any) -> list[int]:
    sides = zip(shape[-2:], kernel, dilation, padding, stride, strict=True)
    return [(n + 2 * pad - wide * (k - 1) - 1) // step + 1 for n, k, wide, pad, step in sides]


def _around(x: Tensor, padding: Any) -> tuple[Tensor, Tensor]:
    """Room for images with their border, and the part within it."""
    down, right = padding
    room = x.new_empty(*x.shape[:2], x.shape[2] + 2 * down, x.shape[3] + 2 * right)
    return room, room[:, :, down : down + x.shape[2], right : right + x.shape[3]]


def _im2col(to: Any, out: Tensor, x: Tensor, kernel: Any, dilation: Any, padding: Any, stride: Any) -> None:
    room, inside = _around(x, padding)
    to.emit("copy", room, 0.0)
    to.emit("copy", inside, x)
    size = _places(x.shape, kernel, dilation, padding, stride)
    to.emit("copy", out.view(*x.shape[:2], *kernel, *size), _windows(room, kernel, dilation, stride, size))


def _col2im(to: Any, out: Tensor, x: Tensor, whole: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> None:
    room, inside = _around(out, padding)
    to.emit("copy", room, 0.0)
    size = _places(whole, kernel, dilation, padding, stride)
    patches = x.unflatten(2, size).unflatten(1, (-1, *kernel))
    to.emit("add_into", _windows(room, kernel, dilation, stride, size), patches)
    to.emit("copy", out, inside)


def _positions(x: Tensor) -> Tensor:
    return torch.arange(x.numel(), device=x.device).view(x.shape)


def _fixed(to: Any, value: Any) -> None:
    if any(to.moves(t) for t in torch.utils._pytree.tree_leaves(value) if isinstance(t, Tensor) and t.numel()):
        raise ValueError(
            "The loss looks up places that depend on z (an index made from z, as argmax or sort make it), which has no "
            "gradient: use softmax weights instead."
        )


def _moved(name: str) -> Callable[..., None]:
    """Out = x[positions], where PyTorch itself says which."""
    operation = getattr(aten, name)

    def lowered(to: Any, out: Tensor, x: Tensor, *args: Any, **kwargs: Any) -> None:
        _fixed(to, args)
        found = operation(_positions(x), *args, **kwargs)
        to.emit("gather", out, x, found.expand(out.shape))

    return lowered


def _index_put(to: Any, out: Tensor, x: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> None:
    _fixed(to, indices)
    found = aten.index(_positions(x), indices)
    _scattered(to, out, x, found, values, accumulate)


def _scatter(accumulate: bool) -> Callable[..., None]:
    def lowered(to: Any, out: Tensor, x: Tensor, dim: int, index: Tensor, source: Any, **kwargs: Any) -> None:
        _fixed(to, index)
        if kwargs:
            raise ValueError("The page knows scatter without reduce: use scatter_add.")
        if isinstance(source, Tensor):
            source = source[tuple(slice(n) for n in index.shape)]
        _scattered(to, out, x, _positions(x).gather(dim, index), source, accumulate)

    return lowered


def _scattered(to: Any, out: Tensor, x: Tensor, found: Tensor, values: Tensor, accumulate: bool) -> None:
    """``found``: positions in x as rows follow rows, as which the output is read, too."""
    to.emit("copy", out, x)
    to.emit("put_add" if accumulate else "put", out, found, _like(values, found))


LOWERED: dict[Any, Callable[..., None]] = {getattr(aten, name): _elementwise(name) for name in ELEMENTWISE}
LOWERED |= {getattr(aten, name): _moved(name) for name in MOVED}
LOWERED |= {getattr(aten, name): _reduced(name) for name in ("sum", "amax", "amin")}
LOWERED |= {aten.any: _reduced("amax"), aten.all: _reduced("amin")}  # of 0 and 1
LOWERED |= {getattr(aten, f"bitwise_{name}"): _bitwise(name) for name in ("and", "not", "or")}
LOWERED |= {
    aten.add: _adding("add"),
    aten.sub: _adding("sub"),
    aten.clamp: _clamp,
    aten.clamp_min: _clamp,
    aten.clamp_max: lambda to, out, x, high: _clamp(to, out, x, None, high),
    aten.clone: _converted,
    aten.copy: lambda to, out, x, source: to.emit("copy", out, _like(source, out)),
    aten._to_copy: _converted,
    aten.mean: _mean,
    aten.mm: _product,
    aten.bmm: _product,
    aten.addmm: _added_product,
    aten.baddbmm: _added_product,
    aten.cat: _joined,
    aten.constant_pad_nd: _padded,
    aten.slice_scatter: _put(aten.slice),
    aten.select_scatter: _put(aten.select),
    aten.diagonal_scatter: _put(aten.diagonal),
    aten.as_strided_scatter: _put(aten.as_strided),
    aten.im2col: _im2col,
    aten.col2im: _col2im,
    aten.index_put: _index_put,
    aten._unsafe_index_put: _index_put,
    aten.scatter: _scatter(accumulate=False),
    aten.scatter_add: _scatter(accumulate=True),
}
