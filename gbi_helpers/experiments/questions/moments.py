"""Two factors of numbers, their mean and their spread: a world in which everything is known in closed form.

A window x (N, n) holds n samples of a Gaussian; z (N, K + A) is which of K means and which of A standard deviations,
or one number for each pair (N, K A). A decoder is a function of z that gives means and precisions (N,), known or
trained (:mod:`.moments_learned`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.inference import LossFn, one_step
from gbi_helpers.models.base import one_hot

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
    means, sds = levels(settings)
    sizes, blend = (len(means), len(sds)), settings["blend"]
    truth = gaussian("natural" if blend == "natural" else "sd", means, sds)
    reader = of_pairs if blend == "pairs" else read
    draw, found = torch.Generator().manual_seed(seed), {}
    for n in settings["samples"]:
        pairs = [any_of(range(sizes[0] * sizes[1]), settings[size], draw) for size in ("fit", "windows")]
        decoder = gaussian(blend, means, sds)
        known, asked = (reader(decoder, drawn(truth, pure(pair, sizes), n, draw), sizes) for pair in pairs)
        found[str(n)] = scored(known, asked, pairs[1])
    return found


def levels(settings: Settings) -> tuple[Tensor, Tensor]:
    """The means (K,) and the standard deviations (A,) of the settings, float64."""
    means, sds = (torch.tensor(settings[name], dtype=torch.float64, device="cpu") for name in ("means", "sds"))
    return means, sds


def any_of(among: Any, n: int, draw: torch.Generator) -> Tensor:
    """As many pairs, drawn evenly among these numbers."""
    numbers = torch.tensor(list(among), dtype=torch.int64, device="cpu")
    return numbers[torch.randint(len(numbers), (n,), generator=draw, device="cpu")]


# ---------------------------------------------------------------- the rows

LEVELS = {"means": (-0.3, -0.1, 0.1, 0.3), "sds": (0.05, 0.1, 0.2), "samples": (1, 5, 20)}
DATA = {**LEVELS, "fit": 2_000, "windows": 4_000}
WORDS = {
    "sd": "the deviation is linear in z",
    "variance": "the variance is linear in z",
    "log_sd": "its logarithm is linear in z",
    "precision": "the precision is linear in z",
    "pairs": "natural parameters, one z for each pair",
    "natural": "natural parameters are the factors",
}
ROWS: dict[str, Row] = {
    f"moments/{blend}": Row(known_decoder, words, {**DATA, "blend": blend}, times=2) for blend, words in WORDS.items()
}
_FEW = {"samples": (1, 3), "fit": 50, "windows": 60}
SMALL: dict[str, dict[str, Any]] = dict.fromkeys(ROWS, _FEW)
