"""What is measured of one trained model: how well each score tells foreign images, sweeps, and calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.experiments.ood import scores
from gbi_helpers.experiments.ood.sets import Sets
from gbi_helpers.models.base import Generative
from gbi_helpers.readouts import gbi_iterative

Found = dict[str, Any]
STEP_SIZES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
RELATIVE_SIZES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


def generative_row(model: Generative, sets: Sets) -> Found:
    """Every score of a generative model against every foreign set; sweeps and calibration, where the sets allow."""
    (x_fit, y_fit), (x, y) = sets.validation, sets.test
    fit, known = scores.look(model, x_fit), scores.look(model, x)
    foreign = {name: scores.look(model, images) for name, images in sets.foreign.items()}
    answers = {"max_z": fit.grad, "relative": _relative(fit), "likelihood": fit.losses}
    sizes = {name: metrics.fitted_step_size(-answer, y_fit) for name, answer in answers.items()}

    def every(seen: scores.Look, images: Tensor) -> dict[str, Tensor]:
        return scores.gradient_scores(seen, sizes) | scores.regret(model, images)

    row: Found = {
        "sizes": sizes,
        "accuracy": metrics.accuracy(known.grad.argmin(1), y),
        "detection": _detections(every(known, x), {n: every(foreign[n], sets.foreign[n]) for n in foreign}),
    }
    if "fashion" in foreign:
        row["sweeps"] = _sweeps(known, foreign["fashion"])
    if sets.turned:
        row["calibration"] = _calibrations(model, sets, fit, known)
        turned = {angle: scores.look(model, images) for angle, images in sets.turned.items()}
        row["sweeps"] |= _by_angle(known, turned, lambda seen: scores.gradient_scores(seen, sizes))
    return row


def _detections(known: dict[str, Tensor], foreign: dict[str, dict[str, Tensor]]) -> Found:
    """AUROC, AUPR and FPR95 by foreign set and score."""
    return {
        name: {score: asdict(metrics.detection(known[score], values)) for score, values in found.items()}
        for name, found in foreign.items()
    }


def against(score: Callable[[Tensor], dict[str, Tensor]], known: Tensor, foreign: dict[str, Tensor]) -> Found:
    """The same, of scores that are taken from images."""
    return _detections(score(known), {name: score(images) for name, images in foreign.items()})


def _sweeps(known: scores.Look, foreign: scores.Look) -> Found:
    """AUROC against clothes by the step size of max Z, by that of the relative gradient, and by the power of L."""

    def auroc(score: Callable[[scores.Look], Tensor]) -> float:
        return metrics.detection(score(known), score(foreign)).auroc

    return {
        "step size": {size: auroc(partial(_max_z, size=size)) for size in STEP_SIZES},
        "relative step size": {size: auroc(partial(_max_relative, size=size)) for size in RELATIVE_SIZES},
        "power": {power: auroc(partial(_by_power, power=power)) for power in POWERS},
    }


def _relative(seen: scores.Look) -> Tensor:
    return scores.relative_gradient(seen.loss, seen.grad)


def _max_z(seen: scores.Look, size: float) -> Tensor:
    return scores.log_odds(-size * seen.grad)


def _max_relative(seen: scores.Look, size: float) -> Tensor:
    return scores.log_odds(-size * _relative(seen))


def _by_power(seen: scores.Look, power: float) -> Tensor:
    return scores.advantage(seen.grad) / seen.loss**power


def _by_angle(known: Any, turned: dict[int, Any], score: Callable[[Any], dict[str, Tensor]]) -> Found:
    """AUROC of each score against the test images turned by each angle."""
    upright, found = score(known), {angle: score(seen) for angle, seen in turned.items()}
    return {
        f"angle, {name}": {angle: metrics.detection(upright[name], one[name]).auroc for angle, one in found.items()}
        for name in upright
    }


def _calibrations(model: Generative, sets: Sets, fit: scores.Look, known: scores.Look) -> Found:
    """Calibration of one step, of iterating, and of the likelihood, before and after a step size is fitted."""
    (x_fit, y_fit), (x, y) = sets.validation, sets.test
    walked = [torch.cat([gbi_iterative(model, part).log_q for part in images.split(500)]) for images in (x_fit, x)]
    answers = {"one_step": (-fit.grad, -known.grad), "likelihood": (-fit.losses, -known.losses), "iterative": walked}
    return {name: _calibration(before, y_fit, after, y) for name, (before, after) in answers.items()}


def _calibration(before: Tensor, y_fit: Tensor, after: Tensor, y: Tensor) -> Found:
    """Log score, calibration error and reliability of softmax(score), as it comes and with a fitted step size."""
    found: Found = {"size": metrics.fitted_step_size(before, y_fit)}
    for name, size in (("raw", 1.0), ("fitted", found["size"])):
        log_q = torch.log_softmax(size * after.double(), 1)
        bins = metrics.reliability(log_q.exp(), y).tolist()
        ece, log_score = metrics.calibration_error(log_q.exp(), y), metrics.negative_log_score(log_q, y)
        found[name] = {"ece": ece, "log_score": log_score, "bins": bins}
    return found


def classifier_row(sets: Sets, score: Callable[[Tensor], dict[str, Tensor]], logits: Callable[..., Tensor]) -> Found:
    """The named scores of images, against every foreign set; accuracy and calibration of the logits."""
    x, y = sets.test
    after = logits(x)
    row: Found = {
        "accuracy": metrics.accuracy(after.argmax(1), y),
        "detection": against(score, x, sets.foreign),
        "calibration": {"classifier": _calibration(logits(sets.validation[0]), sets.validation[1], after, y)},
    }
    return row | ({"sweeps": _by_angle(x, sets.turned, score)} if sets.turned else {})
