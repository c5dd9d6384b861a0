"""Tables of what stands beside the gradient and beside 600 steps: headers and rows of text for ``plots.table``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gbi_helpers.experiments.language.measures import share_of_tokens
from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.tables import Table, interval, with_samples
from gbi_helpers.metrics import Summary, summarise

Sets = Mapping[str, Results]  # by the name that a reader is shown

BELIEFS = {
    "one_step": "one step",
    "corrected": "one step + gap",
    "exact": "K passes",
    "unigram": "naive Bayes",
    "bigram": "naive Bayes, pairs",
}
NAMER = "LSTM with a second target"
# What a belief from n words costs: of the network, and besides.
PRICES = {
    "one_step": "1 forward, 1 backward",
    "corrected": "1 forward, 1 backward",
    "exact": "K forward",
    "unigram": "n K look-ups",
    "bigram": "2 n K look-ups",
    "namer": "1 forward, of its own network",
}
FILTERS = {"gradient": "one step + gap", "unigram": "counts of words", "bigram": "counts of words and pairs"}
EXACT = {"filter_exact": "K passes", "side_by_side": "K readers side by side"}
TUNED = {
    "lstm_untuned": "LSTM as it is",
    "lstm_z": "LSTM, its constant inputs alone",
    "lstm_bias": "LSTM, output biases alone",
    "lstm": "LSTM, all weights",
    "lstm_free": "LSTM, inputs first, then all weights",
    "gbi_untuned": "GBI, uniform Z",
    "gbi_z": "GBI, a free Z alone (30 steps, nothing chosen)",
    "gbi_bias": "GBI, output biases alone",
    "gbi": "GBI, all weights, uniform Z",
    "gbi_found": "GBI, Z found on the simplex, then all weights",
    "gbi_free": "GBI, Z found free, then all weights",
}

# ---------------------------------------------------------------- training on


def gap_curve(found: Results) -> tuple[Tensor, Tensor, Tensor]:
    """Steps (looks,), and on validation text LSTM - GBI (seeds, looks) and the LSTM's loss (seeds, looks)."""
    lstm, gbi = (found.values("long", f"{name}_validation").mean(2) for name in ("lstm", "gbi"))
    tokens = found.values("long", "tokens")[0]
    total = found.settings["long"]["networks"]["gbi_long"]["steps"]
    return tokens / tokens[-1] * total, lstm - gbi, lstm


def look(found: Results, steps: int) -> int:
    """The number of the look after so many steps. Raises ``KeyError`` where nobody looked."""
    looks = [round(step) for step in gap_curve(found)[0].tolist()]
    if steps not in looks:
        raise KeyError(f"Nothing was read after {steps} steps: choose one of {looks}.")
    return looks.index(steps)


def gap_after(found: Results, steps: int) -> Tensor:
    """LSTM - GBI (seeds,) on validation text after so many steps."""
    return gap_curve(found)[1][:, look(found, steps)]


def tokens_to_match(found: Results, steps: int) -> Tensor:
    """How many times the tokens that GBI has read after ``steps`` the LSTM needs to read as well; infinite if never."""
    looks, gap, lstm = gap_curve(found)
    goals = (lstm - gap)[:, look(found, steps)].tolist()
    shares = [share_of_tokens(looks, curve, goal) for curve, goal in zip(lstm, goals, strict=True)]
    return torch.tensor(shares, dtype=torch.float64, device="cpu") * looks[-1] / steps


def longer(sets: Sets, steps: tuple[int, ...] = (150, 300, 600, 1200, 2400)) -> Table:
    """LSTM - GBI on validation text by steps of training, and how much later the LSTM is there, over seeds."""
    rows = []
    for name, found in sets.items():
        for n in steps:
            times = tokens_to_match(found, n)
            late = interval(summarise(times), 2) if bool(times.isfinite().all()) else "more than it had"
            lstm = float(gap_curve(found)[2].mean(0)[look(found, n)])
            rows.append([name, f"{n:,}", f"{lstm:.3f}", interval(summarise(gap_after(found, n)), 3), late])
    return ["data", "steps", "LSTM", "LSTM − GBI, paired", "words the LSTM needs, GBI's = 1"], rows


# ---------------------------------------------------------------- beliefs


def counted(found: Results, fitted: bool = True) -> Table:
    """Loss on words 65 to 128 by whose belief from the first n words is Z; ``fitted``: sharpened on validation text."""
    row = "rest_counted"
    lengths = found.first(row, "lengths")
    end = "_fitted" if fitted else ""
    rows = [
        [label, *(interval(found.summary(row, way + end, at=i), 3) for i in range(len(lengths))), PRICES[way]]
        for way, label in BELIEFS.items()
    ]
    return ["belief from the first ... words as Z", *map(str, lengths), "price"], rows


def ahead(found: Results, one: str, other: str, n: int, fitted: bool = True) -> Summary:
    """How much worse later words are read with belief ``one`` than with ``other`` as Z, nats per word, paired."""
    at, end = found.first("rest_counted", "lengths").index(n), "_fitted" if fitted else ""
    losses = [found.values("rest_counted", way + end)[:, at] for way in (one, other)]
    return summarise(losses[0] - losses[1])


def filters(sets: Sets) -> Table:
    """Readers of the same streams by their evidence: loss, and sources named right.

    Those of K passes and side by side are the row "stream"'s, with the settings chosen there.
    """
    rows = []
    for evidence, label in FILTERS.items():
        for again, said in (("", ""), ("_forward", ", nothing read again")):
            rows.append([label + said, *_filtered(sets, "stream_counted", evidence + again)])
    rows += [[label, *_filtered(sets, "stream", reader)] for reader, label in EXACT.items()]
    return ["evidence", *(f"{name}: {what}" for name in sets for what in ("nats per word", "right, %"))], rows


def _filtered(sets: Sets, row: str, reader: str) -> list[str]:
    """Loss and sources named right, set by set."""
    keys = {"loss": 3, "accuracy": 1}
    return [interval(found.summary(row, reader, key), n) for found in sets.values() for key, n in keys.items()]


def amortised(found: Results) -> Table:
    """Sources named right, in percent, by words read and by each way to name them, an LSTM taught to among them.

    Intervals are over seeds and test windows.
    """
    lengths, windows = found.first("amortised", "lengths"), int(found.first("naming", "windows"))
    there = [found.first("naming", "lengths").index(n) for n in lengths]

    def line(label: str, price: str, row: str, score: str, at: Sequence[int]) -> list[str]:
        return [label, *(interval(with_samples(found.summary(row, score, at=i), windows), 1) for i in at), price]

    rows = [line(label, PRICES[way], "naming", f"{way}_accuracy", there) for way, label in BELIEFS.items()]
    rows.append(line(NAMER, PRICES["namer"], "amortised", "accuracy", range(len(lengths))))
    return ["words read", *map(str, lengths), "price"], rows


def beyond(found: Results, source: str, n: int = 20) -> Table:
    """How sure each way is of a source never seen, beside known ones, after n words."""
    row = f"beyond/{source}"
    at = found.first(row, "lengths").index(n)
    rows = [
        [label, *(interval(found.summary(row, way, key, at=at), 2) for key in ("known", "new", "sure", "auroc"))]
        for way, label in {**BELIEFS, "namer": NAMER}.items()
    ]
    return [f"after {n} words", "entropy, known", "entropy, new", "top probability, new", "AUROC"], rows


def tuned(found: Results, words: int = 256) -> Table:
    """Loss on a source's test text by what was tuned on so many of its words, a column for each source."""
    rows = [row for row in found.rows if row.startswith("tuned/")]
    return ["tuned", *(row.removeprefix("tuned/") for row in rows)], [
        [label, *(interval(found.summary(row, str(words), way), 3) for row in rows)] for way, label in TUNED.items()
    ]
