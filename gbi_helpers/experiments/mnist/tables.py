"""The record of MNIST as tables for a reader: Table 2 of the paper, what drives one step, and what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gbi_helpers.experiments.paper import Reported
from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.tables import against_paper, passes
from gbi_helpers.metrics import Summary

BEYOND = {
    ("classifier_long", "accuracy"): "classifier, trained as long as the last rows",
    ("vae_mul", "one_step"): "VAE-mul, one step",
    ("vae_mul", "iterative"): "VAE-mul, iterative",
    ("vae_mul", "likelihood"): "VAE-mul, every digit tried",
    ("gradient_aware", "one_step"): "gradient-aware, one step",
    ("gradient_aware", "iterative"): "gradient-aware, iterative",
    ("gradient_aware", "likelihood"): "gradient-aware, every digit tried",
}
LEAK = {0: "pure_generative", 2: "latent_2", 3: "faithful", 4: "latent_4", 8: "latent_8", 16: "latent_16"}
CONDITIONING = {"concat": "faithful", "add": "add", "mul": "mul"}
ABLATION = {"vae_mul": "vae_mul", "vae_concat": "vae_concat", "vae_no_kl": "vae_no_kl"}


@dataclass(frozen=True)
class Line:
    """One line of a table: accuracy in percent over seeds, passes for each image, time relative to one forward."""

    name: str
    reported: Reported | None
    measured: Summary
    forwards: int
    backwards: int
    relative_time: float

    @property
    def paper(self) -> str:
        """The paper's number for a table, starred where it is recalled from memory of the paper, and unverified."""
        if self.reported is None or self.reported.value is None:
            return "–"
        return f"{self.reported.value:.1f}" + ("*" if self.reported.known == "recalled" else "")

    @property
    def runs(self) -> str:
        """The passes through the model, in words."""
        return f"{self.forwards} forward" + (f" + {self.backwards} backward" if self.backwards else "")


def paper_table(results: Results) -> list[Line]:
    """The rows of the paper's Table 2."""
    told = [one.reported for one in against_paper(results, "mnist")]
    return [_line(results, one.row, one.path[0], one.name, one) for one in told]


def beyond(results: Results) -> list[Line]:
    """The better models, and the classifier they must be compared with."""
    return [_line(results, row, readout, name) for (row, readout), name in BEYOND.items()]


def _line(results: Results, row: str, readout: str, name: str, told: Reported | None = None) -> Line:
    forwards, backwards = passes(results, row, readout)
    price = results.mean(row, f"{readout}_time")
    return Line(name, told, results.summary(row, readout), max(forwards, 1), backwards, price)


def by_model(
    results: Results, rows: Mapping[int | str, str], readouts: Sequence[str] = ("one_step", "likelihood", "probe")
) -> dict[int | str, dict[str, Summary]]:
    """Accuracies of the rows, by the keys given to them: no probe where there is no code to read.

    For :data:`LEAK`, by size of the code; :data:`CONDITIONING`, by the way z enters; :data:`ABLATION`, what makes
    VAE-mul good: the whole, without multiplication, without the KL term.
    """
    return {
        key: {name: results.summary(row, name) for name in readouts if results.has(row, name)}
        for key, row in rows.items()
    }


def failures(results: Results) -> dict[str, float]:
    """What each mistake shows, mean over seeds: see :mod:`gbi_helpers.experiments.mnist.failures`."""
    kinds = ("summed_confidence", "mean_confidence")
    names = [f"{kind}{of}" for of in ("", "_fashion") for kind in kinds]
    modes = ("eval_mode", "training_mode", "training_mode_blocks")
    return {
        **{name: results.mean("faithful", name) for name in [*names, "corner_start"]},
        **{f"batch_norm_{name}": results.mean("batch_norm", name) for name in modes},
        "soft_z": results.mean("soft_z", "one_step"),
        "code_of_16": results.mean("latent_16", "one_step"),
    }
