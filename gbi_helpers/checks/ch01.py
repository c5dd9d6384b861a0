"""The exercises of chapter 01, Bayes by hand; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, uniform
from gbi_helpers.inference import enumerate_tasks, max_entropy


def _evidence(x: Tensor, means: Tensor, sd: float) -> Tensor:
    return -(((x[..., None] - means) / sd) ** 2).sum(1) / 2


def _posterior(x: Tensor, means: Tensor, sd: float, prior: Tensor) -> Tensor:
    return torch.log_softmax(prior.log() + _evidence(x, means, sd), dim=-1)


def _mix(belief: Tensor, hazard: float) -> Tensor:
    """The belief before the next sample: stay, or jump to one of the others."""
    return (1 - hazard) * belief + hazard * (1 - belief) / (belief.shape[-1] - 1)


def _m_step(x: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    means = (r * x[:, None]).sum(0) / r.sum(0)
    return means, _spread(x, r, means), r.mean(0)


def _spread(x: Tensor, r: Tensor, around: Tensor) -> Tensor:
    return ((r * (x[:, None] - around) ** 2).sum(0) / r.sum(0)).sqrt()


def _one_hot(r: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(r.argmax(-1), r.shape[-1]).to(r)


def _loss(patterns: Tensor, x: Tensor, sd: float) -> Callable[[Tensor], Tensor]:
    return lambda z: (((x - z @ patterns) / sd) ** 2).sum(-1) / 2


def _start(patterns: Tensor, x: Tensor) -> Tensor:
    return max_entropy(len(x), len(patterns), x.dtype, x.device)


def _minus_gradient(patterns: Tensor, x: Tensor, sd: float, z0: Tensor) -> Tensor:
    return (x - z0.to(x) @ patterns) @ patterns.T / sd**2


def _one_step(patterns: Tensor, x: Tensor, sd: float, z0: Tensor | None = None) -> Tensor:
    """One step from any start, on the simplex or not: softmax of minus the gradient."""
    return torch.log_softmax(_minus_gradient(patterns, x, sd, _start(patterns, x) if z0 is None else z0), dim=-1)


def _curvature(patterns: Tensor, sd: Tensor) -> Tensor:
    return -((patterns - patterns.mean(0)) / sd).square().sum(-1) / 2


def _posterior_inputs(draw: Generator, batch: int, samples: int, contexts: int) -> Inputs:
    means = normal(draw, contexts)
    prior = torch.softmax(normal(draw, contexts), 0)
    return means[0] + normal(draw, batch, samples), means, 0.5 + float(uniform(draw)), prior


*_few, _many = drawn(101, _posterior_inputs, (4, 3, 2), (2, 6, 5), (7, 2, 3), (3, 4, 4), (2, 5000, 3))

posterior = Exercise(
    "posterior",
    "student(x (B, T), means (K,), sd, prior (K,)) -> log posterior (B, K) from all T samples of a row.",
    _posterior,
    _few,
    mistakes=[
        Mistake(lambda x, m, s, p: _posterior(x, m, s, torch.ones_like(p)), "The prior is missing: add log prior."),
        Mistake(
            lambda x, m, s, p: _posterior(x, m, s, p ** x.shape[1]),
            "The prior is counted once per sample. It enters once: sum the log-likelihoods first, then add it.",
        ),
        Mistake(lambda x, m, s, p: _posterior(x, m, s, p.exp()), "Add the logarithm of the prior, not the prior."),
        Mistake(
            lambda x, m, s, p: _posterior(x, m, s * x.shape[1] ** 0.5, p),
            "You average over the samples. Evidence adds up: take the sum, or five samples count as one.",
        ),
        Mistake(lambda x, m, s, p: _posterior(x, m, s / 2**0.5, p), "The 1/2 in (x - mean)^2 / (2 sd^2) is missing."),
        Mistake(lambda x, m, s, p: _posterior(x, m, s**0.5, p), "Divide by sd squared, not by sd."),
        Mistake(
            lambda x, m, s, p: torch.log_softmax(p.log() - _evidence(x, m, s), -1),
            "The sign of the log-likelihood is the wrong way round: far from a mean should be *less* likely.",
        ),
        Mistake(
            lambda x, m, s, p: torch.log_softmax(p.log() + _evidence(x, m, s), 0),
            "Normalised over the wrong axis: each row must sum to 1 over the contexts (the last axis).",
        ),
        Mistake(
            lambda x, m, s, p: torch.log_softmax(_posterior(x, m, s, p).exp(), -1),
            "You normalised twice: log_softmax takes log-likelihood + log prior, not what a softmax made of them.",
        ),
        Mistake(
            lambda x, m, s, p: torch.softmax(_posterior(x, m, s, p).exp(), -1),
            "You normalised twice, and it is no logarithm: one log_softmax of log-likelihood + log prior does it.",
        ),
    ],
    hard=[
        (
            _many,
            "Right for a few samples, but with 5,000 the product of probabilities underflows to 0. "
            "Stay in logs: add log-likelihoods, and normalise with torch.log_softmax or torch.logsumexp.",
        )
    ],
    logs=True,
)


def _predict_next_inputs(draw: Generator, time: int, contexts: int) -> Inputs:
    belief = torch.softmax(2 * normal(draw, time, contexts), -1)
    return belief, normal(draw, contexts), 0.05 + 0.4 * float(uniform(draw))


predict_next = Exercise(
    "predict_next",
    "student(belief (T, K), means (K,), hazard) -> the expected next sample (T,).",
    lambda b, m, h: _mix(b, h) @ m,
    drawn(102, _predict_next_inputs, (6, 3), (4, 2), (3, 6), (1, 4)),
    mistakes=[
        Mistake(
            lambda b, m, h: b @ m,
            "The switch is missing: before the next sample the context jumps with the hazard rate.",
        ),
        Mistake(
            lambda b, m, h: m[b.argmax(-1)],
            "You predict the mean of the likeliest context. Average over the contexts, weighted by the belief.",
        ),
        Mistake(
            lambda b, m, h: m[_mix(b, h).argmax(-1)],
            "You predict the mean of the likeliest context. Average over the contexts, weighted by the belief.",
        ),
        Mistake(
            lambda b, m, h: ((1 - h) * b + h * (1 - b)) @ m,
            "Right for two contexts only: a jump goes to one of the K - 1 others, so share h among them.",
        ),
        Mistake(
            lambda b, m, h: ((1 - h) * b + h / b.shape[1]) @ m,
            "A jump leaves for one of the *other* contexts: h (1 - belief) / (K - 1), not h / K.",
        ),
        Mistake(lambda b, m, h: _mix(b, 1 - h) @ m, "h is the probability to jump, 1 - h to stay: they are swapped."),
    ],
    without=("predict_next",),
)


def _m_step_inputs(draw: Generator, samples: int, contexts: int) -> Inputs:
    return 2 * normal(draw, samples), torch.softmax(2 * normal(draw, samples, contexts), -1)


_OWNED = "Divide by the share of samples the context owns, r.sum(0), not by N."
_ALIKE = "You use every sample alike: weight each sample by its responsibility r[:, k]."
_ORDER = "Return means, sds, weights, in this order."
_ROUNDED = "You round the responsibilities to 0 and 1. Let every sample count in every context, by its share r."

m_step = Exercise(
    "m_step",
    "student(x (N,), r (N, K)) -> means (K,), sds (K,), weights (K,) of a mixture of Gaussians.",
    _m_step,
    drawn(103, _m_step_inputs, (20, 2), (30, 4), (12, 3), (50, 2)),
    mistakes=[
        Mistake(lambda x, r: (r * x[:, None]).mean(0), _OWNED, "means"),
        Mistake(lambda x, r: x.mean().expand(r.shape[1]), _ALIKE, "means"),
        Mistake(lambda x, r: _m_step(x, _one_hot(r))[0], _ROUNDED, "means"),
        Mistake(lambda x, r: r.mean(0), f"These are the weights. {_ORDER}", "means"),
        Mistake(lambda x, r: _m_step(x, r)[1], f"These are the sds. {_ORDER}", "means"),
        Mistake(lambda x, r: _m_step(x, r)[1] ** 2, "That is the variance: take the square root.", "sds"),
        Mistake(
            lambda x, r: _spread(x, r, x.mean()),
            "Measure the spread around the context's own mean, not around the mean of all samples.",
            "sds",
        ),
        Mistake(lambda x, r: (r * (x[:, None] - _m_step(x, r)[0]) ** 2).mean(0).sqrt(), _OWNED, "sds"),
        Mistake(
            lambda x, r: ((r * (x[:, None] - _m_step(x, r)[0]) ** 2).sum(0) / (r.sum(0) - 1)).sqrt(),
            "You divide by r.sum(0) - 1, as for an unbiased variance. The maximum of the ELBO divides by r.sum(0).",
            "sds",
        ),
        Mistake(lambda x, r: x.std().expand(r.shape[1]), _ALIKE, "sds"),
        Mistake(lambda x, r: x.std(correction=0).expand(r.shape[1]), _ALIKE, "sds"),
        Mistake(lambda x, r: r.sum(0), "These are counts. Divide by N, so that the weights sum to 1.", "weights"),
        Mistake(lambda x, r: r.new_full(r.shape[1:], 1 / r.shape[1]), "They need not be equal: average r.", "weights"),
        Mistake(lambda x, r: _one_hot(r).mean(0), _ROUNDED, "weights"),
    ],
    parts=("means", "sds", "weights"),
)


def _one_step_by_hand_inputs(draw: Generator, tasks: int, batch: int, size: int) -> Inputs:
    patterns = normal(draw, tasks, size)
    return patterns, patterns[:1] + normal(draw, batch, size), 0.7 + float(uniform(draw))


def _from_start(value: Callable[[int], float]) -> Callable[..., Tensor]:
    return lambda w, x, s: _one_step(w, x, s, x.new_full((len(x), len(w)), value(len(w))))


one_step_by_hand = Exercise(
    "one_step_by_hand",
    "student(patterns (K, D), x (B, D), sd) -> log q (B, K) from one gradient at the uniform z0.",
    _one_step,
    drawn(104, _one_step_by_hand_inputs, (3, 4, 5), (2, 3, 6), (5, 2, 4), (4, 6, 3)),
    mistakes=[
        Mistake(
            lambda w, x, s: torch.log_softmax(-_minus_gradient(w, x, s, _start(w, x)), -1),
            "The sign: evidence is *minus* the gradient. Where the loss falls along z_k, task k explains more.",
        ),
        Mistake(
            lambda w, x, s: _one_step(w, x, s * x.shape[1] ** 0.5),
            "The loss is averaged over the D data of a sample: sum them, or the evidence is D times too weak.",
        ),
        Mistake(
            lambda w, x, s: _one_step(w, x, s * len(x) ** 0.5),
            "You averaged the loss over the batch: each gradient is B times too small. Use loss.sum().",
        ),
        Mistake(
            lambda w, x, s: _one_step(w, x, s * x.numel() ** 0.5),
            "You took the mean of all squared errors, over batch and data: sum them.",
        ),
        Mistake(
            lambda w, x, s: _one_step(w, x, (x.numel() / 2) ** 0.5),
            "F.mse_loss takes the mean, over batch and data, and knows no noise: sum, and divide by 2 sd^2.",
        ),
        Mistake(
            lambda w, x, s: _one_step(w, x, s * (x.numel() / 2) ** 0.5),
            "F.mse_loss takes the mean, over batch and data: sum the squared errors, and divide by 2 sd^2.",
        ),
        Mistake(
            lambda w, x, s: _one_step(w, x, (x.shape[1] / 2) ** 0.5),
            "The mean over the data of a sample, and no noise: sum, and divide by 2 sd^2.",
        ),
        Mistake(lambda w, x, s: _one_step(w, x, 0.5**0.5), "That is the squared error alone: divide it by 2 sd^2."),
        Mistake(
            lambda w, x, s: _one_step(w, x, s * len(w) ** 0.5),
            "You took the gradient to the logits of z, K times too small here: take it to z itself, 1/K everywhere.",
        ),
        Mistake(lambda w, x, s: _one_step(w, x, s / 2**0.5), "The 1/2 in error^2 / (2 sd^2) is missing."),
        Mistake(lambda w, x, s: _one_step(w, x, 1.0), "The noise is missing: divide the squared error by 2 sd^2."),
        Mistake(lambda w, x, s: _one_step(w, x, s**0.5), "Divide by sd squared, not by sd."),
        Mistake(_from_start(lambda k: 0.0), "You start at z = 0. Start where no task is favoured: 1/K everywhere."),
        Mistake(_from_start(lambda k: 1.0), "You start at z = 1 everywhere. The entries of z0 sum to 1: use 1/K."),
        Mistake(
            lambda w, x, s: _one_step(w, x, s, x.new_tensor([1.0] + [0.0] * (len(w) - 1)).repeat(len(x), 1)),
            "You start at a corner, one task certain. Start where no task is favoured: 1/K everywhere.",
        ),
        Mistake(
            lambda w, x, s: enumerate_tasks(_loss(w, x, s), _start(w, x)).log_q,
            "That is the exact posterior, from K forward passes. Right in itself, but take one gradient here.",
        ),
    ],
    logs=True,
    without=("gbi_helpers", "one_step", "iterate", "max_entropy", "theory"),
    given=("loss_of", "step_by_hand"),
)


def _curvature_inputs(draw: Generator, tasks: int, size: int) -> Inputs:
    return normal(draw, tasks, size) + 1, 0.4 + uniform(draw, size)


curvature = Exercise(
    "curvature",
    "student(patterns (K, D), sd (D,)) -> offset (K,), up to a constant; each pixel has its own noise.",
    _curvature,
    drawn(105, _curvature_inputs, (3, 4), (5, 2), (4, 6), (6, 3)),
    mistakes=[
        Mistake(
            lambda w, s: -_curvature(w, s),
            "The sign: one-step flatters the tasks that lie far from the centre, so their correction is negative.",
        ),
        Mistake(lambda w, s: 2 * _curvature(w, s), "The factor 1/2 of the second-order term is missing."),
        Mistake(
            lambda w, s: -(w / s).square().sum(-1) / 2,
            "Distances count from the mean pattern (where z0 predicts), not from the origin.",
        ),
        Mistake(lambda w, s: _curvature(w, s.sqrt()), "Divide by sd squared, not by sd."),
        Mistake(
            lambda w, s: _curvature(w, s) / w.shape[1],
            "You average over the pixels. Evidence adds up: take the sum.",
        ),
        Mistake(
            lambda w, s: _curvature(w, s.mean().expand_as(s)),
            "Each pixel has its own noise: divide pixel by pixel, before the sum.",
        ),
        Mistake(
            lambda w, s: _curvature(w, torch.ones_like(s)),
            "The noise is missing: divide each pixel by its sd squared.",
        ),
    ],
    up_to_constant=True,
    without=("one_step_gap", "natural_gap"),
)
