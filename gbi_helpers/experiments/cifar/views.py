"""What the models of chapter 07 see of an image: pixels, whitened pixels, patch features, discriminants of those.

A :class:`Study` holds the images of one run and makes each view once. Patch features take minutes on a CPU; they are
kept in parts in the work folder, so an interrupted run goes on.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from gbi_helpers import runtime
from gbi_helpers.data import ImageData, Images
from gbi_helpers.files import part_file
from gbi_helpers.models.features import PatchFeatures
from gbi_helpers.models.hundred_images import standardised
from gbi_helpers.models.projection import Projection, moments, whitening, within_classes

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
_SOURCES = {
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

    def to(self, device: torch.device) -> View:
        """The same on a device."""
        return View(self.train.to(device), self.validation.to(device), self.test.to(device))


@dataclass(eq=False)
class Study:
    """The images of one run, and every view of them made so far. ``work``: a folder for what took long.

    ``settings``: those of :data:`VIEWS` that differ.
    """

    data: ImageData
    work: Path
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: dict[Any, Any] = field(default_factory=dict)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all images and labels, in their order."""
        found = hashlib.sha256()
        for part in self._parts():
            found.update(part.x.numpy().tobytes())
            found.update(part.y.numpy().tobytes())
        return found.hexdigest()

    def _parts(self) -> tuple[Images, Images, Images]:
        return self.data.train, self.data.validation, self.data.test

    def with_settings(self, **settings: dict[str, Any]) -> Study:
        """A study of the same images with other settings of views."""
        return Study(self.data, self.work, {**self.settings, **settings})

    def joined(self) -> Study:
        """A study that trains on the validation images too."""
        data, both = self.data, (self.data.train, self.data.validation)
        train = Images(torch.cat([part.x for part in both]), torch.cat([part.y for part in both]))
        return Study(dataclasses.replace(data, train=train), self.work, self.settings)

    def options(self, name: str) -> dict[str, Any]:
        """The settings of a view."""
        return VIEWS[name] | self.settings.get(name, {})

    def labels(self) -> tuple[Tensor, Tensor, Tensor]:
        """The classes (N,) of each split, on the device."""
        train, validation, test = (part.y.to(runtime.device()) for part in self._parts())
        return train, validation, test

    def view(self, name: str, n: int | None = None) -> View:
        """The view of this name: "images"; "pixels32", "pixels" (16x16) and "pooled" (8x8), standardised; "features".

        And, fitted to training images alone: whitened principal components without labels ("pixel_pca", "feature_pca",
        "feature_pca_wide"), and discriminants of 8x8 pixels or of features, with the first ``n`` labels
        ("pixel_discriminants", "discriminants").
        """
        if (name, n) not in self.made:
            self.made[name, n] = self._make(name, n)
        return self.made[name, n]

    def _make(self, name: str, n: int | None) -> View:
        if name == "images":
            return View(*(part.x.permute(0, 3, 1, 2) for part in self._parts())).to(runtime.device())
        if name in ("pixels", "pooled", "pixels32"):
            side = {"pixels": 16, "pooled": 8, "pixels32": 32}[name]
            return self.view("images").through(lambda x: standardised(x / 255, side).flatten(1))
        if name == "features":
            return self.patch_features().to(runtime.device())
        return self.view(_SOURCES[name]).through(self.projection(name, n))

    def projection(self, name: str, n: int | None = None) -> Projection:
        """The projection that makes a fitted view: its moments from all training images, labels of the first ``n``."""
        source = _SOURCES[name]
        with_labels = name.endswith("discriminants")
        key = ("projection", name, n if with_labels else None)
        if key not in self.made:
            options, known = self.options(name), self._moments(source)
            x, y = self.view(source).train[:n], self.labels()[0][:n]
            made = within_classes(x, y, known=known, **options) if with_labels else whitening(*known, **options)
            self.made[key] = made.to(runtime.device())
        return self.made[key]

    def _moments(self, source: str) -> tuple[Tensor, Tensor]:
        """Mean and covariance over all training images; those of patch features, which take a minute, are kept."""
        if ("moments", source) not in self.made:
            path = self.work / "features" / f"{self._mark()}-moments.pt"
            if source == "features" and path.exists():
                found = torch.load(path, weights_only=True)
            else:
                found = moments(self.view(source).train)
                if source == "features":
                    with part_file(path) as part:
                        torch.save(found, part)
            self.made["moments", source] = found
        return self.made["moments", source]

    def _mark(self) -> str:
        """A name for the features of these images with these settings."""
        plain = json.dumps([self.digest, self.options("features")], sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:12]

    def patch_features(self) -> View:
        """The features of all images, in 16 bits, by filters from every fifth training image; kept in ``work``."""
        features, found = self.filters(), []
        images = torch.cat([part.x for part in self._parts()])
        for start in tqdm(range(0, len(images), PART), desc="patch features", delay=2):
            path = self.work / "features" / f"{self._mark()}-{start:06d}.npy"
            if not path.exists():
                part = features.of(images[start : start + PART].permute(0, 3, 1, 2).to(runtime.device()))
                with part_file(path) as partial, partial.open("wb") as stream:
                    np.save(stream, part.cpu().numpy())
            found.append(torch.from_numpy(np.load(path)))
        return View(*torch.cat(found).split([len(part) for part in self._parts()]))

    def filters(self) -> PatchFeatures:
        """The patch features, their filters drawn from training images."""
        made = PatchFeatures(**self.options("features")).fit(self.data.train[::5].pixels())
        return made.to(runtime.device())
