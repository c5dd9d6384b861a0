"""What a loss function, a start and a prior must be; what is not is answered with one sentence that says what to do."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

LossFn = Callable[[Tensor], Tensor]  # z (B, D) -> loss (B,), in nats, summed over the data of each sample


def checked_loss(loss_fn: LossFn, z: Tensor) -> Tensor:
    """The loss at z, one finite number per row; ``ValueError`` otherwise, naming the first bad sample."""
    loss = loss_fn(z)
    if not isinstance(loss, Tensor) or loss.shape != z.shape[:1]:
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(
            f"The loss function must return one loss per sample, shape ({len(z)},), but returned {got}. "
            "Sum over the data of each sample, not over the batch."
        )
    check_finite(loss, "loss")
    return loss


def is_any(wrong: Tensor) -> bool:
    """Whether any entry is true; on PyTorch's "meta" device, where shapes are tried out, there are no entries."""
    return not wrong.is_meta and bool(wrong.any())


def check_finite(values: Tensor, what: str) -> None:
    """``ValueError`` that names the first row of ``values`` that is not finite; ``what``: what they are."""
    bad = (~torch.isfinite(values)).flatten(1).any(1) if values.dim() > 1 else ~torch.isfinite(values)
    if is_any(bad):
        sample = int(bad.nonzero()[0])
        raise ValueError(
            f"The {what} of sample {sample} is not finite ({int(bad.sum())} of {len(values)} samples). "
            "Look for NaN in that sample's inputs, or a division by zero or a logarithm of zero in the loss."
        )


def check_simplex(z0: Tensor) -> None:
    """``ValueError`` unless z0 is (B, K) floating point with rows that are probabilities."""
    check_start(z0)
    tolerance = 1e-6 if z0.dtype == torch.float64 else 1e-4 if z0.dtype == torch.float32 else 2e-2
    off = ((z0.sum(-1) - 1).abs() > tolerance) | (z0 < -tolerance).any(-1)
    if is_any(off):
        raise ValueError(
            f"z0 must hold probabilities, but row {int(off.nonzero()[0])} is not on the simplex (entries >= 0, sum 1). "
            "Start from max_entropy(batch, n_tasks), or use iterate(..., space='free') for a z without bounds."
        )


def check_start(z0: Tensor) -> None:
    """``ValueError`` unless z0 is (B, D) floating point and finite."""
    if not isinstance(z0, Tensor) or z0.dim() != 2 or 0 in z0.shape or not z0.is_floating_point():
        got = f"{tuple(z0.shape)} of {z0.dtype}" if isinstance(z0, Tensor) else type(z0).__name__
        raise ValueError(f"z0 must be a floating-point tensor of shape (batch, tasks), but is {got}.")
    check_finite(z0, "start z0")


def checked_prior(log_prior: Tensor | None, loss: Tensor) -> Tensor:
    """Log prior (B, K) or (K,), flat for None, for losses (B, K); ``ValueError`` if no task is left possible."""
    if log_prior is None:
        return torch.zeros_like(loss)
    shape = tuple(log_prior.shape) if isinstance(log_prior, Tensor) else type(log_prior).__name__
    if shape not in (loss.shape, loss.shape[1:]) or is_any(~log_prior.logsumexp(-1).isfinite()):
        raise ValueError(
            f"log_prior must hold log probabilities of shape {tuple(loss.shape[1:])} or {tuple(loss.shape)}, "
            f"without NaN and with a possible task in each row, but is {shape}."
        )
    return log_prior.to(loss)


def check_log_probabilities(log_q: Tensor, shape: tuple[int, ...], what: str) -> None:
    """``ValueError`` unless ``log_q`` (B, K) has this shape and rows that are logarithms of probabilities."""
    if log_q.dim() != 2 or log_q.shape != shape:
        raise ValueError(f"{what} must be (samples, tasks), here {tuple(shape)}, but is {tuple(log_q.shape)}.")
    tolerance = 1e-6 if log_q.dtype == torch.float64 else 1e-3 if log_q.dtype == torch.float32 else 5e-2
    off = ~(log_q.logsumexp(-1).abs() <= tolerance)
    if is_any(off):
        raise ValueError(
            f"{what} must hold log probabilities, but row {int(off.nonzero()[0])} does not sum to 1. "
            "Take torch.log_softmax(scores, dim=1) of scores; a loss is minus a score."
        )


def warn_of_modes(model: nn.Module) -> None:
    """Warn of what makes a sample's loss depend on more than the sample and its z: BatchNorm and dropout at work."""
    parts = list(model.named_modules())
    for at_work, trouble in ((_couples_samples, COUPLED), (_drops, DRAWN)):
        names = [name for name, part in parts if at_work(part)]
        if names:
            warnings.warn(trouble.format(", ".join(names)), stacklevel=3)


COUPLED = (
    "BatchNorm in training mode or without running statistics ({}) mixes the samples of a batch, so one sample's "
    "gradient depends on the others. Call model.eval() first, or use GroupNorm."
)
DRAWN = (
    "Dropout in training mode ({}) draws another network at each pass, so no two tasks are compared under one. "
    "Call model.eval() first."
)


def _couples_samples(part: nn.Module) -> bool:
    """Whether it normalises by the batch at hand: in training, and always where it keeps no running statistics."""
    return isinstance(part, nn.modules.batchnorm._BatchNorm) and (part.training or part.running_mean is None)


def _drops(part: nn.Module) -> bool:
    """Whether it is dropout at work, or has some inside, as recurrent networks and attention may."""
    if isinstance(part, nn.modules.dropout._DropoutNd):
        return part.training and part.p > 0
    return isinstance(part, nn.RNNBase | nn.MultiheadAttention) and part.training and part.dropout > 0
