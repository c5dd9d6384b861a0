"""What every row of chapter 07 shares: the images of one process, and what of them a row sees."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.data import ImageData, Images, layouts, load_cifar100
from gbi_helpers.experiments.cifar.measure import Labels
from gbi_helpers.experiments.cifar.views import View, Views
from gbi_helpers.experiments.recipe import Recipe, trained
from gbi_helpers.experiments.shelf import Shelf, mark
from gbi_helpers.experiments.source import code_of
from gbi_helpers.experiments.study import SMALL, Settings
from gbi_helpers.files import DataError

Metrics = dict[str, Any]
SEES = ("view", "views", "n", "everything")  # the settings of a row that say what it sees; the others are its recipe's


@dataclass(frozen=True)
class World:
    """The images of one process, and the shelf that views of them and trained models lie on."""

    data: ImageData
    shelf: Shelf

    @property
    def digest(self) -> str:
        """Tells the images from any other."""
        return self.data.digest

    @property
    def facts(self) -> Settings:
        """Where the images are from, which they are, and how many."""
        sizes = {name: len(getattr(self.data, name)) for name in ("train", "validation", "test")}
        return {"data": self.data.source, "sha256_of_images": self.digest, "splits": sizes}

    @functools.cached_property
    def joined(self) -> ImageData:
        """The same images, those for validation among those to train on too."""
        both = (self.data.train, self.data.validation)
        train = Images(torch.cat([part.x for part in both]), torch.cat([part.y for part in both]))
        return dataclasses.replace(self.data, train=train)


def opened(shelf: Shelf, variant: str) -> World:
    """All of the real CIFAR-100; a little of its stand-in in the small variant. ``DataError`` without the real set."""
    if variant == SMALL:
        return World(load_cifar100("standin").cut(400, 100, 100), shelf)
    data = load_cifar100("full")
    if data.name != "CIFAR-100":
        raise DataError(
            "The numbers of chapter 07 are those of the real CIFAR-100, which is not here: get it with 'gbi data get "
            f"cifar-100', or {layouts.bring()}."
        )
    return World(data, shelf)


@dataclass(frozen=True)
class Seen:
    """What a row sees: its view of the images and their classes, of which it learns from the first ``n`` (None: all).

    ``digest``: tells it from any other.
    """

    view: View
    labels: Labels
    n: int | None
    digest: str

    @staticmethod
    def of(world: World, settings: Settings) -> Seen:
        """What the settings of a row say. ``everything``: nothing is chosen, so the validation images serve too."""
        data = world.joined if settings.get("everything") else world.data
        view = Views(data, world.shelf, settings["views"]).view(settings["view"], settings["n"])
        told = {name: settings.get(name) for name in SEES}
        return Seen(view, Labels.of(data), settings["n"], mark(data.digest, told, code_of(Views)))

    @property
    def train(self) -> tuple[Tensor, Tensor]:
        """Vectors or images (n, ...) to learn from, and their classes (n,)."""
        return self.view.train[: self.n], self.labels.train[: self.n]


def network(world: World, recipe: Recipe, seed: int, settings: Settings) -> tuple[Seen, Any, Metrics]:
    """What a row sees, its model in eval mode, and what the training took."""
    seen = Seen.of(world, settings)
    options = {name: value for name, value in settings.items() if name not in SEES}
    model, facts = trained(world.shelf, seen.digest, recipe, recipe.name, seed, seen.train, options)
    return seen, model, facts | {"train_n": len(seen.train[1])}
