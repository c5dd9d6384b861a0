"""From where one gradient is exact Bayes, and which tasks it never names from the uniform start.

Goes on where :mod:`gbi_helpers.theory` stops; a_k = pattern_k - mean pattern of a linear-Gaussian decoder.

10. A start that is exact, for any K. Where KL(p_z* | p_k) is the same for all k, the gap is a constant (by 6, with
    natural gates for each x), and softmax(-g) is exact Bayes. It is the lowest point of a convex function,
    A(z @ theta) - sum_k z_k A(theta_k) where sum z = 1, whose slope along e_k - e_j is KL_j - KL_k: so Newton finds it.
    For Gaussians of one variance it is the circumcentre of the patterns, one linear solve. For two tasks the common KL
    is Chernoff's information, the rate at which the best of all tests errs less with more data.
    It mostly lies off the simplex, where no trained network has ever been: fitted to networks of text it gains less
    than the gap put back, of digits it loses. Putting the gap back from the uniform start costs the same.
11. Where there is none. A Gaussian family has one if the patterns are affinely independent (so K <= D + 1), or lie on
    one sphere: points at random, more than D + 1, have no common centre. Words may have none for any number of words: a
    task that is a mixture of two others, p_3 = (p_1 + p_2) / 2, is nearer than they are on average, from everywhere,
    since -log is convex: KL(p_z | p_3) < (KL(p_z | p_1) + KL(p_z | p_2)) / 2. Real tasks overlap.
12. Blind spots. With ever more data from task k, one step from the uniform start names the task with the largest
    a_j . a_k, so k itself only if |a_k|^2 exceeds all others: k is the furthest in its own direction. For patterns
    drawn from a normal distribution in D dimensions a_j . a_k / |a_k| is a normal number, so the share of visible tasks
    is E[Phi(r)^(K-1)] with r = chi_D / sqrt(1 - 1/K): half near D = 1.5 ln K, and a jump at 2 ln K as K grows. From an
    exact start all are visible, for on one sphere around it each is the furthest in its own direction.
    The tasks of trained networks are not drawn at random, and data that leave the line to their pattern name others.
13. More data, T samples with one z, multiply evidence and gap alike, so one-step log odds of k against j grow like
    T (|a_k|^2 - a_j . a_k) / sd^2, by the law of large numbers. Of a visible task the error dies exponentially with T;
    of any other it is certain, and KL(exact | one step) grows linearly for ever. Accuracy ends at the visible share.
    Evidence that repeats itself, as of words in a sentence, grows slower than T: there the gap may win before the
    evidence does.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

SINGULAR = 1e6  # a condition number; the system's own is its square


def exact_start(patterns: Tensor) -> Tensor:
    """The start z (K,), summing to 1, from which one step is exact for a linear-Gaussian decoder: the circumcentre.

    ``patterns`` (K, D): what each pure task predicts. It may lie off the simplex, so feed it to
    ``one_step(..., space="free")``. In float64 inside; of patterns with many such starts the shortest.
    Give float64, and centred patterns: equally far is meant up to rounding, which little noise and long data magnify.
    Raises ``ValueError`` where there is none, or one so far away that rounding drowns it.
    """
    points = _checked(patterns).double()
    away = points - points.mean(0)
    length = away.square().sum(-1)
    left, size, _ = torch.linalg.svd(away, full_matrices=False)
    left, size = left[:, size > size[0] / SINGULAR], size[size > size[0] / SINGULAR]
    # Equally far: 2 a_k . c = |a_k|^2 + const. With c = (z - 1/K) @ a that is the system of all a_j . a_k.
    off = left @ ((left.mT @ (length - length.mean()) / 2) / size.square())
    z = (1 / len(points) + off).to(patterns)
    farther = points.square().sum(-1) - 2 * points @ (z.double() @ points)  # as whoever uses it will see it
    if not farther.max() - farther.min() <= length.max() * torch.finfo(patterns.dtype).eps ** 0.5:
        raise ValueError(_no_start(away))
    return z


def natural_start(
    log_partition: Callable[[Tensor], Tensor], theta: Tensor, steps: int = 50, tolerance: float = 1e-12
) -> Tensor:
    """The start z (K,), summing to 1, from which one step is exact with natural gates, by Newton's method (10 above).

    ``log_partition``: theta (..., P) -> A (...), in float64; ``theta`` (K, P): what each pure task has. How many
    samples an x holds does not matter. ``tolerance``: how far apart the KLs may be, in parts of 1 + the largest A.
    Raises ``ValueError`` where ``steps`` do not suffice: mostly there is no such start then (11 above).
    """
    first, *others = _checked(theta).double()
    ways = torch.stack(others) - first
    value = log_partition(theta.detach().double())

    def height(place: Tensor) -> Tensor:
        return log_partition(first + place @ ways) - place @ (value[1:] - value[0])

    place = torch.full_like(value[1:], 1 / len(value))
    for _ in range(steps + 1):
        slope = torch.autograd.functional.jacobian(height, place)  # KL of the first task minus those of the others
        if slope.abs().max() <= tolerance * (1 + value.abs().max()):
            return torch.cat([1 - place.sum(0, keepdim=True), place]).to(theta)
        try:
            place = _lower(height, place, slope)
        except torch.linalg.LinAlgError:  # so far out that the model says one thing alone there
            break
    raise ValueError(
        f"Newton's method found no start equally far, in KL, from all {len(theta)} tasks: there is none where a task "
        "is a mixture of others, or where their parameters are not independent. Put the gap back instead: natural_gap."
    )


def visible(patterns: Tensor, z0: Tensor | None = None) -> Tensor:
    """Which tasks (..., K) one step names in the end, given ever more of their own data: all others stay blind spots.

    ``patterns`` (..., K, D): what each pure task of a linear-Gaussian decoder predicts; ``z0`` (..., K): the start, the
    uniform one if None. See 12 above.
    """
    start = patterns.mean(-2, keepdim=True) if z0 is None else z0[..., None, :] @ patterns
    away = patterns - start
    along = away @ away.mT
    return (along >= along.diagonal(dim1=-2, dim2=-1)[..., None]).sum(-1) == 1  # no other reaches as far


def nameable_share(n_tasks: int, dims: int) -> float:
    """The share of K normal patterns in D dimensions that are visible: E[Phi(r)^(K-1)], r = chi_D / sqrt(1 - 1/K).

    It takes the K - 1 others for independent, as they are for large K; for two tasks it is 1. By quadrature.
    Raises ``ValueError`` for fewer than 2 tasks or less than 1 dimension.
    """
    if n_tasks < 2 or dims < 1:
        raise ValueError(f"There must be 2 tasks or more and a dimension, but there are {n_tasks} and {dims}.")
    if n_tasks == 2:
        return 1.0
    points = 20_000
    width = (math.sqrt(dims) + 10) / points
    r = width * (torch.arange(points, device="cpu").double() + 0.5)
    density = (dims - 1) * r.log() - r.square() / 2 - (dims / 2 - 1) * math.log(2) - math.lgamma(dims / 2)
    below = (n_tasks - 1) * torch.special.log_ndtr(r / math.sqrt(1 - 1 / n_tasks))
    return float((density + below).exp().sum() * width)


def _checked(parameters: Tensor) -> Tensor:
    """Detached; ``ValueError`` unless two tasks or more have finite parameters (K, P)."""
    if parameters.dim() != 2 or len(parameters) < 2 or not parameters.isfinite().all():
        raise ValueError(f"Give finite parameters of 2 tasks or more, (tasks, size), not {tuple(parameters.shape)}.")
    return parameters.detach()


def _no_start(away: Tensor) -> str:
    n_tasks, dims = away.shape
    size = torch.linalg.svdvals(away)
    last = size[min(n_tasks - 1, dims) - 1]
    why = (
        f"in {dims} dimensions only {dims + 1} have a centre in common"
        if n_tasks > dims + 1
        else (f"they are, or nearly are, mixtures of one another (condition number {float(size[0] / last):.1g})")
    )
    return f"No start is equally far from all {n_tasks} patterns: {why}. Put the gap back instead: one_step_gap."


def _lower(height: Callable[[Tensor], Tensor], place: Tensor, slope: Tensor) -> Tensor:
    """Newton's step, halved until the height falls as it should, or by no more than rounding leaves to be seen."""
    bend = torch.autograd.functional.hessian(height, place)
    move = -torch.linalg.pinv(bend, hermitian=True) @ slope
    here, expected = height(place), slope @ move
    rounding = 1e-13 * (1 + here.abs())
    for _ in range(60):
        there = height(place + move)
        if there <= here + 1e-4 * expected + rounding:
            break
        move, expected = move / 2, expected / 2
    return place + move
