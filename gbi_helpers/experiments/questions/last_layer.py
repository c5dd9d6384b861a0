"""Two ways to be unsure of one decoder's weights: a normal distribution over the last layer, and dropout at test."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gbi_helpers.experiments.mnist.recipes import train_vae
from gbi_helpers.experiments.recipe import Recipe
from gbi_helpers.guards import LossFn
from gbi_helpers.inference import max_entropy, one_step
from gbi_helpers.models.base import one_hot
from gbi_helpers.models.image import ConditionalVAE, Decoder
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.runtime import random_state_kept


@dataclass(frozen=True)
class LastLayer:
    """A decoder whose last layer has a normal distribution: Laplace's approximation, exact for this layer alone.

    Of features phi (F + 1,), those before that layer and a 1, each pixel is normal around what the decoder draws, of
    variance ``noise`` * (1 + phi' C phi) with ``covariance`` C = (Phi' Phi + ridge)^-1 of the training images: Bayesian
    linear regression (Daxberger et al. 2021, arXiv 2106.14806, for networks' last layers).
    """

    model: ConditionalVAE
    covariance: Tensor
    noise: float

    @staticmethod
    @torch.no_grad()
    def of(model: ConditionalVAE, x: Tensor, y: Tensor, ridge: float) -> LastLayer:
        """From training images x (N, 1, 28, 28) of classes y (N,). Raises ``ValueError`` for a decoder of another end.

        ``ridge``: the prior's precision, in units of one pixel's noise.
        """
        h, z = model.encode(x), one_hot(y, model.n_tasks).to(x)
        phi = features(model.decoder, h, z).double()
        prior = ridge * torch.eye(phi.shape[1], dtype=phi.dtype, device=phi.device)
        noise = float((model.decoder(h, z) - x).double().square().mean())
        return LastLayer(model, torch.linalg.inv(phi.T @ phi + prior).to(x), noise)

    def unsure(self, h: Tensor, z: Tensor) -> Tensor:
        """phi' C phi (B,), the share of the noise that the weights' uncertainty adds, of codes h and tasks z (B, K)."""
        phi = features(self.model.decoder, h, z)
        return ((phi @ self.covariance) * phi).sum(1)

    def loss(self, x: Tensor) -> LossFn:
        """z (B, K) -> loss (B,): minus the log predictive density of images x, in nats, less a constant."""
        with torch.no_grad():
            h = self.model.encode(x)

        def loss(z: Tensor) -> Tensor:
            wider = 1 + self.unsure(h, z)
            missed = self.model.nll(self.model.decoder(h, z), x) / self.noise  # squared error
            return (missed / wider + x[0].numel() * wider.log()) / 2

        return loss


def features(decoder: Decoder, h: Tensor, z: Tensor) -> Tensor:
    """What the last layer is given (B, F + 1), a 1 among it, for codes h and tasks z (B, K)."""
    body = list(decoder.body.children())
    if len(body) < 2 or not isinstance(body[-2], nn.Linear):
        raise ValueError("The decoder must end with a linear layer to pixels, as VAE-mul's does.")
    found = decoder.join(h, z)
    for layer in body[:-2]:
        found = layer(found)
    return torch.cat([found, found.new_ones(len(found), 1)], 1)


def chosen_ridge(model: ConditionalVAE, train: tuple[Tensor, Tensor], known: tuple[Tensor, Tensor],
                 ridges: tuple[float, ...]) -> float:  # fmt: skip
    """Of ``ridges`` the one by which validation images ``known``, their task told, are best predicted."""

    def missed(ridge: float) -> float:
        z = one_hot(known[1], model.n_tasks).to(known[0])
        return float(LastLayer.of(model, *train, ridge).loss(known[0])(z).mean().detach())

    return min(ridges, key=missed)


class DropoutVAE(ConditionalVAE):
    """VAE-mul with dropout before the decoder's last layer (Gal and Ghahramani 2016, arXiv 1506.02142)."""

    def __init__(self, latent: int = 16, n_tasks: int = 10, drop: float = 0.2):
        super().__init__(latent, n_tasks)
        first, relu, last, image = self.decoder.body.children()
        self.decoder.body = nn.Sequential(first, relu, nn.Dropout(drop), last, image)


def _dropout(x: Tensor, drop: float = 0.2) -> DropoutVAE:
    return DropoutVAE(drop=drop)


train_dropout_vae = Recipe("VAE-mul with dropout", _dropout, train_vae.loss, train_vae.settings)


def masked_steps(model: DropoutVAE, x: Tensor, masks: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """One step under each of ``masks`` random masks: losses (masks, N) and gradients (masks, N, K), float64."""
    found = []
    with random_state_kept(x.device), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # here another network at each pass is the point
        model.decoder.train()
        for mask in range(masks):
            torch.manual_seed(seed * masks + mask)  # a step leaves the random state as it was: each mask needs its own
            found.append(_steps(model, x))
        model.decoder.eval()
    losses, grads = zip(*found, strict=True)
    return torch.stack(losses), torch.stack(grads)


def _steps(model: ConditionalVAE, x: Tensor) -> tuple[Tensor, Tensor]:
    losses, grads = [], []
    for part in x.split(1000):
        step = one_step(decoder_loss(model, part), max_entropy(len(part), model.n_tasks, x.dtype, x.device))
        assert step.grad is not None
        losses.append(step.loss.double())
        grads.append(step.grad.double())
    return torch.cat(losses), torch.cat(grads)
