"""Checks of the exercises: a student's function against a reference, with a message that says what is wrong.

The checks of chapter NN are the functions of ``gbi_helpers.checks.chNN``; what they are made of is in
:mod:`gbi_helpers.checks.exercise`.
"""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """Import a chapter's checks at first use: ``checks.ch01``."""
    if name.startswith("ch") and name[2:].isdigit():
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
