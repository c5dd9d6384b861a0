"""The language study's records as tables for a reader: headers and rows of text, ready for ``plots.table(*...)``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.experiments.language.stream import LATE
from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.tables import Table, interval
from gbi_helpers.metrics import Summary, summarise

Sets = Mapping[str, Results]  # by the name that a reader is shown

LABELS = {
    # ways to name a source, and to find the z of later words
    "one_step": "one step",
    "corrected": "one step + gap",
    "matched": "one step + matched vector",
    "exact": "K passes",
    "unigram": "naive Bayes",
    "bigram": "naive Bayes, pairs",
    "lstm": "LSTM",
    "uniform": "GBI, uniform Z",
    "switches": "GBI, told each switch",
    "filter_plain": "filter, one step",
    "filter": "filter, one step + gap",
    "filter_forward": "filter, + gap, nothing read again",
    "filter_five": "filter, + gap, every five words",
    "filter_exact": "filter, K passes",
    "side_by_side": "K readers side by side",
    "lstm_simplex": "LSTM, input on the simplex",
    "lstm_free": "LSTM, input free",
    "gbi_single": "GBI, best single source",
    "gbi_simplex": "GBI, Z on the simplex",
    "gbi_free": "GBI, Z free",
    "lstm_tuned": "LSTM, fine-tuned, stopped",
    "gbi_tuned": "GBI, fine-tuned, stopped",
    "gbi_tuned_50": "GBI, fine-tuned, 50 steps",
    "gate": "gate only",
    "concat": "beside the words only",
    "gatein": "gate inside the recurrence",
    "udrop": "both, Z hidden one time in five",
    "transformer": "a small Transformer",
    "gap": "told the source: LSTM − GBI, nats per word",
    "random_gap": "told a random source: LSTM − GBI, 300 steps",
    "tokens": "share of the tokens to reach the LSTM",
    "named": "named right from 20 words, K passes, %",
    "one_step_lack": "K passes − one step, 20 words, points",
    "corrected_lack": "K passes − one step + gap, 20 words, points",
    "corrected_lack_50": "K passes − one step + gap, 50 words, points",
    "correlation": "correlation with exact Bayes, one step, 20 words",
    "corrected_correlation": "correlation with exact Bayes, one step + gap",
    "recovered": "filter, way from LSTM to being told, %",
    "recovered_long": "the same, pieces twice as long, %",
    "recovered_side": "K readers side by side, the same way, %",
    "novel": "held out: LSTM − GBI, inputs optimised, nats",
    "novel_lstm": "held out: what its input does for the LSTM, nats",
}
MAIN = {  # digits of the main numbers
    "gap": 3, "random_gap": 3, "tokens": 3, "named": 1, "one_step_lack": 1, "corrected_lack": 1, "corrected_lack_50": 1,
    "correlation": 3, "corrected_correlation": 3, "recovered": 1, "recovered_long": 1, "recovered_side": 1, "novel": 3,
    "novel_lstm": 3,
}  # fmt: skip


def _labelled(*keys: str) -> dict[str, str]:
    return {key: LABELS[key] for key in keys}


WAYS = _labelled("one_step", "corrected", "matched", "exact", "unigram", "bigram")
READERS = {
    **_labelled("lstm", "uniform"),
    "true": LABELS["switches"],
    **_labelled("filter_plain", "filter", "filter_forward", "filter_five", "filter_exact", "side_by_side"),
}
VARIANTS = _labelled("gate", "concat", "gatein", "udrop", "transformer")


def at_length(found: Results, row: str, key: str, n: int) -> Summary:
    """A number of "naming" ("exact_accuracy") or "rest" ("exact") after n words. Raises ``KeyError`` for other n."""
    lengths: list[int] = found.first(row, "lengths")
    if n not in lengths:
        raise KeyError(f"Nothing was measured after {n} words: choose one of {lengths}.")
    return found.summary(row, key, at=lengths.index(n))


def calibration(found: Results) -> Table:
    """How sure one step with the gap may be: ECE at step size 1, the step size fitted, ECE with it, by words read."""
    rows = {
        "ece": ("ECE, step size 1", ".1f"),
        "step_size": ("step size, fitted", ".2f"),
        "fitted_ece": ("ECE, fitted", ".1f"),
    }
    lengths = found.first("naming", "lengths")
    return ["words read", *map(str, lengths)], [
        [label, *_means(found, "naming", f"corrected_{key}", form)] for key, (label, form) in rows.items()
    ]


def words_late(found: Results) -> float:
    """By how many words too late one must be told of each switch to read as well as the filter; mean over seeds.

    Straight lines between the delays that were measured.
    """
    measured = {0: "true", **{n: f"late_{n}" for n in LATE}}
    way = [found.mean("stream", reader, "recovered") for reader in measured.values()]
    return float(np.interp(-found.mean("stream", "filter", "recovered"), [-w for w in way], list(measured)))


def held_out_losses(sets: Sets, words: int) -> dict[str, Tensor]:
    """Losses (sources, seeds) of all held-out sources, nats per word, by what was done with so many words of each.

    Keys: see :data:`LABELS`. The sources of all sets one after the other, in the order of :func:`held_out`.
    """
    by_source = [_held_out(found, row, str(words)) for found in sets.values() for row in _novel(found)]
    return {what: torch.stack([losses[what] for losses in by_source]) for what in by_source[0]}


def _novel(found: Results) -> dict[str, str]:
    """The source of each row that holds one out."""
    return {row: row.removeprefix("held_out/") for row in found.rows if row.startswith("held_out/")}


def held_out(sets: Sets, words: int) -> Table:
    """:func:`held_out_losses` for reading, a column a source: means over seeds."""
    means = {what: loss.mean(1).tolist() for what, loss in held_out_losses(sets, words).items()}
    rows = [[LABELS[what], *(f"{value:.3f}" for value in row)] for what, row in means.items()]
    return ["held out", *(source for found in sets.values() for source in _novel(found).values())], rows


def _held_out(found: Results, row: str, words: str) -> dict[str, Tensor]:
    def at(*path: str) -> Tensor:
        return found.values(row, *path)

    return {
        "lstm": at("lstm", "uniform"),
        "lstm_simplex": at("lstm", words, "logits")[:, -1],
        "lstm_free": at("lstm", words, "free")[:, -1],
        "uniform": at("gbi", "uniform"),
        "gbi_single": at("gbi", words, "single"),
        "gbi_simplex": at("gbi", words, "logits")[:, -1],
        "gbi_free": at("gbi", words, "free")[:, -1],
        "lstm_tuned": at("lstm", f"tuned_{words}", "early"),
        "gbi_tuned": at("gbi", f"tuned_{words}", "early"),
        "gbi_tuned_50": at("gbi", f"tuned_{words}", "test")[:, -1],
    }


def held_out_curves(sets: Sets, *path: str) -> Tensor:
    """A curve of every held-out source, (sources, steps), mean over seeds: say, "gbi", "tuned_256", "test"."""
    rows = [(found, row) for found in sets.values() for row in _novel(found)]
    return torch.stack([found.values(row, *path).mean(0) for found, row in rows])


def variants(found: Results) -> Table:
    """Other places where Z enters, and another architecture: means over seeds, and the gap with its interval.

    The network of the chapter comes first; its sources were not named at that age.
    """
    keys = {"one_step": "one step, %", "corrected": "+ gap, %", "exact": "K passes, %"}
    own = summarise(found.values("gate", "lstm") - found.values("gate", "gbi"))
    rows = [
        [label, interval(found.summary(row, "gap"), 3), *(f"{found.mean(row, key):.1f}" for key in keys)]
        for row, label in VARIANTS.items()
    ]
    return ["network", "gap, nats", *keys.values()], [
        ["both, as in this chapter", interval(own, 3), *("–" for _ in keys)],
        *rows,
    ]


def headline(sets: Sets) -> Table:
    """The study's main numbers, a column a set: means over seeds with the half-width of their 95 % interval."""
    columns = [_headline(found) for found in sets.values()]
    rows = [
        [LABELS[what], *(interval(summarise(column[what]), digits) for column in columns)]
        for what, digits in MAIN.items()
    ]
    return ["mean ± 95 %", *sets], rows


def _headline(found: Results) -> dict[str, Tensor]:
    """Each main number of every seed (S,)."""
    lengths = found.first("naming", "lengths")

    def named(way: str, n: int, score: str = "accuracy") -> Tensor:
        return found.values("naming", f"{way}_{score}")[:, lengths.index(n)]

    def novel(change: str) -> Tensor:
        losses = held_out_losses({"": found}, 2048)
        return (losses["lstm_simplex"] - losses[change]).mean(0)

    return {
        "gap": found.values("learning", "gap"),
        "random_gap": found.values("shuffled", "gap"),
        "tokens": found.values("learning", "tokens_to_lstm"),
        "named": named("exact", 20),
        "one_step_lack": named("exact", 20) - named("one_step", 20),
        "corrected_lack": named("exact", 20) - named("corrected", 20),
        "corrected_lack_50": named("exact", 50) - named("corrected", 50),
        "correlation": named("one_step", 20, "correlation"),
        "corrected_correlation": named("corrected", 20, "correlation"),
        "recovered": found.values("stream", "filter", "recovered"),
        "recovered_long": found.values("stream", "long", "filter", "recovered"),
        "recovered_side": found.values("stream", "side_by_side", "recovered"),
        "novel": novel("gbi_simplex"),
        "novel_lstm": -novel("lstm"),
    }


def failures(sets: Sets) -> Table:
    """What each mistake looks like, a column a set."""
    columns = [_failures(found) for found in sets.values()]
    return ["mistake", *sets], [[what, *(column[what] for column in columns)] for what in columns[0]]


def _failures(found: Results) -> dict[str, str]:
    def later(way: str, n: int) -> float:
        return at_length(found, "rest", way, n).mean

    sure = {kind: found.mean("naming", "confidence", kind) for kind in ("sum", "mean")}
    after = {key: float(found.values("stream", key, "by_age").mean(0)[0]) for key in ("filter", "uniform")}
    tuned = held_out_curves({"": found}, "gbi", "tuned_256", "test")
    rise = float((tuned[:, -1] - tuned.amin(1)).mean())
    rest = {key: found.mean("rest", key) for key in ("lstm", "uniform", "wrong", "true")}
    return {
        "loss averaged over words and batch: top q": f"{sure['mean']:.2f} (summed: {sure['sum']:.2f})",
        "uniform Z taken for 'no Z'": f"{rest['uniform'] - rest['lstm']:+.2f} against the LSTM",
        "a wrong source": f"{rest['wrong'] - rest['true']:+.2f} against the true one",
        "a bet on the best source after 1 word": f"{later('hard', 1) - later('corrected', 1):+.2f} against the belief",
        "20 gradient steps on 1 word": f"{later('iterative', 1) - later('corrected', 1):+.2f} against one step + gap",
        "the old belief, right after a switch": f"{after['filter'] - after['uniform']:+.2f} against uniform Z",
        "50 steps of fine-tuning on 256 words": f"{rise:+.2f} against each source's best step",
        "no adaptation: Z on 256 words of a new source": _least_adapted(found),
    }


def _least_adapted(found: Results) -> str:
    """The held-out source that 30 steps of Z help least, and what ten steps on all weights do for it."""
    paths = {"z": ("256", "logits"), "weights": ("tuned_256", "test")}
    curves = {what: held_out_curves({"": found}, "gbi", *path) for what, path in paths.items()}
    z, weights = (curves[what][:, at] - curves[what][:, 0] for what, at in (("z", -1), ("weights", 2)))
    least = int(z.argmax())
    return f"{list(_novel(found).values())[least]}: {float(z[least]):+.2f} (all weights: {float(weights[least]):+.2f})"


def _means(found: Results, row: str, key: str, form: str) -> list[str]:
    return [f"{value:{form}}" for value in found.values(row, key).mean(0).tolist()]
