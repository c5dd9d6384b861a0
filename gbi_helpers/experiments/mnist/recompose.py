"""A digit, or a style, that was never trained, drawn as a mixture of those that were: weights frozen, Z alone is moved.

Z is searched for each image on its own, or as one Z shared by a few images, which must then serve all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers.experiments.mnist import recipes
from gbi_helpers.experiments.mnist.with_and_without import learn, nats, nothing
from gbi_helpers.inference import LossFn, enumerate_tasks, iterate, max_entropy
from gbi_helpers.models.base import bernoulli_nll, one_hot
from gbi_helpers.models.image import ConvAutoencoder
from gbi_helpers.readouts import decoder_loss

LATENT = 3
STEPS, RATE = 50, 0.2  # of a search; twice the steps bring no more than half a nat on validation images
FEW = 10  # images that share one Z
STYLED = 200  # test images of each style
SPACES = {"mixture": "logits", "free": "free"}


def other_digits(x: Tensor, y: Tensor, left_out: int) -> tuple[Tensor, Tensor]:
    """The images (N, 1, 28, 28) of the other nine digits, and their one-hot z (N, 9)."""
    kept = y != left_out
    return x[kept], one_hot(y[kept] - (y[kept] > left_out).long(), 9)


def searched(model: ConvAutoencoder, x: Tensor, steps: int = STEPS) -> dict[str, float]:
    """Mean nats of images under each way to choose Z: none of them sees a label or moves a weight.

    "uniform"; "single", the best one-hot z; "mixture" on the simplex and "free", for each image; "mixture_shared" and
    "free_shared", found on the first :data:`FEW` images, as is "single_shared", and measured on the rest.
    """
    z0, loss_fn = max_entropy(len(x), model.n_tasks, x.dtype, x.device), decoder_loss(model, x)
    few = min(FEW, len(x) // 2)
    rest, shared = decoder_loss(model, x[few:]), _shared(decoder_loss(model, x[:few]), few)
    singles, single = enumerate_tasks(loss_fn, z0).loss, enumerate_tasks(shared, z0[:1]).loss.argmin(1)
    found = {
        "uniform": loss_fn(z0).mean(),
        "single": singles.min(1).values.mean(),
        "single_shared": singles[few:, single].mean(),
    }
    for name, space in SPACES.items():
        found[name] = iterate(loss_fn, z0, steps, RATE, space=space).loss[-1].mean()  # type: ignore[arg-type]
        z = iterate(shared, z0[:1], steps, RATE, space=space).z[-1]  # type: ignore[arg-type]
        found[f"{name}_shared"] = rest(z.expand(len(x) - few, -1)).mean()
    return {name: float(value) for name, value in found.items()}


def _shared(loss_fn: LossFn, images: int) -> LossFn:
    """One z (1, K) for all images: the mean of their losses (1,)."""
    return lambda z: loss_fn(z.expand(images, -1)).mean()[None]


def new_input(model: ConvAutoencoder, x: Tensor, steps: int = STEPS, rate: float = 0.05) -> float:
    """Mean nats when Z gets a new input: its weights to the hidden layer, found on the first images; not a search in Z.

    Measured on the rest, as "free_shared" is.
    """
    few = min(FEW, len(x) // 2)
    with torch.no_grad():
        units = model.decoder.join.code(torch.cat([model.encode(x), x.new_zeros(len(x), model.n_tasks)], dim=1))

    def loss(weights: Tensor, part: slice) -> Tensor:
        return model.nll(model.decoder.body(functional.relu(units[part] + weights)), x[part]).mean()[None]

    start = x.new_zeros(1, units.shape[1])
    found = iterate(lambda weights: loss(weights, slice(few)), start, steps, rate, space="free").z[-1]
    with torch.no_grad():
        return float(loss(found, slice(few, None)))


def code_searched(model: ConvAutoencoder, x: Tensor, steps: int = STEPS) -> float:
    """Mean nats when the code h itself is moved instead, from where the encoder put it, under each image's best digit.

    That z, one-hot, was trained with; a uniform one never was, and from there the code ends far higher.
    """
    z0 = max_entropy(len(x), model.n_tasks, x.dtype, x.device)
    z = one_hot(enumerate_tasks(decoder_loss(model, x), z0).task, model.n_tasks).to(x)
    with torch.no_grad():
        h = model.encode(x)
    loss_fn: LossFn = lambda code: model.nll(model.decoder(code, z), x)  # noqa: E731
    return float(iterate(loss_fn, h, steps, RATE, space="free").loss[-1].mean())


def by_means(x: Tensor, z: Tensor, images: Tensor, least: float = 0.005) -> float:
    """Mean nats of images drawn as a linear mixture of the nine mean digits by least squares: nothing is trained."""
    means = (z.T @ x.flatten(1)) / z.sum(0)[:, None]
    return _clamped(torch.linalg.lstsq(means.T, images.flatten(1).T).solution.T @ means, images, least)


def by_components(x: Tensor, images: Tensor, numbers: int, least: float = 0.005) -> float:
    """The same with the mean image and the principal components of the training images."""
    flat, mean = x.flatten(1), x.flatten(1).mean(0)
    basis = torch.linalg.eigh((flat - mean).T @ (flat - mean)).eigenvectors[:, -numbers:]
    return _clamped(mean + (images.flatten(1) - mean) @ basis @ basis.T, images, least)


def _clamped(drawn: Tensor, images: Tensor, least: float) -> float:
    """Nats of pixels as coins with these chances, kept ``least`` away from 0 and 1 (chosen on validation images)."""
    return float(bernoulli_nll(torch.logit(drawn.clamp(least, 1 - least)), images.flatten(1)).mean())


def unseen_digit(world: Any, seed: int, settings: Mapping[str, Any]) -> dict[str, float]:
    """Nats of the test images of a digit that no network but "told" has seen: of each seed another digit.

    "code": the code is moved instead of Z, which stays the best digit; "without": no Z, but a code as large as code and
    Z together.
    """
    options = dict(settings)
    digit, (x, y) = (seed + options.pop("first")) % 10, world.sets.train
    images = world.sets.test[0][world.sets.test[1] == digit]
    others, z = other_digits(x, y, digit)
    model, record = learn(others, z, LATENT, seed, **options)
    alone, _ = learn(others, nothing(z), LATENT + 9, seed, **options)
    full, _ = world.trained(recipes.train_autoencoder, seed, options)
    return {
        "digit": float(digit),
        "train_seconds": record.facts["seconds"],
        **searched(model, images),
        "code": code_searched(model, images),
        "new_input": new_input(model, images),
        "without": nats(alone, images, nothing(images)),
        "told": nats(full, images, one_hot(images.new_full((len(images),), digit).long())),
        "means": by_means(others, z, images),
        "components": by_components(others, images, LATENT + 9),
    }


STYLES: dict[str, Callable[[Tensor], Tensor]] = {
    "slanted": lambda x: moved(x, [[1.0, 0.5, 0.0], [0.0, 1.0, 0.0]]),
    "thick": lambda x: functional.max_pool2d(x, 3, 1, 1),
    "small": lambda x: moved(x, [[1.5, 0.0, 0.0], [0.0, 1.5, 0.0]]),
    "inverted": lambda x: 1 - x,
}


def moved(x: Tensor, theta: list[list[float]]) -> Tensor:
    """Images x (N, 1, H, W) under an affine map (2, 3) of their plane, black where nothing was."""
    grid = functional.affine_grid(x.new_tensor(theta).expand(len(x), -1, -1), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False).clamp(0, 1)


def unseen_style(world: Any, seed: int, settings: Mapping[str, Any]) -> dict[str, float]:
    """Nats of test images in a style that no network has seen, by style: "slanted_free" and so on.

    "..._told": with the true digit as Z.
    """
    options = dict(settings)
    few, steps = options.pop("images", STYLED), options.pop("steps", STEPS)
    images, labels = (part[:few] for part in world.sets.test)
    model, found = world.trained(recipes.train_autoencoder, seed, options)
    x, y = world.sets.train
    alone, _ = learn(x, nothing(y), LATENT + 10, seed, **options)
    for style, change in {"plain": lambda x: x, **STYLES}.items():
        changed = change(images)
        one = {**searched(model, changed, steps), "told": nats(model, changed, one_hot(labels))}
        one |= {"code": code_searched(model, changed, steps), "without": nats(alone, changed, nothing(labels))}
        found |= {f"{style}_{name}": value for name, value in one.items()}
    return found
