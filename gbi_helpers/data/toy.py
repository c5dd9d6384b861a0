"""The toy stream: samples from one Gaussian for a block, then from another; and the errors that nobody beats on it.

Hummos et al. (2024), section 3.1: means 0.2 and 0.8 (the standard deviation, 0.3, is recalled, not known). Streams have
a leading axis of seeds, and seed s draws the same numbers whether it comes alone or with others. They are float32 on
the CPU, whatever PyTorch's defaults are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gbi_helpers.bayes import bayes_filter, log_likelihood, predict_next

MEANS, SD = (0.2, 0.8), 0.3


@dataclass(frozen=True, eq=False)
class Stream:
    """Samples x (S, N, D) of S seeds, the context (S, N) that made each, the means (K, D), and how contexts switch.

    ``block``: length of a block, or 0 where the context jumps at random. ``hazard``: chance of a jump before a sample
    (1 / block for fixed blocks, which the filter below takes for random ones).
    """

    x: Tensor
    context: Tensor
    means: Tensor
    sd: float
    block: int
    hazard: float
    seeds: tuple[int, ...]

    @property
    def n_seeds(self) -> int:
        """Number of seeds S."""
        return len(self.x)

    @property
    def n_contexts(self) -> int:
        """Number of contexts K."""
        return len(self.means)

    @property
    def true_mean(self) -> Tensor:
        """Mean (S, N, D) that each sample was drawn around."""
        return self.means[self.context]

    @property
    def z(self) -> Tensor:
        """The context of each sample as one-hot task abstraction, (S, N, K)."""
        return one_hot(self.context, self.n_contexts).to(self.x)


def switching_stream(
    seeds: int | Sequence[int] = 20,
    *,
    means: Sequence[float] | Tensor = MEANS,
    sd: float = SD,
    blocks: int = 100,
    block: int = 50,
    hazard: float | None = None,
) -> Stream:
    """A stream of ``blocks * block`` samples for each seed (an int n stands for seeds 0 .. n-1).

    ``means``: K numbers, or (K, D). Blocks are ``block`` long, unless ``hazard`` gives the chance of a jump before each
    sample. A new context is never the old one: two contexts take turns, and of more the next is drawn at random.
    Raises ``ValueError`` for fewer than two contexts, or sizes, sd or hazard that make no stream.
    """
    centres = _as_means(means)
    if blocks < 1 or block < 1 or not sd > 0 or not 0 <= (hazard or 0) <= 1:
        raise ValueError(
            f"A stream needs blocks and block >= 1, sd > 0 and hazard in [0, 1], not {blocks}, {block}, {sd}, {hazard}."
        )
    seeds = tuple(range(seeds) if isinstance(seeds, int) else seeds)
    x, context = [], []
    for seed in seeds:
        draw = torch.Generator().manual_seed(seed)
        context.append(_contexts(draw, len(centres), blocks, block, hazard))
        x.append(centres[context[-1]] + sd * _noise(draw, blocks * block, centres.shape[1]))
    switch = 1 / block if hazard is None else hazard
    return Stream(torch.stack(x), torch.stack(context), centres, sd, block if hazard is None else 0, switch, seeds)


def _as_means(means: Sequence[float] | Tensor) -> Tensor:
    centres = torch.as_tensor(means, dtype=torch.float32, device="cpu")
    centres = centres[:, None] if centres.dim() == 1 else centres
    if centres.dim() != 2 or len(centres) < 2:
        raise ValueError(f"Give the means of 2 or more contexts, as K numbers or (K, D), not {tuple(centres.shape)}.")
    return centres


def _noise(draw: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=draw, dtype=torch.float32, device=draw.device)


def _contexts(draw: torch.Generator, n_contexts: int, blocks: int, block: int, hazard: float | None) -> Tensor:
    """Context (N,) of each sample: a random first one, then a step of 1 .. K-1 at every switch, modulo K."""
    samples = blocks * block
    at_random = torch.rand(samples, generator=draw, dtype=torch.float32, device=draw.device)
    switch = torch.arange(samples, device=draw.device) % block == 0 if hazard is None else at_random < hazard
    step = torch.randint(1, n_contexts, (samples,), generator=draw, device=draw.device) * switch
    step[0] = torch.randint(n_contexts, (), generator=draw, device=draw.device)
    return step.cumsum(0) % n_contexts


def random_z(stream: Stream, every: int) -> Tensor:
    """A task abstraction (S, N, K) without meaning: a context at random for every ``every`` samples, one-hot.

    The control for the true ``stream.z``: with ``every=stream.block`` it changes as often, with 1 at every sample.
    """
    samples = stream.context.shape[1]
    drawn = []
    for seed in stream.seeds:
        draw = torch.Generator().manual_seed(20_000 + seed)
        context = torch.randint(stream.n_contexts, (-(-samples // every),), generator=draw, device=draw.device)
        drawn.append(context.repeat_interleave(every)[:samples])
    return one_hot(torch.stack(drawn), stream.n_contexts).to(stream.x)


def shuffled_z(stream: Stream) -> Tensor:
    """The true task abstraction (S, N, K) with its blocks in a random order, so each task is named as often as before.

    For streams with fixed blocks. Raises ``ValueError`` for one that jumps at random.
    """
    if not stream.block:
        raise ValueError("A stream that jumps at random has no blocks to shuffle: use random_z(stream, every).")
    shuffled = []
    for seed, z in zip(stream.seeds, stream.z.unflatten(1, (-1, stream.block)), strict=True):
        draw = torch.Generator().manual_seed(30_000 + seed)
        shuffled.append(z[torch.randperm(len(z), generator=draw, device=draw.device)].flatten(0, 1))
    return torch.stack(shuffled)


def steady_windows(
    means: Tensor, sd: float, rows: int, length: int, seeds: int = 1, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Windows (N, length, D), each from one of K contexts throughout, and the contexts (N,), N = seeds * K * rows.

    Fresh samples to test on: for every seed its own, ``rows`` of each context, seed after seed, context after context.
    They lie where ``means`` do.
    """
    draw = torch.Generator().manual_seed(10_000 + seed)
    context = torch.arange(len(means), device=means.device).repeat_interleave(rows).repeat(seeds)
    noise = sd * _noise(draw, len(context), length, means.shape[1])
    return means[context][:, None] + noise.to(means), context


@dataclass(frozen=True)
class Floors:
    """What no predictor beats on a stream.

    ``filter_excess`` and ``window_excess`` are E|prediction - true mean|^2, per dimension.
    """

    mse: float
    mae: float
    filter_excess: float
    window_excess: float


def floors(stream: Stream, window: int = 5) -> Floors:
    """Errors that remain when the context is known (mse, mae, per dimension), or inferred by the exact filter.

    The filter, which knows the hazard, bounds every network that must find the context itself; ``window_excess`` is the
    same filter with only the last ``window`` samples. Both are means over the stream, from sample ``window`` on.
    """
    evidence = log_likelihood(stream.x, stream.means, stream.sd)
    belief = bayes_filter(evidence, stream.hazard)[:, window - 1 : -1]
    windows = evidence.unfold(1, window, 1)[:, :-1].transpose(-1, -2)
    short = bayes_filter(windows, stream.hazard)[..., -1, :]
    truth = stream.true_mean[:, window:]
    seen, brief = (
        float((predict_next(b, stream.hazard, stream.means) - truth).square().mean()) for b in (belief, short)
    )
    return Floors(stream.sd**2, stream.sd * math.sqrt(2 / math.pi), seen, brief)
