"""One network that is unsure of its weights, and classifiers that are told GBI's belief: beside several networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.mnist.recipes import train_vae
from gbi_helpers.experiments.ood import scores
from gbi_helpers.experiments.ood.recipes import SETTINGS
from gbi_helpers.experiments.questions.believing import pack, train_believing
from gbi_helpers.experiments.questions.combining import auroc, disagreement, mixture, named, product, standardised
from gbi_helpers.experiments.questions.last_layer import (
    LastLayer,
    chosen_ridge,
    masked_steps,
    train_dropout_vae,
)
from gbi_helpers.experiments.questions.together import (
    NETS,
    Found,
    Places,
    Settings,
    all_logits,
    classifiers,
    gathered,
    generative,
    seeds_of,
    tempered,
    ways,
)
from gbi_helpers.experiments.recipe import trained
from gbi_helpers.experiments.shelf import mark
from gbi_helpers.experiments.source import code_of
from gbi_helpers.experiments.study import Row
from gbi_helpers.inference import max_entropy, one_step
from gbi_helpers.metrics import fitted_step_size, log_odds
from gbi_helpers.models.base import Generative
from gbi_helpers.readouts import decoder_loss, gbi_one_step

# ---------------------------------------------------------------- a last layer that is not known


def last_layer(world: World, seed: int, settings: Settings) -> Found:
    """One step with the weights of the last layer known, and with a normal distribution over them."""
    sets = world.ood.sets
    model, _ = world.ood.trained(train_vae, seed, settings["vae_mul"])
    ridge = chosen_ridge(model, sets.train, sets.validation, tuple(settings["ridges"]))
    layer = LastLayer.of(model, *sets.train, ridge)
    x, places = gathered(sets, settings["unopened"])
    seen = [_seen(layer, part) for part in x.split(500)]
    plain_loss, plain, laplace, unsure = (torch.cat(column) for column in zip(*seen, strict=True))
    score = {
        "relative": log_odds(-scores.relative_gradient(plain_loss, plain)),
        "laplace": log_odds(tempered(-laplace, sets.validation[1])),
        "sure": -unsure,
    }
    relative, sure = (standardised(score[name], places["validation"]) for name in ("relative", "sure"))
    return {
        "ridge": ridge,
        "adds_to_noise": float(unsure[places["test"]].mean()),
        "ways": {name: _named(-grad, world) for name, grad in {"plain": plain, "laplace": laplace}.items()},
        "auroc": _on_all(score | {"relative_and_sure": relative + sure}, places),
        "price": {"plain": 2, "laplace": 2},
    }


def _seen(layer: LastLayer, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """At the uniform z: loss and gradient of the known layer, gradient of the unknown one, and how unsure it is."""
    start = max_entropy(len(x), layer.model.n_tasks, x.dtype, x.device)
    plain, laplace = (one_step(loss, start) for loss in (decoder_loss(layer.model, x), layer.loss(x)))
    assert plain.grad is not None
    assert laplace.grad is not None
    with torch.no_grad():
        unsure = layer.unsure(layer.model.encode(x), start)
    return plain.loss.double(), plain.grad.double(), laplace.grad.double(), unsure.double()


def _named(score: Tensor, world: World) -> dict[str, float]:
    """Of scores (N, K) of all images, which begin with validation and test."""
    y_fit, y = world.ood.sets.validation[1], world.ood.sets.test[1]
    return named(tempered(score, y_fit)[len(y_fit) :][: len(y)], y)


def _on_all(score: dict[str, Tensor], places: Places) -> Found:
    """AUROC of each score (N,) against each foreign set."""
    foreign = [name for name in places if name not in ("validation", "test")]
    return {
        one: {name: float(auroc(values, places["test"], places[one])) for name, values in score.items()}
        for one in foreign
    }


# ---------------------------------------------------------------- dropout at test


def dropout(world: World, seed: int, settings: Settings) -> Found:
    """One step of a network trained with dropout: dropout off, and on, its masks an ensemble of one network."""
    sets = world.ood.sets
    model, _ = world.ood.trained(train_dropout_vae, seed, settings["vae_mul"])
    x, places = gathered(sets, settings["unopened"])
    whole = scores.look(model, x)
    losses, grads = masked_steps(model, x, settings["masks"])
    answers = torch.stack([tempered(-grad, sets.validation[1]) for grad in grads])
    score = {
        "relative": log_odds(-scores.relative_gradient(whole.loss, whole.grad)),
        "masked_relative": log_odds(-product(scores.relative_gradient(losses, grads))),
        "disagreement": -disagreement(answers),
    }
    answer = {"off": -whole.grad, "product": -product(grads), "mixture": mixture(answers), "passes": -whole.losses}
    return {
        "ways": {name: _named(one, world) for name, one in answer.items()},
        "auroc": _on_all(score, places),
        "price": {"off": 2, "masks": 2 * settings["masks"]},
    }


# ---------------------------------------------------------------- a belief as an input


def belief(world: World, seed: int, settings: Settings) -> Found:
    """Classifiers told what one step of a generative network says, alone and together, beside those told nothing."""
    sets = world.ood.sets
    x, places = gathered(sets, settings["unopened"])
    told = [
        _told(world, one, model, x, settings)
        for one, model in zip(seeds_of(seed, settings), generative(world, seed, settings), strict=True)
    ]
    logits = {"told": torch.stack(told), "alone": all_logits(classifiers(world, seed, settings), x)}
    y_fit, y = sets.validation[1], sets.test[1]
    both = len(y_fit) + len(y)
    return {
        "ways": {name: ways(answer[:, :both], y_fit, y) for name, answer in logits.items()},
        "auroc": {name: _on_all(_of_classifiers(answer, places), places) for name, answer in logits.items()},
        "price": {"told": 3 * settings["members"], "alone": settings["members"]},
    }


def _told(world: World, seed: int, model: Generative, x: Tensor, settings: Settings) -> Tensor:
    """Logits (N, K) of a classifier that was trained with this network's beliefs, and is told them of images x."""
    sets = world.ood.sets
    size = _size(model, sets.validation)
    data = pack(sets.train[0], _belief(model, sets.train[0], size)), sets.train[1]
    digest = mark(world.ood.digest, settings["vae_mul"], seed, code_of(train_vae))
    net, _ = trained(world.ood.shelf, digest, train_believing, train_believing.name, seed, data, settings["classifier"])
    return all_logits([net], pack(x, _belief(model, x, size)))[0]


def _gradient(model: Generative, x: Tensor) -> Tensor:
    steps = [gbi_one_step(model, part).grad for part in x.split(1000)]
    return torch.cat([grad.double() for grad in steps if grad is not None])


def _size(model: Generative, known: tuple[Tensor, Tensor]) -> float:
    return fitted_step_size(-_gradient(model, known[0]), known[1])


def _belief(model: Generative, x: Tensor, size: float) -> Tensor:
    return torch.log_softmax(-size * _gradient(model, x), -1)


def _of_classifiers(logits: Tensor, places: Places) -> dict[str, Tensor]:
    """Scores (N,) of M classifiers together, from logits (M, N, K)."""
    answers = logits.log_softmax(-1)
    return {
        "energy": standardised(logits.logsumexp(-1), places["validation"]).sum(0),
        "softmax": log_odds(mixture(answers)),
        "disagreement": -disagreement(answers),
    }


FOREIGN = {"unopened": ["letters", "photographs"]}
RIDGES = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0]
ROWS = {
    "together_last_layer": Row(
        last_layer,
        "one step, the last layer's weights uncertain",
        {"vae_mul": SETTINGS["vae_mul"], "ridges": RIDGES, **FOREIGN},
    ),
    "together_dropout": Row(
        dropout,
        "one step of a network trained with dropout, off and on",
        {"vae_mul": {**SETTINGS["vae_mul"], "drop": 0.2}, "masks": 10, **FOREIGN},
    ),
    "together_belief": Row(belief, "classifiers told GBI's belief, beside those told nothing", {**NETS, **FOREIGN}),
}
_FEW: dict[str, Any] = {"vae_mul": {**SETTINGS["vae_mul"], "epochs": 1}, "unopened": []}
SMALL: dict[str, dict[str, Any]] = {
    "together_last_layer": _FEW,
    "together_dropout": {"vae_mul": {**_FEW["vae_mul"], "drop": 0.2}, "masks": 2, "unopened": []},
    "together_belief": {**_FEW, "classifier": {**SETTINGS["classifier"], "epochs": 1}, "members": 2},
}
