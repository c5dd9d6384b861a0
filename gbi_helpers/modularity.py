"""Do units divide among tasks? Several measures, which do not see the same thing (notebook 03 compares them).

All but ``task_variance`` read the drive (..., K, H) of H units in K tasks: how much each unit moves the output, as
mean |h * w_out| over samples. Leading axes (frames, seeds) stay. With more than two tasks, measures are means over
pairs of tasks.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor


def overlap(drive: Tensor) -> Tensor:
    """Threshold-free overlap (...,): sum over units of min / sum of max over the two tasks. 1: shared, 0: apart."""
    pairs = [drive[..., list(pair), :] for pair in _pairs(drive)]
    return torch.stack([p.amin(-2).sum(-1) / p.amax(-2).sum(-1).clamp_min(1e-12) for p in pairs]).mean(0)


def shared_ratio(drive: Tensor, threshold: float = 0.1) -> Tensor:
    """Share (...,) of the units active in either task that are active in both.

    Active: a drive above ``threshold`` times the largest of any unit and task. The answer moves with the threshold.
    """
    active = drive > threshold * drive.amax((-1, -2), keepdim=True)
    both, either = (
        torch.stack([pick(active[..., list(pair), :], -2).sum(-1) for pair in _pairs(drive)])
        for pick in (torch.all, torch.any)
    )
    return (both.to(drive) / either.clamp_min(1)).mean(0)


def task_variance(hidden: Tensor) -> Tensor:
    """Fractional task variance (..., H) of hidden units (..., 2, samples, H): from 1 (only task 0) to -1 (only task 1).

    The variance of a unit over samples in one task against the other (Yang et al. 2019). Units silent in both count 0.
    """
    variance = hidden.var(-2)
    first, second = variance.unbind(-2)
    return (first - second) / (first + second).clamp_min(1e-12)


def selectivity(drive: Tensor) -> Tensor:
    """How much a unit prefers one task, (..., H): (best - mean of the others) / (their sum), 0 .. 1."""
    best = drive.amax(-2)
    others = (drive.sum(-2) - best) / (drive.shape[-2] - 1)
    return (best - others) / (best + others).clamp_min(1e-12)


def module_of(drive: Tensor, least: float = 0.5) -> Tensor:
    """The task (..., H) to which each unit belongs, or -1 for units less selective than ``least`` or nearly silent."""
    loud = drive.amax(-2) > 0.02 * drive.amax((-1, -2))[..., None]
    return torch.where((selectivity(drive) >= least) & loud, drive.argmax(-2), -1)


def unit_order(drive: Tensor) -> Tensor:
    """Order of the units (H,) of one network, drive (K, H), for a picture: by preferred task, most selective first.

    Units that prefer the last task come with the most selective at the end, so that shared units lie in between.
    """
    preferred, strength = drive.argmax(-2), selectivity(drive)
    last = preferred == drive.shape[-2] - 1
    return (preferred + torch.where(last, strength, 1 - strength) * 0.999).argsort()


def _pairs(drive: Tensor) -> list[tuple[int, int]]:
    return list(combinations(range(drive.shape[-2]), 2))
