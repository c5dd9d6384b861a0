"""The images of split-CIFAR-100 as a learner sees them: label-free patch features, in the order of the seed's classes.

Filters, and the directions and scale of the components, are those of the first context's training images. Features of
all images take minutes and 0.8 GB on the shelf, so they are made once for each seed, and shared by all its rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gbi_helpers import runtime
from gbi_helpers.continual import Context
from gbi_helpers.data import ImageData, load_cifar100
from gbi_helpers.data.cifar import TEST
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.source import code_of
from gbi_helpers.experiments.study import Settings
from gbi_helpers.files import DataError
from gbi_helpers.meter import bytes_of
from gbi_helpers.metrics import accuracy
from gbi_helpers.models.features import PatchFeatures
from gbi_helpers.models.projection import moments, whitening

CONTEXTS, CLASSES = 10, 10  # classes of a context
HUNDRED = CONTEXTS * CLASSES
PARTS = ("train", "validation", "test")
Labelled = tuple[Tensor, Tensor]
Options = tuple[tuple[str, Any], ...]  # of the patch features, sorted


@dataclass(frozen=True, eq=False)
class Stream:
    """Vectors (N, D) of three sets, and their classes as 0 .. 99 in the order in which they come (N,)."""

    x: dict[str, Tensor]
    y: dict[str, Tensor]

    def part(self, name: str, context: int) -> Labelled:
        """What a set has of the classes of one context."""
        mine = self.y[name] // CLASSES == context
        return self.x[name][mine], self.y[name][mine]

    def so_far(self, name: str, context: int) -> Labelled:
        """What a set has of the classes of the contexts up to this one."""
        seen = self.y[name] // CLASSES <= context
        return self.x[name][seen], self.y[name][seen]

    def contexts(self, name: str, own: bool = False) -> list[Context]:
        """The contexts of a set as a network meets them: all classes so far count, or a context's ``own`` alone."""
        place = torch.arange(HUNDRED, device=self.y[name].device) // CLASSES
        parts = [self.part(name, i) for i in range(CONTEXTS)]
        return [Context((x,), y, place == i if own else place <= i) for i, (x, y) in enumerate(parts)]

    def through(self, change: Callable[[Tensor], Tensor]) -> Stream:
        """The stream that ``change`` makes of each vector, a part at a time, in 32 bits."""
        made = {name: torch.cat([change(part.float()) for part in x.split(5000)]) for name, x in self.x.items()}
        return Stream(made, self.y)


def by_context(answer: Tensor, y: Tensor) -> Tensor:
    """Percent right (T,) among the classes y (N,) of each context; NaN for contexts without an image."""
    found = torch.full((CONTEXTS,), torch.nan, dtype=torch.float64, device="cpu")
    for i in (y // CLASSES).unique().tolist():
        mine = y // CLASSES == i
        found[i] = accuracy(answer[mine], y[mine])
    return found


def seen(seed: int, settings: Settings) -> tuple[Stream, dict[str, Any]]:
    """What the settings of a row say is seen, and what is told of it: data, numbers of images, bytes of what sees.

    The copy of CIFAR-100 at hand may lack test images: how many are read, and of how many, is told.
    ``filters_of``: "first", the training images of the first context, or "all" of them. ``components``: so many
    principal components of the first context's features, in place of the features.
    """
    options = tuple(sorted(settings["features"].items()))
    only = seed if settings["filters_of"] == "first" else None
    key = settings["set"], settings.get("images"), only, options
    data, (filters, x) = opened(*key[:2]), _features(key)
    used = bytes_of(*filters.buffers())
    if n := settings.get("components"):
        used += 4 * x.shape[1] * (n + 1)  # directions and mean
        x = _components(key, n)
    stream = _stream(data, x, seed)
    sizes = {name: len(y) for name, y in stream.y.items()} | {"test_of": TEST}
    return stream, {"data": data.source, "digest": data.digest, "images": sizes, "sees_with": used}


@functools.cache
def opened(which: str, images: tuple[int, int, int] | None = None) -> ImageData:
    """The real CIFAR-100 ("full"), or its stand-in ("standin"), cut to so many. ``DataError`` without the real one."""
    data = load_cifar100(which)
    if which == "full" and data.name != "CIFAR-100":
        raise DataError("These rows need the real CIFAR-100, which is not here: get it with 'gbi data get cifar-100'.")
    return data.cut(*images) if images else data


def numbers(seed: int) -> Tensor:
    """The place (100,) at which each class comes."""
    return torch.randperm(HUNDRED, generator=torch.Generator().manual_seed(seed), device="cpu").argsort()


def _stream(data: ImageData, x: Tensor, seed: int) -> Stream:
    parts = (data.train, data.validation, data.test)
    sets = x.split([len(part) for part in parts])
    y = [numbers(seed)[part.y].to(x.device) for part in parts]
    return Stream(dict(zip(PARTS, sets, strict=True)), dict(zip(PARTS, y, strict=True)))


def _filters(data: ImageData, only: int | None, options: Options) -> PatchFeatures:
    """Filters from the first context's training images in the order of seed ``only``; None: from every fifth image."""
    with runtime.usual_defaults():
        first = data.train[::5] if only is None else data.train[numbers(only)[data.train.y] < CLASSES]
        return PatchFeatures(**dict(options)).fit(first.pixels()).to(runtime.device())


Key = tuple[str, tuple[int, int, int] | None, int | None, Options]  # set, its cut, seed whose first context is seen


@functools.lru_cache(maxsize=1)
def _features(key: Key) -> tuple[PatchFeatures, Tensor]:
    """The filters, and the features of all images (N, D) in 16 bits."""
    which, images, only, options = key
    data = opened(which, images)
    filters = _filters(data, only, options)

    def made() -> Tensor:
        x = torch.cat([part.x for part in (data.train, data.validation, data.test)]).permute(0, 3, 1, 2)
        return filters.of(x.contiguous().to(runtime.device()))

    return filters, _kept("cifar-features", key, (), (PatchFeatures, _filters), made)


@functools.lru_cache(maxsize=1)
def _components(key: Key, n: int) -> Tensor:
    """The first context's components of all images (N, n), each divided by its deviation there."""
    which, images, only, _ = key
    assert only is not None, "components are those of a seed's first context"
    x = _features(key)[1]

    def made() -> Tensor:
        y = numbers(only)[opened(which, images).train.y]
        to = whitening(*moments(x[: len(y)][(y < CLASSES).to(x.device)]), out=n)
        return torch.cat([to(part.float()) for part in x.split(5000)])

    return _kept("cifar-components", key, (n,), (PatchFeatures, _filters, _components), made)


def _kept(name: str, key: Key, more: tuple[int, ...], code: tuple[Any, ...], made: Callable[[], Tensor]) -> Tensor:
    """What ``code`` makes of all images: from the shelf, or made now and kept there; of a cut it is soon made."""
    which, images, *depends = key
    if images:
        return made()
    shelf = Shelf.of("continual")
    place = shelf.place(name, [opened(which).digest, *depends, *more, code_of(*code)], ".npy")
    array = shelf.get(place, lambda: made().cpu().numpy(), np.load, _save)
    return torch.from_numpy(array).to(runtime.device())


def _save(array: np.ndarray, path: Path) -> None:
    with path.open("wb") as stream:  # np.save alone would add an ending to the name
        np.save(stream, array)
