"""Checks of chapter 03, modules emerge. Each takes the student's function; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gbi_helpers import modularity
from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, normal

Student = Callable[..., Any]


def overlap(student: Student) -> None:
    """Check ``student(first (S, H), second (S, H))`` -> threshold-free overlap (S,) of drives in two tasks."""
    draw = torch.Generator().manual_seed(301)

    def inputs(seeds: int, units: int) -> Inputs:
        return _skewed(draw, seeds, units), _skewed(draw, seeds, units)

    Exercise(
        "overlap",
        lambda a, b: modularity.overlap(torch.stack([a, b], dim=-2)),
        [inputs(3, 8), inputs(1, 5), inputs(6, 3)],
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
        ],
    ).check(student)


def shared_ratio(student: Student) -> None:
    """Check ``student(drive (S, 2, H), threshold)`` -> share (S,) of the active units that are active in both tasks."""
    draw = torch.Generator().manual_seed(302)

    def inputs(seeds: int, units: int, threshold: float) -> Inputs:
        return _skewed(draw, seeds, 2, units), threshold

    def ratio(line: Callable[[Tensor], Tensor], share: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
        def wrong(drive: Tensor, threshold: float) -> Tensor:
            active = drive > threshold * line(drive)
            return share(active.all(-2).double().sum(-1), active.any(-2).double().sum(-1))

        return wrong

    def largest(drive: Tensor) -> Tensor:
        return drive.amax((-1, -2), keepdim=True)

    Exercise(
        "shared_ratio",
        modularity.shared_ratio,
        [inputs(4, 32, 0.1), inputs(2, 17, 0.3), inputs(5, 24, 0.2)],
        mistakes=[
            Mistake(
                ratio(torch.ones_like, lambda both, either: both / either.clamp_min(1)),
                "The threshold is relative: a share of the largest drive of that network, over both tasks.",
            ),
            Mistake(
                ratio(lambda d: d.amax(-1, keepdim=True), lambda both, either: both / either.clamp_min(1)),
                "You took the largest drive of each task by itself. One line for both, or a task that needs "
                "little drive counts its silent units as active.",
            ),
            Mistake(
                ratio(lambda d: d.max(), lambda both, either: both / either.clamp_min(1)),
                "You took the largest drive of all seeds. Every network has its own.",
            ),
            Mistake(
                lambda drive, threshold: (drive > threshold * largest(drive)).all(-2).double().mean(-1),
                "You divided by all units. Units that are active in neither task belong to nobody: leave them out.",
            ),
        ],
        hard=[
            (
                (torch.zeros(2, 2, 6, dtype=torch.float64), 0.1),
                "Right, but for a silent network you divide 0 by 0. Say 0 there: clamp the count to at least 1.",
            )
        ],
    ).check(student)


def z_only_overlap(student: Student) -> None:
    """Check ``student(hidden, x (B, D), w_out (H,))`` -> overlap () of the drives for z = (1, 0) and (0, 1) on one x.

    ``hidden(x, z)`` returns (B, H) for z (B, 2).
    """
    draw = torch.Generator().manual_seed(303)

    def inputs(batch: int, units: int) -> Inputs:
        w_in, gate = normal(draw, 3, units), torch.rand(2, units, generator=draw, dtype=torch.float64)
        return lambda x, z: torch.tanh(x @ w_in) * (z.to(x) @ gate), normal(draw, batch, 3), normal(draw, units)

    def told(hidden: Callable[..., Tensor], x: Tensor) -> list[Tensor]:
        return [hidden(x, row.expand(len(x), -1)) for row in torch.eye(2, dtype=x.dtype)]

    def of(drive: Callable[[Tensor, Tensor], Tensor], halves: bool = False) -> Callable[..., Tensor]:
        def answer(hidden: Callable[..., Tensor], x: Tensor, w: Tensor) -> Tensor:
            first, second = told(hidden, x)
            if halves:
                first, second = first[: len(x) // 2], second[len(x) // 2 :]
            return modularity.overlap(torch.stack([drive(first, w), drive(second, w)]))

        return answer

    Exercise(
        "z_only_overlap",
        of(lambda h, w: (h * w).abs().mean(0)),
        [inputs(40, 8), inputs(25, 16), inputs(60, 5)],
        mistakes=[
            Mistake(
                of(lambda h, w: (h * w).mean(0).abs()),
                "You averaged before taking the absolute value, so a unit that pushes up and down cancels itself out.",
            ),
            Mistake(
                of(lambda h, w: h.abs().mean(0)),
                "The output weights are missing: a loud unit that nobody listens to drives nothing.",
            ),
            Mistake(
                of(lambda h, w: (h * w).abs().mean(0), halves=True),
                "Each task saw its own half of the samples. Show both tasks *the same* x: only z may change.",
            ),
            Mistake(
                of(lambda h, w: (h * w).square().mean(0)),
                "You squared. The drive is the mean absolute value of h times w_out.",
            ),
        ],
    ).check(student)


def forgetting(student: Student) -> None:
    """Check ``student(error (N, K), context (N,))`` -> forgetting (): how much worse the block before has become.

    ``error[n, k]``: on context k, after block n; ``context[n]``: of block n.
    """
    draw = torch.Generator().manual_seed(304)

    def inputs(blocks: int, contexts: int) -> Inputs:
        step = torch.randint(1, contexts, (blocks,), generator=draw)
        return _skewed(draw, blocks, contexts), step.cumsum(0) % contexts

    def after(error: Tensor, context: Tensor) -> Tensor:
        return error[1:].gather(1, context[:-1, None])[:, 0]

    def learned(error: Tensor, context: Tensor) -> Tensor:
        return error.gather(1, context[:, None])[:, 0]

    Exercise(
        "forgetting",
        lambda e, c: (after(e, c) - learned(e, c)[:-1]).mean(),
        [inputs(8, 2), inputs(20, 3), inputs(5, 4)],
        mistakes=[
            Mistake(
                lambda e, c: after(e, c).mean(),
                "That is the error that is left on the block before. Forgetting is how much it *rose*: "
                "subtract the error on that context right after it was learned.",
            ),
            Mistake(
                lambda e, c: (after(e, c) - learned(e, c)[1:]).mean(),
                "You compared with the block just learned. That mixes in how hard each context is: "
                "compare the same context, one block earlier.",
            ),
            Mistake(
                lambda e, c: (learned(e, c)[:-1] - after(e, c)).mean(),
                "The sign: forgetting is positive when the error rose.",
            ),
            Mistake(
                lambda e, c: (e.gather(1, c.roll(1)[:, None])[:, 0] - learned(e, c).roll(1)).mean(),
                "`roll` lets the first block follow the last one. The first block has none before it: leave it out.",
            ),
        ],
    ).check(student)


def _skewed(draw: torch.Generator, *shape: int) -> Tensor:
    """Positive numbers, few of them large, as drives are."""
    return -torch.rand(shape, generator=draw, dtype=torch.float64).clamp_min(1e-9).log()
