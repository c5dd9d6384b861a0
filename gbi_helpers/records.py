"""Records: what inference and training leave behind, as arrays with named axes.

Inference and training fill a record; plots and widgets only read one. A record is saved in one ``.npz`` file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.files import part_file

R = TypeVar("R", bound="Record")


class Record:
    """Base of the records: a frozen dataclass of tensors; ``AXES`` names the axes of each."""

    AXES: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __post_init__(self) -> None:
        """Check that arrays are tensors with their axes, axes of one name alike. Raises ``ValueError`` otherwise."""
        kind, lengths = type(self).__name__, dict[str, tuple[int, str]]()
        for name, value in self._arrays():
            axes = self.AXES[name]
            if not isinstance(value, Tensor):
                raise ValueError(f"{kind}.{name} must be a tensor, but is a {type(value).__name__}: make one of it.")
            named = [axis for axis in axes if axis != "..."]  # a last "..." leaves further axes free
            if value.dim() < len(named) or (value.dim() > len(named) and axes[-1] != "..."):
                raise ValueError(f"{kind}.{name} needs the axes {axes}, but has shape {tuple(value.shape)}.")
            for axis, length in zip(named, value.shape, strict=False):
                seen, where = lengths.setdefault(axis, (length, name))
                if seen != length:
                    raise ValueError(f"{kind}: axis '{axis}' is {seen} long in '{where}' but {length} in '{name}'.")

    def _arrays(self) -> Iterator[tuple[str, Any]]:
        for name in self.AXES:
            value = getattr(self, name)
            if value is not None or not hasattr(type(self), name):  # unless it is None by default
                yield from ((name, each) for each in (value.values() if isinstance(value, dict) else [value]))

    def save(self, path: str | Path) -> Path:
        """Write the record to ``path`` (``.npz``), through a part file, so no half-written file is left."""
        arrays: dict[str, np.ndarray] = {}
        plain: dict[str, Any] = {"__record__": type(self).__name__}
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                arrays[item.name] = _as_array(value)
            elif isinstance(value, dict) and value and all(isinstance(v, Tensor) for v in value.values()):
                arrays |= {f"{item.name}/{key}": _as_array(v) for key, v in value.items()}
            else:
                plain[item.name] = value
        path = Path(path)
        with part_file(path) as part, part.open("wb") as stream:
            np.savez_compressed(stream, __plain__=np.array(json.dumps(plain)), **arrays)  # type: ignore[arg-type]
        return path

    @classmethod
    def load(cls: type[R], path: str | Path) -> R:
        """Read a record that :meth:`save` wrote. Raises ``ValueError`` if the file holds something else."""
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                values = json.loads(str(stored["__plain__"]))
                arrays = {name: torch.from_numpy(stored[name]) for name in stored.files if name != "__plain__"}
                kind = values.pop("__record__")
        except (FileNotFoundError, IsADirectoryError, PermissionError):
            raise
        except Exception as error:  # one wrong bit makes NumPy and zipfile raise any of ten kinds
            raise ValueError(f"{path} is not a record that can be read; write it again with .save().") from error
        if kind != cls.__name__:
            raise ValueError(f"{path} holds a {kind}, not a {cls.__name__}: load it with {kind}.load(path).")
        for name, array in arrays.items():
            head, _, key = name.partition("/")
            (values.setdefault(head, {}) if key else values)[key or head] = array
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"{path} lacks a field of {kind}, or has one too many; write it again.") from error


def _as_array(value: Tensor) -> np.ndarray:
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()  # NumPy has no bfloat16


@dataclass(frozen=True, eq=False)
class Posterior(Record):
    """What one inference says of the task of each of B samples, over K tasks.

    ``log_q`` (B, K): log posterior. ``loss``: nats; (B,) at z0 for one step, (B, K) for the enumeration of tasks.
    ``grad`` (B, K): dL/dz at z0, or None where no gradient was taken.
    """

    AXES: ClassVar[dict[str, tuple[str, ...]]] = {
        "log_q": ("batch", "task"),
        "loss": ("batch", "..."),
        "grad": ("batch", "task"),
    }
    log_q: Tensor
    loss: Tensor
    grad: Tensor | None = None

    @property
    def q(self) -> Tensor:
        """Posterior probabilities (B, K); rows sum to 1."""
        return self.log_q.exp()

    @property
    def score(self) -> Tensor:
        """What a step size multiplies (B, K), in nats: minus gradient or loss. ``ValueError`` if neither is (B, K)."""
        if self.grad is None and self.loss.dim() < 2:
            raise ValueError("This posterior has no number for each task but log_q: take one step, or try every task.")
        return -(self.loss if self.grad is None else self.grad)

    @property
    def task(self) -> Tensor:
        """Most probable task of each sample (B,)."""
        return self.log_q.argmax(dim=-1)


@dataclass(frozen=True, eq=False)
class Trajectory(Record):
    """Every step of an iterative inference: S steps leave S + 1 entries, the first one the start.

    ``z`` (S+1, B, D): what the model was fed. ``loss`` (S+1, B): nats, without the penalty.
    ``q`` (S+1, B, K): the posterior, or None where z was free to leave the simplex.
    ``frames`` (S+1, B, ...): what the model made of each z (say, reconstructions), and ``target`` (B, ...) what it
    should have made; both optional, both only for drawing.
    """

    AXES: ClassVar[dict[str, tuple[str, ...]]] = {
        "z": ("step", "batch", "dim"),
        "loss": ("step", "batch"),
        "q": ("step", "batch", "task"),
        "frames": ("step", "batch", "..."),
        "target": ("batch", "..."),
    }
    z: Tensor
    loss: Tensor
    q: Tensor | None = None
    frames: Tensor | None = None
    target: Tensor | None = None

    @property
    def n_steps(self) -> int:
        """Number of gradient steps S (one less than the entries)."""
        return len(self.loss) - 1

    def with_frames(self, frames: Tensor, target: Tensor | None = None) -> Trajectory:
        """The same trajectory with what the model made of each step, (S+1, B, ...), beside the target (B, ...)."""
        return dataclasses.replace(self, frames=frames, target=target)


@dataclass(frozen=True, eq=False)
class TrainingRecord(Record):
    """What a training run leaves: one ``loss`` a step (nats), further ``curves`` by name, and facts about the run."""

    AXES: ClassVar[dict[str, tuple[str, ...]]] = {"loss": ("step", "...")}
    loss: Tensor
    curves: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ModulesRecord(Record):
    """How units divide among tasks during training: F frames (``step``), S seeds, K tasks, H hidden units.

    ``activation`` (F, S, K, H): mean |drive| of each unit on the samples of each task. ``z_only`` (F, S, K, H): the
    same on one set of samples, only Z changing. ``gate`` (F, S, K, H): the gates, or None where there are none.
    ``curves``: metrics (F, S) by name.
    """

    AXES: ClassVar[dict[str, tuple[str, ...]]] = {
        "step": ("frame",),
        "activation": ("frame", "seed", "task", "unit"),
        "z_only": ("frame", "seed", "task", "unit"),
        "gate": ("frame", "seed", "task", "unit"),
        "curves": ("frame", "seed"),
    }
    step: Tensor
    activation: Tensor
    z_only: Tensor
    gate: Tensor | None = None
    curves: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class WordsRecord(Record):
    """What a model believes of the source of a text while it reads: T ``words``, K ``tasks`` (the sources, by name).

    ``belief`` (T, K): the posterior after each word. ``evidence`` (T, K): nats that each word speaks for each task, the
    mean over tasks taken off. ``loss`` (T,): nats of each word. ``true`` (T,) int64: the task that each word really
    comes from, or None where nobody knows, as for a text that a reader types. ``sources``: the names that ``true``
    counts where these are not the tasks, which then are slots that have found themselves something to stand for.
    """

    AXES: ClassVar[dict[str, tuple[str, ...]]] = {
        "belief": ("word", "task"),
        "evidence": ("word", "task"),
        "loss": ("word",),
        "true": ("word",),
    }
    belief: Tensor
    evidence: Tensor
    loss: Tensor
    words: list[str]
    tasks: list[str]
    true: Tensor | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    sources: list[str] | None = None

    def __post_init__(self) -> None:
        """Check the axes, and that there is one name a word and a task. Raises ``ValueError`` where it is not so."""
        super().__post_init__()
        _check_names(self, "belief", words=0, tasks=1)
        _check_whole(self, true=(len(self.tasks if self.sources is None else self.sources), "word"))


@dataclass(frozen=True, eq=False)
class ContinualRecord(Record):
    """What L learners know at S moments ("stages") of learning T contexts, and what they believe of N test images.

    ``r`` (L, S, T): percent right in each context, NaN for contexts to come. ``q`` (L, S, N, K): belief in K classes.
    ``images`` (N, H, W): grey, uint8 or in [0, 1], of classes ``y`` (N,) int64. ``context`` (S,) int64: the one being
    learned, and ``step`` (S,): after how many steps in it. ``known`` (S, K) bool: classes heard of by then.
    ``means`` (S, K, H, W): mean pictures that the last learner keeps of known classes. ``gates`` (T, U): how much the
    first learner uses each unit in each context, 0 to 1. Both are optional.
    """

    AXES: ClassVar[dict[str, tuple[str, ...]]] = {
        "r": ("learner", "stage", "context"),
        "q": ("learner", "stage", "image", "class"),
        "images": ("image", "height", "width"),
        "y": ("image",),
        "context": ("stage",),
        "step": ("stage",),
        "known": ("stage", "class"),
        "means": ("stage", "class", "height", "width"),
        "gates": ("context", "unit"),
    }
    r: Tensor
    q: Tensor
    images: Tensor
    y: Tensor
    context: Tensor
    step: Tensor
    known: Tensor
    learners: list[str]
    contexts: list[str]
    classes: list[str]
    means: Tensor | None = None
    gates: Tensor | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check axes, names and numbers. Raises ``ValueError`` where they are wrong, NaN among them."""
        super().__post_init__()
        _check_names(self, "r", learners=0, contexts=2)
        _check_names(self, "q", classes=3)
        _check_whole(self, y=(len(self.classes), "image"), context=(len(self.contexts), "stage"))
        if (self.context.diff() < 0).any():
            raise ValueError("ContinualRecord.context falls: give the stages in the order in which they were learned.")
        if not ((self.q >= 0).all() and ((self.q.double().sum(-1) - 1).abs() < 1e-3).all()):
            raise ValueError("ContinualRecord.q must hold probabilities: none negative or NaN, the sum over classes 1.")
        come = torch.arange(len(self.contexts), device=self.context.device) <= self.context[:, None]
        if not ((self.r >= 0) & (self.r <= 100) | ~come).all():
            raise ValueError("ContinualRecord.r must be percent, 0 to 100: NaN is for contexts that have not come yet.")


def _check_names(record: Record, array: str, **axes: int) -> None:
    """That a list of strings names each entry of an axis of ``array``."""
    kind, shape = type(record).__name__, tuple(getattr(record, array).shape)
    for name, axis in axes.items():
        values = getattr(record, name)
        if isinstance(values, str) or not all(isinstance(value, str) for value in values):
            raise ValueError(f"{kind}.{name} must be a list of strings, but is {str(values)[:60]!r}.")
        if len(values) != shape[axis]:
            told = f"{kind}.{name} names {len(values)}, but its {array} has the shape {shape}"
            raise ValueError(f"{told}: one name for each of {shape[axis]}.")
        object.__setattr__(record, name, list(values))  # a tuple would come back from the disk as a list


def _check_whole(record: Record, **below: tuple[int, str]) -> None:
    """That arrays hold whole numbers below their limits."""
    for name, (limit, each) in below.items():
        values = getattr(record, name)
        if values is not None and (values.is_floating_point() or bool(((values < 0) | (values >= limit)).any())):
            told = f"{type(record).__name__}.{name} must hold whole numbers"
            raise ValueError(f"{told} of 0 to {limit - 1}, one for each {each}.")
