"""Widgets: views of a record that a reader scrubs through, and one in which the page itself infers."""

from __future__ import annotations

from typing import Any

from gbi_helpers.widgets.controls import Controls
from gbi_helpers.widgets.draw_view import DrawAlong, draw_along
from gbi_helpers.widgets.graph_view import InBrowser, to_browser
from gbi_helpers.widgets.learn_view import LearnAlong, learn_along
from gbi_helpers.widgets.modules_view import Modules, modules
from gbi_helpers.widgets.scrubber import Scrubber
from gbi_helpers.widgets.scrubbing import scrub
from gbi_helpers.widgets.slide_parts import Bars, Dots, Lines
from gbi_helpers.widgets.slide_view import slide
from gbi_helpers.widgets.theorem_view import Move, OneStep
from gbi_helpers.widgets.type_view import TypeHere, type_here
from gbi_helpers.widgets.words_view import ReadAlong, read_along

__all__ = [
    "Bars",
    "Controls",
    "Dots",
    "DrawAlong",
    "InBrowser",
    "LearnAlong",
    "Lines",
    "Modules",
    "Move",
    "OneStep",
    "ReadAlong",
    "Scrubber",
    "TypeHere",
    "draw_along",
    "learn_along",
    "modules",
    "read_along",
    "scrub",
    "slide",
    "to_browser",
    "type_along",
    "type_here",
]


def __getattr__(name: str) -> Any:
    """Import ipywidgets and anywidget only for the view that cannot do without them."""
    if name == "type_along":
        from gbi_helpers.widgets.live_text import type_along

        return type_along
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
