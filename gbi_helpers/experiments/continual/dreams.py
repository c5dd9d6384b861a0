"""Features that are learned on the way, and no image kept: a network replays what Gaussians dream of old digits.

At the end of a context the images of each digit, in a few groups of like ones, become sums: of pixels and of their
products, of which a mean and the directions of largest variance are kept. From then on these Gaussians stand for the
digit: images are drawn from them while others are learned. Nobody says at test which context it is. The idea is
generative replay (Shin et al. 2017, arXiv 1705.08690), with a generator that is a sum and so cannot forget.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers import metrics
from gbi_helpers.continual import Context, FineTuning, Inputs
from gbi_helpers.experiments.continual.networks import run, told
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.meter import bytes_of
from gbi_helpers.runtime import random_state_kept


class LowRank:
    """A Gaussian of vectors x (N, D): their mean (D,) and ``rank`` directions of largest variance (rank, D).

    What varies beside these directions is left out: as noise in each pixel it would tell dreams from images. Kept in
    16 bits, which is enough for numbers between 0 and 1.
    """

    def __init__(self, x: Tensor, rank: int):
        mean = x.mean(0)
        with random_state_kept(x.device, seed=0):  # subspace iteration starts at random
            _, lengths, directions = torch.svd_lowrank(x - mean, q=min(rank + 10, *x.shape), niter=4)
        factor = (directions * lengths / len(x) ** 0.5).T[:rank]
        self.mean, self.factor = mean.half(), factor.half()

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Vectors (n, D), clamped to [0, 1] as pixels are."""
        a = torch.randn(n, len(self.factor), generator=generator, dtype=torch.float32, device=generator.device)
        return (self.mean.float() + a.to(self.mean.device) @ self.factor.float()).clamp(0, 1)

    @property
    def stored(self) -> int:
        """Bytes."""
        return bytes_of(self.mean, self.factor)


class Dreams(FineTuning):
    """In context t new images weigh 1/t, and as many dreamed ones of old digits 1 - 1/t; every digit is as likely.

    ``parts``: Gaussians for each digit, whose images are told apart by k-means. ``rank``: directions of each.
    """

    def __init__(self, parts: int, rank: int, batch_size: int = 64, seed: int = 0):
        self.parts, self.rank, self.batch_size, self.contexts = parts, rank, batch_size, 0
        self.generator = torch.Generator().manual_seed(seed)
        self.known: dict[int, list[tuple[float, LowRank]]] = {}  # of each digit: share and Gaussian

    def loss(self, model: nn.Module, inputs: Inputs, y: Tensor, outputs: Tensor) -> Tensor:
        """Cross-entropy on new and on dreamed images."""
        found = super().loss(model, inputs, y, outputs)
        if not self.contexts:
            return found
        x, old = self.dream()
        share = 1 / (self.contexts + 1)
        return share * found + (1 - share) * super().loss(model, (x,), old.to(y.device), outputs)

    def dream(self) -> tuple[Tensor, Tensor]:
        """Images (B, D) of old digits, and which ones (B,)."""
        whose = [(digit, share, one) for digit, gaussians in self.known.items() for share, one in gaussians]
        share = torch.tensor([share for _, share, _ in whose], dtype=torch.float32, device="cpu")
        chosen = torch.multinomial(share, self.batch_size, replacement=True, generator=self.generator)
        counts = torch.bincount(chosen, minlength=len(whose))
        x = [one.draw(n, self.generator) for (_, _, one), n in zip(whose, counts.tolist(), strict=True)]
        digits = torch.tensor([digit for digit, _, _ in whose], dtype=torch.int64, device="cpu")
        return torch.cat(x), digits.repeat_interleave(counts)

    def after(self, model: nn.Module, context: Context) -> None:
        """Sum up each new digit."""
        for digit in context.y.unique().tolist():
            x = context.inputs[0][context.y == digit]
            group = k_means(x, self.parts, self.generator)
            parts = [x[group == i] for i in group.unique()]
            self.known[digit] = [(len(part) / len(x), LowRank(part, self.rank)) for part in parts]
        self.contexts += 1

    @property
    def stored(self) -> int:
        """Bytes of all Gaussians."""
        return sum(one.stored for all in self.known.values() for _, one in all)


def k_means(x: Tensor, k: int, draw: torch.Generator, rounds: int = 10) -> Tensor:
    """Which of at most k groups (N,) each vector (N, D) belongs to: it lies nearest to the mean of its group."""
    centres = x[torch.randperm(len(x), generator=draw, device=draw.device)[:k].to(x.device)]
    for _ in range(rounds):
        group = torch.cdist(x, centres).argmin(1)
        centres = torch.stack([x[group == i].mean(0) for i in group.unique()])
    return torch.cdist(x, centres).argmin(1)


def dreamed(world: Any, seed: int, settings: Settings) -> dict[str, Any]:
    """Each size of the Gaussians; R of the best on validation images among those within the bytes allowed.

    One training a size, at the end of which both sets are read. Raises ``ValueError`` if all are too large.
    """
    split, batch = world.split(seed, settings), settings["training"]["batch_size"]
    methods = [Dreams(parts, rank, batch, seed) for parts, rank in settings["sizes"]]
    r = [run(split, "class", method, seed, settings) for method in methods]
    stored = [method.stored for method in methods]
    validation = [metrics.final_accuracy(each["validation"]) for each in r]
    within = [i for i, size in enumerate(stored) if size <= settings["bytes"]]
    best = max(within, key=validation.__getitem__)
    test = [metrics.final_accuracy(each["test"]) for each in r]
    swept = {"validation": validation, "test": test, "stored_by_size": stored}
    return told(r[best]["test"]) | swept | {"size": settings["sizes"][best], "stored": stored[best]}


SHORT = {
    "sees": "pixels", "n": 15_000, "hidden": (100, 100), "training": {"steps": 200, "batch_size": 64, "lr": 1e-3},
    "bytes": 785_000,  # what a thousand images take
}  # fmt: skip
LONG = {
    **SHORT, "n": None, "hidden": (400, 400), "training": {"steps": 2_000, "batch_size": 128, "lr": 1e-3},
}  # fmt: skip
SIZES = ((1, 0), (1, 10), (1, 40), (3, 0), (3, 4), (3, 12), (10, 3), (10, 20))  # Gaussians a digit, directions of each
ROWS = {
    "dreams/mlp": Row(dreamed, "dreams", {**SHORT, "sizes": SIZES}),
    "dreams/long": Row(dreamed, "dreams, ten times the steps", {**LONG, "sizes": ((3, 12),)}),
}
SMALL: dict[str, Settings] = {
    **{name: {"sizes": ((1, 0), (2, 3)), "hidden": (16,)} for name in ROWS if "sizes" in ROWS[name].settings},
}
