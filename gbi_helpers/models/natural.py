"""Natural gates: z enters a decoder through the natural parameters of an exponential family, and sums teach it.

Such a density is h(x) exp(T(x) . theta - n A(theta)), n samples in x, and a mixture of tasks has theta(z) = z @ theta,
where theta (K, P) holds a row for each task. Data meet z only linearly, so what one step leaves out is the same for all
data (:mod:`gbi_helpers.theory`, 5). Each row follows from the mean of T over its task, which is a sum and a count: any
order of the data gives the same decoder, new tasks may come at any time, and nothing that was learned is ever undone.

Naive Bayes on words, coins, counts, and Gaussians each with a covariance of its own are of this kind (Wainwright and
Jordan 2008, "Graphical models, exponential families, and variational inference", doi 10.1561/2200000001).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers.models.base import Described
from gbi_helpers.models.hundred import Columns
from gbi_helpers.models.projection import shrunk
from gbi_helpers.runtime import usual_defaults


@dataclass(frozen=True)
class Family:
    """An exponential family: ``statistic`` x (B, D) -> T (B, P), ``log_partition`` theta (..., P) -> A (...).

    ``natural``: theta (K, P) from the mean of T in each task (K, P), with a share of something bland mixed in, so that
    what was never seen is unlikely and not impossible. ``samples``: how many samples n (B,) an x holds.
    """

    statistic: Callable[[Tensor], Tensor]
    log_partition: Callable[[Tensor], Tensor]
    natural: Callable[[Tensor, float], Tensor]
    samples: Callable[[Tensor], Tensor] = lambda x: x.new_ones(len(x))


def _mixed(mean: Tensor, bland: Tensor | float, share: float) -> Tensor:
    return (1 - share) * mean + share * bland


def _with_squares(x: Tensor) -> Tensor:
    """x (B, D) and all products of its entries, (B, D + D * D)."""
    return torch.cat([x, (x[:, :, None] * x[:, None, :]).flatten(1)], dim=1)


def _halves(t: Tensor) -> tuple[Tensor, Tensor]:
    """The D and the (D, D) numbers of a Gaussian's statistic or theta (..., D + D * D)."""
    size = int((t.shape[-1] + 0.25) ** 0.5)  # D (D + 1) numbers
    return t[..., :size], t[..., size:].unflatten(-1, (size, size))


def _gaussian_log_partition(theta: Tensor) -> Tensor:
    first, second = _halves(theta)
    root = torch.linalg.cholesky(-2 * second)
    white = torch.linalg.solve_triangular(root, first[..., None], upper=False)[..., 0]
    return white.square().sum(-1) / 2 - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _gaussian_natural(mean: Tensor, share: float) -> Tensor:
    first, second = _halves(mean)
    covariance = second - first[:, :, None] * first[:, None, :]
    precision = torch.stack([torch.linalg.inv(shrunk(one, share)) for one in covariance])
    return torch.cat([(precision @ first[..., None])[..., 0], -precision.flatten(1) / 2], dim=1)


FAMILIES = {
    # coins, counts of rare events, counts of words, vectors with a covariance of their own in each task
    "bernoulli": Family(
        lambda x: x, lambda t: functional.softplus(t).sum(-1), lambda mean, share: _mixed(mean, 0.5, share).logit()
    ),
    "poisson": Family(
        lambda x: x, lambda t: t.exp().sum(-1), lambda mean, share: _mixed(mean, mean.mean(0), share).log()
    ),
    "words": Family(
        lambda x: x,
        lambda t: t.logsumexp(-1),
        lambda mean, share: _mixed(mean / mean.sum(1, keepdim=True), 1 / mean.shape[1], share).log(),
        lambda x: x.sum(1),
    ),
    "gaussian": Family(_with_squares, _gaussian_log_partition, _gaussian_natural),
}


class NaturalGates(Described):
    """A decoder of z alone whose output is the natural parameter theta(z) = z @ theta (B, P) of a family.

    ``family``: "bernoulli", "poisson", "words" (counts (B, V)) or "gaussian" (a covariance for each task).
    ``size``: P, the length of the family's statistic. Raises ``ValueError`` for an unknown family.
    """

    latent = 0

    def __init__(self, family: str, size: int, n_tasks: int):
        super().__init__()
        self.family, self.n_tasks = family_of(family), n_tasks
        self.decoder = Columns(n_tasks, size)

    def encode(self, x: Tensor) -> Tensor:
        """No code: (B, 0)."""
        return x.new_zeros(len(x), 0)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """The natural parameter (B, P) that z (B, K) gives."""
        return self.decoder(self.encode(x), z)

    def nll(self, theta: Tensor, x: Tensor) -> Tensor:
        """-log p(x) in nats (B,), but for what no z changes."""
        family = self.family
        return family.samples(x) * family.log_partition(theta) - (family.statistic(x) * theta).sum(1)


def family_of(name: str) -> Family:
    """The family of this name. Raises ``ValueError`` with the choices."""
    if name not in FAMILIES:
        raise ValueError(f"There is no family '{name}': choose one of {', '.join(FAMILIES)}.")
    return FAMILIES[name]


class Streamed:
    """Sums of a family's statistic for each task, float64: all that natural gates need to know of their data.

    ``total`` (K, P), ``samples`` (K,): grow by a row when a new task comes.
    """

    def __init__(self, family: str):
        self.name, self.family = family, family_of(family)
        self.total, self.samples = torch.zeros(0, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)

    def add(self, x: Tensor, y: Tensor) -> Streamed:
        """Take in vectors x (B, D) of tasks y (B,), in any order, each once. Raises ``ValueError`` for other shapes."""
        statistic = self.family.statistic(checked(x, y).double())
        if len(self.samples) and statistic.shape[1] != self.total.shape[1]:
            raise ValueError(f"Vectors of {x.shape[1]} numbers do not go with those added before: give as many again.")
        if not len(self.samples):
            self.total, self.samples = statistic.new_zeros(0, statistic.shape[1]), statistic.new_zeros(0)
        self.total, self.samples = (grown(part, int(y.max()) + 1) for part in (self.total, self.samples))
        self.total.index_add_(0, y, statistic)
        self.samples.index_add_(0, y, self.family.samples(x.double()))
        return self

    def gates(self, share: float = 0.01) -> NaturalGates:
        """The decoder of all tasks seen so far, in float64. ``share``: of what is mixed in, see :class:`Family`.

        Raises ``ValueError`` if a task below the highest one has no data yet.
        """
        seen_all(self.samples)
        theta = self.family.natural(self.total / self.samples[:, None], share)
        with usual_defaults():
            made = NaturalGates(self.name, theta.shape[1], len(theta)).double().to(theta.device)
        with torch.no_grad():
            made.decoder.patterns.copy_(theta)
        return made.eval()


def checked(x: Tensor, y: Tensor) -> Tensor:
    """x (B, D). Raises ``ValueError`` unless it is finite, with as many classes y (B,): whole numbers from 0."""
    if x.dim() != 2 or y.shape != x.shape[:1] or not len(y):
        raise ValueError(f"Give vectors (B, D) and a class for each, not {tuple(x.shape)} and {tuple(y.shape)}.")
    if y.dtype.is_floating_point or y.dtype == torch.bool or not x.isfinite().all() or y.min() < 0:
        raise ValueError(
            "The vectors must be finite and the classes whole numbers from 0: a sum would never forget a NaN."
        )
    return x


def grown(part: Tensor, length: int) -> Tensor:
    """The same with rows of zeros below, up to ``length`` rows."""
    more = max(0, length - len(part))
    return torch.cat([part, part.new_zeros(more, *part.shape[1:])])


def seen_all(counts: Tensor) -> None:
    """Raises ``ValueError`` where a class has nothing, or there is no class."""
    missing = (counts == 0).nonzero().flatten().tolist()
    if missing or not len(counts):
        raise ValueError(f"No data yet of class {missing[0] if missing else 0}: number the classes as they come.")
