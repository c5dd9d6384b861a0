"""``slide({...: Move(...)}, OneStep(...))``: sliders on the theorem itself, which the page computes at every place.

The inference runs in the page (engine.js, theorem.js), so nothing is computed before but the still picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.guards import check_simplex
from gbi_helpers.inference import max_entropy
from gbi_helpers.widgets.pack import names_of
from gbi_helpers.widgets.slide_parts import Curve, Drawn, tensor
from gbi_helpers.widgets.theorem_parts import Found, Setting, panels_of

MOVABLE = {"x": 1, "patterns": 2, "z0": 1, "n": 0, "sd": 0, "step_size": 0}  # and how many places name one number
MOST_TASKS = 6
PLACES = 200  # of a slider, at least
ROWS = 5  # of the table, beside that of the start


@dataclass(frozen=True)
class Move:
    """A slider from ``low`` to ``high`` over one number of a :class:`OneStep`, which says where it stands at first.

    ``what``: "x" (the mean of the data), "n" (how many there are), "sd", "step_size", "z0" (the share of one task; the
    others share the rest as before) or "patterns". ``at``: which number of x (dimension), z0 (task; the last if not
    said) or patterns (task, dimension); the first dimension if not said.
    """

    what: str
    low: float
    high: float
    at: int | tuple[int, ...] = ()


@dataclass(frozen=True)
class OneStep:
    """One gradient step beside exact Bayes for x ~ N(z @ patterns, sd^2), as panels that the page itself computes.

    ``x`` (N, D): data that share one z, or (D,) one of them, or a number; ``patterns`` (K, D), or (K,) numbers: what
    each of 2 to 6 pure tasks predicts. ``z0`` (K,): where the step starts; uniform if not said. ``labels``: a noun, or
    one name a task. In float64, by :func:`gbi_helpers.one_step` and its like for what stands there without JavaScript.
    """

    x: Any
    patterns: Any
    sd: float
    z0: Any = None
    step_size: float = 1.0
    labels: Sequence[str] | str | None = None

    @property
    def setting(self) -> Setting:
        """All of it as tensors. Raises ``ValueError`` for what does not fit, in one sentence."""
        for name in ("sd", "step_size"):
            _check(name, getattr(self, name))
        patterns = _patterns(self.patterns)
        x = _data(self.x, patterns.shape[1])
        spread = float((x - x.mean(0)).square().sum(-1).mean())
        z0 = _start(self.z0, len(patterns))
        return Setting(patterns, x.mean(0), spread, float(len(x)), float(self.sd), z0, float(self.step_size))

    @property
    def named(self) -> list[str]:
        """The name of each task."""
        noun, names = names_of(self.labels, len(self.setting.patterns), "patterns")
        return [f"{noun} {name}".strip() for name in names]


@dataclass(frozen=True)
class Knob:
    """A slider as numbers: its name, what it moves, and all its places, at one of which it stands at first."""

    name: str
    move: Move
    at: tuple[int, ...]
    step: float
    digits: int
    places: list[float]
    start: int

    @property
    def told(self) -> dict[str, Any]:
        """What the page is told, which knows the places from it."""
        grid = {"low": self.places[0], "high": self.places[-1], "step": self.step, "digits": self.digits}
        where = {"at": list(self.at), "count": len(self.places), "start": self.start, "value": self.places[self.start]}
        return {"name": self.name, "what": self.move.what, **grid, **where}


def knob(name: str, move: Any, setting: Setting) -> Knob:
    """The slider of this name. Raises ``ValueError`` in one sentence for what it cannot move, or not so far."""
    if not isinstance(move, Move) or move.what not in MOVABLE:
        raise ValueError(f"The slider '{name}' must be Move(what, low, high), with one of {', '.join(MOVABLE)}.")
    at = _at(name, move, setting)
    value = setting.get(move.what, at)
    for end in (move.low, move.high):
        _check(move.what, end, f"The slider '{name}' ends at {end!r}, but ")
    if not move.low <= value <= move.high or move.low == move.high:
        raise ValueError(
            f"The slider '{name}' goes from {move.low:g} to {move.high:g}, but {move.what} is {value:g} at first: "
            "let it lie between them."
        )
    return _knob(name, move, at, value)


def _knob(name: str, move: Move, at: tuple[int, ...], value: float) -> Knob:
    """The slider with its places: round numbers between its ends, but for the one where it stands at first."""
    step = 1.0 if move.what == "n" else _step((move.high - move.low) / PLACES)
    digits = max(0, 3 - math.floor(math.log10(step)))
    count = math.ceil((move.high - move.low) / step - 1e-6) + 1
    places = [*(round(move.low + k * step, digits) for k in range(count - 1)), float(move.high)]
    places[0] = float(move.low)
    start = min(range(count), key=lambda k: abs(places[k] - value))
    if value not in (move.low, move.high):
        start = min(max(start, 1), count - 2)  # the ends stay
    places[start] = value
    return Knob(name, move, at, step, digits, places, start)


def _at(name: str, move: Move, setting: Setting) -> tuple[int, ...]:
    """Which number is moved, in full."""
    given = (move.at,) if isinstance(move.at, int) else tuple(move.at)
    if not given and move.what == "z0":
        given = (len(setting.z0) - 1,)
    given += (0,) * (MOVABLE[move.what] - len(given))
    sizes = getattr(setting, move.what).shape if MOVABLE[move.what] else ()
    if len(given) != len(sizes) or not all(0 <= k < size for k, size in zip(given, sizes, strict=True)):
        raise ValueError(f"The slider '{name}' moves {move.what} at {given}, but its shape is {tuple(sizes)}.")
    return given


def _check(what: str, value: Any, begin: str = "") -> None:
    """``ValueError`` unless a number is one that this may be."""
    least = {"sd": "a number above 0", "n": "a whole number from 1 on", "z0": "a share from 0 to 1"}
    rule = least.get(what, "a finite number")
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    good = {"sd": lambda v: v > 0, "n": lambda v: v >= 1 and v == int(v), "z0": lambda v: 0 <= v <= 1}
    if not is_number or not good.get(what, lambda _: True)(value):
        raise ValueError(f"{begin}{what} must be {rule}{'' if begin else f', but is {value!r}'}.")


def _numbers(given: Any, what: str) -> Tensor:
    values = tensor(given).detach().to("cpu", torch.float64)
    if not values.isfinite().all():
        raise ValueError(f"{what} must hold finite numbers, but one is {float(values[~values.isfinite()][0])}.")
    return values


def _patterns(given: Any) -> Tensor:
    """Patterns (K, D)."""
    patterns = _numbers(given, "patterns")
    patterns = patterns[:, None] if patterns.ndim == 1 else patterns
    if patterns.ndim != 2 or not 2 <= len(patterns) <= MOST_TASKS or not patterns.shape[1]:
        shape = tuple(patterns.shape)
        raise ValueError(f"patterns must be (tasks, dimensions), of 2 to {MOST_TASKS} tasks, but is {shape}.")
    return patterns


def _data(given: Any, size: int) -> Tensor:
    """Data (N, D)."""
    x = _numbers(given, "x")
    x = x.reshape(-1, 1) if size == 1 and x.ndim < 2 else x[None] if x.ndim == 1 else x
    if x.ndim != 2 or x.shape[1] != size or not len(x):
        raise ValueError(f"x must be (samples, {size}), as wide as the patterns, but is {tuple(x.shape)}.")
    return x


def _start(given: Any, tasks: int) -> Tensor:
    """The start (K,)."""
    if given is None:
        return max_entropy(1, tasks, torch.float64, "cpu")[0]
    z0 = _numbers(given, "z0")
    if z0.shape != (tasks,):
        raise ValueError(f"z0 must hold one share for each of {tasks} tasks, but is {tuple(z0.shape)}.")
    check_simplex(z0[None])
    return z0


def _step(size: float) -> float:
    """The largest of ... 0.1, 0.2, 0.5, 1 ... that is not above a size."""
    power = 10.0 ** math.floor(math.log10(size))
    return max(power * m for m in (1, 2, 5) if power * m <= size * 1.001)


@dataclass(frozen=True)
class Computed:
    """What :func:`slide` shows of a :class:`OneStep`: the header, and panels and numbers for the still picture."""

    live: dict[str, Any]
    sliders: dict[str, list[float]]
    panels: list[Drawn]
    says: dict[str, np.ndarray]
    start: tuple[int, ...]
    whole: tuple[str, ...]


def computed(sliders: Mapping[str, Any], asked: OneStep) -> Computed:
    """Everything that a view of these sliders needs. Raises ``ValueError`` in one sentence for what does not fit."""
    setting, labels = asked.setting, asked.named
    knobs = [knob(name, move, setting) for name, move in sliders.items()]
    if not knobs or len({(each.move.what, each.at) for each in knobs}) < len(knobs):
        raise ValueError("slide() of a OneStep needs sliders, each of which moves another number.")
    if sum(each.move.what == "z0" for each in knobs) > 1:
        raise ValueError("One slider can move z0, as the other shares follow it: choose a task.")
    first, *others = knobs
    rows = sorted({first.start, *np.linspace(0, len(first.places) - 1, ROWS).round().astype(int).tolist()})
    places = [first.places[row] for row in rows]
    each = [Found(setting.moved(first.move.what, first.at, value)).says(labels) for value in places]
    says = {name: np.array([told[name] for told in each]) for name in each[0]}
    drawn = [_everywhere(panel, len(rows)) for panel in panels_of(Found(setting), labels, _seen(setting, knobs))]
    shown = {first.name: places} | {other.name: [other.places[other.start]] for other in others}
    start = (rows.index(first.start), *(0 for _ in others))
    whole = tuple(each.name for each in knobs if each.move.what == "n")
    return Computed(_told(setting, knobs), shown, drawn, says, start, whole)


def _told(setting: Setting, knobs: list[Knob]) -> dict[str, Any]:
    tensors = {name: getattr(setting, name).tolist() for name in ("patterns", "x", "z0")}
    numbers = {name: getattr(setting, name) for name in ("spread", "n", "sd", "step_size")}
    return {**tensors, **numbers, "knobs": [each.told for each in knobs]}


def _everywhere(drawn: Drawn, places: int) -> Drawn:
    """A panel of one place as one of several places that are all alike."""
    return replace(drawn, curves=[_repeated(curve, places) for curve in drawn.curves])


def _repeated(curve: Curve, places: int) -> Curve:
    fill = None if curve.fill is None else np.repeat(curve.fill, places, axis=0)
    return replace(curve, x=np.repeat(curve.x, places, axis=0), y=np.repeat(curve.y, places, axis=0), fill=fill)


def _seen(setting: Setting, knobs: list[Knob]) -> list[tuple[float, float]]:
    """The limits of each dimension of x, wherever the sliders stand; with room for names, or bells in one dimension."""
    limits = []
    for d in range(len(setting.x)):
        own = [k for k in knobs if k.move.what in ("x", "patterns") and k.at[-1] == d]
        ends = [end for k in own for end in (k.places[0], k.places[-1])]
        values = [float(setting.x[d]), *setting.patterns[:, d].tolist(), *ends]
        room = max((max(values) - min(values)) * 0.12, 1e-6, 1.5 * setting.sd if len(setting.x) == 1 else 0.0)
        limits.append((min(values) - room, max(values) + room))
    return limits
