"""Two factors of numbers, their mean and their spread: a world in which everything is known in closed form.

A window x (N, n) holds n samples of a Gaussian; z (N, K + A) is which of K means and which of A standard deviations,
or one number for each pair (N, K A). A decoder is a function of z that gives means and precisions (N,), known or
trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers import metrics
from gbi_helpers.experiments.study import Row
from gbi_helpers.inference import LossFn, one_step
from gbi_helpers.models.base import one_hot
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit

Settings = Mapping[str, Any]
Scores = dict[str, Any]
Gaussian = Callable[[Tensor], tuple[Tensor, Tensor]]  # z -> means and precisions (N,)
Pairs = tuple[int, int]  # how many means, how many standard deviations

# ---------------------------------------------------------------- what z says

BLENDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # precisions (N,) from weights (N, A) of deviations (A,)
    "sd": lambda z, sds: (z @ sds) ** -2,
    "variance": lambda z, sds: 1 / (z @ sds**2),
    "log_sd": lambda z, sds: (-2 * z @ sds.log()).exp(),
    "precision": lambda z, sds: z @ sds**-2,
}


def gaussian(blend: str, means: Tensor, sds: Tensor) -> Gaussian:
    """A decoder that is known: a pure z has one of the means (K,) and one of the standard deviations (A,).

    ``blend``: what of the spread is linear in z between them. "pairs": natural parameters mean / variance and
    -1 / (2 variance) are linear in a z of pairs. "natural": they are the two factors themselves, so that a pure z has
    one of the means at the middle deviation only.
    """
    if blend == "pairs":
        precision = (sds**-2).repeat(len(means))
        return lambda z: (z @ (means.repeat_interleave(len(sds)) * precision) / (z @ precision), z @ precision)
    if blend == "natural":
        first, precision = means / sds[len(sds) // 2] ** 2, sds**-2
        return lambda z: (z[:, : len(means)] @ first / (z[:, len(means) :] @ precision), z[:, len(means) :] @ precision)
    return lambda z: (z[:, : len(means)] @ means, BLENDS[blend](z[:, len(means) :], sds))


def drawn(decoder: Gaussian, z: Tensor, n: int, draw: torch.Generator) -> Tensor:
    """Windows (N, n) of a pure z each."""
    mean, precision = decoder(z)
    noise = torch.randn(len(z), n, generator=draw, dtype=z.dtype, device=z.device)
    return mean[:, None] + noise / precision.sqrt()[:, None]


def nll(decoder: Gaussian, x: Tensor) -> LossFn:
    """z -> -log p(x) of windows (N, n), in nats, but for what no z changes."""

    def loss(z: Tensor) -> Tensor:
        mean, precision = decoder(z)
        return (precision * (x - mean[:, None]).square().sum(1) - x.shape[1] * precision.log()) / 2

    return loss


# ---------------------------------------------------------------- reading z


def pure(pair: Tensor, sizes: Pairs) -> Tensor:
    """z (N, K + A), float64, of pairs numbered row by row (N,)."""
    halves = [one_hot(pair // sizes[1], sizes[0]), one_hot(pair % sizes[1], sizes[1])]
    return torch.cat(halves, 1).double()


def starts(n: int, sizes: Pairs) -> Tensor:
    """z (n, K + A) that favours no mean and no deviation, float64."""
    return pure(torch.arange(sizes[0] * sizes[1], device="cpu"), sizes).mean(0).expand(n, -1)


def slopes(loss: LossFn, z: Tensor, sizes: Pairs) -> tuple[Tensor, Tensor]:
    """Minus the gradient to means (N, K) and deviations (N, A) at z."""
    mean, sd = one_step(loss, z, space="free").score.split(sizes, 1)
    return mean, sd


def all_pairs(loss: LossFn, n: int, sizes: Pairs) -> Tensor:
    """Scores (n, K, A) by a pass for each pair: exact Bayes with a flat prior."""
    each = pure(torch.arange(sizes[0] * sizes[1], device="cpu"), sizes)
    with torch.no_grad():
        return torch.stack([-loss(z.expand(n, -1)) for z in each], 1).view(-1, *sizes)


def in_one_step(loss: LossFn, n: int, sizes: Pairs) -> Tensor:
    """The same from one gradient for both factors."""
    mean, sd = slopes(loss, starts(n, sizes), sizes)
    return mean[:, :, None] + sd[:, None]


def in_turn(loss: LossFn, n: int, sizes: Pairs) -> Tensor:
    """From three gradients: one for both; for the deviation at what that says of the mean; for the mean at that."""
    z0, k = starts(n, sizes), sizes[0]
    mean, _ = slopes(loss, z0, sizes)
    sd = slopes(loss, torch.cat([mean.softmax(1), z0[:, k:]], 1), sizes)[1]
    mean = slopes(loss, torch.cat([z0[:, :k], sd.softmax(1)], 1), sizes)[0]
    return mean[:, :, None] + sd[:, None]


def at_each_sd(loss: LossFn, n: int, sizes: Pairs) -> Tensor:
    """From a gradient for the mean at each deviation: linear in the mean alone."""
    found = []
    for z_sd in torch.eye(sizes[1], dtype=torch.float64, device="cpu"):
        z = torch.cat([starts(n, sizes)[:, : sizes[0]], z_sd.expand(n, -1)], 1)
        step = one_step(loss, z, space="free")
        slope = step.score[:, : sizes[0]]
        found.append(slope - slope.mean(1, keepdim=True) - step.loss[:, None])
    return torch.stack(found, 2)


def centred(scores: Tensor) -> Tensor:
    """Scores (N, K, A) that sum to 0 in each window."""
    return scores - scores.mean((1, 2), keepdim=True)


def without_interaction(scores: Tensor) -> Tensor:
    """The nearest sum of a score for each mean and one for each deviation, which is all that one gradient can say."""
    return centred(scores).mean(2, keepdim=True) + centred(scores).mean(1, keepdim=True)


FEW = {"one_step": in_one_step, "three_steps": in_turn, "each_sd": at_each_sd}
# Passes through the decoder, a gradient being two; a score is known before delta for the same price as after it.
PRICES = {"one_step": 2, "three_steps": 6, "each_sd": 6, "bayes": 12}


def read(decoder: Gaussian, x: Tensor, sizes: Pairs) -> dict[str, Tensor]:
    """Scores (N, K, A) by each way; "additive": those of Bayes without their interaction."""
    loss = nll(decoder, x)
    bayes = all_pairs(loss, len(x), sizes)
    few = {name: way(loss, len(x), sizes) for name, way in FEW.items()}
    return {**few, "additive": without_interaction(bayes), "bayes": bayes}


def of_pairs(decoder: Gaussian, x: Tensor, sizes: Pairs) -> dict[str, Tensor]:
    """The same of a z of pairs, which has one gradient and no turns."""
    loss, k = nll(decoder, x), sizes[0] * sizes[1]
    each = torch.eye(k, dtype=torch.float64, device="cpu")
    step = one_step(loss, each.mean(0).expand(len(x), -1))
    with torch.no_grad():
        bayes = torch.stack([-loss(z.expand(len(x), -1)) for z in each], 1)
    return {"one_step": step.score.view(-1, *sizes), "bayes": bayes.view(-1, *sizes)}


def repaired(known: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All ways, and once more with the mean gap put back that ``known`` has on other windows: a number for a pair."""
    ways = dict(found)
    for name in found:
        if name != "bayes":
            ways[f"{name}_delta"] = centred(found[name]) + centred(known["bayes"] - known[name]).mean(0)
    return ways


def right(scores: Tensor, pair: Tensor, bayes: Tensor | None = None) -> dict[str, float]:
    """Percent of windows of which both factors are named right, each of them, and both as Bayes names them."""
    best, n_sds = scores.flatten(1).argmax(1), scores.shape[2]
    found = {
        "both": metrics.accuracy(best, pair),
        "mean": metrics.accuracy(best // n_sds, pair // n_sds),
        "sd": metrics.accuracy(best % n_sds, pair % n_sds),
    }
    if bayes is not None:
        found["agreement"] = metrics.accuracy(best, bayes.flatten(1).argmax(1))
    return found


def gap(scores: Tensor, bayes: Tensor) -> dict[str, float]:
    """What scores (N, K, A) leave out: "nats", its root mean square; "within", percent of its square within windows.

    What lies within is another for each x, so no constant delta removes it; "interaction": the percent of that which is
    no sum over the two factors.
    """
    left = centred(bayes - scores)
    within = left - left.mean(0)
    total, inside = float(left.square().mean()), float(within.square().mean())
    mixed = float((within - without_interaction(within)).square().mean())
    return {"nats": total**0.5, "within": 100 * inside / total, "interaction": 100 * mixed / max(inside, 1e-12)}


def scored(known: Mapping[str, Tensor], found: Mapping[str, Tensor], pair: Tensor) -> Scores:
    """:func:`right` of all ways, and the :func:`gap` of one step."""
    ways = {name: right(scores, pair, found["bayes"]) for name, scores in repaired(known, found).items()}
    return {**ways, "gap": gap(found["one_step"], found["bayes"])}


# ---------------------------------------------------------------- a decoder that is known


def known_decoder(world: Any, seed: int, settings: Settings) -> Scores:
    """Percent right by each way to read z, for each number of samples in a window."""
    means, sds = _levels(settings)
    sizes, blend = (len(means), len(sds)), settings["blend"]
    truth = gaussian("natural" if blend == "natural" else "sd", means, sds)
    reader = of_pairs if blend == "pairs" else read
    draw, found = torch.Generator().manual_seed(seed), {}
    for n in settings["samples"]:
        pairs = [_any(range(sizes[0] * sizes[1]), settings[size], draw) for size in ("fit", "windows")]
        decoder = gaussian(blend, means, sds)
        known, asked = (reader(decoder, drawn(truth, pure(pair, sizes), n, draw), sizes) for pair in pairs)
        found[str(n)] = scored(known, asked, pairs[1])
    return found


def _levels(settings: Settings) -> tuple[Tensor, Tensor]:
    means, sds = (torch.tensor(settings[name], dtype=torch.float64, device="cpu") for name in ("means", "sds"))
    return means, sds


def _any(among: Any, n: int, draw: torch.Generator) -> Tensor:
    """As many pairs, drawn evenly among these numbers."""
    numbers = torch.tensor(list(among), device="cpu")
    return numbers[torch.randint(len(numbers), (n,), generator=draw, device="cpu")]


# ---------------------------------------------------------------- decoders and classifiers that are trained


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
    means, sds = _levels(settings)
    sizes, truth = (len(means), len(sds)), gaussian("sd", means, sds)
    never = held_out(sizes, seed)
    shown = [pair for pair in range(sizes[0] * sizes[1]) if pair not in never]
    draw, found = torch.Generator().manual_seed(seed), {}
    for n in settings["samples"]:
        model = _fitted(truth, shown, sizes, n, seed, settings)
        x = {}
        for name, among, size in (("fit", shown, "fit"), ("seen", shown, "windows"), ("unseen", never, "windows")):
            pair = _any(among, settings[size], draw)
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


def _fitted(truth: Gaussian, shown: list[int], sizes: Pairs, n: int, seed: int, settings: Settings) -> nn.Module:
    order, size = settings["order"], settings["batch_size"]
    torch.manual_seed(seed)
    with usual_defaults():
        model = Named(sizes, settings["width"]) if order == "classifier" else Learned(order, sizes, settings["width"])
    draw = torch.Generator().manual_seed(1000 + seed)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        pair = _any(shown, size, draw)
        return drawn(truth, pure(pair, sizes), n, draw), pair

    def loss(both: tuple[Tensor, Tensor]) -> Tensor:
        x, pair = both
        if order == "classifier":
            return functional.cross_entropy(model(x).flatten(1), pair)
        return nll(model, x)(pure(pair, sizes)).mean() / n

    fit(model, loss, batch, steps=settings["steps"], lr=settings["lr"], batch_size=size, seed=seed)
    return model.eval()


# ---------------------------------------------------------------- the rows

LEVELS = {"means": (-0.3, -0.1, 0.1, 0.3), "sds": (0.05, 0.1, 0.2), "samples": (1, 5, 20)}
DATA = {**LEVELS, "fit": 2_000, "windows": 4_000}
TRAINING = {"steps": 1_500, "batch_size": 128, "lr": 1e-2, "width": 32}
WORDS = {
    "sd": "the deviation is linear in z",
    "variance": "the variance is linear in z",
    "log_sd": "its logarithm is linear in z",
    "precision": "the precision is linear in z",
    "pairs": "natural parameters, one z for each pair",
    "natural": "natural parameters are the factors",
}
ORDERS = {
    "joined": "trained: both factors side by side",
    "product": "trained: one multiplied by the other",
    "separate": "trained: each where it belongs",
    "classifier": "classifier with two heads",
}
ROWS: dict[str, Row] = {
    **{f"moments/{blend}": Row(known_decoder, words, {**DATA, "blend": blend}) for blend, words in WORDS.items()},
    **{
        f"moments/trained_{order}": Row(trained, words, {**DATA, **TRAINING, "order": order})
        for order, words in ORDERS.items()
    },
}
_FEW = {"samples": (1, 3), "fit": 50, "windows": 60, "steps": 20}
SMALL: dict[str, dict[str, Any]] = {
    name: {key: value for key, value in _FEW.items() if key in row.settings} for name, row in ROWS.items()
}
