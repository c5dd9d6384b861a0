"""What other readers make of the very same features: the honest ceiling of one gradient step.

Whatever a reader leaves open is chosen for itself on validation images. Trying every class of the same decoder (its
likelihood, discriminant analysis with all its terms) is measured with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers import metrics
from gbi_helpers.experiments.cifar.measure import Labels, packed
from gbi_helpers.experiments.cifar.tables import paired
from gbi_helpers.experiments.cifar.views import View
from gbi_helpers.experiments.cifar_far.closed import Blocks, Sums
from gbi_helpers.experiments.cifar_far.kernel import Found
from gbi_helpers.experiments.cifar_far.softmax import softmax

Values = dict[str, Any]
NEAREST = (1, 5, 10, 20, 50, 100)  # how many neighbours are tried
WAYS = {"distance": lambda x: x, "angle": functional.normalize}  # of coordinates around the centroid


def ridge(found: Found, x: Tensor) -> Tensor:
    """Scores (N, K) of least squares to the classes, the covariance shrunk in the same way, at coordinates x (N, R).

    It goes by all the variance where the decoder goes by that within classes, so each coordinate counts less, by
    1 / (1 + the variance of the class means in it): exactly so for classes of equal size.
    """
    return x @ (found.patterns / (1 + found.patterns.square().mean(0))).T


def nearest_mean(sums: Sums, blocks: Blocks) -> Tensor:
    """Scores (N, K) of the nearest class mean in standardised features: a decoder of z alone, without whitening."""
    x = sums.standardised(blocks, slice(None)) - sums.centre
    means = sums.means - sums.centre
    return x @ means.T - means.square().sum(1) / 2


def nearest(known: Tensor, labels: Tensor, x: Tensor, k: int) -> Tensor:
    """Classes (N, k) of the ``k`` nearest, the nearest first, among ``known`` points (M, R) of classes ``labels``."""
    k = min(k, len(known))
    return labels[torch.cat([torch.cdist(part, known).topk(k, largest=False).indices for part in x.split(500)])]


def named(near: Tensor) -> Tensor:
    """The class (N,) that most of the neighbours (N, k) have, nearest first; among as many, that of the nearer ones.

    A vote is one, and less by rank: by so little that all of it together is less than one vote.
    """
    n, k = near.shape
    vote = 1 - torch.arange(k, dtype=torch.float32, device=near.device) / k**2
    count = torch.zeros(n, int(near.max()) + 1, dtype=torch.float32, device=near.device)
    return count.scatter_add_(1, near, vote.expand(n, k)).argmax(1)


def neighbours(view: View, labels: Labels) -> tuple[Tensor, Values]:
    """Class (N,) of test images at coordinates (N, R), by the nearest training images; how is chosen on validation.

    How many, "k" of :data:`NEAREST`, and "by" which of :data:`WAYS`; told with them are the "validation" accuracy, in
    percent, and those that were "tried", by way and number.
    """
    tried = {way: _tried(view.through(change), labels) for way, change in WAYS.items()}
    way = max(tried, key=lambda one: max(tried[one].values()))
    k = max(tried[way], key=lambda one: tried[way][one])
    at = view.through(WAYS[way])
    answers = named(nearest(at.train, labels.train, at.test, int(k)))
    return answers, {"k": int(k), "by": way, "validation": tried[way][k], "tried": tried}


def _tried(at: View, labels: Labels) -> dict[str, float]:
    near = nearest(at.train, labels.train, at.validation, max(NEAREST))
    return {str(k): metrics.accuracy(named(near[:, :k]), labels.validation) for k in NEAREST}


def accuracies(
    own: tuple[Found, View, Values], sums: Sums, blocks: Blocks, view: View, labels: Labels, step: Tensor,
    settings: Mapping[str, Any],
) -> Values:  # fmt: skip
    """Of each rival what :func:`_of` tells, and what was chosen for it.

    ``view``: in the coordinates of the step; where that is right on test images: ``step`` (N,). ``own``: what ridge
    regression chose. Softmax regression is told "epochs", "rates" and
    "decays" by the row; without epochs it is left out.
    """
    test = [block[-len(labels.test) :] for block in blocks]
    found, at, told = own
    answers = {
        "ridge": (ridge(found, at.test).argmax(1), told),
        "nearest_mean": (nearest_mean(sums, test).argmax(1), {}),
        "neighbours": neighbours(view, labels),
    }
    if settings["epochs"]:
        chosen = {name: settings[name] for name in ("epochs", "rates", "decays")}
        scores, told = softmax(sums, blocks, labels, **chosen)
        answers["softmax"] = (scores.argmax(1), told)
    return {name: _of(answer == labels.test, step) | told for name, (answer, told) in answers.items()}


def _of(right: Tensor, step: Tensor) -> Values:
    """Its "accuracy" in percent, which test images (N,) it has "right" (``measure.packed``), and what it leads by.

    "over_step": over one step on the sphere, in points, image by image; "mean", and "low" to "high", 95 % of images.
    """
    lead = paired(right[None].cpu(), step[None].cpu())
    return {
        "accuracy": 100 * float(right.double().mean()),
        "right": packed(right),
        "over_step": {"mean": lead.mean, "low": lead.low, "high": lead.high},
    }
