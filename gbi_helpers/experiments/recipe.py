"""How a model is trained, in one shape for all: what makes it, what it descends, and the settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers.experiments.shelf import Shelf, Trained
from gbi_helpers.experiments.source import code_of
from gbi_helpers.meter import size_of
from gbi_helpers.runtime import random_state_kept, usual_defaults
from gbi_helpers.training import fit


@dataclass(frozen=True, eq=False)
class Recipe:
    """One kind of model: ``build(x, **sizes)`` makes it for inputs like x, ``loss(model, **weights)`` what it descends.

    That takes a batch (x, y) and, if it names ``done``, the share of training behind it. If ``loss`` names
    ``log_step_size``, it is given one to be learned beside the model; if ``build`` names ``y``, the classes, for a
    model that starts from a fit. ``settings``: options of both, and of :func:`~gbi_helpers.training.fit`, chosen on
    validation data.
    """

    name: str
    build: Callable[..., nn.Module]
    loss: Callable[..., Callable[..., Tensor]]
    settings: Mapping[str, Any] = field(metadata={"code": False})  # a row hands over its own

    def __call__(self, x: Tensor, y: Tensor, seed: int = 0, resume: Path | None = None, **changes: Any) -> Trained:
        """A trained model in eval mode, and its record, for inputs x (N, ...) of classes y (N,).

        ``changes`` replace settings. The same seed gives the same model, and the caller's random state is left as it
        was. ``resume``: see ``fit``.
        """
        options = {**self.settings, **changes}
        classes = {"y": y} if "y" in inspect.signature(self.build).parameters else {}
        with random_state_kept(x.device, seed=seed):
            with usual_defaults():
                model = self.build(x, **classes, **_taken(options, self.build)).to(x.device)
            learned: dict[str, Any] = {}
            if "log_step_size" in inspect.signature(self.loss).parameters:
                learned["log_step_size"] = nn.Parameter(torch.tensor(-3.0, dtype=torch.float32, device=x.device))
            loss = self.loss(model, **_taken(options, self.loss), **learned)
        record = fit(
            [*model.parameters(), *learned.values()] if learned else model, loss, (x, y), seed=seed, resume=resume,
            progress="done" in inspect.signature(loss).parameters, desc=self.name, **options,
        )  # fmt: skip
        return model.eval(), record


def _taken(options: dict[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
    """Those of the options that the function names, which are then gone from ``options``."""
    return {name: options.pop(name) for name in inspect.signature(function).parameters if name in options}


def trained(
    shelf: Shelf,
    digest: str,
    recipe: Recipe,
    name: str,
    seed: int,
    data: tuple[Tensor, Tensor],
    settings: Mapping[str, Any],
) -> tuple[Any, dict[str, float]]:
    """A model of this recipe in eval mode, from the shelf or trained now, and what its training took.

    ``digest``: tells the data from any other. The model is kept under a mark of data, settings and code.
    """
    model, record = shelf.network(
        f"{name}-{seed}",
        [digest, dict(settings), code_of(recipe)],
        lambda resume: recipe(*data, seed=seed, resume=resume, **settings),
    )
    seconds = {f"train_{key}": record.facts[key] for key in ("seconds", "cpu_seconds")}
    return model.to(data[0].device), {**seconds, "parameters": size_of(model)}
