"""Figures: one palette, alt text on every picture, nothing told by colour alone.

A figure is drawn with matplotlib's ``Figure`` (no pyplot, no global state) and shown with :func:`show`, which asks for
the alt text a screen reader will speak. Seaborn draws what stands for many seeds or cells: bands, strips, heat maps.
It takes as long to import as all the rest, so the functions that need it do that.
"""

from __future__ import annotations

import base64
import html
import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gbi_helpers.files import ASSETS
from gbi_helpers.records import TrainingRecord

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Okabe and Ito (2008): eight colours that colour-blind readers tell apart; black is last, for text and references.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = "os^Dv<"
LOOKS: dict[str, Sequence[Any]] = {"color": PALETTE, "linestyle": LINES, "marker": MARKERS}
DPI = 110
SVG = "{http://www.w3.org/2000/svg}"


def new(width: float = 6.4, height: float = 3.2, ncols: int = 1, nrows: int = 1, **subplots: Any) -> tuple[Figure, Any]:
    """A figure of ``width`` x ``height`` inches and its axes (one, or an array of them)."""
    fig = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = fig.subplots(nrows, ncols, **subplots)
    for ax in np.ravel(axes):
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_prop_cycle(color=PALETTE[:5], linestyle=LINES)
    return fig, axes


def show(fig: Figure, alt: str) -> None:
    """Display a figure with its alt text: say what is seen, and what it means.

    Raises ``ValueError`` without a real alt text.
    """
    from IPython.display import display

    if len(alt.split()) < 4:
        raise ValueError("Give the figure an alt text that says in a sentence what it shows.")
    display({"text/html": as_html(fig, alt), "text/plain": f"Figure: {alt}"}, raw=True)


def as_html(fig: Figure, alt: str) -> str:
    """The figure as an HTML image that carries its own bytes and its alt text."""
    width = round(fig.get_figwidth() * 100)
    source = base64.b64encode(as_png(fig)).decode()
    return (
        f'<img alt="{html.escape(alt)}" width="{width}" style="max-width:100%;height:auto;background:#fff" '
        f'src="data:image/png;base64,{source}">'
    )


def schematic(name: str) -> None:
    """Display one of the course's drawings, ``assets/pictures/NAME.svg``, with its ``<desc>`` as the alt text.

    Raises ``ValueError`` for a name that is none.
    """
    from IPython.display import display

    drawings = {path.stem: path for path in (ASSETS / "pictures").glob("*.svg")}
    if name not in drawings:
        raise ValueError(f"There is no drawing '{name}': choose one of {', '.join(sorted(drawings))}.")
    text = drawings[name].read_bytes()
    root = ElementTree.fromstring(text)
    alt = " ".join(root.findtext(f"{SVG}desc", "").split())
    look = f'width="{root.get("width")}" style="max-width:100%;height:auto;background:#fff"'
    source = f"data:image/svg+xml;base64,{base64.b64encode(text).decode()}"
    image = f'<img alt="{html.escape(alt)}" {look} src="{source}">'
    display({"text/html": image, "text/plain": f"Drawing: {alt}"}, raw=True)


def as_png(fig: Figure) -> bytes:
    """The figure as PNG bytes, the same for the same figure (no date or version inside)."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None}, pil_kwargs={"optimize": True})
    return buffer.getvalue()


def bars(
    ax: Axes,
    values: ArrayLike,
    labels: Sequence[str] | None = None,
    *,
    mark: int | None = None,
    color: str = PALETTE[0],
    ylabel: str = "",
) -> None:
    """Draw one bar a task, values (K,); the bar ``mark`` is hatched and has its value written on it."""
    heights = np.asarray(values, dtype=float)
    drawn = ax.bar(np.arange(len(heights)), heights, color=color, width=0.75)
    ax.set_xticks(np.arange(len(heights)), labels if labels is not None else [str(k) for k in range(len(heights))])
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_ylabel(ylabel)
    if mark is not None:
        drawn[mark].set(hatch="///", edgecolor="white")
        ax.bar_label(drawn, [f"{h:.2f}" if k == mark else "" for k, h in enumerate(heights)], padding=2)


def lines(ax: Axes, x: ArrayLike, curves: Mapping[str, ArrayLike], *, xlabel: str = "", ylabel: str = "") -> None:
    """Draw curves by name over ``x``, each in its own colour and line style, with a legend."""
    for name, curve in curves.items():
        ax.plot(np.asarray(x), np.asarray(curve), label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if len(curves) > 1:
        ax.legend(frameon=False)


def bands(
    ax: Axes,
    x: ArrayLike,
    curves: Mapping[str, ArrayLike | tuple[ArrayLike, ArrayLike]],
    *,
    error: Any = ("pi", 80),
    whiskers: bool = False,
    legend: bool = True,
) -> None:
    """Draw curves by name over ``x``: the mean of values (S, X) and their spread over S as a band, or as ``whiskers``.

    ``error`` is seaborn's: ("pi", 80) from the 10th to the 90th percentile, ("pi", 100) from the lowest to the highest,
    ("sd", 1) a standard deviation each way, None for the mean alone. A curve may be a pair instead: mean and half-width
    of its interval. Each has its own colour, line style and marker. Raises ``ValueError`` on a logarithmic axis: set
    that scale afterwards.
    """
    if ax.get_yscale() != "linear":
        raise ValueError("Draw the bands first, then set the scale: on a logarithmic axis means would be of logs.")
    shade = {"linewidth": 0, "alpha": 0.25}
    style = {"err_style": "bars", "err_kws": {"capsize": 3}} if whiskers else {"err_kws": shade}
    for index, (name, curve) in enumerate(curves.items()):
        values, spread = _interval(*curve) if isinstance(curve, tuple) else (np.atleast_2d(curve), error)
        _curve(ax, index, name, np.tile(x, len(values)), values.ravel(), errorbar=spread, **style)
    if legend and len(curves) > 1:
        ax.legend(frameon=False)


def _interval(mean: ArrayLike, half_width: ArrayLike) -> tuple[np.ndarray, tuple[str, int]]:
    """Values (3, X) whose mean and range are an interval's."""
    centre, half = (np.asarray(a, dtype=float) for a in (mean, half_width))
    return np.stack([centre - half, centre, centre + half]), ("pi", 100)


def _curve(ax: Axes, index: int, name: str, x: ArrayLike, y: ArrayLike, **options: Any) -> None:
    """One of several curves, told from the others by colour, line style and marker."""
    import seaborn

    look = {key: cycle[index % len(cycle)] for key, cycle in LOOKS.items()}
    every = -(-len(np.unique(x)) // 15)
    seaborn.lineplot(x=x, y=y, ax=ax, label=name, legend=False, markersize=5, markevery=every, **look, **options)


def strip(ax: Axes, groups: Mapping[str, ArrayLike], *, error: Any = ("pi", 80)) -> None:
    """Draw a row for each name, the first on top: a tick for each of its values (S,), a dot at their mean and a bar."""
    import seaborn

    values = {name: np.asarray(group, dtype=float).ravel() for name, group in groups.items()}
    rows = np.repeat(list(values), [len(group) for group in values.values()])
    data = {"x": np.concatenate(list(values.values())), "y": rows, "ax": ax, "orient": "h"}
    seaborn.stripplot(**data, jitter=False, color="0.35", marker="|", size=11, linewidth=0.8, zorder=1)
    look = {"color": PALETTE[0], "markersize": 6, "linestyle": "none", "zorder": 2}
    seaborn.pointplot(**data, **look, errorbar=error, err_kws={"linestyle": "-", "linewidth": 2})
    ax.grid(axis="x", alpha=0.3)


def heatmap(
    ax: Axes,
    matrix: ArrayLike,
    rows: Sequence[str] | bool = True,
    columns: Sequence[str] | bool = True,
    *,
    framed: ArrayLike | None = None,
    **look: Any,
) -> None:
    """Draw a matrix as shades, its first row on top; up to 100 cells have their values written in them.

    ``rows`` and ``columns`` are names, or False for none; cells that are true in ``framed``, of the matrix's shape, get
    a frame; ``look`` goes to ``seaborn.heatmap``. Raises ``ValueError`` for frames of another shape.
    """
    import seaborn

    values = np.asarray(matrix, dtype=float)
    told = values.size <= 100
    style = {"cmap": "Blues", "annot": told, "cbar": not told, "fmt": ".1f", "annot_kws": {"fontsize": 8}, **look}
    seaborn.heatmap(values, ax=ax, yticklabels=rows, xticklabels=columns, **style)
    ax.set_ylim(len(values), 0)  # each call turns the axis over, a shared one twice
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0)
    _frame(ax, np.zeros_like(values, bool) if framed is None else np.asarray(framed, dtype=bool), values.shape)


def _frame(ax: Axes, framed: np.ndarray, shape: tuple[int, ...]) -> None:
    """A frame around each cell that is true, a little inside of it, so that frames of neighbours stay apart."""
    from matplotlib.patches import Rectangle

    if framed.shape != shape:
        raise ValueError(f"framed has the shape {framed.shape}, the matrix {shape}: make them equal.")
    for row, column in np.argwhere(framed):
        corner = float(column) + 0.06, float(row) + 0.06
        ax.add_patch(Rectangle(corner, 0.88, 0.88, fill=False, edgecolor=PALETTE[1], linewidth=2))


def reliability(
    ax: Axes, answers: Mapping[str, Sequence[ArrayLike]], *, least: float = 0.003, legend: bool = True
) -> None:
    """Draw how often answers were right over how sure they were, by name, and the diagonal on which both agree.

    An answer is three arrays (bins,): share of samples, confidence, share right. A bin with at most the share ``least``
    is left out.
    """
    ax.plot([0, 1], [0, 1], color="0.6", linestyle="-", linewidth=1)
    for index, (name, parts) in enumerate(answers.items()):
        share, confidence, right = (np.asarray(part, dtype=float) for part in parts)
        _curve(ax, index, name, confidence[share > least], right[share > least], estimator=None, errorbar=None)
    ax.set(xlabel="confidence", ylabel="share right")
    if legend:
        ax.legend(frameon=False)


def intervals(ax: Axes, names: Sequence[str], mean: ArrayLike, low: ArrayLike, high: ArrayLike, **marker: Any) -> None:
    """Draw a dot and its interval for each name, one row each, the first on top."""
    centre, bottom, top = (np.asarray(a, dtype=float) for a in (mean, low, high))
    rows = np.arange(len(names))[::-1]
    style: dict[str, Any] = {"fmt": "o", "color": PALETTE[0], "capsize": 3, **marker}
    ax.errorbar(centre, rows, xerr=np.stack([centre - bottom, top - centre]), **style)
    ax.set_yticks(rows, names)
    ax.grid(axis="x", alpha=0.3)


def images(pictures: ArrayLike, titles: Sequence[str], *, columns: int = 10, size: float = 0.9) -> Figure:
    """Draw images, grey (N, H, W) or colour (N, H, W, 3), with values in [0, 1] in a grid, each under its title.

    Raises ``ValueError`` where there is no image, or not a title for each.
    """
    stack = np.asarray(pictures, dtype=float)
    if not len(stack) or len(titles) != len(stack):
        raise ValueError(f"images() was given {len(stack)} pictures and {len(titles)} titles: give one for each.")
    rows = -(-len(stack) // columns)
    fig, axes = new(size * min(columns, len(stack)), (size + 0.3) * rows, min(columns, len(stack)), rows, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, picture, title in zip(axes.flat, stack, titles, strict=False):  # the last row may have places left
        ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(title, fontsize=8)
    return fig


def training(record: TrainingRecord, *, ylabel: str = "loss (nats)", smooth: int = 20) -> Figure:
    """Draw the loss of a training run over its steps, averaged over ``smooth`` steps.

    Raises ``ValueError`` for a record without a step.
    """
    if not len(record.loss):
        raise ValueError("The record has no step to draw: train for one or more.")
    loss = record.loss.double().numpy()
    loss = loss.reshape(len(loss), -1).mean(1)
    width = max(1, min(smooth, len(loss) // 4))
    curve = np.convolve(loss, np.ones(width) / width, mode="valid")
    fig, ax = new(6.0, 2.6)
    lines(ax, np.arange(len(curve)) + width, {"loss": curve}, xlabel="training step", ylabel=ylabel)
    return fig


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str, *, folded: bool = False) -> None:
    """Display a table with a caption, its first column as row headers; plain text where HTML is not shown.

    ``folded``: only its caption is seen until the reader unfolds it.
    """
    from IPython.display import display

    head = "".join(f'<th scope="col" style="text-align:left">{html.escape(cell)}</th>' for cell in header)
    body = "".join(_table_row(row) for row in rows)
    markup = (
        f'<table><caption style="text-align:left;font-weight:bold">{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
    if folded:
        markup = f"<details><summary>Table: {html.escape(caption)}</summary>{markup}</details>"
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in (header, *rows)]
    display({"text/html": markup, "text/plain": "\n".join([caption, *lines])}, raw=True)


def _table_row(row: Sequence[str]) -> str:
    first, *others = (html.escape(cell) for cell in row)
    cells = "".join(f'<td style="text-align:left">{cell}</td>' for cell in others)
    return f'<tr><th scope="row" style="text-align:left;font-weight:normal">{first}</th>{cells}</tr>'
