"""What is known exactly: Bayes in a stream that switches, and what one gradient step leaves out."""

from __future__ import annotations

from torch import Tensor

from gbi_helpers.data.toy import bayes_filter

__all__ = ["bayes_filter", "curvature_offset"]


def curvature_offset(patterns: Tensor, sd: float) -> Tensor:
    """What one gradient step misses in a linear-Gaussian decoder x = z @ patterns + noise, in nats, (K,).

    ``patterns`` (K, D): what each pure task predicts; ``sd``: of the noise, in every dimension. From the uniform start,
    log p(x | task k) = -dL/dz_k + offset_k + a constant, with offset_k = -|pattern_k - mean pattern|^2 / (2 sd^2),
    whatever x is. All equal (so nothing is missed) for K = 2, and for patterns at one distance from their mean.
    """
    return -(patterns - patterns.mean(0)).square().sum(-1) / (2 * sd**2)
