"""Reading the records of the MNIST experiments: tables, sweeps and single numbers for notebooks and README."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from gbi_helpers.data import load_asset
from gbi_helpers.metrics import Summary, summarise

# What the paper reports, in percent; None: no such row there.
PAPER = {
    ("classifier", "accuracy"): ("canonical classifier", 91.44),
    ("pure_generative", "likelihood"): ("pure generative, every digit tried", 81.9),
    ("pure_generative", "one_step"): ("pure generative, one step", None),
    ("faithful", "nbi"): ("norm-based inference (NBI)", 78.78),
    ("faithful", "ebi"): ("entropy-based inference (EBI)", 27.37),
    ("faithful", "one_step"): ("GBI, one step", 85.46),
    ("faithful", "iterative"): ("GBI, iterative", 88.5),
    ("faithful", "likelihood"): ("likelihood, every digit tried", 91.9),
}
BEYOND = {
    ("classifier_long", "accuracy"): ("classifier, trained as long as the last rows", None),
    ("vae_mul", "one_step"): ("VAE-mul, one step", None),
    ("vae_mul", "iterative"): ("VAE-mul, iterative", None),
    ("vae_mul", "likelihood"): ("VAE-mul, every digit tried", None),
    ("gradient_aware", "one_step"): ("gradient-aware, one step", None),
    ("gradient_aware", "iterative"): ("gradient-aware, iterative", None),
    ("gradient_aware", "likelihood"): ("gradient-aware, every digit tried", None),
}
LEAK = {0: "pure_generative", 2: "latent_2", 3: "faithful", 4: "latent_4", 8: "latent_8", 16: "latent_16"}
ABLATION = ("vae_mul", "vae_concat", "vae_no_kl")
RECALLED = (81.9, 88.5, 91.9)  # of the paper's numbers, those recalled from memory of it, unverified
CONDITIONING = {"concat": "faithful", "add": "add", "mul": "mul"}


@dataclass(frozen=True)
class Row:
    """One row of a table: accuracy in percent over seeds, the passes it takes, and time relative to one forward.

    ``job`` and ``metric`` name the numbers behind it: ``results.values(row.job, row.metric)``.
    """

    name: str
    paper: float | None
    measured: Summary
    forwards: int
    backwards: int
    relative_time: float
    job: str
    metric: str

    @property
    def recalled(self) -> bool:
        """Whether the paper's number is recalled from memory, and unverified."""
        return self.paper in RECALLED

    @property
    def runs(self) -> str:
        """The passes through the model, in words."""
        return f"{self.forwards} forward" + (f" + {self.backwards} backward" if self.backwards else "")


@dataclass(frozen=True)
class Results:
    """What ``gbi reproduce mnist`` left: ``rows[job][seed][metric]``, the settings, and facts about the run."""

    size: str
    rows: dict[str, dict[str, dict[str, float]]]
    settings: dict[str, dict[str, Any]]
    facts: dict[str, Any]

    def values(self, job: str, metric: str) -> list[float]:
        """One number a seed. Raises ``KeyError`` naming the choices for an unknown job or metric."""
        if job not in self.rows:
            raise KeyError(f"There is no job '{job}' in these results: choose one of {sorted(self.rows)}.")
        seeds = self.rows[job]
        first = next(iter(seeds.values()))
        if metric not in first:
            raise KeyError(f"'{job}' has no metric '{metric}': choose one of {sorted(first)}.")
        return [found[metric] for found in seeds.values()]

    def summary(self, job: str, metric: str) -> Summary:
        """Mean, standard deviation and 95 % interval over seeds."""
        return summarise(self.values(job, metric))

    def table(self, beyond: bool = False) -> list[Row]:
        """The rows of the paper's Table 2, as far as they were run; with ``beyond`` those of the better models."""
        rows = [(*key, *words) for key, words in (BEYOND if beyond else PAPER).items() if key[0] in self.rows]
        return [self._row(*row) for row in rows]

    def _row(self, job: str, metric: str, name: str, paper: float | None) -> Row:
        first = next(iter(self.rows[job].values()))
        forwards, backwards = int(first.get(f"{metric}_forwards", 1)), int(first.get(f"{metric}_backwards", 0))
        time = fmean(self.values(job, f"{metric}_time"))
        return Row(name, paper, self.summary(job, metric), forwards, backwards, time, job, metric)

    def leak(self) -> dict[int, dict[str, Summary]]:
        """By size of the code: one-step, likelihood and probe accuracy (no probe without a code)."""
        return {size: self._some(job, ("one_step", "likelihood", "probe")) for size, job in LEAK.items()}

    def conditioning(self) -> dict[str, dict[str, Summary]]:
        """By the way z enters the decoder: one-step, likelihood and probe accuracy, code of 3."""
        return {name: self._some(job, ("one_step", "likelihood", "probe")) for name, job in CONDITIONING.items()}

    def ablation(self) -> dict[str, dict[str, Summary]]:
        """What makes VAE-mul good: the whole, without multiplication (z concatenated), and without the KL term."""
        return {job: self._some(job, ("one_step", "likelihood", "probe")) for job in ABLATION}

    def _some(self, job: str, names: Sequence[str]) -> dict[str, Summary]:
        present = next(iter(self.rows[job].values()))
        return {name: self.summary(job, name) for name in names if name in present}

    def failures(self) -> dict[str, Summary]:
        """What each mistake shows: see :mod:`gbi_helpers.experiments.failures`."""
        kinds = ("summed_confidence", "mean_confidence")
        names = [f"{kind}{of}" for of in ("", "_fashion") for kind in kinds]
        modes = ("eval_mode", "training_mode", "training_mode_blocks")
        return {
            **{name: self.summary("faithful", name) for name in [*names, "corner_start"]},
            **{f"batch_norm_{name}": self.summary("batch_norm", name) for name in modes},
            "soft_z": self.summary("soft_z", "one_step"),
            "code_of_16": self.summary("latent_16", "one_step"),
            "no_code_one_step": self.summary("pure_generative", "one_step"),
            "no_code_likelihood": self.summary("pure_generative", "likelihood"),
        }

    def headline(self) -> dict[str, float]:
        """Mean accuracy of every row of both tables, by "job/metric"."""
        return {f"{row.job}/{row.metric}": round(row.measured.mean, 2) for row in [*self.table(), *self.table(True)]}


def load_results(size: str = "slice", path: Path | None = None) -> Results:
    """The shipped record of MNIST "slice" or "full" (its SHA-256 is checked), or the one at ``path``."""
    stored = json.loads((path or load_asset(f"records/mnist_{size}.json")).read_text(encoding="utf-8"))
    return Results(stored["size"], stored["rows"], stored["settings"], stored["facts"])
