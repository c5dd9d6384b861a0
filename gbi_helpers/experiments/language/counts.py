"""Counting words in the gradient's place: naive Bayes' belief, fed to the same network as Z.

The strongest rival of one step where a text's source is to be guessed: no backward pass, only K look-ups for each word
in tables of training counts. What each side may choose (step size, leak, the pairs' share) is chosen on validation text
by one criterion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers import metrics
from gbi_helpers.experiments.language import stream
from gbi_helpers.experiments.language.inference import REST, Gaps, naive_bayes, naming_shares, source_scores
from gbi_helpers.experiments.language.stream import Filter, Reading, Streams, fit_stream_delta, make_streams
from gbi_helpers.experiments.language.windows import Corpus, Windows, even_windows
from gbi_helpers.models.language import WordLSTM, word_nll

BELIEFS = ("one_step", "corrected", "exact", "unigram", "bigram")
SHARES = (0.2, 0.4, 0.6, 0.8)  # of pairs, in a filter of counts
Reader = Callable[[Streams, Filter], Reading]
Scores = dict[str, Any]

# ---------------------------------------------------------------- the rest of a window


def rest(gbi: WordLSTM, corpus: Corpus, gaps: Gaps, per_source: int) -> Scores:
    """Loss of words 64 to 127, nats per word, read by one network with the belief of each way from the first n words.

    Lists over the lengths: "WAY" as it is, "WAY_fitted" with the step size "WAY_step_size" that names the sources of
    validation windows best. The windows are those of :func:`.inference.rest`.
    """
    fit, test = (
        even_windows(part, corpus.start, n, REST.stop)
        for part, n in ((corpus.validation, per_source // 2), (corpus.test, per_source))
    )
    shares = naming_shares(corpus, fit, tuple(gaps))
    before, after = (source_scores(gbi, corpus, windows, shares, gaps) for windows in (fit, test))
    found: Scores = {"lengths": list(gaps), "windows": len(test.words), "bigram_share": list(shares.values())}
    found |= {
        "uniform": _later(gbi, test, test.uniform(corpus.n_tasks)),
        "true": _later(gbi, test, test.z(corpus.n_tasks)),
    }
    for n, way in product(gaps, BELIEFS):
        size = metrics.fitted_step_size(before[n][way], fit.task)
        for name, scale in ((way, 1.0), (f"{way}_fitted", size)):
            loss = _later(gbi, test, torch.softmax(scale * after[n][way], 1))
            found.setdefault(name, []).append(loss)
        found.setdefault(f"{way}_step_size", []).append(size)
    return found


@torch.no_grad()
def _later(model: WordLSTM, windows: Windows, z: Tensor, batch: int = 128) -> float:
    """Only the later words are read out: the read-out costs more than the recurrence."""
    found = []
    for part, told in zip(windows.parts(batch), z.split(batch), strict=True):
        units = model.units(part.inputs, told)[:, REST]
        found.append(word_nll(functional.linear(units, model.embedding.weight, model.bias), part.words[:, REST]))
    return float(torch.cat(found).mean())


# ---------------------------------------------------------------- streams


def believed(evidence: Tensor, how: Filter) -> Tensor:
    """The belief (S, T, K) before each word of streams, from evidence (S, T, K) that no network gave.

    Before the first word it favours none; then Bayes' rule and the leak, word by word, as in the gradient's filter.
    """
    belief = torch.full_like(evidence[:, 0], 1 / evidence.shape[2])
    before = []
    for score in evidence.unbind(1):
        before.append(belief)
        belief = stream._updated(belief, how, 1, score)
    return torch.stack(before, 1)


@torch.no_grad()
def read_believing(model: WordLSTM, streams: Streams, z: Tensor, reread: int = 0) -> Reading:
    """Read with a given belief z (S, T, K); the last ``reread`` words again with each new one."""
    if not reread:
        return stream.read_told(model, streams, z)
    past = stream._Past(model, reread, streams.inputs[:, :0])
    losses = []
    for t, read in enumerate(streams.inputs.split(1, 1)):
        state = past.read_again(z[:, t])
        losses.append(word_nll(model.read(read, model.place(z[:, t]), state)[0], streams.words[:, t : t + 1]))
        past.add(read, z[:, t])
    return Reading(torch.cat(losses, 1), z)


def chosen(read: Reader, streams: Streams, grid: Mapping[str, Sequence[float]]) -> tuple[Filter, float]:
    """The filter of the grid ("hazard", "step_size") with which validation streams are read best; their loss with it.

    All settings are tried side by side, each on its own copy of the streams, without reading again.
    """
    settings = list(product(grid["hazard"], grid["step_size"]))
    each = torch.tensor(settings, dtype=torch.float32, device=streams.words.device)
    hazard, size = each.repeat_interleave(len(streams.words), 0).T[..., None]
    words, task, age = (part.repeat(len(settings), 1) for part in (streams.words, streams.task, streams.age))
    loss = read(Streams(words, task, age, streams.start), Filter(1, hazard, size)).loss.view(len(settings), -1).mean(1)
    return Filter(1, *settings[int(loss.argmin())]), float(loss.min())


def compare(
    gbi: WordLSTM, corpus: Corpus, test: Streams, validation: Streams, grid: Mapping[str, Sequence[float]], reread: int
) -> Scores:
    """Filters of one network, each with its own best settings: evidence by one gradient and the gap, or by counts.

    For each: "loss" in nats per word, "accuracy" of the belief read with, "by_age" of both, and the settings chosen.
    "..._forward": the same settings, nothing read again.
    """
    delta = fit_stream_delta(gbi, corpus, 1, longest=test.words.shape[1])

    def by_gradient(streams: Streams, how: Filter) -> Reading:
        return stream.read_inferred(gbi, streams, how, delta)

    def by_counts(share: float) -> Reader:
        return lambda streams, how: _counted(gbi, corpus, streams, how, share)

    share = min(SHARES, key=lambda share: chosen(by_counts(share), validation, grid)[1])
    found: Scores = {"bigram_share": share}
    for name, read in {"gradient": by_gradient, "unigram": by_counts(0.0), "bigram": by_counts(share)}.items():
        how, _ = chosen(read, validation, grid)
        for label, again in ((name, reread), (f"{name}_forward", 0)):
            found[label] = _scores(read(test, replace(how, reread=again)), test) | {"settings": asdict(how)}
    return found


def _counted(gbi: WordLSTM, corpus: Corpus, streams: Streams, how: Filter, share: float) -> Reading:
    log_p = naive_bayes(corpus, Windows(streams.words, streams.task[:, 0], streams.start), share).float()
    return read_believing(gbi, streams, believed(log_p, how), how.reread)


def _scores(reading: Reading, streams: Streams) -> Scores:
    ages = [(streams.age >= a) & (streams.age < b) for a, b in stream.AGES]
    right = 100 * (reading.z.argmax(2) == streams.task).float()
    return {
        "loss": float(reading.loss.mean()),
        "accuracy": float(right.mean()),
        "by_age": [float(reading.loss[rows].mean()) for rows in ages],
        "accuracy_by_age": [float(right[rows].mean()) for rows in ages],
    }


def streams_of(corpus: Corpus, seed: int, n: int, length: int, piece: tuple[int, int]) -> tuple[Streams, Streams]:
    """Test streams (the same as those of the row "stream"), and half as many validation streams to choose by."""
    test = make_streams(corpus, "test", n, length, 1000 + seed, piece=piece)
    return test, make_streams(corpus, "validation", max(n // 2, 1), length, 2000 + seed, piece=piece)
