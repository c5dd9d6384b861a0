"""Embeddings of a hundred tasks that are learned, inside a network with a code: of any length, or of one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.cifar import study as cifar
from gbi_helpers.experiments.cifar import world as hundred
from gbi_helpers.experiments.cifar.recipes import VECTORS, described
from gbi_helpers.experiments.recipe import Recipe
from gbi_helpers.experiments.study import ALL, Row, Settings
from gbi_helpers.experiments.study import SMALL as SMALL_VARIANT
from gbi_helpers.inference import enumerate_tasks, max_entropy, one_step
from gbi_helpers.models.base import Generative
from gbi_helpers.models.hundred import CLASSES, CodeModel, Embedded, SphereEmbedded
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.theory import fit_delta

Values = dict[str, Any]
FIT = 500  # training images that delta is averaged over


def _embedded(
    x: Tensor, embedded: int, sphere: bool, latent: int = 16, width: int = 512, drop: float = 0.0
) -> CodeModel:
    task_map = (SphereEmbedded if sphere else Embedded)(CLASSES, embedded)
    return CodeModel(x.shape[1], latent, CLASSES, "mul", width, drop, task_map)


train_embedded = Recipe("embedded", _embedded, described, VECTORS)


def learned(world: World, seed: int, settings: Settings) -> Values:
    """By number of dimensions, "free" and "sphere": the network's accuracies, percent.

    "one_step", "one_step_delta" with the gap measured on training images, "passes"; the "agreement" of one step with
    these; "spread": the standard deviation of that gap over tasks, in nats.
    """
    options = {name: value for name, value in settings.items() if name not in ("dims", "test")}
    found: Values = {}
    for size in settings["dims"]:
        for name in ("free", "sphere"):
            told = {**options, "embedded": size, "sphere": name == "sphere"}
            seen, model, facts = hundred.network(world.cifar, train_embedded, seed, told)
            x, y = seen.view.test[: settings["test"]].float(), seen.labels.test[: settings["test"]]
            found[f"{name}_{size}"] = facts | read(model, seen.view.train[:FIT].float(), x, y)
    return found


def read(model: Generative, fit: Tensor, x: Tensor, y: Tensor) -> dict[str, float]:
    """What a model says of vectors x (N, D) of classes y (N,); ``fit``: those that delta is measured on."""
    delta = fit_delta(decoder_loss(model, fit), _uniform(model, fit))
    parts = [(decoder_loss(model, part), _uniform(model, part)) for part in x.split(1000)]
    one = torch.cat([one_step(*part).score for part in parts])
    exact = torch.cat([enumerate_tasks(*part).score for part in parts])
    named = {"one_step": one, "one_step_delta": one + delta, "passes": exact}
    found = {name: metrics.accuracy(score.argmax(1), y) for name, score in named.items()}
    return found | {"agreement": metrics.agreement(one, exact), "spread": float(delta.std())}


def _uniform(model: Generative, x: Tensor) -> Tensor:
    return max_entropy(len(x), model.n_tasks, x.dtype, x.device)


_OWN = cifar.ROWS["features_mul"].settings
_SHARED = {name: _OWN[name] for name in ("view", "views", "n", "epochs", "batch_size", "lr", "latent", "width")}
ROWS: dict[str, Row] = {
    "embeddings/learned": Row(learned, "embeddings learned, with a code", {**_SHARED, "dims": (8, 32), "test": 4_000}),
}
SMALL: dict[str, dict[str, Any]] = {
    "embeddings/learned": {
        "views": cifar.STUDY.variants[SMALL_VARIANT][ALL]["views"],
        "epochs": 1,
        "width": 32,
        "dims": (4,),
        "test": 50,
    }
}
