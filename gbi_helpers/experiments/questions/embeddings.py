"""How many numbers a hundred tasks need for an embedding, and what one common length is worth.

In closed form: discriminants of images, in which the decoder of z alone is linear-Gaussian of standard deviation 1.
The class means are reduced to d dimensions by the singular value decomposition of the centred ones, which is
reduced-rank discriminant analysis. All scores are known without a pass: one step's are (x - start) . p_k, those of K
passes x . p_k - |p_k|^2 / 2, and with the gap put back one step has these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.cifar import study as cifar
from gbi_helpers.experiments.cifar.parts import discriminants_of_part
from gbi_helpers.experiments.study import ALL, Row, Settings
from gbi_helpers.experiments.study import SMALL as SMALL_VARIANT
from gbi_helpers.models.hundred import balanced_sphere, class_means, nearest_equidistant, on_sphere
from gbi_helpers.starts import exact_start, nameable_share, visible

Values = dict[str, Any]


def by_dimensions(world: World, seed: int, settings: Settings) -> Values:
    """Accuracies by ``dims``, and the share of tasks that one step can ever name, for each way to set the lengths.

    "free": as the means are; "sphere": all at their mean distance from the centroid; "centred": these, moved so that
    their centroid is the data's, after which lengths differ; "balanced": on a sphere around their own centroid;
    "equidistant": all distances equal, which takes K - 1 dimensions. Of each: "one_step" from the uniform start,
    "passes" (one step with its gap put back is the same), their "agreement", the "visible" share and "spread", the
    standard deviation of the squared lengths around the start, in nats; on the sphere also from its centre. "law": the
    visible share of embeddings drawn at random. All shares in percent.
    """
    (x, y), _, (seen, labels) = discriminants_of_part(world.cifar, seed, settings)
    means = class_means(x, y).double()
    centre = means.mean(0)
    axes = torch.linalg.svd(means - centre, full_matrices=False).Vh
    found: Values = {"dims": settings["dims"], "law": [100 * nameable_share(len(means), d) for d in settings["dims"]]}
    by = [_reduced(seen.double() - centre, labels, means - centre, axes[:d].T) for d in settings["dims"]]
    found |= {way: {name: [one[way][name] for one in by] for name in by[0][way]} for way in by[0]}
    even = nearest_equidistant(means) - centre
    return found | {"equidistant": read(seen.double() - centre, labels, even)}


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "free": lambda means: means,
    "sphere": on_sphere,
    "centred": lambda means: on_sphere(means) - on_sphere(means).mean(0),
    "balanced": balanced_sphere,
}


def _reduced(x: Tensor, labels: Tensor, means: Tensor, axes: Tensor) -> dict[str, dict[str, float]]:
    """All ways in the dimensions of ``axes`` (D, d); means and images have the data's centre as their origin."""
    x, means = x @ axes, means @ axes
    found = {name: read(x, labels, way(means)) for name, way in WAYS.items()}
    sphere = on_sphere(means)
    start = exact_start(sphere)
    found["centre"] = read(x, labels, sphere, start) | {"off_centre": float(sphere.mean(0).norm() / sphere[0].norm())}
    return found


def read(x: Tensor, labels: Tensor, patterns: Tensor, start: Tensor | None = None) -> dict[str, float]:
    """What one step from a start (K,), the uniform one if None, and K passes say of x (N, d), whose noise has sd 1."""
    z = patterns.new_full((len(patterns),), 1 / len(patterns)) if start is None else start
    away = patterns - z @ patterns
    one, exact = (x - z @ patterns) @ patterns.T, x @ patterns.T - patterns.square().sum(1) / 2
    return {
        "one_step": metrics.accuracy(one.argmax(1), labels),
        "passes": metrics.accuracy(exact.argmax(1), labels),
        "agreement": metrics.agreement(one, exact),
        "visible": 100 * float(visible(patterns, z).double().mean()),
        "spread": float((away.square().sum(1) / 2).std()),
    }


def _row(words: str, row: str, share: float) -> Row:
    """``row``: of chapter 07, whose settings these are; ``share``: of the training images whose labels are known."""
    return Row(by_dimensions, words, {**cifar.ROWS[row].settings, **IMAGES, "share": share, "dims": DIMS})


DIMS = (2, 3, 4, 6, 9, 12, 16, 24, 32, 48, 64, 99)
IMAGES = {"validation": 2_000, "test": 8_000}
ROWS: dict[str, Row] = {
    "embeddings/pixels": _row("embeddings in d dimensions, 8x8 pixels", "lda_pixels", 0.8),
    "embeddings/features": _row("embeddings in d dimensions, patch features", "lda_features", 0.8),
    "embeddings/few_labels": _row("the same, 22,500 labels", "lda_features", 0.5),
}
_FEW = {
    "share": 1.0,
    "validation": 100,
    "test": 50,
    "dims": (2, 9, 32),
    "views": cifar.STUDY.variants[SMALL_VARIANT][ALL]["views"],
}
SMALL: dict[str, dict[str, Any]] = dict.fromkeys(ROWS, _FEW)
