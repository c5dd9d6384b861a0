"""How each model of chapter 07 is trained: settings chosen on validation images, and one function a kind of model.

``x`` (N, D) are vectors that describe images (see :mod:`cifar_views`), or images (N, 3, 32, 32) in 8 bits; ``y`` (N,)
their classes. Every function returns the trained model, in eval mode, and its ``TrainingRecord``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.models.base import one_hot
from gbi_helpers.models.hundred import CodeModel, EquidistantModel, VectorClassifier, ZOnly
from gbi_helpers.models.hundred_images import ConvClassifier, ConvModel, UNet
from gbi_helpers.models.image import gradient_loss
from gbi_helpers.records import TrainingRecord
from gbi_helpers.training import fit

Trained = tuple[Any, TrainingRecord]
# "weight": of the gradient's log score, in the sum with the description's nats; "describe": of the latter.
SETTINGS: dict[str, dict[str, Any]] = {
    "classifier": {"epochs": 6, "batch_size": 128, "lr": 2e-3},
    "linear": {"epochs": 4, "batch_size": 128, "lr": 2e-3},
    "code": {"epochs": 6, "batch_size": 128, "lr": 2e-3},
    "equidistant": {"epochs": 6, "batch_size": 128, "lr": 2e-3},
    "images": {"epochs": 4, "batch_size": 64, "lr": 2e-3},
}


def train_code(
    x: Tensor,
    y: Tensor,
    seed: int = 0,
    weight: float = 0.0,
    describe: float = 1.0,
    resume: Path | None = None,
    **o: Any,
) -> Trained:
    """An autoencoder of vectors with z in its decoder; with ``weight``, gradient-aware.

    ``o``: sizes of :class:`CodeModel`, and options of training.
    """
    torch.manual_seed(seed)
    sizes, options = _parted(o, "latent", "conditioning", "width", "drop", "task_map", "n_tasks")
    model = CodeModel(x.shape[1], **sizes).to(x.device)
    return _generative(model, x, y, seed, weight, describe, resume, SETTINGS["code"] | options)


def train_linear(
    x: Tensor, y: Tensor, seed: int = 0, weight: float = 30.0, resume: Path | None = None, **options: Any
) -> Trained:
    """The decoder of z alone, from its closed form on, gradient-aware."""
    torch.manual_seed(seed)
    model = ZOnly(x.shape[1]).fit(x, y).to(x.device)
    return _generative(model, x, y, seed, weight, 1.0, resume, SETTINGS["linear"] | options)


def train_images(
    x: Tensor, y: Tensor, seed: int = 0, kind: str = "conv", weight: float = 0.0, resume: Path | None = None, **o: Any
) -> Trained:
    """A convolutional model of whole images, mirrored and shifted at random: "conv" or "unet"; with ``weight`` GA."""
    torch.manual_seed(seed)
    sizes, options = _parted(o, "latent", "conditioning", "channels", "width")
    model = {"conv": ConvModel, "unet": UNet}[kind](**sizes).to(x.device)
    return _generative(model, x, y, seed, weight, 1.0, resume, SETTINGS["images"] | options, prepare=varied)


def _generative(
    model: Any,
    x: Tensor,
    y: Tensor,
    seed: int,
    weight: float,
    describe: float,
    resume: Path | None,
    options: dict[str, Any],
    prepare: Callable[[Tensor], Tensor] = lambda x: x,
) -> Trained:
    """Minimise what the class does not explain of x, and ``weight`` times how wrong one gradient step is."""
    log_step_size = nn.Parameter(torch.tensor(-3.0, device=x.device))

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        seen, labels = prepare(batch[0]), batch[1]
        h = model.encode(seen)
        described = model.nll(model.decoder(h, one_hot(labels, model.n_tasks)), seen).mean()
        if not weight:
            return described
        return describe * described + weight * gradient_loss(model, h, seen, labels, log_step_size)

    parameters = [*(p for p in model.parameters() if p.requires_grad), log_step_size][: None if weight else -1]
    record = fit(parameters, loss, (x, y), seed=seed, resume=resume, desc=type(model).__name__, **options)
    return model.eval(), record


def train_equidistant(x: Tensor, y: Tensor, seed: int = 0, resume: Path | None = None, **o: Any) -> Trained:
    """The model with equidistant columns: its posterior, one step's and the enumeration's alike, is made right."""
    torch.manual_seed(seed)
    sizes, options = _parted(o, "width", "drop", "n_tasks", "radius")
    model = EquidistantModel(x.shape[1], **sizes).to(x.device)
    columns = model.decoder.patterns

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(model.describe(batch[0]) @ columns.T, batch[1])

    parameters = list(model.describe.parameters())
    options = SETTINGS["equidistant"] | options
    record = fit(parameters, loss, (x, y), seed=seed, resume=resume, desc="equidistant", **options)
    return model.eval(), record


def train_classifier(x: Tensor, y: Tensor, seed: int = 0, resume: Path | None = None, **o: Any) -> Trained:
    """The plain classifier with the same hidden layer (``width=0``: softmax regression), or convolutions for images."""
    torch.manual_seed(seed)
    sizes, options = _parted(o, "width", "drop", "channels", "latent", "n_tasks")
    images = x.dim() == 4
    model = (ConvClassifier(**sizes) if images else VectorClassifier(x.shape[1], **sizes)).to(x.device)

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(model(varied(batch[0]) if images else batch[0]), batch[1])

    options = SETTINGS["images" if images else "classifier"] | options
    record = fit(model, loss, (x, y), seed=seed, resume=resume, desc="classifier", **options)
    return model.eval(), record  # or dropout would go on at test


def _parted(options: dict[str, Any], *names: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of these names, and the others."""
    return {k: v for k, v in options.items() if k in names}, {k: v for k, v in options.items() if k not in names}


def as_pixels(x: Tensor) -> Tensor:
    """Images (B, 3, 32, 32) in 8 bits, or already in [0, 1], as numbers in [0, 1]."""
    return x if x.is_floating_point() else x.float() / 255


def varied(x: Tensor, most: int = 2) -> Tensor:
    """Images (B, 3, 32, 32), half of them mirrored, each moved by up to ``most`` pixels (grey where it left)."""
    x = as_pixels(x)
    mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    x = functional.pad(torch.where(mirrored, x.flip(-1), x), (most,) * 4, value=0.5)
    down, right = torch.randint(0, 2 * most + 1, (2, len(x), 1), device=x.device)
    line = torch.arange(x.shape[-1] - 2 * most, device=x.device)
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[image, (line + down)[:, :, None], (line + right)[:, None, :]].permute(0, 3, 1, 2)
