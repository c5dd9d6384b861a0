"""Permuted-MNIST: ten orders of the pixels, learned one after another; gates whose context one image tells.

What a permutation moves may be less than all pixels, or images may be turned, so that contexts resemble each other. The
decoder that names the context is a mean image for each: no training, one sum.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers import metrics, theory
from gbi_helpers.continual import Context, learn
from gbi_helpers.experiments.continual import networks
from gbi_helpers.experiments.continual.scenarios import Labelled
from gbi_helpers.experiments.study import Settings
from gbi_helpers.inference import loss_of, max_entropy
from gbi_helpers.meter import bytes_of
from gbi_helpers.models.base import one_hot
from gbi_helpers.models.gated import GatedMLP
from gbi_helpers.models.natural import Streamed
from gbi_helpers.runtime import random_state_kept, usual_defaults

SIDE, PIXELS = 28, 784


def orders(contexts: int, moved: int, seed: int) -> Tensor:
    """Orders (contexts, 784) of the pixels; each moves about ``moved`` of them, the same ones in all contexts."""
    draw = torch.Generator().manual_seed(seed)
    which = torch.randperm(PIXELS, generator=draw, device=draw.device)[:moved]
    made = torch.arange(PIXELS, device=draw.device).repeat(contexts, 1)
    for row in made:
        row[which] = which[torch.randperm(moved, generator=draw, device=draw.device)]
    return made


def turned(x: Tensor, degrees: float) -> Tensor:
    """Images (n, 784) turned about their centre."""
    angle = torch.tensor(math.radians(degrees), dtype=x.dtype, device=x.device)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack([torch.stack([cos, -sin, zero]), torch.stack([sin, cos, zero])])
    images = x.view(-1, 1, SIDE, SIDE)
    grid = functional.affine_grid(turn.expand(len(x), -1, -1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False).flatten(1)


def views(settings: Settings, seed: int) -> list[Callable[[Tensor], Tensor]]:
    """What each context makes of images (n, 784): their pixels in another order, or, with "turn", turned further."""
    if "turn" in settings:
        return [functools.partial(turned, degrees=i * settings["turn"]) for i in range(settings["contexts"])]
    order = orders(settings["contexts"], settings["moved"], seed)
    return [functools.partial(lambda x, row: x[:, row.to(x.device)], row=row) for row in order]


def seen(images: Labelled, contexts: Sequence[Callable[[Tensor], Tensor]], n: int) -> Labelled:
    """The first ``n`` images as each context shows them (contexts, n, 784), and digits (n,)."""
    x, y = images[0][:n].flatten(1), images[1][:n]
    return torch.stack([view(x) for view in contexts]), y


Decoder = tuple[Any, Tensor]  # gates, and the delta of one step


def context_decoders(x: Tensor) -> list[Decoder]:
    """After each context: coins whose chances are the mean images of x (contexts, n, 784) so far, and their delta."""
    streamed, found = Streamed("bernoulli"), []
    for i, part in enumerate(x):
        streamed.add(part, torch.full((len(part),), i, dtype=torch.int64, device=part.device))
        gates = streamed.gates(share=0.01)
        z0 = max_entropy(1, i + 1, torch.float64, x.device)[0]
        found.append((gates, theory.natural_gap(gates.family.log_partition, gates.decoder.patterns, z0)))
    return found


def inferred(decoder: Decoder, x: Tensor) -> Tensor:
    """Belief in each context (B, K) from single images x (B, 784): one gradient, with its delta."""
    gates, delta = decoder
    z0 = max_entropy(len(x), gates.n_tasks, torch.float64, x.device)
    return theory.corrected_one_step(loss_of(gates, x.double(), gates.nll), z0, delta).q


def permuted(images: Mapping[str, Labelled], seed: int, settings: Settings) -> dict[str, Any]:
    """R with the context given, and with it inferred; with the uniform z and with another context's as controls.

    With "sweep", which names a setting and its choices, each is run, and the one that is best on validation images, z
    inferred, is told in full.
    """
    contexts = views(settings, seed)
    x, y = seen(images["train"], contexts, settings["n"])
    told = [Context((part, one_hot(torch.full_like(y, i), len(x))), y, _all(x)) for i, part in enumerate(x)]
    asked = {name: seen(images[name], contexts, settings["test"]) for name in ("validation", "test")}
    decoders = context_decoders(x)
    beliefs = {name: beliefs_of(decoders, images) for name, (images, _) in asked.items()}
    name, choices = settings.get("sweep", ("", (None,)))
    runs = [run(told, seed, {**settings, name: choice}) for choice in choices]
    in_the_end = {
        part: [sum(right(models[-1], *asked[part], beliefs[part][-1])) / len(x) for models, _ in runs] for part in asked
    }
    best = max(range(len(runs)), key=in_the_end["validation"].__getitem__)
    models, stored = runs[best]
    r = {how: networks.told(each) for how, each in tables(models, *asked["test"], beliefs["test"]).items()}
    answers = [belief.argmax(1) for belief in beliefs["test"][-1]]
    named = [metrics.accuracy(answer, torch.full_like(answer, i)) for i, answer in enumerate(answers)]
    kept = {"named": sum(named) / len(named), "stored": stored, "switch": _bytes_of_switch(x)}
    return r | kept | ({"choice": choices[best], **in_the_end} if name else {})


def beliefs_of(decoders: Sequence[Decoder], x: Tensor) -> list[Tensor]:
    """After each context i: belief (i + 1, n, K) in each of K, from images x (K, n, 784) of those that have come.

    One decoder for each stage. A context that has not come is none to name, and has no belief.
    """
    found = []
    for come, decoder in enumerate(decoders, 1):
        belief = torch.stack([inferred(decoder, part) for part in x[:come]])
        found.append(functional.pad(belief, (0, len(x) - come)))
    return found


def run(told: Sequence[Context], seed: int, settings: Settings) -> tuple[list[nn.Module], int]:
    """One training through all contexts: the network as it was after each, and the bytes kept beside it."""
    x, k, models = told[0].inputs[0], len(told), list[nn.Module]()
    with random_state_kept(seed=seed), usual_defaults():
        model = GatedMLP((PIXELS, *settings["hidden"], 10), k, settings["off"], seed).to(x.device)
    options = settings.get("options", {})
    options = {**options, **({"strength": settings["strength"]} if "strength" in settings else {})}
    method = networks.METHODS[settings["method"]](**options)

    def keep(i: int) -> list[float]:
        models.append(copy.deepcopy(model))
        return [torch.nan] * k

    learn(model, told, method, keep, seed=seed, **settings["training"])
    return models, method.stored


def tables(models: Sequence[nn.Module], x: Tensor, digits: Tensor, beliefs: Sequence[Tensor]) -> dict[str, Tensor]:
    """R (K, K) by the z that is used; NaN for contexts to come. One model and one belief for each stage."""
    r = {how: torch.full((len(x), len(x)), torch.nan, dtype=torch.float64, device="cpu") for how in WAYS}
    for i, (model, belief) in enumerate(zip(models, beliefs, strict=True)):
        for how, z in readings(belief).items():
            r[how][i, : i + 1] = torch.tensor(right(model, x, digits, z), dtype=torch.float64, device="cpu")
    return r


@torch.no_grad()
def right(model: nn.Module, x: Tensor, digits: Tensor, z: Tensor) -> list[float]:
    """Percent right in each context that has come, from x (K, n, 784) and z (contexts, n, K)."""
    return [metrics.accuracy(model(*pair).argmax(1), digits) for pair in zip(x, z.to(x.dtype), strict=False)]


WAYS = ("given", "inferred", "uniform", "other")


def readings(belief: Tensor) -> dict[str, Tensor]:
    """The z (contexts, n, K) to try of the contexts that have come: the true one's, the belief, none, a wrong one's.

    None is as much of each that has come. The wrong one is the next that has come, and after the last the first.
    """
    come, _, k = belief.shape
    given = torch.eye(k, dtype=belief.dtype, device=belief.device)[:come, None].expand_as(belief)
    uniform = (given.sum(0) / come).expand_as(belief)
    return dict(zip(WAYS, (given, belief, uniform, given.roll(-1, 0)), strict=True))


def _bytes_of_switch(x: Tensor) -> int:
    """A mean image for each context, in 32 bits, and its number of images."""
    return bytes_of(x[:, 0]) + 8 * len(x)


def _all(x: Tensor) -> Tensor:
    return torch.ones(10, dtype=torch.bool, device=x.device)
