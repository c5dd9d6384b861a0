"""Widgets: views of a record that a reader scrubs through. They draw; they never compute."""

from __future__ import annotations

from gbi_helpers.widgets.controls import Controls
from gbi_helpers.widgets.modules_view import Modules, modules
from gbi_helpers.widgets.scrubber import Scrubber, scrub
from gbi_helpers.widgets.words_view import ReadAlong, read_along

__all__ = ["Controls", "Modules", "ReadAlong", "Scrubber", "modules", "read_along", "scrub"]
