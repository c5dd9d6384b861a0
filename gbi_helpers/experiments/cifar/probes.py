"""What rows of chapter 07 ask besides accuracy: what a code knows, what strong directions carry, what settles first."""

from __future__ import annotations

import torch
from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.experiments.cifar import recipes
from gbi_helpers.experiments.cifar.measure import gap, scores
from gbi_helpers.experiments.cifar.views import View
from gbi_helpers.experiments.cifar.world import Metrics, Seen, Settings, World, network
from gbi_helpers.inference import iterate, max_entropy
from gbi_helpers.models.base import Generative, one_hot
from gbi_helpers.models.hundred_images import standardised
from gbi_helpers.models.projection import moments, within_classes
from gbi_helpers.readouts import decoder_loss


def discriminant_accuracy(known: Tensor, labels: Tensor, x: Tensor, y: Tensor, shrink: float = 1e-3) -> float:
    """Percent right of linear discriminant analysis, fitted to ``known`` (N, D), on vectors x (M, D) of classes y (M,).

    In closed form, so a probe that neither has a seed nor can be trained too little.
    """
    even = within_classes(known, labels, shrink)
    return nearest_mean_accuracy(even(known), labels, even(x), y)


def nearest_mean_accuracy(known: Tensor, labels: Tensor, x: Tensor, y: Tensor) -> float:
    """Percent right of the nearest class mean: every class tried on the decoder of z alone."""
    model = recipes.means_of(known, labels)
    return metrics.accuracy((scores(model, x) + gap(model, known[:1])).argmax(1), y)


def strong_directions(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) of vectors x (N, D), and their principal components as columns (D, D), the strongest first."""
    mean, covariance = moments(x)
    return mean.float(), torch.linalg.eigh(covariance)[1].flip(1).float()


def removed(world: World, seed: int, settings: Settings) -> Metrics:
    """Accuracy of the nearest mean when the strongest ``removed`` directions are taken out of every image."""
    seen = Seen.of(world, settings)
    centre, directions = strong_directions(seen.train[0])

    def without(x: Tensor, n: int) -> Tensor:
        away, strong = x - centre, directions[:, :n]
        return away - away @ strong @ strong.T

    def right(n: int) -> float:
        return nearest_mean_accuracy(
            without(seen.train[0], n), seen.train[1], without(seen.view.test, n), seen.labels.test
        )

    return {"removed": list(settings["removed"]), "likelihood": [right(n) for n in settings["removed"]]}


def sides(world: World, seed: int, settings: Settings) -> Metrics:
    """Discriminant analysis of pixels at several sizes: accuracy on *validation* images, for a choice."""
    images = world.data

    def seen(x: Tensor, side: int) -> Tensor:
        parts = (part.permute(0, 3, 1, 2).float() / 255 for part in x.split(5000))
        return torch.cat([standardised(part, side).flatten(1) for part in parts])

    def right(side: int) -> float:
        known, x = seen(images.train.x, side), seen(images.validation.x, side)
        return discriminant_accuracy(known, images.train.y, x, images.validation.y, settings["shrink"])

    return {"sides": list(settings["sides"]), "validation": [right(side) for side in settings["sides"]]}


def codes(world: World, seed: int, settings: Settings) -> Metrics:
    """Plain autoencoders by size of their code: what the code knows of the class, and what is left for z.

    Lists by ``latents``. "probe": discriminant analysis of the code; "components": of as many principal components;
    "one_step"; "wrong_costs": nats that a wrong class costs, and "nats": loss with the true one.
    """
    options = {name: value for name, value in settings.items() if name != "latents"}
    found: Metrics = {"latents": list(settings["latents"]), "seconds_to_train": []}
    for latent in settings["latents"]:
        seen, model, facts = network(world, recipes.train_code, seed, {**options, "latent": latent})
        for name, value in _code(model, seen, latent).items():
            found.setdefault(name, []).append(value)
        found["seconds_to_train"].append(facts["train_cpu_seconds"])
    return found


def _code(model: Generative, seen: Seen, latent: int) -> Metrics:
    (known, labels), view, y = seen.train, seen.view, seen.labels.test
    centre, directions = strong_directions(known)
    code, strong = (model.encode, lambda x: (x - centre) @ directions[:, :latent])
    with torch.no_grad():
        asked = {"probe": code, "components": strong}
        found = {name: discriminant_accuracy(of(known), labels, of(view.test), y) for name, of in asked.items()}
    nats, wrong = (_nats(model, view, classes) for classes in (y, y.roll(1)))
    one_step = metrics.accuracy(scores(model, view.test).argmax(1), y)
    return {**found, "one_step": one_step, "nats": nats, "wrong_costs": wrong - nats}


@torch.no_grad()
def _nats(model: Generative, view: View, classes: Tensor) -> float:
    """Mean loss of test images drawn as these classes."""
    return float(decoder_loss(model, view.test)(one_hot(classes, model.n_tasks)).double().mean())


def settled(q: Tensor, group_of: Tensor) -> tuple[Tensor, Tensor]:
    """The step (B,) from which on the top class of beliefs q (S + 1, B, K) stays, and that of the top superclass.

    A superclass is as probable as its classes together.
    """
    totals = q.new_zeros(*q.shape[:-1], int(group_of.max()) + 1).index_add_(-1, group_of.to(q.device), q)
    return _from_when(q.argmax(-1)), _from_when(totals.argmax(-1))


def _from_when(top: Tensor) -> Tensor:
    """The first step (B,) from which on ``top`` (S + 1, B) is what it is at the end."""
    other = (top != top[-1]).long()
    return (other * torch.arange(1, len(top) + 1, device=top.device)[:, None]).amax(0)


def settles(world: World, seed: int, settings: Settings) -> Metrics:
    """What settles first, the class or its superclass, as the equidistant decoder of z alone is iterated."""
    seen = Seen.of(world, settings)
    model = recipes.means_of(*seen.train, equidistant=True)
    x = seen.view.test
    start = max_entropy(len(x), model.n_tasks, x.dtype, x.device)
    path = iterate(decoder_loss(model, x), start, steps=settings["steps"], lr=settings["lr"])
    assert path.q is not None
    one, group = settled(path.q, seen.labels.group_of)
    shares = {"class_first": one < group, "together": one == group, "group_first": group < one}
    found = {name: 100 * float(share.double().mean()) for name, share in shares.items()}
    return found | {"class_step": float(one.double().mean()), "group_step": float(group.double().mean())}
