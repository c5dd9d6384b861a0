"""Exercise of chapter 10: seven forwards a sample for a hundred tasks; see :mod:`~gbi_helpers.checks.ch10`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from gbi_helpers.checks.contest import Duel
from gbi_helpers.checks.exercise import Mistake, drawn, normal, whole
from gbi_helpers.checks.priced import Ask, unspent
from gbi_helpers.inference import max_entropy

TASKS, SAMPLES, BUDGET = 100, 300, 7
Decoder = Callable[[Tensor, Tensor], Tensor]  # z (N, K), rows (N,) -> what it says of these samples (N, D)
Problem = tuple[Ask, Tensor, Tensor]  # what may be asked, the uniform start, and the task that all passes name


def _linear(draw: Generator, samples: int, size: int, spread: float) -> Decoder:
    """Patterns of different lengths."""
    patterns = normal(draw, TASKS, size) * torch.exp(spread * normal(draw, TASKS, 1))
    return lambda z, rows: z @ patterns


def _bent(draw: Generator, samples: int, size: int, gain: float, own: float, hidden: int = 30) -> Decoder:
    """A bent layer, which besides Z reads a code of the sample's own."""
    inward, outward = gain * normal(draw, TASKS, hidden), 2 * normal(draw, hidden, size) / hidden**0.5
    code = own * normal(draw, samples, hidden)
    return lambda z, rows: torch.tanh(code[rows] + z @ inward) @ outward


def _problem(draw: Generator, samples: int, made: Callable[..., Decoder], sd: float, *shape: float) -> Problem:
    """Samples of a decoder's own, each from one of the tasks, with noise ``sd``."""
    decoder, rows = made(draw, samples, *shape), torch.arange(samples, device=draw.device)
    tasks = torch.eye(TASKS, dtype=torch.float64, device=draw.device)
    x = decoder(tasks[whole(draw, 0, TASKS, samples)], rows) + sd * normal(draw, samples, int(shape[0]))

    def loss_of(z: Tensor, rows: Tensor) -> Tensor:
        return (x[rows] - decoder(z, rows)).square().sum(1) / (2 * sd**2)

    exact = torch.stack([loss_of(task.expand(samples, -1), rows) for task in tasks], 1)
    z0 = max_entropy(samples, TASKS, torch.float64, draw.device)
    return Ask(loss_of, samples, BUDGET), z0, exact.argmin(1)


def problems(seed: int, samples: int = SAMPLES) -> list[Problem]:
    """A linear-Gaussian decoder, a bent one, and one so bent that curvature is each sample's own."""
    kinds = ((_linear, 1.0, 25, 0.3), (_bent, 0.7, 15, 0.4, 0.4), (_bent, 1.0, 25, 1.0, 1.0))
    return drawn(seed, _problem, *[(samples, *kind) for kind in kinds])


def _best_of(ask: Ask, score: Tensor, largest: bool = False) -> Tensor:
    """The tasks (B, m) of the best scores, as many as can be paid for; of these the one with the least loss."""
    best = score.topk(int(ask.left + 1e-9), 1).indices
    losses = torch.stack([ask.loss(one_hot(task, TASKS)) for task in best.T], 1)
    return best.gather(1, (losses if largest else -losses).argmax(1, keepdim=True))[:, 0]


def _one_step(ask: Ask, z0: Tensor) -> Tensor:
    return unspent(ask).gradient(z0)[1].argmin(1)


def _top_five(ask: Ask, z0: Tensor) -> Tensor:
    ask = unspent(ask)
    return _best_of(ask, -ask.gradient(z0)[1])


def _all_gaps(ask: Ask, z0: Tensor) -> Tensor:
    """What all samples have in common costs each of them one pass: delta, each sample at another task."""
    ask = unspent(ask)
    loss, slope = ask.gradient(z0)
    task = one_hot(torch.arange(len(z0), device=z0.device) % TASKS, TASKS).to(slope)
    missed = loss - ask.loss(task) + ((task - z0) * slope).sum(1)
    delta = task.T @ missed / task.sum(0)
    return _best_of(ask, delta - slope)


def _backwards(ask: Ask, z0: Tensor) -> Tensor:
    ask = unspent(ask)
    return _best_of(ask, ask.gradient(z0)[1])


def _worst(ask: Ask, z0: Tensor) -> Tensor:
    ask = unspent(ask)
    return _best_of(ask, -ask.gradient(z0)[1], largest=True)


_problems = problems(1012)  # a draw on which each way does about what it does on average

beat_rescoring = Duel(
    "beat_rescoring",
    f"student(ask, z0 (B, {TASKS})) -> the task (B,) of each sample, for at most {BUDGET} forwards a sample: "
    "ask.loss(z) costs 1, ask.gradient(z) 2, which returns loss and gradient.",
    _all_gaps,
    [problem[:2] for problem in _problems],
    mistakes=[
        Mistake(
            _one_step,
            f"That is one step: {BUDGET - 2} of your {BUDGET} forwards are unspent.",
        ),
        Mistake(
            _top_five,
            f"That is one step with its best {BUDGET - 2} re-scored: the one to beat. What do all samples of a batch "
            "have in common?",
        ),
        Mistake(
            _backwards,
            "You re-scored the tasks with the largest gradient, where the loss *rises* fastest.",
        ),
        Mistake(
            _worst,
            "Of those re-scored you named the one with the largest loss. The smallest loss explains most.",
        ),
    ],
    truth=[problem[2] for problem in _problems],
    rival=_top_five,
    lead=2.0,
)


def another(seed: int) -> Duel:
    """The same on another draw of its problems."""
    anew = problems(seed)
    return replace(beat_rescoring, cases=[problem[:2] for problem in anew], truth=[problem[2] for problem in anew])
