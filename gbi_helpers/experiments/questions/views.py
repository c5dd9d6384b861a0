"""Chapter 11's views: a stream that discovers its tasks, a text read in slots, embeddings as d grows, pairs unseen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gbi_helpers import plots
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
    is a numbered dot where it expected this sample (at the edge if that lies beyond), filled by its share of the last
    200 samples, against that of the slot used most. The dashed circle is the estimated noise, one standard deviation
    around the slot believed most. The slider stops most often after a switch, and in the first quarter of the stream.
    Percent right of the last 200 samples is that of the best one-to-one naming there.
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
        f"last {TRAIL} samples": _dots(x[places], fill=torch.exp(-age / 8), size=2.5),
        "noise, around the slot believed most": (ring[:, 0], ring[:, 1]),
        "mean of each task": _dots(means, fill=0, names=[f"T{k}" for k in range(len(means))]),
        "slots": _dots(said[at], fill=share / share.amax(1, keepdim=True), names=list(map(str, range(said.shape[1])))),
        "this sample": (x[at, :1], x[at, 1:]),
    }


def _dots(points: Tensor, **look: Any) -> Dots:
    return Dots(points[..., 0], points[..., 1], **look)


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
    found: DiscoveryRecord,
    chunks: Chunks,
    corpus: Corpus,
    model: WordSlots,
    row: int = 0,
    first: int = 0,
    count: int = 30,
) -> WordsRecord:
    """A stretch of a text as slots read it, for ``read_along``: ``count`` chunks of ``row`` from number ``first`` on.

    ``found``: of ``chunks``, read by ``model``. ``belief`` is that after the whole chunk of a word, as the filter takes
    chunks. ``evidence``: log frequency of the word in each slot, the mean over slots taken off. ``loss``: of a word
    under the belief after the chunk before (at first all slots alike). Tasks are slots by :func:`slot_words`, and
    ``sources`` those of the corpus. Raises ``ValueError`` where there is no such chunk.
    """
    last = min(first + count, len(found.belief))
    if not 0 <= first < last:
        raise ValueError(f"There are {len(found.belief)} chunks, so none to show from number {first} on.")
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


# ---------------------------------------------------------------- a hundred embeddings as d grows

DIMS = (2, 3, 4, 6, 9, 12, 16, 24, 32, 48, 64, 99)


def sphere_view(means: Tensor, dims: Sequence[int] = DIMS, title: str = "") -> Slider:
    """Embeddings in more and more dimensions, with free lengths and on a sphere; full dots are those one step can name.

    ``means`` (K, D): what K tasks predict. They are cut to their first d principal axes, and seen from where the first
    two of these span the plane. From the uniform start one step can name (:func:`gbi_helpers.starts.visible`) a task
    that is the farthest in its own direction: on a sphere all of them, as far as the uniform start is its centre.
    Circle: of the sphere's radius, around that centre.
    Raises ``ValueError`` for fewer than 2 dimensions, or more than the means have.
    """
    away = means.double() - means.double().mean(0)
    most = min(away.shape[0] - 1, away.shape[1])
    if min(dims) < 2 or max(dims) > most:
        raise ValueError(f"Dimensions go from 2 to {most} here, the axes of {len(means)} means, but are {list(dims)}.")
    at = away @ torch.linalg.svd(away, full_matrices=False).Vh.T
    ways = {"free lengths": [at[:, :d] for d in dims], "on a sphere": [on_sphere(at[:, :d]) for d in dims]}
    turn = torch.linspace(0, 2 * math.pi, 73, dtype=at.dtype, device=at.device)
    radius = torch.stack([points[0].norm() for points in ways["on a sphere"]])[:, None]
    edge = 1.05 * float(max(radius.max(), at[:, :2].abs().max()))
    planes, share = [], {}
    for name, points in ways.items():
        named = torch.stack([visible(p).double() for p in points])
        share[name] = named.mean(1)
        seen = torch.stack([p[:, :2] for p in points])
        curves: dict[str, Any] = {"task, full if one step can name it": _dots(seen, fill=named, size=4)}
        if name == "on a sphere":
            curves["its radius"] = (radius * turn.cos(), radius * turn.sin())
        planes.append(Lines(f"{name}, seen in two axes", curves, xlim=(-edge, edge), ylim=(-edge, edge), equal=True))
    steps = torch.tensor(dims, dtype=at.dtype, device=at.device).log2()
    here = {f"{name}, here": (steps[:, None], values[:, None]) for name, values in share.items()}
    grows = Lines("share of tasks nameable", {**share, **here}, x=steps, xlabel="dimensions d, log2", ylim=(0, 1.04))
    says = {f"{name}: nameable": (len(means) * values).round().long() for name, values in share.items()}
    return slide({"dimensions d": list(dims)}, *planes, grows, says=says, start=[0], title=title)


# ---------------------------------------------------------------- two factors, pairs never seen


def pairs_figure(
    accuracy: Mapping[str, ArrayLike],
    unseen: ArrayLike,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
) -> Figure:
    """Percent right of each pair of two factors, a matrix for each decoder by name; pairs never seen are framed.

    ``accuracy``: (R, C) each; ``unseen`` (R, C): true for pairs held out. Above each its means, seen and never seen.
    Raises ``ValueError`` for shapes that differ.
    """
    held_out = np.asarray(unseen, dtype=bool)
    figure, axes = plots.new(3.1 * len(accuracy) + 0.3, 0.27 * len(held_out) + 1.2, len(accuracy), sharey=True)
    for ax, (name, values) in zip(np.ravel(axes), accuracy.items(), strict=True):
        percent = np.asarray(values, dtype=float)
        names = {"rows": True if rows is None else rows, "columns": True if columns is None else columns}
        plots.heatmap(ax, percent, **names, framed=held_out, fmt=".0f", vmin=0, vmax=100, cbar=False)
        seen, never = percent[~held_out].mean(), percent[held_out].mean()
        ax.set_title(f"{name}\nseen {seen:.0f}, never seen {never:.0f}", fontsize=9)
    return figure
