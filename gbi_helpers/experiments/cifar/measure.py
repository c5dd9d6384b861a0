"""The numbers of one model of chapter 07: accuracy of each readout, its passes, and how near one step is to Bayes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
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

Metrics = dict[str, Any]
DEAR = ("likelihood", "iterative")  # a hundred passes, fifty steps
GAP_IMAGES = 500  # training images, at most, that the gap of one step is averaged over


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


def measure(model: Generative, view: View, labels: Labels, bias: bool = False) -> Metrics:
    """Accuracy of every readout on all test images, in percent, with its passes for each image; and more.

    "one_step"; "one_step_delta", with the gap put back that was measured on training images, no label needed;
    "one_step_bias", with a bias for each class fitted to labelled validation images (only with ``bias``); "likelihood",
    every class tried; "iterative". "..._gains", "..._losses": percent of images that a readout has right and one step
    wrong, and the other way round. Of one step: "superclass", "validation", "right" (:func:`packed`), and its
    :func:`calibration`.
    """
    step, known = _read(model, view.test, "one_step"), scores(model, view.validation)
    score = step.posterior.score
    unlabelled = view.train[: min(GAP_IMAGES, len(view.test))]
    answers = {"one_step": score, "one_step_delta": score + gap(model, unlabelled)}
    if bias:
        answers["one_step_bias"] = score + _fitted_bias(known, labels.validation)
    found = _passes("one_step", step)
    for name in DEAR:
        seen = _read(model, view.test, name)
        answers[name] = seen.posterior.log_q
        found |= _passes(name, seen)
    found |= _compared({name: answer.argmax(1) for name, answer in answers.items()}, labels.test)
    return found | _common(known, score, labels)


def measure_classifier(model: nn.Module, view: View, labels: Labels) -> Metrics:
    """Test accuracy of a classifier in percent, "accuracy", and what :func:`measure` says of one step."""
    known, logits = (_logits(model, x) for x in (view.validation, view.test))
    found = {"accuracy": metrics.accuracy(logits.argmax(1), labels.test), "accuracy_forwards": 1}
    return found | _common(known, logits, labels)


def _common(known: Tensor, score: Tensor, labels: Labels) -> Metrics:
    """What is said of any answer: scores (N, K) of validation images (``known``) and of test images."""
    named = score.argmax(1)
    return {
        "superclass": labels.groups_right(named),
        "validation": metrics.accuracy(known.argmax(1), labels.validation),
        "test_n": len(labels.test),
        "right": packed(named == labels.test),
    } | calibration(known, labels.validation, score, labels.test)


def calibration(known: Tensor, known_labels: Tensor, score: Tensor, labels: Tensor) -> Metrics:
    """How far a belief can be trusted, with the step size (a classifier's inverse temperature) fitted to validation.

    "step_size"; on test images "log_score", mean -log q of the true class in nats, and "ece", in percent.
    """
    size = metrics.fitted_step_size(known, known_labels)
    log_q = torch.log_softmax(size * score.double(), 1)
    ece = metrics.calibration_error(log_q.exp(), labels)
    return {"step_size": size, "log_score": metrics.negative_log_score(log_q, labels), "ece": ece}


def packed(right: Tensor) -> str:
    """Yes or no of each image (N,), as text: eight in a byte. :func:`unpacked` undoes it."""
    return base64.b64encode(np.packbits(right.cpu().numpy()).tobytes()).decode()


def unpacked(text: str, n: int) -> Tensor:
    """The (N,) yes or no that :func:`packed` made text of."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8), count=n)
    return torch.from_numpy(bits.astype(bool))


@torch.no_grad()
def _logits(classifier: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([classifier(as_pixels(part)) for part in x.split(1000)])


def _compared(named: dict[str, Tensor], labels: Tensor) -> Metrics:
    """Accuracy of each readout, and what it mends and spoils of one step's answers."""
    found = {name: metrics.accuracy(answer, labels) for name, answer in named.items()}
    step = named.pop("one_step")
    for name, answer in named.items():
        found[f"agreement_{name}"] = metrics.accuracy(answer, step)
        found[f"{name}_gains"] = 100 * float(((answer == labels) & (step != labels)).double().mean())
        found[f"{name}_losses"] = 100 * float(((answer != labels) & (step == labels)).double().mean())
    return found


def _read(model: Generative, x: Tensor, name: str) -> Measured:
    return readouts(model, as_pixels(x), [name])[name]


def _passes(name: str, seen: Measured) -> Metrics:
    return {f"{name}_forwards": seen.forwards, f"{name}_backwards": seen.backwards}


def scores(model: Generative, x: Tensor) -> Tensor:
    """Minus the gradient of each class, (N, K), in nats: what one step goes by."""
    return _read(model, x, "one_step").posterior.score


def gap(model: Generative, x: Tensor) -> Tensor:
    """What one step leaves out (K,), in nats, averaged over images x."""
    x = as_pixels(x)
    return fit_delta(decoder_loss(model, x), max_entropy(len(x), model.n_tasks, x.dtype, x.device))


def _fitted_bias(score: Tensor, y: Tensor) -> Tensor:
    """A bias for each class (K,), over a common step size, by logistic regression on scores (N, K) of classes y (N,).

    Scores of images that the model was made from would be better than those to come.
    """
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
