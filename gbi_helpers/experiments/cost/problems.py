"""Random problems on which the theory of one step is measured: linear-Gaussian decoders, words, and a bent decoder."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from gbi_helpers.inference import enumerate_tasks, max_entropy, one_step
from gbi_helpers.records import Posterior
from gbi_helpers.theory import one_step_gap


def drawn(seed: int) -> torch.Generator:
    """Random numbers of a row, the same on every device."""
    return torch.Generator("cpu").manual_seed(seed)


def normal(draw: torch.Generator, *shape: int) -> Tensor:
    """Normal numbers in float64, on the CPU whatever the default."""
    return torch.randn(shape, generator=draw, dtype=torch.float64, device="cpu")


@dataclass(frozen=True, eq=False)
class Linear:
    """P linear-Gaussian decoders, each asked about N samples of its own at once: z (P N, K) -> loss (P N,).

    ``patterns`` (P, K, D); ``mean`` (P, N, D): of the T observations that share one z; ``y`` (P, N): their task.
    """

    patterns: Tensor
    mean: Tensor
    y: Tensor
    samples: float
    sd: float

    @staticmethod
    def drawn(
        draw: torch.Generator, problems: int, tasks: int, dims: int, each: int, samples: float, sd: float
    ) -> Linear:
        """Patterns of length about 1, and observations of tasks drawn at random."""
        patterns = normal(draw, problems, tasks, dims) / dims**0.5
        y = torch.randint(tasks, (problems, each), generator=draw, device="cpu")
        return Linear.of(draw, patterns, y, samples, sd)

    @staticmethod
    def of(draw: torch.Generator, patterns: Tensor, y: Tensor, samples: float, sd: float) -> Linear:
        """Observations of tasks ``y`` (P, N)."""
        shown = patterns.gather(1, y[..., None].expand(-1, -1, patterns.shape[-1]))
        return Linear(patterns, shown + sd / samples**0.5 * normal(draw, *shown.shape), y, samples, sd)

    def __call__(self, z: Tensor) -> Tensor:
        """Nats, summed over the T observations, up to what no z changes."""
        made = z.unflatten(0, self.y.shape) @ self.patterns
        return self.samples * (self.mean - made).square().sum(-1).flatten() / (2 * self.sd**2)

    @property
    def z0(self) -> Tensor:
        """The uniform start (P N, K)."""
        return max_entropy(self.y.numel(), self.patterns.shape[1], self.mean.dtype, self.mean.device)

    @property
    def truth(self) -> Tensor:
        """The task (P N,) of each."""
        return self.y.flatten()

    @functools.cached_property
    def one(self) -> Posterior:
        """One step from the uniform start."""
        return one_step(self, self.z0)

    @functools.cached_property
    def exact(self) -> Posterior:
        """Bayes."""
        return enumerate_tasks(self, self.z0)

    @property
    def delta(self) -> Tensor:
        """The gap of each (P N, K)."""
        missed = one_step_gap(self.patterns, self.sd, 1) * self.samples
        return missed.repeat_interleave(self.y.shape[1], 0)


@dataclass(frozen=True, eq=False)
class Words:
    """Texts of ``n`` words from softmax(bias + z @ gates).

    ``gates`` (K, V); ``counts`` (B, V): how often each word was said.
    """

    bias: Tensor
    gates: Tensor
    counts: Tensor | None = None

    @staticmethod
    def drawn(draw: torch.Generator, tasks: int, words: int, strength: float) -> Words:
        """A family of K tasks."""
        return Words(normal(draw, words), strength * normal(draw, tasks, words))

    def say(self, draw: torch.Generator, z: Tensor, n: int) -> Words:
        """The same with a text for each row of z (B, K)."""
        likely = self.log_p(z).exp()
        said = torch.multinomial(likely, n, replacement=True, generator=draw)
        counts = torch.zeros_like(likely).scatter_add(1, said, torch.ones_like(said, dtype=likely.dtype))
        return Words(self.bias, self.gates, counts)

    def log_p(self, z: Tensor) -> Tensor:
        """Log probability of each word (..., V)."""
        return torch.log_softmax(self.bias + z @ self.gates, -1)

    def log_partition(self, theta: Tensor) -> Tensor:
        """A, of the natural parameter z @ gates."""
        return (self.bias + theta).logsumexp(-1)

    def __call__(self, z: Tensor) -> Tensor:
        """Nats of each text."""
        assert self.counts is not None, "say() something first"
        return -(self.log_p(z) * self.counts).sum(-1)
