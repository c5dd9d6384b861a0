"""What is known exactly: Bayes in a stream that switches, and what one gradient step leaves out."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def bayes_filter(log_likelihood: Tensor, hazard: float, log_prior: Tensor | None = None) -> Tensor:
    """Log belief (T, K) in each of K contexts after each of T samples of a stream whose context may switch.

    Before every sample but the first the context jumps, with probability ``hazard``, to one of the other K - 1, each as
    likely. ``log_likelihood`` (T, K): log p(x_t | context k), nats. ``log_prior`` (K,): before the first
    sample; flat if None. Stays in log space, so long streams do not underflow.
    Raises ``ValueError`` for another shape, one context only, or a hazard outside [0, 1].
    """
    if log_likelihood.dim() != 2 or log_likelihood.shape[1] < 2:
        raise ValueError(f"log_likelihood must be (samples, 2 or more contexts), but is {tuple(log_likelihood.shape)}.")
    if not 0 <= hazard <= 1:
        raise ValueError(f"hazard is a probability, so it lies between 0 and 1, but is {hazard}.")
    n_contexts = log_likelihood.shape[1]
    jump = torch.full((n_contexts, n_contexts), hazard / (n_contexts - 1)).fill_diagonal_(1 - hazard)
    log_jump = jump.to(log_likelihood).log()
    expected = torch.full_like(log_likelihood[0], -math.log(n_contexts)) if log_prior is None else log_prior
    beliefs = []
    for evidence in log_likelihood:
        beliefs.append(torch.log_softmax(expected + evidence, dim=-1))
        expected = torch.logsumexp(beliefs[-1][:, None] + log_jump, dim=0)
    return torch.stack(beliefs) if beliefs else log_likelihood.clone()


def curvature_offset(patterns: Tensor, sd: float) -> Tensor:
    """What one gradient step misses in a linear-Gaussian decoder x = z @ patterns + noise, in nats, (K,).

    ``patterns`` (K, D): what each pure task predicts; ``sd``: of the noise, in every dimension. From the uniform start,
    log p(x | task k) = -dL/dz_k + offset_k + a constant, with offset_k = -|pattern_k - mean pattern|^2 / (2 sd^2),
    whatever x is. All equal (so nothing is missed) for K = 2, and for patterns at one distance from their mean.
    """
    return -(patterns - patterns.mean(0)).square().sum(-1) / (2 * sd**2)
