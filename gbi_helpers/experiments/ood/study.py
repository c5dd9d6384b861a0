"""Out of distribution: which images are no digits, or no digit the network knows. Table 3 of the paper, and more.

No setting and no step size saw a foreign image: they were chosen on MNIST's validation images, by accuracy and log
score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.checkpoints import run_facts, save_checkpoint
from gbi_helpers.data import load_fashion_mnist, load_mnist
from gbi_helpers.experiments.mnist.recipes import train_classifier, train_gradient_aware, train_vae
from gbi_helpers.experiments.ood import against, recipes, scores, unopened
from gbi_helpers.experiments.ood.measure import Found, classifier_row, generative_row
from gbi_helpers.experiments.ood.sets import Sets
from gbi_helpers.experiments.ood.tables import PAIRS
from gbi_helpers.experiments.recipe import Recipe, trained
from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.shelf import Shelf, mark
from gbi_helpers.experiments.study import ALL, SMALL, Row, Settings, Study
from gbi_helpers.files import ASSETS, add_asset
from gbi_helpers.models.image import Classifier
from gbi_helpers.readouts import logits_of

MEMBERS = 5  # of the ensemble
SHIPPED = {"vae_mul": train_vae, "classifier": train_classifier}  # of seed 0, for the notebook


@dataclass(frozen=True)
class World:
    """The images of one process, and the shelf that trained models lie on."""

    sets: Sets
    shelf: Shelf
    digest: str
    facts: Settings
    clothes: Tensor  # pixels in [0, 1]

    def trained(self, recipe: Recipe, seed: int, settings: Settings, sets: Sets | None = None) -> tuple[Any, Found]:
        """A model in eval mode, and what its training took; on other ``sets`` if given."""
        images = self.sets.train if sets is None else sets.train
        digest = self.digest if sets is None else mark(self.digest, sets.kept)
        options = recipes.scaled(settings, self.sets.scale.sd)
        model, facts = trained(self.shelf, digest, recipe, recipe.name, seed, images, options)
        return model, {name: facts[name] for name in ("train_cpu_seconds", "parameters")}


def opened(shelf: Shelf, variant: str) -> World:
    """MNIST's slice and the clothes, standardised; a few of each in the small variant."""
    data, fashion = load_mnist("slice"), load_fashion_mnist("slice")
    clothes = fashion.test.pixels()
    if variant == SMALL:
        data, clothes = data.cut(256, 100, 100), clothes[:100]
    digest = mark(data.digest, fashion.digest, len(clothes))
    return World(Sets.of(data, clothes), shelf, digest, {"data": f"{data.source}; {fashion.source}"}, clothes)


def generative(recipe: Recipe, thorough: bool = False) -> Callable[[World, int, Settings], Found]:
    """A row for a generative model: every score against clothes and, if ``thorough``, all else there is to ask."""

    def measure(world: World, seed: int, settings: Settings) -> Found:
        model, facts = world.trained(recipe, seed, settings)
        return facts | generative_row(model, world.sets if thorough else world.sets.clothes_only())

    return measure


def near_generative(world: World, seed: int, settings: Settings) -> Found:
    """VAE-mul trained without two digits, which differ from seed to seed, against these two."""
    sets = _asked(world, seed, near=True)
    model, facts = world.trained(train_vae, seed, settings, sets)
    return facts | generative_row(model, sets)


def classifiers(world: World, seed: int, settings: Settings) -> Found:
    """A classifier, and the ensemble of five of which it is the first."""
    members = [world.trained(train_classifier, seed + 1000 * member, settings) for member in range(MEMBERS)]
    first, facts = members[0]

    def both(images: Tensor) -> dict[str, Tensor]:
        logits = torch.stack([logits_of(model, images) for model, _ in members])
        votes = scores.vote_scores(logits.log_softmax(2))
        return scores.classifier_scores(logits[0]) | {f"ensemble_{name}": score for name, score in votes.items()}

    return facts | classifier_row(world.sets, both, lambda images: logits_of(first, images))


def near_classifier(world: World, seed: int, settings: Settings) -> Found:
    """A classifier trained without two digits, against these two."""
    sets = _asked(world, seed, near=True)
    model, facts = world.trained(train_classifier, seed, settings, sets)
    return facts | _of_one(model, sets)


def dropout(world: World, seed: int, settings: Settings) -> Found:
    """The classifier with dropout at test, in the place of the paper's Bayesian network."""
    model, facts = world.trained(recipes.train_dropout, seed, settings)

    def logits(images: Tensor) -> Tensor:
        return model.votes(images).logsumexp(0)

    def score(images: Tensor) -> dict[str, Tensor]:
        return {"softmax": scores.log_odds(logits(images))}

    return facts | classifier_row(world.sets.clothes_only(), score, logits)


def _asked(world: World, seed: int, near: bool) -> Sets:
    """What the rows below ask about: all, or, ``near``, two digits that are left out before."""
    return world.sets.without(PAIRS[seed % len(PAIRS)]) if near else world.sets


def _network(world: World, recipe: Recipe, seed: int, settings: Settings) -> tuple[Any, Sets]:
    """The same network as in the rows above, and what it is asked about."""
    sets = _asked(world, seed, settings["near"])
    options = {name: value for name, value in settings.items() if name != "near"}
    return world.trained(recipe, seed, options, sets if settings["near"] else None)[0], sets


def pixels(world: World, seed: int, settings: Settings) -> Found:
    """Scores for which nothing is trained."""
    sets = _asked(world, seed, settings["near"])
    return against.detected(against.on_pixels(sets), sets)


def features(world: World, seed: int, settings: Settings) -> Found:
    """Standard scores that have a classifier."""
    net, sets = _network(world, train_classifier, seed, settings)
    return against.detected(against.on_classifier(net, sets), sets)


def gates(world: World, seed: int, settings: Settings) -> Found:
    """Scores of the gates' gradient, and all scores of ten numbers under both rules for step sizes."""
    model, sets = _network(world, train_vae, seed, settings)
    return against.detected(against.on_vae(model, sets), sets)


def one_classifier(world: World, seed: int, settings: Settings) -> Found:
    """A single classifier against clothes: for another number of epochs."""
    net, facts = world.trained(train_classifier, seed, settings)
    return facts | _of_one(net, world.sets.clothes_only())


def _of_one(net: Classifier, sets: Sets) -> Found:
    """Scores of a classifier, from the outputs that have ever been right: those of the digits not left out."""

    def logits(images: Tensor) -> Tensor:
        return logits_of(net, images)[:, : len(sets.kept)]

    return classifier_row(sets, lambda images: scores.classifier_scores(logits(images)), logits)


def confirmed(world: World, seed: int, settings: Settings) -> Found:
    """All scores against letters and photographs, which were opened when all else was fixed."""
    return _all_scores(world, seed, settings, against.unopened(world.sets))


def one_black(world: World, seed: int, settings: Settings) -> Found:
    """All scores against clothes and inverted digits that have the digits' black."""
    return _all_scores(world, seed, settings, world.sets.with_one_black(world.clothes))


def _all_scores(world: World, seed: int, settings: Settings, foreign: dict[str, Tensor]) -> Found:
    (model, sets), (net, _) = _both(world, seed, settings)
    ways = {"pixels": against.on_pixels(sets), "features": against.on_classifier(net, sets)}
    return against.several(ways | {"gates": against.on_vae(model, sets)}, sets, foreign)


def price(world: World, seed: int, settings: Settings) -> Found:
    """What the scores cost."""
    (model, sets), (net, _) = _both(world, seed, settings)
    return against.price(model, net, sets)


def _both(world: World, seed: int, settings: Settings) -> list[tuple[Any, Sets]]:
    recipes_ = {"vae_mul": train_vae, "classifier": train_classifier}
    return [_network(world, recipe, seed, {**settings[name], "near": False}) for name, recipe in recipes_.items()]


def ship(world: World, results: Results) -> list[Path]:
    """Two models of seed 0, for the notebook."""
    return [_shipped(world, results, name) for name in SHIPPED]


def _shipped(world: World, results: Results, name: str) -> Path:
    found = results.rows[name]["0"]
    model, _ = world.trained(SHIPPED[name], 0, results.settings[name])
    told = {"accuracy": found["accuracy"], "sizes": found.get("sizes", {})}
    facts = run_facts(**{**results.facts, "seed": 0, "minutes": round(found["seconds"] / 60, 2), "metrics": told})
    path = save_checkpoint(ASSETS / "checkpoints" / f"ood_{name}.safetensors", model, facts)
    add_asset(path, **facts)
    return path


def _row(words: str, measure: Callable[[World, int, Settings], Found], settings: str, **more: Any) -> Row:
    return Row(measure, words, {**recipes.SETTINGS[settings], **more})


BOTH = {name: recipes.SETTINGS[name] for name in ("vae_mul", "classifier")}
STUDY = Study(
    "ood",
    __name__,
    "06",
    {
        "faithful": _row("faithful autoencoder", generative(recipes.train_faithful), "faithful"),
        "vae_mul": _row("VAE-mul", generative(train_vae, thorough=True), "vae_mul"),
        "gradient_aware": _row("gradient-aware", generative(train_gradient_aware), "gradient_aware"),
        "classifier": _row("classifier, and an ensemble of five", classifiers, "classifier"),
        "dropout": _row("classifier with dropout", dropout, "dropout"),
        "near_vae_mul": _row("VAE-mul without two digits", near_generative, "vae_mul", n_tasks=8),
        "near_classifier": _row("classifier without two digits", near_classifier, "classifier"),
        "dropout_4": _row("the same, trained as long as the classifier", dropout, "dropout", epochs=4),
        "classifier_8": _row("classifier, trained as long as dropout", one_classifier, "classifier", epochs=8),
        "pixels": Row(pixels, "rivals on pixels", {"near": False}, once=True),
        "near_pixels": Row(pixels, "rivals on pixels, two digits not stored", {"near": True}),
        "features": _row("rivals on the classifier's features", features, "classifier", near=False),
        "near_features": _row("the same without two digits", features, "classifier", near=True),
        "gates": _row("gates of VAE-mul, and both rules for step sizes", gates, "vae_mul", near=False),
        "near_gates": _row("the same without two digits", gates, "vae_mul", near=True, n_tasks=8),
        "price": Row(price, "what a score costs", BOTH, once=True, only=("",)),
        "one_black": Row(one_black, "clothes and inverted digits with the digits' black", BOTH),
        "unopened": Row(confirmed, "letters and photographs", BOTH, only=("",)),
    },
    opened,
    {"": {}, SMALL: {ALL: {"epochs": 1}}},
    ship=ship,
    digest_for=lambda world, row, settings: unopened.digest() if row == "unopened" else "",
)
