"""``to_browser(loss_fn, z0)``: any model of the reader's infers in the page itself, without a kernel.

The buffer holds the graph as JSON, then its constants: those of 16 bits, and those of 32.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gbi_helpers.guards import LossFn, check_simplex
from gbi_helpers.inference import enumerate_tasks, iterate, one_step
from gbi_helpers.records import Posterior, Trajectory
from gbi_helpers.widgets import page
from gbi_helpers.widgets.graphs import MOST_MB, graph_of
from gbi_helpers.widgets.pack import Labels, Packed, names_of, number
from gbi_helpers.widgets.view import RecordView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = 50
EVERY = 24  # tasks, up to which the page tries them all
LIVE = "move the start of inference yourself, and see where it ends"


@dataclass(frozen=True)
class Inferring(Packed):
    """What the browser is given: the graph as JSON with its constants, where inference starts, and names."""

    told: bytes
    constants: bytes
    z0: list[float]
    labels: list[str]
    noun: str
    title: str
    step_size: float

    @property
    def header(self) -> dict[str, Any]:
        """Everything but the graph."""
        return {
            "kind": "graph",
            "entries": STEPS + 1,
            "start": STEPS,
            "dim": len(self.z0),
            "told": len(self.told),
            "bytes": len(self.constants),
            "sha256": hashlib.sha256(self.told + self.constants).hexdigest(),
            "every": len(self.z0) <= EVERY,
            **{name: getattr(self, name) for name in ("z0", "labels", "noun", "title", "step_size")},
        }

    @cached_property
    def data(self) -> bytes:
        """Graph and constants, deflated."""
        return zlib.compress(self.told + self.constants, 9)


class InBrowser(RecordView):
    """What :func:`to_browser` returns. ``beliefs``: what one step, fifty, and (of few tasks) all of them say."""

    scripts = ("engine.js", "graph.js", "graph_view.js")

    def __init__(self, inferring: Inferring, step: Posterior, path: Trajectory, every: Posterior | None) -> None:
        super().__init__(inferring)
        self.inferring, self.path = inferring, path
        self.beliefs = {"one step": step.q[0].tolist(), f"{STEPS} steps": path.z[-1, 0].tolist()}
        if every is not None:
            self.beliefs["every task tried"] = every.q[0].tolist()

    def still(self) -> str:
        """What is seen without JavaScript or trust."""
        given = self.inferring
        rows = []
        for how, belief in self.beliefs.items():
            best = max(range(len(belief)), key=belief.__getitem__)
            rows.append((how, given.labels[best], number(belief[best])))
        told = "; ".join(f"{how}: {top} at {share}" for how, top, share in rows)
        alt = f"Beliefs of a model. {told}. Loss: {number(self.path.loss[-1].item())} nats after {STEPS} steps."
        head = ("asked by", f"largest {given.noun}".strip(), "belief")
        return page.still(given.title, alt, self._picture(), head, rows, live=LIVE)

    def _picture(self) -> Figure:
        from matplotlib.figure import Figure  # no pyplot: a figure of our own, no global state

        wide = len(self.beliefs) + 1
        fig = Figure(figsize=(2.5 * wide, 2.1), dpi=80, layout="constrained")
        *each, last = fig.subplots(1, wide)
        for axis, (how, belief) in zip(each, self.beliefs.items(), strict=True):
            bars = axis.bar(range(len(belief)), belief, color="#0072B2")
            bars[belief.index(max(belief))].set(hatch="////", edgecolor="white", facecolor="#D55E00")
            axis.set_title(how, fontsize=9)
        last.plot(self.path.loss[:, 0].cpu(), color="#0072B2")
        last.set_title("loss (nats) over the steps", fontsize=9)
        for axis in (*each, last):
            axis.tick_params(labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
        return fig

    def __repr__(self) -> str:
        """The same on every machine: sizes, no values."""
        return f"InBrowser({len(self.inferring.z0)} tasks, {len(self.inferring.data) / 1000:.0f} kB)"


def to_browser(
    loss_fn: LossFn,
    z0: Tensor,
    *,
    labels: Labels = "task",
    title: str = "",
    step_size: float = 1.0,
    bits: Literal[16, 32] = 16,
    most_mb: float = MOST_MB,
) -> InBrowser:
    """Let the page itself infer with any model: ``to_browser(loss_of(model, x, nll), z0)``. Needs no kernel.

    Forward and backward are traced once at ``z0`` (1, K), on the simplex, and the operations go into the output with
    the model's weights: those of 4,096 numbers or more in ``bits`` bits, smaller constants in 32 where 16 lose
    anything. The page sums in 64. Its reader moves the start; one gradient, fifty steps and, of up to 24 tasks, every
    task tried follow. ``labels``: a noun, or one name a task.
    All shapes stay as they are at z0, and loops are unrolled: a hundred steps of a recurrence take PyTorch some ten
    seconds to trace. Raises ``ValueError`` where the loss branches on values, draws random numbers,
    uses an operation that the page does not know (it is named), or has more than ``most_mb`` MB of constants, and where
    ``bits`` is not 16 or 32.
    """
    check_simplex(z0)
    told, constants = graph_of(loss_fn, z0).packed(bits, most_mb)
    noun, names = names_of(labels, z0.shape[1])
    start = z0[0].to("cpu", torch.float64).tolist()
    as_json = json.dumps(told, separators=(",", ":")).encode()
    inferring = Inferring(as_json, constants, start, names, noun, title, float(step_size))
    every = enumerate_tasks(loss_fn, z0) if len(start) <= EVERY else None
    return InBrowser(inferring, one_step(loss_fn, z0, step_size), iterate(loss_fn, z0, STEPS), every)
