"""Fixed against learned Z: a one-hot input for each digit, or ten numbers for each, trained with the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers.experiments.mnist import recipes
from gbi_helpers.experiments.mnist.with_and_without import nats, readout_accuracy
from gbi_helpers.experiments.recipe import Recipe
from gbi_helpers.models.base import one_hot
from gbi_helpers.models.image import Conditioning, ConvAutoencoder
from gbi_helpers.readouts import gbi_one_step, likelihood


class EmbeddedAutoencoder(ConvAutoencoder):
    """The chapter's autoencoder with a learned Z: each task has ``numbers`` of its own, standard normal at first.

    It takes z (B, K) as the others do. A gradient to z is that to the embedding, projected on each task's.
    """

    def __init__(self, latent: int = 3, conditioning: Conditioning = "concat", numbers: int = 10):
        super().__init__(latent, numbers, conditioning)
        self.n_tasks = 10
        self.decoder = _Embedded(self.decoder, nn.Parameter(torch.randn(10, numbers)))  # type: ignore[assignment]


class _Embedded(nn.Module):
    """A decoder that is given z (B, K) and hands on its embedding (B, numbers)."""

    def __init__(self, decoder: nn.Module, embedding: nn.Parameter):
        super().__init__()
        self.decoder, self.embedding = decoder, embedding

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """What the decoder returns for a code (B, latent) and a task z (B, K)."""
        return self.decoder(h, z @ self.embedding)


def _embedded(x: Tensor, latent: int = 3, conditioning: Conditioning = "concat") -> EmbeddedAutoencoder:
    return EmbeddedAutoencoder(latent, conditioning)


RECIPES = {
    "fixed": recipes.train_autoencoder,
    "learned": Recipe("embedded", _embedded, recipes.described, recipes.SETTINGS["faithful"]),
}


def measure(world: Any, seed: int, settings: Mapping[str, Any]) -> dict[str, float]:
    """Accuracy in percent of one step and of K passes, and nats with the true Z, on test images: by kind of Z."""
    (x, y), found = world.sets.test, {"train_seconds": 0.0}
    for kind, recipe in RECIPES.items():
        model, facts = world.trained(recipe, seed, settings)
        found["train_seconds"] += facts["train_seconds"]
        for name, readout in {"one_step": gbi_one_step, "likelihood": likelihood}.items():
            found[f"{kind}_{name}"] = readout_accuracy(readout, model, x, y)
        found[f"{kind}_nats"] = nats(model, x, one_hot(y))
    return found
