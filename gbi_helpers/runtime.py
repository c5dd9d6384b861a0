"""Where and how the course runs: device, seeds, profile."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator

import torch

PROFILES = ("quick", "full")


def device() -> torch.device:
    """The CUDA device where there is one, else the CPU. ``GBI_DEVICE`` (say, ``cpu``) overrides.

    Raises ``ValueError`` when that names no kind of device, or one that cannot compute here.
    """
    named = os.environ.get("GBI_DEVICE")
    try:
        found = torch.device(named or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ValueError(f"GBI_DEVICE is '{named}': set it to cpu or cuda, or unset it.") from error
    if named:
        _compute(found)
    return found


@functools.cache
def _compute(on: torch.device) -> None:
    try:
        torch.zeros((), device=on, dtype=torch.float32).item()
    except (RuntimeError, AssertionError) as error:  # the latter where PyTorch was built without CUDA
        told = f"GBI_DEVICE is '{on}', on which PyTorch cannot compute here: set it to cpu, or unset it."
        raise ValueError(told) from error


def profile() -> str:
    """``quick`` without a GPU, ``full`` with one; ``GBI_PROFILE`` overrides. Raises ``ValueError`` for another name."""
    name = os.environ.get("GBI_PROFILE") or ("full" if device().type == "cuda" else "quick")
    if name not in PROFILES:
        raise ValueError(f"GBI_PROFILE is '{name}': set it to one of {', '.join(PROFILES)}, or unset it.")
    return name


@contextlib.contextmanager
def usual_defaults() -> Iterator[None]:
    """New tensors and modules are float32 on the CPU inside, whatever ``torch.set_default_device`` (or dtype) says.

    For what has no input to take after, but must be the same for every reader: a network drawn from a seed.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:  # a device as context makes every call slower, so only where it is needed
        with contextlib.nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def random_state_kept(*devices: torch.device, seed: int | None = None) -> Iterator[None]:
    """What is drawn inside leaves PyTorch's random state as it was, on the CPU and on those ``devices`` that are GPUs.

    With ``seed`` it starts there. Other GPUs are not touched: to ask for their state would open each of them, and
    ``torch.manual_seed`` would seed each of them for good.
    """
    gpus = [device for device in dict.fromkeys(devices) if device.type == "cuda"]
    with torch.random.fork_rng(devices=gpus):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
            for gpu in gpus:
                with torch.cuda.device(gpu):
                    torch.cuda.manual_seed(seed)
        yield


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread inside: sums, and so the last digits, depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
