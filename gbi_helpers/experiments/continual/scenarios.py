"""Split-MNIST: ten digits learned two by two, in an order drawn from the seed, under three scenarios.

Inputs are what a learner sees of the images: pixels, or label-free features whose filters and scale come from the first
context alone, so that nothing of the contexts to come leaks into them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gbi_helpers.continual import Context, logits
from gbi_helpers.metrics import accuracy
from gbi_helpers.models.features import PatchFeatures
from gbi_helpers.runtime import usual_defaults

Scenario = Literal["task", "domain", "class"]
SCENARIOS: tuple[Scenario, ...] = ("task", "domain", "class")
CONTEXTS, DIGITS = 5, 2  # of a context
Labelled = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Split:
    """Vectors (N, D) of three sets, and their digits as 0 .. 9 in the order in which they come (N,)."""

    train: Labelled
    validation: Labelled
    test: Labelled

    def part(self, name: str, context: int) -> Labelled:
        """What a set has of the digits of one context."""
        x, y = getattr(self, name)
        mine = y // DIGITS == context
        return x[mine], y[mine]

    def contexts(self, scenario: Scenario, name: str = "train") -> list[Context]:
        """The contexts of a set, one after the other, as a learner meets them."""
        return [as_context(*self.part(name, i), scenario, i) for i in range(CONTEXTS)]


def as_context(x: Tensor, y: Tensor, scenario: Scenario, context: int) -> Context:
    """Images of context i, the classes to be told, and the outputs that count in a scenario."""
    if scenario == "domain":
        return Context((x,), y % DIGITS, torch.ones(DIGITS, dtype=torch.bool, device=y.device))
    place = torch.arange(CONTEXTS * DIGITS, device=y.device) // DIGITS
    return Context((x,), y, place == context if scenario == "task" else place <= context)


def outputs_of(scenario: Scenario) -> int:
    """How many outputs a network has in a scenario."""
    return DIGITS if scenario == "domain" else CONTEXTS * DIGITS


def accuracies(model: nn.Module, tested: list[Context], scenario: Scenario, after: int) -> list[float]:
    """Percent right in each context after learning one; NaN for classes that no learner has heard of yet."""
    model.eval()
    found = []
    for i, context in enumerate(tested):
        counts = tested[after].outputs if scenario == "class" else context.outputs
        with torch.no_grad():
            answer = logits(model, context.inputs, counts).argmax(1)
        found.append(torch.nan if scenario == "class" and i > after else accuracy(answer, context.y))
    model.train()
    return found


def in_order(images: dict[str, Labelled], seed: int | None) -> dict[str, Labelled]:
    """The same images, their digits numbered as they come; the order is the seed's, or as they are named if None."""
    if seed is None:
        return images
    order = torch.randperm(10, generator=torch.Generator().manual_seed(seed), device="cpu")
    number = order.argsort()
    return {name: (x, number.to(y.device)[y]) for name, (x, y) in images.items()}


def pixels(images: dict[str, Labelled]) -> Split:
    """Pixels as they are, in [0, 1]."""
    return Split(**{name: (x.flatten(1), y) for name, (x, y) in images.items()})


def patches(images: dict[str, Labelled], n_filters: int = 64, stride: int = 2, known: int = DIGITS) -> Split:
    """Patch features, standardised; filters, mean and deviation are those of the first context's training images.

    ``known``: how many digits they are drawn from; all ten would be a leak from what is still to come.
    """
    first = images["train"][0][images["train"][1] < known]
    with usual_defaults():
        made = PatchFeatures(n_filters, stride=stride, channels=1, mirror=False).fit(first).to(first.device)
    seen = {name: (made.of(x, chunk=50).float(), y) for name, (x, y) in images.items()}
    start = seen["train"][0][seen["train"][1] < known]
    mean, sd = start.mean(0), start.std(0) + 0.01
    return Split(**{name: ((x - mean) / sd, y) for name, (x, y) in seen.items()})


def components(split: Split, n: int) -> Split:
    """The first ``n`` principal components of the first context's vectors, each divided by its deviation there."""
    start, _ = split.part("train", 0)
    mean = start.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((start - mean).T.double()))
    basis = (vectors[:, -n:] / (values[-n:].clamp_min(0) + 1e-3 * values.mean()).sqrt()).to(start)
    sets = {name: getattr(split, name) for name in ("train", "validation", "test")}
    return Split(**{name: ((x - mean) @ basis, y) for name, (x, y) in sets.items()})


def expanded(split: Split, n: int, seed: int = 0) -> Split:
    """``n`` random mixtures of the vectors, each cut off below zero: more numbers, nothing learned.

    After McDonnell et al. 2023, "RanPAC", arXiv 2307.02251.
    """
    draw = torch.Generator().manual_seed(seed)
    size = split.train[0].shape[1]
    weights = torch.randn(size, n, generator=draw, dtype=torch.float32, device=draw.device) / size**0.5
    offset = torch.randn(n, generator=draw, dtype=torch.float32, device=draw.device)
    weights, offset = weights.to(split.train[0]), offset.to(split.train[0])
    sets = {name: getattr(split, name) for name in ("train", "validation", "test")}
    return Split(**{name: ((x @ weights + offset).relu(), y) for name, (x, y) in sets.items()})


def few(split: Split, n: int) -> Split:
    """The first ``n`` training images of each digit."""
    x, y = split.train
    rows = torch.cat([(y == digit).nonzero()[:n, 0] for digit in range(CONTEXTS * DIGITS)])
    return Split((x[rows], y[rows]), split.validation, split.test)
