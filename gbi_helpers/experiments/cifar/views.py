"""What the models of chapter 07 see of an image: pixels, whitened pixels, patch features, discriminants of those.

Patch features take minutes on a CPU, and so does what is fitted to them: both are kept on the shelf, features in parts,
so that an interrupted run goes on, and views as they are, so that each is made once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gbi_helpers import runtime
from gbi_helpers.data import ImageData, Images
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.source import code_of
from gbi_helpers.models.features import PatchFeatures
from gbi_helpers.models.hundred_images import standardised
from gbi_helpers.models.projection import Projection, moments, whitening, within_classes
from gbi_helpers.progress import progress_bar

PART = 2_500  # images whose features are kept in one file
# Chosen on validation images.
VIEWS: dict[str, dict[str, Any]] = {
    "features": {"n_filters": 400, "pool": 3, "patch": 6, "stride": 1, "threshold": 0.25},
    "feature_pca": {"out": 256, "floor": 1e-3},
    "feature_pca_wide": {"out": 768, "floor": 1e-3},
    "discriminants": {"shrink": 0.003},
    "pixel_pca": {"out": 192, "floor": 1e-3},
    "pixel_discriminants": {"shrink": 0.1},
}
SIDES = {"pixels32": 32, "pixels": 16, "pooled": 8}  # pixels across
SOURCES = {
    "pixel_pca": "pixels",
    "pixel_discriminants": "pooled",
    "feature_pca": "features",
    "feature_pca_wide": "features",
    "discriminants": "features",
}


@dataclass(frozen=True)
class View:
    """Vectors (N, D) of each split, or images (N, 3, 32, 32) in 8 bits."""

    train: Tensor
    validation: Tensor
    test: Tensor

    def through(self, change: Callable[[Tensor], Tensor]) -> View:
        """The view that ``change`` makes of each vector, a part at a time, in 32 bits."""
        parts = (self.train, self.validation, self.test)
        return View(*(torch.cat([change(x.float()) for x in part.split(5000)]) for part in parts))

    def joined(self) -> Tensor:
        """All splits, one after the other."""
        return torch.cat([self.train, self.validation, self.test])


@dataclass(frozen=True, eq=False)
class Views:
    """Every view of a set of images, on the device. ``settings``: those of :data:`VIEWS` that are asked for."""

    data: ImageData
    shelf: Shelf
    settings: Mapping[str, Mapping[str, Any]]

    def view(self, name: str, n: int | None = None) -> View:
        """The view of this name: "images"; "pixels32", "pixels" (16x16) and "pooled" (8x8), standardised; "features".

        And, fitted to training images alone: whitened principal components without labels ("pixel_pca", "feature_pca",
        "feature_pca_wide"), and discriminants of 8x8 pixels or of features, with the first ``n`` labels
        ("pixel_discriminants", "discriminants").
        """
        if name == "images":
            return self._split(self._images.permute(0, 3, 1, 2).to(runtime.device()))
        if name in SIDES:
            return self.view("images").through(lambda x: standardised(x / 255, SIDES[name]).flatten(1))
        if name == "features":
            return self._features
        known = n if name.endswith("discriminants") else None

        def made() -> Tensor:
            return self.view(SOURCES[name]).through(self.projection(name, known)).joined()

        return self._split(self._kept(f"{name}-{known or 'all'}", name, (Views,), made))

    def projection(self, name: str, n: int | None = None) -> Projection:
        """The projection that makes a fitted view: its moments from all training images, labels of the first ``n``."""
        options, known = self.settings[name], self._moments(SOURCES[name])
        if name.endswith("discriminants"):
            x, y = self.view(SOURCES[name]).train[:n], self.data.train.y[:n].to(runtime.device())
            return within_classes(x, y, known=known, **options).to(runtime.device())
        return whitening(*known, **options).to(runtime.device())

    def _moments(self, source: str) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D) over all training images."""

        def made() -> Tensor:
            mean, covariance = moments(self.view(source).train)
            return torch.cat([mean[None], covariance])

        kept = self._kept(f"moments-{source}", source, (Views,), made)
        return kept[0], kept[1:]

    @functools.cached_property
    def _features(self) -> View:
        """The patch features of all images, in 16 bits."""
        filters, parts = self.filters(), []
        for start in progress_bar(range(0, len(self._images), PART), desc="patch features"):
            images = self._images[start : start + PART].permute(0, 3, 1, 2).to(runtime.device())
            made = functools.partial(filters.of, images)
            parts.append(self._kept(f"features-{start:06d}", "features", (PatchFeatures, Views.filters, PART), made))
        return self._split(torch.cat(parts))

    def filters(self) -> PatchFeatures:
        """The patch features, their filters drawn from every fifth training image."""
        made = PatchFeatures(**self.settings["features"]).fit(self.data.train[::5].pixels())
        return made.to(runtime.device())

    @functools.cached_property
    def _images(self) -> Tensor:
        return View(*(part.x for part in self._parts)).joined()

    @property
    def _parts(self) -> tuple[Images, Images, Images]:
        return self.data.train, self.data.validation, self.data.test

    def _split(self, x: Tensor) -> View:
        return View(*x.split([len(part) for part in self._parts]))

    def _kept(self, name: str, view: str, code: tuple[Any, ...], make: Callable[[], Tensor]) -> Tensor:
        """What ``code`` makes of the images with the settings of a view: from the shelf, or made now and kept there."""
        settings = {one: self.settings[one] for one in chain(view)}
        path = self.shelf.place(name, [self.data.digest, settings, code_of(*code)], ".npy")
        array = self.shelf.get(path, lambda: make().cpu().numpy(), np.load, _save)
        return torch.from_numpy(array).to(runtime.device())


def chain(view: str) -> tuple[str, ...]:
    """The views with settings that a view is made of, itself among them."""
    return tuple(name for name in VIEWS if name in (SOURCES.get(view), view))


def _save(array: np.ndarray, path: Path) -> None:
    with path.open("wb") as stream:  # np.save alone would add an ending to the name
        np.save(stream, array)
