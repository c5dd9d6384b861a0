"""Text as token ids: the one place where text is normalised, and vocabularies of words or of pieces of words (BPE)."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.files import DataError

UNKNOWN, START = "<unk>", "<bos>"
# Words keep an apostrophe inside, each digit stands alone, and of all signs only these punctuation marks stay.
TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d|[.,;:?!()]")
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "`": "'", "\x91": "'", "\x92": "'"})
_TORN = re.compile(r" (?:(n't)|'\s?(s|t|re|ve|ll|d|m))\b")  # "game 's", "did n't": spaced in some corpora
_STILL_TORN = re.compile(r"(?<=[^\W\d_]) (?=n't\b)")  # "did  n't", "so-n't": no single space stood there


def clean(text: str) -> str:
    """Text as the language models see it: tokens with one space between them. Cleaning twice changes nothing.

    Lower case; each digit a token of its own; layout marks, quotation marks, dashes, brackets and symbols are taken
    away, since they would give a source away (one corpus says ``--`` where another has ``"``); so are line ends.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower()).translate(_APOSTROPHES)
    return _STILL_TORN.sub("", " ".join(TOKEN.findall(_TORN.sub(_mended, text))))


def _mended(torn: re.Match[str]) -> str:
    return torn[1] or f"'{torn[2]}"


class Vocabulary:
    """The tokens a model knows, each with an id: ``words[id]``. Id 0 is ``<unk>``, id 1 is ``<bos>``.

    Make one with :meth:`of_words` or :meth:`of_pieces`; ``kind`` is "word" or "bpe". Anything outside becomes
    ``<unk>``; ``<bos>`` begins a document.
    """

    unknown, start = 0, 1

    def __init__(self, words: Sequence[str], pieces: str = "") -> None:
        if tuple(words[:2]) != (UNKNOWN, START) or len(set(words)) < len(words):
            raise ValueError(f"A vocabulary begins with {UNKNOWN} and {START}, and names no token twice.")
        self.words = tuple(words)
        self.kind = "bpe" if pieces else "word"
        self._ids = {word: number for number, word in enumerate(self.words)}
        self._json = pieces
        self._pieces: Any = _tokenizers().Tokenizer.from_str(pieces) if pieces else None

    @classmethod
    def of_words(cls, texts: Mapping[str, Iterable[str]], size: int) -> Vocabulary:
        """The ``size`` tokens (with ``<unk>`` and ``<bos>``) that are most frequent in clean ``texts`` by source.

        Each source counts the same, however long its documents are; ties go by the alphabet.
        Raises ``ValueError`` for a size below 3.
        """
        if size < 3:
            raise ValueError(f"A vocabulary needs room for {UNKNOWN}, {START} and a word, so a size of 3 or more.")
        share: Counter[str] = Counter()
        for documents in texts.values():
            counts = Counter(word for document in documents for word in document.split())
            total = sum(counts.values())
            share.update({word: count / total for word, count in counts.items()})
        known = sorted(share, key=lambda word: (-round(share[word], 12), word))
        return cls((UNKNOWN, START, *known[: size - 2]))

    @classmethod
    def of_pieces(cls, texts: Mapping[str, Iterable[str]], size: int) -> Vocabulary:
        """Byte-pair encoding (Sennrich et al. 2016) of clean ``texts`` by source: at most ``size`` pieces of words.

        Frequent words stay whole and rare ones fall into pieces, so hardly anything is unknown. A piece that begins
        a word carries a mark (▁). Raises :class:`DataError` where the package ``tokenizers`` is missing.
        """
        library = _tokenizers()
        pieces = library.Tokenizer(library.models.BPE(unk_token=UNKNOWN))
        pieces.pre_tokenizer = library.pre_tokenizers.Metaspace()
        pieces.decoder = library.decoders.Metaspace()
        trainer = library.trainers.BpeTrainer(vocab_size=size, special_tokens=[UNKNOWN, START], show_progress=False)
        pieces.train_from_iterator((document for documents in texts.values() for document in documents), trainer)
        ids: dict[str, int] = pieces.get_vocab()
        return cls(sorted(ids, key=lambda piece: ids[piece]), pieces.to_str())

    def __len__(self) -> int:
        """Number of tokens V."""
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.words, self._json) == (other.words, other._json)

    def __hash__(self) -> int:
        return hash((self.words, self._json))

    def __repr__(self) -> str:
        return f"Vocabulary({len(self):,} {'words' if self.kind == 'word' else 'pieces of words'})"

    def ids(self, text: str) -> list[int]:
        """Ids of the tokens of ``text``, which must be clean already; faster than :meth:`encode` for that reason."""
        if self._pieces is not None:
            return list(self._pieces.encode(text).ids) if text else []
        known = self._ids.get
        return [known(word, 0) for word in text.split()]

    def encode(self, text: str) -> Tensor:
        """Ids (T,) int64 of the tokens of ``text``, cleaned first. No ``<bos>`` is put before them."""
        return torch.tensor(self.ids(clean(text)), dtype=torch.int64, device="cpu")

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """The tokens of ``ids`` (T,) with spaces between them; pieces of a word joined. ``<bos>`` is a line end.

        Raises ``ValueError`` for an id that is none of this vocabulary.
        """
        numbers = [int(number) for number in ids]
        if any(not 0 <= number < len(self) for number in numbers):
            raise ValueError(f"Ids of this vocabulary go from 0 to {len(self) - 1}.")
        if self._pieces is None:
            words = " ".join("\n" if number == self.start else self.words[number] for number in numbers)
        else:
            words = "".join(
                "\n" if n == self.start else f"▁{self.words[n]}" if not n else self.words[n] for n in numbers
            )
        return "\n".join(line.strip() for line in words.replace("▁", " ").split("\n")).strip()

    def to_json(self) -> str:
        """All of it as text, to keep with a checkpoint."""
        return json.dumps({"words": self.words, "pieces": self._json}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """Inverse of :meth:`to_json`. Raises ``ValueError`` for text that is no vocabulary."""
        try:
            stored = json.loads(text)
            return cls(tuple(stored["words"]), stored["pieces"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError("This text holds no vocabulary: pass what Vocabulary.to_json() returned.") from error


def _tokenizers() -> ModuleType:
    """The package ``tokenizers``, imported at first use: only pieces of words need it."""
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise DataError("Pieces of words (BPE) need one more package: pip install tokenizers.") from error
    return tokenizers


def streams(vocabulary: Vocabulary, documents: Iterable[str]) -> np.ndarray:
    """Clean documents as one stream of ids (N,) int32, each after a ``<bos>``."""
    parts = [np.array([vocabulary.start, *vocabulary.ids(document)], np.int32) for document in documents]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)
