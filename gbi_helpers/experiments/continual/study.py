"""Continual learning: split-MNIST in three scenarios, methods against sums, and gates on permuted-MNIST.

Settings that a method has (the strength of EWC and SI, shrinkage) were chosen on validation images, for each seed by
itself; test images are used for the numbers written, and for nothing else. The order of the digits is the seed's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gbi_helpers import metrics, runtime
from gbi_helpers.data import load_mnist
from gbi_helpers.experiments.continual import cifar, drawing, dreams, further, language, networks, permuted, sums, toy
from gbi_helpers.experiments.continual.scenarios import (
    SCENARIOS,
    Labelled,
    Scenario,
    Split,
    components,
    expanded,
    in_order,
    patches,
    pixels,
)
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import ALL, SMALL, Row, Settings, Study
from gbi_helpers.files import DataError


@dataclass(frozen=True)
class World:
    """The images (N, 1, 28, 28) of one process, and their digits."""

    images: dict[str, Labelled]
    digest: str
    facts: Settings

    def split(self, seed: int, settings: Settings) -> Split:
        """What the settings say is seen of the images, in the order of the seed."""
        ordered = dict(in_order(self.images, None if settings.get("as_named") else seed))
        x, y = ordered["train"]
        ordered["train"] = x[: settings["n"]], y[: settings["n"]]
        filters, known = settings.get("filters", 64), settings.get("known", 2)
        seen = patches(ordered, filters, known=known) if settings["sees"] == "patches" else pixels(ordered)
        seen = components(seen, settings["components"]) if "components" in settings else seen
        return expanded(seen, settings["expanded"]) if "expanded" in settings else seen


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
    """One method in one scenario; where a setting is swept (a strength), each choice, and the best on validation."""
    split, sweep = world.split(seed, settings), settings.get("sweep")
    options, swept_by = settings.get("options", {}), settings.get("swept", "strength")
    told = [{**options, **({swept_by: each} if sweep else {})} for each in sweep or (None,)]
    methods = [networks.METHODS[settings["method"]](**options) for options in told]
    runs = [networks.run(split, settings["scenario"], method, seed, settings) for method in methods]
    swept = [metrics.final_accuracy(r["validation"]) for r in runs]
    best = max(range(len(runs)), key=swept.__getitem__)
    found = networks.told(runs[best]["test"]) | {"stored": methods[best].stored}
    if not sweep:
        return found
    tested = {"test": metrics.final_accuracy, "learned": metrics.learning_accuracy}
    return (
        found
        | {"validation": swept, "strength": sweep[best]}
        | {name: [of(r["test"]) for r in runs] for name, of in tested.items()}
    )


def joint(world: World, seed: int, settings: Settings) -> dict[str, Any]:
    """Everything at once: the upper line, and what more classes alone cost."""
    return networks.told(networks.joint(world.split(seed, settings), settings["scenario"], seed, settings))


def best_joint(world: World, seed: int, settings: Settings) -> dict[str, Any]:
    """Everything at once, trained until nothing is gained, the size chosen on validation images."""
    return networks.best_at_once(world.split(seed, settings), seed, settings)


def with_few(world: World, seed: int, settings: Settings) -> dict[str, Any]:
    """The decoder of sums after few images of each digit."""
    return sums.with_few(world.split(seed, settings), settings["sizes"], settings["shrink"])


def streamed(world: World, seed: int, settings: Settings) -> dict[str, Any]:
    """The decoder of sums, in all scenarios and by every reading."""
    by_reading, facts = sums.through_contexts(world.split(seed, settings), settings)
    return facts | {name: {how: networks.told(r) for how, r in by.items()} for name, by in by_reading.items()}


def alone(world: World, seed: int, settings: Settings) -> dict[str, Any]:
    """What is read in one way, class-incremental: natural gates, a covariance for each digit; or ridge regression."""
    r, facts = getattr(sums, settings.get("reads", "natural"))(world.split(seed, settings), settings["shrink"])
    return facts | networks.told(r)


def gated(world: World, seed: int, settings: Settings) -> dict[str, Any]:
    """Permuted pixels: a network with gates, its context given or inferred from the image."""
    return permuted.permuted(world.images, seed, settings)


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
# sizes and length of van de Ven et al. 2022, with their strengths for each scenario, and lower ones for EWC
LONG = {"sees": "pixels", "n": None, "hidden": (400, 400), "training": {"steps": 2000, "batch_size": 128, "lr": 1e-3}}
LONG_SWEEPS: dict[Scenario, Settings] = {
    "domain": {"ewc": (1e4, 1e6, 1e8, 1e10), "si": (5e4,)},
    "class": {"ewc": (1e4, 1e9), "si": (5e3,)},
}


def _networks(sees: Settings, scenario: Scenario, where: str, sweeps: Settings, sizes: Sequence[int]) -> dict[str, Row]:
    """Every method in one scenario."""
    told = {**sees, "scenario": scenario}
    rows = {
        name: Row(network, words, {**told, "method": name} | ({"sweep": sweeps[name]} if name in sweeps else {}))
        for name, words in WORDS.items()
    }
    for size in sizes:
        options = {"size": size, "batch_size": sees["training"]["batch_size"]}
        rows[f"replay_{size}"] = Row(network, f"replay of {size:,}", {**told, "method": "replay", "options": options})
    if sees is not LONG:  # five trainings, longer and longer
        rows["joint"] = Row(joint, "everything at once", told)
    return {f"{where}/{scenario}/{name}": row for name, row in rows.items()}


def _named(sees: Settings, strengths: Sequence[float]) -> Row:
    """EWC in the domain scenario with the digits as they are named: even against odd, as in the literature."""
    told = {**sees, "scenario": "domain", "as_named": True}
    return Row(network, "EWC, even or odd", {**told, "method": "ewc", "sweep": strengths})


OWN_SWEEPS = {"ewc": (1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8), "si": (1.0, 10.0, 1e2, 1e3, 1e4)}
LOGITS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SHARES = (0.05, 0.1, 0.2, 0.5, 0.8)


def _stronger(sees: Settings, where: str) -> dict[str, Row]:
    """The class scenario again, while each context's own outputs alone compete; and replay of old answers as well."""
    told = {**sees, "scenario": "class"}
    rows = {}
    for name, words in WORDS.items():
        sweep = {"sweep": OWN_SWEEPS[name]} if name in OWN_SWEEPS else {}
        rows[f"{name}_own"] = Row(network, f"{words}, own outputs", {**told, "own": True, "method": name, **sweep})
    for size in (100, 1000):
        options = {"size": size, "batch_size": sees["training"]["batch_size"]}
        replay = {**told, "method": "replay", "options": options, "swept": "logits", "sweep": LOGITS}
        apart = {**told, "own": True, "method": "apart", "options": options, "swept": "share", "sweep": SHARES}
        rows[f"answers_{size}"] = Row(network, f"replay of {size:,} and their old answers (after DER++)", replay)
        rows[f"apart_{size}"] = Row(network, f"replay of {size:,}, new images among their own (ER-ACE)", apart)
    return {f"{where}/class/{name}": row for name, row in rows.items()}


ALL_PATCHES = {"sees": "patches", "n": None}
AT_ONCE = {**ALL_PATCHES, "training": {"epochs": 20, "batch_size": 128, "lr": 1e-3}}
CHOICES = (((200, 200), 0.0), ((1000,), 0.5), ((1000, 1000), 0.5))  # layers and dropout
FEW = {"sizes": (10, 30, 100, 300, 1000), "shrink": (0.01, 0.03, 0.1, 0.3, 1.0)}
FINE = {"shrink": (1e-4, 1e-3, 1e-2, 1e-1)}
SUMS = {
    "sums": Row(streamed, "sums of patch features", {"sees": "patches", "n": 15_000, **SHRINK}),
    "sums_ridge": Row(alone, "ridge, same sums", {"sees": "patches", "n": 15_000, "reads": "ridge", **cifar.RIDGE}),
    "sums_60k": Row(streamed, "sums of patch features, all images", {**ALL_PATCHES, **SHRINK}),
    "sums_pixels": Row(
        streamed, "sums of pixels", {"sees": "pixels", "n": 15_000, "shrink": (0.03, 0.1, 0.3, 0.5, 0.7, 0.9)}
    ),
    "sums_leak": Row(streamed, "sums, filters of all digits", {"sees": "patches", "n": 15_000, "known": 10, **SHRINK}),
    "best_joint": Row(best_joint, "patch features, at once, to the end", {**AT_ONCE, "choices": CHOICES}),
    "sums_few": Row(with_few, "sums of few images", {**ALL_PATCHES, **FEW}),
    **{
        f"sums_{d}": Row(streamed, f"sums of {d} numbers", {"sees": "patches", "n": 15_000, "components": d, **SHRINK})
        for d in (25, 50, 100, 200, 400)
    },
    **{
        f"expanded_{m}": Row(streamed, f"sums of {m:,} random mixtures", {**ALL_PATCHES, "expanded": m, **FINE})
        for m in (2_000, 4_000)
    },
    **{
        f"natural_{d}": Row(
            alone, f"natural gates, {d} numbers", {"sees": "pixels", "n": 15_000, "components": d, **SHRINK}
        )
        for d in (25, 50)
    },
}
ORDERS = {
    "contexts": 10, "moved": 784, "n": 10_000, "test": 10_000, "hidden": (200, 200), "off": 0.5,
    "method": "fine_tuning", "training": {"steps": 120, "batch_size": 64, "lr": 1e-3},
}  # fmt: skip
WIDE = {
    **ORDERS, "n": None, "test": 5_000, "hidden": (1000, 1000),
    "training": {"steps": 1000, "batch_size": 128, "lr": 1e-3},
}  # fmt: skip
UNGATED = {"off": 0.0}
REPLAYED = {"method": "replay", "options": {"size": 1000, "batch_size": 64}}
STRENGTHS = (10.0, 30.0, 100.0, 300.0, 1000.0)


def _gated(told: Settings, where: str, strengths: Sequence[float] = STRENGTHS) -> dict[str, Row]:
    """EWC on permuted pixels, with gates and without."""
    held = {"method": "ewc", "sweep": ("strength", strengths)}
    return {
        f"{where}/ewc": Row(gated, "EWC", {**told, **UNGATED, **held}),
        f"{where}/gates_ewc": Row(gated, "gates and EWC", {**told, **held}),
    }


RESEMBLING = {
    **{
        f"permuted/moved_{n}": Row(gated, f"gates, {n} pixels moved", {**ORDERS, "moved": n})
        for n in (10, 30, 100, 300)
    },
    **{f"rotated/{n}": Row(gated, f"gates, turned by {n} degrees", {**ORDERS, "turn": n}) for n in (5, 20)},
}
ROWS = {
    **{
        name: row
        for scenario in SCENARIOS
        for name, row in _networks(PIXELS, scenario, "pixels", SWEEPS, (100, 1000)).items()
    },
    **_networks(PATCHES, "class", "patches", SWEEPS, (100, 300, 1000, 3000)),
    **_stronger(PIXELS, "pixels"),
    **_stronger(PATCHES, "patches"),
    **{
        name: row
        for scenario in ("domain", "class")
        for name, row in _networks(LONG, scenario, "long", LONG_SWEEPS[scenario], (1000,)).items()
        if not name.endswith("/fine_tuning") and name != "long/class/si"  # nothing hangs on them
    },
    "named/ewc": _named(PIXELS, LONG_SWEEPS["domain"]["ewc"]),
    "named_long/ewc": _named(LONG, (1e8, 1e9)),
    **SUMS,
    "permuted/fine_tuning": Row(gated, "fine-tuning", {**ORDERS, **UNGATED}),
    "permuted/gates": Row(gated, "gates", {**ORDERS, "sweep": ("off", (0.3, 0.5, 0.8))}),
    "permuted/replay_1000": Row(gated, "replay of 1,000", {**ORDERS, **UNGATED, **REPLAYED}),
    **_gated(ORDERS, "permuted"),
    **_gated(WIDE, "wide", (30.0, 100.0, 300.0, 1000.0, 3000.0)),
    **RESEMBLING,
    **toy.ROWS,
    **drawing.ROWS,
    **dreams.ROWS,
    **cifar.ROWS,
    **language.ROWS,
}


def _two(sweep: Sequence[Any]) -> Sequence[Any]:
    """The first two of a sweep's choices."""
    return (sweep[0], sweep[1][:2]) if isinstance(sweep[0], str) else sweep[:2]


FEW_STEPS = {"steps": 4, "batch_size": 16, "lr": 1e-3}
STUDY = Study(
    "continual",
    __name__,
    "09",
    ROWS,
    opened,
    {
        "": {},
        SMALL: {
            ALL: {"n": 400, "filters": 8, "hidden": (8, 8), "training": FEW_STEPS, "test": 50, "contexts": 3},
            **{name: {"components": 9} for name, row in ROWS.items() if "components" in row.settings},
            **{name: {"expanded": 50} for name, row in ROWS.items() if "expanded" in row.settings},
            **{name: {"sweep": _two(row.settings["sweep"])} for name, row in ROWS.items() if "sweep" in row.settings},
            "best_joint": {"choices": (((8,), 0.5),)},
            "sums_few": {"sizes": (5, 10), "shrink": (0.3, 1.0)},
            **toy.SMALL,
            **drawing.SMALL,
            **dreams.SMALL,
            **cifar.SMALL,
            **language.SMALL,
        },
    },
    digest_for=further.digest_for,
)
