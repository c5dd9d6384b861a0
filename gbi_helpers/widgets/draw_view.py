"""``draw_along(model, images)``: draw a digit, and the network says what it takes it for while the pen moves.

The inference itself runs in the page (engine.js), so no kernel is needed. The buffer holds the weights in half
precision, then the images uint8 (N, 28, 28).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.inference import iterate, max_entropy, one_step
from gbi_helpers.metrics import log_odds
from gbi_helpers.models.base import Generative
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.records import Posterior, Trajectory
from gbi_helpers.widgets import page
from gbi_helpers.widgets.pack import Labels, Packed, names_of, number
from gbi_helpers.widgets.view import RecordView
from gbi_helpers.widgets.weights import pack_image_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 28
MOST = 100  # images
STEPS = 50
SCRIPTS = ("engine.js", "images.js", "strokes.js", "draw.js")
LIVE = "draw here yourself, and see what the network takes it for"


@dataclass(frozen=True)
class Drawing(Packed):
    """What the browser is given: the network, the images to choose from (N, 28, 28), and what is said of them."""

    network: dict[str, Any]
    weights: bytes
    images: np.ndarray
    names: list[str]
    labels: list[str]
    noun: str
    title: str
    step_size: float
    familiar: float | None

    @property
    def header(self) -> dict[str, Any]:
        """Everything but weights and images."""
        return {
            "kind": "draw",
            "entries": STEPS + 1,
            "start": STEPS,
            "dim": len(self.labels),
            "count": len(self.images),
            "bytes": len(self.weights),
            "network": self.network,
            **{name: getattr(self, name) for name in ("names", "labels", "noun", "title", "step_size", "familiar")},
        }

    @cached_property
    def data(self) -> bytes:
        """Weights and images, deflated."""
        return zlib.compress(self.weights + self.images.tobytes(), 9)


class DrawAlong(RecordView):
    """What :func:`draw_along` returns. ``first``: one step and the path of fifty for the first image."""

    scripts = SCRIPTS

    def __init__(self, drawing: Drawing, first: tuple[Posterior, Trajectory]) -> None:
        super().__init__(drawing)
        self.drawing, self.first = drawing, first

    def still(self) -> str:
        """What is seen without JavaScript or trust."""
        return _still(self.drawing, *self.first)

    def __repr__(self) -> str:
        """The same on every machine: sizes, no values."""
        return f"DrawAlong({len(self.drawing.labels)} tasks, {len(self.drawing.images)} images to choose from)"


def draw_along(
    model: Generative,
    images: Tensor,
    *,
    names: Sequence[str] | None = None,
    labels: Labels = "digit",
    step_size: float = 1.0,
    title: str = "",
    known: Tensor | None = None,
) -> DrawAlong:
    """Draw with mouse, finger or keys, or choose, and see at once what the network takes it for. Needs no kernel.

    Bars of one step (``step_size``), the path of fifty, and what the network draws follow the pen. The drawing is
    prepared as MNIST's digits were, which a switch leaves out. ``model``: a ConditionalVAE or ConvAutoencoder; its
    weights go into the output, in half precision (0.8 MB for the course's). ``images`` (N, 1, 28, 28) in [0, 1]:
    to choose from, by ``names``; the first is shown at the start. ``labels``: a noun, or one name a task. ``known``
    (N, 1, 28, 28): images like those trained on; with them the relative gradient tells how strange the drawing is.
    Raises ``ValueError`` for another model, or images, names or labels that do not fit.
    """
    network, weights = pack_image_model(model)
    pixels = _pixels(images)
    noun, tasks = names_of(labels, network["tasks"])
    called = [f"image {k + 1}" for k in range(len(pixels))] if names is None else list(map(str, names))
    if len(called) != len(pixels):
        raise ValueError(f"names names {len(called)} images, but there are {len(pixels)}: give one name an image.")
    familiar = None if known is None else round(float(_familiarity(model, known).quantile(0.05)), 4)
    drawing = Drawing(network, weights, pixels, called, tasks, noun, title, float(step_size), familiar)
    loss_fn, z0 = decoder_loss(model, images[:1]), max_entropy(1, len(tasks), images.dtype, images.device)
    return DrawAlong(drawing, (one_step(loss_fn, z0, step_size), iterate(loss_fn, z0, STEPS)))


def _pixels(images: Tensor) -> np.ndarray:
    """Images as uint8 (N, 28, 28)."""
    fits = isinstance(images, Tensor) and images.shape[1:] == (1, SIDE, SIDE) and 0 < len(images) <= MOST
    if not fits or not images.is_floating_point() or not ((images >= 0) & (images <= 1)).all():
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images must be (N, 1, 28, 28), 1 to {MOST} of them, with values in [0, 1], but are {got}.")
    return (images[:, 0] * 255).round().to("cpu", torch.uint8).numpy()


def _familiarity(model: Generative, x: Tensor) -> Tensor:
    """The relative gradient's score (N,): log odds of the largest entry of softmax(-g / L)."""
    found = one_step(decoder_loss(model, x), max_entropy(len(x), model.n_tasks, x.dtype, x.device))
    assert found.grad is not None
    return log_odds(-found.grad / found.loss[:, None])


def _still(drawing: Drawing, step: Posterior, path: Trajectory) -> str:
    q, z = step.q[0].tolist(), path.z[-1, 0].tolist()
    rows = [(how, *_top(drawing, belief)) for how, belief in (("one step", q), (f"{STEPS} steps", z))]
    told = "; ".join(f"{how}: {top} at {share}" for how, top, share in rows)
    alt = f"The network looks at {drawing.names[0]}. {told}."
    head = ("asked by", f"largest {drawing.noun}".strip(), "belief")
    return page.still(drawing.title, alt, _picture(drawing, step, path), head, rows, live=LIVE)


def _top(drawing: Drawing, belief: list[float]) -> tuple[str, str]:
    best = int(np.argmax(belief))
    return drawing.labels[best], number(belief[best])


def _picture(drawing: Drawing, step: Posterior, path: Trajectory) -> Figure:
    """The image, bars of one step, and the path."""
    from matplotlib.figure import Figure  # no pyplot: a figure of our own, no global state

    fig = Figure(figsize=(7.6, 2.1), dpi=80, layout="constrained")
    seen, bars, ways = fig.subplots(1, 3, width_ratios=(1, 1.7, 1.7))
    seen.imshow(drawing.images[0], cmap="gray", vmin=0, vmax=255)
    seen.axis("off")
    q, z = step.q[0].cpu().numpy(), path.z[:, 0].cpu().numpy()
    top = bars.bar(drawing.labels, q, color="#0072B2")[int(q.argmax())]
    top.set(hatch="////", edgecolor="white", facecolor="#D55E00")
    ways.plot(z, color="0.6", linewidth=1)
    ways.plot(z[:, int(z[-1].argmax())], color="#D55E00", linewidth=2.5)
    for axis, name in ((seen, drawing.names[0]), (bars, "one step: q"), (ways, f"z over {STEPS} steps")):
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    return fig
