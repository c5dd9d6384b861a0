"""What Z does to a trained language model: who uses which unit, what lies between two sources, and a map of sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.experiments.language.windows import Corpus, Windows, by_source, even_windows, losses
from gbi_helpers.models.language import WordLSTM, WordModel, word_nll
from gbi_helpers.progress import progress_bar

Scores = dict[str, Any]
ON_THE_WAY = (0.0, 0.25, 0.5, 0.75, 1.0)


@torch.no_grad()
def modules(model: WordLSTM, windows: Windows, told: bool = True) -> Scores:
    """How many of the K sources a unit serves: those where its deviation is over half of its largest one.

    "tasks_per_unit": mean over units. "selectivity": mean of (largest - mean) / largest.
    """
    z = windows.z(model.n_tasks) if told else torch.full((len(windows.words), model.n_tasks), 1 / model.n_tasks)
    units = model.units(windows.inputs, z)
    deviation = torch.stack([units[windows.task == k].flatten(0, 1).std(0) for k in range(model.n_tasks)])
    largest = deviation.amax(0)
    return {
        "tasks_per_unit": float((deviation > largest / 2).float().sum(0).mean()),
        "selectivity": float(((largest - deviation.mean(0)) / largest).mean()),
    }


def interpolation(model: WordModel, windows: Windows, first: int, second: int) -> Scores:
    """Loss of two sources' windows on the way from z of the one to z of the other: lists over ``ON_THE_WAY``."""
    ends = torch.eye(model.n_tasks)
    ways = [(1 - s) * ends[first] + s * ends[second] for s in ON_THE_WAY]
    own = {"first": windows.rows(windows.task == first), "second": windows.rows(windows.task == second)}
    return {name: [float(losses(model, part, z).mean()) for z in ways] for name, part in own.items()}


def farthest_pair(cross: Tensor) -> tuple[int, int]:
    """The two sources that suit each other least, by the loss (K, K) of source i told source j."""
    harm = cross + cross.T - cross.diagonal()[:, None] - cross.diagonal()
    first, second = divmod(int(harm.argmax()), len(cross))
    return first, second


def cross_losses(model: WordModel, windows: Windows) -> Tensor:
    """Loss (K, K) of windows of source i (row) told that they are of source j."""
    told = [by_source(losses(model, windows, z), windows.task) for z in torch.eye(model.n_tasks)]
    return torch.stack(told, dim=1)


# ---------------------------------------------------------------- the map


@torch.no_grad()
def source_map(
    model: WordLSTM, corpus: Corpus, side: int = 15, per_source: int = 6, margin: float = 0.3
) -> dict[str, Tensor]:
    """The plane of a model with ``plane=2``: "x", "y" (side,), "loss" (side, side, K) nats, "sources" (K, 2).

    ``loss[i, j]`` is that of validation windows of each source read from the place (x[j], y[i]).
    """
    places = model.place(torch.eye(model.n_tasks))
    low, high = places.amin(0), places.amax(0)
    low, high = low - margin * (high - low), high + margin * (high - low)
    x, y = (torch.linspace(float(a), float(b), side) for a, b in zip(low, high, strict=True))
    windows = even_windows(corpus.validation, corpus.start, per_source, 64)
    loss = torch.empty(side, side, model.n_tasks)
    for i in progress_bar(range(side), desc="source map"):
        for j in range(side):
            place = torch.stack([x[j], y[i]]).expand(len(windows.words), 2)
            found = word_nll(model.read(windows.inputs, place)[0], windows.words)
            loss[i, j] = by_source(found, windows.task)
    return {"x": x, "y": y, "loss": loss, "sources": places}


def texts_on(x: Sequence[float], y: Sequence[float], say: Callable[[Tensor], str], every: int = 2) -> list[list[str]]:
    """What is said at every second place of the map, rows from the first y on: ``say`` takes a place (2,)."""
    return [[say(torch.tensor([across, up])) for across in x[::every]] for up in y[::every]]
