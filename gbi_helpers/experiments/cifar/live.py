"""The models of chapter 07 that are shipped, and inference that can be watched with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.checkpoints import load_model, run_facts, save_checkpoint
from gbi_helpers.data import ImageData
from gbi_helpers.experiments.cifar.measure import Labels, scores
from gbi_helpers.experiments.cifar.recipes import means_of
from gbi_helpers.experiments.cifar.views import VIEWS, Views
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.files import ASSETS, add_asset
from gbi_helpers.inference import iterate, max_entropy, one_step
from gbi_helpers.meter import timed
from gbi_helpers.metrics import accuracy, fitted_step_size
from gbi_helpers.models.picture import PictureModel
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.records import Posterior, Trajectory
from gbi_helpers.runtime import usual_defaults

# By the name of the data: how many filters its shipped model has, and the name of its file.
FILTERS = {"CIFAR-100": VIEWS["features"]["n_filters"], "Glyphs-100": 100}
FILES = {"CIFAR-100": "cifar100_picture", "Glyphs-100": "cifar100_standin_picture"}


def load_picture_model(name: str = "Glyphs-100") -> tuple[PictureModel, dict[str, Any]]:
    """The shipped model for "CIFAR-100", or for its stand-in "Glyphs-100" (``data.name``), and facts about it.

    ``facts["metrics"]["step_size"]`` is the step size at which its confidence fits validation images. The file's
    SHA-256 is checked. Raises ``ValueError`` for another name.
    """
    if name not in FILES:
        raise ValueError(f"There is no shipped model for '{name}': choose one of {list(FILES)}.")
    return load_model(f"checkpoints/{FILES[name]}.safetensors", PictureModel)


def picture_one_step(picture: PictureModel, x: Tensor, step_size: float = 1.0) -> Posterior:
    """The belief in each class (B, 100) of images x (B, 3, 32, 32), from one forward and one backward pass."""
    t = picture.see(x)
    return one_step(decoder_loss(picture.model, t), _start(picture, t), step_size)


def picture_trajectory(
    picture: PictureModel, x: Tensor, steps: int = 30, lr: float = 0.5, patterns: Tensor | None = None
) -> Trajectory:
    """Iterative inference on images x (B, 3, 32, 32), with what z stands for at each step as frames.

    ``frames`` (steps + 1, B, 3, 32, 32) and ``target`` (B, 3, 32, 32), the image itself, have values in [0, 1]. A frame
    mixes a picture of each class, ``patterns`` (K, 3, 32, 32), or else the model's own sketches, by how much z leans to
    it; at the uniform z it is grey. See :func:`stretched`: frames tell what z leans to, the bars how much.
    """
    t = picture.see(x)
    path = iterate(decoder_loss(picture.model, t), _start(picture, t), steps=steps, lr=lr)
    with torch.no_grad():
        classes = picture.draw(picture.model.decoder.patterns) if patterns is None else patterns
        leans = torch.einsum("sbk,kchw->sbchw", path.z - path.z[0], classes)
    return path.with_frames(stretched(leans), target=x)


def stretched(change: Tensor) -> Tensor:
    """Changes (..., C, H, W) as pictures in [0, 1]: none is grey, and the largest of each is nearly black or white."""
    return 0.5 + 0.45 * change / change.abs().amax((-3, -2, -1), keepdim=True).clamp_min(1e-9)


def _start(picture: PictureModel, t: Tensor) -> Tensor:
    return max_entropy(len(t), picture.model.n_tasks, t.dtype, t.device)


def fit_picture_model(data: ImageData, shelf: Shelf) -> tuple[PictureModel, dict[str, float]]:
    """A model to ship, in closed form, from the images of a set; its accuracies in percent, and its step size."""
    filters = {**VIEWS["features"], "n_filters": FILTERS[data.name]}
    views, labels = Views(data, shelf, {**VIEWS, "features": filters}), Labels.of(data)
    view = views.view("discriminants")
    model = means_of(view.train, labels.train, equidistant=True)
    with usual_defaults():
        picture = PictureModel(filters["n_filters"]).to(view.train.device)
    picture.put(views.filters(), views.projection("discriminants"), model)
    picture.fit_sketch(view.train[:10_000], data.train[:10_000].pixels().to(view.train.device)).eval()
    validation, test = (scores(model, x) for x in (view.validation, view.test))
    return picture, {
        "validation": accuracy(validation.argmax(1), labels.validation),
        "one_step": accuracy(test.argmax(1), labels.test),
        "step_size": fitted_step_size(validation, labels.validation),
    }


def ship(data: ImageData, shelf: Shelf, command: str) -> Path:
    """Fit the model for the images of a set and write it to assets; its path."""
    seconds, (picture, found) = timed(fit_picture_model, data, shelf)
    facts = run_facts(command=command, data=data.source, seed=0, minutes=round(seconds / 60, 2), metrics=found)
    path = ASSETS / "checkpoints" / f"{FILES[data.name]}.safetensors"
    add_asset(save_checkpoint(path, picture.cpu(), facts), **facts)
    return path
