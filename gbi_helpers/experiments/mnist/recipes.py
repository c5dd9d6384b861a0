"""How each MNIST model is trained: settings chosen on validation images, and one function a model.

Every function returns the trained model and its ``TrainingRecord``. ``x`` (N, 1, 28, 28) in [0, 1], labels ``y`` (N,).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.metrics import accuracy
from gbi_helpers.models.image import (
    Classifier,
    ConditionalVAE,
    Conditioning,
    ConvAutoencoder,
    free_energy,
    gradient_loss,
    one_hot,
    reconstruction,
)
from gbi_helpers.records import TrainingRecord
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
SIZES = ("latent", "n_tasks", "channels", "width", "conditioning")  # of a ConditionalVAE


def train_autoencoder(
    x: Tensor,
    y: Tensor,
    seed: int = 0,
    latent: int = 3,
    conditioning: Conditioning = "concat",
    soften: bool = False,
    resume: Path | None = None,
    **changes: Any,
) -> tuple[ConvAutoencoder, TrainingRecord]:
    """The faithful model (``latent=3``), or another code size or conditioning; ``latent=0`` is the pure generative one.

    ``soften`` mixes the one-hot z with the uniform one by a random share in training, which is a mistake: see 05.
    """
    torch.manual_seed(seed)
    model = ConvAutoencoder(latent, conditioning=conditioning).to(x.device)
    options = SETTINGS["faithful"] | changes

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        if not soften:
            return reconstruction(model, images, labels)
        share = torch.rand(len(images), 1, device=images.device)
        z = (1 - share) * one_hot(labels) + share / 10
        return model.nll(model(images, z), images).mean()

    return model, fit(model, loss, (x, y), seed=seed, resume=resume, desc=f"autoencoder, code of {latent}", **options)


def train_vae(
    x: Tensor, y: Tensor, seed: int = 0, resume: Path | None = None, **changes: Any
) -> tuple[ConditionalVAE, TrainingRecord]:
    """The conditional VAE with multiplicative Z: no label but the one-hot z that the decoder is given."""
    options = SETTINGS["vae_mul"] | changes
    beta = options.pop("beta")
    model = _vae(x, seed, options)

    def loss(batch: tuple[Tensor, Tensor], done: float) -> Tensor:
        return free_energy(model, batch[0], batch[1], beta * _rise(done))

    return model, fit(model, loss, (x, y), progress=True, seed=seed, resume=resume, desc="VAE-mul", **options)


def train_gradient_aware(
    x: Tensor, y: Tensor, seed: int = 0, resume: Path | None = None, **changes: Any
) -> tuple[ConditionalVAE, TrainingRecord]:
    """The same VAE, told in training how wrong its one-step answer is (second-order, through the decoder)."""
    options = SETTINGS["gradient_aware"] | changes
    beta, weight, shift = (options.pop(name) for name in ("beta", "weight", "shift"))
    model = _vae(x, seed, options)
    log_step_size = nn.Parameter(torch.tensor(-3.0, device=x.device))

    def loss(batch: tuple[Tensor, Tensor], done: float) -> Tensor:
        images, labels = shifted(batch[0], shift), batch[1]
        h, divergence = model.sample(images)
        described = model.nll(model.decoder(h, one_hot(labels)), images) + beta * _rise(done) * divergence
        return described.mean() + weight * gradient_loss(model, h, images, labels, log_step_size)

    parameters = [*model.parameters(), log_step_size]
    record = fit(parameters, loss, (x, y), progress=True, seed=seed, resume=resume, desc="gradient-aware", **options)
    return model, record


def _vae(x: Tensor, seed: int, options: dict[str, Any]) -> ConditionalVAE:
    """A fresh model of the sizes named in ``options``, which are taken out of it."""
    torch.manual_seed(seed)
    sizes = {name: options.pop(name) for name in SIZES if name in options}
    return ConditionalVAE(**sizes).to(x.device)


def _rise(done: float) -> float:
    """Weight of the KL term: from 0 to 1 over the first 30 % of training, or the code is given up too early."""
    return min(1.0, done / 0.3)


def train_classifier(
    x: Tensor, y: Tensor, seed: int = 0, resume: Path | None = None, **changes: Any
) -> tuple[Classifier, TrainingRecord]:
    """The canonical classifier, the same convolutions as the generative models'.

    With ``SETTINGS["classifier_long"]`` as ``changes`` it is trained as long as the gradient-aware model, on images
    shifted in the same way: what that one must be compared with.
    """
    options = SETTINGS["classifier"] | changes
    torch.manual_seed(seed)
    sizes = {"channels": options.pop("channels")} if "channels" in options else {}
    model, shift = Classifier(**sizes).to(x.device), options.pop("shift", 0)

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(model(shifted(batch[0], shift)), batch[1])

    return model, fit(model, loss, (x, y), seed=seed, resume=resume, desc="classifier", **options)


def probe_accuracy(h: Tensor, y: Tensor, h_test: Tensor, y_test: Tensor, seed: int = 0) -> float:
    """Percent of digits that a small network reads out of codes (N, latent): what it can read has leaked past z."""
    torch.manual_seed(seed)
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
