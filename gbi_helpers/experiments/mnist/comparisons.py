"""What the record of MNIST says of Z and its rivals: with and without it, few labels, the unseen, an encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gbi_helpers.experiments.mnist.with_and_without import EVERY
from gbi_helpers.experiments.results import Results
from gbi_helpers.metrics import Summary, first_below, summarise

CODES = (2, 3, 4, 8, 16)
LABELS = (100, 300, 1_000, 3_000, 10_000)
UNSEEN = ("unseen_digit", "unseen_digit_more")


def worth_of_z(results: Results) -> dict[int, dict[str, Summary]]:
    """By size of the code: nats on test images "with" Z, "without" it, and what Z is "worth", paired by seed."""
    return {
        size: {
            "with": results.summary(f"z_or_none_{size}", "with"),
            "without": results.summary(f"z_or_none_{size}", "without"),
            "worth": results.paired((f"z_or_none_{size}", "without"), (f"z_or_none_{size}", "with")),
        }
        for size in CODES
        if results.has(f"z_or_none_{size}")
    }


def curve(results: Results, row: str, arm: str) -> tuple[Tensor, Tensor]:
    """Training steps (P,) and nats on validation images (S, P) of one arm of a comparison."""
    nats = results.values(row, f"{arm}_curve")
    return EVERY * torch.arange(nats.shape[1], device=nats.device), nats


def steps_to_match(results: Results, size: int, name: str = "with") -> Summary:
    """Training steps that a network needs to draw as well as the one without Z does at its end, by seed.

    ``name``: "with" Z, or "ten_more" numbers of code instead of it.
    """
    steps, told = curve(results, f"z_or_none_{size}", name)
    _, alone = curve(results, f"z_or_none_{size}", "without")
    return summarise([first_below(steps, own, float(goal[-1])) for own, goal in zip(told, alone, strict=True)])


def by_labels(results: Results, names: Sequence[str]) -> dict[str, list[Summary]]:
    """Of each name its numbers over :data:`LABELS`."""
    return {name: [results.summary(f"few_{n}", name) for n in LABELS] for name in names}


def unseen_digits(results: Results, name: str) -> Tensor:
    """Nats of each digit left out, in their order, under one way to draw it; only "told" was trained on it."""
    rows = [row for row in UNSEEN if results.has(row)]
    digits = torch.cat([results.values(row, "digit") for row in rows])
    return torch.cat([results.values(row, name) for row in rows])[digits.argsort()]


def gap_closed(results: Results, name: str) -> Summary:
    """Percent of the way from the uniform Z down to the network that knows the digit: over the digits."""
    uniform, told = unseen_digits(results, "uniform"), unseen_digits(results, "told")
    return summarise(100 * (uniform - unseen_digits(results, name)) / (uniform - told))


def fixed_or_learned(results: Results, names: Mapping[str, str]) -> list[list[Summary]]:
    """A line for each way and size of code, (add, 3) first: of each name the fixed Z's number and the learned one's."""
    rows = [f"{way}_z_{size}" for way in ("concat", "add", "mul") for size in (3, 8, 16)]
    return [[results.summary(row, f"{kind}_{name}") for name in names for kind in ("fixed", "learned")] for row in rows]
