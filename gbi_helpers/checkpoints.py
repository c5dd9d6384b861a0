"""Trained models in files: weights, whose they are, and how they came to be."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from gbi_helpers import runtime
from gbi_helpers.files import load_asset, manifest, part_file
from gbi_helpers.models.base import Described, description, made_from

M = TypeVar("M", bound=nn.Module)


def save_checkpoint(path: str | Path, model: nn.Module, facts: Mapping[str, Any], half: bool = True) -> Path:
    """Write a model's weights to ``path`` (.safetensors), with plain-JSON ``facts`` inside.

    ``half``: in 16 bits, which keep three digits. The facts say which model it is and of what sizes, for
    :func:`load_model`. Register it with :func:`gbi_helpers.files.add_asset` if it is to be shipped.
    Raises ``ValueError`` for a weight that is too large for 16 bits.
    """
    told = {"model": description(model)} if isinstance(model, Described) else {}
    weights = {name: _stored_as(name, value, half) for name, value in model.state_dict().items()}
    with part_file(Path(path)) as part:
        part.write_bytes(save(weights, metadata={"facts": json.dumps(told | dict(facts))}))
    return Path(path)


def _stored_as(name: str, value: Tensor, half: bool) -> Tensor:
    """A weight as a file holds it, on the CPU."""
    kept = value.half() if half and value.is_floating_point() else value
    if (kept.isinf() & value.isfinite()).any():
        raise ValueError(f"{name} has a value above 65504, which 16 bits do not hold: save with half=False.")
    return kept.cpu().clone(memory_format=torch.contiguous_format)  # tied weights must not share memory there


def load_checkpoint(name: str | Path, model: M) -> tuple[M, dict[str, Any]]:
    """Fill ``model`` with weights that :func:`save_checkpoint` wrote; returns it, in eval mode, and the facts.

    ``name``: a shipped asset (say, "checkpoints/mnist_vae_mul.safetensors"), whose SHA-256 is checked, or a path.
    Raises ``ValueError`` when the file is damaged or of another model, ``FileNotFoundError`` for a ``Path`` where no
    file is, ``DataError`` for a text that names neither a file nor an asset, and for a damaged asset.
    """
    path = _place(name)
    facts, weights = _stored(path)
    return _filled(model, weights, path), facts


def load_model(name: str | Path, kind: type[M] = nn.Module) -> tuple[M, dict[str, Any]]:  # type: ignore[assignment]
    """The model in a file of :func:`save_checkpoint`, made by the file's own word of class and sizes; and the facts.

    Whatever PyTorch's defaults are, it is on the CPU with weights in float32, as the course's data are.
    ``kind``: what it is expected to be. Raises as :func:`load_checkpoint` does, also for a file without that word.
    """
    path = _place(name)
    facts, weights = _stored(path)
    with runtime.usual_defaults():
        model = made_from(facts.get("model", {}))
    if not isinstance(model, kind):
        raise ValueError(f"{path} holds a {type(model).__name__}, not a {kind.__name__}.")
    return _filled(model, weights, path), facts


def _place(name: str | Path) -> Path:
    """Where a file of this name lies: a text that is a shipped asset's name means that, and else a path."""
    if isinstance(name, Path) or (name not in manifest() and Path(name).is_file()):
        return Path(name)
    return load_asset(name)


def _stored(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The facts and the weights in a checkpoint."""
    try:
        with safe_open(path, framework="pt") as stored:
            facts = json.loads((stored.metadata() or {}).get("facts", "{}"))
            return facts, {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118, it is no dict
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a checkpoint that can be read; write it again with save_checkpoint."
        ) from error


def _filled(model: M, weights: dict[str, Tensor], path: Path) -> M:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} holds the weights of another model: make one of the same sizes first.") from error
    return model.eval()


def run_facts(**more: Any) -> dict[str, Any]:
    """What a checkpoint or record says of its making: versions, device, commit, and ``more`` (command, seed, ...)."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {"versions": versions, "device": runtime.device().type, "commit": _commit(), **more}


def _commit() -> str | None:
    """The commit of the source tree, or None where there is none."""
    root = Path(__file__).resolve().parents[1]
    ask = ["git", "rev-parse", "--show-toplevel", "HEAD"]
    try:
        told = subprocess.run(ask, cwd=root, capture_output=True, encoding="utf-8", check=True).stdout
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
    top, commit = told.splitlines()
    return commit if Path(top).resolve() == root else None  # an install may lie inside somebody's own repository
