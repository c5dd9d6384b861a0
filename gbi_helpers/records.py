"""Records: what inference and training leave behind, as arrays with named axes.

Inference and training fill a record; plots and widgets only read one. A record is saved in one ``.npz`` file.
"""

from __future__ import annotations

import dataclasses
import json
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
        """Check that every array has its named axes, and that axes of one name agree in length.

        Raises ``ValueError`` where they do not.
        """
        lengths: dict[str, tuple[int, str]] = {}
        for name, axes in self.AXES.items():
            value = getattr(self, name)
            if not isinstance(value, Tensor):
                continue
            named = [axis for axis in axes if axis != "..."]  # a last "..." leaves further axes free
            if value.dim() < len(named) or (value.dim() > len(named) and axes[-1] != "..."):
                raise ValueError(
                    f"{type(self).__name__}.{name} needs the axes {axes}, but has shape {tuple(value.shape)}."
                )
            for axis, length in zip(named, value.shape, strict=False):
                seen, where = lengths.setdefault(axis, (length, name))
                if seen != length:
                    raise ValueError(
                        f"{type(self).__name__}: axis '{axis}' is {seen} long in '{where}' but {length} in '{name}'."
                    )

    def save(self, path: str | Path) -> Path:
        """Write the record to ``path`` (``.npz``), through a part file, so no half-written file is left."""
        arrays: dict[str, np.ndarray] = {}
        plain: dict[str, Any] = {"__record__": type(self).__name__}
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                arrays[item.name] = value.detach().cpu().numpy()
            elif isinstance(value, dict) and value and all(isinstance(v, Tensor) for v in value.values()):
                arrays |= {f"{item.name}/{key}": v.detach().cpu().numpy() for key, v in value.items()}
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
            with np.load(path, allow_pickle=False) as stored:
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
            if key:
                values.setdefault(head, {})[key] = array
            else:
                values[head] = array
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"{path} lacks a field of {kind}, or has one too many; write it again.") from error


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
        """What a step size multiplies (B, K), in nats: minus the gradient, or minus the loss of each task."""
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
    comes from, or None where nobody knows, as for a text that a reader types.
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

    def __post_init__(self) -> None:
        """Check the axes, and that there is one name a word and a task. Raises ``ValueError`` where it is not so."""
        super().__post_init__()
        for name, length in zip(("words", "tasks"), self.belief.shape, strict=True):
            values = getattr(self, name)
            if isinstance(values, str) or not all(isinstance(value, str) for value in values):
                raise ValueError(f"WordsRecord.{name} must be a list of strings, but is {str(values)[:60]!r}.")
            if len(values) != length:
                raise ValueError(
                    f"WordsRecord.{name} names {len(values)}, but its belief has the shape "
                    f"{tuple(self.belief.shape)} (words, tasks)."
                )
            object.__setattr__(self, name, list(values))  # a tuple would come back from the disk as a list
        true = self.true
        if true is not None and (true.is_floating_point() or bool(((true < 0) | (true >= len(self.tasks))).any())):
            raise ValueError(f"WordsRecord.true must hold whole numbers of 0 to {len(self.tasks) - 1}, one a word.")
