"""The record of the out-of-distribution study for a reader: where its scores stand, sweeps, calibration, rivals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor

from gbi_helpers.experiments.results import Results, Where
from gbi_helpers.experiments.tables import over_seeds
from gbi_helpers.metrics import Summary

PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))  # the digits left out, seed by seed: each digit once in five seeds
FOREIGN = {
    "fashion": "clothes", "faint": "faint clothes", "noise": "noise", "shuffled": "pixels shuffled",
    "rotated": "turned by 90°", "inverted": "black for white", "near": "two digits never seen",
}  # fmt: skip


def at(job: str, score: str, foreign: str = "fashion", measure: str = "auroc") -> Where:
    """Where AUROC, "aupr" or "fpr95" of a score against a foreign set stand; "near" is found under rows of its own."""
    return (f"near_{job}" if foreign == "near" else job, "detection", foreign, score, measure)


def calibrated(job: str, answer: str, state: str = "fitted", measure: str = "ece") -> Where:
    """Where the calibration error in percent, or "log_score" in nats, of an answer "raw" or "fitted" stands."""
    return (job, "calibration", answer, state, measure)


def sweep(results: Results, job: str, name: str) -> dict[float, Summary]:
    """AUROC by "step size", "relative step size" or "power" (against clothes), or by "angle, SCORE"."""
    return {float(key): results.summary(job, "sweeps", name, key) for key in results.first(job, "sweeps", name)}


def curve(results: Results, job: str, name: str) -> tuple[list[float], list[float], list[float]]:
    """A sweep as three lists, as ``ax.errorbar`` wants them: where, mean AUROC, half-width of its interval."""
    found = sweep(results, job, name)
    return list(found), [one.mean for one in found.values()], [one.half_width for one in found.values()]


def reliability(results: Results, job: str, answer: str, state: str = "fitted") -> tuple[Tensor, Tensor, Tensor]:
    """Share of samples, mean confidence and accuracy (bins,) each, all seeds together; NaN where a bin is empty."""
    n, confidence, right = results.values(job, "calibration", answer, state, "bins").sum(0)
    return n / n.sum(), confidence / n, right / n


def bias(results: Results, job: str, answer: str, state: str = "fitted") -> float:
    """Mean confidence minus accuracy, all seeds together: above 0 the answer is too sure, below 0 too timid."""
    share, confidence, right = reliability(results, job, answer, state)
    return float((share * (confidence - right)).nansum())


# ---------------------------------------------------------------- rivals, and the choice of settings

PRETEND = ("spliced", "overlaid", "averaged", "quartered", "blurred")  # strangers made of validation digits
RIVALS = {
    ("pixels", "nearest"): "pixels: nearest digit, cosine",
    ("pixels", "mahalanobis"): "pixels: Mahalanobis",
    ("pixels", "relative_mahalanobis"): "pixels: relative Mahalanobis",
    ("pixels", "residual"): "pixels: left over by PCA",
    ("pixels", "together"): "pixels: sum of two",
    ("features", "softmax small"): "classifier: max softmax",
    ("features", "softmax fitted"): "classifier: max softmax, step fitted",
    ("features", "max_logit"): "classifier: max logit",
    ("features", "energy"): "classifier: energy",
    ("features", "odin"): "classifier: ODIN",
    ("features", "gradnorm"): "classifier: GradNorm",
    ("features", "vim"): "classifier: ViM",
    ("features", "nearest"): "features: nearest digit, cosine",
    ("features", "mahalanobis"): "features: Mahalanobis",
    ("features", "relative_mahalanobis"): "features: relative Mahalanobis",
    ("features", "together"): "features: sum of two",
}
OURS = {
    ("gates", "max_z small"): "max Z",
    ("gates", "max_z fitted"): "max Z, step fitted",
    ("gates", "relative small"): "relative gradient",
    ("gates", "relative fitted"): "relative gradient, step fitted",
    ("gates", "relative_likelihood small"): "relative likelihood",
    ("gates", "relative_likelihood fitted"): "relative likelihood, step fitted",
    ("gates", "gate nearest"): "gates: nearest digit, cosine",
    ("gates", "gate relative_mahalanobis"): "gates: relative Mahalanobis",
    ("gates", "gate together"): "gates: sum of two",
    ("gates", "gate together_and_relative_likelihood"): "gates: sum of three",
}
TEST_IMAGES = {"near": (1600, 400)}  # familiar and foreign; elsewhere 2,000 each


def settings_of(results: Results, job: str, method: str) -> list[str]:
    """The scores of a method in the record, one for each setting it leaves open; the first is the first guess."""
    names = results.first(job, "detection", PRETEND[0])
    return [name for name in names if name == method or name.rpartition(" ")[0] == method]


def chosen(results: Results, job: str, method: str) -> str:
    """The setting of a method that is best on its worst kind of strangers made of validation digits, mean of seeds."""
    return max(settings_of(results, job, method), key=lambda name: worst(results, job, name, PRETEND))


def worst(results: Results, job: str, score: str, foreign: Iterable[str] = FOREIGN) -> float:
    """The least mean AUROC of a score over foreign sets."""
    return min(results.mean(*at(job, score, name)) for name in foreign)


def with_images(auroc: Summary, foreign: str = "fashion") -> Summary:
    """The same with its interval widened by the chance of the test images, beside that of the seeds.

    Hanley and McNeil (1982): the variance of an AUROC from finitely many pairs. The two are added as squares.
    """
    familiar, strange = TEST_IMAGES.get(foreign, (2000, 2000))
    a = min(auroc.mean, 1.0)
    one, other = a / (2 - a) - a**2, 2 * a**2 / (1 + a) - a**2
    variance = (a * (1 - a) + (familiar - 1) * one + (strange - 1) * other) / (familiar * strange)
    half_width = math.hypot(over_seeds(auroc), 1.96 * math.sqrt(max(variance, 0.0)))
    return replace(auroc, mean=a, half_width=half_width)
