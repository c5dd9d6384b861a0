"""One gradient step beside exact Bayes for a Gaussian decoder of z alone: the settings, and the pictures of one.

theorem.js computes the same in the page; the order of panels and curves here is the order there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.guards import LossFn
from gbi_helpers.inference import enumerate_tasks, one_step
from gbi_helpers.records import Posterior
from gbi_helpers.theory import corrected_one_step, gap
from gbi_helpers.widgets.pack import number
from gbi_helpers.widgets.slide_parts import Curve, Drawn

POINTS = 25  # of the loss on the way to a task, and of a bell
LONG = 0.6  # of a way, where each task has one of its own; the next begins at 1
ALONG = torch.linspace(0, 1, POINTS, dtype=torch.float64, device="cpu")
LOSS, STEP, MISSED, OTHER = range(4)  # looks


@dataclass(frozen=True)
class Setting:
    """A decoder x ~ N(z @ patterns, sd^2) of z alone, with data and a start, in float64 on the CPU.

    ``patterns`` (K, D); ``x`` (D,): the mean of ``n`` samples that share one z, which scatter around it by ``spread``
    (mean squared distance); ``z0`` (K,).
    """

    patterns: Tensor
    x: Tensor
    spread: float
    n: float
    sd: float
    z0: Tensor
    step_size: float

    @property
    def loss_fn(self) -> LossFn:
        """The loss of all samples as a function of z (B, K), in nats."""
        return lambda z: (
            self.n * ((self.x - z @ self.patterns).square().sum(-1) + self.spread) / (2 * self.sd * self.sd)
        )

    def get(self, what: str, at: tuple[int, ...]) -> float:
        """One of its numbers."""
        value = getattr(self, what)
        return float(value[at] if isinstance(value, Tensor) else value)

    def moved(self, what: str, at: tuple[int, ...], value: float) -> Setting:
        """The same with one number changed; other shares of z0 keep their proportions."""
        changed: Any = value
        if at:
            changed = (getattr(self, what) if what != "z0" else _without(self.z0, at[0]) * (1 - value)).clone()
            changed[at] = value
        return replace(self, **{what: changed})


def _without(z0: Tensor, task: int) -> Tensor:
    """Shares (K,) without this task's, which sum to 1; equal ones where it had them all."""
    rest = z0.clone()
    rest[task] = 0.0
    if not rest.sum() > 0:
        rest = torch.ones_like(z0)
        rest[task] = 0.0
    return rest / rest.sum()


@dataclass(frozen=True)
class Found:
    """What one step and exact Bayes say of a setting. ``fixed``: with the gap put back."""

    setting: Setting
    fixed: bool = False

    @cached_property
    def step(self) -> Posterior:
        """One gradient at z0, with the gap put back if that is asked for."""
        loss_fn, z0, size = self.setting.loss_fn, self.setting.z0[None], self.setting.step_size
        return corrected_one_step(loss_fn, z0, gap(loss_fn, z0), size) if self.fixed else one_step(loss_fn, z0, size)

    @cached_property
    def bayes(self) -> Posterior:
        """K passes."""
        return enumerate_tasks(self.setting.loss_fn, self.setting.z0[None])

    @cached_property
    def rise(self) -> Tensor:
        """By how much the tangent at z0 rises (K,) up to each pure task."""
        assert self.step.grad is not None
        return self.step.grad[0] - self.step.grad[0] @ self.setting.z0

    @property
    def loss(self) -> Tensor:
        """The loss (K,) of each pure task."""
        return self.bayes.loss[0]

    @property
    def tangent(self) -> Tensor:
        """What the tangent, taken ``step_size`` times, says the loss (K,) of each pure task is."""
        return self.step.loss + self.setting.step_size * self.rise

    @property
    def read(self) -> Tensor:
        """What is made of it (K,): the tangent's word, or with the gap put back."""
        return self.tangent + (self.loss - self.step.loss - self.rise if self.fixed else 0)

    @property
    def missed(self) -> Tensor:
        """By how many nats that is below the loss (K,); for a step of size 1 minus the gap, up to a constant."""
        return self.loss - self.read

    def says(self, labels: Sequence[str]) -> dict[str, float]:
        """The numbers of the read-out, by name."""
        told = {}
        if len(labels) == 2:
            odds = (float(nats[1] - nats[0]) for nats in (self.read, self.loss))
            told = dict(zip((f"nats for {labels[0]} by one step", "by Bayes"), odds, strict=True))
        p, log_q = self.bayes.log_q[0], self.step.log_q[0]
        kl, unequal = float((p.exp() * (p - log_q)).sum()), float(self.missed.max() - self.missed.min())
        rounding = 1e-12 * max(1.0, float(self.loss.abs().max()), float(self.tangent.abs().max()))
        told |= {"nats missed unequally": unequal if unequal > rounding else 0.0}
        return told | {"KL in nats": kl if kl > rounding else 0.0}


def panels_of(found: Found, labels: list[str], seen: Sequence[tuple[float, float]]) -> list[Drawn]:
    """What is drawn of a setting. ``seen``: the limits of each dimension of x, for one or two of them."""
    data = {1: _line, 2: _plane}.get(len(found.setting.x))
    return [*([data(found, labels, seen)] if data else []), _ways(found, labels), _beliefs(found, labels)]


def _ways(found: Found, labels: list[str]) -> Drawn:
    """The loss on the way from z0 to each pure task, with the tangent; of two tasks both on one walk."""
    z0, tasks, two = found.setting.z0, len(labels), len(labels) == 2
    count = torch.arange(tasks, dtype=z0.dtype, device=z0.device)
    pure = torch.eye(tasks, dtype=z0.dtype, device=z0.device)
    start, end = (z0[1].expand(2), count) if two else (count, count + LONG)
    way = z0 + ALONG[:, None, None] * (pure - z0)  # (points, K, K)
    nats, level = found.setting.loss_fn(way.flatten(0, 1)).view(POINTS, tasks), found.step.loss.expand(tasks)
    loss, tangent = found.loss, found.tangent
    curves = [
        _curve("loss", _broken(start + ALONG[:, None] * (end - start), nats), LOSS),
        _curve("tangent", _broken(torch.stack([start, end]), torch.stack([level, tangent])), STEP),
        *([_curve("chord: Bayes", (end, loss), OTHER)] if two else []),
        _curve("missed", _broken(torch.stack([end, end]), torch.stack([tangent, loss])), MISSED),
        _dots("pure task: Bayes", (end, loss), LOSS),
        _dots("one step", (end, found.read), STEP, fill=0.0),
        _dots("start z0", (start[:1], level[:1]) if two else (start, level), OTHER, size=4),
    ]
    title = f"Loss from {' to '.join(labels) if two else 'z0 to each task'}, nats"
    values = torch.cat([nats.flatten(), loss, tangent, found.read])
    limits = nice(float(values.min()), float(values.max()))
    more = {"xlabel": "", "equal": False, "wide": True, **_beside(found, end.tolist(), labels)}
    return Drawn("lines", title, curves, (-0.06, 1.16) if two else (-0.1, float(tasks)), limits, more)


def _beside(found: Found, end: list[float], labels: list[str]) -> dict[str, Any]:
    """What stands under and beside the ends of the ways: names, and how much is missed."""
    missed, height = (found.loss - found.tangent).tolist(), ((found.loss + found.tangent) / 2).tolist()
    notes = [(x, y, number(nats)) for x, y, nats in zip(end, height, missed, strict=True)]
    return {"marks": list(zip(end, labels, strict=True)), "notes": notes}


def _plane(found: Found, labels: list[str], seen: Sequence[tuple[float, float]]) -> Drawn:
    """Patterns, data, and what is predicted at z0, with the spokes whose squared lengths are missed."""
    patterns, x = found.setting.patterns, found.setting.x
    hub = found.setting.z0 @ patterns
    spokes = torch.stack([hub.expand_as(patterns), patterns])  # (2, K, 2)
    curves = [
        _curve("equally far", _circle(hub, (patterns - hub).norm(dim=-1).max(), seen), OTHER),
        _curve("missed: its square", _broken(spokes[..., 0], spokes[..., 1]), MISSED),
        _curve("error at z0", torch.stack([hub, x]).T, STEP),
        _dots("pure tasks", patterns.T, LOSS, names=tuple(labels)),
        _dots("predicted at z0", hub[:, None], OTHER, size=4),
        _dots("x", x[:, None], STEP, names=("x",)),
    ]
    more = {"xlabel": "", "equal": True}
    return Drawn("lines", "What each task predicts, and x", curves, seen[0], seen[1], more)


def _circle(hub: Tensor, radius: Tensor, seen: Sequence[tuple[float, float]]) -> Tensor:
    """The points (2, 61) of a circle, as far as they are seen."""
    turn = torch.linspace(0, 2 * math.pi, 61, dtype=hub.dtype, device=hub.device)
    points = hub[:, None] + radius * torch.stack([turn.cos(), turn.sin()])
    low, high = torch.tensor(seen, dtype=hub.dtype, device=hub.device).T[:, :, None]
    return points.where(((points >= low) & (points <= high)).all(0), torch.nan)


def _line(found: Found, labels: list[str], seen: Sequence[tuple[float, float]]) -> Drawn:
    """The same in one dimension: bells instead of spokes."""
    patterns, (x,), sd = found.setting.patterns[:, 0], found.setting.x, found.setting.sd
    hub = found.setting.z0 @ patterns
    places = (patterns + sd * (8 * ALONG[:, None] - 4)).clamp(*seen[0])  # (points, K)
    bells = (-((places - patterns) / sd).square() / 2).exp()
    ground = torch.zeros_like(hub).expand(2)
    curves = [
        _curve("likelihood of a number", _broken(places, bells), LOSS),
        _curve("error at z0", (torch.stack([hub, x]), ground), STEP),
        _dots("pure tasks", (patterns, torch.ones_like(patterns)), LOSS, names=tuple(labels), size=3),
        _dots("predicted at z0", (hub[None], ground[:1]), OTHER, size=4),
        _dots("x", (x[None], ground[:1]), STEP, names=("x",)),
    ]
    more = {"xlabel": "", "equal": False}
    return Drawn("lines", "What each task expects, and x", curves, seen[0], (-0.1, 1.1), more)


def _beliefs(found: Found, labels: list[str]) -> Drawn:
    place = torch.arange(len(labels), device=found.setting.z0.device)
    both = (("one step", found.step, STEP), ("Bayes", found.bayes, LOSS))
    curves = [_curve(name, (place, belief.q[0]), look) for name, belief, look in both]
    return Drawn("bars", "Belief", curves, (0.0, float(len(labels))), (0.0, 1.0), {"labels": labels})


def nice(low: float, high: float) -> tuple[float, float]:
    """Round limits around two values, so that they move in jumps; a difference that is only rounding counts as none."""
    size = max(1.0, abs(low), abs(high))
    rough = (high - low if high - low > 1e-6 * size else size) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    bottom, top = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return bottom, top if top > bottom else bottom + step


Points = Sequence[Tensor] | Tensor  # x (N,) and y (N,)


def _curve(name: str, points: Points, look: int) -> Curve:
    x, y = points
    return Curve(name, _row(x), _row(y), look=look, thick=look == MISSED)


def _dots(
    name: str, points: Points, look: int, fill: float = 1.0, names: tuple[str, ...] = (), size: float = 5.0
) -> Curve:
    x, y = points
    return Curve(name, _row(x), _row(y), np.full((1, len(x)), fill), names, size, look)


def _row(values: Tensor) -> np.ndarray:
    return values.double().numpy()[None]


def _broken(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Lines (N, K) one after the other, with NaN behind each, where the pen is lifted."""
    lifted = [torch.cat([values, values[:1] * torch.nan]).T.flatten() for values in (x, y)]
    return lifted[0], lifted[1]
