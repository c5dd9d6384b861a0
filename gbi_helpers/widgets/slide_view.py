"""``slide(...)``: a picture that was computed for every place of one or two sliders, moved through without a kernel.

The buffer holds, little-endian, for each curve of each panel what changes (x, y, and how full dots are): uint16 (G, N),
G places of the sliders with the first slider running slowest, as the change since the place before; then the read-out's
numbers, float32 (G,) each. It is empty where the page computes a :class:`gbi_helpers.widgets.OneStep` itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gbi_helpers.widgets import page
from gbi_helpers.widgets.pack import Packed, change, number
from gbi_helpers.widgets.slide_parts import FULL, Bars, Curve, Drawn, Lines, drawn_from, spread, tensor
from gbi_helpers.widgets.theorem_view import Move, OneStep, computed
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
class Slides(Packed):
    """What the browser is given: sliders by name, panels, and the read-out's numbers (G,) by name.

    ``whole``: names of sliders and numbers that are whole, and written so. ``live``: what the page computes with, in
    place of what was computed; then all else is for the still picture and its table.
    """

    sliders: Mapping[str, Sequence[float]]
    panels: list[Drawn]
    says: Mapping[str, np.ndarray]
    start: tuple[int, ...]
    title: str
    whole: tuple[str, ...] = ()
    live: Mapping[str, Any] | None = None

    @property
    def header(self) -> dict[str, Any]:
        """Everything but what moves."""
        knobs = self.live["knobs"] if self.live else []
        at = [each["start"] for each in knobs] or list(self.start)
        sliders = [[name, [float(f"{v:.6g}") for v in values]] for name, values in self.sliders.items()]
        return {
            "kind": "slides",
            "entries": knobs[0]["count"] if knobs else len(sliders[0][1]),
            **({"live": self.live} if self.live else {"sliders": sliders}),
            "panels": [self._panel(drawn) for drawn in self.panels],
            "says": list(self.says),
            "whole": list(self.whole),
            "at": at,
            "start": at[0],
            "title": self.title,
        }

    def _panel(self, drawn: Drawn) -> dict[str, Any]:
        curves = [_told(curve, computed=self.live is not None) for curve in drawn.curves]
        axes = {"xlim": _rounded(drawn.xlim), "ylim": _rounded(drawn.ylim)}
        return {"kind": drawn.kind, "title": drawn.title, "curves": curves, **axes, **drawn.more}

    @cached_property
    def data(self) -> bytes:
        """The arrays, deflated."""
        parts = []
        for drawn in [] if self.live else self.panels:
            for curve in drawn.curves:
                for values, (low, high) in ((curve.x, drawn.xlim), (curve.y, drawn.ylim), (curve.fill, FULL)):
                    if values is not None and _fixed(values) is None:
                        levels = np.rint((values - low) / (high - low) * 2000 + 2000).clip(0, 65535)
                        parts.append(change(levels.astype("<u2")).tobytes())
        parts += [] if self.live else [values.astype("<f4").tobytes() for values in self.says.values()]
        return zlib.compress(b"".join(parts), 9)

    @property
    def place(self) -> int:
        """The number of the place at which the view opens."""
        return int(np.ravel_multi_index(self.start, [len(values) for values in self.sliders.values()]))

    def written(self, name: str, value: float) -> str:
        """A number of the slider or the read-out of this name; two decimals say nothing of a small one.

        What 32 bits can hardly tell from 0 is written so: its digits are another machine's already.
        """
        if name in self.whole:
            return f"{value:.0f}".replace("-", "\N{MINUS SIGN}")
        if 1e-5 <= abs(value) < 0.1:
            short = np.format_float_positional(value, 2, fractional=False, trim="-")
            return short.replace("-", "\N{MINUS SIGN}")
        return number(value if abs(value) >= 0.1 else 0.0)


class Slider(RecordView):
    """What :func:`slide` returns."""

    scripts: ClassVar[tuple[str, ...]] = ("slide.js",)

    def __init__(self, slides: Slides) -> None:
        super().__init__(slides)
        self.slides = slides

    def still(self) -> str:
        """What is seen without JavaScript or trust."""
        return _still(self.slides)

    def __repr__(self) -> str:
        """The same on every machine: sizes, no values."""
        live = self.slides.live
        counts = [each["count"] for each in live["knobs"]] if live else map(len, self.slides.sliders.values())
        sizes = ", ".join(f"{name} ({count})" for name, count in zip(self.slides.sliders, counts, strict=True))
        return f"Slider({sizes}: {', '.join(drawn.title for drawn in self.slides.panels)})"


class LiveSlider(Slider):
    """The same for what the page computes itself."""

    scripts = ("engine.js", "slide.js", "theorem.js")


def slide(
    sliders: Mapping[str, Any],
    *panels: Lines | Bars | OneStep,
    says: Mapping[str, Any] | None = None,
    start: Sequence[int] | None = None,
    title: str = "",
) -> Slider:
    """Show panels that move with sliders: all places were computed before, or the page computes. No kernel is needed.

    ``sliders``: one or two, the values of each by name. What moves has their sizes in front: with sliders of 9 and 7
    values, a curve of 50 points is (9, 7, 50). ``says``: numbers (9, 7) by name, for the read-out and the table.
    ``start``: the place of each slider at which the view opens; the middle without it. Integers, and sliders of
    whole numbers, are written without decimals.
    With a :class:`OneStep` in place of panels nothing is computed before: the page does, for as many sliders as are
    given as ``{name: Move(what, low, high)}``, at once, in 64 bits; ``says`` and ``start`` are not needed.
    Raises ``ValueError`` for shapes that do not fit, NaN, more than two sliders of values, or more than 5,000 places;
    and for a OneStep, or a Move in it, that makes no sense.
    """
    if any(isinstance(each, OneStep | Move) for each in (*panels, *sliders.values())):
        return _theorem(sliders, panels, says, start, title)
    stored = [panel for panel in panels if not isinstance(panel, OneStep)]
    sizes = [len(values) for values in sliders.values()]
    if not 1 <= len(sizes) <= 2 or min(sizes) < 2 or np.prod(sizes) > MOST:
        raise ValueError(f"slide() takes one or two sliders of 2 values or more, {MOST:,} places at most.")
    if not panels or not says:
        raise ValueError("slide() needs a panel, and numbers for the read-out: says={'nats': values}.")
    middle = tuple(size // 2 for size in sizes) if start is None else tuple(start)
    if len(middle) != len(sizes) or not all(0 <= at < size for at, size in zip(middle, sizes, strict=True)):
        raise ValueError(f"start is {start!r}: give the place of each slider, from 0 up to {[n - 1 for n in sizes]}.")
    told = {name: spread(values, sizes, 0, name).ravel() for name, values in says.items()}
    drawn = [drawn_from(panel, sizes) for panel in stored]
    is_whole = {name: not tensor(values).is_floating_point() for name, values in {**sliders, **says}.items()}
    is_whole |= {name: bool((tensor(values) % 1 == 0).all()) for name, values in sliders.items()}
    whole = tuple(name for name, yes in is_whole.items() if yes)
    along = {name: list(map(float, values)) for name, values in sliders.items()}
    return Slider(Slides(along, drawn, told, middle, title, whole))


def _theorem(sliders: Mapping[str, Any], panels: Sequence[Any], says: Any, start: Any, title: str) -> Slider:
    """The view that the page computes."""
    if len(panels) != 1 or not isinstance(panels[0], OneStep) or says is not None or start is not None:
        raise ValueError(
            "A OneStep brings its own panels, numbers and start: slide({'noise': Move('sd', 0.1, 1)}, OneStep(...))."
        )
    made = computed(sliders, panels[0])
    return LiveSlider(Slides(made.sliders, made.panels, made.says, made.start, title, made.whole, made.live))


def _told(curve: Curve, computed: bool) -> dict[str, Any]:
    """What the header says of a curve; of one that the page computes no numbers."""
    told: dict[str, Any] = {"name": curve.name, "n": curve.x.shape[1]}
    told |= {} if computed else {"x": _fixed(curve.x), "y": _fixed(curve.y)}
    told |= {"look": curve.look, "thick": curve.thick} if curve.look is not None else {}
    if curve.fill is None:
        return told
    return told | {"dots": {"fill": _fixed(curve.fill), "names": list(curve.names), "size": curve.size}}


def _fixed(values: np.ndarray) -> list[float] | None:
    """A curve that moves nowhere, as numbers for the header; None for one that moves."""
    return [float(f"{v:.5g}") for v in values[0]] if (values == values[0]).all() else None


def _rounded(limits: tuple[float, float]) -> list[float]:
    return [float(f"{limit:.6g}") for limit in limits]


def _still(slides: Slides) -> str:
    """What is seen without JavaScript or trust: the opening picture, and a table along the first slider."""
    sizes = [len(values) for values in slides.sliders.values()]
    here = dict(zip(slides.sliders, slides.start, strict=True))
    where = ", ".join(f"{name} {slides.written(name, slides.sliders[name][at])}" for name, at in here.items())
    told = ", ".join(f"{name} {slides.written(name, values[slides.place])}" for name, values in slides.says.items())
    alt = f"{'; '.join(drawn.title for drawn in slides.panels)}. At {where}: {told}."
    first, *others = slides.sliders
    rows = []
    for at in np.unique(np.linspace(0, sizes[0] - 1, 6).round().astype(int)):
        place = int(np.ravel_multi_index((at, *slides.start[1:]), sizes))
        told_there = (slides.written(name, values[place]) for name, values in slides.says.items())
        rows.append((slides.written(first, slides.sliders[first][at]), *told_there))
    beside = "".join(f" ({name} {slides.written(name, slides.sliders[name][here[name]])})" for name in others)
    live = "scrub through the places of its sliders"
    return page.still(slides.title, alt, _picture(slides), (first + beside, *slides.says), rows, live=live)


def _picture(slides: Slides) -> Figure:
    from matplotlib.figure import Figure  # no pyplot: a figure of our own, no global state

    wide, high = _grid(len(slides.panels))
    size = 3.6 * wide, 2.5 * high + any(drawn.has_dots for drawn in slides.panels)
    fig = Figure(figsize=size, dpi=80, layout="constrained")
    tall = (1.6, 1) if high == 2 else (1,)
    for axis, drawn in zip(np.ravel(fig.subplots(high, wide, height_ratios=tall)), slides.panels, strict=True):
        _draw(axis, drawn, slides.place)
    return fig


def _grid(panels: int) -> tuple[int, int]:
    """Columns and rows: four panels stand two by two."""
    return (2, 2) if panels == 4 else (panels, 1)


def _draw(axis: Axes, drawn: Drawn, place: int) -> None:
    for k, curve in enumerate(drawn.curves):
        number = k % 4 if curve.look is None else curve.look
        look: dict[str, Any] = {"color": COLOURS[number], "label": curve.name}
        x, y = curve.x[place], curve.y[place]
        if drawn.kind == "bars":
            _draw_bars(axis, drawn, k, y)
        elif curve.fill is not None:
            _draw_dots(axis, curve, place, look, right=k % 2 == 1)
        else:
            line = {"linestyle": "-", "linewidth": 4} if curve.thick else {"linestyle": DASHES[number]}
            axis.plot(x, y, marker="o" if len(x) == 1 else "", **line, **look)
    axis.set_ylim(drawn.ylim)
    if drawn.kind == "lines":
        _finish_lines(axis, drawn)
    elif len(drawn.curves) > 1:
        axis.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    axis.set_title(drawn.title, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _finish_lines(axis: Axes, drawn: Drawn) -> None:
    """Axes, notes and legend of lines."""
    axis.set(xlim=drawn.xlim, xlabel=drawn.more["xlabel"])
    axis.set_aspect("equal" if drawn.more["equal"] else "auto")
    if "marks" in drawn.more:
        axis.set_xticks(*map(list, zip(*drawn.more["marks"], strict=True)))
    for x, y, text in drawn.more.get("notes", ()):
        axis.annotate(text, (x, y), (5, -3), textcoords="offset points", fontsize=7)
    if drawn.has_dots:  # they leave no corner free
        axis.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    else:
        axis.legend(fontsize=7, frameon=False)


def _draw_bars(axis: Axes, drawn: Drawn, series: int, y: np.ndarray) -> None:
    """Bars of one kind, or the ``series``-th of several side by side: hollow ones for one step."""
    labels, wide = drawn.more["labels"], 0.8 / len(drawn.curves)
    curve = drawn.curves[series]
    inside = {"facecolor": "white", "edgecolor": COLOURS[1], "linewidth": 1.5, "linestyle": "--"}
    place = np.arange(len(labels)) + (series - (len(drawn.curves) - 1) / 2) * wide
    axis.bar(place, y, wide * 0.95, label=curve.name, **(inside if curve.look == 1 else {"color": COLOURS[0]}))
    every = next(step for step in EVERY if len(labels) <= step * ROOM or step == EVERY[-1])
    axis.set_xticks(range(0, len(labels), every), labels[::every])


def _draw_dots(axis: Axes, curve: Curve, place: int, look: Mapping[str, Any], right: bool) -> None:
    from matplotlib.colors import to_rgba

    assert curve.fill is not None
    x, y, fill = curve.x[place], curve.y[place], curve.fill[place]
    inside = [to_rgba(look["color"], alpha) for alpha in fill]
    axis.scatter(x, y, s=curve.size**2, facecolors=inside, edgecolors=look["color"], label=look["label"], zorder=3)
    for name, across, up in zip(curve.names, x, y, strict=bool(curve.names)):
        off, side = (curve.size - 1, "left") if right else (1 - curve.size, "right")
        axis.annotate(name, (across, up), (off, 1), textcoords="offset points", fontsize=7, ha=side)
