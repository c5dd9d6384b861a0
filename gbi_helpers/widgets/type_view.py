"""``type_here(model, vocabulary, text)``: type a text, and the page itself reads it, word by word, without a kernel.

The inference runs in the page (engine.js, reading.js); what it read is shown by the words view. The buffer holds the
weights in half precision.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gbi_helpers.data.vocabulary import CUT, UNSPACED, Vocabulary
from gbi_helpers.models.language import WordLSTM
from gbi_helpers.records import WordsRecord
from gbi_helpers.widgets.pack import Packed
from gbi_helpers.widgets.view import RecordView
from gbi_helpers.widgets.weights import pack_word_model
from gbi_helpers.widgets.words_view import Reading, read, still_text

SCRIPTS = ("words.js", "engine.js", "reading.js", "type.js")
LIVE = "type a text of your own, and see where the network takes it from"


@dataclass(frozen=True)
class Typing(Packed):
    """What the browser is given: the network, the words that it knows, the gap of one step, and the first text."""

    network: dict[str, Any]
    weights: bytes
    vocabulary: tuple[str, ...]
    tasks: list[str]
    deltas: dict[str, list[float]]
    text: str
    title: str

    @property
    def header(self) -> dict[str, Any]:
        """Everything but the weights."""
        return {
            "kind": "type",
            "entries": 1,
            "bytes": len(self.weights),
            "unspaced": [(script, *signs) for script, signs in UNSPACED.items()],
            **{name: getattr(self, name) for name in ("network", "vocabulary", "tasks", "deltas", "text", "title")},
        }

    @cached_property
    def data(self) -> bytes:
        """The weights, deflated."""
        return zlib.compress(self.weights, 9)


class TypeHere(RecordView):
    """What :func:`type_here` returns. ``reading``: the first text, as it was read in Python."""

    scripts = SCRIPTS

    def __init__(self, typing: Typing, reading: Reading) -> None:
        super().__init__(typing)
        self.typing, self.reading = typing, reading

    def still(self) -> str:
        """What is seen without JavaScript or trust."""
        return still_text(self.reading, LIVE)

    def __repr__(self) -> str:
        """The same on every machine: sizes, no values."""
        return f"TypeHere({len(self.reading.words)} words, {len(self.typing.tasks)} tasks)"


def type_here(
    model: WordLSTM,
    vocabulary: Vocabulary,
    text: str,
    record: WordsRecord,
    *,
    facts: dict[str, Any] | None = None,
    title: str = "",
) -> TypeHere:
    """Type or paste a text, and the belief over its source follows, word by word. Needs no kernel.

    The page reads as ``read_words`` does, and shows it as :func:`read_along` does; a slider lets belief leak, as if the
    source could change, and a button lets the network write on. ``text`` stands in the box at first, and ``record`` is
    what ``read_words`` made of it, with the same ``facts`` (of a checkpoint: they put the gap of one step back). The
    weights go into the output in half precision (1 MB for the course's). Of a text the first 400 words are read.
    Raises ``ValueError`` for another model than a WordLSTM with conditioning "both", a vocabulary that is not that
    model's or not one of words, or a record of another text or of other tasks.
    """
    network, weights = pack_word_model(model)
    if vocabulary.kind != "word" or vocabulary.cut != CUT or len(vocabulary) != len(model.bias):
        raise ValueError(
            f"The page reads whole words, and the model knows {len(model.bias)} of them: pass the vocabulary of words "
            "that it was trained with."
        )
    reading = read(record, title)
    seen = [vocabulary.words[number] for number in vocabulary.ids(vocabulary.clean(text))]
    if seen != reading.words or len(reading.tasks) != model.n_tasks:
        raise ValueError("record must be what read_words(model, vocabulary, text, ...) makes of all of this text.")
    deltas = {} if facts is None else facts["deltas"]
    return TypeHere(Typing(network, weights, vocabulary.words, reading.tasks, deltas, text, title), reading)
