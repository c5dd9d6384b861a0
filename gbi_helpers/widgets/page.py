"""The self-contained HTML of a scrubber: host element, fallback picture and table, data, and the code that draws."""

from __future__ import annotations

import base64
import html as escaping
import io
import json
from functools import cache
from importlib import resources

import numpy as np

from gbi_helpers.widgets.pack import Path, number

HINT = "A still picture and a table. Run this cell to scrub through the steps."


@cache
def source() -> str:
    """The JavaScript module, as shipped."""
    return resources.files(__package__).joinpath("scrubber.js").read_text(encoding="utf-8")


@cache
def _compact() -> str:
    """The module without indentation and comment lines: it stands in every output, so its bytes count."""
    lines = (line.strip() for line in source().splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def html(path: Path, note: str = "") -> str:
    """The output of one scrubber. ``note`` is a line of text below it."""
    # Without a "<", nothing in the data can look like the end of its script, or like a comment.
    blob = json.dumps(
        {"header": path.header, "data": base64.b64encode(path.data).decode()}, separators=(",", ":")
    ).replace("<", "\\u003c")
    below = f'<p class="gbi-note">{escaping.escape(note)}</p>' if note else ""
    return (
        f'<div class="gbi-host" data-gbi-key="{path.key}"><div class="gbi-fallback">{fallback(path)}</div>'
        f'<script type="application/json">{blob}</script>{below}</div>\n'
        f'<script type="module">{_compact()}\nmount("{path.key}");</script>'
    )


def fallback(path: Path) -> str:
    """What is seen without JavaScript or trust: a picture with alt text, a table of some steps, and a hint."""
    title = f"<p><strong>{escaping.escape(path.title)}</strong></p>" if path.title else ""
    last = len(path.loss) - 1
    alt = (
        f"{path.title + '. ' if path.title else ''}Path of {last} gradient steps. Start: {path.top(0)}, loss "
        f"{number(path.loss[0])} nats. End: {path.top(last)}, loss {number(path.loss[last])} nats."
    )
    png = base64.b64encode(_png(path)).decode()
    image = f'<img alt="{escaping.escape(alt)}" style="max-width:100%;height:auto" src="data:image/png;base64,{png}">'
    return f"{title}<p><em>{HINT}</em></p>{image}{_table(path)}"


def _table(path: Path) -> str:
    steps = np.unique(np.linspace(0, len(path.loss) - 1, 6).round().astype(int))
    rows = "".join(
        f"<tr><td>{step}</td><td>{escaping.escape(path.top(step))}</td><td>{number(path.loss[step])}</td></tr>"
        for step in steps
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("step", "largest z", "loss (nats)"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _png(path: Path) -> bytes:
    """A small palette PNG: z at the last step, the loss, and the last image beside the target."""
    from matplotlib.figure import Figure  # no pyplot: a figure of our own, no global state
    from PIL import Image

    pictures = [p for p in (None if path.frames is None else path.frames[-1], path.target) if p is not None]
    ratios = [1.5, 1.5, *[1.0] * len(pictures)]
    fig = Figure(figsize=(1.75 * sum(ratios), 1.9), dpi=72, layout="constrained")
    axes = fig.subplots(1, len(ratios), width_ratios=ratios)
    _draw(axes, path, pictures)
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    small = Image.open(buffer).convert("RGB").quantize(48)
    buffer = io.BytesIO()
    small.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _draw(axes: np.ndarray, path: Path, pictures: list[np.ndarray]) -> None:
    style = {"fontsize": 8}
    last = path.z[-1]
    hatch = axes[0].bar(np.arange(len(last)), last, color="#0072B2", width=0.8)[int(last.argmax())]
    hatch.set(hatch="////", edgecolor="white", facecolor="#D55E00")
    axes[0].set_title("z at the last step", **style)
    axes[1].plot(path.loss, color="#0072B2")
    axes[1].set_title("loss (nats) over steps", **style)
    for axis in axes[:2]:
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    for axis, picture, name in zip(axes[2:], pictures, ("made from z", "target"), strict=False):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(name, **style)
        axis.axis("off")
