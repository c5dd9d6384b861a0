"""A trained network asked about samples: what it says of them at any z, and what it would say of its own dreams.

Everything is given what the network was given: the code of an image, the words before each word. So a dream is an
image of the same code, or at each place of a text another next word, and no text is dreamed from its beginning.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.language import world as language
from gbi_helpers.experiments.language.recipes import NETWORKS
from gbi_helpers.experiments.language.windows import Windows, even_windows
from gbi_helpers.experiments.mnist import recipes
from gbi_helpers.experiments.study import Settings
from gbi_helpers.inference import LossFn, enumerate_tasks, loss_of, max_entropy, one_step
from gbi_helpers.models.base import bernoulli_nll, squared_error
from gbi_helpers.models.image import ConvAutoencoder
from gbi_helpers.models.language import window_nll


@dataclass(frozen=True)
class Says:
    """What an output says of data: the loss (B,) of a target, a draw from it, and KL (B,) from one output to another.

    The KL keeps its digits in the precision of the outputs only where they differ: it is summed over an image's pixels,
    or a text's words.
    """

    nll: Callable[[Tensor, Tensor], Tensor]
    draw: Callable[[Tensor, torch.Generator], Tensor]
    divergence: Callable[[Tensor, Tensor], Tensor]


def _blurred(mean: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian pixels, of the standard deviation at which the squared error is a loss in nats."""
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=generator.device)
    return mean + math.sqrt(0.5) * noise.to(mean.device)


def _coins(logits: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(logits.shape, generator=generator, dtype=logits.dtype, device=generator.device)
    return (drawn.to(logits.device) < logits.sigmoid()).to(logits)


def _words(logits: Tensor, generator: torch.Generator) -> Tensor:
    """The next word at each place, by Gumbel's trick: the context is left as it is."""
    drawn = torch.rand(logits.shape, generator=generator, dtype=torch.float64, device=generator.device)
    return (logits - (-drawn.log()).log().to(logits)).argmax(-1)


def _between_coins(one: Tensor, other: Tensor) -> Tensor:
    p = one.sigmoid()
    return bernoulli_nll(other, p) - bernoulli_nll(one, p)


def _between_words(one: Tensor, other: Tensor) -> Tensor:
    p, q = one.log_softmax(-1), other.log_softmax(-1)
    return functional.kl_div(q, p, reduction="none", log_target=True).sum((-1, -2))


GAUSSIAN = Says(squared_error, _blurred, squared_error)  # for a variance of 1/2 the KL is the squared distance
COINS = Says(bernoulli_nll, _coins, _between_coins)
WORDS = Says(window_nll, _words, _between_words)


@dataclass(frozen=True)
class Asked:
    """N samples: what the network is ``given`` of each (N, ...), the ``target`` (N, ...) that it is to explain.

    ``task`` (N,): the true one. ``model(given, z) -> output``; ``says``: what that means.
    """

    model: nn.Module
    given: Tensor
    target: Tensor
    task: Tensor
    n_tasks: int
    says: Says

    def rows(self, chosen: Tensor | slice) -> Asked:
        """Some of the samples, or some of them several times."""
        return replace(self, given=self.given[chosen], target=self.target[chosen], task=self.task[chosen])

    def parts(self, batch: int) -> Iterator[Asked]:
        """The samples in batches."""
        return (self.rows(slice(at, at + batch)) for at in range(0, len(self.task), batch))

    @property
    def z0(self) -> Tensor:
        """The start that favours no task, (N, K)."""
        dtype = next(self.model.parameters()).dtype
        return max_entropy(len(self.task), self.n_tasks, dtype, self.given.device)

    @property
    def loss(self) -> LossFn:
        """Of the targets, in nats."""
        return loss_of(self.model, self.given, lambda output, _: self.says.nll(output, self.target))

    @property
    def expected_loss(self) -> LossFn:
        """Mean loss over all dreams at z0, less their entropy: KL(p_z0 || p_z), which no target enters."""
        with torch.no_grad():
            start = self.model(self.given, self.z0)
        return loss_of(self.model, self.given, lambda output, _: self.says.divergence(start, output))

    def in_double(self) -> Asked:
        """The same in float64."""
        given, target = (part.double() if part.is_floating_point() else part for part in (self.given, self.target))
        return replace(self, model=copy.deepcopy(self.model).double(), given=given, target=target)

    @torch.no_grad()
    def dreamed(self, generator: torch.Generator, batch: int = 128) -> Asked:
        """The same, with what the network itself draws at z0 as targets."""
        drawn = [self.says.draw(part.model(part.given, part.z0), generator) for part in self.parts(batch)]
        return replace(self, target=torch.cat(drawn))


def each(asked: Asked, function: Callable[[LossFn, Tensor], Tensor], batch: int = 128) -> Tensor:
    """``function(loss_fn, z0)`` of all samples, a batch at a time, one after the other."""
    return torch.cat([function(part.loss, part.z0) for part in asked.parts(batch)])


def slopes(loss_fn: LossFn, z0: Tensor) -> Tensor:
    """One-step scores (N, K): minus the gradient."""
    return one_step(loss_fn, z0, space="free").score


def passes(loss_fn: LossFn, z0: Tensor) -> Tensor:
    """Exact scores (N, K), by K passes: minus the loss of each task."""
    return enumerate_tasks(loss_fn, z0).score


def whole_gap(loss_fn: LossFn, z0: Tensor) -> Tensor:
    """The gap (N, K) with the part that all tasks share: g . (e_k - z0) - (L(e_k) - L(z0)), as the theorem has it."""
    step, exact = one_step(loss_fn, z0), enumerate_tasks(loss_fn, z0)
    assert step.grad is not None
    along = step.grad - (step.grad * z0).sum(-1, keepdim=True)
    return along - (exact.loss - step.loss[:, None])


def divergences(asked: Asked, batch: int = 128) -> Tensor:
    """KL(p_z0 || p_k) in nats of each sample and task, (N, K), measured directly from the outputs."""
    found = [enumerate_tasks(part.expected_loss, part.z0).loss for part in asked.parts(batch)]
    return torch.cat(found)


# ---------------------------------------------------------------- the networks

IMAGES = {
    "vae_mul": (recipes.train_vae, recipes.SETTINGS["vae_mul"]),
    "gradient_aware": (recipes.train_gradient_aware, recipes.SETTINGS["gradient_aware"]),
    "faithful": (recipes.train_autoencoder, recipes.SETTINGS["faithful"]),
    "add": (recipes.train_autoencoder, {**recipes.SETTINGS["faithful"], "conditioning": "add"}),
}


def of_images(network: str, **settings: Any) -> dict[str, Any]:
    """Settings of a row that asks an image network."""
    return {"network": network, "training": IMAGES[network][1], **settings}


def of_words(network: str, words: int, **settings: Any) -> dict[str, Any]:
    """Settings of a row that asks a word network of the first ``words`` words of windows."""
    return {"network": network, "networks": {network: NETWORKS[network]}, "words": words, **settings}


def opened(world: World, seed: int, settings: Settings) -> tuple[Asked, Asked]:
    """The network of a row asked about validation samples, in no order, and about test samples."""
    return (_of_images if settings["network"] in IMAGES else _of_words)(world, seed, settings)


def _of_images(world: World, seed: int, settings: Settings) -> tuple[Asked, Asked]:
    model, _ = world.mnist.trained(IMAGES[settings["network"]][0], seed, settings["training"])
    says = COINS if isinstance(model, ConvAutoencoder) else GAUSSIAN

    def asked(x: Tensor, y: Tensor) -> Asked:
        with torch.no_grad():
            given = torch.cat([model.encode(part) for part in x.split(500)])
        return Asked(model.decoder, given, x, y, model.n_tasks, says)

    sets = world.mnist.sets
    return _mixed(asked(*sets.validation)), asked(*sets.test)


def _of_words(world: World, seed: int, settings: Settings) -> tuple[Asked, Asked]:
    text = world.language
    model, _ = language.trained(text, settings["network"], seed, settings)

    def asked(windows: Windows) -> Asked:
        return Asked(model, windows.inputs, windows.words, windows.task, model.n_tasks, WORDS)

    validation, test = (
        even_windows(part, text.corpus.start, settings["per_source"], settings["words"])
        for part in (text.corpus.validation, text.corpus.test)
    )
    return _mixed(asked(validation)), asked(test)


def _mixed(asked: Asked) -> Asked:
    """In an order that no task has a part in."""
    draw = torch.Generator().manual_seed(0)
    return asked.rows(torch.randperm(len(asked.task), generator=draw, device=draw.device).to(asked.task.device))


# The networks that rows ask, and what readers call them.
NAMES = {
    "vae_mul": of_images("vae_mul"),
    "gradient_aware": of_images("gradient_aware"),
    **{f"words_{n}": of_words("gbi", n, per_source=64) for n in (5, 20, 50)},
}
SAID = {"vae_mul": "VAE-mul", "gradient_aware": "gradient-aware"} | {f"words_{n}": f"{n} words" for n in (5, 20, 50)}


def settings_of(image: Settings, words: Settings) -> dict[str, Settings]:
    """Settings of rows by name of network: other ones for images than for words."""
    return {name: {**told, **(words if "words" in told else image)} for name, told in NAMES.items()}
