"""Mean and spread as two factors once more, by decoders and a classifier that are trained and never see some pairs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.experiments.questions.moments import (
    DATA,
    Gaussian,
    Pairs,
    all_pairs,
    any_of,
    drawn,
    gaussian,
    levels,
    nll,
    pure,
    read,
    right,
    scored,
)
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit

Scores = dict[str, Any]


def held_out(sizes: Pairs, held: int) -> list[int]:
    """The numbers of the pairs that are never shown: of each mean one deviation; ``held`` moves them all."""
    return [mean * sizes[1] + (mean + held) % sizes[1] for mean in range(sizes[0])]


class Learned(nn.Module):
    """Means and log deviations by a hidden layer that sees both factors side by side ("joined") or multiplied.

    "separate": the mean from the first alone, the log deviation from the second: as a sample is made.
    """

    def __init__(self, order: str, sizes: Pairs, width: int):
        super().__init__()
        self.order, self.sizes = order, sizes
        self.first = nn.Linear(sizes[0] if order == "product" else sum(sizes), width)
        self.second, self.out = nn.Linear(sizes[1], width), nn.Linear(width, 2)
        self.mean, self.log_sd = (nn.Linear(size, 1, bias=False) for size in sizes)
        self.double()

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Means and precisions (N,) from z (N, K + A)."""
        one, other = z.split(self.sizes, 1)
        if self.order == "separate":
            said = torch.cat([self.mean(one), self.log_sd(other)], 1)
        elif self.order == "product":
            said = self.out(torch.tanh(self.first(one)) * self.second(other))
        else:
            said = self.out(torch.tanh(self.first(z)))
        return said[:, 0], (-2 * said[:, 1]).exp()


class Named(nn.Module):
    """The plain rival: scores of the pairs (N, K, A) by two heads on one network, told of all that matters in x."""

    def __init__(self, sizes: Pairs, width: int):
        super().__init__()
        self.sizes = sizes
        self.layers = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.out = nn.Linear(width, sum(sizes))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        """From windows (N, n): their mean, and their variance, which is 0 of one sample, plainly and as a logarithm."""
        spread = x.var(1, correction=0)
        mean, sd = self.out(self.layers(torch.stack([x.mean(1), spread, (spread + 1e-4).log()], 1))).split(
            self.sizes, 1
        )
        return mean[:, :, None] + sd[:, None]


def trained(world: Any, seed: int, settings: Settings) -> Scores:
    """Percent right on pairs seen in training and on pairs never seen, for each number of samples in a window.

    "bayes" is what the trained decoder says by all passes; "truth": Bayes who knows everything.
    """
    means, sds = levels(settings)
    sizes, truth = (len(means), len(sds)), gaussian("sd", means, sds)
    never = held_out(sizes, seed)
    shown = [pair for pair in range(sizes[0] * sizes[1]) if pair not in never]
    draw, found = torch.Generator().manual_seed(seed), {}
    for n in settings["samples"]:
        model = fitted(truth, shown, sizes, n, seed, settings)
        x = {}
        for name, among, size in (("fit", shown, "fit"), ("seen", shown, "windows"), ("unseen", never, "windows")):
            pair = any_of(among, settings[size], draw)
            x[name] = (drawn(truth, pure(pair, sizes), n, draw), pair)
        found[str(n)] = _read_trained(model, truth, x, sizes)
    return found


def _read_trained(model: nn.Module, truth: Gaussian, x: dict[str, tuple[Tensor, Tensor]], sizes: Pairs) -> Scores:
    found: Scores = {}
    known = None if isinstance(model, Named) else read(model, x["fit"][0], sizes)
    for name in ("seen", "unseen"):
        windows, pair = x[name]
        if known is None:
            with torch.no_grad():
                found[name] = {"classifier": right(model(windows), pair)}
        else:
            found[name] = scored(known, read(model, windows, sizes), pair)
        found[name]["truth"] = right(all_pairs(nll(truth, windows), len(windows), sizes), pair)
    return found


def fitted(truth: Gaussian, shown: list[int], sizes: Pairs, n: int, seed: int, settings: Settings) -> nn.Module:
    """A decoder, or the classifier, trained on new windows of n samples of the pairs ``shown`` in each step."""
    order, size = settings["order"], settings["batch_size"]
    torch.manual_seed(seed)
    with usual_defaults():
        model = Named(sizes, settings["width"]) if order == "classifier" else Learned(order, sizes, settings["width"])
    draw = torch.Generator().manual_seed(1000 + seed)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        pair = any_of(shown, size, draw)
        return drawn(truth, pure(pair, sizes), n, draw), pair

    def loss(both: tuple[Tensor, Tensor]) -> Tensor:
        x, pair = both
        if order == "classifier":
            return functional.cross_entropy(model(x).flatten(1), pair)
        return nll(model, x)(pure(pair, sizes)).mean() / n

    fit(model, loss, batch, steps=settings["steps"], lr=settings["lr"], batch_size=size, seed=seed)
    return model.eval()


TRAINING = {"steps": 1_500, "batch_size": 128, "lr": 1e-2, "width": 32}
ORDERS = {
    "joined": "trained: both factors side by side",
    "product": "trained: one multiplied by the other",
    "separate": "trained: each where it belongs",
    "classifier": "classifier with two heads",
}
ROWS: dict[str, Row] = {
    f"moments/trained_{order}": Row(trained, words, {**DATA, **TRAINING, "order": order}, times=2)
    for order, words in ORDERS.items()
}
_FEW = {"samples": (1, 3), "fit": 50, "windows": 60, "steps": 20}
SMALL: dict[str, dict[str, Any]] = dict.fromkeys(ROWS, _FEW)
