"""The models of chapter 07 that are shipped, and inference that can be watched with them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gbi_helpers.checkpoints import load_checkpoint, run_facts, save_checkpoint
from gbi_helpers.experiments.cifar.views import VIEWS, Study, View
from gbi_helpers.files import ASSETS, add_asset
from gbi_helpers.inference import iterate, max_entropy, one_step
from gbi_helpers.meter import timed
from gbi_helpers.metrics import accuracy, fitted_step_size
from gbi_helpers.models.hundred import ZOnly
from gbi_helpers.models.picture import PictureModel
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.records import Posterior, Trajectory

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
    return load_checkpoint(f"checkpoints/{FILES[name]}.safetensors", PictureModel(FILTERS[name]))


def picture_one_step(picture: PictureModel, x: Tensor, step_size: float = 1.0) -> Posterior:
    """The belief in each class (B, 100) of images x (B, 3, 32, 32), from one forward and one backward pass."""
    t = picture.see(x)
    return one_step(decoder_loss(picture.model, t), _start(picture, t), step_size)


def picture_trajectory(picture: PictureModel, x: Tensor, steps: int = 30, lr: float = 0.5) -> Trajectory:
    """Iterative inference on images x (B, 3, 32, 32), with what the decoder draws at each step as frames.

    ``frames`` (steps + 1, B, 3, 32, 32) and ``target`` (B, 3, 32, 32), the image itself, have values in [0, 1].
    """
    t = picture.see(x)
    path = iterate(decoder_loss(picture.model, t), _start(picture, t), steps=steps, lr=lr)
    with torch.no_grad():
        h = picture.model.encode(t)
        frames = torch.stack([picture.draw(picture.model.decoder(h, z)) for z in path.z])
    return path.with_frames(frames, target=x)


def _start(picture: PictureModel, t: Tensor) -> Tensor:
    return max_entropy(len(t), picture.model.n_tasks, t.dtype, t.device)


def fit_picture_model(study: Study) -> tuple[PictureModel, dict[str, float]]:
    """A model to ship, in closed form, from the images of ``study``; its accuracies in percent, and its step size."""
    n_filters = FILTERS[study.data.name]
    study = study.with_settings(features=VIEWS["features"] | {"n_filters": n_filters})
    view, (y, y_validation, y_test) = study.view("discriminants"), study.labels()
    model = ZOnly(view.train.shape[1], equidistant=True).fit(view.train, y)
    picture = PictureModel(n_filters).to(y.device).put(study.filters(), study.projection("discriminants"), model)
    picture.fit_sketch(view.train[:10_000], study.data.train[:10_000].pixels().to(y.device)).eval()
    score = {name: _scores(picture, view, name) for name in ("validation", "test")}
    return picture, {
        "validation": accuracy(score["validation"].argmax(1), y_validation),
        "one_step": accuracy(score["test"].argmax(1), y_test),
        "step_size": fitted_step_size(score["validation"], y_validation),
    }


def _scores(picture: PictureModel, view: View, split: str) -> Tensor:
    t = getattr(view, split)
    grad = one_step(decoder_loss(picture.model, t), _start(picture, t)).grad
    assert grad is not None  # one step always has its gradient
    return -grad


def ship(study: Study, command: str) -> dict[str, Any]:
    """Fit the model for the images of ``study``, write it to assets, and return what the manifest says of it."""
    seconds, (picture, found) = timed(fit_picture_model, study)
    minutes = round(seconds / 60, 2)
    facts = run_facts(command=command, data=study.data.source, seed=0, minutes=minutes, metrics=found)
    path = ASSETS / "checkpoints" / f"{FILES[study.data.name]}.safetensors"
    return add_asset(save_checkpoint(path, picture.cpu(), facts), **facts)
