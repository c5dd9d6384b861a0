"""Gradient-based inference of a task abstraction Z, for any model with a loss per sample as a function of z.

Everything here is written against one thing, ``LossFn``: z (B, D) -> loss (B,), in nats, summed over the data of each
sample. Weights are never touched: gradients go to z alone (Hummos et al. 2024, arXiv 2407.17356, section 2).
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gbi_helpers.progress import progress_bar
from gbi_helpers.records import Posterior, Trajectory

LossFn = Callable[[Tensor], Tensor]


def max_entropy(
    batch: int, n_tasks: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """The start that favours no task: z0 = 1/K everywhere, shape (batch, n_tasks)."""
    return torch.full((batch, n_tasks), 1.0 / n_tasks, dtype=dtype, device=device)


def one_step(loss_fn: LossFn, z0: Tensor, step_size: float = 1.0) -> Posterior:
    """Task posterior from one gradient at ``z0`` (B, K): softmax(-step_size * dL/dz).

    One forward, one backward, to z only. With a loss in nats, summed over each sample's data, ``step_size=1`` is the
    Bayesian choice. From the uniform z0 it equals :func:`enumerate_tasks` where the loss is linear in z, and for every
    linear-Gaussian model with two tasks (Hummos et al. 2024, section 2).
    Raises ``ValueError`` if z0 is off the simplex, or the loss is not one finite number per row with a gradient to z.
    """
    _check_simplex(z0)
    if not torch.as_tensor(step_size).isfinite().all():
        raise ValueError(f"step_size must be a finite number, but is {step_size}.")
    with _frozen_surroundings(z0):
        z = z0.detach().clone().requires_grad_()
        loss = _checked_loss(loss_fn, z)
        grad = _gradient(loss, z)
    return Posterior(log_q=torch.log_softmax(-step_size * grad, dim=-1), loss=loss.detach(), grad=grad)


def enumerate_tasks(loss_fn: LossFn, z0: Tensor, log_prior: Tensor | None = None) -> Posterior:
    """Exact Bayes over K tasks by K forward passes, one per one-hot z: softmax(log prior - loss).

    ``z0`` (B, K) gives only shape, dtype and device. ``log_prior`` (K,) or (B, K); flat if None. The paper calls this
    row "likelihood". Raises ``ValueError`` as :func:`one_step` does, and for a prior of another shape or with NaN, or
    one that leaves no task possible.
    """
    _check_simplex(z0)
    n_tasks = z0.shape[1]
    with _frozen_surroundings(z0), torch.no_grad():
        loss = torch.empty(0)
        for task in progress_bar(range(n_tasks), desc="tasks"):
            one_hot = torch.zeros_like(z0)
            one_hot[:, task] = 1
            column = _checked_loss(loss_fn, one_hot)
            # One tensor for all: small ones, kept between large ones that go, would scatter the heap (80 GB at K=1e4).
            loss = column.new_empty(z0.shape) if task == 0 else loss
            loss[:, task] = column
    return Posterior(log_q=torch.log_softmax(_checked_prior(log_prior, loss) - loss, dim=-1), loss=loss)


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
    last forward for the final loss. Raises ``ValueError`` for a bad start, name, or loss.
    """
    _check_iterate(z0, steps, lr, space, penalty, weight)
    with _frozen_surroundings(z0):
        u = _start(z0, space).requires_grad_()
        descent = optimizer([u], lr=lr)
        path, losses = [], []
        for _ in progress_bar(range(steps), desc="inference"):
            z = _feed(u, space)
            loss = _checked_loss(loss_fn, z)
            path.append(z.detach().clone())
            losses.append(loss.detach())
            u.grad = _gradient(loss + weight * _penalty(u, z, penalty) if weight else loss, u)
            descent.step()
        with torch.no_grad():
            path.append(_feed(u, space).detach().clone())
            losses.append(_checked_loss(loss_fn, path[-1]))
    z_path = torch.stack(path)
    return Trajectory(z=z_path, loss=torch.stack(losses), q=z_path if space == "logits" else None)


def loss_of(model: nn.Module, inputs: Any, nll: Callable[[Any, Any], Tensor]) -> LossFn:
    """Bind a model and its inputs into a ``LossFn``: z -> nll(model(inputs, z), inputs), shape (B,), in nats.

    The model's parameters enter detached, so no gradient can reach a weight and no flag of the model is touched.
    Warns of BatchNorm in training mode, or without running statistics, which couples the samples of a batch: their
    gradients are then not their own.
    """
    coupled = [name for name, part in model.named_modules() if _couples_samples(part)]
    if coupled:
        warnings.warn(
            f"BatchNorm in training mode or without running statistics ({', '.join(coupled)}) mixes the samples of a "
            "batch, so one sample's gradient depends on the others. Call model.eval() first, or use GroupNorm.",
            stacklevel=2,
        )
    frozen = {name: value.detach() for name, value in model.named_parameters()}
    frozen |= {name: value.detach().clone() for name, value in model.named_buffers()}  # BatchNorm writes into its own
    return lambda z: nll(functional_call(model, frozen, (inputs, z)), inputs)


def _couples_samples(part: nn.Module) -> bool:
    """Whether it normalises by the batch at hand: in training, and always where it keeps no running statistics."""
    return isinstance(part, nn.modules.batchnorm._BatchNorm) and (part.training or part.running_mean is None)


@contextlib.contextmanager
def _frozen_surroundings(z0: Tensor) -> Iterator[None]:
    """Gradients on whatever the caller's mode, and the caller's random state as it was (dropout draws from it)."""
    devices = [z0.device] if z0.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad():
        yield


def _checked_loss(loss_fn: LossFn, z: Tensor) -> Tensor:
    """The loss at z, one finite number per row; ``ValueError`` otherwise, naming the first bad sample."""
    loss = loss_fn(z)
    if not isinstance(loss, Tensor) or loss.shape != z.shape[:1]:
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(
            f"The loss function must return one loss per sample, shape ({len(z)},), but returned {got}. "
            "Sum over the data of each sample, not over the batch."
        )
    _check_finite(loss, "loss")
    return loss


def _gradient(loss: Tensor, wrt: Tensor) -> Tensor:
    """Per-sample gradients (B, D) by one backward of the summed loss: row b of z enters only the loss of sample b."""
    grad = torch.autograd.grad(loss.sum(), wrt, allow_unused=True)[0] if loss.requires_grad else None
    if grad is None:
        raise ValueError(
            "The loss has no gradient to z. Feed z to the model, and do not detach it or compute under torch.no_grad()."
        )
    _check_finite(grad, "gradient")
    return grad


def _check_finite(values: Tensor, what: str) -> None:
    bad = (~torch.isfinite(values)).flatten(1).any(1) if values.dim() > 1 else ~torch.isfinite(values)
    if bad.any():
        sample = int(bad.nonzero()[0])
        raise ValueError(
            f"The {what} of sample {sample} is not finite ({int(bad.sum())} of {len(values)} samples). "
            "Look for NaN in that sample's inputs, or a division by zero or a logarithm of zero in the loss."
        )


def _check_simplex(z0: Tensor) -> None:
    """``ValueError`` unless z0 is (B, K) floating point with rows that are probabilities."""
    _check_start(z0)
    tolerance = 1e-6 if z0.dtype == torch.float64 else 1e-4 if z0.dtype == torch.float32 else 2e-2
    off = ((z0.sum(-1) - 1).abs() > tolerance) | (z0 < -tolerance).any(-1)
    if off.any():
        raise ValueError(
            f"z0 must hold probabilities, but row {int(off.nonzero()[0])} is not on the simplex (entries >= 0, sum 1). "
            "Start from max_entropy(batch, n_tasks), or use iterate(..., space='free') for a z without bounds."
        )


def _check_start(z0: Tensor) -> None:
    if not isinstance(z0, Tensor) or z0.dim() != 2 or 0 in z0.shape or not z0.is_floating_point():
        got = f"{tuple(z0.shape)} of {z0.dtype}" if isinstance(z0, Tensor) else type(z0).__name__
        raise ValueError(f"z0 must be a floating-point tensor of shape (batch, tasks), but is {got}.")
    _check_finite(z0, "start z0")


def _checked_prior(log_prior: Tensor | None, loss: Tensor) -> Tensor:
    if log_prior is None:
        return torch.zeros_like(loss)
    shape = tuple(log_prior.shape) if isinstance(log_prior, Tensor) else type(log_prior).__name__
    if shape not in (loss.shape, loss.shape[1:]) or not log_prior.logsumexp(-1).isfinite().all():
        raise ValueError(
            f"log_prior must hold log probabilities of shape {tuple(loss.shape[1:])} or {tuple(loss.shape)}, "
            f"without NaN and with a possible task in each row, but is {shape}."
        )
    return log_prior.to(loss)


def _check_iterate(z0: Tensor, steps: int, lr: float, space: str, penalty: str, weight: float) -> None:
    if space not in ("logits", "free"):
        raise ValueError(f"space is '{space}': choose 'logits' (z on the simplex) or 'free' (z without bounds).")
    if penalty not in ("l2", "entropy"):
        raise ValueError(f"penalty is '{penalty}': choose 'l2' (the paper's) or 'entropy' (the exact one).")
    if penalty == "entropy" and space == "free" and weight:
        raise ValueError("The entropy of a free z is not defined: use penalty='l2', or space='logits'.")
    if steps < 0 or not 0 < lr < math.inf or not 0 <= weight < math.inf:
        raise ValueError(f"steps and weight must be >= 0 and lr > 0, all finite, but are {steps}, {weight} and {lr}.")
    (_check_start if space == "free" else _check_simplex)(z0)


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
    return u.square().sum(-1) / 2 if penalty == "l2" else torch.special.entr(z).sum(-1).neg()
