"""GBI's belief as an input of a classifier: what a generative network's one step tells it beside the image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Linear

from gbi_helpers.experiments.mnist.recipes import classified, train_classifier
from gbi_helpers.experiments.recipe import Recipe
from gbi_helpers.models.base import Described
from gbi_helpers.models.image import PIXELS, conv_encoder


class BelievingClassifier(Described):
    """The canonical classifier whose last layer sees a belief (B, K) beside its own features.

    Its input is packed, (B, 784 + K): an image, then the belief.
    """

    def __init__(self, n_classes: int = 10, channels: int = 16):
        super().__init__()
        *body, last = conv_encoder(n_classes, channels)
        assert isinstance(last, Linear)
        self.body = torch.nn.Sequential(*body)
        self.last = Linear(last.in_features + n_classes, n_classes)

    def forward(self, packed: Tensor) -> Tensor:
        """Class logits (B, K)."""
        image, belief = packed[:, :PIXELS].reshape(-1, 1, 28, 28), packed[:, PIXELS:]
        return self.last(torch.cat([self.body(image), belief], 1))


def pack(x: Tensor, log_q: Tensor) -> Tensor:
    """Images x (N, 1, 28, 28) and log beliefs (N, K) as one input (N, 784 + K)."""
    return torch.cat([x.flatten(1), log_q.exp().to(x)], 1)


def _believing(x: Tensor) -> BelievingClassifier:
    return BelievingClassifier()


train_believing = Recipe("believing classifier", _believing, classified, train_classifier.settings)
