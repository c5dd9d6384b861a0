"""A study for the tests, in few lines: each row notes in a file of the folder ``COUNTING`` that it was measured."""

import os
import time
from collections import namedtuple
from pathlib import Path

import torch

from gbi_helpers.experiments.study import SMALL, Row, Study
from gbi_helpers.models.image import Classifier
from gbi_helpers.records import TrainingRecord

World = namedtuple("World", "shelf digest facts")


def note(what):
    with (Path(os.environ["COUNTING"]) / "measured.txt").open("a") as stream:
        stream.write(f"{what}\n")  # a line is written whole


def fast(world, seed, settings):
    note(f"row {seed}")
    return {"score": seed / 3, "curve": [seed, float("inf")], "which": settings.get("which", 0)}


def together(world, seeds, settings):
    note(f"together {list(seeds)}")
    return {seed: {"score": 10.0 * seed} for seed in seeds}


def with_network(world, seed, settings):
    note(f"with network {seed}")
    return {"score": float(train(world, "net", seed)[0].sizes["channels"] * seed / 2)}


def train(world, network, seed):
    def made(resume):
        note(f"trained {seed}")
        time.sleep(0.3)
        torch.manual_seed(seed)
        return Classifier(channels=2), TrainingRecord(torch.zeros(3), facts={"cpu_seconds": 1.5})

    return world.shelf.network(f"{network}-{seed}", [world.digest], made)


def files(world, network, seed):
    path = world.shelf.place(f"{network}-{seed}", [world.digest], ".safetensors")
    return [path, path.with_suffix(".npz")]


def opened(shelf, variant):
    return World(shelf, os.environ.get("COUNTING_DATA", "data"), {"data": "numbers"})


NETS = {f"net {name}": Row(with_network, "with a network", needs=("net",)) for name in "ab"}
ROWS = {"fast": Row(fast, "a fast row"), "once": Row(fast, "without randomness", once=True), **NETS}
ROWS["together"] = Row(together, "all seeds at once", together=True)
VARIANTS = {"": {}, SMALL: {"fast": {"which": 1}}}
STUDY = Study("counting", __name__, "00", ROWS, opened, VARIANTS, train=train, files=files)
