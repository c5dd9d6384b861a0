"""What one gradient step gets right, what it leaves out, and how wrong that can be.

For a loss L(z) in nats and a start z0, exact Bayes has the logits -L(e_k), one step the logits -dL/dz_k. Their
difference, up to a constant shared by all tasks, is the gap delta (K,). All statements below are about it.

1. The gap is curvature. Let d_k = e_k - z0, the way from the start to pure task k. Taylor's formula with the integral
   remainder says L(e_k) = L(z0) + g . d_k + R_k, with g the gradient at z0 and
   R_k = int_0^1 (1 - t) d_k' H(z0 + t d_k) d_k dt. Since g . d_k = g_k - g . z0, and the last term is shared,
   delta_k = -R_k. A loss linear in z has no gap; a quadratic one has delta_k = -d_k' H d_k / 2, whatever the data.
2. A gap costs little: KL <= range(delta)^2 / 8, both ways. With q = softmax(logit - delta) for p = softmax(logit),
   KL(p|q) = log E_p[exp(-delta)] + E_p[delta], and Hoeffding's lemma bounds this for any variable within a range; the
   other way round the same with q and +delta.
3. First-order bound. If the curvature d_k' H d_k along the way to task k lies within [low_k, high_k], then by 1
   -delta_k lies within [low_k, high_k] / 2, so range(delta) <= max over j != k of (high_j - low_k) / 2; then apply 2.
   For curvature between m and M in every direction: range(delta) <= (M - m) (1 - 1/K) / 2, as |d_k|^2 = 1 - 1/K.
4. Two tasks: second order cancels. On the line f(s) = L(z0 + s (e_1 - e_2) / 2) the exact log odds of task 2 are
   f(1) - f(-1), the one-step ones 2 f'(0), and their difference is int_0^1 (1 - s)^2 / 2 (f'''(s) + f'''(-s)) ds: at
   most max|f'''| / 3. So for two tasks every quadratic loss is exact.
5. Natural gates: the gap does not depend on the data. Let z enter through the natural parameter of an exponential
   family, theta(z) = z @ theta, so that L(z) = n A(theta(z)) - T(x) . theta(z) for n samples. The data meet z in a
   linear term, which has no gap; what is left is delta_k = n (dA/dz_k(z0) - A(theta_k)), without an x in it. One
   vector, put back once, makes one step exact for every x and any K. It stops being true as soon as z mixes other
   parameters: means and covariances, or the weights of a hidden layer.
6. Dreams: the gap is a KL divergence. Let p_z be what the model says of data under z. For x ~ p_z0 the mean of
   L(e_k) - L(z0) is KL(p_z0 | p_k) by definition, that of g . d_k is 0, as of every score. So in the mean over dreams
   delta_k = -KL(p_z0 | p_k), for every model with a normalised likelihood whose support z does not move; with a code,
   given the code. With natural gates it is so for each x: what
   5 leaves is the Bregman divergence of A, which is that KL. One step is Bayes that forgets to normalise.
   A trained network is asked about data, which are not its dreams: there g has a mean, and the gap is another for each
   x. Where the gradient was itself trained, data are so unlike dreams that nothing of it is left.
7. Margin and certificate. Where exact Bayes leads by more than range(delta) nats, one step names the same task; and
   always the exact best lies within range(delta) nats of one step's best. The logits differ by delta, so a difference
   of two of them moves by at most its range. So ``rescore(..., within=range)`` names, up to rounding, what
   all K passes name.
   Who knows delta puts it back instead; of use is a bound on its range, such as 3. In a trained network there mostly is
   none: a quantile (``fit_within``) then holds on average, not always. And a certificate is dear: its range grows with
   the data, and with a hundred tasks it keeps dozens where one step is nearly always right.
8. One step is four things: (i) a step of exponentiated gradient, q0 exp(-g), of size 1 from the uniform q0; (ii) the
   natural-gradient step of size 1 on the free energy F(q) = L(q) - H(q), whose gradient g + log q takes the natural
   parameters log q to -g, from any start; (iii) the minimiser of F with L replaced by its tangent, g . q - H(q), as
   Gibbs has it; (iv) for a loss linear in z the end of all steps, the minimiser of F.
   A curved L has another g at every place: steps of size 1 may swing for ever, small ones settle on the best mixture,
   which is not the posterior of the tasks (if sometimes the better guess at the best of them).
9. Second order: delta_k = -d_k' H d_k / 2, with the curvature at z0. By 1 it is exact for quadratic losses, and
   elsewhere wrong by a sixth of the third derivative on the way at most: too large where the loss bends less far out.
   For words, with gates twice as strong, it grows fourfold and the KL at last twofold. In the mean over dreams H is
   Fisher's information, the variance of g.
Statements 10 to 13, about the start and about tasks that one step never names, are in :mod:`gbi_helpers.starts`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gbi_helpers.inference import LossFn, enumerate_tasks, one_step
from gbi_helpers.records import Posterior


def one_step_gap(patterns: Tensor, sd: float | Tensor, samples: int = 1) -> Tensor:
    """The gap (..., K) of a linear-Gaussian decoder x = z @ patterns + noise, in nats: exact minus one-step logits.

    ``patterns`` (..., K, D): what each pure task predicts; ``sd``: of the noise, in every dimension (a number, or one
    for each leading index, (..., 1)); ``samples``: how many x share one z. From the uniform start it is
    -samples |pattern_k - mean pattern|^2 / (2 sd^2), whatever x is. All equal, so nothing is missed, for K = 2 and for
    patterns at one distance from their mean.
    """
    away = patterns - patterns.mean(-2, keepdim=True)
    return -samples * away.square().sum(-1) / (2 * sd**2)


def natural_kl(log_partition: Callable[[Tensor], Tensor], theta: Tensor, z: Tensor, samples: float = 1) -> Tensor:
    """KL(p_z | p_k) (K,) in nats, from what natural gates say at ``z`` (K,) to what each pure task says (6 above).

    ``log_partition``: theta (..., P) -> A (...); ``theta`` (K, P): what each pure task has; ``samples``: how many an x
    holds, such as the words of a text. ``z`` may lie off the simplex.
    """
    with torch.inference_mode(False), torch.enable_grad():
        pure = theta.detach().clone()
        at = (z.detach().clone() @ pure).requires_grad_()
        value = log_partition(at)
        (mean,) = torch.autograd.grad(value, at)
        return samples * (log_partition(pure) - value - (pure - at) @ mean).detach()


def natural_gap(log_partition: Callable[[Tensor], Tensor], theta: Tensor, z0: Tensor, samples: float = 1) -> Tensor:
    """The gap (K,) of natural gates, in nats, centred: exact minus one-step logits, the same for all data (5 above).

    It is minus :func:`natural_kl`, which says what the arguments are, at the start ``z0``.
    """
    missed = -natural_kl(log_partition, theta, z0, samples)
    return missed - missed.mean()


def gap(loss_fn: LossFn, z0: Tensor) -> Tensor:
    """The gap (B, K) of each sample, measured: exact minus one-step logits, in nats, centred over tasks.

    Costs K forward passes beside the one step.
    """
    slope = one_step(loss_fn, z0).grad
    assert slope is not None  # one step always has its gradient
    difference = slope - enumerate_tasks(loss_fn, z0).loss
    return difference - difference.mean(-1, keepdim=True)


def fit_delta(loss_fn: LossFn, z0: Tensor) -> Tensor:
    """One gap (K,) for all samples, centred: the mean of :func:`gap` over a few windows, once, then cached.

    No labels are needed. It serves new samples as far as the curvature of the loss does not depend on the sample:
    wholly for a decoder linear in z, roughly elsewhere. It grows with the amount of data in a window.
    """
    return gap(loss_fn, z0).mean(0)


def dreamed_delta(grad: Tensor, z0: Tensor) -> Tensor:
    """The gap (K,) without a pass, in nats, centred: half the variance of the gradient on dreams, negated.

    ``grad`` (S, K): dL/dz at the start ``z0`` (K,), each of a sample drawn from what the model itself says there. It is
    the gap to second order, exactly so for a linear-Gaussian decoder, as the gap is minus a KL divergence and Fisher
    information its curvature. S backward passes, whatever K is: D dimensions ask for them. Dreams drawn at random are
    like the gap with a correlation of 1 / sqrt(1 + D / S), so fewer than D do harm; D with noise from an orthogonal
    matrix (times sqrt(D)) know it wholly. Never use it sample by sample: one dream's square is mostly chance.
    """
    along = grad - (grad * z0).sum(-1, keepdim=True)  # g . d_k, with d_k = e_k - z0
    missed = -along.square().mean(0) / 2
    return missed - missed.mean()


def second_order_gap(loss_fn: LossFn, z0: Tensor) -> Tensor:
    """The gap (B, K) of each sample as far as the curvature at z0 knows it, in nats, centred: -d_k' H d_k / 2.

    By K Hessian-vector products, each dearer than a pass: it is for looking, not for saving.
    """
    missed = -curvature_along(loss_fn, z0, points=1)[..., 0] / 2
    return missed - missed.mean(-1, keepdim=True)


def corrected_one_step(loss_fn: LossFn, z0: Tensor, delta: Tensor, step_size: float = 1.0) -> Posterior:
    """:func:`one_step` with the gap ``delta`` (K,) or (B, K) put back: softmax(delta - step_size * dL/dz).

    ``delta``: from :func:`one_step_gap` (derived) or :func:`fit_delta` (measured). Costs no pass more than one step.
    Raises ``ValueError`` for another shape.
    """
    if delta.shape not in (z0.shape, z0.shape[1:]):
        raise ValueError(f"delta must be {tuple(z0.shape[1:])} or {tuple(z0.shape)}, but is {tuple(delta.shape)}.")
    step = one_step(loss_fn, z0, step_size)
    return Posterior(torch.log_softmax(step.log_q + delta.to(z0), dim=-1), step.loss, step.grad)


def natural_step(loss_fn: LossFn, q: Tensor, step_size: float = 1.0) -> Posterior:
    """A natural-gradient step from ``q`` (B, K) on the free energy L(q) - H(q): log q' = (1 - s) log q - s dL/dz.

    Of size s = 1 it forgets where it began, and is :func:`gbi_helpers.inference.one_step` at q (8 above). A
    probability of 0 counts as the smallest number above 0. Raises ``ValueError`` as that does.
    """
    step = one_step(loss_fn, q, step_size)
    kept = (1 - step_size) * q.detach().clamp_min(torch.finfo(q.dtype).tiny).log()
    return Posterior(torch.log_softmax(kept + step.log_q, dim=-1), step.loss, step.grad)


def survives(log_p: Tensor, delta: Tensor) -> Tensor:
    """Where (B,) exact Bayes leads by more nats than the gap ranges over, so that one step names the same task.

    ``log_p`` (B, K): exact log posterior; ``delta`` (K,) or (B, K): the gap. Sufficient, not necessary (7 above).
    """
    best = log_p.topk(2, dim=-1).values
    return best[..., 0] - best[..., 1] > delta.amax(-1) - delta.amin(-1)


def kl_bound(delta: Tensor) -> Tensor:
    """Nats (...,) that KL(exact | one-step), and the other way round, cannot exceed: range(delta)^2 / 8.

    ``delta`` (..., K): the gap; constants shared by all tasks do not matter. See 2 above.
    """
    return (delta.amax(-1) - delta.amin(-1)).square() / 8


def curvature_along(loss_fn: LossFn, z0: Tensor, points: int = 17) -> Tensor:
    """Curvature d_k' H d_k of the loss on the way from z0 to each pure task, (B, K, points), z0 and e_k included.

    Half of it, weighted by 2 (1 - t), integrates to minus the gap (1 above). One second derivative per task and point.
    """
    at = torch.linspace(0, 1, points, dtype=z0.dtype, device=z0.device)
    ways = [_derivative_along(loss_fn, z0, one_hot - z0, at, order=2) for one_hot in _corners(z0)]
    return torch.stack(ways, dim=1)


def first_order_bound(low: Tensor, high: Tensor) -> Tensor:
    """Bound (B,) on the range of the gap, from the least and greatest curvature (B, K) on the way to each task.

    It is 3 above. From a grid, ``c = curvature_along(...)``: ``first_order_bound(c.amin(-1), c.amax(-1))``. Its
    square / 8 bounds the KL, in nats.
    """
    apart = (high[..., :, None] - low[..., None, :]) / 2
    same = torch.eye(low.shape[-1], dtype=torch.bool, device=low.device)
    return apart.masked_fill(same, 0).amax((-1, -2))


def third_order_bound(loss_fn: LossFn, z0: Tensor, points: int = 17) -> Tensor:
    """Bound (B,) on the error of the one-step log odds of two tasks from the uniform z0: max|f'''| / 3 (4 above).

    The maximum is taken over ``points`` on the line between the tasks. Raises ``ValueError`` for K other than 2.
    """
    if z0.shape[1] != 2:
        raise ValueError(f"The second order cancels for two tasks only, but z0 has {z0.shape[1]}.")
    first, second = _corners(z0)
    at = torch.linspace(-1, 1, points, dtype=z0.dtype, device=z0.device)
    return _derivative_along(loss_fn, z0, (first - second) / 2, at, order=3).abs().amax(-1) / 3


def _corners(z0: Tensor) -> list[Tensor]:
    """The pure tasks, each as (B, K)."""
    return [row.expand_as(z0) for row in torch.eye(z0.shape[1], dtype=z0.dtype, device=z0.device)]


def _derivative_along(loss_fn: LossFn, z0: Tensor, way: Tensor, at: Tensor, order: int) -> Tensor:
    """Derivative of t -> L(z0 + t way) at each t of ``at`` (P,): (B, P)."""
    found = []
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller's mode
        z0, way = z0.detach().clone(), way.detach().clone()
        for t in at:
            place = t.expand(len(z0)).clone().requires_grad_()
            value = loss_fn(z0 + place[:, None] * way)
            for _ in range(order):
                linear = not value.requires_grad  # a derivative without a graph is constant: the next one is zero
                value = torch.zeros_like(place) if linear else _slope(value, place)
            found.append(value.detach())
    return torch.stack(found, dim=-1)


def _slope(value: Tensor, place: Tensor) -> Tensor:
    found = torch.autograd.grad(value.sum(), place, create_graph=True, allow_unused=True)[0]
    return torch.zeros_like(place) if found is None else found
