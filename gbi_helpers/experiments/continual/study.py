"""Continual learning: split-MNIST in three scenarios, methods against sums, and gates on permuted-MNIST.

Settings that a method has (the strength of EWC and SI, shrinkage) were chosen on validation images, for each seed by
itself; test images are used for the numbers written, and for nothing else. The order of the digits is the seed's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gbi_helpers import metrics, runtime
from gbi_helpers.data import load_mnist
from gbi_helpers.experiments.continual import cifar, networks, permuted, sums
from gbi_helpers.experiments.continual.scenarios import (
    SCENARIOS,
    Labelled,
    Scenario,
    Split,
    components,
    in_order,
    patches,
    pixels,
)
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import ALL, SMALL, Row, Study
from gbi_helpers.files import DataError

Settings = Mapping[str, Any]
Measure = Callable[["World", int, Settings], dict[str, Any]]


@dataclass(frozen=True)
class World:
    """The images (N, 1, 28, 28) of one process, and their digits."""

    images: dict[str, Labelled]
    digest: str
    facts: Settings

    def split(self, seed: int, settings: Settings) -> Split:
        """What the settings say is seen of the images, in the order of the seed."""
        ordered = in_order(self.images, seed)
        x, y = ordered["train"]
        ordered["train"] = x[: settings["n"]], y[: settings["n"]]
        seen = patches(ordered, settings.get("filters", 64)) if settings["sees"] == "patches" else pixels(ordered)
        return components(seen, settings["components"]) if "components" in settings else seen


def opened(shelf: Shelf, variant: str) -> World:
    """All of MNIST, or a few images. ``DataError`` without the full set."""
    data = load_mnist("slice" if variant == SMALL else "full")
    if variant == SMALL:
        data = data.cut(600, 200, 200)
    elif len(data.train) < 50_000:
        raise DataError(f"The full set is not at hand ({data.source}): see 'gbi data', or use --size small.")
    device = runtime.device()
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    images = {name: (part.pixels().to(device), part.y.to(device)) for name, part in parts.items()}
    return World(images, data.digest, {"data": data.source})


def network(world: World, seed: int, settings: Settings) -> dict[str, Any]:
    """One method in one scenario; where it has a strength, each of the sweep's, and the one chosen on validation."""
    split, scenario = world.split(seed, settings), settings["scenario"]

    def run(tested: str, **options: Any) -> tuple[Tensor, int]:
        method = networks.METHODS[settings["method"]](**settings.get("options", {}), **options)
        return networks.run(split, scenario, method, seed, settings, tested), method.stored

    if "sweep" not in settings:
        r, stored = run("test")
        return networks.told(r) | {"stored": stored}
    swept = [metrics.final_accuracy(run("validation", strength=strength)[0]) for strength in settings["sweep"]]
    tested = [run("test", strength=strength) for strength in settings["sweep"]]
    best = max(range(len(swept)), key=swept.__getitem__)
    found = {"validation": swept, "test": [metrics.final_accuracy(r) for r, _ in tested]}
    found["learned"] = [metrics.learning_accuracy(r) for r, _ in tested]
    return networks.told(tested[best][0]) | found | {"strength": settings["sweep"][best], "stored": tested[best][1]}


def joint(world: World, seed: int, settings: Settings) -> dict[str, Any]:
    """Everything at once: the upper line, and what more classes alone cost."""
    split = world.split(seed, settings)
    return networks.told(networks.joint(split, settings["scenario"], seed, settings, "test"))


def streamed(world: World, seed: int, settings: Settings) -> dict[str, Any]:
    """The decoder of sums, in all scenarios and by every reading."""
    by_reading, facts = sums.through_contexts(world.split(seed, settings), settings)
    return facts | {name: {how: networks.told(r) for how, r in by.items()} for name, by in by_reading.items()}


def natural(world: World, seed: int, settings: Settings) -> dict[str, Any]:
    """Natural gates: a covariance for each digit, class-incremental."""
    r, facts = sums.natural(world.split(seed, settings), settings["shrink"])
    return facts | networks.told(r)


def gated(world: World, seed: int, settings: Settings) -> dict[str, Any]:
    """Permuted pixels: a network with gates, its context given or inferred from the image."""
    return permuted.permuted(world.images["train"], world.images["test"], seed, settings)


PIXELS = {"sees": "pixels", "n": 15_000, "hidden": (100, 100), "training": {"steps": 200, "batch_size": 64, "lr": 1e-3}}
PATCHES = {
    "sees": "patches",
    "n": 15_000,
    "hidden": (200, 200),
    "training": {"steps": 200, "batch_size": 128, "lr": 5e-4},
}
SWEEPS = {"ewc": (1e2, 1e4, 1e6, 1e8), "si": (1.0, 1e2, 1e4, 1e6)}
SHRINK = {"shrink": (0.003, 0.01, 0.03, 0.1, 0.3)}
WORDS = {"fine_tuning": "fine-tuning", "ewc": "EWC", "si": "SI", "lwf": "LwF"}


def _networks(sees: Settings, scenario: Scenario, where: str) -> dict[str, Row]:
    """Every method in one scenario."""
    told = {**sees, "scenario": scenario}
    rows = {
        name: Row(network, words, {**told, "method": name} | ({"sweep": SWEEPS[name]} if name in SWEEPS else {}))
        for name, words in WORDS.items()
    }
    for size in (100, 1000):
        options = {"size": size, "batch_size": sees["training"]["batch_size"]}
        rows[f"replay_{size}"] = Row(network, f"replay of {size:,}", {**told, "method": "replay", "options": options})
    rows["joint"] = Row(joint, "everything at once", told)
    return {f"{where}/{scenario}/{name}": row for name, row in rows.items()}


ORDERS = {
    "contexts": 10, "moved": 784, "n": 10_000, "test": 2_000, "hidden": (200, 200), "off": 0.5, "method": "fine_tuning",
    "training": {"steps": 120, "batch_size": 64, "lr": 1e-3},
}  # fmt: skip
HELD = {"method": "ewc", "options": {"strength": 100.0}}
REPLAYED = {"method": "replay", "options": {"size": 1000, "batch_size": 64}}
ROWS = {
    **{name: row for scenario in SCENARIOS for name, row in _networks(PIXELS, scenario, "pixels").items()},
    **_networks(PATCHES, "class", "patches"),
    "sums": Row(streamed, "sums of patch features", {"sees": "patches", "n": 15_000, **SHRINK}),
    "sums_60k": Row(streamed, "sums of patch features, all images", {"sees": "patches", "n": None, **SHRINK}),
    "sums_pixels": Row(streamed, "sums of pixels", {"sees": "pixels", "n": 15_000, **SHRINK}),
    "natural_50": Row(
        natural, "natural gates, 50 numbers", {"sees": "pixels", "n": 15_000, "components": 50, **SHRINK}
    ),
    "permuted/fine_tuning": Row(gated, "fine-tuning", {**ORDERS, "off": 0.0}),
    "permuted/ewc": Row(gated, "EWC", {**ORDERS, "off": 0.0, **HELD}),
    "permuted/replay_1000": Row(gated, "replay of 1,000", {**ORDERS, "off": 0.0, **REPLAYED}),
    "permuted/gates": Row(gated, "gates", ORDERS),
    "permuted/gates_ewc": Row(gated, "gates and EWC", {**ORDERS, **HELD}),
    **{
        f"permuted/moved_{n}": Row(gated, f"gates, {n} pixels moved", {**ORDERS, "moved": n})
        for n in (10, 30, 100, 300)
    },
    **cifar.ROWS,
}
STUDY = Study(
    "continual",
    __name__,
    "09",
    ROWS,
    opened,
    {
        "": {},
        SMALL: {
            ALL: {"n": 400, "filters": 8, "training": {"steps": 4, "batch_size": 16, "lr": 1e-3}},
            "natural_50": {"components": 5},
            **{name: {"sweep": (1.0, 100.0)} for name, row in ROWS.items() if "sweep" in row.settings},
            **{name: {"contexts": 3, "test": 50} for name in ROWS if name.startswith("permuted/")},
            **cifar.SMALL,
        },
    },
)
