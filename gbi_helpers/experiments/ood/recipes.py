"""The models of the out-of-distribution study, on standardised pixels: most by the recipes of MNIST, two of their own.

Standardised pixels have a squared error 1/sd^2 times larger, so whatever is weighed against it (the KL term, the
gradient-aware term) is made larger by the same factor: :func:`scaled`. Left as it was, the code would be
ten times cheaper, and would carry more of the digit past z.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers.experiments.mnist import recipes
from gbi_helpers.experiments.recipe import Recipe
from gbi_helpers.models.base import Described, squared_error
from gbi_helpers.models.image import ConvAutoencoder, conv_encoder
from gbi_helpers.runtime import random_state_kept

# Epochs are fewer than in :mod:`recipes`, so that a seed of all models takes minutes. No image is shifted: the border
# of a standardised image is not 0.
SETTINGS: dict[str, dict[str, Any]] = {
    "faithful": recipes.SETTINGS["faithful"],
    "vae_mul": recipes.SETTINGS["vae_mul"] | {"epochs": 12, "batch_size": 128, "average": 0.99},
    "gradient_aware": recipes.SETTINGS["gradient_aware"] | {"epochs": 8, "shift": 0},
    "classifier": recipes.SETTINGS["classifier"],
    "dropout": {"epochs": 8, "batch_size": 64, "lr": 2e-3},
}
WEIGHTS = ("beta", "weight")  # the settings that are weighed against a squared error


class PixelAutoencoder(ConvAutoencoder):
    """The faithful autoencoder for pixels that are no coins: its output are pixel values, its loss squared error."""

    @staticmethod
    def nll(logits: Tensor, x: Tensor) -> Tensor:
        """Squared error (B,), summed over pixels, of the output, which are no logits here."""
        return squared_error(logits, x)


class DropoutClassifier(Described):
    """The canonical classifier with dropout before each layer but the first; :meth:`votes` keeps it on at test.

    Averaged over many masks it stands for a Bayesian network (Gal and Ghahramani 2016).
    """

    def __init__(self, n_classes: int = 10, channels: int = 16, drop: float = 0.3):
        super().__init__()
        first, relu, second, relu2, flat, last = conv_encoder(n_classes, channels)
        self.encoder = nn.Sequential(first, relu, nn.Dropout(drop), second, relu2, flat, nn.Dropout(drop), last)

    def forward(self, x: Tensor) -> Tensor:
        """Class logits (B, K)."""
        return self.encoder(x)

    @torch.no_grad()
    def votes(self, x: Tensor, masks: int = 20, seed: int = 0) -> Tensor:
        """Log probabilities (masks, B, K) of images under ``masks`` random dropout masks."""
        was = self.training
        with random_state_kept(x.device, seed=seed):
            self.train()
            log_q = [torch.cat([self(part).log_softmax(1) for part in x.split(1000)]) for _ in range(masks)]
        self.train(was)
        return torch.stack(log_q)


def scaled(settings: Mapping[str, Any], sd: float) -> dict[str, Any]:
    """Settings made for pixels in [0, 1], as they must be for pixels divided by ``sd``."""
    return {name: value / sd**2 if name in WEIGHTS else value for name, value in settings.items()}


def _faithful(x: Tensor) -> PixelAutoencoder:
    return PixelAutoencoder(latent=3)


def _dropout(x: Tensor) -> DropoutClassifier:
    return DropoutClassifier()


# The faithful autoencoder (a code of three, z beside it) on standardised images; the classifier with dropout.
train_faithful = Recipe("autoencoder", _faithful, recipes.described, SETTINGS["faithful"])
train_dropout = Recipe("dropout classifier", _dropout, recipes.classified, SETTINGS["dropout"])
