"""``scrub(record)``: step through a gradient descent on z; with controls, run it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gbi_helpers.records import Trajectory
from gbi_helpers.widgets import pack
from gbi_helpers.widgets.controls import Controls
from gbi_helpers.widgets.scrubber import Scrubber

if TYPE_CHECKING:
    from gbi_helpers.widgets.live import LiveScrubber


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
