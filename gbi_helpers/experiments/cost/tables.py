"""Accuracy against price for readers: one table a set, who is on the frontier, and what validation chooses.

Prices are forwards of the decoder a sample. ± is 95 % of the mean over seeds and, for what is right, over test samples;
of differences, which are paired, over seeds alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.tables import Table, interval, with_samples
from gbi_helpers.metrics import Summary

PROPOSERS = {
    "one_step": "one step",
    "delta": "one step + δ",
    "dreamed": "one step + δ of 100 dreams",
    "start": "one step from the exact start",
    "mean": "nearest mean of pixels",
    "gaussians": "a Gaussian for each class",
    "softmax": "softmax regression",
    "classifier": "classifier",
    "unigram": "counts of words",
    "bigram": "counts of words and pairs",
    "namer": "LSTM that names",
}
WAYS = {
    "all": "all K passes",
    "midpoint": "one step, and one between the two best",
    "zoom_half": "one step, halving the survivors",
    "zoom_quarter": "one step, quartering the survivors",
    "race_98": "all passes word by word, those far behind dropped (98 %)",
    "race_99": "all passes word by word, those far behind dropped (99 %)",
}
PASSED = {
    "": "",
    "_top_2": ", best 2 re-scored",
    "_top_3": ", best 3 re-scored",
    "_top_5": ", best 5 re-scored",
    "_top_10": ", best 10 re-scored",
    "_within_98": ", those within the threshold (98 %) re-scored",
    "_within_99": ", those within the threshold (99 %) re-scored",
    "_best": ", as many re-scored as validation likes",
}
LABELS = WAYS | {name + way: words + more for name, words in PROPOSERS.items() for way, more in PASSED.items()}
RIVALS = ("mean", "gaussians", "softmax", "classifier", "unigram", "bigram", "namer")
MAIN = (
    *("one_step", "delta", "dreamed", "start", "one_step_within_99", "delta_within_99", "one_step_top_2"),
    *("one_step_top_3", "one_step_top_10", "midpoint", "zoom_quarter", "zoom_half", "all"),
)

Point = tuple[str, float, float]  # way, price, accuracy


def ways(results: Results, row: str) -> list[str]:
    """The ways that a set has, in the order of the labels."""
    return [way for way in LABELS if results.has(row, way, "accuracy")]


def points(results: Results, row: str, rivals: bool = True) -> list[Point]:
    """Each way of a set with its mean price and accuracy, the cheapest first; without ``rivals``: ours alone."""
    found = [
        (way, results.mean(row, way, "price"), results.mean(row, way, "accuracy"))
        for way in ways(results, row)
        if rivals or not way.startswith(RIVALS)
    ]
    return sorted(found, key=lambda point: (point[1], -point[2]))


def curve(results: Results, row: str, proposer: str) -> tuple[list[float], list[float]]:
    """Price and accuracy of a proposer alone, and with 2, 3, 5, 10 of its best re-scored, where there are so many."""
    names = [proposer + more for more in PASSED if more in ("", "_top_2", "_top_3", "_top_5", "_top_10")]
    there = [way for way in names if results.has(row, way)]
    price, right = ([results.mean(row, way, what) for way in there] for what in ("price", "accuracy"))
    return price, right


def pareto(results: Results, row: str, rivals: bool = True) -> list[Point]:
    """The ways that nothing at most as dear is as accurate as, the cheapest first: the frontier."""
    kept: list[Point] = []
    for point in points(results, row, rivals):
        if not kept or point[2] > kept[-1][2]:
            kept.append(point)
    return kept


def priced(results: Results, row: str, chosen: Sequence[str] = MAIN) -> Table:
    """The chosen ways of a set that it has, the cheapest first."""
    there = [way for way, *_ in points(results, row) if way in chosen]
    return ["way", "forwards", "% right", "% as all passes"], [_line(results, row, way) for way in there]


def beside(results: Results, row: str) -> Table:
    """The rivals of a set: each alone, with two passes, with those that are near enough, and what validation likes."""
    told = {
        "": "alone",
        "_top_2": "best 2",
        "_within_99": "within the threshold",
        "_best": "as many as validation likes",
    }
    there = [name for name in ("one_step", "delta", *RIVALS) if results.has(row, name)]
    header = ["who proposes", *(f"{words}: {what}" for words in told.values() for what in ("forwards", "% right"))]
    return header, [
        [LABELS[name], *(text for way in told for text in _line(results, row, name + way)[1:3])] for name in there
    ]


def _line(results: Results, row: str, way: str) -> list[str]:
    price, same = (results.summary(row, way, key) for key in ("price", "agreement"))
    return [LABELS[way], f"{price.mean:.2f}", interval(right(results, row, way), 1), interval(same, 1)]


def right(results: Results, row: str, way: str) -> Summary:
    """Accuracy of a way, with an interval that counts the test samples, too."""
    return with_samples(results.summary(row, way, "accuracy"), int(results.first(row, "samples", "test")))


NETS = {
    "vae_mul": "digits, VAE-mul",
    "gradient_aware": "digits, gradient-aware",
    "words_5": "text, 5 words",
    "words_20": "text, 20 words",
    "words_50": "text, 50 words",
}


def theorem(results: Results) -> Table:
    """The mean gap of trained networks against minus a KL divergence: on what they dream, and on real data."""
    header = [
        "network",
        "on its dreams: slope",
        "on real data: slope",
        "of the tasks: correlation",
        "shared by all samples, %",
    ]
    shown = []
    for name, words in NETS.items():
        told = [("dreams", "mean", "slope"), ("data", "mean", "slope"), ("data", "mean", "correlation")]
        found = [results.summary(f"dreams/{name}", *path) for path in told]
        shared = results.summary(f"dreams/{name}", "shares", "shared")
        shown.append([words, interval(found[0], 3), *(interval(one, 2) for one in found[1:]), interval(shared, 0)])
    return header, shown


MENDED = {
    "one step": ("delta", "one_step"),
    "+ δ by passes": ("delta", "measured"),
    "+ δ of 256 dreams": ("delta", "dreamed", "256"),
    "from the fitted start": ("start", "steps"),
    "all passes": ("delta", "exact"),
}


def mended(results: Results) -> Table:
    """% right of trained networks by one step, mended in the ways of the theory."""

    def line(name: str) -> list[str]:
        last = str(results.settings[f"start/{name}"]["steps"][-1])  # where the fit of the start ends
        ends = {"start": [last]}
        paths = [(f"{study}/{name}", *path, *ends.get(study, ())) for study, *path in MENDED.values()]
        return [NETS[name], *(interval(results.summary(*path, "accuracy"), 1) for path in paths)]

    return ["network", *MENDED], [line(name) for name in NETS]
