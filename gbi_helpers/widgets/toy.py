"""A small real path to try the widgets on: the mixture of mean digits that makes one handwritten digit.

Used by the benchmark and the tests; the course's notebooks show paths of trained networks instead.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gbi_helpers.inference import iterate, max_entropy
from gbi_helpers.records import Trajectory


def toy_path(n_tasks: int = 10, steps: int = 50, *, image: int = 3, lr: float = 0.1, free: bool = False) -> Trajectory:
    """Infer z for one handwritten digit under a linear-Gaussian decoder: frames (S+1, 1, 28, 28), target (1, 28, 28).

    The decoder mixes ``n_tasks`` pictures: the mean digits of scikit-learn's set, from ten on each in other tones.
    """
    digits, means = _digits()
    tone = torch.linspace(1.0, 0.5, n_tasks).reshape(-1, 1, 1)
    pictures = means[torch.arange(n_tasks) % 10] * tone
    target = digits[image]

    def decode(z: Tensor) -> Tensor:
        return torch.einsum("...k,khw->...hw", z, pictures)

    def loss(z: Tensor) -> Tensor:
        return 3.0 * (decode(z) - target).square().sum((-1, -2))

    path = iterate(loss, max_entropy(1, n_tasks), steps=steps, lr=lr, space="free" if free else "logits")
    return path.with_frames(decode(path.z), target[None])


def _digits() -> tuple[Tensor, Tensor]:
    """Every image of scikit-learn's digits, enlarged to 28 x 28 and in [0, 1], and the mean image of each digit."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(data.images.astype(np.float32) / 16)
    large = interpolate(images[:, None], size=(28, 28), mode="bicubic", antialias=True)[:, 0].clamp(0, 1)
    return large, torch.stack([large[torch.from_numpy(data.target == k)].mean(0) for k in range(10)])
