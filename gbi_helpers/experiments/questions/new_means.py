"""A mean that no network was trained on: a Z that names means, a context and weights trained to be adapted, and none.

The network of chapters 02 to 04 with a gate after its recurrence, the same for all. It reads a window from a zero on,
so that it predicts the first sample too, from z alone. All losses are in nats a sample.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from gbi_helpers.adaptation import Inner, Moving, TaskLoss, at_best_rate, outer_loss, tried
from gbi_helpers.experiments.study import Settings
from gbi_helpers.models.toy import ToyLSTM
from gbi_helpers.training import fit

WINDOW = 5
WHERE = ("validation", "inside", "beyond")


def new_means(world: Any, seeds: Sequence[int], settings: Settings) -> dict[int, dict[str, Any]]:
    """Nats a sample above those of who knows the mean, on further samples of means never trained, for each seed.

    For each number of ``samples`` adapted on, each place of the means ("inside" the square of the trained ones, and
    "beyond") and each side: by number of steps (``looks``) a pair, the mean over five samples read in a row, each
    after those before, and the first of them. All settings of adaptation are chosen on validation means "inside".
    """
    tasks = [Means(seed, settings) for seed in seeds]
    found: dict[int, dict[str, Any]] = {seed: {} for seed in seeds}
    networks: dict[Any, ToyLSTM] = {}
    for name, side in settings["sides"].items():
        key = side["told"], side.get("inner")
        if key not in networks:
            networks[key] = trained(tasks, *key, settings)
        for samples in settings["samples"]:
            scores = adapted(networks[key], tasks, side["moves"], samples, side["rates"], settings)
            for row, seed in enumerate(seeds):
                found[seed].setdefault(str(samples), {})[name] = chosen(scores, row)
    for task in tasks:
        for samples, sides in found[task.seed].items():
            sides |= untrained(task, int(samples), settings)
    return found


class Means:
    """The means of one seed: ``trained`` (K, D), and those of :data:`WHERE`, (M, D) each; and samples of them."""

    def __init__(self, seed: int, settings: Settings):
        self.sd, self.seed = settings["sd"], seed
        self.draw = torch.Generator().manual_seed(60_000 + seed)
        sizes = settings["tasks"]
        self.trained = self._uniform(settings["n_trained"], 2)
        self.validation, self.inside = self._uniform(sizes, 2), self._uniform(sizes, 2)
        turn = 2 * torch.pi * self._uniform(sizes)
        self.beyond = 0.5 + torch.stack([turn.cos(), turn.sin()], 1)  # half a side or more off the square's edges

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.draw, dtype=torch.float32, device=self.draw.device)

    def around(self, means: Tensor, *shape: int) -> Tensor:
        """Samples (M, ..., D) around means (M, D)."""
        size = (len(means), *shape, means.shape[1])
        noise = torch.randn(size, generator=self.draw, dtype=torch.float32, device=self.draw.device)
        return means.view(len(means), *[1] * len(shape), -1) + self.sd * noise


# ---------------------------------------------------------------- training


def trained(tasks: Sequence[Means], told: str, inner: Inner | None, settings: Settings) -> ToyLSTM:
    """One network for each seed. ``told``: "names", one-hot; "nothing", 1/K; "context" and "weights": meta-trained.

    An update sees two windows of five samples for each of some drawings of each mean. Those that are meta-trained make
    steps on one, by ``inner``, their rate and number, and learn from the other, the weights to first order; the others
    learn from both.
    """
    model = ToyLSTM([task.seed for task in tasks], "post", "learned", n_tasks=settings["n_trained"], size=2, hidden=32)
    rows, steps, sd = settings["n_trained"] * settings["drawings"], settings["steps"], settings["sd"]
    means = [task.trained.repeat_interleave(settings["drawings"], 0) for task in tasks]
    draws = [Means(task.seed, settings) for task in tasks]  # all sides meet the same samples
    eye = torch.eye(settings["n_trained"], dtype=torch.float32, device="cpu")
    names = eye.repeat_interleave(settings["drawings"], 0).repeat(len(tasks), 1)

    def batch(step: int) -> Tensor:
        return torch.cat([d.around(m, 2, WINDOW) for d, m in zip(draws, means, strict=True)])

    def loss(x: Tensor) -> Tensor:
        one, other = (evidence(model, x[:, None, half], sd) for half in (0, 1))
        return outer_loss(told, one, other, names, lambda moves: beginning(model, len(x), moves), inner).sum() / rows

    fit(model, loss, batch, steps=steps, lr=settings["lr"], batch_size=rows, desc=f"told {told}", optimizer=_ADAM)
    return model


_ADAM = functools.partial(torch.optim.Adam, fused=True)


def beginning(model: ToyLSTM, n: int, moves: str) -> dict[str, Tensor]:
    """What moves, from its start, for n tasks, seed after seed: z from 1/K, or logits of z from 0, or all weights."""
    if moves == "weights":
        own = model.named_parameters()
        return {name: value.repeat_interleave(n // model.n_seeds, 0) for name, value in own}
    level = 0.0 if moves == "logits" else 1 / model.n_tasks
    name = "logits" if moves == "logits" else "z"
    return {name: model.bias_out.new_full((n, model.n_tasks), level)}


def predicted(model: ToyLSTM, x: Tensor, moved: Moving) -> Tensor:
    """Prediction of each sample of x (T, W, time, D) from those before in its window, T tasks, seed after seed."""
    n, windows = x.shape[:2]
    history = torch.nn.functional.pad(x, (0, 0, 1, 0))[:, :, :-1].flatten(0, 1)
    if "logits" in moved or "z" in moved:
        z = moved["z"] if "z" in moved else moved["logits"].softmax(-1)
        return model(history, z.repeat_interleave(windows, 0)).unflatten(0, (n, windows))
    return functional_call(model, dict(moved), (history,)).unflatten(0, (n, windows))


def evidence(model: ToyLSTM, x: Tensor, sd: float) -> TaskLoss:
    """Nats a sample (T,) of x (T, W, time, D) as a function of what moves, up to a constant."""
    return lambda moved: nats(predicted(model, x, moved), x, sd).mean((1, 2))


def nats(prediction: Tensor, x: Tensor, sd: float) -> Tensor:
    """Squared error in units of nats, summed over the last axis."""
    return (prediction - x).square().sum(-1) / (2 * sd**2)


# ---------------------------------------------------------------- adapting


def asked(task: Means, where: str, samples: int, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Windows to adapt on, (M, W, time, D), windows to be asked on, (M, windows, 5, D), and the means (M, D)."""
    means = getattr(task, where)
    own = Means(task.seed, settings)
    own.draw.manual_seed(70_000 + 10 * task.seed + WHERE.index(where))
    time = min(samples, WINDOW)
    return own.around(means, samples // time, time), own.around(means, settings["windows"], WINDOW), means


def adapted(
    model: ToyLSTM, tasks: Sequence[Means], moves: str, samples: int, rates: Sequence[float], settings: Settings
) -> dict[str, Tensor]:
    """Nats (rates, looks, S, M, 2) at each place."""
    found = {}
    for where in WHERE:
        parts = [asked(task, where, samples, settings) for task in tasks]
        learn, test, means = (torch.cat(part) for part in zip(*parts, strict=True))
        frozen = model.copied(torch.float32).requires_grad_(False)
        start = beginning(frozen, len(learn), moves)
        query = _asked_on(frozen, test, means, settings["sd"])
        scores = tried(evidence(frozen, learn, settings["sd"]), query, start, rates, settings["looks"])
        found[where] = scores.unflatten(2, (len(tasks), -1))
    return found


def _asked_on(model: ToyLSTM, x: Tensor, means: Tensor, sd: float) -> Callable[[Moving], Tensor]:
    """Nats (T, 2) above those of who knows the means (T, D): of all samples of a window, and of the first."""

    def query(moved: Moving) -> Tensor:
        above = nats(predicted(model, x, moved), means[:, None, None], sd).mean(1)
        return torch.stack([above.mean(1), above[:, 0]], 1)

    return query


def chosen(scores: Mapping[str, Tensor], row: int) -> dict[str, Any]:
    """Of one seed's scores, by place, those at the rates that suit its validation means; and these rates' numbers."""
    own = {where: score[:, :, row] for where, score in scores.items()}
    found: dict[str, Any] = {where: at_best_rate(own["validation"], own[where])[0] for where in ("inside", "beyond")}
    return found | {"rates": at_best_rate(own["validation"], own["inside"])[1]}


def untrained(task: Means, samples: int, settings: Settings) -> dict[str, dict[str, Tensor]]:
    """Pairs as above of who averages all samples seen; "shrunk": with the trained means' mean, of a chosen weight."""
    weights = torch.tensor(settings["weights"], dtype=torch.float32, device="cpu")
    scores = {where: _averaged(task, where, samples, weights, settings) for where in WHERE}
    best = scores["validation"].argmin(0)
    shrunk = {where: scores[where].gather(0, best[None])[0] for where in ("inside", "beyond")}
    return {"mean": {where: scores[where][0] for where in ("inside", "beyond")}, "shrunk": shrunk}


def _averaged(task: Means, where: str, samples: int, weights: Tensor, settings: Settings) -> Tensor:
    learn, test, means = asked(task, where, samples, settings)
    before = test.cumsum(2) - test + learn.sum((1, 2))[:, None, None]
    weight = weights.view(-1, 1, 1, 1, 1)
    count = samples + torch.arange(WINDOW, device=test.device)[:, None]
    guess = (before + weight * task.trained.mean(0)) / (count + weight)
    above = nats(guess, means[:, None, None], task.sd).mean((1, 2))
    return torch.stack([above.mean(1), above[:, 0]], 1)
