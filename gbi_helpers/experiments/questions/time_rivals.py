"""Rivals that find the tasks of a stream without labels: k-means that is smoothed in time, a hidden Markov model."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from torch import Tensor

from gbi_helpers.bayes import log_likelihood
from gbi_helpers.experiments.questions.unlabelled import Chunks, agreement
from gbi_helpers.models.base import one_hot

# ---------------------------------------------------------------- hidden Markov model


Says = Callable[[Tensor], Tensor]  # data (R, T, ...) -> log p under each state (R, T, K)


@dataclass(frozen=True)
class HMM:
    """K states: log chance of the ``first`` (K,), of each ``jump`` (K, K) from row to column, and what each ``says``.

    ``weight``: of what they say, below 1 where data hold less than they seem to.
    """

    first: Tensor
    jump: Tensor
    says: Says
    weight: float = 1.0

    def filtered(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Log belief (R, T, K) after each of T data, and nats (R, T) of each given those before."""
        expected, beliefs, nats = self.first.expand(len(data), -1), [], []
        for score in self.says(data).unbind(1):
            nats.append(-(expected + score).logsumexp(-1))
            beliefs.append((expected + self.weight * score).log_softmax(-1))
            expected = (beliefs[-1][:, :, None] + self.jump).logsumexp(1)
        return torch.stack(beliefs, 1), torch.stack(nats, 1)

    def smoothed(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Belief (R, T, K) given all data, before and after; and expected jumps (K, K), all streams together."""
        log_belief, _ = self.filtered(data)
        later, found = log_belief[:, -1], [log_belief[:, -1]]
        jumps = torch.zeros_like(self.jump)
        for belief in log_belief[:, :-1].flip(1).unbind(1):
            both = belief[:, :, None] + self.jump
            both = both + (later - both.logsumexp(1))[:, None]
            jumps += both.exp().sum(0)
            later = both.logsumexp(2)
            found.append(later)
        return torch.stack(found[::-1], 1).exp(), jumps


def baum_welch(
    data: Tensor, says: Says, refit: Callable[[Tensor], Says], states: int, weight: float, rounds: int
) -> HMM:
    """An HMM fitted to data (R, T, ...) by EM from what states ``says`` first; ``refit``: belief (R, T, K) -> the next.

    It begins with states that stay for ten data.
    """
    jump = data.new_full((states, states), 0.1 / (states - 1)).fill_diagonal_(0.9)
    found = HMM(data.new_full((states,), 1 / states).log(), jump.log(), says, weight)
    for _ in range(rounds):
        belief, jumps = found.smoothed(data)
        first, jump = belief[:, 0].sum(0) + 0.1, jumps + 0.1
        found = HMM((first / first.sum()).log(), (jump / jump.sum(1, keepdim=True)).log(), refit(belief), weight)
    return found


def word_hmm(counts: Tensor, states: int, seed: int, weight: float = 1.0, bland: float = 1.0, rounds: int = 30) -> HMM:
    """An HMM of word counts (R, T, V), each state begun with the words of chunks drawn at random.

    ``bland``: how many words of all text are added to the counts of each state, against words that it has not met.
    """
    flat = counts.flatten(0, 1)
    every = flat.sum(0) + 1
    every = every / every.sum()

    def says(sums: Tensor, more: float = bland) -> Says:
        raised = sums + more * every
        log_p = (raised / raised.sum(-1, keepdim=True)).log()
        return lambda data: data @ log_p.mT

    begun = says(flat[_drawn(len(flat), (states, 20), seed)].sum(1), 400.0)
    return baum_welch(counts, begun, lambda belief: says(belief.flatten(0, 1).mT @ flat), states, weight, rounds)


def gaussian_hmm(x: Tensor, states: int, seed: int, rounds: int = 30, means: Tensor | None = None) -> HMM:
    """An HMM of Gaussians of one common variance, for x (R, T, D), begun at random samples, or at ``means``."""
    flat = x.flatten(0, 1)

    def says(means: Tensor, variance: Tensor) -> Says:
        return lambda data: log_likelihood(data, means, float(variance.sqrt()))

    def refit(belief: Tensor) -> Says:
        r = belief.flatten(0, 1)
        means = r.mT @ flat / (r.sum(0)[:, None] + 1e-6)
        variance = (r * (flat[:, None] - means).square().mean(-1)).sum() / len(flat)
        return says(means, variance)

    begin = flat[_drawn(len(flat), (states,), seed)] if means is None else means
    return baum_welch(x, says(begin, flat.var(0).mean()), refit, states, 1.0, rounds)


def shaped_hmm(x: Tensor, slot: Tensor, share: float, rounds: int = 30) -> HMM:
    """An HMM of Gaussians, each with a covariance of its own, for x (R, T, D), begun with the data of each slot (R, T).

    ``share``: how much of each covariance is shrunk to one spread in all directions, that of all states together.
    """
    flat, identity = x.flatten(0, 1), torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)

    def refit(belief: Tensor) -> Says:
        mass = belief.flatten(0, 1).mT
        r = mass / (mass.sum(1, keepdim=True) + 1e-6)
        means = r @ flat
        away = flat - means[:, None]
        own = (r[:, :, None] * away).mT @ away
        common = mass.mean(1) @ own.diagonal(dim1=1, dim2=2).mean(1)
        return functools.partial(shaped_says, means, (1 - share) * own + share * common * identity)

    states = int(slot.max()) + 1
    return baum_welch(x, refit(one_hot(slot, states).to(x)), refit, states, 1.0, rounds)


def names_hmm(pairs: Tensor, slot: Tensor, names: int, rounds: int = 30) -> HMM:
    """An HMM of names given what has them, begun with the data of each slot (R, T); it says nothing of images.

    ``pairs`` (R, T, G * names): 1 where an image of a group has a name, else 0.
    """
    flat = pairs.flatten(0, 1)

    def refit(belief: Tensor) -> Says:
        counts = (belief.flatten(0, 1).mT @ flat).unflatten(1, (-1, names)) + 1 / names
        log_p = (counts / counts.sum(-1, keepdim=True)).log().flatten(1)
        return lambda data: data @ log_p.mT

    states = int(slot.max()) + 1
    return baum_welch(pairs, refit(one_hot(slot, states).to(pairs)), refit, states, 1.0, rounds)


def likeliest(seen: Tensor, starts: Sequence[Tensor], fit: Callable[[Tensor, Tensor], HMM]) -> HMM:
    """Of models fitted to ``seen`` (R, T, ...) from each start (R, T) the one under which these are likeliest."""
    return min((fit(seen, slot) for slot in starts), key=lambda model: float(model.filtered(seen)[1].sum()))


def shaped_says(means: Tensor, covariance: Tensor, data: Tensor) -> Tensor:
    """Log density (R, T, K) of data (R, T, D) under Gaussians with means (K, D) and covariances (K, D, D)."""
    root = torch.linalg.cholesky(covariance)
    away = data.flatten(0, 1) - means[:, None]
    square = torch.linalg.solve_triangular(root, away.mT, upper=False).square().sum(1)
    volume = root.diagonal(dim1=1, dim2=2).log().sum(1) + 0.5 * math.log(2 * math.pi) * data.shape[-1]
    return (-square / 2 - volume[:, None]).mT.unflatten(0, data.shape[:2])


def _drawn(below: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Random whole numbers."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(below, shape, generator=draw, device=draw.device)


def fitted_hmms(
    counts: Tensor, states: Sequence[int], weights: Sequence[float], starts: int, seed: int, **how: Any
) -> list[HMM]:
    """HMMs of all numbers of states and weights, each from so many ``starts``; ``how``: as in :func:`word_hmm`."""
    settings = itertools.product(states, weights, range(starts))
    return [word_hmm(counts, k, 1000 * seed + start, weight, **how) for k, weight, start in settings]


# ---------------------------------------------------------------- k-means


class Clusters:
    """k-means on smoothed features: TF-IDF of a chunk's words, and the ``size`` directions that vary most (SVD)."""

    def __init__(self, train: Chunks, vocabulary: int, size: int, seed: int):
        counts = train.counts(vocabulary).flatten(0, 1)
        self.vocabulary, self.seed = vocabulary, seed
        self.weight = (len(counts) / (1 + (counts > 0).sum(0))).log()
        self.directions = TruncatedSVD(size, random_state=seed).fit(self._weighted(counts).numpy())

    def _weighted(self, counts: Tensor) -> Tensor:
        return torch.nn.functional.normalize(counts * self.weight, dim=-1)

    def features(self, chunks: Chunks, keep: float, later: int = 0) -> Tensor:
        """(R, T, size): running means of what was read, of which each chunk leaves a share ``keep``.

        ``later`` > 0: plain means of so many chunks before, as many after, and the chunk itself, the future included.
        """
        flat = self._weighted(chunks.counts(self.vocabulary).flatten(0, 1))
        read = torch.from_numpy(self.directions.transform(flat.numpy())).unflatten(0, chunks.task.shape)
        if later:
            return _around(read, later)
        running, found = torch.zeros_like(read[:, 0]), []
        for now in read.unbind(1):
            running = keep * running + (1 - keep) * now
            found.append(running)
        return torch.nn.functional.normalize(torch.stack(found, 1), dim=-1)

    def slots(self, train: Chunks, asked: Chunks, k: int, keep: float, later: int = 0) -> Tensor:
        """The cluster (R, T) of each chunk of ``asked``, of ``k`` found in ``train``."""
        seen, new = (self.features(part, keep, later).flatten(0, 1).double().numpy() for part in (train, asked))
        made = KMeans(k, n_init=3, random_state=self.seed).fit(seen)
        return torch.from_numpy(made.predict(new)).long().view(asked.task.shape)


def _around(values: Tensor, reach: int) -> Tensor:
    """Means (R, T, F) over ``reach`` places on either side, of those that there are; of length 1."""
    one = torch.ones_like(values[..., :1])
    whole = torch.cat([values, one], -1).mT
    sums = torch.nn.functional.avg_pool1d(whole, 2 * reach + 1, 1, reach, count_include_pad=False).mT
    return torch.nn.functional.normalize(sums[..., :-1] / sums[..., -1:], dim=-1)


def best_clusters(
    clusters: Clusters, parts: tuple[Chunks, Chunks], ks: Sequence[int], keeps: Sequence[float], later: int = 0
) -> tuple[dict[str, float], Tensor]:
    """The setting with the best adjusted Rand index on validation streams: more than a rival without labels may know.

    ``parts``: training and validation streams. Also the slots there.
    """
    train, validation = parts
    tried = []
    for k, keep in itertools.product(ks, keeps):
        slot = clusters.slots(train, validation, k, keep, later)
        tried.append(({"k": k, "keep": keep}, slot, agreement(slot.flatten(), validation.task.flatten())["ari"]))
    setting, slot, _ = max(tried, key=lambda one: one[2])
    return setting, slot
