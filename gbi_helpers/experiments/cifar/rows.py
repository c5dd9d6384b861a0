"""The rows of chapter 07: what each model sees, how it is trained, and on how many images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.data import ImageData
from gbi_helpers.experiments.cifar import recipes
from gbi_helpers.experiments.cifar.recipes import SETTINGS, Trained
from gbi_helpers.experiments.cifar.views import VIEWS
from gbi_helpers.models.hundred import Embedded, Grouped, ZOnly
from gbi_helpers.records import TrainingRecord


@dataclass(frozen=True)
class Row:
    """One row: its ``view`` (see :class:`Study`), recipe and options, labelled images ``n`` (None: all).

    ``closed_form``: no randomness, so one seed is all there is. ``bias``: fit a bias for each class as well.
    ``everything``: nothing is chosen for this row, so the validation images are trained on too.
    ``task_map``: makes what z goes through first, from the data. ``words``: the row's name in tables.
    """

    words: str
    view: str
    recipe: Callable[..., Trained]
    options: dict[str, Any] = field(default_factory=dict)
    n: int | None = None
    classifier: bool = False
    closed_form: bool = False
    bias: bool = False
    task_map: Callable[[ImageData], Grouped | Embedded] | None = None
    everything: bool = False

    def options_for(self, data: ImageData) -> dict[str, Any]:
        """The options of the recipe; the mapping of z may need the groups of the data."""
        return self.options | ({"task_map": self.task_map(data)} if self.task_map else {})


def means_of(x: Tensor, y: Tensor, seed: int = 0, resume: Path | None = None, equidistant: bool = False) -> Trained:
    """The decoder of z alone in closed form, as if it had been trained: (model, record)."""
    started, cpu = time.perf_counter(), time.process_time()
    model = ZOnly(x.shape[1], equidistant=equidistant).to(x.device).fit(x, y)
    facts = {"seconds": round(time.perf_counter() - started, 2), "cpu_seconds": round(time.process_time() - cpu, 2)}
    return model.eval(), TrainingRecord(torch.zeros(0), facts=facts)


def _closed(words: str, view: str, n: int | None = None, everything: bool = False, **options: Any) -> Row:
    return Row(words, view, means_of, options, n, closed_form=True, bias=True, everything=everything)


def _grouped(data: ImageData) -> Grouped:
    return Grouped(data.group_of)


def _embedded(data: ImageData) -> Embedded:
    return Embedded(len(data.classes), 32)


FAITHFUL = {"latent": 4, "conditioning": "concat", "width": 256}
PIXELS_GA = {"latent": 64, "conditioning": "concat", "width": 256, "weight": 150.0}
PLAIN = {"latent": 16, "width": 512}
AWARE = {"latent": 64, "width": 512, "weight": 30.0, "drop": 0.3}
BEST = {"latent": 64, "width": 512, "weight": 30.0, "drop": 0.4, "epochs": 8}
LINEAR = {"width": 0, "lr": 5e-4, "epochs": 6}

code, concat = recipes.train_code, {"conditioning": "concat"}
ROWS: dict[str, Row] = {
    # where the paper's numbers sit
    "class_mean": _closed("class means of pixels", "pixels32", everything=True),
    "lda_pixels": _closed("discriminant analysis of 8x8 pixels", "pixel_discriminants", everything=True),
    "softmax_pixels": Row(
        "softmax regression on pixels", "pixels", recipes.train_classifier, {"width": 0, "lr": 1e-3}, classifier=True
    ),
    "faithful": Row("faithful autoencoder, code of 4", "pixels", code, FAITHFUL, bias=True),
    "unet": Row("U-Net whose skips pass by z", "images", recipes.train_images, {"kind": "unet", "epochs": 2}, 10_000),
    # what lifts one step
    "whitened": _closed("whitened pixels, z alone", "pixel_pca"),
    "whitened_20k": _closed("whitened pixels, z alone, 20,000 labels", "pixel_pca", 20_000),
    "features_linear": _closed("patch features, z alone", "feature_pca"),
    "features_linear_20k": _closed("patch features, z alone, 20,000 labels", "feature_pca", 20_000),
    "lda_features": _closed("patch features, whitened within classes", "discriminants"),
    "lda_features_20k": _closed("patch features, whitened, 20,000 labels", "discriminants", 20_000),
    "equidistant": _closed("patch features, whitened, equidistant", "discriminants", equidistant=True),
    "features_concat": Row("patch features, code, z concatenated", "feature_pca", code, PLAIN | concat, bias=True),
    "features_mul": Row("patch features, code, z multiplied", "feature_pca", code, PLAIN, bias=True),
    "pixels_ga": Row("pixels, gradient-aware", "pixels", code, PIXELS_GA),
    "conv_ga": Row("convolutions, gradient-aware", "images", recipes.train_images, {"weight": 50.0}, 20_000),
    "conv_classifier": Row("convolutions, classifier", "images", recipes.train_classifier, {}, 20_000, classifier=True),
    "features_linear_ga": Row(
        "patch features, z alone, gradient-aware", "feature_pca", recipes.train_linear, {"weight": 30.0}
    ),
    "features_concat_ga": Row("patch features, z concatenated, GA", "feature_pca", code, AWARE | concat),
    "features_mul_ga": Row("patch features, z multiplied, GA", "feature_pca", code, AWARE),
    "features_mul_ga_20k": Row("patch features, z multiplied, GA, 20,000 labels", "feature_pca", code, AWARE, 20_000),
    "grouped_ga": Row("patch features, GA, z of two levels", "feature_pca", code, AWARE, task_map=_grouped),
    "embedded_ga": Row("patch features, GA, z embedded in 32 numbers", "feature_pca", code, AWARE, task_map=_embedded),
    "equidistant_learned": Row(
        "description learned, classes held equidistant", "feature_pca", recipes.train_equidistant, {"drop": 0.3}
    ),
    # as far as it goes
    "best": Row("more features, z multiplied, GA", "feature_pca_wide", code, BEST),
    "best_classifier": Row(
        "more features, the network as a classifier",
        "feature_pca_wide",
        recipes.train_classifier,
        {"drop": 0.4, "epochs": 8},
        classifier=True,
    ),
    "best_softmax": Row(
        "more features, softmax regression", "feature_pca_wide", recipes.train_classifier, LINEAR, classifier=True
    ),
    "best_label_loss": Row("more features, label loss alone", "feature_pca_wide", code, BEST | {"describe": 0.0}),
}
LADDER = ("class_mean", "lda_pixels", "softmax_pixels", "faithful", "unet")
BEST_ROWS = ("best", "best_label_loss", "best_classifier", "best_softmax")
REPEATED = ("best", "best_classifier", "best_softmax")  # with every seed; the others with the first
LIFTS = tuple(name for name in ROWS if name not in LADDER + BEST_ROWS)


def settings(name: str, views: Mapping[str, dict[str, Any]] | None = None) -> dict[str, Any]:
    """Everything that the numbers of a row depend on, besides the images and the seed, as plain values."""
    row = ROWS[name]
    kind = next((key for key, recipe in _KINDS.items() if recipe is row.recipe), "")
    if row.classifier and row.view == "images":
        kind = "images"
    chain = [key for key in VIEWS if key == row.view or (key == "features" and row.view in FROM_FEATURES)]
    seen = {key: VIEWS[key] | (views or {}).get(key, {}) for key in chain}
    training = {} if row.closed_form else SETTINGS[kind]
    more = {"everything": True} if row.everything else {}
    return {"view": row.view, "n": row.n, "views": seen, **training, **row.options, **more}


FROM_FEATURES = ("feature_pca", "feature_pca_wide", "discriminants")
_KINDS: dict[str, Callable[..., Any]] = {
    "classifier": recipes.train_classifier,
    "linear": recipes.train_linear,
    "code": recipes.train_code,
    "equidistant": recipes.train_equidistant,
    "images": recipes.train_images,
}
