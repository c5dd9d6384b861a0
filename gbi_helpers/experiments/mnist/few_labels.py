"""Accuracy and drawing over the number of labelled images: one gradient, K passes, a classifier, and no network.

All networks take the same number of steps; each is read at that of its snapshots which is best on validation images.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers import metrics
from gbi_helpers.experiments.mnist import untrained
from gbi_helpers.experiments.mnist.recipes import SETTINGS, classified
from gbi_helpers.experiments.mnist.with_and_without import drawn, nats, nothing, readout_accuracy
from gbi_helpers.models.base import one_hot
from gbi_helpers.models.image import Classifier, ConvAutoencoder
from gbi_helpers.readouts import Readout, gbi_one_step, likelihood
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit

Score = Callable[[Any, Tensor, Tensor], float]  # of a model on images and labels; high is good
LOOKS = 8  # snapshots of a training
SEEN = 500  # validation images by which one is chosen


def measure(world: Any, seed: int, settings: Mapping[str, Any]) -> dict[str, float]:
    """Accuracies in percent, and nats of the autoencoder "with" Z and "without", on the test images.

    Every network and every rival gets the same ``settings["images"]`` training images, drawn by the seed.
    """
    (x, y), sets, steps = _some(world.sets.train, settings["images"], seed), world.sets, settings["steps"]
    torch.manual_seed(seed)
    with usual_defaults():
        told, alone = ConvAutoencoder().to(x.device), ConvAutoencoder(n_tasks=0).to(x.device)
        plain = Classifier().to(x.device)
    jobs: list[tuple[nn.Module, Any, tuple[Tensor, Tensor], str, dict[str, Score]]] = [
        (told, drawn(told), (x, one_hot(y)), "faithful", TOLD),
        (alone, drawn(alone), (x, nothing(y)), "faithful", {"without": lambda m, x, y: -nats(m, x, nothing(y))}),
        (plain, classified(plain), (x, y), "classifier", {"classifier": _classified}),
    ]
    found = {"train_seconds": 0.0}
    for model, loss, data, kind, scores in jobs:
        options = {**SETTINGS[kind], "epochs": None, "steps": steps}
        kept, seconds = _snapshots(model, loss, data, seed=seed, **options)
        found["train_seconds"] += seconds
        for name, score in scores.items():
            seen = [score(snapshot, *(part[:SEEN] for part in sets.validation)) for snapshot in kept]
            best = max(range(len(kept)), key=seen.__getitem__)
            found |= {name: abs(score(kept[best], *sets.test)), f"{name}_step": (best + 1) * steps // LOOKS}
    return found | without_network(x, y, *sets.test)


RIVALS: dict[str, untrained.Fit] = {
    "svm": untrained.support_vectors,
    "nearest_neighbour": untrained.nearest_image,
    "lda": functools.partial(untrained.discriminant, shrinkage="auto"),  # as Ledoit and Wolf (2004) say
    "nearest_mean": untrained.nearest_mean,
    "coins": untrained.coins,
}


def without_network(x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor) -> dict[str, float]:
    """Accuracy in percent of what has no network, each fitted to the images x (N, 1, 28, 28) of digits y (N,)."""
    flat, flat_test = (part.flatten(1).cpu().double() for part in (x, x_test))
    return {name: metrics.accuracy(fit(flat, y.cpu())(flat_test), y_test) for name, fit in RIVALS.items()}


def _some(images: tuple[Tensor, Tensor], n: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(images[0]), generator=draw, device=draw.device)[:n].to(images[0].device)
    return images[0][chosen], images[1][chosen]


def _snapshots(model: nn.Module, loss: Any, data: Any, steps: int, **options: Any) -> tuple[list[nn.Module], float]:
    kept: list[nn.Module] = []

    def watch(step: int) -> Mapping[str, float]:
        if step and step % (steps // LOOKS) == 0:
            kept.append(copy.deepcopy(model).eval())
        return {}

    record = fit(model, loss, data, steps=steps, watch=watch, desc=type(model).__name__, **options)
    return kept, record.facts["seconds"]


def _right(readout: Readout) -> Score:
    return functools.partial(readout_accuracy, readout)


@torch.no_grad()
def _classified(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return metrics.accuracy(model(x).argmax(1), y)


TOLD: dict[str, Score] = {
    "with": lambda model, x, y: -nats(model, x, one_hot(y)),
    "one_step": _right(gbi_one_step),
    "likelihood": _right(likelihood),
}
