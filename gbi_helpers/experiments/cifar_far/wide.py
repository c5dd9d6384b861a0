"""A wide residual network of whole images, trained for its gradient, beside the same network under softmax.

Both start from the same layers and meet the same images in the same order, mirrored and moved in the same way, for as
many steps at the same rates: those usual for softmax, and tried for neither. A GPU takes minutes for each, a CPU days.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers import runtime
from gbi_helpers.experiments.cifar.measure import Labels, measure, measure_classifier
from gbi_helpers.experiments.cifar.recipes import Batch, varied
from gbi_helpers.experiments.cifar.views import View
from gbi_helpers.experiments.cifar_far.world import World
from gbi_helpers.experiments.shelf import Trained
from gbi_helpers.experiments.source import code_of
from gbi_helpers.experiments.study import Settings
from gbi_helpers.files import DataError
from gbi_helpers.meter import size_of
from gbi_helpers.models.base import one_hot
from gbi_helpers.models.image import gradient_loss
from gbi_helpers.models.wide import WideClassifier, WideModel
from gbi_helpers.training import fit

Values = dict[str, Any]
NUMBERS = torch.bfloat16  # of what the convolutions multiply, in training; sums, and all that is measured, are in 32
MOVED = 4  # pixels, at most, that an image is moved by
ON_A_CPU = 1  # the widest that one is asked to train


class Descent(torch.optim.SGD):
    """Gradient descent with Nesterov's momentum and weight decay, as wide residual networks are trained."""

    def __init__(self, parameters: Any, lr: float):
        super().__init__(parameters, lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def step(self, closure: Any = None) -> Any:
        """One update, along a gradient of norm 5 at most."""
        nn.utils.clip_grad_norm_([p for group in self.param_groups for p in group["params"]], 5.0)
        return super().step(closure)


def aware(model: WideModel, describe: float = 0.0) -> Callable[[Batch], Tensor]:
    """How wrong one gradient step is, and ``describe`` times what the true class leaves of the image, in nats."""

    def loss(batch: Batch) -> Tensor:
        x, y = batch
        h = _seen(model.encode, x)
        wrong = gradient_loss(model, h, x, y, model.log_step_size)
        return wrong + describe * model.nll(model.decoder(h, one_hot(y, model.n_tasks)), x).mean()

    return loss


def classified(model: nn.Module) -> Callable[[Batch], Tensor]:
    """The plain classifier's log score."""
    return lambda batch: functional.cross_entropy(_seen(model, batch[0]), batch[1])


def _seen(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What a network makes of images, its products in 16 bits."""
    with torch.autocast(x.device.type, NUMBERS):
        return network(x.contiguous(memory_format=torch.channels_last)).float()


def train(
    kind: str,
    x: Tensor,
    y: Tensor,
    seed: int,
    resume: Path | None = None,
    *,
    sizes: Settings,
    epochs: float,
    lr: float,
    batch_size: int,
    describe: float = 0.0,
) -> Trained:
    """A network for images x (N, 3, 32, 32) in 8 bits of classes y (N,), "aware" or "softmax", and its record."""
    torch.manual_seed(seed)
    with runtime.usual_defaults():
        model: nn.Module = (WideModel if kind == "aware" else WideClassifier)(**sizes)
    model.to(x.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    descends = aware(model, describe) if isinstance(model, WideModel) else classified(model)

    def loss(batch: Batch) -> Tensor:
        return descends((varied(batch[0], MOVED), batch[1]))

    record = fit(
        model, loss, (x, y), epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, optimizer=Descent, warm_up=200,
        resume=resume, save_every=60, desc=f"wide residual network, {kind}", device=x.device,
    )  # fmt: skip
    return model.eval(), record


def wide(world: World, seed: int, settings: Settings) -> Values:
    """Every readout of the network that was trained for its gradient ("aware"), and "softmax" of its twin.

    Of the first what :func:`gbi_helpers.experiments.cifar.measure.measure` finds, of the second what
    ``measure_classifier`` finds, and of both "parameters" and seconds of training. Nothing was chosen by test images.
    ``DataError`` on a CPU, but for the smallest of networks.
    """
    if settings["sizes"]["widen"] > ON_A_CPU and runtime.device().type != "cuda":
        raise DataError(
            "A wide residual network takes a CPU days: run this row on a machine with a CUDA device, or use --size "
            "small."
        )
    labels, found = Labels.of(world.data), Values()
    splits = (world.data.train, world.data.validation, world.data.test)
    train_x, validation_x, test_x = (part.x.permute(0, 3, 1, 2).to(runtime.device()) for part in splits)
    view = View(train_x, validation_x, test_x)
    for kind in ("aware", "softmax"):
        make = functools.partial(train, kind, train_x, labels.train, seed, **settings)
        depends = [world.digest, kind, dict(settings), code_of(train)]
        model, record = world.images.shelf.network(f"wide-{kind}-{seed}", depends, make)
        model = model.to(runtime.device())
        own = measure(model, view, labels) if kind == "aware" else measure_classifier(model, view, labels)
        spent = {name: record.facts[name] for name in ("seconds", "cpu_seconds")}
        found[kind] = own | {"parameters": size_of(model)} | {f"train_{name}": value for name, value in spent.items()}
    return found | {"test_n": len(labels.test), "train_n": len(labels.train), "size": 64 * settings["sizes"]["widen"]}
