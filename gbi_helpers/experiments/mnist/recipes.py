"""How each MNIST model is trained: settings chosen on validation images, and a recipe a model.

Inputs x (N, 1, 28, 28) in [0, 1], labels y (N,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.experiments.recipe import Recipe
from gbi_helpers.metrics import accuracy
from gbi_helpers.models.base import one_hot
from gbi_helpers.models.image import (
    Classifier,
    ConditionalVAE,
    Conditioning,
    ConvAutoencoder,
    free_energy,
    gradient_loss,
    reconstruction,
)
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit

# "faithful" serves every autoencoder whatever its code, and is ours: the paper's settings are not known to us.
SETTINGS: dict[str, dict[str, Any]] = {
    "faithful": {"epochs": 4, "batch_size": 64, "lr": 4e-3},
    "classifier": {"epochs": 4, "batch_size": 64, "lr": 2e-3},
    "vae_mul": {"epochs": 24, "batch_size": 64, "lr": 3e-3, "average": 0.995, "beta": 0.6},
    "classifier_long": {"epochs": 16, "batch_size": 128, "lr": 5e-3, "average": 0.99, "shift": 1},
    "gradient_aware": {
        "epochs": 16, "batch_size": 128, "lr": 5e-3, "average": 0.99, "beta": 0.4, "weight": 30.0, "shift": 1,
    },
}  # fmt: skip
# What minutes instead of seconds, and all training images, are better spent on.
FULL: dict[str, dict[str, Any]] = {
    "vae_mul": {"epochs": 10, "batch_size": 128, "width": 512},
    "gradient_aware": {"epochs": 10, "channels": 32},
    "classifier_long": {"epochs": 10, "channels": 32},
}
Loss = Callable[..., Tensor]


def _autoencoder(x: Tensor, latent: int = 3, conditioning: Conditioning = "concat") -> ConvAutoencoder:
    return ConvAutoencoder(latent, conditioning=conditioning)


def described(model: ConvAutoencoder, soften: bool = False) -> Loss:
    """What a model with the task given does not explain of its images.

    ``soften`` mixes the one-hot z with the uniform one by a random share in training, which is a mistake: see 05.
    """

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        if not soften:
            return reconstruction(model, images, labels)
        share = torch.rand(len(images), 1, dtype=images.dtype, device=images.device)
        z = (1 - share) * one_hot(labels) + share / 10
        return model.nll(model(images, z), images).mean()

    return loss


def _vae(
    x: Tensor,
    latent: int = 16,
    n_tasks: int = 10,
    channels: int = 16,
    width: int = 256,
    conditioning: Conditioning = "mul",
) -> ConditionalVAE:
    return ConditionalVAE(latent, n_tasks, conditioning, channels, width)


def _free_energy(model: ConditionalVAE, beta: float) -> Loss:
    """No label but the one-hot z that the decoder is given."""

    def loss(batch: tuple[Tensor, Tensor], done: float) -> Tensor:
        return free_energy(model, batch[0], batch[1], beta * _rise(done))

    return loss


def _gradient_aware(model: ConditionalVAE, beta: float, weight: float, shift: int, log_step_size: Tensor) -> Loss:
    """The same, and how wrong the one-step answer is (second-order, through the decoder)."""

    def loss(batch: tuple[Tensor, Tensor], done: float) -> Tensor:
        images, labels = shifted(batch[0], shift), batch[1]
        h, divergence = model.sample(images)
        described = model.nll(model.decoder(h, one_hot(labels)), images) + beta * _rise(done) * divergence
        return described.mean() + weight * gradient_loss(model, h, images, labels, log_step_size)

    return loss


def _rise(done: float) -> float:
    """Weight of the KL term: from 0 to 1 over the first 30 % of training, or the code is given up too early."""
    return min(1.0, done / 0.3)


def _classifier(x: Tensor, channels: int = 16) -> Classifier:
    return Classifier(channels=channels)


def classified(model: nn.Module, shift: int = 0) -> Loss:
    """Cross-entropy of a classifier's logits; ``shift``: pixels by which images are moved at random."""

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(model(shifted(batch[0], shift)), batch[1])

    return loss


# The faithful model (a code of 3), or another code size or conditioning; ``latent=0`` is the pure generative one.
train_autoencoder = Recipe("autoencoder", _autoencoder, described, SETTINGS["faithful"])
train_vae = Recipe("VAE-mul", _vae, _free_energy, SETTINGS["vae_mul"])
train_gradient_aware = Recipe("gradient-aware", _vae, _gradient_aware, SETTINGS["gradient_aware"])
# The canonical classifier, the same convolutions as the generative models'. With SETTINGS["classifier_long"] it is
# trained as long as the gradient-aware model, on images shifted in the same way: what that one must be compared with.
train_classifier = Recipe("classifier", _classifier, classified, SETTINGS["classifier"])


def probe_accuracy(h: Tensor, y: Tensor, h_test: Tensor, y_test: Tensor, seed: int = 0) -> float:
    """Percent of digits that a small network reads out of codes (N, latent): what it can read has leaked past z."""
    torch.manual_seed(seed)
    with usual_defaults():
        probe = nn.Sequential(nn.Linear(h.shape[1], 64), nn.ReLU(), nn.Linear(64, 10)).to(h.device)
    centre, scale = h.mean(0), h.std(0).clamp_min(1e-6)

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(probe((batch[0] - centre) / scale), batch[1])

    fit(probe, loss, (h, y), epochs=10, batch_size=128, lr=5e-3, seed=seed, desc="probe")
    with torch.no_grad():
        return accuracy(probe((h_test - centre) / scale).argmax(1), y_test)


def shifted(x: Tensor, most: int) -> Tensor:
    """Each image of x (B, 1, 28, 28) moved by up to ``most`` pixels in a random direction, black where it left."""
    if not most:
        return x
    down, right = torch.randint(0, 2 * most + 1, (2, len(x), 1), device=x.device)
    line = torch.arange(28, device=x.device)
    padded = functional.pad(x[:, 0], (most, most, most, most))
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return padded[image, (line + down)[:, :, None], (line + right)[:, None, :]].unsqueeze(1)
