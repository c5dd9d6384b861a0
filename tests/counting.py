"""A study for the tests: each row notes in a file that it was measured. ``COUNTING`` names a folder for that."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import SMALL, Row, Study
from gbi_helpers.models.image import Classifier
from gbi_helpers.records import TrainingRecord


def note(what):
    folder = Path(os.environ["COUNTING"])
    with (folder / "measured.txt").open("a") as stream:
        stream.write(f"{what}\n")  # a line is written whole
    return folder


@dataclass(frozen=True)
class World:
    shelf: Shelf
    digest: str
    facts: dict = field(default_factory=lambda: {"data": "numbers"})


def fast(world, seed, settings):
    note(f"row {seed}")
    return {"score": seed / 3, "curve": [seed, float("inf")], "which": settings.get("which", 0)}


def together(world, seeds, settings):
    note(f"together {list(seeds)}")
    return {seed: {"score": 10.0 * seed} for seed in seeds}


def slow(world, seed, settings):
    folder = note(f"slow {seed}")
    time.sleep(0.5)
    if seed == 1 and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"score": float(seed)}


def with_network(world, seed, settings):
    train(world, "net", seed)
    note(f"with network {seed}")
    return {"score": float(seed)}


def train(world, network, seed):
    def made(resume):
        note(f"trained {seed}")
        time.sleep(0.3)
        torch.manual_seed(seed)
        return Classifier(channels=2), TrainingRecord(torch.zeros(3), facts={"cpu_seconds": 1.5})

    world.shelf.network(f"{network}-{seed}", [world.digest], made)
    path = world.shelf.place(f"{network}-{seed}", [world.digest], ".safetensors")
    return [path, path.with_suffix(".npz")]


def opened(shelf, variant):
    return World(shelf, os.environ.get("COUNTING_DATA", "data"))


ROWS = {
    "fast": Row(fast, "a fast row"),
    "once": Row(fast, "without randomness", once=True),
    "together": Row(together, "all seeds at once", together=True),
    **{f"net {name}": Row(with_network, "with a network", needs=("net",)) for name in "ab"},
    "slow": Row(slow, "one whose worker dies", only=("dying",)),
}
STUDY = Study("counting", __name__, "00", ROWS, opened, {"": {}, "dying": {}, SMALL: {"fast": {"which": 1}}}, train)
MANY = Study("many", "many", "00", {f"row {n}": Row(fast) for n in range(100)}, opened)  # by name: see many.py
