"""What notebook 04 shows: the weights are frozen, and Z is inferred. Every score has one value a seed, (S,)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gbi_helpers.bayes import bayes_filter, log_likelihood, window_posterior
from gbi_helpers.data.toy import Stream, steady_windows, switching_stream
from gbi_helpers.experiments.toy.recipes import WINDOW, Run, evidence
from gbi_helpers.inference import LossFn, iterate, max_entropy, one_step
from gbi_helpers.metrics import excess_error
from gbi_helpers.models.toy import ToyLSTM
from gbi_helpers.records import Posterior

Scores = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Windows:
    """Fresh windows of T scored samples for every seed, rows seed after seed, with what Bayes says of them.

    ``x`` (S * rows, T + 1, D), the first sample history only; ``context`` (S * rows,); ``exact`` (S * rows, K): log
    posterior from the T scored samples; ``loss``: the network's ``LossFn``; ``z0``: the uniform start.
    """

    x: Tensor
    context: Tensor
    exact: Tensor
    loss: LossFn
    z0: Tensor
    n_seeds: int

    def scores(self, log_q: Tensor) -> Scores:
        """KL of a posterior (S * rows, K) from the exact one, correlation with it, and accuracy: by seed."""
        return compare(self.exact, log_q, self.n_seeds) | {"accuracy": self.accuracy(log_q)}

    def accuracy(self, log_q: Tensor) -> Tensor:
        """Share (S,) of windows whose context has the greatest posterior."""
        return (log_q.argmax(-1) == self.context).float().unflatten(0, (self.n_seeds, -1)).mean(1)


def fresh_windows(run: Run, samples: int = WINDOW, rows: int = 200, seed: int = 0) -> Windows:
    """``rows`` windows of each context for each seed's network, with ``samples`` scored samples each."""
    stream, model = run.stream, run.model
    x, context = steady_windows(stream.means, stream.sd, rows, samples + 1, model.n_seeds, seed)
    exact = window_posterior(x[:, 1:], stream.means, stream.sd)
    z0 = max_entropy(len(x), model.n_tasks, x.dtype, x.device)
    return Windows(x, context, exact, evidence(model, x, stream.sd), z0, model.n_seeds)


def compare(exact: Tensor, log_q: Tensor, n_seeds: int) -> Scores:
    """KL(exact | q) in nats and Pearson's r of the probabilities, both by seed; inputs (S * rows, K) log."""
    p, q = (v.exp().unflatten(0, (n_seeds, -1)).flatten(1).double() for v in (exact, log_q))
    divergence = (exact.exp() * (exact - log_q)).sum(-1).unflatten(0, (n_seeds, -1)).mean(1)
    a, b = (v - v.mean(1, keepdim=True) for v in (p, q))
    return {"kl": divergence, "r": torch.nn.functional.cosine_similarity(a, b, dim=1)}


# ---------------------------------------------------------------- one step


def over_step_sizes(run: Run, sizes: Sequence[float], mean_loss: bool = False) -> Tensor:
    """KL (sizes, S) of one step from the exact posterior, by step size.

    ``mean_loss``: the network's training loss, the mean squared error, instead of nats: its gradient is smaller by
    T / (2 sd^2), 27.8 here, so the step must be larger by as much.
    """
    test, sd = fresh_windows(run), run.stream.sd
    scale = 2 * sd**2 / test.x[0, 1:].numel() if mean_loss else 1.0
    steps = [one_step(lambda z: scale * test.loss(z), test.z0, size) for size in sizes]
    return torch.stack([test.scores(step.log_q)["kl"] for step in steps])


STARTS = {"uniform": (0.5, 0.5), "tilted": (0.7, 0.3), "zeros": (0.0, 0.0), "one-hot": (1.0, 0.0)}


def over_starts(run: Run) -> dict[str, Scores]:
    """One step from other starts than the uniform one, for two contexts."""
    test = fresh_windows(run)
    found = {}
    for name, start in STARTS.items():
        z = test.z0.new_tensor(start).repeat(len(test.z0), 1).requires_grad_()  # zeros are off the simplex: no one_step
        (grad,) = torch.autograd.grad(test.loss(z).sum(), z)
        found[name] = test.scores(torch.log_softmax(-grad, -1))
    return found


# ---------------------------------------------------------------- in Bayes' rule


@dataclass(frozen=True, eq=False)
class LiveFilter:
    """Beliefs along a stream, from sample number WINDOW on: log probabilities (S, N, K), x (S, N, D), context (S, N).

    ``belief``: the filter fed with one-step gradients; ``exact``: fed with the true likelihoods; ``step``: one step on
    the latest sample alone.
    """

    x: Tensor
    context: Tensor
    belief: Tensor
    exact: Tensor
    step: Tensor

    def scores(self) -> Scores:
        """KL and r of the belief to the exact one, and how often each names the context: by seed."""
        pair = compare(self.exact.flatten(0, 1), self.belief.flatten(0, 1), len(self.x))
        named = {"accuracy": self.belief, "exact accuracy": self.exact, "one-step accuracy": self.step}
        return pair | {name: (v.argmax(-1) == self.context).float().mean(1) for name, v in named.items()}


def live_filter(model: ToyLSTM, stream: Stream) -> LiveFilter:
    """Infer the context along a stream with the one-step gradient in the place of the likelihood (Fig S7).

    At each sample the network, which has seen the five before it, takes one step on that sample's loss in nats; Bayes'
    rule with the stream's hazard turns these into a belief. All samples go through the network in one batch.
    """
    windows = stream.x.unfold(1, WINDOW + 1, 1).mT
    rows = windows.flatten(0, 1)
    z0 = max_entropy(len(rows), model.n_tasks, rows.dtype, rows.device)
    step = one_step(evidence(model, rows, stream.sd, last=1), z0)
    likelihood = step.log_q.view(*windows.shape[:2], -1)
    truth = log_likelihood(stream.x[:, WINDOW:], stream.means, stream.sd)
    belief, exact = (bayes_filter(log, stream.hazard) for log in (likelihood, truth))
    return LiveFilter(stream.x[:, WINDOW:], stream.context[:, WINDOW:], belief, exact, likelihood)


def filter_test(run: Run, blocks: int = 20) -> LiveFilter:
    """The live filter on a fresh stream of the same kind as the run's."""
    return live_filter(run.model, fresh_stream(run, blocks))


def fresh_stream(run: Run, blocks: int = 20) -> Stream:
    """A stream of the same kind as the run's that no network was trained on."""
    old = run.stream
    seeds = [1000 + seed for seed in old.seeds]
    hazard = None if old.block else old.hazard
    return switching_stream(seeds, means=old.means, sd=old.sd, blocks=blocks, block=old.block or 50, hazard=hazard)


# ---------------------------------------------------------------- unseen means

UNSEEN = tuple(round(-0.2 + 0.1 * step, 1) for step in range(15))


def unseen_means(
    run: Run, space: str | None = "free", steps: int = 60, lr: float = 0.1, windows: int = 8, tries: int = 16
) -> Tensor:
    """Excess error (means, S) on each mean of UNSEEN, with Z adapted to it by ``steps`` Adam steps, weights frozen.

    ``space``: "free" or "logits" (the simplex), as in :func:`~gbi_helpers.inference.iterate`; None: not adapted. Each Z
    has ``windows`` windows of five scored samples to go by, and is tested on fresh windows of the same mean; ``tries``
    such Z are averaged. Beside them: the mean of the 40 scored numbers has an excess of sd^2 / 40 = .00225, that of all
    48, with the first of each window, .0019, and with the five of the test's window, 53, .0017.
    """
    model, sd = run.model, run.stream.sd
    means = run.stream.means.new_tensor(UNSEEN)[:, None].expand(-1, run.model.size)
    given, _ = steady_windows(means, sd, tries * windows, WINDOW + 1, model.n_seeds, seed=1)
    test, which = steady_windows(means, sd, tries * 8, WINDOW, model.n_seeds, seed=2)
    z = max_entropy(len(given) // windows, model.n_tasks, given.dtype, given.device)
    if space is not None:
        loss = evidence(model, given.unflatten(0, (-1, windows)), sd)
        z = iterate(loss, z, steps, lr, space).z[-1]  # type: ignore[arg-type]
    with torch.no_grad():
        predicted = model(test, z.repeat_interleave(8, 0))[:, -1]
    return excess_error(predicted, means[which]).view(model.n_seeds, len(means), -1).mean(-1).T


# ---------------------------------------------------------------- the landscape


@dataclass(frozen=True, eq=False)
class Landscape:
    """The loss of one network on one window over the simplex: z (P, K), loss (P,), and one step from the centre."""

    z: Tensor
    loss: Tensor
    step: Posterior


def landscape(model: ToyLSTM, window: Tensor, sd: float, fineness: int = 40) -> Landscape:
    """Loss, in nats, of one seed's network (S = 1) on a window (T + 1, D), at a grid of points of the simplex."""
    z = simplex_grid(model.n_tasks, fineness).to(window)
    with torch.no_grad():
        loss = evidence(model, window.expand(len(z), -1, -1), sd)(z)
    z0 = max_entropy(1, model.n_tasks, window.dtype, window.device)
    return Landscape(z, loss, one_step(evidence(model, window[None], sd), z0))


def simplex_grid(n_tasks: int, fineness: int) -> Tensor:
    """All points (P, K) of the simplex whose entries are multiples of 1 / fineness."""
    line = torch.arange(fineness + 1, dtype=torch.float32, device="cpu")
    counts = torch.cartesian_prod(*[line] * (n_tasks - 1)).view(-1, n_tasks - 1)
    counts = counts[counts.sum(1) <= fineness]
    return torch.cat([counts, fineness - counts.sum(1, keepdim=True)], dim=1) / fineness
