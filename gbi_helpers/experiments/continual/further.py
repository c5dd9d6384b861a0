"""The data of rows that meet no MNIST: CIFAR-100, and texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gbi_helpers.experiments.continual import hundred, language
from gbi_helpers.experiments.needed import at_hand


def digest_for(world: Any, row: str, settings: Mapping[str, Any]) -> str:
    """Tells the images or the text of a row from any other; "" where it has MNIST alone, or they are not at hand."""
    if row.startswith("cifar/"):
        which = settings["set"]
        return hundred.opened(which, settings.get("images")).digest if which != "full" or at_hand("cifar-100") else ""
    return language.text(settings["text"])[1].digest if row.startswith("lang/") else ""
