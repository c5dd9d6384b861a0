"""GBI together with other networks: ensembles of generative ones, of classifiers, and one of each.

Chapter 06's networks and images. A seed has networks of its own, four of each kind, so what is paired inside a seed is
independent of other seeds, and nothing shares a network with what it is compared with but by purpose. Temperatures and
units come from validation digits; no foreign image chose anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.mnist.recipes import train_classifier, train_vae
from gbi_helpers.experiments.ood import rivals, scores
from gbi_helpers.experiments.ood.recipes import SETTINGS
from gbi_helpers.experiments.ood.sets import Scale, Sets
from gbi_helpers.experiments.ood.unopened import UNOPENED
from gbi_helpers.experiments.questions.combining import (
    auroc,
    better_than_both,
    correlations,
    disagreement,
    fitted_weights,
    log_share_below,
    means,
    mixture,
    named,
    one_of_each,
    product,
    standardised,
    two_of_a_kind,
)
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.metrics import log_odds
from gbi_helpers.models.base import Generative
from gbi_helpers.models.image import Classifier
from gbi_helpers.readouts import logits_of

Found = dict[str, Any]
Places = dict[str, slice]  # where among all images those of a set stand
APART = 1000  # between the seeds of an ensemble's networks: chapter 06's classifiers are among them


# ---------------------------------------------------------------- networks and images


def generative(world: World, seed: int, settings: Settings) -> list[Any]:
    """The seed's generative networks: ``settings["members"]`` of them."""
    return [world.ood.trained(train_vae, one, settings["vae_mul"])[0] for one in seeds_of(seed, settings)]


def classifiers(world: World, seed: int, settings: Settings) -> list[Any]:
    """The seed's classifiers, as many."""
    return [world.ood.trained(train_classifier, one, settings["classifier"])[0] for one in seeds_of(seed, settings)]


def seeds_of(seed: int, settings: Settings) -> list[int]:
    """Of the networks of a seed, which no other seed below :data:`APART` has."""
    return [seed + APART * member for member in range(settings["members"])]


def gathered(sets: Sets, unopened: Sequence[str] = ()) -> tuple[Tensor, Places]:
    """All images (N, 1, 28, 28), standardised, and where each set stands: validation, test, then what is foreign."""
    parts = {"validation": sets.validation[0], "test": sets.test[0], **sets.foreign}
    for name in unopened:
        x = UNOPENED[name]()
        parts[name] = Scale.of(x)(x).to(sets.test[0])
    places, start = {}, 0
    for name, x in parts.items():
        places[name] = slice(start, start + len(x))
        start += len(x)
    return torch.cat(list(parts.values())), places


def looks(models: Sequence[Generative], x: Tensor) -> scores.Look:
    """What M generative networks say of images x: losses (M, N), gradients and all tasks' losses (M, N, K)."""
    seen = [scores.look(model, x) for model in models]
    return scores.Look(*(torch.stack([getattr(one, part) for one in seen]) for part in ("loss", "grad", "losses")))


def all_logits(models: Sequence[Any], x: Tensor) -> Tensor:
    """Logits (M, N, K) of M classifiers, float64."""
    return torch.stack([logits_of(model, x).double() for model in models])


# ---------------------------------------------------------------- which digit is it?


def naming(world: World, seed: int, settings: Settings) -> Found:
    """Accuracy, log score and calibration of each way to be several; what agrees with its own ten passes; the price."""
    sets = world.ood.sets
    y_fit, y = sets.validation[1], sets.test[1]
    x = torch.cat([sets.validation[0], sets.test[0]])
    seen = looks(generative(world, seed, settings), x)
    answers = {
        "one_step": -seen.grad,
        "passes": -seen.losses,
        "classifier": all_logits(classifiers(world, seed, settings), x),
    }
    found = {name: ways(score, y_fit, y) for name, score in answers.items()}
    pairs = zip(answers["one_step"], answers["classifier"], strict=True)
    found["both"] = {
        "single": means([_weighted([*pair], y_fit, y) for pair in pairs]),
        "product": _weighted([product(answers["one_step"]), product(answers["classifier"])], y_fit, y),
    }
    after = slice(len(y_fit), None)
    one, all_passes = (answers[name][:, after] for name in ("one_step", "passes"))
    return {"ways": found, "agreement": _agreements(one, all_passes), "price": prices(*answers["one_step"].shape[::2])}


def tempered(score: Tensor, labels: Tensor) -> Tensor:
    """Log posterior (N, K) by softmax of the score, its step size fitted on the first samples, which have labels."""
    size = metrics.fitted_step_size(score[: len(labels)], labels)
    return torch.log_softmax(size * score, -1)


def ways(answers: Tensor, y_fit: Tensor, y: Tensor) -> Found:
    """Of scores (M, N, K), of validation and test images: single networks, and the two ways to join them."""
    each = torch.stack([tempered(score, y_fit) for score in answers])
    several = {"product": tempered(product(answers), y_fit), "mixture": tempered(mixture(each), y_fit)}
    single = means([named(log_q[len(y_fit) :], y) for log_q in each])
    return {"single": single} | {way: named(log_q[len(y_fit) :], y) for way, log_q in several.items()}


def _weighted(answers: Sequence[Tensor], y_fit: Tensor, y: Tensor) -> dict[str, float]:
    """Of scores (N, K) of several kinds, each with a step size of its own."""
    score = torch.stack([*answers])
    weights = fitted_weights(score[:, : len(y_fit)], y_fit)
    log_q = torch.log_softmax((weights[:, None, None] * score).sum(0), -1)
    return named(log_q[len(y_fit) :], y)


def _agreements(one: Tensor, passes: Tensor) -> dict[str, float]:
    """Percent of samples of which one step names what its own passes name; of different networks' passes beside it."""
    single = [metrics.agreement(a, b) for a, b in zip(one, passes, strict=True)]
    others = [metrics.agreement(a, b) for a, b in zip(passes, passes.roll(1, 0), strict=True)]
    return {
        "single": sum(single) / len(single),
        "product": metrics.agreement(product(one), product(passes)),
        "passes_of_another": sum(others) / len(others),
    }


def prices(members: int, n_tasks: int) -> dict[str, int]:
    """Passes for each image, forwards and backwards alike, of each network's own: one step takes one of each."""
    return {
        "one_step": 2,
        "passes": n_tasks,
        "classifier": 1,
        "one_of_each": 3,
        "one_of_each_passes": n_tasks + 1,
        "several_one_step": 2 * members,
        "several_passes": n_tasks * members,
        "several_classifiers": members,
    }


# ---------------------------------------------------------------- is it a digit at all?


def detection(world: World, seed: int, settings: Settings) -> Found:
    """AUROC on each foreign set of single scores, two and four of a kind, one of each, and chapter 06's rivals."""
    sets, nets = world.ood.sets, classifiers(world, seed, settings)
    x, places = gathered(sets, settings["unopened"])
    seen, logits = looks(generative(world, seed, settings), x), all_logits(nets, x)
    stored = {"pixels": pixels(sets, x, places, settings["pixels"]), "features": features(nets[0], sets, x)}
    found = several(seen, logits, stored, places, sets.validation[1])
    foreign = [name for name in places if name not in ("validation", "test")]
    kinds = found["relative"], found["energy"]
    return {
        "auroc": {name: _on(found, places["test"], places[name]) for name in foreign},
        "correlation": {name: _related(*kinds, places[name]) for name in ("test", *foreign)},
    }


def pixels(sets: Sets, x: Tensor, places: Places, name: str) -> Tensor:
    """The untrained rival's score (N,) of images x: chapter 06's best of those that store the digits' pixels."""
    found = rivals.on_pixels(*sets.train)(x)
    familiar = {one: score[places["validation"]] for one, score in found.items()}
    return (found | rivals.together(familiar)(found))[name]


def features(net: Classifier, sets: Sets, x: Tensor) -> Tensor:
    """Cosine (N,) to the nearest stored features of a classifier: chapter 06's best score with no sum in it."""
    head = rivals.Head.of(net)
    score = rivals.nearest(head.features(sets.train[0]))
    return torch.cat([score(head.features(part))["nearest 1"] for part in x.split(2000)])


def several(
    seen: scores.Look, logits: Tensor, stored: Mapping[str, Tensor], places: Places, labels: Tensor
) -> dict[str, Tensor]:
    """Every score (..., N), the first axes over networks or pairs of them, from M looks and M classifiers' logits.

    ``stored``: scores (N,) of "pixels" and of the first classifier's "features", for which images were stored.
    Joining by ranks was thought of after the sums had been seen on foreign images; strangers made of validation digits
    prefer it to sums as well.
    """
    familiar = places["validation"]
    relative = scores.relative_gradient(seen.loss, seen.grad)
    alone = {
        "relative": log_odds(-relative),
        "relative_passes": log_odds(-seen.losses.log()),
        "energy": logits.logsumexp(-1),
    }
    step, passes, energy = (standardised(one, familiar) for one in alone.values())
    rank = {name: log_share_below(score, familiar) for name, score in alone.items()}
    pixel, feature = (standardised(stored[name], familiar) for name in ("pixels", "features"))
    log_q = torch.stack([tempered(-grad, labels) for grad in seen.grad])
    answers = logits.log_softmax(-1)
    return {
        **alone,
        **stored,
        "max_z": log_odds(log_q),
        "softmax": log_odds(answers),
        "two_relative": two_of_a_kind(step),
        "two_energy": two_of_a_kind(energy),
        "one_of_each": one_of_each(step, energy),
        "one_of_each_passes": one_of_each(passes, energy),
        "one_of_each_ranks": one_of_each(rank["relative"], rank["energy"]),
        "one_of_each_passes_ranks": one_of_each(rank["relative_passes"], rank["energy"]),
        "four_relative": step.sum(0),
        "four_relative_product": log_odds(-product(relative)),
        "four_passes": passes.sum(0),
        "four_passes_product": log_odds(-product(seen.losses.log())),
        "four_max_z": log_odds(mixture(log_q)),
        "four_max_z_disagreement": -disagreement(log_q),
        "four_energy": energy.sum(0),
        "four_softmax": log_odds(mixture(answers)),
        "four_disagreement": -disagreement(answers),
        "four_relative_ranks": rank["relative"].sum(0),
        "four_energy_ranks": rank["energy"].sum(0),
        "four_of_each": step.sum(0) + energy.sum(0),
        "four_of_each_ranks": rank["relative"].sum(0) + rank["energy"].sum(0),
        "pixels_and_relative": step + pixel,
        "pixels_and_energy": energy + pixel,
        "pixels_and_one_of_each": one_of_each(step, energy) + pixel,
        "features_and_energy": energy[0] + feature,
        "features_and_relative": step[0] + feature,
        "features_and_pixels": pixel + feature,
    }


def _on(every: Mapping[str, Tensor], familiar: slice, foreign: slice) -> dict[str, float]:
    """Mean AUROC of each score, over networks or pairs; of one of each also the least, and how many beat both."""
    found = {name: auroc(score, familiar, foreign) for name, score in every.items()}
    one, other = found["relative"], found["energy"]
    return {name: float(values.mean()) for name, values in found.items()} | {
        "least_one_of_each": float(found["one_of_each"].min()),
        "better_than_both": better_than_both(found["one_of_each"], one, other),
        "better_than_both_ranks": better_than_both(found["one_of_each_ranks"], one, other),
    }


def _related(one: Tensor, other: Tensor, place: slice) -> dict[str, float]:
    """Correlation of scores on one set: of two generative networks, of two classifiers, of one of each."""
    return dict(zip(("generative", "classifiers", "across"), correlations(one[:, place], other[:, place]), strict=True))


NETS = {"members": 4, "vae_mul": SETTINGS["vae_mul"], "classifier": SETTINGS["classifier"]}
# The setting that strangers made of validation digits chose in chapter 06, among all of the untrained rivals.
UNTRAINED = {"pixels": "together 0.1", "unopened": ["letters", "photographs"]}
ROWS = {
    "together_naming": Row(naming, "which digit: one step, ten passes, classifiers, alone and four together", NETS),
    "together_detection": Row(
        detection, "is it a digit: one of each against four of a kind, and the untrained rival", {**NETS, **UNTRAINED}
    ),
}
_FEW: dict[str, Any] = {name: {**SETTINGS[name], "epochs": 1} for name in ("vae_mul", "classifier")} | {"members": 2}
SMALL: dict[str, dict[str, Any]] = {
    "together_naming": _FEW,
    "together_detection": {**_FEW, "unopened": []},
}
