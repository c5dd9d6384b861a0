"""Chapter 11's views: a stream that discovers its tasks, a text read in slots, a hundred embeddings as d grows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gbi_helpers.data.toy import Stream
from gbi_helpers.data.vocabulary import Vocabulary
from gbi_helpers.discovery import DiscoveryRecord
from gbi_helpers.experiments.language.windows import Corpus
from gbi_helpers.experiments.questions.unlabelled import Chunks, crossed
from gbi_helpers.models.hundred import on_sphere
from gbi_helpers.models.slots import WordSlots
from gbi_helpers.records import WordsRecord
from gbi_helpers.starts import visible
from gbi_helpers.widgets import Bars, Dots, Lines, slide
from gbi_helpers.widgets.slide_view import Slider

# ---------------------------------------------------------------- a stream that discovers its tasks

TRAIL = 40  # samples seen at once
SCORED = 200  # samples behind a percentage


def discovery_view(found: Mapping[str, DiscoveryRecord], stream: Stream, row: int, title: str = "") -> Slider:
    """What slots say of a stream in the plane, moved through sample by sample, for one or two records by name.

    ``found``: of the same ``stream``, for example {"one step": ..., "exact": ...}; ``row``: which of its seeds. A slot
    is a numbered dot where its prediction of this sample is (at the edge if that lies beyond), filled by its share of the
    last 200 samples, against that of the slot used most. The dashed circle is the estimated noise, one standard
    deviation around the slot believed most. The slider stops most often after a switch, and in the first quarter of
    the stream. Percent right of the last 200 samples is that of the best one-to-one naming there.
    Raises ``ValueError`` for samples that are not points in the plane, or not as long as the stream.
    """
    task, x = stream.context[row], stream.x[row]
    for name, record in found.items():
        if record.prediction is None or record.prediction.shape[-1] != 2 or len(record.belief) > len(x):
            raise ValueError(f"'{name}' holds no predictions in the plane of this stream: record one of its discovery.")
    samples = min(len(record.belief) for record in found.values())
    x, task = x[-samples:], task[-samples:]
    at = _stops(task)
    low, high = float(stream.means.min()) - 3 * stream.sd, float(stream.means.max()) + 3 * stream.sd
    says: dict[str, Any] = {"true task": task[at]}
    planes, beliefs = [], []
    for name, record in found.items():
        belief, said, sd = (part[-samples:, row] for part in (record.belief, _said(record), record.sd))
        slot = belief.argmax(-1)
        says |= {f"{name}: slot": slot[at], f"{name}: noise": sd[at], f"{name}: % right": _right(slot, task, at)}
        curves = _plane(at, x, stream.means, belief, said.clamp(low, high), sd)
        planes.append(Lines(name, curves, xlim=(low, high), ylim=(low, high), equal=True))
        slots = [str(k) for k in range(belief.shape[1])]
        beliefs.append(Bars(f"{name}: belief in each slot", belief[at], slots, (0, 1)))
    return slide({"sample": at.tolist()}, *planes, *beliefs, says=says, start=[len(at) - 1], title=title)


def _said(record: DiscoveryRecord) -> Tensor:
    assert record.prediction is not None  # it was asked for
    return record.prediction


def _stops(task: Tensor) -> Tensor:
    """Samples at which the slider stops: in each block the first, then ever farther apart, and the last."""
    begin = torch.cat([task.new_zeros(1), (task.diff() != 0).nonzero()[:, 0] + 1]).tolist()
    stops = set[int]()
    for first, end in zip(begin, [*begin[1:], len(task)], strict=True):
        growth = 2 if 4 * first < len(task) else 8
        steps = [0, *(growth**n for n in range(20))]
        stops |= {first + step for step in steps if first + step < end} | {end - 1}
    return torch.tensor(sorted(stops), dtype=torch.int64, device=task.device)


def _plane(at: Tensor, x: Tensor, means: Tensor, belief: Tensor, said: Tensor, sd: Tensor) -> dict[str, Any]:
    """The curves of the plane at the samples ``at``."""
    places, age = _trail(at)
    share = torch.stack([belief[max(t - SCORED + 1, 0) : t + 1].mean(0) for t in at.tolist()])
    turn = torch.linspace(0, 2 * math.pi, 17, dtype=x.dtype, device=x.device)
    top = said[at, belief[at].argmax(-1)]
    ring = top[..., None] + sd[at, None, None] * torch.stack([turn.cos(), turn.sin()])
    return {
        f"last {TRAIL} samples": Dots(*x[places].unbind(-1), fill=torch.exp(-age / 8), size=2.5),
        "noise, around the slot believed most": (ring[:, 0], ring[:, 1]),
        "mean of each task": Dots(*means.T, fill=0, names=[f"T{k}" for k in range(len(means))]),
        "slots": Dots(*said[at].unbind(-1), share / share.amax(1, keepdim=True), [str(k) for k in range(said.shape[1])]),
        "this sample": (x[at, :1], x[at, 1:]),
    }


def _trail(at: Tensor) -> tuple[Tensor, Tensor]:
    """The last samples (P, 40) at each stop, each in a place of its own that the next but 39 takes, and their ages."""
    place = torch.arange(TRAIL, device=at.device)
    last = at[:, None] - (at[:, None] - place) % TRAIL
    return last.clamp_min(0), torch.where(last < 0, TRAIL, at[:, None] - last)


def _right(slot: Tensor, task: Tensor, at: Tensor) -> list[float]:
    """Percent of the samples before each of ``at`` whose slot is that of their task, slots named as suits them best."""
    found = []
    for t in at.tolist():
        recent = slice(max(t - SCORED + 1, 0), t + 1)
        table = crossed(slot[recent], task[recent])
        found.append(100 * float(table[linear_sum_assignment(table.numpy(), maximize=True)].sum()))
    return found


# ---------------------------------------------------------------- a text read in slots


def slot_words(model: WordSlots, vocabulary: Vocabulary, n: int = 2) -> list[str]:
    """A name for each slot: its number, and the ``n`` words that it makes more frequent than the others by most.

    Words of letters only. Slots that were never used have small random weights, so their names say nothing.
    """
    spelt = [k for k, word in enumerate(vocabulary.words) if word.isalpha()]
    top = model.entry.detach()[:, spelt].topk(n).indices.tolist()
    return [f"{k} {' '.join(vocabulary.words[spelt[at]] for at in row)}".strip() for k, row in enumerate(top)]


@torch.no_grad()
def words_of(
    found: DiscoveryRecord, chunks: Chunks, corpus: Corpus, model: WordSlots, row: int = 0, first: int = 0, count: int = 30
) -> WordsRecord:
    """A stretch of a text as slots read it, for ``read_along``: ``count`` chunks of ``row`` from number ``first`` on.

    ``found``: of ``chunks``, read by ``model``. ``belief`` is that after the whole chunk of a word, as the filter takes
    chunks. ``evidence``: log frequency of the word in each slot, the mean over slots taken off. ``loss``: of a word
    under the belief after the chunk before (at first all slots alike). Tasks are slots by :func:`slot_words`, and
    ``sources`` those of the corpus. Raises ``ValueError`` where there is no such chunk.
    """
    last = min(first + count, len(found.belief))
    if not 0 <= first < last:
        raise ValueError(f"There are {len(found.belief)} chunks, so none to show from number {first} on: begin earlier.")
    words, told = chunks.words[row, first:last], chunks.task[row, first:last]
    belief = found.belief[first:last, row]
    start = found.belief[first - 1, row] if first else torch.full_like(belief[0], 1 / belief.shape[-1])
    before = torch.cat([start[None], belief[:-1]])
    log_p = torch.log_softmax(model.bias + model.entry, -1).T[words]  # (chunks, words, slots)
    each = words.shape[1]
    return WordsRecord(
        belief.repeat_interleave(each, 0),
        (log_p - log_p.mean(-1, keepdim=True)).flatten(0, 1),
        -(before.log()[:, None] + log_p).logsumexp(-1).flatten(),
        [corpus.vocabulary.words[word] for word in words.flatten().tolist()],
        slot_words(model, corpus.vocabulary),
        told.repeat_interleave(each),
        sources=list(corpus.tasks),
    )
