"""The numbers of one model of chapter 07: accuracy of each readout, its passes, and how near one step is to Bayes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers import metrics, runtime
from gbi_helpers.data import ImageData
from gbi_helpers.experiments.cifar.recipes import as_pixels
from gbi_helpers.experiments.cifar.views import View
from gbi_helpers.inference import max_entropy
from gbi_helpers.models.base import Generative
from gbi_helpers.readouts import Measured, decoder_loss, readouts
from gbi_helpers.theory import fit_delta

Metrics = dict[str, float]
SUBSETS = {"likelihood": 2_000, "iterative": 1_000}  # test images for what is dear: a hundred passes, fifty steps
GAP_IMAGES = 500  # training images that the gap of one step is averaged over


@dataclass(frozen=True)
class Labels:
    """Classes (N,) of each split, and the group of each class (K,)."""

    train: Tensor
    validation: Tensor
    test: Tensor
    group_of: Tensor

    @staticmethod
    def of(data: ImageData) -> Labels:
        """The classes of a set, on the device."""
        parts = (data.train.y, data.validation.y, data.test.y, torch.as_tensor(data.group_of, device="cpu"))
        return Labels(*(part.to(runtime.device()) for part in parts))

    def groups_right(self, predicted: Tensor) -> float:
        """Percent of test images whose predicted class is at least of the right group."""
        return metrics.accuracy(self.group_of[predicted], self.group_of[self.test])


def measure(model: Generative, view: View, labels: Labels, whole: bool = False, bias: bool = False) -> Metrics:
    """Test accuracy of every readout, in percent, with its passes for each image; and validation accuracy.

    "one_step"; "one_step_delta", with the gap put back that was measured on training images, no label needed;
    "one_step_bias", with a bias for each class fitted to labels (only with ``bias``); "likelihood", every class tried,
    (on all test images if ``whole``) and "iterative", on the first "..._n" test images; "superclass", of one step.
    """
    step = _read(model, view.test, "one_step")
    score = _score(step)
    found = _passes("one_step", step) | {
        "one_step": metrics.accuracy(score.argmax(1), labels.test),
        "superclass": labels.groups_right(score.argmax(1)),
        "validation": metrics.accuracy(_score(_read(model, view.validation, "one_step")).argmax(1), labels.validation),
        "test_n": len(labels.test),
    }
    delta = gap(model, view.train[:GAP_IMAGES])
    found["one_step_delta"] = metrics.accuracy((score + delta).argmax(1), labels.test)
    if bias:
        found["one_step_bias"] = metrics.accuracy((score + _fitted_bias(model, view, labels)).argmax(1), labels.test)
    for name in SUBSETS:
        found |= _dear(model, view, labels, name, score, whole)
    return found


def measure_classifier(model: nn.Module, view: View, labels: Labels) -> Metrics:
    """Test and validation accuracy of a classifier, in percent."""
    right = predicted(model, view.test)
    return {
        "accuracy": metrics.accuracy(right, labels.test),
        "accuracy_forwards": 1,
        "superclass": labels.groups_right(right),
        "validation": metrics.accuracy(predicted(model, view.validation), labels.validation),
        "test_n": len(labels.test),
    }


@torch.no_grad()
def predicted(classifier: nn.Module, x: Tensor) -> Tensor:
    """Classes (N,) that a classifier names for x."""
    return torch.cat([classifier(as_pixels(part)).argmax(1) for part in x.split(1000)])


def _dear(model: Generative, view: View, labels: Labels, name: str, score: Tensor, whole: bool) -> Metrics:
    n = len(view.test) if whole and name == "likelihood" else min(SUBSETS[name], len(view.test))
    seen = _read(model, view.test[:n], name)
    choice = seen.posterior.task
    return _passes(name, seen) | {
        name: metrics.accuracy(choice, labels.test[:n]),
        f"{name}_n": n,
        f"agreement_{name}": metrics.accuracy(score[:n].argmax(1), choice),
    }


def _read(model: Generative, x: Tensor, name: str) -> Measured:
    return readouts(model, as_pixels(x), [name])[name]


def _passes(name: str, seen: Measured) -> Metrics:
    return {f"{name}_forwards": seen.forwards, f"{name}_backwards": seen.backwards}


def _score(seen: Measured) -> Tensor:
    """Minus the gradient (N, K)."""
    assert seen.posterior.grad is not None
    return -seen.posterior.grad


def scores(model: Generative, x: Tensor) -> Tensor:
    """Minus the gradient of each class, (N, K), in nats: what one step goes by."""
    return _score(_read(model, x, "one_step"))


def gap(model: Generative, x: Tensor) -> Tensor:
    """What one step leaves out (K,), in nats, averaged over images x."""
    x = as_pixels(x)
    return fit_delta(decoder_loss(model, x), max_entropy(len(x), model.n_tasks, x.dtype, x.device))


def _fitted_bias(model: Generative, view: View, labels: Labels, n: int = 5_000) -> Tensor:
    """A bias for each class (K,), over a common step size, by logistic regression on training gradients."""
    score, y = scores(model, view.train[:n]), labels.train[:n]
    scale = score.std()
    size, bias = score.new_ones(()).requires_grad_(), score.new_zeros(score.shape[1]).requires_grad_()
    descent = torch.optim.LBFGS([size, bias], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        descent.zero_grad()
        loss = functional.cross_entropy(size * score / scale + bias, y) + 1e-4 * bias.square().mean()
        loss.backward()
        return loss

    descent.step(closure)
    return (bias * scale / size).detach()


def confusions(predicted: Tensor, labels: Tensor, order: Sequence[int]) -> Tensor:
    """Counts (K, K) of test images by true class (row) and predicted class (column), in the given order of classes."""
    k = len(order)
    counts = torch.bincount(labels.cpu() * k + predicted.cpu(), minlength=k * k).view(k, k)
    return counts[list(order)][:, list(order)]
