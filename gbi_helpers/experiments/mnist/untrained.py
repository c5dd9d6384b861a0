"""Rungs without a network: what class means, a discriminant, the stored images and a support vector machine can do.

None has randomness. Two have a setting, chosen on validation images: the discriminant's shrinkage (of .03, .1, .3, .6)
and the machine's C.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.inference import max_entropy, one_step

Guess = Callable[[Tensor], Tensor]  # images (N, D) -> digits (N,)
Fit = Callable[[Tensor, Tensor], Guess]  # of images (N, D) and their digits (N,)


def class_means(x: Tensor, y: Tensor) -> Tensor:
    """The mean image of each digit, (10, D)."""
    return torch.stack([x[y == digit].mean(0) for digit in range(10)])


def nearest_mean(x: Tensor, y: Tensor) -> Guess:
    """The digit whose mean image is nearest: K passes through a decoder that is a table of class means."""
    means = class_means(x, y)
    return lambda new: torch.cdist(new, means).argmin(1)


def one_step_on_means(x: Tensor, y: Tensor) -> Guess:
    """One gradient at the uniform z of the squared error of z @ means, a decoder that nobody trained."""
    means = class_means(x, y)

    def guess(new: Tensor) -> Tensor:
        return one_step(
            lambda z: (new - z @ means).square().sum(1), max_entropy(len(new), 10, new.dtype, new.device)
        ).task

    return guess


def coins(x: Tensor, y: Tensor) -> Guess:
    """Naive Bayes with a coin for each pixel, by its mean in each digit: scikit-learn's, one pseudo-count each way."""
    from sklearn.naive_bayes import BernoulliNB

    return _of_sklearn(BernoulliNB(binarize=None, fit_prior=False), x, y)


def discriminant(x: Tensor, y: Tensor, shrinkage: float | str = 0.1) -> Guess:
    """Linear discriminant analysis, scikit-learn's: class means, and one covariance for all, which is shrunk."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return _of_sklearn(LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage), x, y)


def nearest_image(x: Tensor, y: Tensor) -> Guess:
    """The digit of the nearest training image, all of which are kept."""
    from sklearn.neighbors import KNeighborsClassifier

    return _of_sklearn(KNeighborsClassifier(1), x, y)


def support_vectors(x: Tensor, y: Tensor) -> Guess:
    """A support vector machine with a Gaussian kernel, scikit-learn's."""
    from sklearn.svm import SVC

    return _of_sklearn(SVC(C=10), x, y)


def _of_sklearn(model: Any, x: Tensor, y: Tensor) -> Guess:
    model.fit(x.double().numpy(), y.numpy())
    return lambda new: torch.from_numpy(model.predict(new.double().numpy()))


def rung(fit: Fit) -> Callable[[Any, int, Mapping[str, Any]], dict[str, float]]:
    """The row of one of them: accuracy in percent on the test images, and the seconds that fitting took."""

    def measure(world: Any, seed: int, settings: Mapping[str, Any]) -> dict[str, float]:
        (x, y), (x_test, y_test) = ((im.cpu().flatten(1), of.cpu()) for im, of in (world.sets.train, world.sets.test))
        start = time.perf_counter()
        guess = fit(x, y)
        seconds = time.perf_counter() - start
        return {"train_seconds": seconds, "accuracy": metrics.accuracy(guess(x_test), y_test)}

    return measure


RUNGS: dict[str, tuple[str, Fit]] = {
    "one_step_means": ("class means, one step", one_step_on_means),
    "nearest_mean": ("nearest class mean", nearest_mean),
    "coins": ("coins with class means (naive Bayes)", coins),
    "discriminant": ("linear discriminant analysis", discriminant),
    "nearest_image": ("nearest training image", nearest_image),
    "support_vectors": ("support vector machine", support_vectors),
}
