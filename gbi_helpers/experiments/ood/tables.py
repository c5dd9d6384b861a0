"""Reading the record of the out-of-distribution study: Table 3, other foreign sets, sweeps and calibration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.data import load_asset
from gbi_helpers.experiments.rows import Rows
from gbi_helpers.metrics import Summary, summarise

NAME = "records/ood.json"
PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))  # the digits left out, seed by seed: each digit once in five seeds
FOREIGN = {
    "fashion": "clothes", "faint": "faint clothes", "noise": "noise", "shuffled": "pixels shuffled",
    "rotated": "turned by 90°", "inverted": "black for white", "near": "two digits never seen",
}  # fmt: skip
# What the paper reports (AUROC, MNIST against Fashion-MNIST, standardised); None: its value is not known to us.
PAPER = {
    ("faithful", "max_z"): ("GBI: max Z, faithful autoencoder", 0.89),
    ("classifier", "softmax"): ("classifier: max softmax", 0.73),
    ("faithful", "regret"): ("likelihood regret, faithful autoencoder", 0.80),
    ("classifier", "ensemble_softmax"): ("ensemble of five: max softmax", 0.809),
    ("dropout", "softmax"): ("Bayesian network (ours: dropout): max softmax", None),
}
BEYOND = {
    ("vae_mul", "max_z"): "VAE-mul: max Z",
    ("vae_mul", "norm"): "VAE-mul: gradient norm",
    ("vae_mul", "loss"): "VAE-mul: minus the loss at z0",
    ("vae_mul", "best_loss"): "VAE-mul: minus the best digit's loss",
    ("vae_mul", "likelihood"): "VAE-mul: max of the likelihood",
    ("vae_mul", "regret"): "VAE-mul: likelihood regret",
    ("vae_mul", "uniform_regret"): "VAE-mul: the same from uniform Z (a trap)",
    ("vae_mul", "relative"): "VAE-mul: relative gradient",
    ("vae_mul", "relative_likelihood"): "VAE-mul: relative likelihood",
    ("faithful", "relative"): "faithful: relative gradient",
    ("gradient_aware", "max_z"): "gradient-aware: max Z",
    ("gradient_aware", "relative"): "gradient-aware: relative gradient",
    ("classifier", "energy"): "classifier: energy",
}
ACROSS = (("vae_mul", "max_z"), ("vae_mul", "relative"), ("vae_mul", "relative_likelihood"), ("vae_mul", "regret"),
          ("classifier", "softmax"), ("classifier", "energy"))  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row of Table 3: three measures over seeds, and the paper's AUROC, None where it has none we know."""

    name: str
    paper: float | None
    auroc: Summary
    aupr: Summary
    fpr95: Summary
    job: str
    score: str


@dataclass(frozen=True)
class OodResults:
    """What :func:`gbi_helpers.experiments.ood.reproduce` left: ``rows[job][seed]``, settings, facts about the run."""

    rows: Rows
    settings: dict[str, dict[str, Any]]
    facts: dict[str, Any]

    @property
    def seeds(self) -> int:
        """How many seeds there are of each job."""
        return min(len(seeds) for seeds in self.rows.values())

    def detection(self, job: str, score: str, foreign: str = "fashion", measure: str = "auroc") -> Summary:
        """AUROC, "aupr" or "fpr95" of a score against a foreign set, over seeds; "near" is found under its own jobs.

        Raises ``KeyError`` naming the choices for an unknown name.
        """
        return summarise(self.values(job, score, foreign, measure))

    def values(self, job: str, score: str, foreign: str = "fashion", measure: str = "auroc") -> list[float]:
        """The numbers behind :meth:`detection`, one a seed."""
        job = f"near_{job}" if foreign == "near" else job
        return [_at(row["detection"], foreign, score, measure) for row in _at(self.rows, job).values()]

    def accuracy(self, job: str) -> Summary:
        """Percent of test digits right: by one step, or by the classifier."""
        return summarise([row["accuracy"] for row in _at(self.rows, job).values()])

    def size(self, job: str, score: str = "max_z") -> Summary:
        """The step size that was fitted on MNIST's validation images."""
        return summarise([_at(row["sizes"], score) for row in _at(self.rows, job).values()])

    def sweep(self, job: str, name: str) -> dict[float, Summary]:
        """AUROC by "step size", "relative step size" or "power" (against clothes), or by "angle, SCORE"."""
        found = [_at(row["sweeps"], name) for row in _at(self.rows, job).values()]
        return {float(key): summarise([one[key] for one in found]) for key in found[0]}

    def curve(self, job: str, name: str) -> tuple[list[float], list[float], list[float]]:
        """A sweep as three lists, as ``ax.errorbar`` wants them: where, mean AUROC, half-width of its interval."""
        sweep = self.sweep(job, name)
        return list(sweep), [one.mean for one in sweep.values()], [one.half_width for one in sweep.values()]

    def calibration(self, job: str, answer: str, state: str = "fitted", measure: str = "ece") -> Summary:
        """Calibration error in percent, or "log_score" in nats, of an answer "raw" or "fitted"."""
        found = [_at(row["calibration"], answer, state, measure) for row in _at(self.rows, job).values()]
        return summarise(found)

    def reliability(self, job: str, answer: str, state: str = "fitted") -> tuple[Tensor, Tensor, Tensor]:
        """Share of samples, mean confidence and accuracy (bins,) each, all seeds together; NaN where a bin is empty."""
        found = [_at(row["calibration"], answer, state, "bins") for row in _at(self.rows, job).values()]
        n, confidence, right = torch.tensor(found, dtype=torch.float64).sum(0)
        return n / n.sum(), confidence / n, right / n

    def bias(self, job: str, answer: str, state: str = "fitted") -> float:
        """Mean confidence minus accuracy, all seeds together: above 0 the answer is too sure, below 0 too timid."""
        share, confidence, right = self.reliability(job, answer, state)
        return float((share * (confidence - right)).nansum())

    def table(self) -> list[Row]:
        """The rows of the paper's Table 3."""
        return [self._row(*key, *words) for key, words in PAPER.items()]

    def beyond(self) -> list[Row]:
        """Further scores and models, against clothes."""
        return [self._row(*key, name, None) for key, name in BEYOND.items()]

    def _row(self, job: str, score: str, name: str, paper: float | None) -> Row:
        auroc, aupr, fpr95 = (self.detection(job, score, measure=measure) for measure in ("auroc", "aupr", "fpr95"))
        return Row(name, paper, auroc, aupr, fpr95, job, score)

    def headline(self) -> dict[str, float]:
        """Mean AUROC against clothes of every row, by "job/score"."""
        return {f"{row.job}/{row.score}": round(row.auroc.mean, 4) for row in [*self.table(), *self.beyond()]}


def _at(found: Any, *names: str) -> Any:
    """The entry under the names, one inside the other; a ``KeyError`` that names the choices."""
    for name in names:
        if name not in found:
            raise KeyError(f"There is no '{name}' in the record: choose one of {sorted(found)}.")
        found = found[name]
    return found


def load_results(path: Path | None = None) -> OodResults:
    """The shipped record (its SHA-256 is checked), or the one at ``path``."""
    stored = json.loads((path or load_asset(NAME)).read_text(encoding="utf-8"))
    return OodResults(stored["rows"], stored["settings"], stored["facts"])
