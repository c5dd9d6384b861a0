"""``type_along(infer)``: a text box above the words view; what is typed is read by a model in the kernel.

Imported only when it is asked for, because it imports ipywidgets and anywidget.
"""

from __future__ import annotations

import html as escaping
import zlib
from collections.abc import Callable
from typing import Any

import ipywidgets
import traitlets

from gbi_helpers.records import WordsRecord
from gbi_helpers.widgets import page
from gbi_helpers.widgets.live import STOPPED, View, sentence, show_live
from gbi_helpers.widgets.pack import kind
from gbi_helpers.widgets.words_view import ReadAlong, Reading, read

Infer = Callable[[str], WordsRecord]
Sample = Callable[[str], str]

NOTE = "The text box of this view needs a running kernel: in the notebook, run this cell to type here."
EMPTY = "Type a few words: the belief follows each of them."
UNKNOWN = "<unk>"
BLANK = "blank"  # the key of the copy of a view that begins without a text
STRANGE = "No word of this text is in the model's vocabulary, so it says little: try others."


class TextView(View):
    """The words view: it is sent a reading and draws it, and what the model wrote on is shown below."""

    _esm = page.source("words.js", "live.js")
    written = traitlets.Unicode().tag(sync=True)


class TypeAlong:
    """What :func:`type_along` returns. A plain object: it shows ``box``, a widget.

    ``text``: the text box; setting ``.value`` reads the new text. ``write_on``: the button, or None.
    """

    def __init__(self, infer: Infer, text: str, sample: Sample | None, title: str) -> None:
        self._infer, self._sample, self._title = infer, sample, title
        self._first = self._read(text) if text.strip() else None
        key = self._first.key if self._first else BLANK
        self.view = TextView(**self._sent(self._first), message=self._remark(self._first), copy_key=key)
        self.text = ipywidgets.Textarea(
            value=text,
            description="Text",
            continuous_update=True,
            layout=ipywidgets.Layout(width="auto", max_width="856px", height="76px"),
            style={"description_width": "initial"},
        )
        self.text.observe(self._again, names="value")
        self.write_on = ipywidgets.Button(description="Write on") if sample else None
        if self.write_on:
            self.write_on.on_click(self._write)
        row = ipywidgets.VBox([self.text, *([self.write_on] if self.write_on else [])])
        row.add_class("gbi-controls")
        self.box = ipywidgets.VBox([row, self.view])
        self.box.add_class("gbi-live")

    def _read(self, text: str) -> Reading:
        """The text as the model reads it, to be opened at its last word."""
        record = self._infer(text)
        return read(record, self._title, start=len(record.words) - 1 if isinstance(record, WordsRecord) else None)

    def _sent(self, reading: Reading | None) -> dict[str, Any]:
        """What the view is given; before anything is typed, a blank."""
        if reading is None:
            return {"header": {"kind": "blank", "entries": 1, "title": self._title}, "data": zlib.compress(b"")}
        return {"header": reading.header, "data": reading.data}

    def _remark(self, reading: Reading | None) -> str:
        if reading is None:
            return EMPTY
        return STRANGE if set(reading.words) == {UNKNOWN} else ""

    # Each key reaches the kernel only when it has done with the one before: ipywidgets holds changes back meanwhile and
    # then sends the last, so that a slow model skips letters instead of falling behind.
    def _again(self, _: Any) -> None:
        """Read the text in the box and repaint the view, or say why not; the reading before then stays."""
        text = self.text.value
        try:
            reading = self._read(text) if text.strip() else None
        except Exception as error:  # whatever a reader's function raises belongs into the view, and must not end it
            self.view.message = sentence(error)
            return
        with self.view.hold_sync():
            if reading is not None:
                self.view.header, self.view.data = reading.header, reading.data
            self.view.message, self.view.written = self._remark(reading), ""

    def _write(self, _: Any) -> None:
        """Let the model write on from the text in the box, and show that below the view."""
        assert self._sample is not None
        self.view.busy, message, written = True, STOPPED, ""
        try:
            written = self._sample(self.text.value)
            if not isinstance(written, str):
                raise ValueError(f"sample must return a text, but returned a {kind(written)}.")
        except Exception as error:  # as above
            written, message = "", sentence(error)
        else:
            message = ""
        finally:  # after an interrupt, too
            with self.view.hold_sync():
                self.view.message, self.view.written, self.view.busy = message, written, False

    @property
    def html(self) -> str:
        """The view of the initial text, which a stored copy falls back to; without one, a line that says so."""
        if self._first is None:
            head = f"<p><strong>{escaping.escape(self._title)}</strong></p>" if self._title else ""
            return f'<div class="gbi-host" data-gbi-key="{BLANK}">{head}<p class="gbi-note">{NOTE}</p></div>'
        return ReadAlong(self._first, NOTE).html

    def _ipython_display_(self) -> None:
        show_live(self.box, self.html, repr(self))

    def __repr__(self) -> str:
        """The same on every machine: sizes of the initial text, no values."""
        if self._first is None:
            return "TypeAlong(no text yet)"
        return f"TypeAlong({len(self._first.words)} words, {len(self._first.tasks)} tasks)"


def type_along(infer: Infer, *, text: str = "", sample: Sample | None = None, title: str | None = None) -> TypeAlong:
    """A text box, and below it the words view of what ``infer`` makes of the text, anew with each change.

    ``infer``: text -> WordsRecord (T words, K tasks). ``text``: what stands in the box at first. ``sample``: text ->
    how the model writes on; it adds a button. An error of either is told in the view in one sentence, and what was
    shown stays; an error on the initial ``text`` is raised.
    Raises ``ValueError`` for an ``infer`` or ``sample`` that is no function, or a ``text`` that is none.
    """
    if not callable(infer) or not (sample is None or callable(sample)):
        raise ValueError(
            "type_along() needs a function infer(text) that returns a WordsRecord; sample is one, or None."
        )
    if not isinstance(text, str):
        raise ValueError(f"text must be a string, but is a {kind(text)}.")
    return TypeAlong(infer, text, sample, title or "")
