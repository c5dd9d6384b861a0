"""A digit that no network was trained on, drawn by a z that names digits, by one that was trained to be adapted, or by
weights that move; and whether z still names the digits that were trained.

The autoencoder of chapter 05, smaller, the same for all. Eight digits are trained, one chooses the rates, one is asked.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from gbi_helpers import metrics
from gbi_helpers.adaptation import Inner, Moving, TaskLoss, at_best_rate, descend, for_each, outer_loss, tried
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.study import Settings
from gbi_helpers.inference import max_entropy
from gbi_helpers.models.base import bernoulli_nll
from gbi_helpers.models.image import ConvAutoencoder
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit

Images = tuple[Tensor, Tensor]
SETTLED = -1  # the most steps and the most images: what names are asked after


def new_digit(world: World, seed: int, settings: Settings) -> dict[str, Any]:
    """Nats an image of a digit never trained, after z or the weights were adapted to a few images of it.

    For each side and number of images by number of steps (``looks``), mean over draws of the images, at the rate that
    suits another digit never trained; and :func:`names`. "mean image": pixels as coins, with the mean of the images
    seen and of those trained, weighted by what suits the other digit; nothing is trained.
    """
    digits = Digits(world, seed, settings)
    found: dict[str, Any] = {}
    networks: dict[Any, ConvAutoencoder] = {}
    for name, side in settings["sides"].items():
        key = side["told"], side.get("inner")
        if key not in networks:
            networks[key] = trained(digits, *key, settings)
        scores, end, rate = adapted(networks[key], digits, side["moves"], side["rates"], settings)
        found[name] = scores | {"names": names(networks[key], digits, side, end, rate, settings)}
    return found | {"mean image": mean_image(digits, settings)}


class Digits:
    """The images of one seed: those trained, (N, 1, 28, 28), with their number among the trained digits, and others.

    ``asked`` and ``chooser``: the two digits held out.
    """

    def __init__(self, world: World, seed: int, settings: Settings):
        sets = world.mnist.sets
        self.seed, self.asked, self.chooser = seed, seed % 10, (seed + 5) % 10
        self.kept = [digit for digit in range(10) if digit not in (self.asked, self.chooser)]
        self.train, self.test = (self._renamed(part) for part in (sets.train, sets.test))
        self.n_tasks = len(self.kept)
        self._learn, self._validation, self._test = sets.train, sets.validation, sets.test
        self.settings = settings

    def _renamed(self, part: Images) -> Images:
        x, y = part
        number = (y[:, None] == y.new_tensor(self.kept)).int()
        there = number.any(1)
        return x[there], number.argmax(1)[there]

    def to_learn(self, digit: int, images: int) -> Tensor:
        """Some draws of so many training images of a digit, (T, images, 1, 28, 28)."""
        x, y = self._learn
        own = x[y == digit]
        draw = torch.Generator().manual_seed(self.seed)
        rows = [torch.randperm(len(own), generator=draw, device=draw.device) for _ in range(self.settings["draws"])]
        return torch.stack([own[row[:images].to(own.device)] for row in rows])

    def to_ask(self, digit: int) -> Tensor:
        """Images of a digit: validation ones of the chooser, test ones of any other."""
        x, y = self._validation if digit == self.chooser else self._test
        return x[y == digit][: self.settings["test"]]


# ---------------------------------------------------------------- training


def trained(digits: Digits, told: str, inner: Inner | None, settings: Settings) -> ConvAutoencoder:
    """The network. ``told``: "names", one-hot; "nothing", 1/K; "context" and "weights": meta-trained.

    An update sees twice a few images of each digit. Those that are meta-trained make steps on one half, by ``inner``,
    their rate and number, and learn from the other, the weights to first order; the others learn from both.
    """
    torch.manual_seed(digits.seed)
    with usual_defaults():
        model = ConvAutoencoder(settings["latent"], digits.n_tasks, channels=settings["channels"])
    model = model.to(digits.train[0].device)
    each = settings["each"]
    eye = torch.eye(digits.n_tasks, dtype=torch.float32, device=digits.train[0].device)
    by_digit = [digits.train[0][digits.train[1] == number] for number in range(digits.n_tasks)]

    def batch(step: int) -> Tensor:
        draw = torch.Generator().manual_seed(1_000_003 * digits.seed + step)
        rows = [torch.randint(len(x), (2, each), generator=draw, device=draw.device) for x in by_digit]
        return torch.stack([x[row.to(x.device)] for x, row in zip(by_digit, rows, strict=True)], 1)

    def loss(halves: Tensor) -> Tensor:
        one, other = (evidence(model, x) for x in halves)
        return outer_loss(told, one, other, eye, lambda moves: beginning(model, len(eye), moves), inner).mean()

    fit(model, loss, batch, steps=settings["steps"], lr=settings["lr"], seed=digits.seed, desc=f"told {told}")
    return model.eval().requires_grad_(False)


def beginning(model: ConvAutoencoder, n: int, moves: str) -> dict[str, Tensor]:
    """What moves, from its start, for n tasks: z from 1/K, or all weights."""
    weights = dict(model.named_parameters())
    if moves == "weights":
        return for_each(weights, n)
    like = next(iter(weights.values()))
    return {"z": max_entropy(n, model.n_tasks, like.dtype, like.device)}


def evidence(model: ConvAutoencoder, x: Tensor) -> TaskLoss:
    """Nats an image (T,) of images x (T, n, 1, 28, 28), each row a task's, as a function of what moves.

    Codes are computed once where z moves alone.
    """
    n, images = x.shape[:2]
    flat = x.flatten(0, 1)
    code: list[Tensor] = []

    def loss(moved: Moving) -> Tensor:
        if "z" not in moved:
            return torch.stack([_with_weights(model, moved, task, x[task]) for task in range(n)])
        if not code:
            code.append(model.encode(flat))
        output = model.decoder(code[0], moved["z"].repeat_interleave(images, 0))
        return model.nll(output, flat).view(n, images).mean(1)

    return loss


def _with_weights(model: ConvAutoencoder, moved: Moving, task: int, x: Tensor) -> Tensor:
    z = max_entropy(len(x), model.n_tasks, x.dtype, x.device)
    own = {name: value[task] for name, value in moved.items()}
    return bernoulli_nll(functional_call(model, own, (x, z)), x).mean()


# ---------------------------------------------------------------- adapting


def adapted(
    model: ConvAutoencoder, digits: Digits, moves: str, rates: Sequence[float], settings: Settings
) -> tuple[dict[str, Any], Moving, float]:
    """By number of images: nats an image of the digit asked, by steps; "rates": numbers of those chosen.

    And what moved, where it ended with the most images and steps, and at which rate.
    """
    found: dict[str, Any] = {"rates": {}}
    start = beginning(model, settings["draws"], moves)
    for images in settings["images"]:
        learn = {digit: digits.to_learn(digit, images) for digit in (digits.chooser, digits.asked)}
        scores = [
            tried(evidence(model, x), _each_asked(model, digits.to_ask(digit), len(x)), start, rates, settings["looks"])
            for digit, x in learn.items()
        ]
        found[str(images)], best = at_best_rate(*scores)
        found["rates"][str(images)] = best
    rate = rates[int(best[SETTLED])]
    path = descend(evidence(model, learn[digits.asked]), start, rate, settings["looks"][SETTLED])
    return found, path[-1], rate


def _each_asked(model: ConvAutoencoder, x: Tensor, n: int) -> TaskLoss:
    """The same images are asked of each task."""
    return evidence(model, x.expand(n, *x.shape))


def mean_image(digits: Digits, settings: Settings) -> dict[str, Tensor]:
    """Nats an image by number of images seen, where a drawing is their mean and that of all trained images."""
    base, found = digits.train[0].mean(0), {}
    for images in settings["images"]:
        scores = [_mean_nats(digits, digit, images, base, settings) for digit in (digits.chooser, digits.asked)]
        found[str(images)] = scores[1][scores[0].argmin()]
    return found


def _mean_nats(digits: Digits, digit: int, images: int, base: Tensor, settings: Settings) -> Tensor:
    """Nats (weights,), mean over draws and test images."""
    learn, x = digits.to_learn(digit, images), digits.to_ask(digit)
    found = []
    for weight in settings["weights"]:
        p = ((learn.sum(1) + weight * base) / (images + weight)).clamp(1e-3, 1 - 1e-3)
        found.append(torch.stack([bernoulli_nll(one.logit().expand_as(x), x).mean() for one in p]).mean())
    return torch.stack(found)


# ---------------------------------------------------------------- names


def names(
    model: ConvAutoencoder, digits: Digits, side: Settings, end: Moving, rate: float, settings: Settings
) -> dict[str, float]:
    """Percent of test images of the trained digits that are named right, after the network took to the new one.

    "one_step": by one gradient from the uniform z, for a z that has names; where the weights moved, with those of the
    first draw. Where they did not: "fitted", by the nearest of the mean gradients of trained digits, which needs no
    names; "passes", by trying each digit's z, or the context that each digit is adapted to; "nine", the same with the
    new digit as a further choice, of which "new" are percent right of its own images.
    """
    x, y = (part[: settings["named"]] for part in digits.test)
    told = side["told"]
    if side["moves"] == "weights":
        moved = copy.deepcopy(model)
        moved.load_state_dict({name: value[0] for name, value in end.items()})
        return {"one_step": metrics.accuracy(slopes(moved, x).argmin(1), y)} if told == "names" else {}
    known = contexts(model, digits, told, rate, settings)
    scores = passes(model, torch.cat([x, digits.to_ask(digits.asked)]), torch.cat([known, end["z"][:1]]))
    nine = scores.argmin(1)
    found = {"one_step": metrics.accuracy(slopes(model, x).argmin(1), y)} if told == "names" else {}
    return found | {
        "fitted": metrics.accuracy(_nearest(model, digits, x, settings), y),
        "passes": metrics.accuracy(scores[: len(x), :-1].argmin(1), y),
        "nine": metrics.accuracy(nine[: len(x)], y),
        "new": metrics.accuracy(nine[len(x) :], torch.full_like(nine[len(x) :], digits.n_tasks)),
    }


def slopes(model: ConvAutoencoder, x: Tensor) -> Tensor:
    """The gradient (N, K) of each image's nats at the uniform z."""
    path = descend(evidence(model, x[:, None]), beginning(model, len(x), "z"), 1.0, 1)
    return path[0]["z"] - path[1]["z"]


def contexts(model: ConvAutoencoder, digits: Digits, told: str, rate: float, settings: Settings) -> Tensor:
    """The z (K, K) of each trained digit: its name, or what most images and steps adapt a context to."""
    if told == "names":
        return torch.eye(digits.n_tasks, dtype=torch.float32, device=digits.train[0].device)
    learn = torch.cat([digits.to_learn(digit, settings["images"][SETTLED])[:1] for digit in digits.kept])
    start = beginning(model, digits.n_tasks, "z")
    return descend(evidence(model, learn), start, rate, settings["looks"][SETTLED])[-1]["z"]


@torch.no_grad()
def passes(model: ConvAutoencoder, x: Tensor, z: Tensor) -> Tensor:
    """Nats (N, C) of each image under each of the contexts z (C, K)."""
    return torch.stack([evidence(model, x[:, None])({"z": one.expand(len(x), -1)}) for one in z], 1)


def _nearest(model: ConvAutoencoder, digits: Digits, x: Tensor, settings: Settings) -> Tensor:
    """The trained digit whose mean gradient is nearest to that of each image."""
    learn, label = (part[: settings["named"]] for part in digits.train)
    slope = slopes(model, learn)
    centres = torch.stack([slope[label == number].mean(0) for number in range(digits.n_tasks)])
    return torch.cdist(slopes(model, x), centres).argmin(1)
