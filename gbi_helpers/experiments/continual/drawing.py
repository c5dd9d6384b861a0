"""A neural decoder told Z learns digits two by two: an autoencoder multiplied by Z, read by its gradient to Z.

Z says which gates to open, and protects nothing by itself: shared weights are overwritten. Frozen after the first two
digits, the same decoder learns the others as gates alone, and then forgets exactly nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers.continual import Context, FineTuning, Inputs, learn
from gbi_helpers.experiments.continual.networks import told
from gbi_helpers.experiments.continual.scenarios import DIGITS, Split, in_order
from gbi_helpers.experiments.continual.sums import right
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.inference import enumerate_tasks, one_step
from gbi_helpers.models.base import one_hot
from gbi_helpers.models.image import ConditionalVAE, free_energy
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.runtime import random_state_kept, usual_defaults


class Naive(FineTuning):
    """Z is given, and nothing is kept: descends the free energy of the decoder, ``beta`` times KL in it."""

    def __init__(self, beta: float):
        self.beta = beta

    def loss(self, model: nn.Module, inputs: Inputs, y: Tensor, outputs: Tensor) -> Tensor:
        """Free energy, () in nats, of images inputs[0] (B, 1, 28, 28) drawn with z the one-hot of y (B,)."""
        assert isinstance(model, ConditionalVAE)
        return free_energy(model, inputs[0], y, self.beta)


class Frozen(Naive):
    """After the first context all weights are held but those that z meets; a column there is one digit's alone."""

    def after(self, model: nn.Module, context: Context) -> None:
        """Leave the gates alone to learn: no gradient reaches a column whose digit is not shown."""
        assert isinstance(model, ConditionalVAE)
        model.requires_grad_(False)
        gates = model.decoder.join.task
        assert gates is not None  # a decoder multiplied by z has them
        gates.weight.requires_grad_(True)


METHODS: dict[str, Callable[..., Naive]] = {"naive": Naive, "frozen": Frozen}
READINGS = ("one_step", "k_passes")


def drawn(world: Any, seed: int, settings: Settings) -> dict[str, Any]:
    """R by one gradient at the even z and by K passes; for the first seed, the digits as the gates draw them."""
    ordered = in_order(world.images, seed)
    ordered["train"] = tuple(part[: settings["n"]] for part in ordered["train"])  # type: ignore[assignment]
    split = Split(**ordered)
    model = decoder(settings["width"], seed).to(split.train[0].device)
    method = METHODS[settings["method"]](settings["beta"])
    r = through_contexts(model, split, method, seed, settings)
    found = {name: told(each) for name, each in r.items()} | {"stored": method.stored}
    shown = {name: as_text(images) for name, images in pictures(model.eval(), split).items()} if seed == 0 else {}
    return found | ({"pictures": shown} if shown else {})


def decoder(width: int, seed: int) -> ConditionalVAE:
    """The untrained autoencoder, its code of 16 numbers, multiplied by the gates of ten digits."""
    with random_state_kept(seed=seed), usual_defaults():
        return ConditionalVAE(width=width)


def through_contexts(
    model: ConditionalVAE, split: Split, method: FineTuning, seed: int, settings: Settings
) -> dict[str, Tensor]:
    """R (T, T), percent, of test images, by reading."""
    x, y = split.test
    rows: dict[str, list[list[float]]] = {name: [] for name in READINGS}

    def test(after: int) -> list[float]:
        for name, score in scores(model.eval(), x, DIGITS * (after + 1)).items():
            rows[name].append(right(score, y, "class"))
        model.train()
        return rows["one_step"][-1]

    learn(model, split.contexts("class"), method, test, seed=seed, **settings["training"])
    return {name: torch.tensor(found, dtype=torch.float64, device="cpu") for name, found in rows.items()}


def scores(model: ConditionalVAE, x: Tensor, seen: int) -> dict[str, Tensor]:
    """Log probabilities (N, seen) of the digits seen so far, by reading; one step starts even between those."""
    parts: dict[str, list[Tensor]] = {name: [] for name in READINGS}
    for part in x.split(1000):
        loss = decoder_loss(model, part)
        z0 = (torch.arange(model.n_tasks, device=x.device) < seen).to(x).div(seen).expand(len(part), -1)
        for name, found in (("one_step", one_step(loss, z0)), ("k_passes", enumerate_tasks(loss, z0))):
            parts[name].append(found.log_q[:, :seen])
    return {name: torch.cat(each) for name, each in parts.items()}


@torch.no_grad()
def pictures(model: ConditionalVAE, split: Split) -> dict[str, Tensor]:
    """Ten digits in the order in which they came, (10, 28, 28), each under its own gates.

    "own_code": from the mean code of its own images, so the code tells what it is as well; "one_code": all from the
    mean of those codes, so that what differs is the gates' doing alone.
    """
    x, y = (part[:5000] for part in split.train)
    h, z = model.encode(x), one_hot(torch.arange(model.n_tasks, device=x.device), model.n_tasks)
    own = torch.stack([h[y == digit].mean(0) for digit in range(model.n_tasks)])
    codes = {"own_code": own, "one_code": own.mean(0).expand_as(own)}
    return {name: model.decoder(code, z).clamp(0, 1)[:, 0] for name, code in codes.items()}


def as_text(images: Tensor) -> str:
    """Images in [0, 1] as text, a byte for each pixel: :func:`from_text` reads it."""
    return base64.b64encode((255 * images).round().byte().cpu().numpy().tobytes()).decode()


def from_text(text: str) -> Tensor:
    """Images (N, 28, 28) in [0, 1] from a record's text."""
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8).view(-1, 28, 28) / 255


TOLD = {"n": 15_000, "width": 400, "beta": 0.1, "training": {"steps": 500, "batch_size": 128, "lr": 2e-3}}
ROWS = {
    "draw/naive": Row(drawn, "Z given, nothing else", {**TOLD, "method": "naive"}),
    "draw/frozen": Row(drawn, "all but the gates frozen after two digits", {**TOLD, "method": "frozen"}),
}
SMALL: dict[str, Settings] = {name: {"width": 16} for name in ROWS}
