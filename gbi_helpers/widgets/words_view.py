"""``read_along(record)``: a text word by word, what each word speaks for, and the belief it leads to, without a kernel.

The buffer holds, little-endian and in this order: loss float32 (T,); belief uint16 (T, K), as the change since the word
before; evidence uint16 (T, K); and the true task uint16 (T,) where it is known.
"""

from __future__ import annotations

import html as escaping
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gbi_helpers.records import WordsRecord
from gbi_helpers.widgets import page
from gbi_helpers.widgets.pack import Packed, change, finite, kind, number
from gbi_helpers.widgets.view import RecordView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Reading(Packed):
    """What the browser is given: ``belief`` and ``evidence`` (T, K), ``loss`` (T,), ``true`` (T,) or None.

    ``start``: the word at which the view opens; None: where it was, at first the beginning. ``sources``: what ``true``
    counts where that is not the tasks, which are slots then.
    """

    belief: np.ndarray
    evidence: np.ndarray
    loss: np.ndarray
    true: np.ndarray | None
    words: list[str]
    tasks: list[str]
    title: str
    start: int | None = None
    sources: list[str] | None = None

    @property
    def header(self) -> dict[str, Any]:
        """Everything but the arrays."""
        return {
            "kind": "words",
            "entries": len(self.words),
            "text": self.words,
            "tasks": self.tasks,
            "span": [float(self.evidence.min()), float(self.evidence.max())],
            "scale": _round_up(float(np.quantile(np.abs(self.evidence), 0.98))),
            "known": self.true is not None,
            "title": self.title,
            "start": self.start,
        } | ({} if self.sources is None else {"sources": self.sources})

    @property
    def true_task(self) -> np.ndarray | None:
        """``true`` (T,) where it counts tasks."""
        return self.true if self.sources is None else None

    @cached_property
    def data(self) -> bytes:
        """The arrays, deflated."""
        low, high = self.evidence.min(), self.evidence.max()
        levels = np.rint((self.evidence - low) / ((high - low) or 1.0) * 65535).astype("<u2")
        belief = np.rint(self.belief * 65535).astype("<u2")
        parts = [self.loss.astype("<f4"), change(belief), levels]
        parts += [] if self.true is None else [self.true.astype("<u2")]
        return zlib.compress(b"".join(part.tobytes() for part in parts), 9)

    def top(self, word: int) -> str:
        """The task most believed after a word, in words."""
        belief = self.belief[word]
        if len(belief) > 1 and belief.max() - belief.min() < 5e-4:
            return f"all {len(belief)} equal at {number(belief[0])}"
        return f"{self.tasks[int(belief.argmax())]} at {number(belief.max())}"

    def spoken_for(self, word: int) -> str:
        """The evidence of a word for the true task, or for the one most believed after it."""
        task = int(self.belief[word].argmax()) if self.true_task is None else int(self.true_task[word])
        value = float(self.evidence[word, task])
        return f"{'+' if value >= 0.005 else ''}{number(value)} for {self.tasks[task]}"


class ReadAlong(RecordView):
    """What :func:`read_along` returns."""

    scripts = ("words.js",)

    def __init__(self, reading: Reading, note: str = "") -> None:
        super().__init__(reading, note)
        self.reading = reading

    def still(self) -> str:
        """What is seen without JavaScript or trust."""
        return still_text(self.reading)

    def __repr__(self) -> str:
        """The same on every machine: sizes, no values."""
        return f"ReadAlong({len(self.reading.words)} words, {len(self.reading.tasks)} tasks)"


def read_along(record: WordsRecord, *, title: str | None = None) -> ReadAlong:
    """Show a text with the evidence of each word in nats, and the belief over tasks at a cursor and over all words.

    The colours of the words speak of one task, which the reader chooses: the true one, the one on top, or any; a line
    below a word is evidence for it, dots are evidence against. Up to about 1,000 words stay quick. Of a record with
    ``sources`` the words have the colour, and the sign, of the slot believed most, and the true source as a line below.
    Raises ``ValueError`` for another record, an empty text, NaN, or a belief whose rows are no probabilities.
    """
    return ReadAlong(read(record, title))


def read(record: Any, title: str | None = None, start: int | None = None) -> Reading:
    """Take a WordsRecord for drawing. Raises ``ValueError`` with one clear sentence for a bad input."""
    if not isinstance(record, WordsRecord):
        raise ValueError(f"read_along() shows a WordsRecord, but was given a {kind(record)}.")
    if 0 in record.belief.shape:
        raise ValueError(f"There is no word to show: belief has the shape {tuple(record.belief.shape)} (words, tasks).")
    belief, evidence, loss = (finite(getattr(record, name), name, "word") for name in ("belief", "evidence", "loss"))
    wrong = (belief < 0).any(1) | (np.abs(belief.sum(1) - 1) > 1e-3)
    if wrong.any():
        raise ValueError(f"The belief after word {int(wrong.argmax())} is no probability: its row must sum to 1.")
    true = None if record.true is None else record.true.cpu().numpy()
    named = record.words, record.tasks, title or "", start, record.sources
    return Reading(belief.clip(0, 1), evidence, loss, true, *named)


def _round_up(value: float) -> float:
    """The next of ..., 0.1, 0.2, 0.5, 1, 2, 5, 10, ... nats."""
    power = 10.0 ** np.floor(np.log10(max(value, 0.1)))
    return float(next(round(m * power, 6) for m in (1, 2, 5, 10) if m * power >= value * 0.999))


def still_text(reading: Reading, live: str = "scrub through the words") -> str:
    """What is seen without JavaScript or trust: the text (its beginning), a picture with alt text, and a table.

    ``live``: what running the cell brings.
    """
    count, last = len(reading.words), len(reading.words) - 1
    alt = (
        f"Belief over {len(reading.tasks)} tasks while {count} words are read. After the first word: {reading.top(0)}. "
        f"At the end: {reading.top(last)}. Loss {number(reading.loss.mean())} nats a word."
    )
    shown = np.unique(np.linspace(0, last, 8).round().astype(int))
    rows = [
        (str(t + 1), page.shorten(reading.words[t]), reading.spoken_for(t), reading.top(t), number(reading.loss[t]))
        for t in shown
    ]
    head = ("word", "text", "evidence (nats)", "most believed", "loss (nats)")
    text = " ".join(reading.words[:60]) + (" \N{HORIZONTAL ELLIPSIS}" if count > 60 else "")
    still = page.still(reading.title, alt, _picture(reading), head, rows, live=live)
    return f'{still}<p style="overflow-wrap:anywhere">{escaping.escape(text)}</p>'


def _picture(reading: Reading) -> Figure:
    """Belief over the words, a row a task, with a line at the true one; and the belief at the end."""
    from matplotlib.figure import Figure  # no pyplot: a figure of our own, no global state
    from matplotlib.ticker import MaxNLocator

    tasks = [page.shorten(name) for name in reading.tasks]
    many = len(tasks) > 30
    fig = Figure(figsize=(8.4, 3.2 if many else 1.1 + 0.18 * len(tasks)), dpi=100, layout="constrained")
    over, end = fig.subplots(1, 2, width_ratios=(2.4, 1), sharey=True)
    count = len(reading.words)
    shape = {"aspect": "auto", "interpolation": "nearest", "extent": (0.5, count + 0.5, len(tasks) - 0.5, -0.5)}
    over.imshow(reading.belief.T, cmap="Blues", vmin=0, vmax=1, **shape)
    if reading.true_task is not None:
        edges = np.arange(count + 1) + 0.5
        over.stairs(reading.true_task, edges, baseline=None, color="#D55E00", linewidth=2)
    over.set_yticks([] if many else range(len(tasks)), [] if many else tasks)
    told = "" if reading.true is None else " (line: true task)" if reading.sources is None else " (above: true source)"
    over.set_title(f"belief after each word{told}", fontsize=9, pad=16 if reading.sources else None)
    _mark_sources(over, reading)
    end.barh(range(len(tasks)), reading.belief[-1], color="#0072B2")
    end.set_title("belief at the end", fontsize=9)
    over.set_xlabel("word", fontsize=9)
    over.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (over, end):
        axis.tick_params(labelsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    return fig


def _mark_sources(over: Axes, reading: Reading) -> None:
    """A line where a stretch of another true source begins, and its name above."""
    if reading.sources is None or reading.true is None:
        return
    for t in np.flatnonzero(np.diff(reading.true, prepend=-1)):
        over.axvline(t + 0.5, color="0.6", linewidth=0.8)
        over.text(t + 0.5, -0.7, reading.sources[reading.true[t]], fontsize=7, va="bottom")
