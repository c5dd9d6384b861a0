"""Windows of text: what language models are trained and asked on.

A window begins with ``<bos>``, which stands for "reading starts here", so that n words read are n words predicted.
Marks between documents are taken out: their frequency alone would tell some sources apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from gbi_helpers.data.text import TextData
from gbi_helpers.data.vocabulary import Vocabulary
from gbi_helpers.inference import max_entropy
from gbi_helpers.models.language import WordModel, word_nll

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Corpus:
    """Running text of K sources, in three parts of K streams of word ids (N_k,) each; no marks between documents."""

    tasks: tuple[str, ...]
    vocabulary: Vocabulary
    train: tuple[Tensor, ...]
    validation: tuple[Tensor, ...]
    test: tuple[Tensor, ...]

    @property
    def n_tasks(self) -> int:
        """Number of sources K."""
        return len(self.tasks)

    @property
    def size(self) -> int:
        """Number of words known, V."""
        return len(self.vocabulary)

    @property
    def start(self) -> int:
        """Id of ``<bos>``."""
        return self.vocabulary.start

    @cached_property
    def digest(self) -> str:
        """Tells this text from any other: SHA-256 of names, vocabulary size and all words."""
        found = hashlib.sha256(json.dumps([self.tasks, self.size, self.start]).encode())
        for stream in (*self.train, *self.validation, *self.test):
            found.update(len(stream).to_bytes(8, "little") + stream.numpy().tobytes())
        return found.hexdigest()

    def only(self, names: Sequence[str]) -> Corpus:
        """The same with these sources, in this order. Raises ``ValueError`` for an unknown one."""
        unknown = [name for name in names if name not in self.tasks]
        if unknown:
            raise ValueError(f"There is no source {unknown[0]!r}: choose among {', '.join(self.tasks)}.")
        rows = [self.tasks.index(name) for name in names]
        train, validation, test = (tuple(p[row] for row in rows) for p in (self.train, self.validation, self.test))
        return replace(self, tasks=tuple(names), train=train, validation=validation, test=test)

    def without(self, name: str) -> Corpus:
        """The same but one source, which stays unknown to whoever learns from it."""
        self.only([name])
        return self.only([task for task in self.tasks if task != name])


def corpus_of(text: TextData) -> Corpus:
    """The corpus in a text: its streams without the marks between documents."""
    start = text.vocabulary.start
    parts = [tuple(stream[stream != start] for stream in part) for part in (text.train, text.validation, text.test)]
    return Corpus(tuple(text.tasks), text.vocabulary, *parts)


@dataclass(frozen=True)
class Windows:
    """N windows of T words: ``words`` (N, T), and the source of each, ``task`` (N,)."""

    words: Tensor
    task: Tensor
    start: int

    @property
    def inputs(self) -> Tensor:
        """What the model reads (N, T): ``<bos>``, then all words but the last."""
        return with_start(self.words, self.start)[:, :-1]

    def first(self, n: int) -> Windows:
        """The same windows cut to their first ``n`` words."""
        return replace(self, words=self.words[:, :n])

    def rows(self, chosen: Tensor | slice) -> Windows:
        """Some of the windows."""
        return replace(self, words=self.words[chosen], task=self.task[chosen])

    def parts(self, batch: int) -> Iterator[Windows]:
        """The windows in batches."""
        return (self.rows(slice(at, at + batch)) for at in range(0, len(self.words), batch))

    def z(self, n_tasks: int) -> Tensor:
        """The true z (N, K) of each window."""
        return torch.nn.functional.one_hot(self.task, n_tasks).float()

    def uniform(self, n_tasks: int) -> Tensor:
        """The z (N, K) that favours no source, 1/K everywhere."""
        return max_entropy(len(self.words), n_tasks, torch.float32, self.words.device)

    def pure(self, n_tasks: int) -> Tensor:
        """The z (K, K) of each source, a row each."""
        return torch.eye(n_tasks, dtype=torch.float32, device=self.words.device)


def with_start(words: Tensor, start: int) -> Tensor:
    """Words (N, T) after ``<bos>``: (N, T + 1)."""
    return torch.cat([words.new_full((len(words), 1), start), words], dim=1)


def random_windows(corpus: Corpus, per_source: int, length: int, seed: int) -> Windows:
    """``per_source`` training windows of each source at random places that depend on ``seed`` alone.

    Raises ``ValueError`` for a source that is no longer than a window.
    """
    short = [task for task, stream in zip(corpus.tasks, corpus.train, strict=True) if len(stream) <= length]
    if short:
        raise ValueError(
            f"Source '{short[0]}' has too few words for training windows of {length}: ask for shorter ones."
        )
    draw = torch.Generator().manual_seed(seed)
    places = [
        torch.randint(len(stream) - length, (per_source,), generator=draw, device=draw.device)
        for stream in corpus.train
    ]
    return _stack(corpus.train, places, length, corpus.start)


def even_windows(streams: Sequence[Tensor], start: int, per_source: int, length: int) -> Windows:
    """``per_source`` windows of each stream, evenly spaced: those of short streams may overlap.

    Raises ``ValueError`` for a stream shorter than a window.
    """
    if any(len(stream) < length for stream in streams):
        raise ValueError(f"A source has fewer than {length} words: ask for shorter windows.")
    places = [
        torch.linspace(0, len(stream) - length, per_source, dtype=torch.float32, device="cpu").long()
        for stream in streams
    ]
    return _stack(streams, places, length, start)


def _stack(streams: Sequence[Tensor], places: Sequence[Tensor], length: int, start: int) -> Windows:
    """Windows of each stream at its places."""
    line = torch.arange(length, device="cpu")
    words = torch.stack([stream[at[:, None] + line] for stream, at in zip(streams, places, strict=True)])
    task = torch.arange(len(words), device=words.device).repeat_interleave(words.shape[1])
    return Windows(words.flatten(0, 1), task, start)


@torch.no_grad()
def losses(model: WordModel, windows: Windows, z: Tensor | None = None, batch: int = 128) -> Tensor:
    """-log p of every word, (N, T) nats, for z (N, K), one z (K,) for all, or None: the uniform one."""
    z = windows.uniform(model.n_tasks) if z is None else z
    z = z.expand(len(windows.words), -1)
    parts = zip(windows.parts(batch), z.split(batch), strict=True)
    return torch.cat([word_nll(model(part.inputs, told), part.words) for part, told in parts])


def by_source(values: Tensor, task: Tensor) -> Tensor:
    """Mean (K,) over the windows of each source of values (N, ...)."""
    return torch.stack([values[task == k].mean() for k in range(int(task.max()) + 1)])
