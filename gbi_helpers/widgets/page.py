"""The self-contained HTML of a scrubber: host element, fallback picture and table, data, and the code that draws."""

from __future__ import annotations

import base64
import html as escaping
import io
import json
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from gbi_helpers.widgets.pack import Packed, Path, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Code and data lie in comments, and the picture, once it is there, runs the first. A script's text would stand on the
# page where a sanitiser takes only the tags away; comments and handlers go without a trace, picture and table remain.
START = (
    "const host=this.closest('.gbi-host'),run=document.createElement('script');run.type='module';"
    "run.text=[...host.childNodes].find((node)=>node.nodeType===8).data;host.append(run)"
)
HINT = "A still picture and a table. Run this cell to {}."


@cache
def source(*more: str) -> str:
    """The JavaScript module, as shipped, with the parts of a view behind it."""
    files = resources.files(__package__)
    return "\n".join(files.joinpath(name).read_text(encoding="utf-8") for name in ("looks.js", "scrubber.js", *more))


@cache
def _compact(*more: str) -> str:
    """The module without what only its readers need: it stands in every output, so its bytes count."""
    lines = (re.sub(r"(^| )// [^\"'`]*$|^//.*", "", line.strip()).strip() for line in source(*more).splitlines())
    return re.sub(r"(?<=_CSS = `).*?(?=`;)", _closer, "\n".join(filter(None, lines)), flags=re.DOTALL)


def _closer(styles: re.Match[str]) -> str:
    """The same styles without spaces that mean nothing: one before a colon does, for it begins a selector."""
    return re.sub(r"\s*([{};,])\s*|(:) ", r"\1\2", styles[0].replace("\n", " ")).replace(";}", "}").strip()


def output(shown: Packed, still: str, note: str = "", more: tuple[str, ...] = ()) -> str:
    """The output of any view: ``still`` is the fallback's HTML, ``more`` names further files of JavaScript.

    ``note``: what is said below the copy of a live view, and marks it as one. The page adds where on it a reader can do
    without a kernel.
    """
    blob = json.dumps({"header": shown.header, "data": base64.b64encode(shown.data).decode()}, separators=(",", ":"))
    blob = blob.replace("<", "\\u003c").replace(">", "\\u003e")  # so nothing in it ends the comment
    below = f'<div class="gbi-note">{escaping.escape(note)}</div>' if note else ""
    copy = " data-gbi-copy" if note else ""
    run, more = f'mount("{shown.key}")', (*more, *(["beside.js"] if note else []))
    run += f'.then(() => pointBeside("{shown.key}"))' if note else ""
    return (
        f'<div class="gbi-host" data-gbi-key="{shown.key}"{copy}>'
        f"<!--{_compact(*more)}\n{run};\n--><!--{blob}-->"
        f'<div class="gbi-fallback">{still}</div>{below}</div>'
    )


def fallback(path: Path) -> str:
    """What is seen without JavaScript or trust: a picture with alt text, a table of some steps, and a hint."""
    last, words = len(path.loss) - 1, path.words
    steps_of = "gradient step" if words["step"] == "step" else words["step"]
    alt = (
        f"Path of {last} {steps_of}s. Start: {path.top(0)}, {words['loss']} {number(path.loss[0])} nats. "
        f"End: {path.top(last)}, {words['loss']} {number(path.loss[last])} nats."
    )
    steps = np.unique(np.linspace(0, last, 6).round().astype(int))
    rows = [(str(step), path.top(step), number(path.loss[step])) for step in steps]
    head = (words["step"], f"largest {words['z']}", f"{words['loss']} (nats)")
    colours = 48 if path.frames is None or path.frames.ndim == 3 else 160
    return still(path.title, alt, _picture(path), head, rows, colours)


def still(
    title: str,
    alt: str,
    fig: Figure,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    colours: int = 48,
    live: str = "scrub through the steps",
) -> str:
    """A figure in ``colours`` with its alt text, a table, and what running the cell brings, under the title if any."""
    above = f"<div><strong>{escaping.escape(title)}</strong></div>" if title else ""
    spoken = escaping.escape(f"{title}. {alt}" if title else alt)
    source = f"data:image/png;base64,{base64.b64encode(_png(fig, colours)).decode()}"
    image = f'<img alt="{spoken}" style="max-width:100%;height:auto" onload="{START}" src="{source}">'
    names = "".join(f'<th scope="col">{escaping.escape(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{escaping.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<table><tr>{names}</tr>{body}</table>"
    return f"{above}<div><em>{HINT.format(live)}</em></div>{image}{table}"


def _png(fig: Figure, colours: int) -> bytes:
    """A figure as a small PNG with a palette, its texts as they are: a name with two dollars is no formula."""
    from matplotlib.text import Text
    from PIL import Image

    for text in fig.findobj(Text):
        text.set_parse_math(False)
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    small = Image.open(buffer).convert("RGB").quantize(colours)
    buffer = io.BytesIO()
    small.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _picture(path: Path) -> Figure:
    """z at the last step, the loss, and the last image beside the target."""
    from matplotlib.figure import Figure  # no pyplot: a figure of our own, no global state

    pictures = [p for p in (None if path.frames is None else path.frames[-1], path.target) if p is not None]
    ratios = [3.0 if path.groups else 1.5, 1.5, *[1.0] * len(pictures)]
    fig = Figure(figsize=(1.75 * sum(ratios), 3.2 if path.groups else 1.9), dpi=72, layout="constrained")
    _draw(fig.subplots(1, len(ratios), width_ratios=ratios), path, pictures)
    return fig


def _draw(axes: np.ndarray, path: Path, pictures: list[np.ndarray]) -> None:
    style = {"fontsize": 8}
    last = path.z[-1]
    hatch = axes[0].bar(np.arange(len(last)), last, color="#0072B2", width=0.8)[int(last.argmax())]
    hatch.set(hatch="////", edgecolor="white", facecolor="#D55E00")
    axes[0].set_title(f"{path.words['z']} at the last {path.words['step']}", **style)
    axes[1].plot(path.loss, color="#0072B2")
    axes[1].set_title(f"{path.words['loss']} (nats) over {path.words['step']}s", **style)
    for axis in axes[:2]:
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    _mark_groups(axes[0], path)
    for axis, picture, name in zip(axes[2:], pictures, (path.words["frames"], "target"), strict=False):
        axis.imshow(
            picture if picture.ndim == 2 else picture.transpose(1, 2, 0),
            cmap="gray",
            vmin=0,
            vmax=255,
            interpolation="nearest",
        )
        axis.set_title(name, **style)
        axis.axis("off")


def _mark_groups(axis: Axes, path: Path) -> None:
    """Every other group of bars shaded, each named below its middle."""
    if not path.groups:
        return
    ends = np.cumsum([size for _, size in path.groups])
    for start, (_, size) in list(zip(ends, path.groups, strict=True))[1::2]:
        axis.axvspan(start - size - 0.5, start - 0.5, color="0.9", zorder=0)
    middles = [end - (size + 1) / 2 for end, (_, size) in zip(ends, path.groups, strict=True)]
    axis.set_xticks(middles, [shorten(name) for name, _ in path.groups], rotation=90)
    axis.set_xlim(-0.5, ends[-1] - 0.5)


def shorten(name: str, most: int = 20) -> str:
    """A name of at most ``most`` signs; no letter is parted from the marks on it."""
    if len(name) <= most:
        return name
    end = most - 1
    while end > 1 and unicodedata.category(name[end])[0] == "M":
        end -= 1
    return f"{name[:end]}\N{HORIZONTAL ELLIPSIS}"
