"""Amortised inference as a rival: an encoder q(z | x) learns to answer in one forward pass what a gradient answers.

"labels": trained on true z, which makes it a classifier. "elbo": trained without labels against the frozen decoder, on
sum_z q(z | x) a L(z) - H(q), with L(z) = -log p(x | z) and a the fitted step size of the exact answer. The first term
gains its weight over the first half of training: with all of it from the start, q gives up a whole digit, for good.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers import metrics
from gbi_helpers.experiments.mnist import recipes
from gbi_helpers.experiments.mnist.recompose import moved
from gbi_helpers.models.base import Generative
from gbi_helpers.models.image import Classifier, ConvAutoencoder
from gbi_helpers.readouts import READOUTS, logits_of, readouts, relative_time
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit

CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "_turned": lambda x: moved(x, [[0.866, -0.5, 0.0], [0.5, 0.866, 0.0]]),  # by 30 degrees
    "_faint": lambda x: 0.4 * x,
}
Answer = Callable[[Tensor], Tensor]  # images -> scores (N, 10), whose softmax is the belief


def measure(world: Any, seed: int, settings: Mapping[str, Any]) -> dict[str, float]:
    """Of each answer: accuracy, calibration error and log score on plain and on changed test images; its price.

    All answers get a step size fitted on validation images. On clothes, where no answer is right, "auroc": how well the
    confidence tells test digits from clothes.
    """
    sets = world.sets
    model, facts = world.trained(recipes.train_autoencoder, seed, settings)
    labelled, _ = world.trained(recipes.train_classifier, seed, {**recipes.SETTINGS["classifier"], **_epochs(settings)})
    answers: dict[str, Answer] = {name: _scores(model, name) for name in ("one_step", "likelihood")}
    answers["labels"] = functools.partial(logits_of, labelled)
    answers["elbo"] = functools.partial(
        logits_of, unlabelled(model, sets.train[0], sets.validation, seed, _epochs(settings))
    )
    found = dict(facts)
    for name, answer in answers.items():
        size = metrics.fitted_step_size(answer(sets.validation[0]), sets.validation[1])
        found |= {f"{name}_{key}": value for key, value in _judged(answer, size, sets).items()}
    with usual_defaults():
        other = ConvAutoencoder().to(sets.test[0].device)
    prices = readouts(model, sets.test[0], ("one_step", "likelihood"))
    found |= {f"{name}_time": measured.relative_time for name, measured in prices.items()}
    return found | {"encoder_time": relative_time(labelled, other, sets.test[0])}


def unlabelled(
    model: Generative, x: Tensor, seen: tuple[Tensor, Tensor], seed: int, settings: Mapping[str, Any]
) -> Classifier:
    """An encoder q(z | x) in eval mode, trained on images x (N, 1, 28, 28) whose labels nobody looks at.

    ``seen``: validation images and labels, on which the one number a is fitted.
    """
    exact = _scores(model, "likelihood")
    size = metrics.fitted_step_size(exact(seen[0]), seen[1])
    torch.manual_seed(seed)
    with usual_defaults():
        encoder = Classifier().to(x.device)

    def loss(batch: tuple[Tensor, Tensor], done: float) -> Tensor:
        log_q = functional.log_softmax(encoder(batch[0]), dim=1)
        return (log_q.exp() * (log_q - min(1.0, 0.05 + 2 * done) * batch[1])).sum(1).mean()

    options = {**recipes.SETTINGS["classifier"], **settings}
    fit(encoder, loss, (x, size * exact(x)), progress=True, seed=seed, desc="encoder", **options)
    return encoder.eval()


def _epochs(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"epochs": settings["epochs"]}


def _scores(model: Generative, readout: str) -> Answer:
    return lambda x: torch.cat([READOUTS[readout](model, part).score for part in x.split(500)])


def _judged(answer: Answer, size: float, sets: Any) -> dict[str, float]:
    (x, y), found = sets.test, {}
    for name, change in CHANGES.items():
        log_q = torch.log_softmax(size * answer(change(x)), dim=1)
        found[f"accuracy{name}"] = metrics.accuracy(log_q.argmax(1), y)
        found[f"ece{name}"] = metrics.calibration_error(log_q.exp(), y)
        found[f"log_score{name}"] = metrics.negative_log_score(log_q, y)
    digits, clothes = (metrics.log_odds(size * answer(images)) for images in (x, sets.fashion))
    return found | {
        "auroc_clothes": metrics.detection(digits, clothes).auroc,
        "sure_of_clothes": float(torch.sigmoid(clothes).mean()),
    }
