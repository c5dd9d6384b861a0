"""Image models with a task abstraction Z (which digit is it): autoencoders, a conditional VAE, and a classifier.

Every generative model here is an encoder, which never sees z, and a decoder, which does: x -> h, and (h, z) -> image.
So a code can be computed once and the decoder run for any z. Images are (B, 1, 28, 28) with values in [0, 1].
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.models.base import Described, Generative, bernoulli_nll, one_hot, squared_error

PIXELS = 28 * 28
Conditioning = Literal["concat", "add", "mul"]


class Join(nn.Module):
    """First decoder layer, where z (B, K) meets the code h (B, latent); returns (B, width).

    "concat": relu(W [h, z] + b), as we understand the paper. "add": relu(W h + b) + V z + c.
    "mul": relu(W h + b) * (V z + c), so z chooses which units take part.
    """

    def __init__(self, latent: int, n_tasks: int, width: int, conditioning: Conditioning):
        super().__init__()
        if conditioning not in ("concat", "add", "mul"):
            raise ValueError(f"conditioning is '{conditioning}': choose 'concat', 'add' or 'mul'.")
        if latent < 1 and conditioning != "concat":
            raise ValueError(f"Without a latent code there is nothing to {conditioning}: use conditioning='concat'.")
        self.conditioning = conditioning
        self.code = nn.Linear(latent + n_tasks if conditioning == "concat" else latent, width)
        self.task = nn.Linear(n_tasks, width) if conditioning != "concat" else None

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """Hidden layer (B, width) from code and task."""
        if self.task is None:
            return functional.relu(self.code(torch.cat([h, z], dim=1)))
        units = functional.relu(self.code(h))
        return units + self.task(z) if self.conditioning == "add" else units * self.task(z)


class Decoder(nn.Module):
    """Image (B, 1, 28, 28) from a code (B, latent) and a task z (B, K): the only place where z enters."""

    def __init__(self, join: Join, body: nn.Module):
        super().__init__()
        self.join = join
        self.body = body

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """Pixel logits, or pixel values, as the model says."""
        return self.body(self.join(h, z))


class ConvAutoencoder(Described):
    """The paper's kind of autoencoder: a small code, and a one-hot task beside it; returns pixel logits.

    ``latent=0`` is the pure generative model, a decoder of z alone; a large code carries the digit itself. The size of
    the code and the layers are our guesses: the paper's are not known to us.
    """

    nll = staticmethod(bernoulli_nll)

    def __init__(self, latent: int = 3, n_tasks: int = 10, conditioning: Conditioning = "concat", channels: int = 16):
        super().__init__()
        self.latent, self.n_tasks = latent, n_tasks
        self.encoder = conv_encoder(latent, channels) if latent else None
        self.decoder = Decoder(Join(latent, n_tasks, 256, conditioning), conv_body(256, channels))

    def encode(self, x: Tensor) -> Tensor:
        """The code h (B, latent) of images x; (B, 0) in the pure generative model."""
        return x.new_zeros(len(x), 0) if self.encoder is None else self.encoder(x)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Pixel logits (B, 1, 28, 28) of images x seen as tasks z (B, K)."""
        return self.decoder(self.encode(x), z)


class ConditionalVAE(Described):
    """Variational autoencoder whose decoder is multiplied by the task ("VAE-mul"); returns pixel values.

    In training the code pays for what it tells (:func:`free_energy`), so it does not repeat what z says already: that
    is what makes one gradient step good. Not the paper's model.
    """

    nll = staticmethod(squared_error)

    def __init__(
        self,
        latent: int = 16,
        n_tasks: int = 10,
        conditioning: Conditioning = "mul",
        channels: int = 16,
        width: int = 256,
    ):
        super().__init__()
        self.latent, self.n_tasks = latent, n_tasks
        self.encoder = conv_encoder(2 * latent, channels)
        self.decoder = Decoder(Join(latent, n_tasks, width, conditioning), mlp_body(width))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, (B, latent) each, of the code's distribution given x."""
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        return mean, log_var

    def encode(self, x: Tensor) -> Tensor:
        """The mean code (B, latent): what is used at test."""
        return self.posterior(x)[0]

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Pixel values (B, 1, 28, 28) of images x seen as tasks z (B, K), with the mean code."""
        return self.decoder(self.encode(x), z)

    def sample(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A random code (B, latent), and its KL to a standard normal (B,) in nats."""
        mean, log_var = self.posterior(x)
        h = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        return h, 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)


class Classifier(Described):
    """The canonical classifier: the autoencoders' convolutions, then one layer to the class logits (B, K)."""

    def __init__(self, n_classes: int = 10, channels: int = 16):
        super().__init__()
        self.encoder = conv_encoder(n_classes, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Class logits (B, K)."""
        return self.encoder(x)


def reconstruction(model: ConvAutoencoder, x: Tensor, y: Tensor) -> Tensor:
    """Training loss with the task given, in nats, averaged over the batch: the paper's M-step."""
    return model.nll(model(x, one_hot(y, model.n_tasks).to(x)), x).mean()


def free_energy(model: ConditionalVAE, x: Tensor, y: Tensor, beta: float) -> Tensor:
    """Training loss of the VAE with the task given: reconstruction + beta * KL, averaged over the batch."""
    h, divergence = model.sample(x)
    return (model.nll(model.decoder(h, one_hot(y, model.n_tasks).to(x)), x) + beta * divergence).mean()


def gradient_loss(model: Generative, h: Tensor, x: Tensor, y: Tensor, log_step_size: Tensor) -> Tensor:
    """How wrong one gradient step would be: cross-entropy of softmax(-step size * dL/dz at z0), averaged.

    Add it to the training loss, times a weight, and the network learns to have a telling gradient ("gradient-aware",
    beyond the paper). The label enters through the gradient alone: h (B, latent) is the code of images x.
    """
    z0 = x.new_full((len(x), model.n_tasks), 1 / model.n_tasks, requires_grad=True)
    loss = model.nll(model.decoder(h, z0), x)
    (gradient,) = torch.autograd.grad(loss.sum(), z0, create_graph=True)
    return functional.cross_entropy(-log_step_size.exp() * gradient, y)


def conv_encoder(out: int, channels: int = 16) -> nn.Sequential:
    """Two convolutions of stride 2, 28 -> 14 -> 7 pixels wide, and a linear layer to ``out`` numbers."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * channels * 49, out),
    )


def conv_body(width: int, channels: int = 16) -> nn.Sequential:
    """From a hidden layer (B, width) to an image (B, 1, 28, 28) by two transposed convolutions."""
    return nn.Sequential(
        nn.Linear(width, 2 * channels * 49),
        nn.ReLU(),
        nn.Unflatten(1, (2 * channels, 7, 7)),
        nn.ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(channels, 1, 4, stride=2, padding=1),
    )


def mlp_body(width: int) -> nn.Sequential:
    """From a hidden layer (B, width) to an image (B, 1, 28, 28) by one more hidden layer."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, PIXELS), nn.Unflatten(1, (1, 28, 28)))
