"""The models of chapter 07 that are shipped, and inference that can be watched with them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gbi_helpers.data.store import ASSETS, add_asset
from gbi_helpers.experiments.cifar_recipes import train_code
from gbi_helpers.experiments.cifar_views import Study
from gbi_helpers.experiments.readouts import decoder_loss
from gbi_helpers.inference import iterate, max_entropy, one_step
from gbi_helpers.metrics import accuracy
from gbi_helpers.models.picture import PictureModel
from gbi_helpers.records import Posterior, Trajectory
from gbi_helpers.training import load_checkpoint, run_facts, save_checkpoint

# By the name of the data: the sizes of its shipped model, and how it is trained (chosen on validation images).
SIZES: dict[str, dict[str, int]] = {
    "CIFAR-100": {"n_filters": 400, "components": 224},
    "Glyphs-100": {"n_filters": 100, "components": 224},
}
TRAINING: dict[str, Any] = {"weight": 30.0, "drop": 0.3, "epochs": 12}
FILES = {"CIFAR-100": "cifar100_picture", "Glyphs-100": "cifar100_standin_picture"}


def load_picture_model(name: str = "Glyphs-100") -> tuple[PictureModel, dict[str, Any]]:
    """The shipped model for "CIFAR-100", or for its stand-in "Glyphs-100" (``data.name``), and facts about it.

    Its SHA-256 is checked. Raises ``ValueError`` for another name.
    """
    if name not in FILES:
        raise ValueError(f"There is no shipped model for '{name}': choose one of {list(FILES)}.")
    return load_checkpoint(f"checkpoints/{FILES[name]}.safetensors", PictureModel(**SIZES[name]))


def picture_one_step(picture: PictureModel, x: Tensor) -> Posterior:
    """The belief in each class (B, 100) of images x (B, 3, 32, 32), from one forward and one backward pass."""
    t = picture.see(x)
    return one_step(decoder_loss(picture.model, t), _start(picture, t))


def picture_trajectory(picture: PictureModel, x: Tensor, steps: int = 30, lr: float = 0.2) -> Trajectory:
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


def train_picture_model(study: Study, seed: int = 0, **changes: Any) -> tuple[PictureModel, dict[str, Any]]:
    """A model to ship, from the images of ``study``, and its numbers: accuracies in percent, seconds."""
    sizes = SIZES[study.data.name]
    study = study.with_settings(
        features={"n_filters": sizes["n_filters"], "pool": 3}, feature_pca={"out": sizes["components"]}
    )
    view, (y, y_validation, y_test) = study.view("feature_pca"), study.labels()
    model, record = train_code(view.train, y, seed, **(TRAINING | changes))
    picture = PictureModel(**sizes).put(study.filters(), study.projection("feature_pca"), model)
    picture.fit_sketch(view.train[:10_000], study.data.train[:10_000].pixels().to(y.device)).eval()
    found = {"train_cpu_seconds": record.facts["cpu_seconds"], "train_seconds": record.facts["seconds"]}
    for name, t, labels in (("validation", view.validation, y_validation), ("one_step", view.test, y_test)):
        found[name] = accuracy(one_step(decoder_loss(model, t), _start(picture, t)).task, labels)
    return picture, found


def ship(study: Study, command: str) -> dict[str, Any]:
    """Train the model for the images of ``study``, write it to assets, and return what the manifest says of it."""
    picture, found = train_picture_model(study)
    minutes = round(found["train_seconds"] / 60, 2)
    facts = run_facts(command=command, data=study.data.source, seed=0, minutes=minutes, metrics=found)
    path = ASSETS / "checkpoints" / f"{FILES[study.data.name]}.safetensors"
    return add_asset(save_checkpoint(path, picture.cpu(), facts), **facts)
