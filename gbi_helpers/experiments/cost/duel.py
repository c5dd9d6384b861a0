"""Seven forwards a sample and a hundred tasks: every way of the chapter to spend them, against plain re-scoring.

The problems are those of the last exercise, :mod:`gbi_helpers.checks.ch10_contest`, drawn anew. Each way is a function
of what may be asked and the uniform start (B, K), and names a task (B,).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gbi_helpers.checks.ch10_contest import problems
from gbi_helpers.checks.priced import Ask, unspent
from gbi_helpers.experiments.study import Row

Way = Callable[[Ask, Tensor], Tensor]
KINDS = ("linear", "bent", "own")  # own: the curvature is each sample's own


def rescored(ask: Ask, score: Tensor) -> Tensor:
    """The best tasks of a score (B, K), as many as can be paid for; of these the one with the least loss."""
    best = score.topk(round(ask.left), 1).indices
    if not best.shape[1]:
        return score.argmax(1)
    losses = torch.stack([ask.loss(one_hot(task, score.shape[1])) for task in best.T], 1)
    return best.gather(1, losses.argmin(1, keepdim=True))[:, 0]


def one_step(ask: Ask, z0: Tensor) -> Tensor:
    """Five forwards unspent."""
    return ask.gradient(z0)[1].argmin(1)


def rescoring(ask: Ask, z0: Tensor) -> Tensor:
    """One step, and the best five by their own losses: what is to beat."""
    return rescored(ask, -ask.gradient(z0)[1])


def zoom(*kept: int, rest: bool = False) -> Way:
    """A gradient at the centre of those that are left, again and again; ``rest``: what remains is spent on passes."""

    def named(ask: Ask, z0: Tensor) -> Tensor:
        score = -ask.gradient(z0)[1]
        for m in kept:
            best = score.topk(m, 1).indices
            slope = ask.gradient(torch.zeros_like(z0).scatter(1, best, 1 / m))[1]
            score = torch.full_like(z0, -torch.inf).scatter(1, best, -slope.gather(1, best))
        return rescored(ask, score) if rest else score.argmax(1)

    return named


def midpoints(ask: Ask, z0: Tensor) -> Tensor:
    """A gradient between the best two; the winner against the third."""
    first, second, third = ask.gradient(z0)[1].topk(3, 1, largest=False).indices.T
    for other in (second, third):
        pair = torch.stack([first, other], 1)
        slope = ask.gradient(one_hot(pair, z0.shape[1]).to(z0).mean(1))[1]
        first = pair.gather(1, slope.gather(1, pair).argmin(1, keepdim=True))[:, 0]
    return first


def doubtful(ask: Ask, z0: Tensor, score: Tensor | None = None) -> Tensor:
    """All passes within one distance of each sample's best, the largest that can be paid for."""
    score = -ask.gradient(z0)[1] if score is None else score
    behind = score.amax(1, keepdim=True) - score
    place = behind.flatten().argsort()[: round(ask.left * len(z0))]
    rows, task = place // z0.shape[1], place % z0.shape[1]
    losses = torch.full_like(score, torch.inf)
    losses[rows, task] = ask.loss(one_hot(task, z0.shape[1]), rows)
    return losses.argmin(1)


def spread(ask: Ask, z0: Tensor) -> Tensor:
    """The batch's own gradients in the place of dreams: half their variance as the gap."""
    slope = ask.gradient(z0)[1]
    along = slope - (slope * z0).sum(1, keepdim=True)
    return rescored(ask, -along.var(0) / 2 - slope)


def shared_gap(ask: Ask, z0: Tensor, shrink: bool = False) -> tuple[Tensor, Tensor]:
    """Logits (B, K) of one step with the gap put back, and the gap's share (K,): a loss of each sample at another task.

    ``shrink``: the gap as far as samples agree about it: by the variance of its means that is not noise.
    """
    loss, slope = ask.gradient(z0)
    rows = torch.arange(len(z0), device=z0.device)
    pure = one_hot(rows % z0.shape[1], z0.shape[1]).to(z0)
    missed = (loss + ((pure - z0) * slope).sum(1) - ask.loss(pure))[:, None] * pure
    delta = missed.sum(0) / pure.sum(0)
    if shrink:
        noise = (missed - pure * delta).square().sum() / (len(z0) - z0.shape[1]) / (len(z0) / z0.shape[1])
        delta = (1 - noise / delta.var()).clamp(0, 1) * (delta - delta.mean())
    return delta - slope, delta


def by_turns(ask: Ask, z0: Tensor) -> Tensor:
    """The shared gap; then a sixth of the batch at a time, those whose next candidate has most to win."""
    score, _ = shared_gap(ask, z0, shrink=True)
    rank, known = score.argsort(1, descending=True), torch.full_like(score, torch.inf)
    rows = torch.arange(len(z0), device=z0.device)
    asked = torch.zeros_like(rows)
    while left := round(ask.left * len(z0)):
        seen = known.isfinite()
        shift = (-known - score).masked_fill(~seen, 0).sum(1) / seen.sum(1)
        ahead = -known.amin(1) - score.gather(1, rank.gather(1, asked[:, None]))[:, 0] - shift
        turn = ahead.argsort()[: min(len(z0) // 6, left)] if asked.all() else rows[:left]
        task = rank[turn, asked[turn]]
        known[turn, task] = ask.loss(one_hot(task, z0.shape[1]), turn)
        asked[turn] += 1
    return known.argmin(1)


def sharing(ask: Ask, z0: Tensor) -> Tensor:
    """The gap from a loss of each sample at another task; the best four by their own losses."""
    return rescored(ask, shared_gap(ask, z0)[0])


WAYS: dict[str, Way] = {
    "one_step": one_step,
    "rescoring": rescoring,
    "zoom": zoom(15, 4),
    "zoom_passes": zoom(15, rest=True),
    "midpoints": midpoints,
    "doubtful": doubtful,
    "spread": spread,
    "sharing": sharing,
    "shrunk": lambda ask, z0: rescored(ask, shared_gap(ask, z0, shrink=True)[0]),
    "shrunk_doubtful": lambda ask, z0: doubtful(ask, z0, shared_gap(ask, z0, shrink=True)[0]),
    "turns": by_turns,
}


def duel(_: Any, seed: int, settings: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Agreement with all passes, percent, of each way in each problem, over ``draws`` draws; ``mean`` of the three."""
    found: dict[str, list[list[float]]] = {name: [] for name in WAYS}
    for draw in range(settings["draws"]):
        drawn = problems(1000 * seed + draw, settings["samples"])
        for name, way in WAYS.items():
            found[name].append([_agreement(way, *problem) for problem in drawn])
    return {name: _by_kind(shares) for name, shares in found.items()}


def _agreement(way: Way, ask: Ask, z0: Tensor, exact: Tensor) -> float:
    return 100 * (way(unspent(ask), z0) == exact).double().mean().item()


def _by_kind(shares: list[list[float]]) -> dict[str, float]:
    means = [sum(kind) / len(shares) for kind in zip(*shares, strict=True)]
    return dict(zip(KINDS, means, strict=True)) | {"mean": sum(means) / len(means)}


ROWS: dict[str, Row] = {"duel": Row(duel, "seven forwards, a hundred tasks", {"samples": 300, "draws": 4})}
SMALL: dict[str, dict[str, Any]] = {"duel": {"draws": 1}}
