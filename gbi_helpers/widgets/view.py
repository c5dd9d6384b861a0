"""What all views are: one self-contained HTML output of a record; and, with a widget in front of it, the live form."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

from gbi_helpers.widgets import page
from gbi_helpers.widgets.pack import Packed

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class RecordView:
    """A view of a record. Left as the last line of a cell, it shows itself; ``note`` is a line of text below it."""

    scripts: ClassVar[tuple[str, ...]] = ()  # what it needs beside scrubber.js

    def __init__(self, shown: Packed, note: str = "") -> None:
        self.shown, self.note = shown, note

    @cached_property
    def html(self) -> str:
        """The whole view as HTML: data, code and a fallback picture with a table; nothing is fetched."""
        return page.output(self.shown, self.still(), self.note, more=self.scripts)

    def still(self) -> str:
        """What is seen without JavaScript or trust: a picture with alt text, and a table."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/html": self.html, "text/plain": repr(self)}


def live_bundle(box: Any, html: str, told: str) -> dict[str, Any]:
    """The bundle of a live view: its widget, and what a stored copy falls back to.

    Built by hand: ipywidgets 7 and 8 make it in different ways.
    """
    view = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
    return {WIDGET_VIEW: view, "text/html": html, "text/plain": told}
