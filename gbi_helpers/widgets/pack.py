"""From a record to what the browser is given: a small JSON header and one compressed buffer.

The buffer holds, little-endian and in this order: loss float32 (S+1,), z uint16 (S+1, D), then where there are images
frames uint8 (S+1, H, W) and target uint8 (H, W), or in colour (S+1, 3, H, W) and (3, H, W). z and frames are stored
as the change since the step before (modulo their range), which deflate packs several times tighter.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import operator
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.records import Trajectory

Labels = Sequence[str] | str | None
Words = Mapping[str, str]
# What a view calls its parts, for records whose entries are no gradient steps: scrub(..., words={"step": "sample"}).
WORDS = {"z": "z", "loss": "loss", "step": "step", "frames": "made from z"}


class Packed:
    """What the browser is given: a JSON header with a "kind", and the arrays as compressed bytes."""

    @property
    def header(self) -> dict[str, Any]:
        """Everything but the arrays."""
        raise NotImplementedError

    @property
    def data(self) -> bytes:
        """The arrays, deflated."""
        raise NotImplementedError

    @cached_property
    def key(self) -> str:
        """What the page finds its view by: SHA-256 of header and data."""
        return hashlib.sha256(json.dumps(self.header).encode() + self.data).hexdigest()


@dataclass(frozen=True)
class Path(Packed):
    """One sample's path as plain arrays: ``z`` (S+1, D), ``loss`` (S+1,) in nats, images uint8 (..., H, W) or None.

    ``groups``: name and size of each group of tasks, in the order of ``z``; empty where tasks are not grouped.
    """

    z: np.ndarray
    loss: np.ndarray
    simplex: bool
    labels: list[str]
    noun: str
    title: str
    frames: np.ndarray | None
    target: np.ndarray | None
    words: Words = field(default_factory=lambda: dict(WORDS))
    groups: tuple[tuple[str, int], ...] = ()

    @property
    def header(self) -> dict[str, Any]:
        """Everything about the path but its arrays."""
        colour = [] if self.frames is None or self.frames.ndim == 3 else [3]
        header = {
            "kind": "path",
            "entries": len(self.loss),
            "dim": self.z.shape[1],
            "range": [float(self.z.min()), float(self.z.max())],
            "simplex": self.simplex,
            "labels": self.labels,
            "noun": self.noun,
            "title": self.title,
            "frame": None if self.frames is None else [*self.frames.shape[-2:], *colour],
            "target": self.target is not None,
            "words": dict(self.words),
        }
        return header | ({"groups": [list(group) for group in self.groups]} if self.groups else {})

    @cached_property
    def data(self) -> bytes:
        """The arrays, deflated."""
        low, high = self.header["range"]
        levels = np.rint((self.z - low) / ((high - low) or 1.0) * 65535).astype("<u2")
        parts = [self.loss.astype("<f4").tobytes(), change(levels).tobytes()]
        parts += [] if self.frames is None else [change(self.frames).tobytes()]
        parts += [] if self.target is None else [self.target.tobytes()]
        return zlib.compress(b"".join(parts), 9)

    def top(self, entry: int) -> str:
        """The largest task of an entry in words, as the read-out says it."""
        z = self.z[entry]
        if len(z) > 1 and z.max() - z.min() < 5e-4:
            return f"all {len(z)} equal at {number(z[0])}"
        best = int(z.argmax())
        return f"{self.noun} {self.labels[best]} at {number(z[best])}".strip() + self._of_group(z, best)

    def _of_group(self, z: np.ndarray, task: int) -> str:
        """The group of a task in words, with its total where z is a belief."""
        start = 0
        for name, size in self.groups:
            if task < start + size:
                total = f", {number(z[start : start + size].sum())} in all" if self.simplex else ""
                return f" ({name}{total})"
            start += size
        return ""


def number(value: float) -> str:
    """A number as the read-out writes it: two decimals below 10, one below 1,000, then none; if small, two digits.

    Which, the rounded number decides: 9.999 is 10.0.
    """
    if abs(value) < 1e-6:
        return "0.00"
    rounded = float(f"{value:.{_decimals(value)}f}")
    return f"{rounded:.{_decimals(rounded)}f}".replace("-", "\N{MINUS SIGN}")


def _decimals(value: float) -> int:
    size = abs(value)
    return 1 - math.floor(math.log10(size)) if size < 0.01 else 2 if size < 10 else 1 if size < 1000 else 0


def read(
    record: Any,
    sample: int = 0,
    labels: Labels = None,
    title: str | None = None,
    words: Words | None = None,
    groups: Sequence[str] | None = None,
) -> Path:
    """Take one ``sample`` out of a Trajectory. Raises ``ValueError`` with one clear sentence for a bad input."""
    if not isinstance(record, Trajectory):
        raise ValueError(f"scrub() shows a Trajectory, as iterate() returns it, but was given a {kind(record)}.")
    if 0 in record.z.shape:
        raise ValueError(f"The record is empty: its z has the shape {tuple(record.z.shape)} (steps, samples, tasks).")
    batch = record.z.shape[1]
    sample = index_of(sample, batch, "sample", f"the record holds {batch} samples")
    z, loss = finite(record.z[:, sample], "z"), finite(record.loss[:, sample], "loss")
    noun, names = names_of(labels, z.shape[1])
    order, grouped = _grouped(groups, z.shape[1])
    z, names = z[:, order], [names[k] for k in order]
    frames, target = _images(record, sample)
    return Path(z, loss, record.q is not None, names, noun, title or "", frames, target, _words(words or {}), grouped)


def _grouped(groups: Sequence[str] | None, dim: int) -> tuple[list[int], tuple[tuple[str, int], ...]]:
    """The order of the tasks that puts each group together, groups by name, and name and size of each group."""
    if groups is None:
        return list(range(dim)), ()
    of = [] if isinstance(groups, str) else [str(group) for group in groups]
    if len(of) != dim:
        raise ValueError(f"groups names the group of {len(of)} tasks, but the record's z has {dim}: give one a task.")
    names = sorted(set(of))
    return sorted(range(dim), key=lambda k: (names.index(of[k]), k)), tuple((name, of.count(name)) for name in names)


def index_of(value: Any, size: int, what: str, there: str, lowest: int = 0) -> int:
    """A place among ``size`` as an ``int``, whatever kind of whole number it is, NumPy's and PyTorch's too.

    ``there``: what there is to choose from, for the error. Raises ``ValueError`` where it is not ``lowest`` or more and
    below ``size``.
    """
    with contextlib.suppress(TypeError):
        if not isinstance(value, bool) and lowest <= (index := operator.index(value)) < size:
            return index
    raise ValueError(f"{what} is {value!r}: {there}, so choose one of 0 to {size - 1}.")


def kind(value: Any) -> str:
    """Name of a value's type."""
    return type(value).__name__


def finite(values: Tensor, what: str, entry: str = "step") -> np.ndarray:
    """The values as float64. Raises ``ValueError`` with the first entry at which one is not finite in 32 bits."""
    array = values.detach().to("cpu", torch.float64).numpy()
    bad = ~(np.abs(array.reshape(len(array), -1)) < 1e38).all(1)  # the browser has 32 bits
    if bad.any():
        raise ValueError(
            f"The record's {what} is not finite at {entry} {int(bad.argmax())}: find out why before drawing."
        )
    return array


def names_of(labels: Labels, dim: int, what: str = "z") -> tuple[str, list[str]]:
    """The noun ("digit") and a name for each task: numbers, or what was given."""
    if labels is None or isinstance(labels, str):
        return labels or "task", [str(k) for k in range(dim)]
    names = [str(label) for label in labels]
    if len(names) != dim:
        raise ValueError(f"labels names {len(names)} tasks, but the record's {what} has {dim}: give one name a task.")
    return "", names


def _words(given: Words) -> dict[str, str]:
    if unknown := set(given) - set(WORDS):
        raise ValueError(f"words names {sorted(unknown)}, but the parts of the view are {', '.join(WORDS)}.")
    return WORDS | dict(given)


def _images(record: Trajectory, sample: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Frames (S+1, H, W) and target (H, W) of one sample as uint8, in colour (..., 3, H, W); on one common scale."""
    if record.frames is None:
        return None, None
    frames = _pictures(record.frames[:, sample], 1, "frames")
    target = None if record.target is None else _pictures(record.target[sample], 0, "target")
    if target is not None and target.shape != frames.shape[1:]:
        raise ValueError(f"frames are {_size(frames.shape[1:])}, the target {_size(target.shape)}: make them equal.")
    if record.target is not None and (record.target.dtype == torch.uint8) != (record.frames.dtype == torch.uint8):
        raise ValueError(
            f"frames are {record.frames.dtype}, the target {record.target.dtype}: give both as uint8, or in [0, 1]."
        )
    if record.frames.dtype == torch.uint8:
        return frames.astype(np.uint8), None if target is None else target.astype(np.uint8)
    low = min(0.0, frames.min(), 0.0 if target is None else target.min())
    high = max(1.0, frames.max(), 1.0 if target is None else target.max())
    scaled = [None if a is None else np.rint((a - low) / (high - low) * 255).astype(np.uint8) for a in (frames, target)]
    return scaled[0], scaled[1]


def _pictures(values: Tensor, lead: int, what: str) -> np.ndarray:
    array = finite(values, what)
    if array.ndim == lead + 3 and array.shape[lead] == 1:
        array = array.squeeze(lead)  # one grey channel
    if array.ndim != lead + 2 and not (array.ndim == lead + 3 and array.shape[lead] == 3):
        raise ValueError(
            f"{what} must be grey images (height, width) or colour images (3, height, width), "
            f"but one has shape {tuple(array.shape[lead:])}."
        )
    return array


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def change(values: np.ndarray) -> np.ndarray:
    """Each entry minus the one before, wrapping around as unsigned integers do; the first entry as it is."""
    return np.concatenate([values[:1], values[1:] - values[:-1]])
