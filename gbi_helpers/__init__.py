"""Gradient-based inference of task abstractions: the package behind the course's notebooks.

What a notebook uses most is here by name; the rest lives in the modules. Importing this package imports PyTorch, but
not torchvision, matplotlib or ipywidgets: those come with the first call that needs them.

Tensors that a function makes take device and dtype of its inputs. Data, drawn streams and stored models are float32 on
the CPU until you move them; models that you make, and ``max_entropy`` without a device, follow PyTorch's defaults.
"""

from __future__ import annotations

import importlib
from typing import Any

from gbi_helpers.claims import claim
from gbi_helpers.inference import enumerate_tasks, iterate, loss_of, max_entropy, one_step
from gbi_helpers.records import Posterior, TrainingRecord, Trajectory, WordsRecord
from gbi_helpers.runtime import device, profile, seed_everything

__version__ = "0.1.0"
__all__ = [
    "Posterior",
    "TrainingRecord",
    "Trajectory",
    "WordsRecord",
    "claim",
    "device",
    "enumerate_tasks",
    "iterate",
    "loss_of",
    "max_entropy",
    "modules",
    "one_step",
    "profile",
    "read_along",
    "scrub",
    "seed_everything",
    "type_along",
]

_LAZY = dict.fromkeys(("modules", "read_along", "scrub", "type_along"), "gbi_helpers.widgets")
_MODULES = ("checks", "cli", "data", "metrics", "models", "plots", "training", "widgets")


def __getattr__(name: str) -> Any:
    """Import the heavier parts at first use."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
