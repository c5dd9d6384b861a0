"""Scores of how familiar a sample is, high for familiar.

From a generative model: its gradient and losses at one look (:func:`look`), and scores made of them. From a
classifier: scores of its logits. Whatever is a softmax's largest entry is given as its log odds (:func:`log_odds`),
which rank samples in the same way but never round to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gbi_helpers.inference import enumerate_tasks, max_entropy, one_step
from gbi_helpers.metrics import log_odds
from gbi_helpers.models.base import Generative, one_hot
from gbi_helpers.readouts import decoder_loss


@dataclass(frozen=True)
class Look:
    """What a generative model says of N images: ``loss`` (N,) and ``grad`` (N, K) at the uniform z, and ``losses``
    (N, K) with each task given; float64, nats up to a constant.
    """

    loss: Tensor
    grad: Tensor
    losses: Tensor


def look(model: Generative, x: Tensor, chunk: int = 500) -> Look:
    """One step and K trials for images x (N, 1, 28, 28), ``chunk`` at a time."""
    parts = []
    for part in x.split(chunk):
        loss_fn, z0 = decoder_loss(model, part), max_entropy(len(part), model.n_tasks, x.dtype, x.device)
        step, each = one_step(loss_fn, z0), enumerate_tasks(loss_fn, z0)
        assert step.grad is not None
        parts.append((step.loss.double(), step.grad.double(), each.loss.double()))
    return Look(*(torch.cat(column) for column in zip(*parts, strict=True)))


def relative_gradient(loss: Tensor, grad: Tensor) -> Tensor:
    """d log L / dz (B, K): the gradient (B, K) by the loss (B,) it was taken of. It has no unit and no scale.

    It is the gradient of the negative log-likelihood, by D/2 for D pixels, when the pixels' noise is not fixed but
    fitted to each image: then -log p = D/2 log L + a constant.
    Raises ``ValueError`` where a loss is not above 0, which has no logarithm.
    """
    if loss.shape != grad.shape[:-1]:
        raise ValueError(f"Give one loss for each row of the gradient {tuple(grad.shape)}, not {tuple(loss.shape)}.")
    if not (loss > 0).all():
        raise ValueError("The relative gradient needs losses above 0: a squared error, or an NLL of discrete data.")
    return grad / loss[..., None]


def advantage(grad: Tensor) -> Tensor:
    """How much steeper the loss falls for the best task than for the average one (B,): what log odds rank by when the
    step size goes to 0.
    """
    return (-grad).max(-1).values + grad.mean(-1)


def gradient_scores(seen: Look, sizes: dict[str, float]) -> dict[str, Tensor]:
    """Every score (N,) of a look, by name; ``sizes``: the step sizes of "max_z", "relative" and
    "likelihood" that were fitted before. "relative" itself takes step size 1, and has nothing to fit.
    """
    relative = relative_gradient(seen.loss, seen.grad)
    return {
        "max_z": log_odds(-sizes["max_z"] * seen.grad),
        "relative": log_odds(-relative),
        "relative_fitted": log_odds(-sizes["relative"] * relative),
        "norm": seen.grad.norm(dim=1),
        "loss": -seen.loss,
        "best_loss": -seen.losses.min(1).values,
        "likelihood": log_odds(-sizes["likelihood"] * seen.losses),
        "relative_likelihood": log_odds(-seen.losses.log()),
    }


def regret(model: Generative, x: Tensor, steps: int = 30, lr: float = 0.05, chunk: int = 500) -> dict[str, Tensor]:
    """Minus the likelihood regret (N,) of images x, in nats, in two ways: see Xiao et al. (2020).

    The regret is by how much the loss falls when the code is fitted to this one image, by Adam, from what the encoder
    says. "regret": with z at the best one-hot task throughout. "uniform_regret": measured from the uniform z, which
    adds the fall by choosing z, and is no measure of surprise. The loss is that of drawing the image at one code: of a
    VAE's bound the KL term is left out, and Xiao et al. have it, and fit the spread of the code as well.
    """
    found = [_regret(model, part, steps, lr) for part in x.split(chunk)]
    return {name: torch.cat([one[name] for one in found]) for name in found[0]}


def _regret(model: Generative, x: Tensor, steps: int, lr: float) -> dict[str, Tensor]:
    seen = look(model, x)
    z = one_hot(seen.losses.argmin(1), model.n_tasks).to(x)
    with torch.no_grad():
        code = model.encode(x)
    h = code.clone().requires_grad_()
    descent = torch.optim.Adam([h], lr=lr)
    for _ in range(steps):
        (h.grad,) = torch.autograd.grad(model.nll(model.decoder(h, z), x).sum(), h)
        descent.step()
    with torch.no_grad():
        last = model.nll(model.decoder(h, z), x).double()
    return {"regret": last - seen.losses.min(1).values, "uniform_regret": last - seen.loss}


def classifier_scores(logits: Tensor) -> dict[str, Tensor]:
    """Maximal softmax (Hendrycks and Gimpel 2017) and minus the energy (Liu et al. 2020) of logits (N, K)."""
    return {"softmax": log_odds(logits), "energy": logits.double().logsumexp(1)}


def vote_scores(log_q: Tensor) -> dict[str, Tensor]:
    """Maximal softmax of the average of M opinions, log_q (M, N, K): an ensemble's, or of dropout masks."""
    return {"softmax": log_odds(log_q.double().logsumexp(0))}
