"""The toy stream, whose two contexts return: what a learner has lost of the other one whenever a block ends.

Methods of continual learning meet a Gaussian likelihood here, and blocks in the place of contexts. The networks of all
seeds are trained in one pass (an update for each new sample, one Adam throughout, as in chapter 02); streams of further
seeds go with them, on which the settings of a method are chosen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers.bayes import window_posterior
from gbi_helpers.continual import EWC, Context, FineTuning, Inputs, LwF, Replay, Weights
from gbi_helpers.data.toy import Stream, steady_windows, switching_stream
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.experiments.toy.modules import forgetting
from gbi_helpers.experiments.toy.recipes import WINDOW, Run
from gbi_helpers.meter import bytes_of
from gbi_helpers.metrics import excess_error
from gbi_helpers.models.toy import ToyLSTM
from gbi_helpers.records import TrainingRecord
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit

Looks = dict[int, dict[str, dict[str, Tensor]]]  # samples seen -> way to come by z -> "previous", "current" (S,)
HELD_OUT = 1000  # the first seed of the streams on which settings are chosen
POINTS, LAST = 60, 4  # of a curve over the last blocks


class Stacked(nn.Module):
    """S networks as one model that counts windows on its first axis: x (N, S, T, D), z (N, S, T, K) -> (N, S, T, D)."""

    def __init__(self, net: ToyLSTM):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Prediction of the sample after each of x."""
        answer = self.net(*(part.transpose(0, 1).flatten(0, 1) for part in (x, z)))
        return answer.unflatten(0, (x.shape[1], -1)).transpose(0, 1)


# ---------------------------------------------------------------- methods


def squared(answer: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of (N, S, T, D), a sum over seeds, so that no seed touches another's gradient."""
    return (answer - y).square().mean((0, 2, 3)).sum()


class Plain(FineTuning):
    """Nothing is kept: descends the squared error."""

    def loss(self, model: nn.Module, inputs: Inputs, y: Tensor, outputs: Tensor) -> Tensor:
        """What a step descends, () for windows with the samples y (N, S, T, D) to be predicted."""
        return squared(model(*inputs), y)


class StreamEWC(EWC, Plain):
    """Springs whose stiffness fades by ``decay`` with every block (Schwarz et al. 2018, arXiv 1805.06370)."""

    def __init__(self, strength: float, decay: float = 0.9, samples: int = 20):
        super().__init__(strength, samples)
        self.decay = decay

    def after(self, model: nn.Module, context: Context) -> None:
        """Measure what mattered in the block, and hold it."""
        rows = torch.randperm(len(context.y), generator=self.draw, device=self.draw.device)[: self.samples]
        told = gaussian_fisher(model, [part[rows] for part in context.inputs], self.draw)
        self.springs = [({n: self.decay * value for n, value in how.items()}, rest) for how, rest in self.springs]
        self.hold(model, told)


def gaussian_fisher(model: nn.Module, inputs: Inputs, draw: torch.Generator) -> Weights:
    """Diagonal Fisher information of each weight for Gaussian samples around the answer: the mean over windows.

    In the unit of :func:`squared`, which is the negative log likelihood times 2 sd^2 / (T D); the sd falls out.
    """
    weights = dict(model.named_parameters())
    total = {name: torch.zeros_like(value) for name, value in weights.items()}
    for i in range(len(inputs[0])):
        answer = model(*(part[i : i + 1] for part in inputs))
        noise = torch.randn(answer.shape, generator=draw, dtype=answer.dtype, device=draw.device).to(answer.device)
        slopes = torch.autograd.grad((noise * answer).sum(), list(weights.values()))
        for name, slope in zip(weights, slopes, strict=True):
            total[name] += slope.square() * 2 / answer[0, 0].numel()
    return {name: value / len(inputs[0]) for name, value in total.items()}


class StreamLwF(LwF, Plain):
    """The net of the last block's end answers on the new windows; to depart from it costs ``strength``."""

    def __init__(self, strength: float):
        super().__init__()
        self.strength = strength

    def loss(self, model: nn.Module, inputs: Inputs, y: Tensor, outputs: Tensor) -> Tensor:
        """Squared error, and how far the answers have moved."""
        answer = model(*inputs)
        if not self.old:
            return squared(answer, y)
        with torch.no_grad():
            before = self.old(*inputs)
        return squared(answer, y) + self.strength * squared(answer, before)


class StreamReplay(Replay, Plain):
    """``size`` windows of the blocks so far, as many of each; a batch of them weighs as much as the new sample."""

    def loss(self, model: nn.Module, inputs: Inputs, y: Tensor, outputs: Tensor) -> Tensor:
        """Squared error on the new window and on stored ones."""
        new = Plain.loss(self, model, inputs, y, outputs)
        return (new + self._again(model, outputs)) / 2 if self.contexts else new

    def _again(self, model: nn.Module, outputs: Tensor) -> Tensor:
        rows = torch.randperm(len(self.y), generator=self.draw, device=self.draw.device)[: self.batch_size]
        return squared(model(*(part[rows] for part in self.inputs)), self.y[rows])

    def _balanced(self, y: Tensor, when: Tensor) -> Tensor:
        """Rows, at most ``size``: of the new ones a block's share, of the old ones the rest."""
        old = len(self.y) if self.contexts else 0
        new = old + torch.randperm(len(y) - old, generator=self.draw, device=self.draw.device)
        kept = torch.randperm(old, generator=self.draw, device=self.draw.device)
        share = self.size // (self.contexts + 1)
        return torch.cat([kept[: self.size - share], new[:share]])

    @property
    def stored(self) -> int:
        """The samples of each window."""
        return bytes_of(self.inputs[0], self.y[:, :, -1:])  # samples to be predicted are inputs too, but the last


METHODS = {"plain": Plain, "ewc": StreamEWC, "lwf": StreamLwF, "replay": StreamReplay}


# ---------------------------------------------------------------- through the blocks


def through(stream: Stream, network: Settings, method: FineTuning, at: Sequence[int], rows: int) -> Looks:
    """Train stacked networks on a stream and look, once they have seen ``at`` samples, at both contexts.

    Every look is :func:`~gbi_helpers.experiments.toy.modules.forgetting`, on ``rows`` fresh windows of each.
    """
    with usual_defaults():
        net = ToyLSTM(stream.seeds, **network, n_tasks=stream.n_contexts, size=stream.x.shape[2])
    model = Stacked(net.to(stream.x))
    samples, z = (part.unfold(1, WINDOW + 1, 1).permute(1, 0, 3, 2) for part in (stream.x, stream.z))
    data = samples[:, :, :-1], z[:, :, 1:], samples[:, :, 1:]
    every, found = torch.ones(1, dtype=torch.bool, device=stream.x.device), Looks()
    nothing = TrainingRecord(torch.empty(0, dtype=torch.float32, device="cpu"))

    def watch(step: int) -> dict[str, Any]:
        seen = step + WINDOW
        if seen in at:
            found[seen] = forgetting(Run(net, _until(stream, seen), nothing), rows)
        if seen % stream.block == 0:
            inputs = [part[max(seen - stream.block, 0) : step] for part in data]  # windows that lie in the block
            method.after(model, Context((inputs[0], inputs[1]), inputs[2], every))
        return {}

    fit(
        model,
        lambda batch: method.loss(model, batch[:-1], batch[-1], every),
        lambda step: tuple(part[step : step + 1] for part in data),
        steps=len(samples), lr=3e-3, schedule="constant", warm_up=0, batch_size=1, watch=watch, desc="the toy stream",
    )  # fmt: skip
    return found


def _until(stream: Stream, samples: int) -> Stream:
    return dataclasses.replace(stream, x=stream.x[:, :samples], context=stream.context[:, :samples])


def measured(world: Any, seeds: Sequence[int], settings: Settings) -> dict[int, dict[str, Any]]:
    """One method, for all seeds: excess error on both contexts at the ends of blocks, and over the last few of them.

    By way to come by z: "previous" and "current", means over the second half of the blocks; "blocks": at the end of
    each from the second on; "curve": over the last four, once so many samples ("seen") were seen. "tried": the mean
    of both contexts with each of ``options``, on held-out streams, by which one is "chosen", and on the seed's own.
    "bayes": the error of exact Bayes that sees the same six samples, and does not know the context.

    Noise and windows are drawn for a whole stack, so a seed is always measured in the stack that it belongs to,
    whatever other seeds are asked for.
    """
    size, found = settings["stack"], dict[int, dict[str, Any]]()
    for first in dict.fromkeys(seed - seed % size for seed in seeds):
        found |= _stack_measured(range(first, first + size), settings)
    return {seed: found[seed] for seed in seeds}


def _stack_measured(seeds: Sequence[int], settings: Settings) -> dict[int, dict[str, Any]]:
    """What is measured of the seeds of one stack, beside which the held-out streams go."""
    tested = len(seeds)
    stream = switching_stream([*seeds, *range(HELD_OUT, HELD_OUT + settings["held_out"])], **settings["stream"])
    ends = [stream.block * b for b in range(2, settings["stream"]["blocks"] + 1)]
    start, late = ends[-1] - LAST * stream.block, ends[len(ends) // 2 :]
    curve = sorted({start + round(LAST * stream.block * i / POINTS) for i in range(1, POINTS + 1)})
    methods = [METHODS[settings["method"]](**options) for options in settings["options"]]
    tries = [through(stream, settings["network"], method, [*ends, *curve], settings["rows"]) for method in methods]
    errors = torch.stack([torch.cat([_over(looks, late, "given", on) for on in BOTH]).mean(0) for looks in tries])
    held_out = errors[:, tested:].mean(1)
    best = int(held_out.argmin())
    facts = {"stored": methods[best].stored // stream.n_seeds, "bayes": bayes(stream)}
    return {
        seed: facts
        | {"tried": {"options": settings["options"], "held_out": held_out, "test": errors[:, at]}}
        | {"chosen": settings["options"][best]}
        | {way: _told(tries[best], way, {"blocks": ends, "curve": curve}, late, at) for way in tries[best][ends[-1]]}
        for at, seed in enumerate(seeds)
    }


BOTH = ("previous", "current")


def _over(looks: Looks, at: Sequence[int], way: str, on: str) -> Tensor:
    """Excess error (looks, S) once so many samples were seen."""
    return torch.stack([looks[seen][way][on] for seen in at])


def _told(
    looks: Looks, way: str, places: Mapping[str, Sequence[int]], late: Sequence[int], column: int
) -> dict[str, Any]:
    """What one way to come by z says of a seed, by its place in the stack: means over ``late``, and each of places."""
    found: dict[str, Any] = {on: _over(looks, late, way, on)[:, column].mean() for on in BOTH}
    for name, at in places.items():
        found[name] = {"seen": list(at)} | {on: _over(looks, at, way, on)[:, column] for on in BOTH}
    return found


def bayes(stream: Stream, rows: int = 5_000) -> float:
    """Excess error of exact Bayes after six samples from one context: what no learner without z can beat."""
    windows, context = steady_windows(stream.means, stream.sd, rows, WINDOW + 1, seed=9)
    predicted = window_posterior(windows, stream.means, stream.sd).exp() @ stream.means
    return float(excess_error(predicted, stream.means[context]).mean())


BLOCKS = {50: {"blocks": 40, "block": 50}}  # how many, and samples of each
LSTM, GBI = {"variant": "lstm"}, {"variant": "post"}
STRENGTHS = (1.0, 10.0, 100.0, 300.0, 1e3, 3e3, 1e4)
TRIED: dict[str, tuple[str, Settings, str, tuple[Settings, ...]]] = {
    "lstm": ("LSTM", LSTM, "plain", ({},)),
    "ewc": (
        "LSTM and EWC", LSTM, "ewc",
        tuple({"strength": strength, "decay": decay} for decay in (0.9, 1.0) for strength in STRENGTHS),
    ),
    "lwf": ("LSTM and LwF", LSTM, "lwf", tuple({"strength": strength} for strength in (0.01, 0.1, 0.3, 1.0, 3.0))),
    "replay": (
        "LSTM and replay of 100 stretches", LSTM, "replay",
        tuple({"size": 100, "batch_size": size} for size in (1, 10, 100)),
    ),
    "gbi": ("GBI-LSTM", GBI, "plain", ({},)),
}  # fmt: skip
ROWS = {
    f"toy/{name}_{block}": Row(
        measured, f"{words}, blocks of {block}",
        {"stream": stream, "network": network, "method": method, "options": options,
         "rows": 200, "stack": 5, "held_out": 5},
        together=True,
    )
    for block, stream in BLOCKS.items()
    for name, (words, network, method, options) in TRIED.items()
}  # fmt: skip
SMALL = {
    name: {
        "stream": {"blocks": 6, "block": 10}, "rows": 10, "stack": 2, "held_out": 1,
        "options": row.settings["options"][:2],
    }
    for name, row in ROWS.items()
}  # fmt: skip
