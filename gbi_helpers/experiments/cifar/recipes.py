"""How each model of chapter 07 is trained: settings chosen on validation images, and a recipe a kind of model.

``x`` (N, D) are vectors that describe images (see :mod:`.views`), or images (N, 3, 32, 32) in 8 bits; ``y`` (N,) their
classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.experiments.recipe import Recipe
from gbi_helpers.models.base import Generative, one_hot
from gbi_helpers.models.hundred import CLASSES, CodeModel, Embedded, EquidistantModel, Grouped, VectorClassifier, ZOnly
from gbi_helpers.models.hundred_images import ConvClassifier, ConvModel, UNet
from gbi_helpers.models.image import Conditioning, gradient_loss
from gbi_helpers.runtime import usual_defaults

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Batch], Tensor]


def _code(
    x: Tensor,
    latent: int = 64,
    n_tasks: int = CLASSES,
    conditioning: Conditioning = "mul",
    width: int = 512,
    drop: float = 0.0,
    group_of: Sequence[int] | None = None,
    embedded: int | None = None,
) -> CodeModel:
    """``group_of`` (K,) gives z a second level, that of the groups; ``embedded``: numbers that z is embedded in."""
    task_map = Grouped(group_of) if group_of else Embedded(n_tasks, embedded) if embedded else None
    return CodeModel(x.shape[1], latent, n_tasks, conditioning, width, drop, task_map)


def means_of(x: Tensor, y: Tensor, equidistant: bool = False) -> ZOnly:
    """The decoder of z alone, in closed form."""
    with usual_defaults():
        made = ZOnly(x.shape[1], equidistant=equidistant).to(x.device)
    return made.fit(x, y).eval()


def _conv(x: Tensor, channels: int = 32) -> ConvModel:
    return ConvModel(channels=channels)


def _unet(x: Tensor, channels: int = 16) -> UNet:
    return UNet(channels=channels)


def described(model: Generative, log_step_size: Tensor, weight: float = 0.0, describe: float = 1.0) -> Loss:
    """What the class does not explain of x, in nats, and ``weight`` times how wrong one gradient step is.

    The latter is the gradient's log score; ``describe``: weight of the former beside it.
    """

    def loss(batch: Batch) -> Tensor:
        x, y = batch
        h = model.encode(x)
        nats = model.nll(model.decoder(h, one_hot(y, model.n_tasks)), x).mean()
        if not weight:
            return nats
        return describe * nats + weight * gradient_loss(model, h, x, y, log_step_size)

    return loss


def _described_images(model: Generative, log_step_size: Tensor, weight: float = 0.0) -> Loss:
    """The same of images mirrored and moved at random."""
    loss = described(model, log_step_size, weight)
    return lambda batch: loss((varied(batch[0]), batch[1]))


def _equidistant(
    x: Tensor, n_tasks: int = CLASSES, width: int = 512, drop: float = 0.0, radius: float = 3.0
) -> EquidistantModel:
    return EquidistantModel(x.shape[1], n_tasks, width, drop, radius)


def _posterior(model: EquidistantModel) -> Loss:
    """The log score of its posterior, one step's and the enumeration's alike."""
    return lambda batch: functional.cross_entropy(model.describe(batch[0]) @ model.decoder.patterns.T, batch[1])


def _classifier(x: Tensor, n_tasks: int = CLASSES, width: int = 512, drop: float = 0.0) -> VectorClassifier:
    return VectorClassifier(x.shape[1], n_tasks, width, drop)


def _classified(model: nn.Module) -> Loss:
    return lambda batch: functional.cross_entropy(model(batch[0]), batch[1])


def _conv_classifier(x: Tensor, channels: int = 32) -> ConvClassifier:
    return ConvClassifier(channels=channels)


def _classified_images(model: nn.Module) -> Loss:
    return lambda batch: functional.cross_entropy(model(varied(batch[0])), batch[1])


VECTORS, IMAGES = {"epochs": 6, "batch_size": 128, "lr": 2e-3}, {"epochs": 4, "batch_size": 64, "lr": 2e-3}
# An autoencoder of vectors with z in its decoder; with ``weight``, gradient-aware.
train_code = Recipe("code model", _code, described, VECTORS)
# The decoder of z alone, from its closed form on, gradient-aware.
train_linear = Recipe("z alone", means_of, described, {**VECTORS, "epochs": 4, "weight": 30.0})
# Convolutional models of whole images, gradient-aware with ``weight``.
train_conv = Recipe("convolutions", _conv, _described_images, IMAGES)
train_unet = Recipe("U-Net", _unet, _described_images, IMAGES)
# The model with equidistant columns, whose description of x is learned.
train_equidistant = Recipe("equidistant", _equidistant, _posterior, VECTORS)
# The plain classifiers: with the code model's hidden layer (``width=0``: softmax regression), and with convolutions.
train_classifier = Recipe("classifier", _classifier, _classified, VECTORS)
train_conv_classifier = Recipe("convolutions, classifier", _conv_classifier, _classified_images, IMAGES)


def as_pixels(x: Tensor) -> Tensor:
    """Images (B, 3, 32, 32) in 8 bits, or already in [0, 1], as numbers in [0, 1]."""
    return x if x.is_floating_point() else x.float() / 255


def varied(x: Tensor, most: int = 2) -> Tensor:
    """Images (B, 3, 32, 32), half of them mirrored, each moved by up to ``most`` pixels (grey where it left)."""
    x = as_pixels(x)
    mirrored = torch.rand(len(x), 1, 1, 1, dtype=x.dtype, device=x.device) < 0.5
    x = functional.pad(torch.where(mirrored, x.flip(-1), x), (most,) * 4, value=0.5)
    down, right = torch.randint(0, 2 * most + 1, (2, len(x), 1), device=x.device)
    line = torch.arange(x.shape[-1] - 2 * most, device=x.device)
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[image, (line + down)[:, :, None], (line + right)[:, None, :]].permute(0, 3, 1, 2)
