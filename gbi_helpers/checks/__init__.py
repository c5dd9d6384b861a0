"""Checks of the exercises: a student's function against a reference, with a message that says what is wrong.

The exercises of chapter NN are the objects of ``gbi_helpers.checks.chNN``: call one with a student's function, as in
``checks.ch01.posterior(my_posterior)``, and print it to read what is asked. What they are made of is in
:mod:`gbi_helpers.checks.exercise`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from gbi_helpers.checks.exercise import Exercise

__all__ = ["Exercise", "exercises"]


def exercises() -> dict[str, Exercise]:
    """All exercises, in the order of the course, each under its address: ``"ch06.auroc"``."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if _is_chapter(module.name))
    chapters = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {
        f"{chapter}.{name}": value
        for chapter, module in chapters.items()
        for name, value in vars(module).items()
        if isinstance(value, Exercise)
    }


def __getattr__(name: str) -> Any:
    """Import a chapter's checks at first use: ``checks.ch01``."""
    if _is_chapter(name):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _is_chapter(name: str) -> bool:
    return name.startswith("ch") and name[2:].isdigit()
