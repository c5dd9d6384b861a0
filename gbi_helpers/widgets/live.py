"""The live scrubber: the same view as an anywidget, beside ipywidgets controls that run inference again.

Imported only when :func:`gbi_helpers.widgets.scrub` is given controls, because it imports ipywidgets and anywidget.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anywidget
import ipywidgets
import traitlets
from IPython.display import display

from gbi_helpers.widgets import page
from gbi_helpers.widgets.controls import Choice, Controls
from gbi_helpers.widgets.pack import Path, read
from gbi_helpers.widgets.scrubber import Scrubber

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# ipywidgets marks what a restart has cut off. By style sheet, as there is no kernel any more that could say it.
LOST = """
.gbi-controls.jupyter-widgets-disconnected::after { flex: 1 1 100%; margin: 6px 0;
  content: "These controls have lost their kernel: run this cell again to use them."; }
"""
STOPPED = "Stopped before it was done: what was shown before stays."
NOTE = "The controls of this scrubber need a running kernel: in the notebook, run this cell to use them."


class View(anywidget.AnyWidget):
    """The view: it is sent a path and draws it. The step never leaves the browser."""

    _esm = page.source("live.js")
    _css = LOST
    copy_key = traitlets.Unicode().tag(sync=True)  # of the copy whose place it takes
    header = traitlets.Dict().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)
    message = traitlets.Unicode().tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)


class LiveScrubber(Scrubber):
    """What :func:`gbi_helpers.widgets.scrub` returns with controls. A plain object: it shows ``box``, a widget.

    ``controls``: the ipywidgets by name; setting ``.value`` runs inference again. A failing run is told in the view
    as one sentence, and the path before stays.
    """

    def __init__(self, path: Path, controls: Controls, **reading: Any) -> None:
        super().__init__(path, NOTE)
        self._run, self._reading = controls.run, reading
        self.view = View(header=path.header, data=path.data, copy_key=path.key)
        self.controls = {
            name: _control(name, choice, controls.initial[name]) for name, choice in controls.choices.items()
        }
        row = ipywidgets.HBox(list(self.controls.values()), layout=ipywidgets.Layout(flex_flow="row wrap"))
        row.add_class("gbi-controls")
        self.box = ipywidgets.VBox([row, self.view])
        self.box.add_class("gbi-live")
        for control in self.controls.values():
            control.observe(self._again, names="value")

    def _again(self, _: Any) -> None:
        """Run with the values that the controls show, and repaint the view or say what went wrong."""
        self.view.busy, message = True, STOPPED
        values = {name: control.value for name, control in self.controls.items()}
        try:
            path = read(self._run(**values), **self._reading)
        except Exception as error:  # whatever a reader's function raises belongs into the view, and must not end it
            message = sentence(error)
        else:
            message = ""
            with self.view.hold_sync():
                self.view.header, self.view.data = path.header, path.data
        finally:  # after an interrupt, too, which goes on to whoever runs this
            with self.view.hold_sync():
                self.view.message, self.view.busy = message, False

    def _ipython_display_(self) -> None:
        show_live(self.box, self.html, repr(self))


def show_live(box: Any, html: str, told: str) -> None:
    """Show a live view as two outputs: the copy that lasts, and the widget, which takes its place while it lives.

    As one output they would lose the copy where the state of widgets is stored, as papermill does: nbconvert then takes
    the widget, whose code it would load from a host.
    """
    view = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}  # ipywidgets 7 and 8 make it differently
    display({"text/html": html, "text/plain": told}, raw=True)
    display({WIDGET_VIEW: view, "text/plain": ""}, raw=True)


def sentence(error: Exception) -> str:
    """An error in one line, with its kind where that says more than the text."""
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def _control(name: str, choice: Choice, value: Any) -> ipywidgets.Widget:
    """A labelled slider for a range, a menu for a list; the kernel hears of a slider when it is let go."""
    label: dict[str, Any] = {"description": name.replace("_", " "), "style": {"description_width": "initial"}}
    if isinstance(choice, list):
        return ipywidgets.Dropdown(options=[(str(one), one) for one in choice], value=value, **label)
    low, high, *rest = choice
    whole = all(isinstance(number, int) for number in (*choice, value))
    kind, step = (ipywidgets.IntSlider, 1) if whole else (ipywidgets.FloatSlider, (high - low) / 20)
    step = rest[0] if rest else step
    if not whole:
        label["readout_format"] = f".{max(2, _decimals(low), _decimals(step))}f"  # by itself it shows .004 as 0.00
    return kind(value=value, min=low, max=high, step=step, continuous_update=False, **label)


def _decimals(number: float) -> int:
    """How many decimals three digits of a number take, without zeros at the end."""
    return len(f"{Decimal(f'{number:.3g}'):f}".partition(".")[2].rstrip("0"))
