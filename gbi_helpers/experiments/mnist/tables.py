"""The record of MNIST as tables for a reader: Table 2 of the paper, what drives one step, and what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gbi_helpers.experiments.mnist import guesses
from gbi_helpers.experiments.paper import Reported, reported
from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.tables import against_paper, passes, with_samples
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
ABLATION = {"vae_mul": "vae_mul", "vae_concat": "vae_concat", "vae_no_kl": "vae_no_kl"}
IMAGES = {"mnist_slice": 2_000, "mnist_full": 10_000}  # on which a record's accuracies were found
WITHOUT_TRAINING = ("one_step_means", "nearest_mean", "coins", "discriminant", "nearest_image", "support_vectors")


@dataclass(frozen=True)
class Accuracy:
    """An accuracy in percent over seeds, all on the same ``images`` of the test set."""

    name: str
    measured: Summary
    images: int

    @property
    def mean(self) -> float:
        """Over seeds."""
        return self.measured.mean

    @property
    def half_width(self) -> float:
        """Of the 95 % interval over seeds, if there are several, and over images: what ± means."""
        return with_samples(self.measured, self.images).half_width

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.half_width:.1f}"


@dataclass(frozen=True)
class Line(Accuracy):
    """One line of a table: an accuracy, passes for each image, and time relative to one forward."""

    reported: Reported | None
    forwards: int
    backwards: int
    relative_time: float

    @property
    def paper(self) -> str:
        """The paper's number for a table, starred where it is recalled from memory of the paper, and unverified."""
        if self.reported is None or self.reported.value is None:
            return "–"
        spread = f" ± {self.reported.spread:.1f}" if self.reported.spread else ""
        return f"{self.reported.value:.1f}{spread}" + ("*" if self.reported.known == "recalled" else "")

    @property
    def allowed(self) -> float:
        """Of our number from the paper's, :meth:`.Reported.allowed`; our own ± where the paper has no row."""
        return self.reported.allowed(self.half_width) if self.reported else self.half_width

    @property
    def verdict(self) -> str:
        """The one criterion for every row, :meth:`.Reported.held_against`; "–" where the paper has no number."""
        return self.reported.held_against(self.mean, self.half_width) if self.reported else "–"

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
    images = IMAGES[results.name]
    return Line(name, results.summary(row, readout), images, told, max(forwards, 1), backwards, price)


def accuracy(results: Results, row: str, readout: str = "accuracy") -> Accuracy:
    """One accuracy, under the row's name for readers."""
    return Accuracy(results.words[row], results.summary(row, readout), IMAGES[results.name])


def smaller_code(results: Results) -> Line:
    """One step of the network with a code of four, held against the paper's number for one step."""
    told = next(one for one in reported("mnist") if (one.row, one.path) == ("faithful", ("one_step",)))
    return _line(results, "latent_4", "one_step", "GBI, one step, a code of 4", told)


def untrained(results: Results) -> list[Accuracy]:
    """The rungs with nothing trained, the lowest first."""
    return [accuracy(results, row) for row in WITHOUT_TRAINING]


GUESSED = {
    "one step, validation": "validation_one_step",
    "one step, test": "one_step",
    "every digit tried, test": "likelihood",
}


def guessed(results: Results, what: str) -> dict[Any, dict[str, Accuracy]]:
    """By the value of one of our guesses ("latent", "lr" or "epochs"): the accuracies of :data:`GUESSED`."""
    return {
        value: {split: accuracy(results, guesses.row(what, value), name) for split, name in GUESSED.items()}
        for value in guesses.TRIED[what]
    }


def by_model(
    results: Results, rows: Mapping[int | str, str], readouts: Sequence[str] = ("one_step", "likelihood", "probe")
) -> dict[int | str, dict[str, Accuracy]]:
    """Accuracies of the rows, by the keys given to them: no probe where there is no code to read.

    For :data:`LEAK`, by size of the code; :data:`ABLATION`, what makes VAE-mul good: the whole, without
    multiplication, without the KL term.
    """
    return {
        key: {name: accuracy(results, row, name) for name in readouts if results.has(row, name)}
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
