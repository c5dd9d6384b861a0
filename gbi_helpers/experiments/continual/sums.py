"""Decoders that learn by adding, through the contexts of split-MNIST: what one step on them reads, after each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gbi_helpers import theory
from gbi_helpers.experiments.continual.scenarios import CONTEXTS, DIGITS, Scenario, Split, few
from gbi_helpers.inference import loss_of, max_entropy, one_step
from gbi_helpers.meter import bytes_of
from gbi_helpers.metrics import accuracy
from gbi_helpers.models.hundred import ZOnly, nearest_equidistant
from gbi_helpers.models.natural import Streamed
from gbi_helpers.models.projection import Projection
from gbi_helpers.models.streaming import StreamedMeans
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.runtime import usual_defaults

READINGS = ("one_step", "one_step_delta", "equidistant")
Scores = dict[str, Tensor]  # of each way to read, (N, K)


def stages(split: Split) -> list[StreamedMeans]:
    """The sums after each context; no image is looked at twice."""
    sums, kept = StreamedMeans(split.train[0].shape[1], split.train[0].device), []
    for i in range(CONTEXTS):
        sums.add(*split.part("train", i))
        kept.append(copy.deepcopy(sums))
    return kept


def scores(sums: StreamedMeans, x: Tensor, shrink: float) -> Scores:
    """Scores (N, K) of vectors x (N, D), larger for likelier classes, by each way to read the decoder."""
    return read(*sums.decoder(shrink), x)


def read(to: Projection, model: ZOnly, x: Tensor) -> Scores:
    """The same, of a decoder that is there; two points are always equidistant."""
    t, patterns = to(x.to(to.mean)), model.decoder.patterns.detach()
    z0 = max_entropy(len(t), model.n_tasks, t.dtype, t.device)
    step = one_step(decoder_loss(model, t), z0).log_q
    even = step
    if model.n_tasks > 2:
        with usual_defaults():
            moved = ZOnly(patterns.shape[1], model.n_tasks).to(patterns)
        with torch.no_grad():
            moved.decoder.patterns.copy_(nearest_equidistant(patterns))
        even = one_step(decoder_loss(moved, t), z0).log_q
    return dict(zip(READINGS, (step, step + theory.one_step_gap(patterns, sd=1.0), even), strict=True))


def right(score: Tensor, y: Tensor, scenario: Scenario) -> list[float]:
    """Percent right in each context, from scores (N, K) of the digits seen so far; NaN for contexts to come."""
    context, found = y // DIGITS, []
    for i in range(CONTEXTS):
        mine = context == i
        if 2 * i >= score.shape[1]:
            found.append(torch.nan)
            continue
        seen = score[mine]
        if scenario == "task":
            seen = seen[:, DIGITS * i : DIGITS * (i + 1)]
            found.append(accuracy(seen.argmax(1), y[mine] % DIGITS))
        elif scenario == "domain":
            found.append(accuracy(_by_place(seen).argmax(1), y[mine] % DIGITS))
        else:
            found.append(accuracy(seen.argmax(1), y[mine]))
    return found


def _by_place(score: Tensor) -> Tensor:
    """Log probabilities (N, 2) of being the first or the second digit of a context, whichever it is."""
    return score.log_softmax(1).unflatten(1, (-1, DIGITS)).logsumexp(1)


def shrinkage(split: Split, last: StreamedMeans, grid: Sequence[float]) -> tuple[float, list[float]]:
    """The share that names most validation digits, and what each of the grid reaches, percent."""
    x, y = split.validation
    found = [accuracy(scores(last, x, share)["one_step_delta"].argmax(1), y) for share in grid]
    return grid[max(range(len(grid)), key=found.__getitem__)], found


def through_contexts(
    split: Split, settings: Mapping[str, Any]
) -> tuple[dict[str, dict[Scenario, Tensor]], dict[str, Any]]:
    """R (T, T) by reading and scenario, on test images; and what was chosen, with the bytes that are kept."""
    kept = stages(split)
    shrink, swept = shrinkage(split, kept[-1], settings["shrink"])
    x, y = split.test
    rows: dict[str, dict[Scenario, list[list[float]]]] = {
        name: {"task": [], "domain": [], "class": []} for name in READINGS
    }
    for sums in kept:
        for name, score in scores(sums, x, shrink).items():
            for scenario, found in rows[name].items():
                found.append(right(score, y, scenario))
    r = {
        name: {how: torch.tensor(found, dtype=torch.float64, device="cpu") for how, found in by.items()}
        for name, by in rows.items()
    }
    last = kept[-1]
    return r, {"shrink": shrink, "validation": swept, "stored": last.stored, "numbers": last.total.shape[1]}


def with_few(split: Split, sizes: Sequence[int], grid: Sequence[float]) -> dict[str, list[float]]:
    """Accuracy on all ten digits after so many images of each, by each way to read; and the share chosen."""
    found: dict[str, list[float]] = {name: [] for name in (*READINGS, "shrink")}
    for n in sizes:
        part = few(split, n)
        sums = StreamedMeans(part.train[0].shape[1], part.train[0].device).add(*part.train)
        shrink, _ = shrinkage(part, sums, grid)
        found["shrink"].append(shrink)
        for name, score in scores(sums, part.test[0], shrink).items():
            found[name].append(accuracy(score.argmax(1), part.test[1]))
    return found


def natural(split: Split, shares: Sequence[float]) -> tuple[Tensor, dict[str, Any]]:
    """R (T, T) of Gaussians with a covariance of their own, class-incremental; their share chosen on validation."""
    streamed, kept = Streamed("gaussian"), []
    for i in range(CONTEXTS):
        streamed.add(*split.part("train", i))
        kept.append(copy.deepcopy(streamed))

    def read(stage: int, share: float, x: Tensor) -> Tensor:
        gates = kept[stage].gates(share)
        z0 = max_entropy(len(x), gates.n_tasks, torch.float64, x.device)
        delta = theory.natural_gap(gates.family.log_partition, gates.decoder.patterns, z0[0])
        return theory.corrected_one_step(loss_of(gates, x.double(), gates.nll), z0, delta).log_q

    r, facts = _by_share(split, read, shares)
    return r, facts | {"stored": bytes_of(kept[-1].total)}


def ridge(split: Split, shares: Sequence[float]) -> tuple[Tensor, dict[str, Any]]:
    """R (T, T) of ridge regression from the sums, class-incremental; its share chosen on validation."""
    kept = stages(split)

    def read(stage: int, share: float, x: Tensor) -> Tensor:
        weights, offset = kept[stage].least_squares(share)
        return x.to(weights) @ weights + offset

    r, facts = _by_share(split, read, shares)
    return r, facts | {"stored": kept[-1].stored}


def _by_share(
    split: Split, read: Callable[[int, float, Tensor], Tensor], shares: Sequence[float]
) -> tuple[Tensor, dict[str, Any]]:
    """R (T, T) of what ``read(stage, share, x)`` scores, (N, K), by the share that is best on validation at the end."""
    x, y = split.validation
    found = [accuracy(read(-1, share, x).argmax(1), y) for share in shares]
    share = shares[max(range(len(shares)), key=found.__getitem__)]
    rows = [right(read(i, share, split.test[0]), split.test[1], "class") for i in range(CONTEXTS)]
    return torch.tensor(rows, dtype=torch.float64, device="cpu"), {"share": share, "validation": found}
