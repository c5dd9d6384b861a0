"""Text in which each source is a task: BabyLM's, any folder of texts, or what the course brings itself.

A folder holds three files for each source, ``SOURCE.train.txt``, ``SOURCE.valid.txt`` and ``SOURCE.test.txt``, or
BabyLM's ``SOURCE.train``, ``SOURCE.dev`` and ``SOURCE.test``, unpacked or with ``.gz`` behind; names that begin with a
dot do not count. An empty line ends a document, and no document is split.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.data import layouts, text_sources
from gbi_helpers.data.babylm import babylm_folder
from gbi_helpers.data.text_files import KINDS, WANTED, misnamed, overlooked, text_files
from gbi_helpers.data.vocabulary import Vocabulary, clean, streams, unspaced
from gbi_helpers.files import ZIP_ERRORS, DataError, cache_dir, part_file, sweep
from gbi_helpers.progress import progress_bar

SPLITS = ("train", "validation", "test")
FORMAT = 3  # raise it whenever the code below, or `clean`, changes what comes out: it names the cache
SHORTEST = 64  # words: an empty line after fewer is layout (a chat's silent message), no end of a document

Texts = dict[str, dict[str, list[str]]]  # source -> split -> clean documents
Clean = Callable[[str], str]
Tokens = dict[str, dict[str, np.ndarray]]  # source -> split -> ids


@dataclass(frozen=True, eq=False)
class Source:
    """One source in three splits, each a stream of token ids (N,) int64, where ``<bos>`` begins each document."""

    train: Tensor
    validation: Tensor
    test: Tensor


@dataclass(frozen=True, eq=False)
class TextData:
    """K sources, each a task. ``train``, ``validation``, ``test``: K streams of token ids (N_k,) int64.

    ``source``: one sentence that says what was used; ``tasks``: the K names; ``held_out``: the sources kept apart, by
    name, which are no tasks and had no say in the vocabulary.
    """

    name: str
    source: str
    tasks: tuple[str, ...]
    vocabulary: Vocabulary
    train: tuple[Tensor, ...]
    validation: tuple[Tensor, ...]
    test: tuple[Tensor, ...]
    held_out: Mapping[str, Source] = field(default_factory=dict)

    @property
    def n_tasks(self) -> int:
        """Number of tasks K."""
        return len(self.tasks)

    def cut(self, train: int, validation: int, test: int) -> TextData:
        """The text with the first so many tokens of each source in each split."""
        parts = ((self.train, train), (self.validation, validation), (self.test, test))
        first, second, third = (tuple(ids[:size] for ids in part) for part, size in parts)
        return replace(self, train=first, validation=second, test=third)

    def __repr__(self) -> str:
        """The source and the size of each split in all."""
        sizes = ", ".join(f"{split} {sum(map(len, getattr(self, split))):,}" for split in SPLITS)
        return f"TextData({self.source}: {self.n_tasks} tasks; tokens: {sizes})"


def load_text(
    name: str | Path | None = None,
    *,
    vocabulary: int | Vocabulary = 2000,
    tokens: str = "word",
    sources: Sequence[str] | None = None,
    held_out: Sequence[str] = (),
) -> TextData:
    """Text by source, tokenised: "packages" (eight sources, always there), "babylm" (the real set), or a folder.

    None takes the real set where it is at hand (``GBI_DATA_DIR/text``, or the cache after ``gbi data get babylm``),
    else the packages'. ``vocabulary``: its size (3 or more), or one to use (a checkpoint brings its own); ``tokens``:
    "word", or "bpe" for pieces of words. ``sources``: only these tasks, in this order; ``held_out``: sources that are
    no tasks. The vocabulary is made from the training splits of the tasks. All of it is cached.
    Raises ``ValueError`` for arguments that name nothing, :class:`DataError` for a set that is missing or damaged, and
    for words asked of a text in a script without spaces, such as Chinese or Thai.
    """
    if tokens not in ("word", "bpe"):
        raise ValueError(f"tokens is '{tokens}': use 'word' or 'bpe'.")
    if isinstance(sources, str) or isinstance(held_out, str):
        raise ValueError("sources and held_out are lists of names: write ['speech'] for one.")
    if not isinstance(vocabulary, Vocabulary):
        vocabulary = _size(vocabulary)
    name, digest, read, told = _found(name)
    asked = vocabulary.to_json() if isinstance(vocabulary, Vocabulary) else f"{tokens} {vocabulary}"
    key = "\n".join(
        [str(FORMAT), digest, asked, repr(None if sources is None else list(sources)), repr(list(held_out))]
    )
    kept = f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
    stored = _load(kept)
    if stored is None:
        texts = read(vocabulary.clean if isinstance(vocabulary, Vocabulary) else clean)
        tasks, apart = _roles(tuple(texts), sources, held_out)
        stored = _tokenised({task: texts[task] for task in (*tasks, *apart)}, tasks, vocabulary, tokens)
        _save(kept, *stored)
    words, ids = stored
    parts = {task: Source(*(torch.from_numpy(ids[task][split]).long() for split in SPLITS)) for task in ids}
    tasks = tuple(task for task in parts if task not in held_out)
    train, validation, test = (tuple(getattr(parts[task], split) for task in tasks) for split in SPLITS)
    return TextData(name, told, tasks, words, train, validation, test, {task: parts[task] for task in held_out})


def _size(asked: Any) -> int:
    """A size of a vocabulary as an ``int``, whatever kind of whole number it is."""
    with contextlib.suppress(TypeError):
        if (size := operator.index(asked)) >= 3:
            return size
    raise ValueError("vocabulary is no Vocabulary and no size of 3 or more: give one of them, such as vocabulary=2000.")


def _found(name: str | Path | None) -> tuple[str, str, Callable[[Clean], Texts], str]:
    """The set's name, a digest of what it holds, how to read it, and a sentence about it."""
    place, folder = _look(name)
    if folder is None:
        told = f"text of eight kinds out of installed packages ({text_sources.versions()})"
        return "packages", f"{text_sources.RECIPE} {told}", lambda _: _prepared(), told
    files = text_files(folder)
    if odd := misnamed(folder):
        warnings.warn(f"{odd} in {folder} is not read: unpack it, and call it as in {WANTED}.", stacklevel=3)
    digest = " ".join(f"{task} {split} {layouts.digest(path)}" for task in files for split, path in files[task].items())
    known = "babylm" if place else folder.absolute().name
    told = f"{len(files)} sources of text {place or f'from the folder {known}'}"
    return known, digest, lambda cut: _read(files, cut), told


def _look(name: str | Path | None) -> tuple[str, Path | None]:
    """Where a set of this name lies, (place, folder); ("", None) for the packages' text."""
    if name not in (None, "babylm"):
        return "", None if name == "packages" else Path(str(name))
    place, folder = babylm_folder()
    told = "" if place == "from GBI_DATA_DIR" else overlooked()
    if name == "babylm" and folder is None:
        raise DataError(
            told
            or "BabyLM is not here: run gbi data get babylm where there is a network, or put the texts into the folder "
            "text of GBI_DATA_DIR; load_text('packages') needs neither."
        )
    if told:
        warnings.warn(told, stacklevel=4)
    return place, folder


def _prepared() -> Texts:
    """The packages' text, kept once it is prepared: other vocabularies need it too."""
    version = f"{FORMAT} {text_sources.RECIPE} {text_sources.versions()}"
    kept = f"packages-{hashlib.sha256(version.encode()).hexdigest()[:24]}.json"
    with contextlib.suppress(OSError, ValueError, DataError):
        return dict(json.loads(_place(kept).read_text(encoding="utf-8")))
    texts = text_sources.package_texts()
    with contextlib.suppress(OSError, DataError), part_file(_place(kept)) as part:
        part.write_text(json.dumps(texts), encoding="utf-8")
    return texts


def _place(name: str) -> Path:
    """Where a file of this name is kept. Raises :class:`DataError` where no home folder is known for the cache."""
    return cache_dir() / "text" / name


def _read(files: dict[str, dict[str, Path]], cut: Clean) -> Texts:
    bar = progress_bar(files.items(), desc="reading text", unit="source")
    return {task: {split: documents(_decoded(paths[split]), cut) for split in SPLITS} for task, paths in bar}


def _decoded(path: Path) -> str:
    try:
        text = layouts.content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not written in UTF-8: save it in that encoding, and try again.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def documents(text: str, cut: Clean = clean) -> list[str]:
    """The documents of ``text``, cleaned: an empty line ends one, once it has :data:`SHORTEST` words."""
    done: list[str] = []
    part: list[str] = []
    words = 0
    for paragraph in re.split(r"\n[^\S\n]*\n", text):
        part.append(cut(paragraph))
        words += part[-1].count(" ") + bool(part[-1])
        if words >= SHORTEST:
            done.append(" ".join(filter(None, part)))
            part, words = [], 0
    rest = " ".join(filter(None, part))
    return [*done, rest] if rest else done


def _roles(
    known: tuple[str, ...], sources: Sequence[str] | None, held_out: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which sources are tasks and which are kept apart."""
    for asked in (*(sources or ()), *held_out):
        if asked not in known:
            raise ValueError(f"There is no source '{asked}': choose among {', '.join(known)}.")
    tasks = tuple(task for task in dict.fromkeys(known if sources is None else sources) if task not in held_out)
    if len(tasks) < 2:
        raise ValueError(f"A task must be told from another, so give 2 or more sources, not {len(tasks)}.")
    return tasks, tuple(dict.fromkeys(held_out))


def _tokenised(
    texts: Texts, tasks: Sequence[str], vocabulary: int | Vocabulary, tokens: str
) -> tuple[Vocabulary, Tokens]:
    for split in SPLITS:
        empty = [task for task in texts if not any(texts[task][split])]
        if empty:
            raise DataError(f"The {KINDS[split]} text of {' and '.join(empty)} has no words: fill it, or leave it out.")
    if (tokens if isinstance(vocabulary, int) else vocabulary.kind) == "word":
        _need_spaces(texts)
    if isinstance(vocabulary, int):
        train: Mapping[str, Iterable[str]] = {task: texts[task]["train"] for task in tasks}
        make = Vocabulary.of_words if tokens == "word" else Vocabulary.of_pieces
        vocabulary = make(train, vocabulary)
    bar = progress_bar(texts.items(), desc="tokenising", unit="source")
    return vocabulary, {task: {split: streams(vocabulary, parts[split]) for split in SPLITS} for task, parts in bar}


def _need_spaces(texts: Texts) -> None:
    """Raise :class:`DataError` for a source in a script without spaces, out of which no words can be cut."""
    for task, parts in texts.items():
        for split in SPLITS:
            if told := unspaced(" ".join(parts[split]), f"The {KINDS[split]} text of {task}"):
                raise DataError(f"{told.removesuffix('.')}, or ask for tokens='bpe', which needs none.")


def _save(name: str, vocabulary: Vocabulary, ids: Tokens) -> None:
    """Keep the ids; where the cache cannot be written, do without it."""
    arrays: dict[str, Any] = {f"{task}/{split}": part for task, parts in ids.items() for split, part in parts.items()}
    arrays["vocabulary"] = np.frombuffer(vocabulary.to_json().encode(), np.uint8)
    with contextlib.suppress(OSError, DataError):
        sweep(_place(name).parent, "*.part")
        with part_file(_place(name)) as part, part.open("wb") as stream:
            np.savez(stream, **arrays)


def _load(name: str) -> tuple[Vocabulary, Tokens] | None:
    """What :func:`_save` kept, or None: a damaged file is made anew, and so is one that there is no cache for."""
    ids: Tokens = {}
    try:
        with _place(name).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            for part in stored.files:
                if part != "vocabulary":
                    task, _, split = part.rpartition("/")
                    ids.setdefault(task, {})[split] = stored[part]
            return Vocabulary.from_json(stored["vocabulary"].tobytes().decode()), ids
    except (OSError, ValueError, KeyError, *ZIP_ERRORS):
        return None
