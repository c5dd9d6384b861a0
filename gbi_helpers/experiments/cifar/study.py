"""The CIFAR-100 experiments: where the paper's 9.57 and 18.52 sit, what lifts one gradient step beyond, and how far.

Settings were chosen on validation images (the last 5,000 of the 50,000 for training); test images are used for the
numbers written alone.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gbi_helpers.checkpoints import run_facts
from gbi_helpers.data import load_cifar100, standin
from gbi_helpers.data.cifar import GROUP_OF
from gbi_helpers.experiments.cifar import live, probes, recipes
from gbi_helpers.experiments.cifar.measure import Labels, confusions, measure, measure_classifier, scores
from gbi_helpers.experiments.cifar.prices import CLASSES, prices
from gbi_helpers.experiments.cifar.tables import CONFUSIONS
from gbi_helpers.experiments.cifar.views import VIEWS, View, chain
from gbi_helpers.experiments.cifar.world import Metrics, Seen, Settings, World, network, opened
from gbi_helpers.experiments.recipe import Recipe
from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.study import ALL, SMALL, Row, Study
from gbi_helpers.files import ASSETS, add_asset, part_file
from gbi_helpers.meter import size_of, timed

Options = dict[str, Any]
Measure = Callable[[World, int, Settings], Metrics]
VALIDATED = ("validation", "step_size", "log_score", "ece")


def closed(world: World, seed: int, settings: Settings) -> Metrics:
    """A row for the decoder of z alone in closed form."""
    seen, cpu = Seen.of(world, settings), time.process_time()
    seconds, model = timed(recipes.means_of, *seen.train, settings.get("equidistant", False))
    found = {"train_seconds": seconds, "train_cpu_seconds": time.process_time() - cpu, "parameters": size_of(model)}
    everything = bool(settings.get("everything"))
    found |= {"train_n": len(seen.train[1])} | measure(model, seen.view, seen.labels, bias=not everything)
    chosen = VALIDATED if everything else ()  # they would be those of images trained on
    return {name: value for name, value in found.items() if name not in chosen}


def learned(recipe: Recipe, measured: Callable[[Any, View, Labels], Metrics]) -> Measure:
    """A row for a model that is trained, and what is measured of it."""

    def row(world: World, seed: int, settings: Settings) -> Metrics:
        seen, model, facts = network(world, recipe, seed, settings)
        return facts | measured(model, seen.view, seen.labels)

    return row


def priced(world: World, seed: int, settings: Settings) -> Metrics:
    """What one step costs against trying every class, by number of classes; no image is needed."""
    return {"prices": prices(settings["classes"], settings["batch"], settings["repetitions"])}


def ship(world: World, results: Results) -> list[Path]:
    """The confusions of the best model, and a picture model each for the real set and its stand-in."""
    command, standin_data = results.facts["command"], load_cifar100("standin")
    models = [live.ship(data, world.shelf, command) for data in (world.data, standin_data)]
    return [_ship_confusions(world, results), *models]


def _ship_confusions(world: World, results: Results) -> Path:
    """Counts (100, 100) of test images by true and predicted class, classes in the order of their groups."""
    data = world.data
    seen, model, _ = network(world, recipes.train_code, 0, results.settings["best"])
    order = sorted(range(len(data.classes)), key=lambda k: (data.group_of[k], data.classes[k]))
    counts = confusions(scores(model, seen.view.test).argmax(1), data.test.y, order).numpy().astype(np.uint16)
    classes = np.array([data.classes[k] for k in order])
    groups = np.array([data.groups[data.group_of[k]] for k in order])
    path = ASSETS / CONFUSIONS
    with part_file(path) as part, part.open("wb") as stream:
        np.savez_compressed(stream, counts=counts, order=np.array(order), classes=classes, groups=groups)
    add_asset(path, **run_facts(**{**results.facts, "seed": 0}))
    return path


def _row(words: str, measure: Measure, view: str, n: int | None = None, once: bool = True, **options: Any) -> Row:
    """``once``: what is in closed form has no seed; all that is trained is repeated with every one."""
    sees = {"view": view, "n": n, "views": {name: VIEWS[name] for name in chain(view)}}
    return Row(measure, words, {**sees, **options}, once=once)


def _generative(words: str, view: str, recipe: Recipe = recipes.train_code, bias: bool = False, **options: Any) -> Row:
    measured = learned(recipe, functools.partial(measure, bias=bias))
    return _row(words, measured, view, once=False, **{**recipe.settings, **options})


def _classifier(words: str, view: str, recipe: Recipe = recipes.train_classifier, **options: Any) -> Row:
    return _row(words, learned(recipe, measure_classifier), view, once=False, **{**recipe.settings, **options})


FAITHFUL: Options = {"latent": 4, "conditioning": "concat", "width": 256}
SIDES, REMOVED = (4, 6, 8, 10, 12, 16), (0, 1, 2, 4, 8, 16, 32, 64, 128)
PIXELS_GA: Options = {"latent": 64, "conditioning": "concat", "width": 256, "weight": 150.0}
CODES: Options = {**recipes.train_code.settings, **FAITHFUL, "latents": (4, 16, 64)}
PLAIN: Options = {"latent": 16, "width": 512}
AWARE: Options = {"latent": 64, "width": 512, "weight": 30.0, "drop": 0.3}
BEST: Options = {"latent": 64, "width": 512, "weight": 30.0, "drop": 0.4, "epochs": 8}
CONCAT: Options = {"conditioning": "concat"}
PCA, WIDE = "feature_pca", "feature_pca_wide"
ROWS = {
    # where the paper's numbers sit
    "class_mean": _row("class means of pixels", closed, "pixels32"),
    "lda_pixels": _row("discriminant analysis of 8x8 pixels", closed, "pixel_discriminants"),
    "class_mean_50k": _row("class means of pixels, 50,000 labels", closed, "pixels32", everything=True),
    "lda_pixels_50k": _row("discriminants of 8x8, 50,000 labels", closed, "pixel_discriminants", everything=True),
    "lda_sides": _row("discriminant analysis by size of image", probes.sides, "images", sides=SIDES, shrink=0.1),
    "softmax_pixels": _classifier("softmax regression on pixels", "pixels", width=0, lr=1e-3),
    "faithful": _generative("faithful autoencoder, code of 4", "pixels", bias=True, **FAITHFUL),
    "unet": _generative("U-Net whose skips pass by z", "images", recipes.train_unet, epochs=6),
    "removed": _row("nearest mean without the strongest directions", probes.removed, "pixels", removed=REMOVED),
    "codes": _row("autoencoders by size of code", probes.codes, "pixels", once=False, **CODES),
    # what lifts one step
    "whitened": _row("whitened pixels, z alone", closed, "pixel_pca"),
    "whitened_20k": _row("whitened pixels, z alone, 20,000 labels", closed, "pixel_pca", 20_000),
    "features_linear": _row("patch features, z alone", closed, PCA),
    "features_linear_20k": _row("patch features, z alone, 20,000 labels", closed, PCA, 20_000),
    "lda_features": _row("patch features, whitened within classes", closed, "discriminants"),
    "lda_features_20k": _row("patch features, whitened, 20,000 labels", closed, "discriminants", 20_000),
    "equidistant": _row("patch features, whitened, equidistant", closed, "discriminants", equidistant=True),
    "features_concat": _generative("patch features, code, z concatenated", PCA, bias=True, **PLAIN, **CONCAT),
    "features_mul": _generative("patch features, code, z multiplied", PCA, bias=True, **PLAIN),
    "pixels_ga": _generative("pixels, gradient-aware", "pixels", **PIXELS_GA),
    "pixels_classifier": _classifier("pixels, the network as a classifier", "pixels", width=PIXELS_GA["width"]),
    "conv_ga": _generative("convolutions, gradient-aware", "images", recipes.train_conv, weight=50.0, n=20_000),
    "conv_classifier": _classifier("convolutions, classifier", "images", recipes.train_conv_classifier, n=20_000),
    "features_linear_ga": _generative("patch features, z alone, gradient-aware", PCA, recipes.train_linear),
    "features_concat_ga": _generative("patch features, z concatenated, GA", PCA, **AWARE, **CONCAT),
    "features_mul_ga": _generative("patch features, z multiplied, GA", PCA, **AWARE),
    "features_mul_ga_20k": _generative("patch features, z multiplied, GA, 20,000 labels", PCA, n=20_000, **AWARE),
    "grouped_ga": _generative("patch features, GA, z of two levels", PCA, group_of=GROUP_OF, **AWARE),
    "embedded_ga": _generative("patch features, GA, z embedded in 32 numbers", PCA, embedded=32, **AWARE),
    "equidistant_learned": _generative(
        "description learned, classes held equidistant", PCA, recipes.train_equidistant, drop=0.3
    ),
    # as far as it goes
    "best": _generative("more features, z multiplied, GA", WIDE, **BEST),
    "best_classifier": _classifier("more features, the network as a classifier", WIDE, drop=0.4, epochs=8),
    "best_softmax": _classifier("more features, softmax regression", WIDE, width=0, lr=5e-4),
    "best_label_loss": _generative("more features, label loss alone", WIDE, describe=0.0, **BEST),
    "settles": _row("what settles first, equidistant", probes.settles, "discriminants", steps=30, lr=0.2),
    # what it costs
    "prices": Row(priced, "prices, by number of classes", {"classes": CLASSES, "batch": 16, "repetitions": 30}, True),
}
FEW: dict[str, Options] = {
    "features": {"n_filters": 16, "pool": 2, "stride": 3},
    PCA: {"out": 32},
    WIDE: {"out": 64},
    "pixel_pca": {"out": 32},
}
STUDY = Study(
    "cifar",
    __name__,
    "07",
    ROWS,
    opened,
    {
        "": {},
        SMALL: {
            ALL: {"epochs": 1, "views": {name: {**options, **FEW.get(name, {})} for name, options in VIEWS.items()}},
            "grouped_ga": {"group_of": standin.GROUP_OF},
            "prices": {"classes": (10, 20), "repetitions": 2},
        },
    },
    seeds={"": 3},
    ship=ship,
)
