"""Permuted-MNIST: ten orders of the pixels, learned one after another; gates whose context one image tells.

What a permutation moves may be less than all pixels, or images may be turned, so that contexts resemble each other. The
decoder that names the context is a mean image for each: no training, one sum.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers import metrics, theory
from gbi_helpers.continual import Context, learn, logits
from gbi_helpers.experiments.continual import networks
from gbi_helpers.experiments.continual.scenarios import Labelled
from gbi_helpers.inference import loss_of, max_entropy
from gbi_helpers.models.base import one_hot
from gbi_helpers.models.gated import GatedMLP
from gbi_helpers.models.natural import Streamed
from gbi_helpers.runtime import random_state_kept, usual_defaults

Settings = Mapping[str, Any]
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


def context_decoder(x: Tensor) -> tuple[Any, Tensor]:
    """Coins whose chances are each context's mean image, from x (contexts, n, 784), and the delta of one step."""
    streamed = Streamed("bernoulli")
    for i, part in enumerate(x):
        streamed.add(part, torch.full((len(part),), i, dtype=torch.int64, device=part.device))
    gates = streamed.gates(share=0.01)
    z0 = max_entropy(1, len(x), torch.float64, x.device)[0]
    return gates, theory.natural_gap(gates.family.log_partition, gates.decoder.patterns, z0)


def inferred(decoder: tuple[Any, Tensor], x: Tensor) -> Tensor:
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
    decoder, k = context_decoder(x), len(contexts)
    told = [Context((part, one_hot(torch.full_like(y, i), k)), y, _all(x)) for i, part in enumerate(x)]
    asked = {name: seen(images[name], contexts, settings["test"]) for name in ("validation", "test")}
    beliefs = {name: torch.stack([inferred(decoder, part) for part in x]) for name, (x, _) in asked.items()}
    name, choices = settings.get("sweep", ("", (None,)))
    runs = [run(told, asked, beliefs, seed, {**settings, name: choice}) for choice in choices]
    held_out = [found["validation"]["inferred"]["accuracy"] for found in runs]
    best = max(range(len(runs)), key=held_out.__getitem__)
    answers = asked["test"][1]
    named = [metrics.accuracy(one.argmax(1), torch.full_like(answers, i)) for i, one in enumerate(beliefs["test"])]
    tested = [found["test"]["inferred"]["accuracy"] for found in runs]
    swept = {"choice": choices[best], "validation": held_out, "test": tested}
    return runs[best]["test"] | {"named": sum(named) / k, "stored": runs[best]["stored"]} | (swept if name else {})


def run(
    told: Sequence[Context],
    asked: Mapping[str, Labelled],
    beliefs: Mapping[str, Tensor],
    seed: int,
    settings: Settings,
) -> dict[str, Any]:
    """One training through all contexts: R by set of images and by the z that is used, and the bytes kept."""
    x, k = told[0].inputs[0], len(told)
    with random_state_kept(), usual_defaults():
        torch.manual_seed(seed)
        model = GatedMLP((PIXELS, *settings["hidden"], 10), k, settings["off"], seed).to(x.device)
    options = settings.get("options", {})
    options = {**options, **({"strength": settings["strength"]} if "strength" in settings else {})}
    method = networks.METHODS[settings["method"]](**options)
    z = {name: readings(belief.to(x.dtype)) for name, belief in beliefs.items()}
    rows: dict[str, dict[str, list[list[float]]]] = {name: {how: [] for how in by} for name, by in z.items()}

    def test_all(i: int) -> list[float]:
        for name, (images, digits) in asked.items():
            for how, each in z[name].items():
                answer = [logits(model, pair, told[0].outputs).argmax(1) for pair in zip(images, each, strict=True)]
                rows[name][how].append([metrics.accuracy(one, digits) for one in answer])
        return rows["test"]["given"][-1]

    learn(model, told, method, test_all, seed=seed, **settings["training"])
    r = {name: {how: networks.told(_table(found)) for how, found in by.items()} for name, by in rows.items()}
    return {**r, "stored": method.stored}


def readings(belief: Tensor) -> dict[str, Tensor]:
    """The z (contexts, n, K) to try: the true context's, the belief, no belief at all, and a wrong context's."""
    k = belief.shape[2]
    given = torch.eye(k, dtype=belief.dtype, device=belief.device)[:, None].expand_as(belief)
    return {"given": given, "inferred": belief, "uniform": torch.full_like(belief, 1 / k), "other": given.roll(1, 2)}


def _all(x: Tensor) -> Tensor:
    return torch.ones(10, dtype=torch.bool, device=x.device)


def _table(rows: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64, device="cpu")
