"""Any loss of z as a list of operations: what a page needs to compute it, and its gradient, without PyTorch.

PyTorch's ``make_fx`` writes down what forward and backward do at one z. What z does not reach is a constant, computed
here. Of the rest, whatever only looks at numbers in another way (a transpose, a slice) costs nothing: an operation
reads and writes views, which are a buffer, an offset, a shape and strides. graph.js runs what remains.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.attention
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from gbi_helpers.guards import LossFn, check_start, checked_loss
from gbi_helpers.widgets.graph_decompositions import decompositions
from gbi_helpers.widgets.graph_operations import EACH, FIXED, LOWERED
from gbi_helpers.widgets.weights import pack_weights

MOST_MB = 8.0  # of constants in a page
LARGE = 4096  # numbers: a constant that has so many is a weight, and gets 16 bits
BRANCHES = (
    "The loss branches on values of z or of the network (an if, .item(), a mask as an index, or a distribution without "
    "validate_args=False), and a page has one graph for all z: use torch.where, or scrub(record, controls=...), which "
    "keeps the kernel."
)
UNKNOWN = (
    "The page does not know the operation {}: write the loss without it, or use scrub(record, controls=...), which "
    "keeps the kernel."
)
OUTSIDE = (
    "At another z the loss is not what its graph says: it takes numbers out of z or the network (NumPy, a list, a "
    "counter), and a page has one graph for all z: compute with PyTorch's operations alone."
)
RANDOM = "The loss draws random numbers ({}), and a page has one graph for all z: call model.eval(), or draw before."


@dataclass
class Graph:
    """A loss of z (K) and its gradient as operations on views of buffers.

    ``operations``: name, view written, views read (a number as a string). The first ``forward`` of them are enough for
    the loss. ``views``: buffer, offset, shape, strides. ``constants``: buffer and numbers. ``sizes``: of all buffers.
    ``ends``: the views of z, loss and gradient.
    """

    operations: list[list[Any]] = field(default_factory=list)
    views: list[list[Any]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    constants: dict[int, np.ndarray] = field(default_factory=dict)
    ends: tuple[int, int, int] = (0, 0, 0)
    forward: int = 0

    def packed(self, bits: int = 16, most_mb: float = MOST_MB) -> tuple[dict[str, Any], bytes]:
        """What graph.js is told, and the constants' bytes: those of 16 bits, then those of 32.

        Raises ``ValueError`` for more than ``most_mb`` megabytes of them, and where ``bits`` is not 16 or 32.
        """
        if bits not in (16, 32):
            raise ValueError(f"bits is {bits}: choose 16 or 32.")
        halves = {buffer: v for buffer, v in self.constants.items() if bits == 16 and _fits_half(v)}
        singles = {buffer: v for buffer, v in self.constants.items() if buffer not in halves}
        facts, raw = pack_weights({str(buffer): torch.from_numpy(v) for buffer, v in halves.items()})
        told = {name: getattr(self, name) for name in ("operations", "views", "sizes", "ends", "forward")}
        told |= {"halves": facts, "bytes": len(raw), "singles": [[buffer, v.size] for buffer, v in singles.items()]}
        raw += b"".join(v.astype("<f4").tobytes() for v in singles.values())
        if len(raw) > most_mb * 1e6:
            raise ValueError(
                f"The network has {len(raw) / 1e6:.2g} MB of constants, and a page should hold {most_mb:g} at most: "
                "make it smaller, or give to_browser(..., most_mb=...)."
            )
        return told, raw


def graph_of(loss_fn: LossFn, z0: Tensor) -> Graph:
    """The graph of ``loss_fn`` and of its gradient at z0 (1, K), with all shapes as they are there.

    Raises ``ValueError`` where the loss branches on values, draws random numbers, or uses an operation that the page
    does not know; and for what :func:`gbi_helpers.one_step` refuses.
    """
    check_start(z0)
    if len(z0) != 1:
        raise ValueError(f"The page infers for one sample, but z0 has {len(z0)} rows: give z0[:1], and its inputs.")
    checked_loss(loss_fn, z0)
    traced = _traced(loss_fn, z0)
    graph = Builder(traced, z0).run()
    _check_elsewhere(traced, loss_fn, z0)
    return graph


def _traced(loss_fn: LossFn, z0: Tensor) -> fx.GraphModule:
    """What PyTorch does for loss and gradient, operation by operation."""

    def step(z: Tensor) -> tuple[Tensor, Tensor]:
        z = z.detach().requires_grad_()
        loss = loss_fn(z).sum()
        grad = torch.autograd.grad(loss, z, allow_unused=True)[0] if loss.requires_grad else None
        if grad is None:
            raise ValueError("The loss has no gradient to z: feed z to the model, and do not detach it.")
        return loss.detach(), grad

    try:
        with _plain():
            written: Any = make_fx(step)(z0.detach().clone())
            if any(_writes_in_place(node.target) for node in written.graph.nodes):
                written = torch.func.functionalize(written, remove="mutations")
            traced = make_fx(written, decomposition_table=decompositions())(z0.detach().clone())
    except RuntimeError as error:
        if "get value out of a tracing tensor" in str(error) or "data-dependent" in str(error).lower():
            raise ValueError(BRANCHES) from error
        why = str(error).splitlines()[0]
        raise ValueError(f"PyTorch cannot write this loss down as one graph: {why}") from error
    traced.graph.eliminate_dead_code()
    return traced


def _check_elsewhere(traced: fx.GraphModule, loss_fn: LossFn, z0: Tensor) -> None:
    """Numbers that the loss takes out of z by other means than PyTorch's stand in the graph as they were."""
    z = z0.detach() / 2
    z[:, z0.argmin()] += 0.5
    with torch.no_grad():
        if not torch.allclose(traced(z)[0], checked_loss(loss_fn, z)[0], rtol=1e-3, atol=1e-3):
            raise ValueError(OUTSIDE)


def _writes_in_place(target: Any) -> bool:
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


@contextlib.contextmanager
def _plain() -> Iterator[None]:
    """Gradients on, and without mkldnn and fused attention, which are single operations that nothing takes apart."""
    plain = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad():
        warnings.filterwarnings("ignore", message="TF32 acceleration")
        with torch.backends.mkldnn.flags(enabled=False), plain:
            yield


class Builder:
    """Goes through the traced operations with real numbers, and notes those that z reaches.

    A lowering (gbi_helpers.widgets.graph_operations) calls :meth:`emit` for what the page must do.
    """

    def __init__(self, traced: fx.GraphModule, z0: Tensor) -> None:
        self.traced, self.z0 = traced, z0.detach().clone()
        self.graph = Graph()
        self.moving: set[int] = set()  # storages that z reaches
        self.kept: list[Tensor] = []  # so that no storage's address is used twice
        self.buffers: dict[int, int] = {}  # by storage
        self.numbers: dict[int, Tensor] = {}  # constants, by buffer
        self.known: dict[tuple[Any, ...], int] = {}  # views

    def run(self) -> Graph:
        """The graph, with what the loss alone needs in front."""
        values: dict[fx.Node, Any] = {}
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                values[node] = self.made(self.z0)
            elif node.op == "get_attr":
                values[node] = self._keep(getattr(self.traced, node.target))
            elif node.op == "call_function":
                values[node] = self._call(node, fx.map_arg((node.args, node.kwargs), values.__getitem__))
            else:
                loss, grad = fx.map_arg(node.args[0], values.__getitem__)
        self.graph.ends = self.view(self.z0), self.view(loss), self.view(grad)
        self._sort()
        self._cut()
        return self.graph

    def _call(self, node: fx.Node, given: tuple[Any, Any]) -> Any:
        args, kwargs = given
        target: Any = node.target
        if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
            raise ValueError(RANDOM.format(target))
        out = self._keep(target(*args, **kwargs))
        packet = getattr(target, "overloadpacket", target)
        moving = any(self.moves(t) for t in _tensors((args, kwargs)))
        outs = list(_tensors(out))
        if moving and _writes_in_place(target):
            raise ValueError(UNKNOWN.format(target))
        if not moving or packet in FIXED or all(self.moves(t) for t in outs):  # a constant, or another look at numbers
            return out
        if packet not in LOWERED:
            raise ValueError(UNKNOWN.format(target))
        LOWERED[packet](self, out, *args, **kwargs)
        return out

    def _keep(self, value: Any) -> Any:
        self.kept.extend(_tensors(value))
        return value

    def moves(self, tensor: Tensor) -> bool:
        """Whether z reaches these numbers."""
        return tensor.untyped_storage().data_ptr() in self.moving

    def made(self, tensor: Tensor) -> Tensor:
        """Mark a tensor as one that the page computes."""
        self.kept.append(tensor)
        self.moving.add(tensor.untyped_storage().data_ptr())
        return tensor

    def view(self, tensor: Tensor) -> int:
        """The number of this view; a storage seen first gets a buffer."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.buffers:
            self.kept.append(tensor)
            buffer = self.buffers[storage.data_ptr()] = len(self.buffers)
            self.graph.sizes.append(storage.nbytes() // tensor.element_size())
            if not self.moves(tensor):
                self.numbers[buffer] = tensor
        buffer = self.buffers[storage.data_ptr()]
        if storage.nbytes() // tensor.element_size() != self.graph.sizes[buffer]:
            raise ValueError(UNKNOWN.format("that reads the bytes of numbers as those of another type"))
        key = buffer, tensor.storage_offset(), tuple(tensor.shape), tuple(tensor.stride())
        if key not in self.known:
            self.known[key] = len(self.graph.views)
            self.graph.views.append([buffer, key[1], list(key[2]), list(key[3])])
        return self.known[key]

    def emit(self, name: str, out: Tensor, *read: Tensor | float) -> None:
        """The page shall do ``name``: write ``out``, which z reaches, from what is ``read``; nothing if it is empty."""
        self.made(out)
        if out.numel():
            operands = [self._operand(v, name) for v in read]
            self.graph.operations.append([name, self.view(out), *operands])

    def _operand(self, value: Tensor | float, name: str) -> int | str:
        """A view, or a number as JavaScript reads it; a constant that is one number everywhere is that number."""
        if isinstance(value, Tensor) and not self.moves(value) and name in EACH:
            first = value.flatten()[0]
            value = first.item() if bool((value == first).all()) else value
        return self.view(value) if isinstance(value, Tensor) else repr(float(value)).replace("inf", "Infinity")

    def _sort(self) -> None:
        """Put in front what the loss needs; leave out what neither loss nor gradient does."""
        graph = self.graph
        buffer_of = [view[0] for view in graph.views]

        def needed(end: int) -> set[int]:
            wanted, found = {buffer_of[end]}, set()
            for number in range(len(graph.operations) - 1, -1, -1):
                _, out, *read = graph.operations[number]
                if buffer_of[out] in wanted:
                    found.add(number)
                    wanted |= {buffer_of[view] for view in read if isinstance(view, int)}
            return found

        loss, grad = needed(graph.ends[1]), needed(graph.ends[2])
        order = sorted(loss) + sorted(grad - loss)
        graph.operations, graph.forward = [graph.operations[number] for number in order], len(loss)

    def _cut(self) -> None:
        """Keep of each constant what its views reach: a sample, not the data set that it lies in."""
        graph = self.graph
        used = {v for _, *views in graph.operations for v in views if isinstance(v, int)} | {*graph.ends}
        for buffer, tensor in self.numbers.items():
            own = [graph.views[v] for v in sorted(used) if graph.views[v][0] == buffer]
            if not own:
                graph.sizes[buffer] = 0
                continue
            low = min(offset for _, offset, _, _ in own)
            high = max(
                offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 1
                for _, offset, shape, strides in own
            )
            for view in own:
                view[1] -= low
            whole = tensor.as_strided((high - low,), (1,), low).detach().cpu()
            graph.constants[buffer], graph.sizes[buffer] = _constant(whole), high - low


def _constant(values: Tensor) -> np.ndarray:
    """Numbers that 32 bits of a page hold: float32, or whole ones below 2^24."""
    if values.is_floating_point():
        return values.float().numpy().copy()
    if values.is_complex() or values.to(torch.int64).abs().max() >= 2**24:
        raise ValueError(f"A constant of {values.dtype} does not fit the page's 32 bits: make it smaller, or real.")
    return values.to(torch.int32).numpy().copy()


def _fits_half(values: np.ndarray) -> bool:
    """Whether 16 bits hold these numbers exactly, or they are so many, and not whole, that they must be weights."""
    with np.errstate(over="ignore"):
        half = values.astype("<f2")
    weights = values.size >= LARGE and not (values == np.rint(values)).all()
    return bool(np.isfinite(half).all()) and (weights or bool((half == values).all()))


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested arguments."""
    return (leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, Tensor))
