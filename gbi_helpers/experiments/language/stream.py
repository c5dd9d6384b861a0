"""A stream of text that switches its source without telling, read by a network that keeps its state and its belief.

After each chunk of words the belief is updated by Bayes' rule: what the chunk's gradient says of each source (one step
from the uniform z, the state carried over), times the belief so far, from which every word lets a little leak to all
sources, as the source may have changed. The belief is the z with which the next chunk is read, and with which the last
words are read again, so that the state forgets what it made of them under an older belief.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.experiments.language.windows import Corpus, Part, with_start
from gbi_helpers.inference import enumerate_tasks, loss_of, max_entropy, one_step
from gbi_helpers.models.language import State, WordLSTM, word_nll

AGES = ((0, 1), (1, 3), (3, 6), (6, 10), (10, 20), (20, 40), (40, 180))  # words since the last switch
PIECE, LONG_PIECE = (30, 90), (60, 180)  # words between two switches
LATE = (1, 2, 3, 5, 8)  # words by which a reader is told of each switch too late
SETTLED = 10  # words after a switch, from which on a filter may be expected to know better


@dataclass(frozen=True)
class Streams:
    """S streams of T words: ``words``, the source of each ``task``, words since the switch ``age``, all (S, T)."""

    words: Tensor
    task: Tensor
    age: Tensor
    start: int

    @property
    def inputs(self) -> Tensor:
        """What is read (S, T): ``<bos>`` once, then all words but the last."""
        return with_start(self.words, self.start)[:, :-1]


@dataclass(frozen=True)
class Filter:
    """Settings of the filter, chosen on validation streams; a leak and a weight may be one for each stream, (S, 1).

    ``chunk``: words between updates. ``hazard``: share of belief that leaks to all sources at each word.
    ``step_size``: weight of the evidence. ``reread``: how many of the last words are read again with each new belief.
    ``exact``: evidence by K passes instead of one gradient.
    """

    chunk: int = 2
    hazard: float | Tensor = 0.02
    step_size: float | Tensor = 1.0
    reread: int = 0
    exact: bool = False


@dataclass(frozen=True)
class Reading:
    """What a reader leaves: ``loss`` (S, T) nats of each word, and ``z`` (S, T, K) with which it was read.

    Of one that believes also, chunk by chunk: ``belief`` (S, C, K) after it, and of a filter ``evidence`` (S, C, K),
    nats of the chunk alone.
    """

    loss: Tensor
    z: Tensor
    belief: Tensor | None = None
    evidence: Tensor | None = None


def make_streams(
    corpus: Corpus,
    part: Part,
    n: int,
    length: int,
    seed: int,
    piece: tuple[int, int] = PIECE,
    sources: Sequence[int] | None = None,
) -> Streams:
    """``n`` streams of ``length`` words: pieces of that part's random sources (only ``sources``, if given).

    ``piece``: words between two switches, any number from the first to the last alike.
    Raises ``ValueError`` for fewer than two sources, or one that is shorter than a piece.
    """
    draw = torch.Generator().manual_seed(seed)
    chosen = list(range(corpus.n_tasks)) if sources is None else list(sources)
    short = [corpus.tasks[k] for k in chosen if len(getattr(corpus, part)[k]) <= piece[1]]
    if len(set(chosen)) < 2 or short:
        reason = f"'{short[0]}' has fewer words than one piece" if short else f"{len(set(chosen))} source is too few"
        raise ValueError(f"A stream that switches needs two sources with text enough: {reason}.")
    rows = [_one_stream(getattr(corpus, part), chosen, length, piece, draw) for _ in range(n)]
    words, task, age = (torch.stack(column) for column in zip(*rows, strict=True))
    return Streams(words, task, age, corpus.start)


def _one_stream(
    streams: Sequence[Tensor], sources: Sequence[int], length: int, piece: tuple[int, int], draw: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    words, task, age, last = list[Tensor](), list[Tensor](), list[Tensor](), -1
    while sum(map(len, words)) < length:
        k = sources[_number(draw, 0, len(sources))]
        if k == last:
            continue
        size = _number(draw, piece[0], piece[1] + 1)
        at = _number(draw, 0, len(streams[k]) - size)
        words.append(streams[k][at : at + size])
        task.append(torch.full_like(words[-1], k))
        age.append(torch.arange(size, device=words[-1].device))
        last = k
    return torch.cat(words)[:length], torch.cat(task)[:length], torch.cat(age)[:length]


def _number(draw: torch.Generator, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high - 1``."""
    return int(torch.randint(low, high, (), generator=draw, device=draw.device))


def _uniform(words: Tensor, n_tasks: int) -> Tensor:
    """The z (N, K) that favours no source, for words (N, T)."""
    return max_entropy(len(words), n_tasks, torch.float32, words.device)


@torch.no_grad()
def read_told(model: WordLSTM, streams: Streams, z: Tensor | None = None) -> Reading:
    """Read with a given z (S, T, K), or the uniform one: the two ends between which a filter lies."""
    if z is None:
        z = _uniform(streams.words, model.n_tasks)[:, None].repeat(1, streams.words.shape[1], 1)
    logits = model(streams.inputs, z)
    return Reading(word_nll(logits, streams.words), z)


@torch.no_grad()
def read_side_by_side(model: WordLSTM, streams: Streams, hazard: float | Tensor) -> Reading:
    """Bayes without approximation: K readers, each told its own source throughout, and their predictions averaged.

    Each weighs as much as it is believed: its own losses so far are the evidence. No filter that knows the same hazard
    can expect to do better with this network's probabilities, if those are right.
    """
    n, k = len(streams.words), model.n_tasks
    pure = torch.eye(k, dtype=torch.float32, device=streams.words.device)
    told = pure.repeat(n, 1)[:, None].expand(-1, streams.words.shape[1], -1)
    each = word_nll(model(streams.inputs.repeat_interleave(k, 0), told), streams.words.repeat_interleave(k, 0))
    scores = -each.view(n, k, -1).mT  # (S, T, K)
    how, belief = Filter(hazard=hazard), _uniform(streams.words, k)
    read, beliefs = [], []
    for score in scores.unbind(1):
        read.append(belief)
        belief = _updated(belief, how, 1, score)
        beliefs.append(belief)
    z = torch.stack(read, 1)
    return Reading(-torch.logsumexp(z.log() + scores, 2), z, torch.stack(beliefs, 1))


def read_inferred(model: WordLSTM, streams: Streams, how: Filter, delta: Tensor | None = None) -> Reading:
    """Read with the filter's belief as z. ``delta`` (K,): the gap of one chunk, see :func:`fit_stream_delta`."""
    z = _uniform(streams.words, model.n_tasks)
    past = _Past(model, how.reread, streams.inputs[:, :0])
    losses, fed, beliefs, scores = [], [], [], []
    for words, inputs in zip(streams.words.split(how.chunk, 1), streams.inputs.split(how.chunk, 1), strict=True):
        state = past.read_again(z)
        score = chunk_score(model, words, inputs, state, how.exact)
        score = score if delta is None else score + delta
        with torch.no_grad():
            losses.append(word_nll(model.read(inputs, model.place(z), state)[0], words))
        past.add(inputs, z)
        fed.append(z[:, None].expand(-1, words.shape[1], -1))
        z = _updated(z, how, words.shape[1], score)
        beliefs.append(z)
        scores.append(score - score.mean(1, keepdim=True))
    return Reading(torch.cat(losses, 1), torch.cat(fed, 1), torch.stack(beliefs, 1), torch.stack(scores, 1))


class _Past:
    """What was read: the last ``words`` words as they are, for reading again, and all before them as a state."""

    def __init__(self, model: WordLSTM, words: int, nothing: Tensor):
        self.model, self.words, self.last = model, words, nothing
        self.state: State | None = None

    def read_again(self, z: Tensor) -> State | None:
        """The state after the last words, read with z (S, K)."""
        return self._read(self.last, z)

    def add(self, inputs: Tensor, z: Tensor) -> None:
        """Take in further words; those that are no longer among the last ones are read with z for good."""
        self.last = torch.cat([self.last, inputs], 1)
        cut = max(self.last.shape[1] - self.words, 0)
        self.state, self.last = self._read(self.last[:, :cut], z), self.last[:, cut:]

    @torch.no_grad()
    def _read(self, inputs: Tensor, z: Tensor) -> State | None:
        if inputs.shape[1] == 0:
            return self.state
        state: State = self.model.read(inputs, self.model.place(z), self.state)[1]
        return state


def chunk_score(model: WordLSTM, words: Tensor, inputs: Tensor, state: State | None, exact: bool = False) -> Tensor:
    """What a chunk says of each source (S, K): minus its gradient at the uniform z, or minus its K losses."""
    loss = loss_of(_From(model, state), inputs, lambda logits, _: model.nll(logits, words))
    z0 = _uniform(words, model.n_tasks)
    if exact:
        return -enumerate_tasks(loss, z0).loss
    grad = one_step(loss, z0).grad
    assert grad is not None
    return -grad


class _From(torch.nn.Module):
    """A model that goes on from a state."""

    def __init__(self, model: WordLSTM, state: State | None):
        super().__init__()
        self.model, self.state = model, state

    def forward(self, tokens: Tensor, z: Tensor) -> Tensor:
        logits: Tensor = self.model.read(tokens, self.model.place(z), self.state)[0]
        return logits


def _updated(belief: Tensor, how: Filter, words: int, score: Tensor) -> Tensor:
    """Bayes' rule, then the leak of so many words; the belief with which the next chunk is read."""
    after = torch.softmax(belief.log() + how.step_size * score, 1)
    stays = (1 - how.hazard) ** words
    return stays * after + (1 - stays) / belief.shape[1]


def fit_stream_delta(
    model: WordLSTM, corpus: Corpus, chunk: int, seed: int = 78, streams: int = 16, longest: int = 200
) -> Tensor:
    """The gap (K,) of one chunk read with a carried state, measured on streams of training text, without labels.

    The state is carried with z uniform. 200 words of each stream are enough, and never more than ``longest`` are read.
    """
    made = make_streams(corpus, "train", streams, min(200, longest), seed)
    state: State | None = None
    gaps = []
    for words, inputs in zip(made.words.split(chunk, 1), made.inputs.split(chunk, 1), strict=True):
        if words.shape[1] == chunk:
            difference = chunk_score(model, words, inputs, state, exact=True) - chunk_score(model, words, inputs, state)
            gaps.append(difference - difference.mean(1, keepdim=True))
        with torch.no_grad():
            place = model.place(_uniform(words, model.n_tasks))
            state = model.read(inputs, place, state)[1]
    return torch.cat(gaps).mean(0)


def compare(
    gbi: WordLSTM, lstm: WordLSTM, corpus: Corpus, streams: Streams, filters: Mapping[str, Filter]
) -> dict[str, Any]:
    """Loss, nats a word, of all readers of the streams: {reader: scores}.

    "lstm"; "uniform" and "true" z; "late_n", told of each switch n words too late; the filters by their names, with
    the gap, and "..._plain" without; "side_by_side" with the hazard of the first filter.

    For each: "loss", "by_age" (over :data:`AGES`), and "recovered", percent of the way from the LSTM's loss to that of
    the true z ("settled": without the first ten words after a switch, at which the true z is told what nobody can
    know); for those with a belief also "accuracy" of the z read with, percent.
    """
    true = torch.nn.functional.one_hot(streams.task, corpus.n_tasks).float()
    readings = {
        "lstm": read_told(lstm, streams),
        "uniform": read_told(gbi, streams),
        "true": read_told(gbi, streams, true),
        "side_by_side": read_side_by_side(gbi, streams, next(iter(filters.values())).hazard),
    }
    for late in LATE:
        nothing = torch.full_like(true[:, :late], 1 / corpus.n_tasks)
        readings[f"late_{late}"] = read_told(gbi, streams, torch.cat([nothing, true[:, :-late]], 1))
    chunks = {how.chunk for how in filters.values() if not how.exact}
    deltas = {chunk: fit_stream_delta(gbi, corpus, chunk, longest=streams.words.shape[1]) for chunk in chunks}
    for name, how in filters.items():
        readings[name] = read_inferred(gbi, streams, how, None if how.exact else deltas[how.chunk])
        if not how.exact:
            readings[f"{name}_plain"] = read_inferred(gbi, streams, how)
    return {name: _scores(reading, readings, streams) for name, reading in readings.items()}


def _scores(reading: Reading, readings: Mapping[str, Reading], streams: Streams) -> dict[str, Any]:
    ages = [(streams.age >= a) & (streams.age < b) for a, b in AGES]
    found: dict[str, Any] = {"loss": float(reading.loss.mean())}
    found["by_age"] = [float(reading.loss[rows].mean()) for rows in ages]
    for name, rows in {"recovered": streams.age >= 0, "settled": streams.age >= SETTLED}.items():
        lstm, true, own = (float(one.loss[rows].mean()) for one in (readings["lstm"], readings["true"], reading))
        found[name] = 100 * (lstm - own) / (lstm - true)
    if reading.belief is not None:
        right = 100 * (reading.z.argmax(2) == streams.task).float()
        found |= {"accuracy": float(right.mean()), "accuracy_by_age": [float(right[rows].mean()) for rows in ages]}
    return found
