"""What a picture with sliders is made of, as it is asked for (lines, dots, bars) and as arrays over all places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.widgets.pack import finite

FULL = (0.0, 1.0)


@dataclass(frozen=True)
class Lines:
    """Curves over a common ``x`` (N,), or each over its own, which may move: ``(x, y)`` by name, or :class:`Dots`.

    Each of these is (N,), the same everywhere, or (sizes of the sliders..., N). One point is drawn as a dot.
    ``x``: None where every curve has its own. ``equal``: both axes have one scale. ``xlim``, ``ylim``: what is seen.
    """

    title: str
    curves: Mapping[str, Any]
    x: Any = None
    xlabel: str = ""
    xlim: tuple[float, float] | None = None
    ylim: tuple[float, float] | None = None
    equal: bool = False


@dataclass(frozen=True)
class Dots:
    """A curve of :class:`Lines` as N points without a line between them, in no order.

    ``x`` and ``y``: as of any curve. ``fill``: how full each point is, 0 (a ring) to 1, as x, or one number for all.
    ``names``: what stands beside each, so that nobody must tell colours apart. ``size``: radius in pixels.
    """

    x: Any
    y: Any
    fill: Any = 1.0
    names: Sequence[str] = ()
    size: float = 5.0


@dataclass(frozen=True)
class Bars:
    """A bar for each of ``labels`` (K), values (K,) or (sizes of the sliders..., K)."""

    title: str
    values: Any
    labels: Sequence[str]
    ylim: tuple[float, float] | None = None


@dataclass(frozen=True)
class Curve:
    """A curve, or dots, at all places of the sliders: ``x`` and ``y`` (G, N), and of dots the ``fill`` (G, N).

    NaN lifts the pen. ``look``: of the four looks that curves of a panel have in turn, the one that is not its turn.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    fill: np.ndarray | None = None
    names: tuple[str, ...] = ()
    size: float = 5.0
    look: int | None = None
    thick: bool = False


@dataclass(frozen=True)
class Drawn:
    """A panel as arrays: its curves, or bars as curves over 0 .. K - 1. ``more``: what else its kind wants."""

    kind: str
    title: str
    curves: list[Curve]
    xlim: tuple[float, float]
    ylim: tuple[float, float]
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_dots(self) -> bool:
        """Whether one of its curves is dots."""
        return any(curve.fill is not None for curve in self.curves)


def drawn_from(panel: Lines | Bars, sizes: list[int]) -> Drawn:
    """A panel at all places of sliders of these ``sizes``. Raises ``ValueError`` for shapes that do not fit."""
    return _bars(panel, sizes) if isinstance(panel, Bars) else _lines(panel, sizes)


def _lines(panel: Lines, sizes: list[int]) -> Drawn:
    curves = [_curve(name, given, panel.x, sizes) for name, given in panel.curves.items()]
    xlim = panel.xlim or _range([curve.x for curve in curves], 0)
    ylim = panel.ylim or _range([curve.y for curve in curves])
    return Drawn("lines", panel.title, curves, xlim, ylim, {"xlabel": panel.xlabel, "equal": panel.equal})


def _curve(name: str, given: Any, common: Any, sizes: list[int]) -> Curve:
    if isinstance(given, Dots):
        return _dots(name, given, sizes)
    along, up = given if isinstance(given, tuple) else (common, given)
    if along is None:
        raise ValueError(f"The curve '{name}' has no x: give Lines(x=...), or the curve as (x, y).")
    x, y = spread(along, sizes, 1, name), spread(up, sizes, 1, name)
    if x.shape != y.shape:
        raise ValueError(f"The curve '{name}' has {y.shape[-1]} values over {x.shape[-1]} of x.")
    return Curve(name, x, y)


def _dots(name: str, given: Dots, sizes: list[int]) -> Curve:
    x, y, fill = (spread(values, sizes, 1, name) for values in (given.x, given.y, given.fill))
    count = x.shape[-1]
    if y.shape != x.shape or fill.shape[-1] not in (1, count) or len(given.names) not in (0, count):
        raise ValueError(
            f"The dots '{name}' have {count} x, {y.shape[-1]} y, {fill.shape[-1]} fills and {len(given.names)} names: "
            "give one of each for every dot (one fill, or no names, is right for any number)."
        )
    if fill.min() < 0 or fill.max() > 1:
        raise ValueError(f"The fill of the dots '{name}' must be from 0 (a ring) to 1 (full).")
    return Curve(name, x, y, np.broadcast_to(fill, x.shape), tuple(map(str, given.names)), given.size)


def _bars(panel: Bars, sizes: list[int]) -> Drawn:
    values = spread(panel.values, sizes, 1, panel.title)
    if values.shape[-1] != len(panel.labels):
        raise ValueError(f"'{panel.title}' has {values.shape[-1]} bars, but {len(panel.labels)} labels.")
    low, high = panel.ylim or _range([values])
    place = np.broadcast_to(np.arange(values.shape[-1], dtype=float), values.shape)
    ylim = (min(low, 0.0), max(high, 0.0))
    more = {"labels": list(map(str, panel.labels))}
    curve = Curve(panel.title, place, values)
    return Drawn("bars", panel.title, [curve], (0.0, float(values.shape[-1])), ylim, more)


def spread(values: Any, sizes: list[int], rest: int, what: str) -> np.ndarray:
    """Values as (G, N), or (G,) where ``rest`` is 0: the same at every place where they have no sizes in front."""
    array = finite(torch.atleast_1d(tensor(values)), what, "place")
    if array.ndim not in (rest, rest + len(sizes)) or list(array.shape[: array.ndim - rest]) not in ([], sizes):
        raise ValueError(f"'{what}' has the shape {array.shape}: begin it with the sliders' sizes, {tuple(sizes)}.")
    tail = array.shape[array.ndim - rest :]
    return np.broadcast_to(array, (*sizes, *tail)).reshape(int(np.prod(sizes)), *tail)


def tensor(values: Any) -> Tensor:
    """Values as a tensor."""
    return values if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values), device="cpu")


def _range(arrays: Sequence[np.ndarray], room: float = 0.06) -> tuple[float, float]:
    low, high = min(a.min() for a in arrays), max(a.max() for a in arrays)
    spare = (high - low) * room or (0.0 if high > low else 0.5)
    return float(low - spare), float(high + spare)
