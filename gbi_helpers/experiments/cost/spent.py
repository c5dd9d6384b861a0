"""Other ways to spend a gradient on trained networks: in half precision, or along random directions alone."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.cifar.recipes import means_of
from gbi_helpers.experiments.cifar.views import SOURCES, VIEWS
from gbi_helpers.experiments.cifar.world import Seen
from gbi_helpers.experiments.cost.asked import SAID, Asked, Settings, each, opened, passes, settings_of, slopes
from gbi_helpers.experiments.cost.judged import judged
from gbi_helpers.experiments.study import Row
from gbi_helpers.inference import LossFn
from gbi_helpers.readouts import gbi_one_step

Scores = dict[str, Any]


def half(world: World, seed: int, settings: Settings) -> Scores:
    """One step and K passes with weights and activations in bfloat16, each beside itself in float32, on test samples.

    "float32": losses are summed in float32; "bfloat16": the sum over pixels or words is rounded to bfloat16 as well.
    """
    asked = opened(world, seed, settings)[1]
    asked = asked.rows(slice(None, None, max(len(asked.task) // settings["samples"], 1)))
    given = asked.given.bfloat16() if asked.given.is_floating_point() else asked.given
    low = copy.deepcopy(asked.model).bfloat16()
    found: Scores = {}
    for name, way in {"one_step": slopes, "passes": passes}.items():
        whole = each(asked, way)
        exact = whole if name == "passes" else each(asked, passes)
        found[name] = {"whole": judged(whole, exact, asked.task)}
        for summed in ("float32", "bfloat16"):
            halved = torch.cat([way(_low(low, g, p, summed), p.z0) for g, p in _parts(given, asked)])
            found[name][summed] = {
                "agreement": metrics.agreement(halved, whole),
                "accuracy": metrics.accuracy(halved.argmax(1), asked.task),
                "kl": metrics.kl(torch.log_softmax(whole, 1), torch.log_softmax(halved, 1)),
            }
    return found


def _parts(given: Tensor, asked: Asked, batch: int = 128) -> list[tuple[Tensor, Asked]]:
    return list(zip(given.split(batch), asked.parts(batch), strict=True))


def _low(model: torch.nn.Module, given: Tensor, asked: Asked, summed: str) -> LossFn:
    """The loss in float32 of a network in bfloat16."""
    dtype = torch.float32 if summed == "float32" else torch.bfloat16
    target = asked.target.to(dtype) if asked.target.is_floating_point() else asked.target

    def loss(z: Tensor) -> Tensor:
        return asked.says.nll(model(given, z.bfloat16()).to(dtype), target).float()

    return loss


def directions(world: World, seed: int, settings: Settings) -> Scores:
    """One step of a hundred classes, the gradient known along random directions only, by their number (forward mode).

    The mean of (g . v) v over normal v has the gradient as its mean; each g . v costs one pass forward with its
    derivative, here it is read off the gradient, which is the same number. "backward": the gradient itself.
    """
    seen = Seen.of(world.cifar, settings)
    model = means_of(*seen.train)
    x, y = seen.view.test[: settings["samples"]].float(), seen.labels.test[: settings["samples"]]
    draw = torch.Generator().manual_seed(seed)
    score = torch.cat([gbi_one_step(model, part).score for part in x.split(500)])
    found = {"backward": metrics.accuracy(score.argmax(1), y)}
    for n in settings["directions"]:
        along = torch.cat([_along(part, n, draw) for part in score.split(100)])
        found[str(n)] = metrics.accuracy(along.argmax(1), y)
    return found


def _along(score: Tensor, n: int, draw: torch.Generator) -> Tensor:
    """Scores (B, K) as n random directions of each sample show them."""
    v = torch.randn(len(score), n, score.shape[1], generator=draw, dtype=score.dtype, device=draw.device).to(score)
    return torch.einsum("bsk,bs->bk", v, torch.einsum("bsk,bk->bs", v, score)) / n


def _view(view: str) -> dict[str, Any]:
    names = [view]
    while names[-1] in SOURCES:
        names.append(SOURCES[names[-1]])
    return {"view": view, "n": None, "views": {name: VIEWS[name] for name in names if name in VIEWS}}


HALF = settings_of({"samples": 2000}, {"samples": 480})
DIRECTIONS = {"samples": 10_000, "directions": (1, 10, 100, 300)}
ROWS = {
    **{
        f"half/{name}": Row(half, f"half precision, {SAID[name]}", HALF[name])
        for name in ("vae_mul", "words_5", "words_50")
    },
    "directions/pixels": Row(
        directions, "random directions, 8x8 pixels", {**_view("pixel_discriminants"), **DIRECTIONS}
    ),
    "directions/features": Row(
        directions, "random directions, patch features", {**_view("discriminants"), **DIRECTIONS}
    ),
}
