"""Tables and curves for readers of chapter 11. ± is 95 % of the mean over seeds; differences are paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.tables import Table, interval
from gbi_helpers.metrics import Summary, summarise

STREAMS = {"two/sd_.1": "two, sd .1", "two/sd_.3": "two, sd .3", "square": "four on a square", "line": "four on a line"}
EVIDENCE = {
    "one_step": "one step",
    "corrected": "one step + δ",
    "exact": "all slots read out",
    "hmm": "hidden Markov model",
    "hmm_4": "hidden Markov model, told how many",
}
RIVALS = {
    "descent": "a Z that descends, tuned by labels",
    "neuragem": "a Z that descends, published settings",
    "mixture": "Dirichlet-process mixture, smoothed",
    "kmeans": "k-means, smoothed, told how many",
}
AGREEMENT = {"one_to_one": "one-to-one %", "many_to_one": "many-to-one %", "ari": "ARI"}
SETS = {
    "fashion": "clothes",
    "faint": "faint clothes",
    "rotated": "turned",
    "inverted": "inverted",
    "letters": "letters",
    "photographs": "photographs",
    "noise": "noise",
    "shuffled": "shuffled",
}
ORDERS = {
    "product": "both at one layer",
    "late": "digit first, angle a layer later",
    "operator": "drawing, then a map for each angle",
    "repeated": "drawing, then one map, a times",
    "turned": "drawing, then known turns",
    "equivariant": "the same, code that turns leave alone",
    "classifier": "classifier, two heads",
    "classifier_turned": "classifier told of turns",
}


def cells(results: Results, where: Sequence[str], names: Mapping[str, str], digits: int = 1) -> list[str]:
    """Mean ± half of the 95 % interval for each of the names below a place; three digits more for numbers below 1."""
    return [
        interval(results.summary(*where, name), 3 if name in ("ari", "nmi") else digits)
        if results.has(*where, name)
        else ""
        for name in names
    ]


def discovered(results: Results) -> Table:
    """Who finds the tasks of the streams of numbers, and how many are right of who knows all but the task."""
    lines = []
    for stream, words in STREAMS.items():
        rows = _finders(results, stream)
        for row, told in rows.items():
            lines.append([words, told, *cells(results, [row], AGREEMENT), f"{results.mean(row, 'slots'):.1f}"])
        for row in [row for row in rows if results.has(row, "bayes")][:1]:
            known = f"{results.mean(row, 'bayes'):.1f}"
            lines.append([words, "Bayes, told everything", known, known, "", ""])
    return ["stream", "who", *AGREEMENT.values(), "slots used"], lines


def _finders(results: Results, stream: str) -> dict[str, str]:
    """The rows of a stream that were measured, with the words for each: ours first."""
    named = {stream: EVIDENCE["one_step"]} | {f"{stream}/{way}": told for way, told in EVIDENCE.items()}
    named |= {f"streams/{stream}/{way}": told for way, told in RIVALS.items()}
    return {row: told for row, told in named.items() if row in results.rows}


def readers(results: Results, names: Mapping[str, Sequence[str]]) -> Table:
    """Who finds the sources of a text: a row's name and the keys inside it, by the words for it."""
    header = ["who", *AGREEMENT.values(), "NMI", "slots used"]
    return header, [
        [words, *cells(results, where, {**AGREEMENT, "nmi": ""}), f"{results.mean(*where, 'slots'):.1f}"]
        for words, where in names.items()
    ]


def composed(results: Results, ways: Mapping[str, str]) -> Table:
    """Percent with both factors right: pairs never seen by each way to read, seen pairs by the last one."""
    last = [*ways][-1]
    lines = []
    for order, words in ORDERS.items():
        row = f"composition/{order}"
        if "classifier" in order:
            both = [interval(results.summary(row, pairs, "both"), 1) for pairs in ("unseen", "seen")]
            lines.append([words, *[""] * (len(ways) - 1), *both])
            continue
        unseen = [interval(results.summary(row, "unseen", way, "both"), 1) for way in ways]
        lines.append([words, *unseen, interval(results.summary(row, "seen", last, "both"), 1)])
    return ["decoder", *(f"never seen: {words}" for words in ways.values()), f"seen: {ways[last]}"], lines


def ahead(results: Results, foreign: str, one: str, other: str) -> Summary:
    """AUROC of one score less that of another on a set, in thousandths, seed by seed."""
    place = ("together_detection", "auroc", foreign)
    return summarise(1000 * (results.values(*place, one) - results.values(*place, other)))


def detectors(results: Results, scores: Mapping[str, str]) -> Table:
    """AUROC of each score on each foreign set."""
    lines = [
        [words, *(f"{results.mean('together_detection', 'auroc', name, score):.3f}" for name in SETS)]
        for score, words in scores.items()
    ]
    return ["score", *SETS.values()], lines


def duels(results: Results, one: str, rivals: Mapping[str, str]) -> Table:
    """By how many thousandths of AUROC one score is ahead of each rival on each set."""
    lines = [
        [words, *(interval(ahead(results, name, one, rival), 1) for name in SETS)] for rival, words in rivals.items()
    ]
    return ["less ...", *SETS.values()], lines
