"""Discriminants from a random part of the training images: seeds for what is in closed form and has none."""

from __future__ import annotations

import torch
from torch import Tensor

from gbi_helpers.experiments.cifar.measure import Labels
from gbi_helpers.experiments.cifar.views import SOURCES, View, Views
from gbi_helpers.experiments.cifar.world import World
from gbi_helpers.experiments.study import Settings
from gbi_helpers.models.projection import within_classes


def part_of(of: View | Labels, seed: int, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """A random ``share`` of what there is to train on, and the first few of the ``validation`` and ``test`` splits."""
    draw = torch.Generator().manual_seed(seed)
    part = torch.randperm(len(of.train), generator=draw, device=draw.device)[: int(settings["share"] * len(of.train))]
    return of.train[part.to(of.train.device)], of.validation[: settings["validation"]], of.test[: settings["test"]]


def discriminants_of_part(world: World, seed: int, settings: Settings) -> list[tuple[Tensor, Tensor]]:
    """Vectors (N, K - 1) and classes (N,) of each split, the ``view`` of discriminants fitted to a part of the images.

    Only means and labels are of the part: the covariance of all training images, which no label enters, is of all.
    """
    name, views = settings["view"], Views(world.data, world.shelf, settings["views"])
    x, y = (part_of(of, seed, settings) for of in (views.view(SOURCES[name]), Labels.of(world.data)))
    known = views._moments(SOURCES[name])
    project = within_classes(x[0], y[0], known=known, **settings["views"][name])
    seen = [torch.cat([project(some.float()) for some in part.split(5000)]) for part in x]
    return list(zip(seen, y, strict=True))
