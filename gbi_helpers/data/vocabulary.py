"""Text as token ids: the one place where text is normalised, and vocabularies of words or of pieces of words (BPE)."""

from __future__ import annotations

import json
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gbi_helpers.files import DataError

UNKNOWN, START = "<unk>", "<bos>"
CUT = 2  # which cut into words a vocabulary was made with: 1 knew no combining marks, and lost them

# A letter and what continues its word: combining marks (vowels of Hindi or Tamil, points of Arabic or Hebrew, accents),
# the zero-width joiners that scripts from Arabic to Khmer spell with, and an apostrophe before another letter.
_LETTER = r"[^\W\d_]"
_MARK = f"[{''.join(sign for sign in map(chr, range(0x300, 0x1F000)) if unicodedata.category(sign)[0] == 'M')}\u200d]"
_GOES_ON = rf"{_MARK}|['\u05f3\u05f4](?={_LETTER})|\u200c(?={_LETTER}|{_MARK})"
_SIGN = r"\d|[.,;:?!()]"  # each digit stands alone, and of all signs only these punctuation marks stay
TOKEN = re.compile(rf"{_LETTER}+(?:(?:{_GOES_ON}){_LETTER}*)*|{_SIGN}")
_TOKENS = {1: re.compile(rf"{_LETTER}+(?:'{_LETTER}+)*|{_SIGN}"), CUT: TOKEN}
# What nobody sees and no word is spelt with: soft hyphens, marks of direction, variants, joiners between other letters.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180f\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufe00-\ufe0f\ufeff"
    "\U000e0100-\U000e01ef]|(?<![\u0620-\u180a\u1810-\u1cff])[\u200c\u200d]"
)
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "`": "'", "\x91": "'", "\x92": "'"})
_TORN = re.compile(r" (?:(n't)|'\s?(s|t|re|ve|ll|d|m))\b")  # "game 's", "did n't": spaced in some corpora
_STILL_TORN = re.compile(rf" (?=n't\b)(?:(?<={_LETTER} )|(?<={_MARK} ))")  # "did  n't": no single space stood there
# Scripts without spaces between words, and how many signs their words have on average, at the very most.
UNSPACED = {
    "Chinese or Japanese": ("[\u3005-\u3007\u3040-\u312f\u31f0-\u31ff\u3400-\u9fff\U00020000-\U000323af]", 3),
    "Thai": ("[\u0e01-\u0e7f]", 10),
    "Lao": ("[\u0e80-\u0eff]", 10),
    "Burmese": ("[\u1000-\u109f]", 10),
    "Khmer": ("[\u1780-\u17ff]", 10),
}


def clean(text: str, cut: int = CUT) -> str:
    """Text as the language models see it: tokens with one space between them. Cleaning twice changes nothing.

    Lower case; each digit a token of its own; layout marks, quotation marks, dashes, brackets and symbols are taken
    away, since they would give a source away (one corpus says ``--`` where another has ``"``); so are line ends.
    A word keeps its combining marks, and is the same word however they are encoded (composed or not). ``cut``: 1 for
    text that a model of the time before that has learnt (:attr:`Vocabulary.cut`).
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower()).translate(_APOSTROPHES)
    if text.isascii():
        cut = 1  # the quicker one, and there they agree
    elif cut > 1:
        while (seen := unicodedata.normalize("NFKC", _UNSEEN.sub("", text))) != text:  # it may bring others together
            text = seen
    return _STILL_TORN.sub("", " ".join(_TOKENS[cut].findall(_TORN.sub(_mended, text))))


def unspaced(text: str, whose: str = "This text") -> str:
    """A sentence if clean ``text`` is in a script without spaces, so that no words can be cut out of it; else "".

    A few such words among others do not matter, nor does text that somebody has put spaces into.
    """
    for script, (letter, longest) in {} if text.isascii() else UNSPACED.items():
        found = len(re.findall(letter, text))
        if 2 * found <= len(text) - text.count(" "):
            continue  # before any word is looked at: of a whole corpus that takes seconds
        if found > longest * sum(1 for word in text.split() if re.search(letter, word)):
            return (
                f"{whose} is {script}, which is written without spaces, so it cannot be cut into words: put a space "
                "between its words."
            )
    return ""


def _mended(torn: re.Match[str]) -> str:
    return torn[1] or f"'{torn[2]}"


class Vocabulary:
    """The tokens a model knows, each with an id: ``words[id]``. Id 0 is ``<unk>``, id 1 is ``<bos>``.

    Make one with :meth:`of_words` or :meth:`of_pieces`; ``kind`` is "word" or "bpe". Anything outside becomes
    ``<unk>``; ``<bos>`` begins a document. ``cut``: how it cuts text into words (see :func:`clean`).
    """

    unknown, start = 0, 1

    def __init__(self, words: Sequence[str], pieces: str = "", cut: int = CUT) -> None:
        if tuple(words[:2]) != (UNKNOWN, START) or len(set(words)) < len(words):
            raise ValueError(f"A vocabulary begins with {UNKNOWN} and {START}, and names no token twice.")
        if cut not in _TOKENS:
            raise ValueError("This vocabulary was made by a later version of gbi_helpers: install that one.")
        self.words = tuple(words)
        self.cut = cut
        self.kind = "bpe" if pieces else "word"
        self._ids = {word: number for number, word in enumerate(self.words)}
        self._json = pieces
        self._pieces: Any = _read_pieces(pieces) if pieces else None

    @classmethod
    def of_words(cls, texts: Mapping[str, Iterable[str]], size: int) -> Vocabulary:
        """The ``size`` tokens (with ``<unk>`` and ``<bos>``) that are most frequent in clean ``texts`` by source.

        Each source counts the same, however long its documents are; ties go by the alphabet.
        Raises ``ValueError`` for a size below 3, or texts in a script without spaces (Chinese, Thai, ...).
        """
        if size < 3:
            raise ValueError(f"A vocabulary needs room for {UNKNOWN}, {START} and a word, so a size of 3 or more.")
        share: Counter[str] = Counter()
        for source, documents in texts.items():
            documents = list(documents)
            if told := unspaced(" ".join(documents), f"The text of {source}"):
                raise ValueError(told)
            counts = Counter(word for document in documents for word in document.split())
            total = sum(counts.values())
            share.update({word: count / total for word, count in counts.items()})
        known = sorted(share, key=lambda word: (-round(share[word], 12), word))
        return cls((UNKNOWN, START, *known[: size - 2]))

    @classmethod
    def of_pieces(cls, texts: Mapping[str, Iterable[str]], size: int) -> Vocabulary:
        """Byte-pair encoding (Sennrich et al. 2016) of clean ``texts`` by source, in ``size`` pieces of words.

        Fewer where there are not so many, more where letters alone are more: each has a piece.
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
        return isinstance(other, Vocabulary) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __repr__(self) -> str:
        return f"Vocabulary({len(self):,} {'words' if self.kind == 'word' else 'pieces of words'})"

    def ids(self, text: str) -> list[int]:
        """Ids of the tokens of ``text``, which must be clean already; faster than :meth:`encode` for that reason."""
        if self._pieces is not None:
            return list(self._pieces.encode(text).ids) if text else []
        known = self._ids.get
        return [known(word, 0) for word in text.split()]

    def clean(self, text: str) -> str:
        """Text as :func:`clean` gives it, cut as this vocabulary was when it was made."""
        return clean(text, self.cut)

    def encode(self, text: str) -> Tensor:
        """Ids (T,) int64 of the tokens of ``text``, cleaned first. No ``<bos>`` is put before them.

        Warns of text in a script without spaces (Chinese, Thai, ...), which no vocabulary of words can read.
        """
        text = self.clean(text)
        if self.kind == "word" and (told := unspaced(text)):
            warnings.warn(told, stacklevel=2)
        return torch.tensor(self.ids(text), dtype=torch.int64, device="cpu")

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
        return json.dumps({"words": self.words, "pieces": self._json, "cut": self.cut}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """Inverse of :meth:`to_json`. Raises ``ValueError`` for text that is no vocabulary."""
        try:
            stored = json.loads(text)
            words = tuple(stored["words"])
            # Without a mark of its cut it is old; but one of Latin letters alone never met what the old cut lost.
            latin = max("".join(words).replace("▁", ""), default="") < "\u0300"
            return cls(words, stored["pieces"], stored.get("cut", CUT if latin else 1))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError("This text holds no vocabulary: pass what Vocabulary.to_json() returned.") from error


def _read_pieces(pieces: str) -> Any:
    """What cuts words into pieces. Raises ``ValueError`` for text that tells of none."""
    library = _tokenizers()
    try:
        return library.Tokenizer.from_str(pieces)
    except Exception as error:  # the package raises nothing narrower
        raise ValueError("These pieces cannot be read: pass what Vocabulary.to_json() returned.") from error


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
