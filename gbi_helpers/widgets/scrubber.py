"""``scrub(record)``: step through a gradient descent on z, in one self-contained output that needs no kernel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gbi_helpers.records import Trajectory
from gbi_helpers.widgets import pack, page
from gbi_helpers.widgets.controls import Controls

if TYPE_CHECKING:
    from gbi_helpers.widgets.live import LiveScrubber


class Scrubber:
    """What :func:`scrub` returns: a view of one path. Left as the last line of a cell, it shows itself."""

    def __init__(self, path: pack.Path, note: str = "") -> None:
        self.path = path
        self._note = note

    @cached_property
    def html(self) -> str:
        """The whole scrubber as HTML: data, code and a fallback picture with a table; nothing is fetched."""
        return page.html(self.path, self._note)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/html": self.html, "text/plain": repr(self)}

    def __repr__(self) -> str:
        """The same on every machine: shapes, no values."""
        size = self.path.header["frame"]
        image = f", images {size[0]} x {size[1]}{' in colour' if size[2:] else ''}" if size else ""
        groups = f" in {len(self.path.groups)} groups" if self.path.groups else ""
        return f"Scrubber({len(self.path.loss) - 1} steps, {self.path.z.shape[1]} tasks{groups}{image})"


def scrub(
    record: Trajectory,
    *,
    sample: int = 0,
    labels: pack.Labels = None,
    title: str | None = None,
    words: pack.Words | None = None,
    groups: Sequence[str] | None = None,
    controls: Controls | None = None,
) -> Scrubber | LiveScrubber:
    """Show one sample's path through its gradient steps: bars of z, the loss with a cursor, image beside target.

    ``record``: z (S+1, B, D), loss (S+1, B) in nats, and optionally frames (S+1, B, H, W) with target (B, H, W), or
    in colour (S+1, B, 3, H, W) with (B, 3, H, W), values in [0, 1] or uint8. ``labels``: a noun for numbered tasks
    ("digit"), or one name a task. ``words``: what the view calls its parts, say {"z": "belief", "loss": "surprise",
    "step": "sample", "frames": "what was seen"} for a filter along a stream. ``groups``: the name of each task's
    group, for many tasks; bars then stand by group, groups by name, and the total of each is drawn. With ``controls``
    the reader also chooses what is run: inference runs again in the kernel and the same view repaints.
    Raises ``ValueError`` for another record, NaN, a sample, labels, words or groups that do not fit, or frames that
    are no images.
    """
    path = pack.read(record, sample, labels, title, words, groups)
    if controls is None:
        return Scrubber(path)
    from gbi_helpers.widgets.live import LiveScrubber  # ipywidgets and anywidget only where they are used

    return LiveScrubber(path, controls, sample=sample, labels=labels, title=title, words=words, groups=groups)
