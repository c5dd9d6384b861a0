"""``modules(record)``: hidden units x tasks over training, scrubbed; one self-contained output that needs no kernel.

The buffer holds, little-endian and in this order: training step uint32 (F,); then for each network activation uint8
(F, K, H), gate uint8 (F, K, H) where there is one, units of each task's module uint16 (F, K), and the curve float32
(F,). Activation and gate are stored as the change since the frame before.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.modularity import module_of, unit_order
from gbi_helpers.records import ModulesRecord
from gbi_helpers.widgets import page
from gbi_helpers.widgets.pack import Labels, Packed, change, finite, index_of, kind, names_of, number
from gbi_helpers.widgets.view import RecordView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Show = Literal["activation", "z_only"]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


@dataclass(frozen=True)
class Net:
    """One network: activation and gate uint8 (F, K, H) with units in order, module sizes (F, K), the curve (F,)."""

    name: str
    activation: np.ndarray
    gate: np.ndarray | None
    owned: np.ndarray
    metric: np.ndarray


@dataclass(frozen=True)
class Units(Packed):
    """What the browser is given: networks watched at the same steps of training (F,)."""

    nets: list[Net]
    step: np.ndarray
    tasks: list[str]
    curve: str
    title: str

    @property
    def header(self) -> dict[str, Any]:
        """Everything but the arrays."""
        return {
            "kind": "modules",
            "entries": len(self.step),
            "tasks": self.tasks,
            "units": self.nets[0].activation.shape[2],
            "curve": self.curve,
            "title": self.title,
            "nets": [{"name": net.name, "gated": net.gate is not None} for net in self.nets],
        }

    @cached_property
    def data(self) -> bytes:
        """The arrays, deflated."""
        parts = [self.step.astype("<u4").tobytes()]
        for net in self.nets:
            parts += [change(values).tobytes() for values in (net.activation, net.gate) if values is not None]
            parts += [net.owned.astype("<u2").tobytes(), net.metric.astype("<f4").tobytes()]
        return zlib.compress(b"".join(parts), 9)


class Modules(RecordView):
    """What :func:`modules` returns."""

    scripts = ("modules.js",)

    def __init__(self, units: Units) -> None:
        super().__init__(units)
        self.units = units

    def still(self) -> str:
        """What is seen without JavaScript or trust."""
        return _still(self.units)

    def __repr__(self) -> str:
        """The same on every machine: names and shapes, no values."""
        frames, tasks, units = self.units.nets[0].activation.shape
        return (
            f"Modules({', '.join(net.name for net in self.units.nets)}: {frames} frames, {units} units, {tasks} tasks)"
        )


def modules(
    record: ModulesRecord | Mapping[str, ModulesRecord],
    *,
    seed: int = 0,
    labels: Labels = None,
    curve: str = "overlap",
    show: Show = "activation",
    sort_by: int = -1,
    title: str | None = None,
) -> Modules:
    """Show how the hidden units of one seed divide among tasks during training; several networks side by side by name.

    Units are rows, tasks columns: the gate, and beside it how much each unit drives the output (``show``:
    "activation" on each task's own samples, "z_only" on the same samples). Rows are sorted by the task they
    prefer and how strongly, at frame ``sort_by`` (the last), and stay there. Below: the record's ``curve``.
    ``labels``: a noun for numbered tasks, or a name each. Opacity is the root of the share of the largest drive shown.
    Raises ``ValueError`` for records that do not fit each other, NaN, or a seed, curve or frame that is not there.
    """
    records = dict(record) if isinstance(record, Mapping) else {"network": record}
    for each in records.values():
        if not isinstance(each, ModulesRecord):
            raise ValueError(f"modules() shows ModulesRecords, as train(..., frames=...) leaves, not a {kind(each)}.")
    if not records:
        raise ValueError("modules() was given no network: give a record, or records by name.")
    if show not in ("activation", "z_only"):
        raise ValueError(f"show is {show!r}: choose 'activation' or 'z_only'.")
    first = next(iter(records.values()))
    for name, each in records.items():
        _check(name, each, first, seed, curve, sort_by)
    noun, names = names_of(labels, first.activation.shape[2], "activation")
    tasks = [f"{noun} {name}".strip() for name in names] if labels is not None else names
    nets = [_net(name, each, seed, curve, show, sort_by) for name, each in records.items()]
    return Modules(Units(nets, first.step.cpu().numpy(), tasks, curve, title or ""))


def _check(name: str, record: ModulesRecord, first: ModulesRecord, seed: int, curve: str, sort_by: int) -> None:
    frames, seeds, tasks, units = record.activation.shape
    index_of(seed, seeds, "seed", f"'{name}' holds {seeds} seeds")
    index_of(sort_by, frames, "sort_by", f"'{name}' has {frames} frames", lowest=-frames)
    if curve not in record.curves:
        raise ValueError(f"'{name}' has no curve '{curve}': choose one of {', '.join(record.curves) or 'none'}.")
    if not torch.equal(record.step, first.step):
        raise ValueError(f"'{name}' was watched at other training steps than the first network: use equal frames.")
    if (tasks, units) != tuple(first.activation.shape[2:]):
        raise ValueError(f"'{name}' has other numbers of tasks or units than the first network: show them one by one.")


def _net(name: str, record: ModulesRecord, seed: int, curve: str, show: Show, sort_by: int) -> Net:
    drive = torch.from_numpy(finite(getattr(record, show)[:, seed], f"{show} of '{name}'"))
    order = unit_order(drive[sort_by])
    module = module_of(drive)
    owned = torch.stack([(module == task).sum(-1) for task in range(drive.shape[1])], dim=1)
    metric = finite(record.curves[curve][:, seed], f"{curve} of '{name}'")
    gate = None if record.gate is None else torch.from_numpy(finite(record.gate[:, seed], f"gate of '{name}'"))
    shown_gate = None if gate is None else _bytes(gate, order)
    return Net(name, _bytes(drive, order), shown_gate, owned.numpy(), metric)


def _bytes(values: Tensor, order: Tensor) -> np.ndarray:
    """The root of values (F, K, H) as uint8 of the largest, the units in ``order``; below zero counts as zero."""
    share = (values / values.max().clamp_min(1e-12)).clamp_min(0)
    return share.sqrt().mul(255).round().byte()[..., order].numpy()


def _still(units: Units) -> str:
    """What is seen without JavaScript or trust."""
    last = len(units.step) - 1
    ends = "; ".join(
        f"{n.name} {number(n.metric[0])} at the start, {number(n.metric[-1])} at the end" for n in units.nets
    )
    alt = f"Hidden units by tasks at the end of training, and the {units.curve} over training: {ends}."
    frames = np.unique(np.linspace(0, last, 6).round().astype(int))
    rows = [(f"{units.step[f]:,}", *(number(net.metric[f]) for net in units.nets)) for f in frames]
    head = ("training step", *(f"{net.name}: {units.curve}" for net in units.nets))
    return page.still(units.title, alt, _picture(units), head, rows)


def _picture(units: Units) -> Figure:
    """The activations at the last frame, one panel a network, and the curves."""
    from matplotlib.figure import Figure  # no pyplot: a figure of our own, no global state

    fig = Figure(figsize=(1.5 * len(units.nets) + 2.4, 2.2), dpi=72, layout="constrained")
    axes = fig.subplots(1, len(units.nets) + 1, width_ratios=[1.0] * len(units.nets) + [1.6])
    for axis, net in zip(axes, units.nets, strict=False):
        axis.imshow(net.activation[-1].T, aspect="auto", cmap="Blues", interpolation="nearest")
        axis.set_title(net.name, fontsize=8)
        axis.set_xticks(range(len(units.tasks)), units.tasks, fontsize=7)
        axis.set_yticks([])
    for net, colour, line in zip(units.nets, COLOURS * 9, ("-", "--", ":", "-.") * 9, strict=False):
        axes[-1].plot(units.step, net.metric, color=colour, linestyle=line)
    axes[-1].set_title(f"{units.curve} over training", fontsize=8)
    axes[-1].tick_params(labelsize=7)
    axes[-1].spines[["top", "right"]].set_visible(False)
    return fig
