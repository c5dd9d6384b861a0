"""``slide(...)``: a picture that was computed for every place of one or two sliders, moved through without a kernel.

The buffer holds, little-endian, for each curve of each panel what changes: uint16 (G, N), G places of the sliders with
the first slider running slowest, as the change since the place before; then the read-out's numbers, float32 (G,) each.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.widgets import page
from gbi_helpers.widgets.pack import Packed, change, finite, number
from gbi_helpers.widgets.view import RecordView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 5000  # places of the sliders
ROOM = 12  # labels that fit under bars: of more, every 2nd, 5th, 10th ... is written
EVERY = (1, 2, 5, 10, 20, 50, 100, 200, 500)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#000000")
DASHES = ("-", (0, (5, 3)), (0, (1, 2)), (0, (6, 2, 1, 2)))


@dataclass(frozen=True)
class Lines:
    """Curves over a common ``x`` (N,), or each over its own, which may move: ``(x, y)`` by name.

    Each of these is (N,), the same everywhere, or (sizes of the sliders..., N). One point is drawn as a dot.
    ``x``: None where every curve has its own. ``equal``: both axes have one scale. ``xlim``, ``ylim``: what is seen.
    """

    title: str
    curves: Mapping[str, Any]
    x: Any = None
    xlabel: str = ""
    xlim: tuple[float, float] | None = None
    ylim: tuple[float, float] | None = None
    equal: bool = False


@dataclass(frozen=True)
class Bars:
    """A bar for each of ``labels`` (K), values (K,) or (sizes of the sliders..., K)."""

    title: str
    values: Any
    labels: Sequence[str]
    ylim: tuple[float, float] | None = None


@dataclass(frozen=True)
class Drawn:
    """A panel as arrays: curves (G, N) over x (G, N), or bars as one curve over 0 .. K - 1."""

    kind: str
    title: str
    names: list[str]
    x: list[np.ndarray]
    y: list[np.ndarray]
    xlim: tuple[float, float]
    ylim: tuple[float, float]
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Slides(Packed):
    """What the browser is given: sliders by name, panels, and the read-out's numbers (G,) by name."""

    sliders: Mapping[str, Sequence[float]]
    panels: list[Drawn]
    says: Mapping[str, np.ndarray]
    start: tuple[int, ...]
    title: str

    @property
    def header(self) -> dict[str, Any]:
        """Everything but what moves."""
        return {
            "kind": "slides",
            "entries": len(next(iter(self.sliders.values()))),
            "sliders": [[name, [float(f"{v:.6g}") for v in values]] for name, values in self.sliders.items()],
            "panels": [self._panel(drawn) for drawn in self.panels],
            "says": list(self.says),
            "at": list(self.start),
            "start": self.start[0],
            "title": self.title,
        }

    def _panel(self, drawn: Drawn) -> dict[str, Any]:
        curves = [
            {"name": name, "x": _fixed(x), "y": _fixed(y), "n": x.shape[1]}
            for name, x, y in zip(drawn.names, drawn.x, drawn.y, strict=True)
        ]
        axes = {"xlim": _rounded(drawn.xlim), "ylim": _rounded(drawn.ylim)}
        return {"kind": drawn.kind, "title": drawn.title, "curves": curves, **axes, **drawn.more}

    @cached_property
    def data(self) -> bytes:
        """The arrays, deflated."""
        parts = []
        for drawn in self.panels:
            for x, y in zip(drawn.x, drawn.y, strict=True):
                for values, (low, high) in ((x, drawn.xlim), (y, drawn.ylim)):
                    if _fixed(values) is None:
                        levels = np.rint((values - low) / (high - low) * 2000 + 2000).clip(0, 65535)
                        parts.append(change(levels.astype("<u2")).tobytes())
        parts += [values.astype("<f4").tobytes() for values in self.says.values()]
        return zlib.compress(b"".join(parts), 9)

    @property
    def place(self) -> int:
        """The number of the place at which the view opens."""
        return int(np.ravel_multi_index(self.start, [len(values) for values in self.sliders.values()]))


class Slider(RecordView):
    """What :func:`slide` returns."""

    scripts = ("slide.js",)

    def __init__(self, slides: Slides) -> None:
        super().__init__(slides)
        self.slides = slides

    def still(self) -> str:
        """What is seen without JavaScript or trust."""
        return _still(self.slides)

    def __repr__(self) -> str:
        """The same on every machine: sizes, no values."""
        sizes = ", ".join(f"{name} ({len(values)})" for name, values in self.slides.sliders.items())
        return f"Slider({sizes}: {', '.join(drawn.title for drawn in self.slides.panels)})"


def slide(
    sliders: Mapping[str, Sequence[float]],
    *panels: Lines | Bars,
    says: Mapping[str, Any],
    start: Sequence[int] | None = None,
    title: str = "",
) -> Slider:
    """Show panels that move with one or two sliders; all places were computed before, so no kernel is needed.

    ``sliders``: the values of each by name. What moves has their sizes in front: with sliders of 9 and 7 values, a
    curve of 50 points is (9, 7, 50). ``says``: numbers (9, 7) by name, for the read-out and the table. ``start``: the
    place of each slider at which the view opens; the middle without it.
    Raises ``ValueError`` for shapes that do not fit, NaN, more than two sliders, or more than 5,000 places.
    """
    sizes = [len(values) for values in sliders.values()]
    if not 1 <= len(sizes) <= 2 or min(sizes) < 2 or np.prod(sizes) > MOST:
        raise ValueError(f"slide() takes one or two sliders of 2 values or more, {MOST:,} places at most.")
    if not panels or not says:
        raise ValueError("slide() needs a panel, and numbers for the read-out: says={'nats': values}.")
    middle = tuple(size // 2 for size in sizes) if start is None else tuple(start)
    if len(middle) != len(sizes) or not all(0 <= at < size for at, size in zip(middle, sizes, strict=True)):
        raise ValueError(f"start is {start!r}: give the place of each slider, from 0 up to {[n - 1 for n in sizes]}.")
    told = {name: _spread(values, sizes, 0, name).ravel() for name, values in says.items()}
    drawn = [_bars(panel, sizes) if isinstance(panel, Bars) else _lines(panel, sizes) for panel in panels]
    return Slider(Slides({name: list(map(float, v)) for name, v in sliders.items()}, drawn, told, middle, title))


def _lines(panel: Lines, sizes: list[int]) -> Drawn:
    pairs = {name: v if isinstance(v, tuple) else (panel.x, v) for name, v in panel.curves.items()}
    if missing := [name for name, (x, _) in pairs.items() if x is None]:
        raise ValueError(f"The curve '{missing[0]}' has no x: give Lines(x=...), or the curve as (x, y).")
    x = [_spread(along, sizes, 1, name) for name, (along, _) in pairs.items()]
    y = [_spread(up, sizes, 1, name) for name, (_, up) in pairs.items()]
    for name, along, up in zip(pairs, x, y, strict=True):
        if along.shape[-1] != up.shape[-1]:
            raise ValueError(f"The curve '{name}' has {up.shape[-1]} values over {along.shape[-1]} of x.")
    more = {"xlabel": panel.xlabel, "equal": panel.equal}
    return Drawn("lines", panel.title, list(pairs), x, y, panel.xlim or _range(x, 0), panel.ylim or _range(y), more)


def _bars(panel: Bars, sizes: list[int]) -> Drawn:
    values = _spread(panel.values, sizes, 1, panel.title)
    if values.shape[-1] != len(panel.labels):
        raise ValueError(f"'{panel.title}' has {values.shape[-1]} bars, but {len(panel.labels)} labels.")
    low, high = panel.ylim or _range([values])
    place = np.broadcast_to(np.arange(values.shape[-1], dtype=float), values.shape)
    ylim = (min(low, 0.0), max(high, 0.0))
    more = {"labels": list(map(str, panel.labels))}
    return Drawn("bars", panel.title, [panel.title], [place], [values], (0.0, float(values.shape[-1])), ylim, more)


def _spread(values: Any, sizes: list[int], rest: int, what: str) -> np.ndarray:
    """Values as (G, N), or (G,) where ``rest`` is 0: the same at every place where they have no sizes in front."""
    array = finite(torch.atleast_1d(_tensor(values)), what, "place")
    if array.ndim not in (rest, rest + len(sizes)) or list(array.shape[: array.ndim - rest]) not in ([], sizes):
        raise ValueError(f"'{what}' has the shape {array.shape}: begin it with the sliders' sizes, {tuple(sizes)}.")
    tail = array.shape[array.ndim - rest :]
    return np.broadcast_to(array, (*sizes, *tail)).reshape(int(np.prod(sizes)), *tail)


def _tensor(values: Any) -> Tensor:
    return values if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values), device="cpu")


def _range(arrays: Sequence[np.ndarray], room: float = 0.06) -> tuple[float, float]:
    low, high = min(a.min() for a in arrays), max(a.max() for a in arrays)
    spare = (high - low) * room or (0.0 if high > low else 0.5)
    return float(low - spare), float(high + spare)


def _fixed(values: np.ndarray) -> list[float] | None:
    """A curve that moves nowhere, as numbers for the header; None for one that moves."""
    return [float(f"{v:.5g}") for v in values[0]] if (values == values[0]).all() else None


def _rounded(limits: tuple[float, float]) -> list[float]:
    return [float(f"{limit:.6g}") for limit in limits]


def _still(slides: Slides) -> str:
    """What is seen without JavaScript or trust: the opening picture, and a table along the first slider."""
    sizes = [len(values) for values in slides.sliders.values()]
    here = dict(zip(slides.sliders, slides.start, strict=True))
    where = ", ".join(f"{name} {number(slides.sliders[name][at])}" for name, at in here.items())
    told = ", ".join(f"{name} {number(values[slides.place])}" for name, values in slides.says.items())
    alt = f"{'; '.join(drawn.title for drawn in slides.panels)}. At {where}: {told}."
    first, *others = slides.sliders
    rows = []
    for at in np.unique(np.linspace(0, sizes[0] - 1, 6).round().astype(int)):
        place = int(np.ravel_multi_index((at, *slides.start[1:]), sizes))
        rows.append((number(slides.sliders[first][at]), *(number(values[place]) for values in slides.says.values())))
    beside = "".join(f" ({name} {number(slides.sliders[name][here[name]])})" for name in others)
    live = "scrub through the places of its sliders"
    return page.still(slides.title, alt, _picture(slides), (first + beside, *slides.says), rows, live=live)


def _picture(slides: Slides) -> Figure:
    from matplotlib.figure import Figure  # no pyplot: a figure of our own, no global state

    fig = Figure(figsize=(3.6 * len(slides.panels), 2.5), dpi=80, layout="constrained")
    for axis, drawn in zip(np.ravel(fig.subplots(1, len(slides.panels))), slides.panels, strict=True):
        _draw(axis, drawn, slides.place)
    return fig


def _draw(axis: Axes, drawn: Drawn, place: int) -> None:
    for k, (name, x, y) in enumerate(zip(drawn.names, drawn.x, drawn.y, strict=True)):
        if drawn.kind == "bars":
            labels = drawn.more["labels"]
            axis.bar(range(len(labels)), y[place], color=COLOURS[0])
            every = next(step for step in EVERY if len(labels) <= step * ROOM or step == EVERY[-1])
            axis.set_xticks(range(0, len(labels), every), labels[::every])
        elif x.shape[1] == 1:
            axis.plot(x[place], y[place], "o", color=COLOURS[k % 4], label=name)
        else:
            axis.plot(x[place], y[place], color=COLOURS[k % 4], linestyle=DASHES[k % 4], label=name)
    axis.set_ylim(drawn.ylim)
    if drawn.kind == "lines":
        axis.set(xlim=drawn.xlim, xlabel=drawn.more["xlabel"])
        axis.set_aspect("equal" if drawn.more["equal"] else "auto")
        axis.legend(fontsize=7, frameon=False)
    axis.set_title(drawn.title, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
