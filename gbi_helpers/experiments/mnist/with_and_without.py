"""The same autoencoder with and without Z: how well it draws, how fast it learns; and what makes training slow.

An arm is a network whose decoder is told something of each image, ``told``: labels (N,) -> z (N, D). D = 0 is no Z.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.metrics import accuracy
from gbi_helpers.models.base import Generative, one_hot
from gbi_helpers.models.image import ConvAutoencoder
from gbi_helpers.readouts import Readout
from gbi_helpers.records import TrainingRecord
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit

Metrics = dict[str, Any]
WATCHED = 500  # validation images of the curves
EVERY = 52  # training steps between two of their points: three in an epoch of 10,000 images
FAINT = 0.1  # what is left of Z where its input is too weak


def nothing(y: Tensor) -> Tensor:
    """No Z at all: (N, 0)."""
    return torch.zeros(len(y), 0, dtype=torch.float32, device=y.device)


def shuffled(y: Tensor) -> Tensor:
    """The one-hot z of another image: it looks like Z and says nothing."""
    draw = torch.Generator().manual_seed(len(y))
    return one_hot(y[torch.randperm(len(y), generator=draw, device=draw.device).to(y.device)])


def faint(y: Tensor) -> Tensor:
    """The right Z, so small beside the code that the decoder hardly hears it."""
    return FAINT * one_hot(y)


@dataclass(frozen=True)
class Arm:
    """One network of a comparison: numbers in its code beside the usual, what it is told, what differs in training."""

    told: Callable[[Tensor], Tensor]
    more: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict)


ARMS = {
    "with": Arm(one_hot),
    "without": Arm(nothing),
    "ten_more": Arm(nothing, more=10),  # as many inputs of the decoder as Z brings, filled by the encoder
    "shuffled": Arm(shuffled),
    "faint": Arm(faint),
    "low_rate": Arm(one_hot, changes={"lr": 2e-4}),
}


def learn(
    x: Tensor,
    z: Tensor,
    latent: int,
    seed: int,
    look: Callable[[ConvAutoencoder], Mapping[str, float]] | None = None,
    **settings: Any,
) -> tuple[ConvAutoencoder, TrainingRecord]:
    """The chapter's autoencoder in eval mode, trained on images x with z (N, D) told; ``look`` at it every few steps.

    With the one-hot z of the labels it is the faithful network of the same seed.
    """
    torch.manual_seed(seed)
    with usual_defaults():
        model = ConvAutoencoder(latent, z.shape[1]).to(x.device)

    def watch(step: int) -> Mapping[str, float]:
        return look(model) if look and step % EVERY == 0 else {}

    record = fit(model, drawn(model), (x, z), seed=seed, watch=watch, desc="autoencoder", **settings)
    return model.eval(), record


def drawn(model: ConvAutoencoder) -> Callable[[tuple[Tensor, Tensor]], Tensor]:
    """The loss of a batch (x, z): nats per image with z told."""
    return lambda batch: model.nll(model(*batch), batch[0]).mean()


@torch.no_grad()
def nats(model: ConvAutoencoder, x: Tensor, z: Tensor) -> float:
    """Mean -log p(x | h, z) over images, in nats: how badly they are drawn."""
    parts = zip(x.split(500), z.split(500), strict=True)
    return float(torch.cat([model.nll(model(*part), part[0]) for part in parts]).mean())


def readout_accuracy(readout: Readout, model: Generative, x: Tensor, y: Tensor) -> float:
    """Percent of images whose digit a readout names."""
    return accuracy(torch.cat([readout(model, part).task for part in x.split(500)]), y)


def compared(world: Any, seed: int, settings: Mapping[str, Any]) -> Metrics:
    """Of each arm: nats on test images, "..._wrong" with the Z of the next digit, and curves of both in training.

    The curves are on validation images, a point every :data:`EVERY` steps, the first before training.
    """
    options = dict(settings)
    names, latent = options.pop("arms"), options.pop("latent")
    found: Metrics = {"train_seconds": 0.0}
    for name in names:
        arm = _arm(world.sets, ARMS[name], latent, seed, options)
        found["train_seconds"] += arm.pop("seconds")
        found |= {f"{name}{part}": value for part, value in arm.items()}
    return found


def _arm(sets: Any, arm: Arm, latent: int, seed: int, options: Mapping[str, Any]) -> Metrics:
    (x, y), (x_seen, y_seen) = sets.train, (part[:WATCHED] for part in sets.validation)

    def both(model: ConvAutoencoder, x: Tensor, y: Tensor) -> dict[str, float]:
        return {"": nats(model, x, arm.told(y)), "_wrong": nats(model, x, arm.told((y + 1) % 10))}

    model, record = learn(
        x, arm.told(y), latent + arm.more, seed, lambda model: both(model, x_seen, y_seen), **{**options, **arm.changes}
    )
    curves = {f"{name}_curve": curve.tolist() for name, curve in record.curves.items()}
    return {**both(model, *sets.test), **curves, "seconds": record.facts["seconds"]}
