"""What took long, kept on disk under a mark of all that it depends on: rows, networks, views of data.

Two processes, and two machines, may use one shelf: a file appears whole, is never rewritten, and is made by one alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from gbi_helpers.checkpoints import load_model, save_checkpoint
from gbi_helpers.files import locked, part_file, sweep, writable_cache
from gbi_helpers.records import TrainingRecord
from gbi_helpers.runtime import device

T = TypeVar("T")
Trained = tuple[Any, TrainingRecord]


def mark(*depends: Any) -> str:
    """Eight letters that differ where the plain values do. Raises ``TypeError`` for a value that is not plain."""
    plain = json.dumps(depends, sort_keys=True, default=_named)
    return hashlib.sha256(plain.encode()).hexdigest()[:8]


def _named(value: Any) -> str:
    if isinstance(value, Path | torch.dtype | torch.device):
        return str(value)
    raise TypeError(f"A mark is made of plain values, not of a {type(value).__name__}: give a digest of it.")


@dataclass(frozen=True)
class Shelf:
    """A folder of things that took long."""

    folder: Path

    @staticmethod
    def of(name: str) -> Shelf:
        """The shelf of this name in the user's cache. Raises ``DataError`` where that cannot be written."""
        folder = writable_cache() / "shelf" / name
        sweep(folder, "*.part")
        return Shelf(folder)

    def place(self, name: str, depends: Any, ending: str = ".json") -> Path:
        """Where a thing of this name that depends on this lies, or would.

        What another kind of device than the CPU has made has another place: its digits are others.
        """
        kind = device().type
        told = mark(depends) if kind == "cpu" else mark(depends, kind)
        return self.folder / f"{name.replace('/', '-').replace(' ', '_')}-{told}{ending}"

    def get(self, path: Path, make: Callable[[], T], load: Callable[[Path], T], save: Callable[[T, Path], Any]) -> T:
        """The thing from disk, or made now and kept. Who comes second waits; a damaged file is made anew, said once."""
        with locked(path):
            with contextlib.suppress(LookupError):
                return _read(path, load)
            made = make()
            with part_file(path) as part:
                save(made, part)
            return made

    def values(self, name: str, depends: Any, make: Callable[[], Any]) -> Any:
        """Plain values, as JSON."""
        return self.get(self.place(name, depends), make, read_values, write_values)

    def network(self, name: str, depends: Any, train: Callable[[Path], Trained]) -> Trained:
        """A trained network in eval mode, and its training record.

        ``train(resume)`` makes both; it may leave a file at ``resume``, from which it goes on if it was stopped.
        """
        path = self.place(name, depends, ".safetensors")
        record = path.with_suffix(".npz")

        def save(trained: Trained, part: Path) -> None:
            trained[1].save(record)
            save_checkpoint(part, trained[0], {}, half=False)

        model, kept = self.get(
            path,
            lambda: train(_resumed(path.with_suffix(".pt"))),
            lambda p: (load_model(p)[0], TrainingRecord.load(_seen(record))),
            save,
        )
        return model.eval(), kept


def read_kept(path: Path) -> Any:
    """The plain values that lie there; None where nothing does, or nothing that can be read."""
    with contextlib.suppress(LookupError):
        return _read(path, read_values)
    return None


def _read(path: Path, load: Callable[[Path], T]) -> T:
    """What lies there; ``LookupError`` where nothing does, or what is damaged. The system's own errors are raised."""
    try:
        return load(_seen(path))
    except FileNotFoundError as error:
        raise LookupError from error
    except Exception as error:  # one wrong bit makes NumPy, zipfile and pickle raise any of ten kinds
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
            raise  # no fault of the file
        print(f"{path} is damaged: what it held is made anew.", file=sys.stderr)
        path.unlink(missing_ok=True)  # said once
        raise LookupError from error


def _seen(path: Path) -> Path:
    """A file that has been read through: a disk that fails, or too many open files, raise here, as what they are.

    Inside libraries they would pass for damage.
    """
    with path.open("rb") as stream:
        while stream.read(1 << 20):
            pass
    return path


def _resumed(path: Path) -> Path:
    """The file from which a training goes on; it is gone if it cannot be read."""
    with contextlib.suppress(LookupError):
        _read(path, lambda whole: torch.load(whole, map_location="cpu", weights_only=True))
    return path


def read_values(path: Path) -> Any:
    """Plain values from a JSON file. Raises ``ValueError`` for a damaged one."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_values(values: Any, path: Path) -> None:
    """Plain values to a JSON file."""
    path.write_text(json.dumps(values), encoding="utf-8")
