"""What a record needs beside the course and its packages: data sets, by their names in ``gbi data``, and machines."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gbi_helpers import runtime
from gbi_helpers.data import cifar, layouts
from gbi_helpers.data.babylm import babylm_folder
from gbi_helpers.data.image_files import given, present
from gbi_helpers.data.image_sets import MNIST
from gbi_helpers.files import DataError, cache_dir
from gbi_helpers.models.eyes import PACKAGE

# By record, the set that those rows need whose names begin so; "" stands for all of its rows.
NEEDED: Mapping[str, Mapping[str, str]] = {
    "mnist_full": {"": "mnist"},
    "ood": {"unopened": "cifar-10"},
    "cifar": {"": "cifar-100"},
    "cifar_far": {"": "cifar-100", "eyes": "borrowed", "both": "borrowed", "wide": "gpu"},
    "language_babylm": {"": "babylm"},
    "language_far": {"": "babylm"},
    "continual": {"": "mnist", "cifar/": "cifar-100"},
    "cost": {"cifar_": "cifar-100", "directions/": "cifar-100"},
    "questions": {"embeddings/": "cifar-100"},
}
NAMES = {
    "mnist": "all of MNIST",
    "cifar-10": "CIFAR-10",
    "cifar-100": "CIFAR-100",
    "babylm": "BabyLM's text",
    "borrowed": "the borrowed eyes",
    "gpu": "a CUDA device",
}
OTHERWISE = {
    "cifar-10": "put cifar-10-test.npz into GBI_DATA_DIR",
    "borrowed": "pip install 'gbi-helpers[borrowed]'",
    "gpu": "run these rows on a machine that has one",
}


def needs(record: str, row: str) -> list[str]:
    """The sets that a row of a record needs: ["mnist", "cifar-100"]; none where the course brings all."""
    return [key for start, key in NEEDED.get(record, {}).items() if row.startswith(start)]


def at_hand(key: str) -> bool:
    """Whether the set lies in GBI_DATA_DIR or, whole, in the cache. Only looks, and into the cache alone."""
    try:
        return bool(_PLACES[key]())
    except DataError:
        return False


def advice(key: str) -> str:
    """How to get a set: "CIFAR-100: gbi data get cifar-100"."""
    return f"{NAMES[key]}: {OTHERWISE.get(key, f'gbi data get {key}')}"


def _cifar10() -> bool:
    folder = layouts.data_dir()
    places = [folder / "cifar-10-test.npz"] if folder else []
    return any(path.exists() for path in [*places, (folder or cache_dir()) / "cifar-10-batches-py" / "test_batch"])


def _cifar100() -> bool:
    return bool(cifar.given() or any(map(_whole, filter(None, map(cifar.kept, (cifar.FILE, cifar.FOLDER))))))


def _whole(path: Path) -> bool:
    try:
        return bool(cifar.read(path))
    except DataError:
        return False


_PLACES: dict[str, Callable[[], Any]] = {
    "mnist": lambda: given(MNIST) or present(cache_dir(), MNIST),
    "cifar-10": _cifar10,
    "cifar-100": _cifar100,
    "babylm": lambda: babylm_folder()[1],
    "borrowed": lambda: importlib.util.find_spec(PACKAGE),
    "gpu": lambda: runtime.device().type == "cuda",
}
