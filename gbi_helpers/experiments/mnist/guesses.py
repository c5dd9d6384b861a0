"""What hangs on our guesses: code, learning rate and epochs may have been others in the paper's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gbi_helpers import metrics
from gbi_helpers.experiments.mnist import recipes
from gbi_helpers.readouts import readouts

TRIED: dict[str, tuple[Any, ...]] = {
    "latent": (2, 3, 4, 5, 6),
    "lr": (1e-3, 2e-3, 4e-3, 8e-3),
    "epochs": (2, 4, 8, 16),
}
OURS = {"latent": 3, **recipes.SETTINGS["faithful"]}
NAMES = {"latent": "a code of", "lr": "learning rate", "epochs": "epochs:"}


def row(what: str, value: Any) -> str:
    """The name of the row in which one guess has this value; "guess_none" has all of ours."""
    return "guess_none" if value == OURS[what] else f"guess_{what}_{value:g}"


def words(what: str, value: Any) -> str:
    """The same for readers."""
    return "as guessed" if value == OURS[what] else f"{NAMES[what]} {value:g}"


# Each row once: what is changed, to which value, and the settings that say so.
CHANGES: list[tuple[str, Any, dict[str, Any]]] = [("latent", OURS["latent"], {})] + [
    (what, value, {what: value}) for what, values in TRIED.items() for value in values if value != OURS[what]
]


def measure(world: Any, seed: int, settings: Mapping[str, Any]) -> dict[str, float]:
    """Accuracy of one step and of every digit tried, percent: on the test images, and "validation_..." to choose by."""
    model, facts = world.trained(recipes.train_autoencoder, seed, settings)
    found = dict(facts)
    for split, (x, y) in {"validation_": world.sets.validation, "": world.sets.test}.items():
        for name, measured in readouts(model, x, ("one_step", "likelihood")).items():
            found[f"{split}{name}"] = metrics.accuracy(measured.posterior.task, y)
    return found
