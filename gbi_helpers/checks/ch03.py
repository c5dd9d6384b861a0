"""The exercises of chapter 03, modules emerge; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from gbi_helpers import modularity
from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, uniform, whole


def _skewed(draw: Generator, *shape: int) -> Tensor:
    """Positive numbers, few of them large, as drives are."""
    return -uniform(draw, *shape).clamp_min(1e-9).log()


def _overlap_inputs(draw: Generator, seeds: int, units: int) -> Inputs:
    return _skewed(draw, seeds, units), _skewed(draw, seeds, units)


overlap = Exercise(
    "overlap",
    "student(first (S, H), second (S, H)) -> threshold-free overlap (S,) of drives in two tasks.",
    lambda a, b: modularity.overlap(torch.stack([a, b], dim=-2)),
    drawn(301, _overlap_inputs, (3, 8), (1, 5), (6, 3)),
    mistakes=[
        Mistake(
            lambda a, b: (torch.minimum(a, b) / torch.maximum(a, b)).mean(-1),
            "You averaged the units' own ratios, so a nearly silent unit counts as much as a loud one. "
            "Sum over the units first, then divide.",
        ),
        Mistake(
            lambda a, b: torch.minimum(a, b).sum(-1) / (a + b).sum(-1),
            "You divided by the sum of both tasks, so equal columns give 1/2. Divide by the sum of the maxima.",
        ),
        Mistake(
            lambda a, b: torch.maximum(a, b).sum(-1) / torch.minimum(a, b).sum(-1),
            "Upside down: minimum over maximum, so that shared is 1 and apart is 0.",
        ),
        Mistake(
            lambda a, b: 1 - torch.minimum(a, b).sum(-1) / torch.maximum(a, b).sum(-1),
            "That is how far apart they are, 1 minus the overlap.",
        ),
        Mistake(
            lambda a, b: torch.cosine_similarity(a, b, dim=-1),
            "That is the cosine. It asks whether the two columns have the same *shape*: a task that drives the same "
            "units half as much gets 1 from it, and 1/2 as overlap.",
        ),
    ],
    between=(0, 1),
    without=("overlap",),
)


def _shared_ratio_inputs(draw: Generator, seeds: int, units: int, threshold: float) -> Inputs:
    return _skewed(draw, seeds, 2, units), threshold


def _ratio_above(line: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def ratio(drive: Tensor, threshold: float) -> Tensor:
        active = drive > threshold * line(drive)
        return active.all(-2).double().sum(-1) / active.any(-2).double().sum(-1).clamp_min(1)

    return ratio


shared_ratio = Exercise(
    "shared_ratio",
    "student(drive (S, 2, H), threshold) -> share (S,) of the active units that are active in both tasks.",
    modularity.shared_ratio,
    drawn(302, _shared_ratio_inputs, (4, 32, 0.1), (2, 17, 0.3), (5, 24, 0.2)),
    mistakes=[
        Mistake(
            _ratio_above(torch.ones_like),
            "The threshold is relative: a share of the largest drive of that network, over both tasks.",
        ),
        Mistake(
            _ratio_above(lambda d: d.amax(-1, keepdim=True)),
            "You took the largest drive of each task by itself. One line for both, or a task that needs "
            "little drive counts its silent units as active.",
        ),
        Mistake(
            _ratio_above(lambda d: d.max()),
            "You took the largest drive of all seeds. Every network has its own.",
        ),
        Mistake(
            lambda d, t: (d > t * d.amax((-1, -2), keepdim=True)).all(-2).double().mean(-1),
            "You divided by all units. Units that are active in neither task belong to nobody: leave them out.",
        ),
    ],
    hard=[
        (
            (torch.zeros(2, 2, 6, dtype=torch.float64, device="cpu"), 0.1),
            "Right, but not for a silent network: no unit is active there, so say 0. Active is *above* the line: `>`, "
            "not `>=`. And clamp the count to at least 1, or you divide 0 by 0.",
        )
    ],
    between=(0, 1),
    without=("shared_ratio",),
)


def _z_only_overlap_inputs(draw: Generator, batch: int, units: int) -> Inputs:
    w_in, gate = normal(draw, 3, units), uniform(draw, 2, units)
    return lambda x, z: torch.tanh(x @ w_in) * (z.to(x) @ gate), normal(draw, batch, 3), normal(draw, units)


def _told(hidden: Callable[..., Tensor], x: Tensor) -> list[Tensor]:
    return [hidden(x, row.expand(len(x), -1)) for row in torch.eye(2, dtype=x.dtype, device=x.device)]


def _overlap_of(drive: Callable[[Tensor, Tensor], Tensor], halves: bool = False) -> Callable[..., Tensor]:
    def answer(hidden: Callable[..., Tensor], x: Tensor, w: Tensor) -> Tensor:
        first, second = _told(hidden, x)
        if halves:
            first, second = first[: len(x) // 2], second[len(x) // 2 :]
        return modularity.overlap(torch.stack([drive(first, w), drive(second, w)]))

    return answer


z_only_overlap = Exercise(
    "z_only_overlap",
    "student(hidden, x (B, D), w_out (H,)) -> overlap () of the drives for z = (1, 0) and (0, 1) on one x. "
    "hidden(x, z) returns (B, H) for z (B, 2).",
    _overlap_of(lambda h, w: (h * w).abs().mean(0)),
    drawn(303, _z_only_overlap_inputs, (40, 8), (25, 16), (60, 5)),
    mistakes=[
        Mistake(
            _overlap_of(lambda h, w: (h * w).mean(0).abs()),
            "You averaged before taking the absolute value, so a unit that pushes up and down cancels itself out.",
        ),
        Mistake(
            _overlap_of(lambda h, w: h.abs().mean(0)),
            "The output weights are missing: a loud unit that nobody listens to drives nothing.",
        ),
        Mistake(
            _overlap_of(lambda h, w: (h * w).abs().mean(0), halves=True),
            "Each task saw its own half of the samples. Show both tasks *the same* x: only z may change.",
        ),
        Mistake(
            _overlap_of(lambda h, w: (h * w).square().mean(0)),
            "You squared. The drive is the mean absolute value of h times w_out.",
        ),
    ],
    between=(0, 1),
)


def _forgetting_inputs(draw: Generator, blocks: int, contexts: int) -> Inputs:
    step = whole(draw, 1, contexts, blocks)
    return _skewed(draw, blocks, contexts), step.cumsum(0) % contexts


def _error_after(error: Tensor, context: Tensor) -> Tensor:
    return error[1:].gather(1, context[:-1, None])[:, 0]


def _error_when_learned(error: Tensor, context: Tensor) -> Tensor:
    return error.gather(1, context[:, None])[:, 0]


forgetting = Exercise(
    "forgetting",
    "student(error (N, K), context (N,)) -> forgetting (): how much worse the block before has become. "
    "error[n, k]: on context k, after block n; context[n]: of block n.",
    lambda e, c: (_error_after(e, c) - _error_when_learned(e, c)[:-1]).mean(),
    drawn(304, _forgetting_inputs, (8, 2), (20, 3), (5, 4)),
    mistakes=[
        Mistake(
            lambda e, c: _error_after(e, c).mean(),
            "That is the error that is left on the block before. Forgetting is how much it *rose*: "
            "subtract the error on that context right after it was learned.",
        ),
        Mistake(
            lambda e, c: (_error_after(e, c) - _error_when_learned(e, c)[1:]).mean(),
            "You compared with the block just learned. That mixes in how hard each context is: "
            "compare the same context, one block earlier.",
        ),
        Mistake(
            lambda e, c: (_error_when_learned(e, c)[:-1] - _error_after(e, c)).mean(),
            "The sign: forgetting is positive when the error rose.",
        ),
        Mistake(
            lambda e, c: (e.gather(1, c.roll(1)[:, None])[:, 0] - _error_when_learned(e, c).roll(1)).mean(),
            "`roll` lets the first block follow the last one. The first block has none before it: leave it out.",
        ),
    ],
)
