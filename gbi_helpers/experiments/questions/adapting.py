"""What the meaning of Z is worth against a z, or weights, trained to be adapted: a new mean, digit, and source of text.

All sides have the same network, start, data and number of updates, and meet the same samples in them. Trained for one
step, they take as many gradients of samples too: half of the samples are stepped on, half are learned from, where
the others learn from all. CAVIA is second order, MAML first order.
"""

from __future__ import annotations

from typing import Any

from gbi_helpers.experiments.questions.new_digit import new_digit
from gbi_helpers.experiments.questions.new_means import new_means
from gbi_helpers.experiments.questions.new_source import new_source
from gbi_helpers.experiments.study import Row

Side = dict[str, Any]


def _side(told: str, moves: str, rates: tuple[float, ...], inner: tuple[float, int] | None = None) -> Side:
    return {"told": told, "moves": moves, "rates": rates} | ({"inner": inner} if inner else {})


LOOKS = (0, 1, 5, 20)
Z, LOGITS, WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3), (0.03, 0.1, 0.3, 1.0, 3.0), (0.0003, 0.001, 0.003, 0.01, 0.03)


def _means(n_trained: int, drawings: int, few: float) -> Row:
    """``few``: the rate of five steps of a context; of .01, .03, .1 the one that suited validation means best."""
    sides = {
        "gbi": _side("names", "z", Z),
        "gbi on the simplex": _side("names", "logits", LOGITS),
        "cavia": _side("context", "z", Z, (0.03, 1)),
        "cavia, five steps": _side("context", "z", Z, (few, 5)),
        "maml": _side("weights", "weights", WEIGHTS, (0.01, 1)),
        "maml, five steps": _side("weights", "weights", WEIGHTS, (0.01, 5)),
        "tuned": _side("nothing", "weights", WEIGHTS),
        "gbi tuned": _side("names", "weights", WEIGHTS),
    }
    settings = {
        "n_trained": n_trained, "drawings": drawings, "steps": 600, "lr": 5e-3, "sd": 0.15, "tasks": 24, "windows": 8,
        "samples": (1, 5, 20), "looks": LOOKS, "weights": (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0), "sides": sides,
    }  # fmt: skip
    return Row(new_means, f"a mean never trained, {n_trained} trained", settings, together=True, times=2)


DIGIT = {
    "gbi": _side("names", "z", (0.003, 0.01, 0.03, 0.1, 0.3)),
    "cavia": _side("context", "z", (0.003, 0.01, 0.03, 0.1, 0.3), (0.1, 1)),
    "maml": _side("weights", "weights", (1e-4, 3e-4, 1e-3), (3e-4, 1)),
    "tuned": _side("nothing", "weights", (1e-4, 3e-4, 1e-3)),
    "gbi tuned": _side("names", "weights", (1e-4, 3e-4, 1e-3)),
}
SOURCE = {
    "gbi": _side("names", "z", (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)),
    "cavia": _side("context", "z", (0.01, 0.03, 0.1, 0.3, 1.0, 3.0), (1.0, 1)),
    "maml": _side("weights", "weights", (0.03, 0.1, 0.3, 1.0), (0.1, 1)),
    "tuned": _side("nothing", "weights", (0.03, 0.1, 0.3, 1.0)),
    "tuned biases": _side("nothing", "bias", (1.0, 3.0, 10.0, 30.0)),
}
ROWS: dict[str, Row] = {
    "adapting/means_4": _means(4, 4, 0.03),
    "adapting/means_16": _means(16, 1, 0.1),
    "adapting/digit": Row(
        new_digit, "a digit never trained",
        {"latent": 3, "channels": 8, "each": 4, "steps": 400, "lr": 4e-3, "draws": 2, "test": 100, "named": 400,
         "images": (1, 5, 20), "looks": LOOKS, "weights": (0.3, 1.0, 3.0, 10.0, 30.0), "sides": DIGIT},
    ),
    "adapting/source": Row(
        new_source, "a source never trained",
        {"hidden": 64, "steps": 300, "lr": 8e-3, "window": 32, "draws": 2, "test": 24, "windows": (1, 4, 16),
         "looks": LOOKS, "weights": (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0), "sides": SOURCE},
    ),
}  # fmt: skip
_FEW: dict[str, Any] = {"steps": 2, "looks": (0, 1)}
_MEANS = {**_FEW, "tasks": 3, "windows": 2, "samples": (1, 10)}
SMALL: dict[str, dict[str, Any]] = {
    "adapting/means_4": _MEANS,
    "adapting/means_16": _MEANS,
    "adapting/digit": {**_FEW, "each": 2, "channels": 2, "draws": 2, "test": 4, "named": 20, "images": (1, 2)},
    "adapting/source": {**_FEW, "hidden": 8, "window": 16, "draws": 2, "test": 4, "windows": (1, 2)},
}
