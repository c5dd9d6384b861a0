"""Chapter 09's numbers for readers: matrices R, methods by scenario, accuracy over bytes.

± is 95 % of the mean over five orders of the classes and over the test images, of which there are 10,000.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.tables import Table, interval, with_samples
from gbi_helpers.metrics import Summary

SCENARIOS = ("task", "domain", "class")
METHODS = ("fine_tuning", "ewc", "si", "lwf", "replay_100", "replay_1000", "joint")
TOLD = {
    "fine_tuning": "nothing",
    "ewc": "where a context ends",
    "si": "where a context ends",
    "lwf": "where a context ends",
    "replay_100": "where a context ends; keeps images",
    "replay_1000": "where a context ends; keeps images",
    "joint": "everything",
}
TESTED = 10_000
RECALLED: Mapping[str, tuple[str, str, str]] = {
    # task, domain, class; van de Ven, Tuytelaars and Tolias 2022, recalled: shown, never asserted
    "fine_tuning": ("84.3", "60.1", "19.9"),
    "ewc": ("99.1", "63.0", "20.6"),
    "lwf": ("99.6", "71.2", "21.9"),
    "replay_1000": ("99.0", "93.8", "88.8"),
    "joint": ("99.7", "98.6", "98.2"),
}


def widened(value: Summary, tested: int = TESTED) -> Summary:
    """The same with an interval that counts the test images, too."""
    return with_samples(value, tested)


def told(results: Results, row: str, *path: str, tested: int = TESTED) -> str:
    """An accuracy as "97.3 ± 0.4", or a dash where it was not measured."""
    where = path or ("accuracy",)
    return str(widened(results.summary(row, *where), tested)) if results.has(row, *where) else "–"


def extremes(results: Results, row: str, *path: str) -> tuple[float, float]:
    """The worst and the best order of a number, by default the accuracy."""
    values = results.values(row, *(path or ("accuracy",)))
    return float(values.min()), float(values.max())


def r_of(results: Results, row: str, *path: str) -> Tensor:
    """R (T, T), the mean over orders; NaN for contexts that had not come."""
    r = results.values(row, *path, "r").mean(0)
    return r.where(r >= 0, torch.nan)


def methods(results: Results, where: str) -> Table:
    """Every method in every scenario: what it is told, and its accuracy; beside it what the reference study reports.

    In the last column the class scenario again, while only a context's own outputs compete.
    """
    rows = []
    for name in METHODS:
        known = [f"{where}/{how}/{name}" for how in SCENARIOS]
        there = next((row for row in known if row in results.rows), None)
        if there:
            reported = RECALLED.get(name, ("–",) * 3)
            shown = [told(results, row) if row in results.rows else "–" for row in known]
            columns = [text for pair in zip(shown, reported, strict=True) for text in pair]
            rows.append([results.words[there], TOLD[name], *columns, told(results, f"{where}/class/{name}_own")])
    header = ["method", "is told, while learning", *(c for how in SCENARIOS for c in (how, "recalled"))]
    header.append("class, own outputs compete")
    return header, rows


def swept(results: Results, row: str) -> tuple[list[float], Tensor, Tensor]:
    """Of a sweep: the strengths, accuracy (S, C) and learning accuracy (S, C) on test images, by seed and choice."""
    return list(results.settings[row]["sweep"]), results.values(row, "test"), results.values(row, "learned")


def bytes_told(n: float) -> str:
    """A number of bytes for readers."""
    return f"{n / 1e6:.2f} MB" if n >= 1e4 else f"{n:.0f} B"


# ---------------------------------------------------------------- one table a section

LAST = ("one_step_delta", "class", "accuracy")  # of sums


def _listed(results: Results, rows: Mapping[str, Sequence[str]], tested: int = TESTED) -> list[list[str]]:
    """Words and accuracy of rows, each a name and a path in it."""
    return [[words, told(results, row, *path, tested=tested)] for words, (row, *path) in rows.items()]


def orders(results: Results) -> Table:
    """EWC in the domain scenario, by order of the digits and length of training."""
    rows = {
        "in five random orders": ("pixels/domain/ewc", "long/domain/ewc"),
        "as named": ("named/ewc", "named_long/ewc"),
    }
    shown = [[words, told(results, short), told(results, long)] for words, (short, long) in rows.items()]
    return ["digits", "200 steps, 100 units", "2,000 steps, 400 units"], shown


def gated(results: Results) -> Table:
    """Permuted pixels: methods by the z that is used, and with wider networks.

    The same test images are shown in every context, so they count once.
    """
    names = {"fine-tuning": "fine_tuning", "EWC": "ewc", "gates": "gates", "gates and EWC": "gates_ewc"}
    ways = ("given", "inferred", "uniform", "other")
    rows = []
    for words, name in {**names, "replay of 1,000 images": "replay_1000"}.items():
        used = ways if "gates" in name else ways[:1]
        shown = [told(results, f"permuted/{name}", way, "accuracy") for way in used]
        wide = told(results, f"wide/{name}", "inferred", "accuracy", tested=5_000)
        rows.append([words, *shown, *["–"] * (len(ways) - len(used)), wide])
    header = ["method", "context given (or not used)", "inferred from the image", "z = 1/K", "another context's z"]
    return [*header, "1,000 units, inferred"], rows


def rivals(results: Results) -> Table:
    """Everybody on the same patch features."""
    few = {"fine-tuning": "fine_tuning", "EWC": "ewc", "SI": "si", "LwF": "lwf"}
    few |= {f"{words}, own outputs": f"{name}_own" for words, name in few.items()}
    few |= {
        "replay of 1,000 images": "replay_1000",
        "the same, with old answers": "answers_1000",
        "the same, new images among their own": "apart_1000",
        "replay of 3,000 images": "replay_3000",
        "joint, 200 steps a context": "joint",
    }
    rows: dict[str, Sequence[str]] = {words: (f"patches/class/{name}", "accuracy") for words, name in few.items()}
    rows |= {"sums, one step": ("sums", "one_step", *LAST[1:]), "sums, one step + δ": ("sums", *LAST)}
    rows |= {"the same sums, ridge regression": ("sums_ridge",)}
    shown = [[words, "15,000", value] for words, value in _listed(results, rows)]
    all_of_them: dict[str, Sequence[str]] = {
        "sums, one step + δ": ("sums_60k", *LAST),
        "joint, to the end (best of three nets)": ("best_joint",),
    }
    all_of_them |= {f"sums of {n:,} random mixtures, one step + δ": (f"expanded_{n}", *LAST) for n in (2000, 4000)}
    shown += [[words, "55,000", value] for words, value in _listed(results, all_of_them)]
    return ["learner", "images", "% right in the end"], shown


def by_bytes(results: Results) -> dict[str, list[tuple[float, float]]]:
    """Bytes kept and accuracy in the class scenario, by kind of learner; a projection's basis is counted."""
    kept = {
        f"replay, {words}": [
            (784.0 * n, results.mean(f"{row}/class/replay_{n}", "accuracy"))
            for n in (100, 300, 1000, 3000)
            if results.has(f"{row}/class/replay_{n}")
        ]
        for words, row in (("pixels", "pixels"), ("patch features", "patches"))
    }
    sizes = {f"sums_{d}": 4 * 1152 * d for d in (25, 50, 100, 200, 400)} | {"sums": 0}
    kept["sums of patch features, D = 25 to 1,152"] = [
        (results.mean(row, "stored") + basis, results.mean(row, *LAST)) for row, basis in sizes.items()
    ]
    kept["natural gates on pixels, D = 25, 50"] = [
        (results.mean(f"natural_{d}", "stored") + 4 * 784 * d, results.mean(f"natural_{d}", "accuracy"))
        for d in (25, 50)
    ]
    answers = [f"pixels/class/answers_{n}" for n in (100, 1000)]
    kept["replay with old answers, pixels"] = [
        (results.mean(row, "stored"), results.mean(row, "accuracy")) for row in answers
    ]
    row = "pixels/class/ewc_own"
    kept["EWC, own outputs"] = [(results.mean(row, "stored"), results.mean(row, "accuracy"))]
    return kept


def hundred(results: Results) -> Table:
    """Split-CIFAR-100."""
    names = {"fine-tuning": "fine_tuning", "LwF": "lwf", "EWC": "ewc"}
    names |= {f"{words}, own outputs": f"{name}_own" for words, name in names.items()}
    names |= {"replay of 2,000 images": "replay_2000", "the same, with old answers": "answers_2000"}
    names |= {"the same, new images among their own": "apart_2000"}
    names |= {"joint, to the end (best of four nets)": "joint"}
    rows: dict[str, Sequence[str]] = {words: (f"cifar/{name}", "accuracy") for words, name in names.items()}
    ways = {"one step": "one_step", "one step + δ": "one_step_delta", "equidistant, one step": "equidistant"}
    rows |= {f"sums, {words}": ("cifar/sums", way, "accuracy") for words, way in ways.items()}
    rows |= {"sums of the components, one step + δ": ("cifar/sums_components", "one_step_delta", "accuracy")}
    rows |= {"the same sums, ridge regression": ("cifar/ridge", "accuracy")}
    return ["learner", "% right in the end, of 100 classes"], _listed(results, rows, tested=8_000)


def texts(results: Results) -> Table:
    """Sources of text one after another, nats a word."""
    rows = {
        "LSTM": ("lang/no_z", "nothing"),
        "z beside the words and as a gate, given": ("lang/both", "given"),
        "the same, z by counts": ("lang/both", "counts"),
        "the same, z by its own gradient": ("lang/both", "gradient"),
        "fixed random gates, given": ("lang/gates", "given"),
        "the same gates, z by counts": ("lang/gates", "counts"),
        "the same gates, z by the gradient": ("lang/gates", "gradient"),
        "LSTM, 16 windows of each source replayed": ("lang/replay_16", "nothing"),
    }
    parts = ("learning", "loss", "forgetting")
    shown = [[words, *(interval(results.summary(*at, part), 2) for part in parts)] for words, at in rows.items()]
    return ["network", "just after learning", "in the end", "forgotten"], shown


def learned(results: Results) -> Table:
    """Features that are learned on the way, class scenario, pixels."""
    rows = [["fine-tuning", "0", "pixels/class/fine_tuning", "long/class/fine_tuning"]]
    rows += [
        ["dreams of 3 Gaussians a digit", bytes_told(results.mean("dreams/mlp", "stored")), "dreams/mlp", "dreams/long"]
    ]
    rows += [["replay of 1,000 images", bytes_told(785_000), "pixels/class/replay_1000", "long/class/replay_1000"]]
    header = ["network on pixels", "kept", "200 steps, 100 units", "2,000 steps, 400 units"]
    return header, [[words, kept, told(results, short), told(results, long)] for words, kept, short, long in rows]
