"""What other readers make of the very same features: the honest ceiling of one gradient step.

Trying every class of the same decoder (its likelihood, discriminant analysis with all its terms) is measured with it.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers import metrics
from gbi_helpers.experiments.cifar.measure import Labels, packed
from gbi_helpers.experiments.cifar.views import View
from gbi_helpers.experiments.cifar_far.closed import Blocks, Sums
from gbi_helpers.experiments.cifar_far.kernel import Found

Values = dict[str, Any]


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


def neighbours(known: Tensor, labels: Tensor, x: Tensor, k: int = 20) -> Tensor:
    """Class (N,) of most of the ``k`` nearest among ``known`` coordinates (M, R) with classes ``labels`` (M,)."""
    near = [torch.cdist(part, known).topk(k, largest=False).indices for part in x.split(500)]
    return labels[torch.cat(near)].mode(1).values


def softmax(
    sums: Sums, blocks: Blocks, labels: Labels, epochs: int, lr: float = 3e-4, batch: int = 250
) -> tuple[Tensor, Values]:
    """Test scores (N, K) of softmax regression, trained on the features, at its best epoch on validation images.

    Adam, labels smoothed by .1, from zero. Also that epoch (from 1), and its accuracy on them in percent.
    """
    n, test, started = len(labels.train), len(labels.train) + len(labels.validation), time.process_time()
    weight = sums.means.new_zeros(sums.means.T.shape).requires_grad_()
    bias = sums.means.new_zeros(len(sums.means)).requires_grad_()
    descent, best = torch.optim.Adam([weight, bias], lr=lr), (-1.0, 0, weight[:0])
    draw = torch.Generator().manual_seed(0)

    def scores(rows: slice | Tensor) -> Tensor:
        return (sums.standardised(blocks, rows) - sums.centre) @ weight + bias

    for epoch in range(epochs):
        for rows in torch.randperm(n, generator=draw, device=draw.device).to(bias.device).split(batch):
            loss = functional.cross_entropy(scores(rows), labels.train[rows], label_smoothing=0.1)
            descent.zero_grad()
            loss.backward()
            descent.step()
        with torch.no_grad():
            right = metrics.accuracy(scores(slice(n, test)).argmax(1), labels.validation)
            if right > best[0]:
                best = (right, epoch + 1, scores(slice(test, None)))
    spent = time.process_time() - started
    return best[2], {"epoch": best[1], "validation": best[0], "fit_cpu_seconds": spent}


def accuracies(found: Found, sums: Sums, blocks: Blocks, view: View, labels: Labels, epochs: int) -> Values:
    """Test accuracies in percent, "accuracy", by rival, and which images it has "right" (``measure.packed``).

    ``epochs``: of softmax regression; 0 leaves it out. Ridge regression has the share that was chosen for the step.
    """
    test = [block[-len(labels.test) :] for block in blocks]
    of = {
        "ridge": _of(ridge(found, view.test).argmax(1), labels.test),
        "nearest_mean": _of(nearest_mean(sums, test).argmax(1), labels.test),
        "neighbours": _of(neighbours(view.train, labels.train, view.test), labels.test),
    }
    if epochs:
        scores, trained = softmax(sums, blocks, labels, epochs)
        of["softmax"] = _of(scores.argmax(1), labels.test) | trained
    return of


def _of(named: Tensor, labels: Tensor) -> Values:
    return {"accuracy": metrics.accuracy(named, labels), "right": packed(named == labels)}
