"""Mistakes that are easily made with gradient-based inference, and the number by which each shows itself."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from gbi_helpers import metrics
from gbi_helpers.experiments.mnist import recipes
from gbi_helpers.experiments.recipe import Recipe
from gbi_helpers.inference import max_entropy, one_step
from gbi_helpers.models.base import Generative, one_hot
from gbi_helpers.models.image import PIXELS, ConvAutoencoder
from gbi_helpers.readouts import decoder_loss


def at_test(model: Generative, x: Tensor, y: Tensor, fashion: Tensor) -> dict[str, float]:
    """Mistakes made with a well-trained model: a loss averaged over pixels, and a start that favours a digit.

    "summed_confidence" and "mean_confidence": mean of max q on the test images, with the loss summed and averaged over
    pixels; "..._fashion": the same on clothes, which the model has never seen; "corner_start": accuracy in percent of
    the step taken from the one-hot z of a random digit.
    """
    found = {}
    for name, images in {"": x, "_fashion": fashion}.items():
        grad = one_step(decoder_loss(model, images), max_entropy(len(images), 10, images.dtype, x.device)).grad
        assert grad is not None
        for kind, size in {"summed": 1.0, "mean": 1 / PIXELS}.items():
            found[f"{kind}_confidence{name}"] = float(torch.softmax(-size * grad, 1).max(1).values.mean())
    draw = torch.Generator().manual_seed(0)
    anywhere = torch.randint(0, 10, y.shape, generator=draw, device=draw.device).to(y.device)
    found["corner_start"] = metrics.accuracy(one_step(decoder_loss(model, x), one_hot(anywhere)).task, y)
    return found


class BatchNormAutoencoder(ConvAutoencoder):
    """The faithful model with BatchNorm after the first layer of its decoder's body."""

    def __init__(self) -> None:
        super().__init__()
        first, *rest = self.decoder.body.children()
        assert isinstance(first, nn.Linear)
        self.decoder.body = nn.Sequential(first, nn.BatchNorm1d(first.out_features), *rest)


def _with_batch_norm(x: Tensor) -> BatchNormAutoencoder:
    return BatchNormAutoencoder()


train_with_batch_norm = Recipe("BatchNorm", _with_batch_norm, recipes.described, recipes.SETTINGS["faithful"])


def of_batch_norm(model: ConvAutoencoder, x: Tensor, y: Tensor, chunk: int = 200) -> dict[str, float]:
    """Accuracy of one step in percent: in eval mode; in training mode on mixed batches; on batches of one digit each.

    In training mode an image's gradient depends on the others in its batch, so what is asked beside it changes the
    answer. Batches of one digit are what a stream in blocks brings.
    """
    by_digit = torch.argsort(y, stable=True)
    blocks = torch.cat([by_digit[y[by_digit] == digit] for digit in range(10)])
    return {
        "eval_mode": _accuracy(model.eval(), x, y, chunk),
        "training_mode": _accuracy(model.train(), x, y, chunk),
        "training_mode_blocks": _accuracy(model.train(), x[blocks], y[blocks], chunk),
    }


def _accuracy(model: ConvAutoencoder, x: Tensor, y: Tensor, chunk: int) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # loss_of rightly warns of just this mistake
        tasks = [
            one_step(decoder_loss(model, part), max_entropy(len(part), 10, part.dtype, x.device)).task
            for part in x.split(chunk)
        ]
    return metrics.accuracy(torch.cat(tasks), y)
