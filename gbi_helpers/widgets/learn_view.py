"""``learn_along(record)``: learners that go through contexts, moment by moment: what they know, and what they believe.

The buffer holds, little-endian and in this order: percent right float32 (S, L, T); belief uint8 (S, L, N, K), as the
change since the moment before; which classes are known uint8 (S, K); the test images uint8 (N, H, W); then, where they
are there, mean pictures uint8 (S, K, H, W), as the change, and gates uint8 (T, U).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.records import ContinualRecord
from gbi_helpers.widgets import page
from gbi_helpers.widgets.pack import Packed, change, finite, index_of, kind, number
from gbi_helpers.widgets.view import RecordView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Learning(Packed):
    """What the browser is given: see the module. ``image``, ``start``: the test image and moment at which it opens."""

    r: np.ndarray
    q: np.ndarray
    known: np.ndarray
    images: np.ndarray
    means: np.ndarray | None
    gates: np.ndarray | None
    y: list[int]
    context: list[int]
    step: list[int]
    learners: list[str]
    contexts: list[str]
    classes: list[str]
    title: str
    image: int
    start: int

    @property
    def header(self) -> dict[str, Any]:
        """Everything but the arrays."""
        names = ("learners", "contexts", "classes", "context", "y", "title", "image", "start")
        return {
            "kind": "learning",
            "entries": len(self.step),
            "at": self.step,
            "frame": list(self.images.shape[1:]),
            "kept": self.means is not None,
            "units": 0 if self.gates is None else self.gates.shape[1],
        } | {name: getattr(self, name) for name in names}

    @cached_property
    def data(self) -> bytes:
        """The arrays, deflated."""
        parts = [self.r.astype("<f4"), change(self.q), self.known, self.images]
        parts += [] if self.means is None else [change(self.means)]
        parts += [] if self.gates is None else [self.gates]
        return zlib.compress(b"".join(part.tobytes() for part in parts), 9)

    def right(self, stage: int, learner: int) -> float:
        """Percent right over the contexts so far."""
        return float(self.r[stage, learner, : self.context[stage] + 1].mean())

    def top(self, stage: int, learner: int) -> str:
        """What the image that is looked at is to a learner, in words."""
        q = self.q[stage, learner, self.image]
        return f"{self.classes[int(q.argmax())]} at {number(q.max() / 255)}"

    @property
    def ends(self) -> list[int]:
        """The last moment of each context."""
        return [s for s, now in enumerate(self.context) if [*self.context, -1][s + 1] != now]


class LearnAlong(RecordView):
    """What :func:`learn_along` returns."""

    scripts = ("learn.js",)

    def __init__(self, learning: Learning) -> None:
        super().__init__(learning)
        self.learning = learning

    def still(self) -> str:
        """What is seen without JavaScript or trust."""
        return _still(self.learning)

    def __repr__(self) -> str:
        """The same on every machine: names and sizes, no values."""
        stages, _, images, classes = self.learning.q.shape
        names = ", ".join(self.learning.learners)
        return (
            f"LearnAlong({names}: {stages} moments in {self.learning.r.shape[2]} contexts, {images} images, "
            f"{classes} classes)"
        )


def learn_along(record: ContinualRecord, *, title: str | None = None, image: int = 0, start: int = 0) -> LearnAlong:
    """Show what learners know of each context while they learn one after the other, and how each reads a test image.

    For each learner a row: percent right (the context being learned by the context asked), filled as training goes on;
    its belief over classes for the image that the reader chose; and the gates of the first, or the mean pictures of the
    last, where the record holds them. Keys: arrows move through training, a digit chooses its next test image.
    ``image``, ``start``: the test image and the moment at which the view opens (-1: the last).
    Raises ``ValueError`` for another record, an empty one, or an image or moment that is not there.
    """
    if not isinstance(record, ContinualRecord):
        raise ValueError(f"learn_along() shows a ContinualRecord, but was given a {kind(record)}.")
    if 0 in record.q.shape:
        shape = tuple(record.q.shape)
        raise ValueError(f"There is nothing to show: q has the shape {shape} (learners, moments, images, classes).")
    sizes = {"image": (image, record.q.shape[2]), "start": (start, record.q.shape[1])}
    image, start = (
        index_of(value, size, name, f"the record holds {size}", lowest=-size) % size
        for name, (value, size) in sizes.items()
    )
    return LearnAlong(_packed(record, title or "", image, start))


def _packed(record: ContinualRecord, title: str, image: int, start: int) -> Learning:
    known = record.known.cpu().numpy().astype(np.uint8)
    means, gates = record.means, record.gates
    return Learning(
        r=record.r.detach().cpu().double().numpy().transpose(1, 0, 2),
        q=_levels(record.q.transpose(0, 1), "q"),
        known=known,
        images=_levels(record.images, "images"),
        means=None if means is None else _levels(means, "means") * known[:, :, None, None],
        gates=None if gates is None else _levels(gates, "gates"),
        y=record.y.tolist(),
        context=record.context.tolist(),
        step=record.step.tolist(),
        learners=record.learners,
        contexts=record.contexts,
        classes=record.classes,
        title=title,
        image=image,
        start=start,
    )


def _levels(values: Tensor, what: str) -> np.ndarray:
    """Values in [0, 1] in 256 levels; uint8 as they are."""
    if values.dtype == torch.uint8:
        return values.cpu().numpy()
    return np.rint(finite(values, what, "entry").clip(0, 1) * 255).astype(np.uint8)


def _still(told: Learning) -> str:
    """What is seen without JavaScript or trust: what each learner knows in the end, and a table over the contexts."""
    last = len(told.step) - 1
    each = "; ".join(
        f"{name} {number(told.right(last, k))} % right, and to it the test image is {told.top(last, k)}"
        for k, name in enumerate(told.learners)
    )
    alt = (
        f"Percent right in each of {len(told.contexts)} contexts after learning each, and belief in each class for a "
        f"test image of class {told.classes[told.y[told.image]]}. In the end: {each}."
    )
    rows = [
        (told.contexts[told.context[s]], *(number(told.right(s, k)) for k in range(len(told.learners))))
        for s in told.ends
    ]
    head = ("after learning", *(f"{name}: % right so far" for name in told.learners))
    return page.still(told.title, alt, _picture(told), head, rows, live="scrub through the training")


def _picture(told: Learning) -> Figure:
    """A row for each learner: percent right after each context, and its belief in the end."""
    from matplotlib.figure import Figure  # no pyplot: a figure of our own, no global state

    count = len(told.learners)
    fig = Figure(figsize=(7.2, 2.4 * count), dpi=72, layout="constrained")
    axes = fig.subplots(count, 3, width_ratios=(1.5, 1.7, 0.7), squeeze=False)
    for k, (right, bars, image) in enumerate(axes):
        _draw_right(right, told, k)
        shades = bars.bar(told.classes, told.q[-1, k, told.image] / 255, color="#0072B2")
        shades[told.y[told.image]].set(hatch="////", edgecolor="white", facecolor="#D55E00")
        bars.set_ylim(0, 1)
        bars.set_title("belief in the end (hatched: right class)", fontsize=8)
        bars.tick_params(labelsize=7)
        bars.spines[["top", "right"]].set_visible(False)
        image.axis("off")
    axes[0, 2].imshow(told.images[told.image], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes[0, 2].set_title("test image", fontsize=8)
    return fig


def _draw_right(axis: Axes, told: Learning, learner: int) -> None:
    """Percent right after each context that was learned (rows), in each context (columns), with the numbers."""
    found = told.r[told.ends, learner]
    axis.imshow(found, cmap="Blues", vmin=0, vmax=160, aspect="auto")  # 160: numbers stay readable on the darkest
    for (i, j), value in np.ndenumerate(found):
        if np.isfinite(value):
            axis.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8)
    axis.set_xticks(range(len(told.contexts)), told.contexts)
    axis.set_yticks(range(len(told.ends)), [told.contexts[told.context[s]] for s in told.ends])
    axis.tick_params(labelsize=7)
    axis.set_title(f"{told.learners[learner]}: % right", fontsize=8)
