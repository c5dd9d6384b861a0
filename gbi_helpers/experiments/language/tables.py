"""The language study's records as tables for a reader: headers and rows of text, ready for ``plots.table(*...)``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.experiments.language.results import LanguageResults
from gbi_helpers.experiments.language.stream import LATE
from gbi_helpers.metrics import Summary, summarise

Table = tuple[list[str], list[list[str]]]
Results = Mapping[str, LanguageResults]

WAYS = {
    "one_step": "one step",
    "corrected": "one step + gap",
    "matched": "one step + matched vector",
    "exact": "K passes",
    "unigram": "naive Bayes",
    "bigram": "naive Bayes, pairs",
}
GIVEN = {"lstm": "LSTM", "uniform": "GBI, uniform Z", "wrong": "GBI, a wrong source", "true": "GBI, told the source"}
INFERRED = {
    "hard": "bet on the best source",
    "one_step": "one step",
    "corrected": "one step + gap",
    "matched": "one step + matched vector",
    "iterative": "20 gradient steps",
    "exact": "K passes",
}
READERS = {
    "lstm": "LSTM",
    "uniform": "GBI, uniform Z",
    "true": "GBI, told each switch",
    "filter_plain": "filter, one step",
    "filter": "filter, one step + gap",
    "filter_forward": "filter, + gap, nothing read again",
    "filter_five": "filter, + gap, every five words",
    "filter_exact": "filter, K passes",
    "side_by_side": "K readers side by side",
}
VARIANTS = {
    "gate": "gate only",
    "concat": "beside the words only",
    "gatein": "gate inside the recurrence",
    "udrop": "both, Z hidden one time in five",
    "transformer": "a small Transformer",
}


def seeds(found: LanguageResults, job: str) -> str:
    """How many seeds a measurement has, for a caption: "3 seeds", "one seed"."""
    n = len(found.rows[job])
    return "one seed" if n == 1 else f"mean of {n} seeds"


def learning(results: Results) -> Table:
    """Test losses of both networks, their paired gap, and the share of the tokens that GBI needs, over seeds."""
    rows = []
    for name, found in results.items():
        lstm, gbi = (summarise(found.values("learning", f"{net}_test").mean(1)) for net in ("lstm", "gbi"))
        gap, share = (found.summary("learning", key) for key in ("gap", "tokens_to_lstm"))
        title = f"{name}, {len(found.tasks)} sources, {gap.n} seeds"
        rows.append([title, *(_spread(each, 3) for each in (lstm, gbi, gap)), _spread(share, 2)])
    return ["data", "LSTM", "GBI", "LSTM − GBI, paired", "share of tokens"], rows


def naming(found: LanguageResults, score: str = "accuracy") -> Table:
    """A score of each way to name the source, by the number of words read: means over seeds."""
    lengths = found.first("naming", "lengths")
    rows = [[label, *_means(found, "naming", f"{way}_{score}", ".1f")] for way, label in WAYS.items()]
    return ["words read", *map(str, lengths)], rows


def calibration(found: LanguageResults) -> Table:
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


def rest(found: LanguageResults) -> Table:
    """Loss on words 65 to 128 by what Z is, and where it was inferred, by from how many words."""
    lengths = found.first("rest", "lengths")
    given = [[label, *[f"{found.summary('rest', key).mean:.3f}"] * len(lengths)] for key, label in GIVEN.items()]
    inferred = [[label, *_means(found, "rest", key, ".3f")] for key, label in INFERRED.items()]
    return ["Z from the first ... words", *map(str, lengths)], [*given, *inferred]


def streams(found: LanguageResults) -> Table:
    """Readers of streams that switch: loss, percent of the way from the LSTM to one who is told, sources right."""
    rows = []
    for reader, label in READERS.items():
        keys = {"loss": ".3f", "recovered": ".0f", "accuracy": ".0f"}
        known = {key: form for key, form in keys.items() if key in found.first("stream", reader)}
        scores = {key: f"{found.summary('stream', reader, key).mean:{form}}" for key, form in known.items()}
        rows.append([label, *(scores.get(key, "–") for key in keys)])
    return ["reader", "nats a word", "way to being told, %", "right source, %"], rows


def words_late(found: LanguageResults) -> float:
    """By how many words too late one must be told of each switch to read as well as the filter; mean over seeds.

    Straight lines between the delays that were measured.
    """
    measured = {0: "true", **{n: f"late_{n}" for n in LATE}}
    way = [found.summary("stream", reader, "recovered").mean for reader in measured.values()]
    return float(np.interp(-found.summary("stream", "filter", "recovered").mean, [-w for w in way], list(measured)))


def held_out_losses(results: Results, words: int) -> dict[str, Tensor]:
    """Losses (sources, seeds) of all held-out sources, nats a word, by what was done with so many words of each.

    The sources of all sets one after the other, in the order of :func:`held_out_names`.
    """
    by_source = [_held_out(found, source, str(words)) for found in results.values() for source in found.held_out()]
    return {what: torch.stack([losses[what] for losses in by_source]) for what in by_source[0]}


def held_out_names(results: Results) -> list[str]:
    """The sources that were held out, of all sets."""
    return [source for found in results.values() for source in found.held_out()]


def held_out(results: Results, words: int) -> Table:
    """:func:`held_out_losses` for reading, a column a source: means over seeds."""
    means = {what: loss.mean(1).tolist() for what, loss in held_out_losses(results, words).items()}
    return ["held out", *held_out_names(results)], [[what, *(f"{v:.3f}" for v in row)] for what, row in means.items()]


def _held_out(found: LanguageResults, source: str, words: str) -> dict[str, Tensor]:
    def at(*path: str) -> Tensor:
        return found.values(f"held_out/{source}", *path)

    return {
        "LSTM": at("lstm", "uniform"),
        "LSTM, input on the simplex": at("lstm", words, "logits")[:, -1],
        "LSTM, input free": at("lstm", words, "free")[:, -1],
        "GBI, uniform Z": at("gbi", "uniform"),
        "GBI, best single source": at("gbi", words, "single"),
        "GBI, Z on the simplex": at("gbi", words, "logits")[:, -1],
        "GBI, Z free": at("gbi", words, "free")[:, -1],
        "LSTM, fine-tuned, stopped": at("lstm", f"tuned_{words}", "early"),
        "GBI, fine-tuned, stopped": at("gbi", f"tuned_{words}", "early"),
        "GBI, fine-tuned, 50 steps": at("gbi", f"tuned_{words}", "test")[:, -1],
    }


def held_out_curves(results: Results, *path: str) -> Tensor:
    """A curve of every held-out source, (sources, steps), mean over seeds: say, "gbi", "tuned_256", "test"."""
    sources = [(found, source) for found in results.values() for source in found.held_out()]
    return torch.stack([found.values(f"held_out/{source}", *path).mean(0) for found, source in sources])


def variants(found: LanguageResults) -> Table:
    """Other places where Z enters, and another architecture: means over seeds, and the gap's sd.

    The network of the chapter comes first; its sources were not named at that age.
    """
    keys = {"one_step": "one step, %", "corrected": "+ gap, %", "exact": "K passes, %"}
    own = summarise(found.values("gate", "lstm") - found.values("gate", "gbi"))
    rows = [
        [label, _spread(found.summary(job, "gap"), 3), *(f"{found.summary(job, key).mean:.1f}" for key in keys)]
        for job, label in VARIANTS.items()
    ]
    head = ["network", "gap, nats", *keys.values()]
    return head, [["both, as in this chapter", _spread(own, 3), *("–" for _ in keys)], *rows]


def headline(results: Results) -> Table:
    """The study's main numbers, a column a set: means over seeds with the half-width of their 95 % interval."""
    columns = [_headline(found) for found in results.values()]
    digits = {what: 1 if what.endswith(("%", "points")) else 3 for what in columns[0]}
    rows = [[what, *(_interval(column[what], digits[what]) for column in columns)] for what in digits]
    return ["mean ± 95 %", *results], rows


def _headline(found: LanguageResults) -> dict[str, Tensor]:
    """Each main number of every seed (S,)."""
    lengths = found.first("naming", "lengths")

    def named(way: str, n: int, score: str = "accuracy") -> Tensor:
        return found.values("naming", f"{way}_{score}")[:, lengths.index(n)]

    def held_out(change: str) -> Tensor:
        losses = held_out_losses({"": found}, 2048)
        return (losses["LSTM, input on the simplex"] - losses[change]).mean(0)

    return {
        "told the source: LSTM − GBI, nats a word": found.values("learning", "gap"),
        "told a random source: LSTM − GBI, 300 steps": found.values("shuffled", "gap"),
        "share of the tokens to reach the LSTM": found.values("learning", "tokens_to_lstm"),
        "named right from 20 words, K passes, %": named("exact", 20),
        "K passes − one step, 20 words, points": named("exact", 20) - named("one_step", 20),
        "K passes − one step + gap, 20 words, points": named("exact", 20) - named("corrected", 20),
        "K passes − one step + gap, 50 words, points": named("exact", 50) - named("corrected", 50),
        "correlation with exact Bayes, one step, 20 words": named("one_step", 20, "correlation"),
        "correlation with exact Bayes, one step + gap": named("corrected", 20, "correlation"),
        "filter, way from LSTM to being told, %": found.values("stream", "filter", "recovered"),
        "the same, pieces twice as long, %": found.values("stream", "long", "filter", "recovered"),
        "K readers side by side, the same way, %": found.values("stream", "side_by_side", "recovered"),
        "held out: LSTM − GBI, inputs optimised, nats": held_out("GBI, Z on the simplex"),
        "held out: what its input does for the LSTM, nats": -held_out("LSTM"),
    }


def failures(results: Results) -> Table:
    """What each mistake looks like, a column a set."""
    columns = [_failures(found) for found in results.values()]
    return ["mistake", *results], [[what, *(column[what] for column in columns)] for what in columns[0]]


def _failures(found: LanguageResults) -> dict[str, str]:
    def later(way: str, n: int) -> float:
        return found.at_length(way, "", n, job="rest").mean

    sure = {kind: found.summary("naming", "confidence", kind).mean for kind in ("sum", "mean")}
    after = {key: float(found.values("stream", key, "by_age").mean(0)[0]) for key in ("filter", "uniform")}
    tuned = held_out_curves({"": found}, "gbi", "tuned_256", "test")
    rise = float((tuned[:, -1] - tuned.amin(1)).mean())
    rest = {key: found.summary("rest", key).mean for key in GIVEN}
    return {
        "loss averaged over words and batch: top q": f"{sure['mean']:.2f} (summed: {sure['sum']:.2f})",
        "uniform Z taken for 'no Z'": f"{rest['uniform'] - rest['lstm']:+.2f} against the LSTM",
        "a wrong source": f"{rest['wrong'] - rest['true']:+.2f} against the true one",
        "a bet on the best source after 1 word": f"{later('hard', 1) - later('corrected', 1):+.2f} against the belief",
        "20 gradient steps on 1 word": f"{later('iterative', 1) - later('corrected', 1):+.2f} against one step + gap",
        "the old belief, right after a switch": f"{after['filter'] - after['uniform']:+.2f} against uniform Z",
        "50 steps of fine-tuning on 256 words": f"{rise:+.2f} against each source's best step",
    }


def _means(found: LanguageResults, job: str, key: str, form: str) -> list[str]:
    return [f"{value:{form}}" for value in found.values(job, key).double().mean(0).tolist()]


def _interval(values: Tensor, digits: int) -> str:
    value = summarise(values)
    return f"{value.mean:.{digits}f} ± {value.half_width:.{digits}f}"


def _spread(value: Summary, digits: int) -> str:
    return f"{value.mean:.{digits}f} ± {value.sd:.{digits}f}"
