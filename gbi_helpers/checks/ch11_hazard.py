"""Exercise of chapter 11 on choosing a hazard without labels; see :mod:`~gbi_helpers.checks.ch11`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.ch11_table import leak, leak_anywhere
from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, uniform, whole


def _choice_inputs(draw: Generator, length: int, tasks: int, true: tuple[float, float], least: float = 0.0) -> Inputs:
    """Evidence of two streams with hazards of their own, the first one's tasks, and hazards to choose from."""
    (evidence, task), (test, _) = (_stream(draw, length + n, tasks, hazard, least) for n, hazard in enumerate(true))
    return evidence, task, test, torch.tensor([0.01, 0.03, 0.1, 0.3, 0.6], dtype=torch.float64, device=draw.device)


def _stream(draw: Generator, length: int, tasks: int, hazard: float, least: float) -> tuple[Tensor, Tensor]:
    """Log p (T, K) of samples from Gaussians around 0, 1, .., less ``least`` nats, and the tasks (T,)."""
    jump = whole(draw, 1, tasks, length) * (uniform(draw, length) < hazard)
    task = jump.cumsum(0) % tasks
    x = task + 0.6 * normal(draw, length)
    return -((x[:, None] - torch.arange(tasks, dtype=torch.float64, device=draw.device)) ** 2) / (
        2 * 0.6**2
    ) - least, task


Leak = Callable[[Tensor, Any], Tensor]


def _filtered(evidence: Tensor, hazards: Tensor, leaks: Leak = leak) -> tuple[Tensor, Tensor]:
    """Log beliefs (T, H, K) before each sample and after it, for each hazard (H,)."""
    prior, before, after = evidence.new_zeros(len(hazards), evidence.shape[1]).log_softmax(1), [], []
    for row in evidence:
        before.append(prior)
        after.append(torch.log_softmax(prior + row, 1))
        prior = leaks(after[-1], hazards[:, None])
    return torch.stack(before), torch.stack(after)


def _missed(evidence: Tensor, log_belief: Tensor) -> Tensor:
    """Nats (H,) a sample, whose tasks are believed in like that."""
    return -(log_belief + evidence[:, None]).logsumexp(2).mean(0)


def _nats(evidence: Tensor, hazards: Tensor, leaks: Leak = leak) -> Tensor:
    return _missed(evidence, _filtered(evidence, hazards, leaks)[0])


def _of_labels(evidence: Tensor, task: Tensor, hazards: Tensor, after: bool = True) -> Tensor:
    """Nats of the true task (H,)."""
    log_q = _filtered(evidence, hazards)[after]
    return -log_q.gather(2, task[:, None, None].expand(-1, len(hazards), 1)).mean((0, 2))


def _accuracy(evidence: Tensor, task: Tensor, hazards: Tensor) -> Tensor:
    return (_filtered(evidence, hazards)[1].argmax(2) == task[:, None]).double().mean(0)


def _chosen(evidence: Tensor, hazards: Tensor) -> Tensor:
    return hazards[_nats(evidence, hazards).argmin()]


_LABELS = (
    "You chose by the labels, which the stream does not have: that was only to tempt you. How well is each sample "
    "*predicted*?"
)
_ON_TEST = "You chose by the test stream: then nothing is left to say how well it does on a new one."

hazard_by_nats = Exercise(
    "hazard_by_nats",
    "student(validation (T, K), task (T,), test (U, K), hazards (H,)) -> nats (H,) a sample, the hazard that is "
    "chosen by it, and its nats a sample on test.",
    lambda e, y, test, hs: (_nats(e, hs), _chosen(e, hs), _nats(test, _chosen(e, hs)[None])[0]),
    [
        *drawn(1127, _choice_inputs, (40, 3, (0.1, 0.5)), (30, 2, (0.3, 0.03)), (50, 4, (0.03, 0.2))),
        *drawn(1133, _choice_inputs, (40, 3, (0.1, 0.5))),  # here the nats say otherwise than a count of the labels
    ],
    mistakes=[
        Mistake(lambda e, y, test, hs: _of_labels(e, y, hs), _LABELS, "nats"),
        Mistake(lambda e, y, test, hs: _of_labels(e, y, hs, after=False), _LABELS, "nats"),
        Mistake(lambda e, y, test, hs: 1 - _accuracy(e, y, hs), _LABELS, "nats"),
        Mistake(lambda e, y, test, hs: _nats(test, hs), _ON_TEST, "nats"),
        Mistake(
            lambda e, y, test, hs: _missed(e, _filtered(e, hs)[1]),
            "You predicted each sample with the belief that had already seen it: use the one from before, after the "
            "leak.",
            "nats",
        ),
        Mistake(
            lambda e, y, test, hs: len(e) * _nats(e, hs),
            "That is the sum over the stream. Nats a *sample*, so that streams of other lengths compare.",
            "nats",
        ),
        Mistake(
            lambda e, y, test, hs: _nats(e, hs, leak_anywhere),
            "You let a jump end where it began. A switch goes to one of the *other* K - 1.",
            "nats",
        ),
        Mistake(
            lambda e, y, test, hs: -(_filtered(e, hs)[1].exp() * e[:, None]).sum(2).mean(0),
            "That is the mean nats of the slots that are believed in. A sample's own probability is a *sum* over the "
            "slots: minus logsumexp(prior + evidence).",
            "nats",
        ),
        Mistake(
            lambda e, y, test, hs: _nats(e, hs).argmin(),
            "That is the *place* of the best one. Return the hazard.",
            "hazard",
        ),
        Mistake(
            lambda e, y, test, hs: hs[_nats(e, hs).argmax()],
            "That is the hazard under which the stream is least likely: few nats are good.",
            "hazard",
        ),
        Mistake(lambda e, y, test, hs: hs[_accuracy(e, y, hs).argmax()], _LABELS, "hazard"),
        Mistake(lambda e, y, test, hs: hs[(hs - (y.diff() != 0).double().mean()).abs().argmin()], _LABELS, "hazard"),
        Mistake(lambda e, y, test, hs: hs[_of_labels(e, y, hs).argmin()], _LABELS, "hazard"),
        Mistake(lambda e, y, test, hs: _chosen(test, hs), _ON_TEST, "hazard"),
        Mistake(
            lambda e, y, test, hs: _nats(test, hs).amin(),
            "That is the best of all hazards on test, chosen by test. Report the one that validation chose, even if "
            "it is not the best there.",
            "test_nats",
        ),
        Mistake(
            lambda e, y, test, hs: _nats(e, hs).amin(),
            "These are the nats on which it was chosen. How does it do on the *test* stream?",
            "test_nats",
        ),
        Mistake(
            lambda e, y, test, hs: _nats(test, hs).mean(),
            "That is the mean over all hazards. One was chosen.",
            "test_nats",
        ),
        Mistake(
            lambda e, y, test, hs: len(test) * _nats(test, _chosen(e, hs)[None])[0],
            "That is the sum over the test stream. Nats a *sample*.",
            "test_nats",
        ),
    ],
    hard=[
        (
            drawn(1128, _choice_inputs, (30, 3, (0.1, 0.1), 800.0))[0],
            "Right for small evidence, but where a sample is as unlikely as a picture, exp(evidence) is 0 for all "
            "slots. Stay in logs: logsumexp, log_softmax.",
        )
    ],
    parts=("nats", "hazard", "test_nats"),
)
