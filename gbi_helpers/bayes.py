"""What Bayes knows of samples from Gaussian contexts: the exact posterior, and the filter of a stream that switches."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_likelihood(x: Tensor, means: Tensor, sd: float) -> Tensor:
    """Log p(x | context k) of each sample, (..., D) -> (..., K), in nats; ``means`` (K, D).

    Raises ``ValueError`` for other shapes, or a standard deviation ``sd`` that is not above 0.
    """
    if means.dim() != 2 or x.shape[-1:] != means.shape[1:] or not sd > 0:
        raise ValueError(
            f"x must be (..., D) for means (K, D), and sd above 0, but they are {tuple(x.shape)}, "
            f"{tuple(means.shape)} and {sd}."
        )
    size = means.shape[1]
    distance = (x[..., None, :] - means).square().sum(-1)
    return -distance / (2 * sd**2) - size * math.log(sd * math.sqrt(2 * math.pi))


def window_posterior(x: Tensor, means: Tensor, sd: float) -> Tensor:
    """Log posterior (..., K) from all samples of windows (..., T, D), one context throughout, flat prior.

    Raises ``ValueError`` as :func:`log_likelihood` does.
    """
    return torch.log_softmax(log_likelihood(x, means, sd).sum(-2), dim=-1)


def bayes_filter(log_likelihood: Tensor, hazard: float, log_prior: Tensor | None = None) -> Tensor:
    """Log belief (..., T, K) in each of K contexts after each of T samples of a stream whose context may switch.

    Before every sample but the first the context jumps, with probability ``hazard``, to one of the other K - 1, each as
    likely. ``log_likelihood`` (..., T, K): log p(x_t | context k), nats. ``log_prior`` (K,): before the first
    sample; flat if None. Stays in log space, so long streams do not underflow.
    Raises ``ValueError`` for another shape, one context only, or a hazard outside [0, 1].
    """
    if log_likelihood.dim() < 2:
        shape = tuple(log_likelihood.shape)
        raise ValueError(f"log_likelihood must be (..., samples, contexts), but is {shape}.")
    n_contexts = log_likelihood.shape[-1]
    log_jump = _log_jump(n_contexts, hazard, log_likelihood)
    expected = log_likelihood.new_full((n_contexts,), -math.log(n_contexts)) if log_prior is None else log_prior
    if expected.shape != (n_contexts,):
        raise ValueError(f"log_prior must be one number a context, ({n_contexts},), but is {tuple(expected.shape)}.")
    beliefs = []
    for evidence in log_likelihood.unbind(-2):
        beliefs.append(torch.log_softmax(expected + evidence, dim=-1))
        expected = torch.logsumexp(beliefs[-1][..., :, None] + log_jump, dim=-2)
    return torch.stack(beliefs, dim=-2) if beliefs else log_likelihood.clone()


def predict_next(log_belief: Tensor, hazard: float, means: Tensor) -> Tensor:
    """Expected next sample (..., D) from a log belief (..., K) in the context of the last one; ``means`` (K, D).

    Raises ``ValueError`` for one context only, or a hazard outside [0, 1].
    """
    return log_belief.exp() @ _log_jump(len(means), hazard, means).exp() @ means


def _log_jump(n_contexts: int, hazard: float, like: Tensor) -> Tensor:
    """Log transition matrix (K, K), from row to column, of the device and precision of ``like``."""
    if n_contexts < 2:
        raise ValueError(f"The number of contexts must be 2 or more, but is {n_contexts}.")
    if not 0 <= hazard <= 1:
        raise ValueError(f"hazard is a probability, so it lies between 0 and 1, but is {hazard}.")
    return like.new_full((n_contexts, n_contexts), hazard / (n_contexts - 1)).fill_diagonal_(1 - hazard).log()
