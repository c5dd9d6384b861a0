"""Gradient-based inference of a task abstraction Z, for any model with a loss per sample as a function of z.

Everything here is written against one thing, ``LossFn``: z (B, D) -> loss (B,), in nats, summed over the data of each
sample. Weights are never touched: gradients go to z alone (Hummos et al. 2024, arXiv 2407.17356, section 2).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gbi_helpers.guards import (
    LossFn,
    check_finite,
    check_log_probabilities,
    check_simplex,
    check_start,
    checked_loss,
    checked_prior,
    is_any,
    warn_of_modes,
)
from gbi_helpers.progress import progress_bar
from gbi_helpers.records import Posterior, Trajectory
from gbi_helpers.runtime import random_state_kept


def max_entropy(
    batch: int, n_tasks: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """The start that favours no task: z0 = 1/K everywhere, shape (batch, n_tasks).

    Made from nothing, it follows PyTorch's default dtype and device where they are not given, as a model does.
    """
    return torch.full((batch, n_tasks), 1.0 / n_tasks, dtype=dtype, device=device)


def one_step(
    loss_fn: LossFn, z0: Tensor, step_size: float = 1.0, space: Literal["simplex", "free"] = "simplex"
) -> Posterior:
    """Task posterior from one gradient at ``z0`` (B, K): softmax(-step_size * dL/dz).

    One forward, one backward, to z only. With a loss in nats, summed over each sample's data, ``step_size=1`` is the
    Bayesian choice. From the uniform z0 it equals :func:`enumerate_tasks` where the loss is linear in z, and for every
    linear-Gaussian model with two tasks (Hummos et al. 2024, section 2). ``space="free"``: z0 may lie off the simplex,
    as the start from which one step is exact does (:func:`gbi_helpers.starts.exact_start`).
    Raises ``ValueError`` if z0 is off the simplex, or the loss is not one finite number per row with a gradient to z.
    """
    if space not in ("simplex", "free"):
        raise ValueError(f"space is '{space}': choose 'simplex', or 'free' for a z0 off the simplex.")
    (check_start if space == "free" else check_simplex)(z0)
    if not torch.as_tensor(step_size, device="cpu").isfinite().all():
        raise ValueError(f"step_size must be a finite number, but is {step_size}.")
    with _frozen_surroundings(z0):
        z = z0.detach().clone().requires_grad_()
        loss = checked_loss(loss_fn, z)
        grad = _gradient(loss, z)
    return Posterior(log_q=torch.log_softmax(-step_size * grad, dim=-1), loss=loss.detach(), grad=grad)


def enumerate_tasks(loss_fn: LossFn, z0: Tensor, log_prior: Tensor | None = None) -> Posterior:
    """Exact Bayes over K tasks by K forward passes, one per one-hot z: softmax(log prior - loss).

    ``z0`` (B, K) gives only shape, dtype and device. ``log_prior`` (K,) or (B, K); flat if None. The paper calls this
    row "likelihood". Raises ``ValueError`` as :func:`one_step` does, and for a prior of another shape or with NaN, or
    one that leaves no task possible.
    """
    check_simplex(z0)
    n_tasks = z0.shape[1]
    with _frozen_surroundings(z0), torch.no_grad():
        loss = z0.new_empty(0)
        for task in progress_bar(range(n_tasks), desc="tasks"):
            one_hot = torch.zeros_like(z0)
            one_hot[:, task] = 1
            column = checked_loss(loss_fn, one_hot)
            # One tensor for all: small ones, kept between large ones that go, would scatter the heap (80 GB at K=1e4).
            loss = column.new_empty(z0.shape) if task == 0 else loss
            loss[:, task] = column
    return Posterior(log_q=torch.log_softmax(checked_prior(log_prior, loss) - loss, dim=-1), loss=loss)


def rescore(
    log_q: Tensor,
    loss_fn: LossFn,
    z0: Tensor,
    m: int = 2,
    within: float | None = None,
    rows: Callable[[Tensor], LossFn] | None = None,
    log_prior: Tensor | None = None,
) -> Posterior:
    """One step proposes, exact passes decide: the best ``m`` tasks of ``log_q`` (B, K), re-scored by their own losses.

    ``within``: instead of m, all tasks within so many nats of the best; a sample with one such task costs no pass.
    The candidates keep the probability that they had together and share it as exact Bayes would, ``log_prior`` (K,) or
    (B, K) included (flat if None); with m = K it is :func:`enumerate_tasks`. ``z0`` (B, K) gives only shape, dtype and
    device of z. ``loss`` (B, K) holds the exact losses, NaN where none was computed: its finite entries are the price,
    in passes. Without ``rows`` a pass takes the whole batch, as often as the sample with most candidates needs.
    ``rows(index)`` returns the loss function of the samples ``index`` (N,) alone, which may repeat: then a pass takes a
    batch of the candidates that there are.
    Raises ``ValueError`` for m outside 1 .. K, ``within`` below 0, a ``log_q`` that is no log probability, or a prior
    that rules out all candidates of a sample.
    """
    check_start(z0)
    check_log_probabilities(log_q, z0.shape, "log_q")
    chosen = candidates(log_q, m, within)
    with _frozen_surroundings(z0), torch.no_grad():
        loss = torch.full_like(z0, torch.nan)
        idle = torch.nn.functional.one_hot(log_q.argmax(1), z0.shape[1]).to(z0)  # whoever is not asked
        for sample, task in _passes(chosen, packed=rows is not None):
            one_hot = torch.nn.functional.one_hot(task, z0.shape[1]).to(z0)
            if rows:
                found = checked_loss(rows(sample), one_hot)
            else:
                found = checked_loss(loss_fn, idle.index_copy(0, sample, one_hot))[sample]
            loss = loss.to(found)  # exact losses may be finer than z0
            loss[sample, task] = found
    exact = checked_prior(log_prior, loss) - loss
    if is_any(chosen.any(-1) & ~(chosen & exact.isfinite()).any(-1)):
        raise ValueError("log_prior rules out all candidates of a sample: give it to the first step, too, or raise m.")
    return Posterior(log_q=decided(log_q, exact, chosen), loss=loss)


def fit_within(log_q: Tensor, exact: Tensor, coverage: float = 0.99) -> float:
    """For :func:`rescore`: nats below one step's best within which the exact best lies, in ``coverage`` of cases.

    ``log_q`` (N, K): one step on N samples like those to come; ``exact`` (N, K): the log posterior of all passes on
    the same. No label is needed. It is a conformal quantile (Vovk et al. 2005): of new samples from the same source at
    least ``coverage`` have their exact best among the candidates, on average over draws of the N, up to rounding. It
    costs N (K + 2) forwards, once.
    Raises ``ValueError`` for other shapes, what is no log probability, or too few samples for such a promise.
    """
    check_log_probabilities(log_q, exact.shape, "log_q")
    check_log_probabilities(exact, log_q.shape, "exact")
    n = len(log_q)
    rank = math.ceil((n + 1) * coverage)
    if not 0 < coverage < 1 or rank > n:
        raise ValueError(f"coverage must lie between 0 and n / (n + 1), with n = {n} samples, but is {coverage}.")
    deficit = log_q.amax(-1) - log_q.gather(1, exact.argmax(-1, keepdim=True))[:, 0]
    return float(deficit.sort().values[rank - 1])


def candidates(log_q: Tensor, m: int = 2, within: float | None = None) -> Tensor:
    """Which tasks (B, K) of beliefs ``log_q`` (B, K) :func:`rescore` asks again: the best m, or those near the best.

    With ``within`` none where the best has no rival so near. Raises ``ValueError`` for m outside 1 .. K, or a distance
    below 0.
    """
    if within is not None:
        if not float(within) >= 0:
            raise ValueError(f"within is a distance in nats, so it must be >= 0, but is {within}.")
        near = log_q >= log_q.amax(-1, keepdim=True) - float(within)
        return near & (near.sum(-1, keepdim=True) > 1)  # one alone has no rival
    if not 1 <= m <= log_q.shape[1]:
        raise ValueError(f"m must lie between 1 and the {log_q.shape[1]} tasks, but is {m}.")
    return torch.zeros_like(log_q, dtype=torch.bool).scatter(1, log_q.topk(m, dim=-1).indices, True)


def decided(log_q: Tensor, score: Tensor, chosen: Tensor) -> Tensor:
    """Log beliefs (B, K) in which the ``chosen`` (B, K) share what ``log_q`` gives them together, by scores in nats.

    All others keep theirs. Scores of those that are not chosen do not matter, and may be NaN.
    """
    kept = log_q.masked_fill(~chosen, -torch.inf).logsumexp(-1, keepdim=True)
    shared = torch.log_softmax(score.masked_fill(~chosen, -torch.inf), dim=-1) + kept
    return torch.where(chosen, shared.to(log_q), log_q)


PACKED = 1000  # candidates in a pass: more rows than fit a processor's cache take longer for each
ENTRIES = 10_000_000  # of their one-hot z, which grow with the number of tasks


def _passes(chosen: Tensor, packed: bool) -> list[tuple[Tensor, Tensor]]:
    """The candidates as (samples, tasks) of each pass: packed one after another, or the r-th of every sample."""
    if packed:
        sample, task = chosen.nonzero(as_tuple=True)
        size = max(1, min(PACKED, ENTRIES // chosen.shape[1]))
        return list(zip(sample.split(size), task.split(size), strict=True)) if len(sample) else []
    counts = chosen.sum(-1)
    order = chosen.int().argsort(dim=-1, descending=True, stable=True)  # not by log_q, where minus infinities tie
    parts = [(counts > rank).nonzero()[:, 0] for rank in range(int(counts.max()))]
    return [(sample, order[sample, rank]) for rank, sample in enumerate(parts)]


def iterate(
    loss_fn: LossFn,
    z0: Tensor,
    steps: int = 50,
    lr: float = 0.2,
    space: Literal["logits", "free"] = "logits",
    penalty: Literal["l2", "entropy"] = "l2",
    weight: float = 0.0,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
) -> Trajectory:
    """Minimise loss + weight * penalty over z by ``steps`` gradient steps from ``z0`` (B, D), recording each.

    ``space="logits"``: z = softmax(u) stays on the simplex, and q = z. ``space="free"``: z itself moves, from any
    finite start, and may become a mixture no simplex holds (the paper's recomposition); q is None.
    ``penalty="l2"`` is the paper's |u|^2 / 2 (|z|^2 / 2 in free space); ``"entropy"`` is the exact -H(z), for logits
    only. The recorded loss (S+1, B), in nats, is without the penalty. One forward and one backward a step, and one
    last forward for the final loss. ``optimizer``: one whose step asks for no closure, so not LBFGS.
    Raises ``ValueError`` for a bad start, name, or loss.
    """
    _check_iterate(z0, steps, lr, space, penalty, weight)
    with _frozen_surroundings(z0):
        u = _start(z0, space).requires_grad_()
        descent = optimizer([u], lr=lr)
        path, losses = [], []
        for _ in progress_bar(range(steps), desc="inference"):
            z = _feed(u, space)
            loss = checked_loss(loss_fn, z)
            path.append(z.detach().clone())
            losses.append(loss.detach())
            u.grad = _gradient(loss + weight * _penalty(u, z, penalty) if weight else loss, u)
            descent.step()
        with torch.no_grad():
            path.append(_feed(u, space).detach().clone())
            losses.append(checked_loss(loss_fn, path[-1]))
    z_path = torch.stack(path)
    return Trajectory(z=z_path, loss=torch.stack(losses), q=z_path if space == "logits" else None)


def loss_of(model: nn.Module, inputs: Any, nll: Callable[[Any, Any], Tensor]) -> LossFn:
    """Bind a model and its inputs into a ``LossFn``: z -> nll(model(inputs, z), inputs), shape (B,), in nats.

    The model's parameters enter detached, so no gradient can reach a weight and no flag of the model is touched.
    Warns of BatchNorm in training mode, or without running statistics, which couples the samples of a batch: their
    gradients are then not their own. And of dropout in training mode, which draws another network at each pass.
    """
    warn_of_modes(model)
    frozen = {name: value.detach() for name, value in model.named_parameters()}
    with torch.inference_mode(False):
        frozen |= {name: value.detach().clone() for name, value in model.named_buffers()}  # BatchNorm writes into these
    return lambda z: nll(functional_call(model, frozen, (inputs, z)), inputs)


@contextlib.contextmanager
def _frozen_surroundings(z0: Tensor) -> Iterator[None]:
    """Gradients on whatever the caller's mode, and the caller's random state as it was (dropout draws from it)."""
    with random_state_kept(z0.device), torch.inference_mode(False), torch.enable_grad():
        yield


def _gradient(loss: Tensor, wrt: Tensor) -> Tensor:
    """Per-sample gradients (B, D) by one backward of the summed loss: row b of z enters only the loss of sample b."""
    grad = torch.autograd.grad(loss.sum(), wrt, allow_unused=True)[0] if loss.requires_grad else None
    if grad is None:
        raise ValueError(
            "The loss has no gradient to z. Feed z to the model, and do not detach it or compute under torch.no_grad()."
        )
    check_finite(grad, "gradient")
    return grad


def _check_iterate(z0: Tensor, steps: int, lr: float, space: str, penalty: str, weight: float) -> None:
    if space not in ("logits", "free"):
        raise ValueError(f"space is '{space}': choose 'logits' (z on the simplex) or 'free' (z without bounds).")
    if penalty not in ("l2", "entropy"):
        raise ValueError(f"penalty is '{penalty}': choose 'l2' (the paper's) or 'entropy' (the exact one).")
    if penalty == "entropy" and space == "free" and weight:
        raise ValueError("The entropy of a free z is not defined: use penalty='l2', or space='logits'.")
    if steps < 0 or not 0 < lr < math.inf or not 0 <= weight < math.inf:
        raise ValueError(f"steps and weight must be >= 0 and lr > 0, all finite, but are {steps}, {weight} and {lr}.")
    (check_start if space == "free" else check_simplex)(z0)


def _start(z0: Tensor, space: str) -> Tensor:
    """u at the start: z0 itself, or its centred logits, where a zero probability counts as 1e-6."""
    if space == "free":
        return z0.detach().clone()
    logits = z0.detach().clamp_min(1e-6).log()
    return logits - logits.mean(-1, keepdim=True)


def _feed(u: Tensor, space: str) -> Tensor:
    return torch.softmax(u, dim=-1) if space == "logits" else u


def _penalty(u: Tensor, z: Tensor, penalty: str) -> Tensor:
    """(B,): |u|^2 / 2, or the negative entropy of z in nats."""
    return u.square().sum(-1) / 2 if penalty == "l2" else (z * u.log_softmax(-1)).sum(-1)
