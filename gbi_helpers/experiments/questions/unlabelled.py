"""Streams of text without labels, and how well slots found in a stream agree with the tasks behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor


@dataclass(frozen=True)
class Chunks:
    """R streams of T chunks of n words: ``words`` (R, T, n) int64, and the source of each chunk, ``task`` (R, T)."""

    words: Tensor
    task: Tensor

    def counts(self, size: int) -> Tensor:
        """How often each of ``size`` words occurs in each chunk, (R, T, V)."""
        zeros = torch.zeros((*self.task.shape, size), dtype=torch.float32, device=self.words.device)
        return zeros.scatter_add_(-1, self.words, torch.ones_like(self.words, dtype=torch.float32))


def chunked(sources: Sequence[Tensor], rows: int, chunks: int, words: int, hazard: float, seed: int) -> Chunks:
    """Streams in which the source changes before a chunk with chance ``hazard``, to any other alike.

    ``sources``: K texts (N_k,). Between two changes the text runs on from a random place, and from its beginning again
    where it ends. Raises ``ValueError`` for a source that has no more words than a chunk.
    """
    room = torch.tensor([len(source) - words for source in sources], dtype=torch.int64, device="cpu")
    if room.min() < 1:
        raise ValueError(f"Each source needs more than {words} words, as many as a chunk has, but one has no more.")
    draw = torch.Generator().manual_seed(seed)
    shape = (rows, chunks)
    chance, place = torch.rand((2, *shape), generator=draw, dtype=torch.float64, device=draw.device)
    moved = torch.randint(1, len(sources), shape, generator=draw, device=draw.device) * (chance < hazard)
    moved[:, 0] = torch.randint(len(sources), (rows,), generator=draw, device=draw.device)
    task = moved.cumsum(1) % len(sources)
    now = torch.arange(chunks, device=draw.device).expand(shape)
    began = torch.where(moved > 0, now, 0).cummax(1).values
    first = (place.gather(1, began) * room[task]).long()
    at = (first + (now - began) * words) % room[task]
    behind = torch.tensor([0, *map(len, sources)], dtype=torch.int64, device="cpu").cumsum(0)
    line = torch.arange(words, device=draw.device)
    return Chunks(torch.cat(list(sources))[(behind[task] + at)[..., None] + line], task)


def crossed(slot: Tensor, task: Tensor) -> Tensor:
    """The share of samples (N,) in each slot and of each task, (slots, tasks), float64; it sums to 1."""
    table = torch.zeros((int(slot.max()) + 1, int(task.max()) + 1), dtype=torch.float64, device="cpu")
    table.index_put_((slot, task), torch.ones_like(slot, dtype=torch.float64), accumulate=True)
    return table / len(slot)


def agreement(slot: Tensor, task: Tensor, used: float = 0.01) -> dict[str, float]:
    """How well slots (N,) agree with tasks (N,), both whole numbers from 0, whatever the slots are called.

    Percent right: "one_to_one" under the best naming in which no two slots share a task, "many_to_one" with each slot
    named after its most frequent task. "ari" and "nmi": adjusted Rand index (0 by chance) and normalised mutual
    information. "slots": how many hold more than a share ``used`` of the samples.
    """
    table = crossed(slot, task)
    best = linear_sum_assignment(table.numpy(), maximize=True)
    return {
        "one_to_one": 100 * float(table[best].sum()),
        "many_to_one": 100 * float(table.amax(1).sum()),
        "ari": float(adjusted_rand_score(task.numpy(), slot.numpy())),
        "nmi": float(normalized_mutual_info_score(task.numpy(), slot.numpy())),
        "slots": float((table.sum(1) > used).sum()),
    }
