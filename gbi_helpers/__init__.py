"""Gradient-based inference of task abstractions: the package behind the course's notebooks.

What a notebook uses most is here by name; the rest lives in the modules. Importing this package imports none of them,
nor PyTorch: each comes with the first use of a name that needs it.

Tensors that a function makes take device and dtype of its inputs. Data, drawn streams and stored models are float32 on
the CPU until you move them; models that you make, and ``max_entropy`` without a device, follow PyTorch's defaults.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gbi_helpers.claims import claim
    from gbi_helpers.inference import enumerate_tasks, iterate, loss_of, max_entropy, one_step, rescore
    from gbi_helpers.records import Posterior, TrainingRecord, Trajectory, WordsRecord
    from gbi_helpers.runtime import device, profile
    from gbi_helpers.widgets import (
        draw_along,
        learn_along,
        modules,
        read_along,
        scrub,
        slide,
        to_browser,
        type_along,
        type_here,
    )

__version__ = "0.1.0"
__all__ = [
    "Posterior",
    "TrainingRecord",
    "Trajectory",
    "WordsRecord",
    "claim",
    "device",
    "draw_along",
    "enumerate_tasks",
    "iterate",
    "learn_along",
    "loss_of",
    "max_entropy",
    "modules",
    "one_step",
    "profile",
    "read_along",
    "rescore",
    "scrub",
    "slide",
    "to_browser",
    "type_along",
    "type_here",
]

_HOMES = {
    "claims": ("claim",),
    "inference": ("enumerate_tasks", "iterate", "loss_of", "max_entropy", "one_step", "rescore"),
    "records": ("Posterior", "TrainingRecord", "Trajectory", "WordsRecord"),
    "runtime": ("device", "profile"),
    "widgets": (
        "draw_along",
        "learn_along",
        "modules",
        "read_along",
        "scrub",
        "slide",
        "to_browser",
        "type_along",
        "type_here",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = {module.name for module in pkgutil.iter_modules(__path__)}


def __getattr__(name: str) -> Any:
    """Import a part at its first use."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    return found


def __dir__() -> list[str]:
    """What completion offers: everything by name, imported or not."""
    return sorted({*globals(), *__all__, *_MODULES})
