"""Operations that fall apart into simpler ones while a loss is traced: PyTorch's own ways, and some that it lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions

aten = torch.ops.aten
Decomposed = Callable[..., Any]


def _convolution_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    _bias: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    turned: bool,
    _output_padding: list[int],
    groups: int,
    mask: list[bool],
) -> tuple[Tensor | None, None, None]:
    """The gradient to the input alone, another convolution: inference never asks for one to a weight."""
    if not mask[0]:
        return None, None, None
    more = [0] * len(stride)
    if not turned:
        for i, step in enumerate(stride):
            kernel = dilation[i] * (weight.shape[2 + i] - 1) + 1
            more[i] = x.shape[2 + i] - ((grad.shape[2 + i] - 1) * step - 2 * padding[i] + kernel)
    return aten.convolution(grad, weight, None, stride, padding, dilation, not turned, more, groups), None, None


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    turned: bool,
    more: list[int],
    groups: int,
) -> Tensor:
    """A matrix product on the patches of an image, or one whose results are put down as patches."""
    if len(stride) == 1:  # a line is an image of height one
        x, weight = x.unsqueeze(2), weight.unsqueeze(2)
        flat = [1, *stride], [0, *padding], [1, *dilation], turned, [0, *more], groups
        return _convolution(x, weight, bias, *flat).squeeze(2)
    if len(stride) != 2:
        raise ValueError("The page knows convolutions over one or two axes: write the loss without others.")
    each = _enlarging if turned else _patched
    parts = zip(x.chunk(groups, 1), weight.chunk(groups, 0), strict=True)
    out = torch.cat([each(part, own, stride, padding, dilation, more) for part, own in parts], 1)
    return out if bias is None else out + bias[:, None, None]


def _patched(x: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any, _more: Any) -> Tensor:
    kernel = weight.shape[2:]
    sides = zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    size = [(n + 2 * pad - wide * (k - 1) - 1) // step + 1 for n, k, step, pad, wide in sides]
    columns = aten.im2col(x, kernel, dilation, padding, stride)
    return torch.matmul(weight.flatten(1), columns).unflatten(2, size)


def _enlarging(x: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any, more: Any) -> Tensor:
    kernel = weight.shape[2:]
    sides = zip(x.shape[2:], kernel, stride, padding, dilation, more, strict=True)
    size = [(n - 1) * step - 2 * pad + wide * (k - 1) + 1 + extra for n, k, step, pad, wide, extra in sides]
    columns = torch.matmul(weight.flatten(1).mT, x.flatten(2))
    return aten.col2im(columns, size, kernel, dilation, padding, stride)


def _var_mean(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    dims = list(range(x.dim())) if not dim else list(dim)
    mean = x.mean(dims, keepdim=True)
    count = math.prod(x.shape[d] for d in dims) - (1 if correction is None else correction)
    var = (x - mean).square().sum(dims, keepdim=keepdim) / count
    return var, mean if keepdim else mean.sum(dims)


def _var(x: Tensor, dim: Sequence[int] | None = None, **how: Any) -> Tensor:
    return _var_mean(x, dim, **how)[0]


def _cumsum(x: Tensor, dim: int, **_: Any) -> Tensor:
    if x.dim() == 0:
        return x.clone()
    return (x.movedim(dim, -1) @ x.new_ones(x.shape[dim], x.shape[dim]).triu()).movedim(-1, dim)


def _norm(x: Tensor, order: float = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    dims = list(range(x.dim())) if dim is None else dim
    if order in (1, 2):
        return x.abs().sum(dims, keepdim) if order == 1 else x.square().sum(dims, keepdim).sqrt()
    return x.abs().pow(order).sum(dims, keepdim).pow(1 / order)


def _empty_permuted(size: list[int], order: list[int], dtype: torch.dtype, device: torch.device, **_: Any) -> Tensor:
    return torch.zeros(size, dtype=dtype, device=device)


def decompositions() -> dict[Any, Decomposed]:
    """How operations fall apart into simpler ones: PyTorch's own ways, and some that it lacks."""
    activations = [aten._softmax, aten._log_softmax, aten.gelu, aten.elu, aten.leaky_relu, aten.hardtanh]
    table = dict(torch.export.default_decompositions())
    norms = [aten.native_layer_norm, aten.native_group_norm, aten.native_batch_norm, aten.native_batch_norm_backward]
    table |= get_decompositions([*activations, *norms, aten.mv, aten.dot])
    for kept in (aten.im2col.default, aten.col2im.default, aten.select_scatter.default):  # one copy each
        table.pop(kept, None)
    table[aten.convolution.default] = _convolution
    table[aten.convolution_backward.default] = _convolution_backward
    table[aten.cumsum.default], table[aten.linalg_vector_norm.default] = _cumsum, _norm
    table[aten.var.correction], table[aten.var_mean.correction] = _var, _var_mean
    table[aten.empty_permuted.default] = _empty_permuted
    return table
