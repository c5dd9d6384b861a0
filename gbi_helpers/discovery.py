"""Tasks that nobody names: a filter guesses the task of each sample, and the network learns from its guess.

For each sample of an unlabelled stream there is an E-step, Bayes' rule with the evidence of one gradient (or of all
slots), and an M-step, one step of an optimiser on the weights with z = the belief. A slot is a task that has no name
yet; there may be more slots than tasks. Two numbers are estimated on the way:

- the noise, as the running mean of the squared error. It anneals by itself: while nothing is known it looks large, and
  beliefs stay vague.
- the hazard, by online EM (Mongillo and Deneve 2008, doi 10.1162/neco.2008.10-06-351): what the filter expects of the
  share of switches so far is carried along for each slot, so evidence that comes after a switch still counts for it.
  The true hazard is at rest: the mean of an expectation under the true model is the truth.

One step's gap is dangerous here, as it fulfils itself: a slot that is never chosen is never trained.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from gbi_helpers.guards import is_any
from gbi_helpers.inference import max_entropy, one_step
from gbi_helpers.models.slots import Stream
from gbi_helpers.progress import progress_bar
from gbi_helpers.records import Record

Evidence = Literal["one_step", "corrected", "exact"]

# ---------------------------------------------------------------- the filter


def predict(log_belief: Tensor, hazard: float | Tensor, towards: Tensor | None = None) -> Tensor:
    """Log belief (..., K) before the next sample, from the one after the last: with chance ``hazard`` the task jumps.

    ``hazard``: a number, or (...,). A jump never ends where it began. Other slots are as likely, or in proportion to
    ``towards`` (..., K), which sums to 1 and is below 1 everywhere.
    """
    h, u = _jumps(log_belief, hazard, towards)
    left = log_belief.exp() / (1 - u)
    come = (u * (left.sum(-1, keepdim=True) - left)).clamp_min(0)
    return torch.logaddexp(log_belief + torch.log1p(-h), (h * come).log())


def update(log_prior: Tensor, score: Tensor) -> Tensor:
    """Bayes' rule: log belief (..., K) from the log belief before and the ``score`` (..., K) of each slot, in nats."""
    return torch.log_softmax(log_prior + score, dim=-1)


def count_switches(
    switches: Tensor,
    log_belief: Tensor,
    log_prior: Tensor,
    hazard: float | Tensor,
    weight: float,
    towards: Tensor | None = None,
) -> Tensor:
    """The share of switches among the samples so far (..., K), as expected if the next sample is of slot k.

    ``switches`` (..., K): the same one sample before. ``log_belief``: then; ``log_prior``: what :func:`predict` made of
    it. ``weight``: of the new sample, the past keeping the rest. Its mean under the next belief is the estimate of the
    hazard. Exact for ``weight`` = 1 / the number of samples and a fixed ``hazard``.
    """
    h, u = _jumps(log_belief, hazard, towards)
    stayed = (log_belief + torch.log1p(-h) - log_prior).exp()
    told = switches * log_belief.exp() / (1 - u)
    jumped = h * u * (told.sum(-1, keepdim=True) - told) / log_prior.exp()
    return (1 - weight) * (stayed * switches + jumped) + weight * (1 - stayed)


def _jumps(like: Tensor, hazard: float | Tensor, towards: Tensor | None) -> tuple[Tensor, Tensor]:
    """The hazard as (..., 1), and where jumps go, (..., K)."""
    h = torch.as_tensor(hazard, dtype=like.dtype, device=like.device)[..., None]
    return h, torch.full_like(like, 1 / like.shape[-1]) if towards is None else towards


def merged(divergence: Tensor, usage: Tensor, below: float) -> Tensor:
    """The name of each slot, (K,) int64: its own number, or that of a slot used more that says nearly the same.

    ``divergence`` (K, K): nats by which one slot differs from another; ``usage`` (K,): share of samples. From the slot
    most used to the least, each takes in those left that lie ``below`` so many nats from it.
    """
    names = torch.full_like(usage, -1, dtype=torch.int64)
    for slot in usage.argsort(descending=True):
        near = (divergence[slot] < below) & (names < 0) & (names[slot] < 0)
        names = torch.where(near, slot, names)
    return torch.where(names < 0, torch.arange(len(names), device=names.device), names)


# ---------------------------------------------------------------- discovery


@dataclass(frozen=True, eq=False)
class DiscoveryRecord(Record):
    """What a stream of T samples left in R rows (seeds or texts): ``belief`` (T, R, K) in K slots, each after a sample.

    ``nats`` (T, R): -log p of the sample given those before, as far as the evidence knows it; no label is needed to
    choose settings by it. ``sd`` (T, R): estimated noise, 1 for words; ``hazard`` (T, R). ``prediction`` (T, R, K, D):
    what each slot said of the sample before it came, None for words.
    """

    AXES: ClassVar[dict[str, tuple[str, ...]]] = {
        "belief": ("sample", "row", "slot"),
        "nats": ("sample", "row"),
        "sd": ("sample", "row"),
        "hazard": ("sample", "row"),
        "prediction": ("sample", "row", "slot", "number"),
    }
    belief: Tensor
    nats: Tensor
    sd: Tensor
    hazard: Tensor
    prediction: Tensor | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def slot(self) -> Tensor:
        """The most probable slot (T, R)."""
        return self.belief.argmax(-1)


def discover(
    stream: Stream,
    evidence: Evidence = "one_step",
    *,
    hazard: float = 0.02,
    learn_hazard: bool = True,
    lr: float = 3e-3,
    by_usage: bool = True,
    every: int = 5,
    step_size: float = 1.0,
    sd: float | None = None,
    forget: float = 0.01,
    memory: int = 500,
) -> DiscoveryRecord:
    """Read a stream once, guessing the slot of each sample and learning from the guess (``lr`` = 0: guessing only).

    ``evidence``: "one_step"; "corrected", with the gap put back that was last measured, every ``every`` samples;
    "exact", all slots read out. ``hazard``: the first guess, worth 1 / hazard samples (better too low than too high: if
    all seems to change, nothing is learned), or the truth without ``learn_hazard``. Its estimate forgets what is older
    than ``memory`` samples. ``by_usage``: jumps go where most samples have gone, as in a Dirichlet process; else to all
    slots alike. ``step_size``: weight of the evidence, below 1 where samples hold less than they seem to, as words do,
    which come in bursts. ``sd``: of the noise, if it is known; else a running mean that forgets a share ``forget`` a
    sample.
    Raises ``ValueError`` for other evidence, a hazard outside [0, 1), another setting out of its range, or a stream
    without samples, with one slot, or with a row that never changes and whose ``sd`` is not given.
    """
    if evidence not in get_args(Evidence) or not 0 <= hazard < 1:
        raise ValueError(
            f"evidence is one of {', '.join(get_args(Evidence))}, and hazard at least 0 and below 1, but they are "
            f"'{evidence}' and {hazard}."
        )
    _check_settings(lr, step_size, every, memory, forget, sd)
    _check_stream(stream, sd)
    weigh = _Weigher(stream, evidence, every)
    learn = _Learner(stream, lr)
    log_belief = weigh.z0.log()
    switches, usage = torch.full_like(log_belief, hazard), torch.ones_like(log_belief)
    h, variance = switches[:, 0], stream.spread.square() if sd is None else torch.full_like(stream.spread, sd**2)
    kept, predictions = list[tuple[Tensor, ...]](), list[Tensor]()
    for t in progress_bar(range(len(stream)), desc="discovering"):
        given = stream.given(t)
        towards = usage / usage.sum(-1, keepdim=True) if by_usage else None
        prior = predict(log_belief, h, towards)
        score = weigh.score(given.detach(), t) / variance[:, None]
        if learn_hazard and t:
            weight = max(1 / (t + 1 / max(hazard, 1 / memory)), 1 / memory)
            switches = count_switches(switches, log_belief, prior, h, weight, towards)
        prior = prior if t else log_belief
        nats = stream.numbers / 2 * (2 * torch.pi * variance).log() - (prior + score).logsumexp(-1)
        log_belief = update(prior, step_size * score)
        belief = log_belief.exp()
        h = (belief * switches).sum(-1).clamp(1e-6, 0.5) if learn_hazard else h
        kept.append((belief, nats, variance.sqrt(), h))
        usage = usage + belief
        if stream.numbers:
            said, loss = weigh.every_slot(given.detach(), t)
            predictions.append(said)
            expected = 2 / stream.numbers * (belief * loss).sum(-1)
            variance = variance if sd is not None else (1 - forget) * variance + forget * expected
        learn(given, belief, t)
    belief, nats, noise, hazards = (torch.stack(values) for values in zip(*kept, strict=True))
    prediction = torch.stack(predictions) if predictions else None
    return DiscoveryRecord(belief, nats, noise, hazards, prediction, {"evidence": evidence})


def _check_settings(lr: float, step_size: float, every: int, memory: int, forget: float, sd: float | None) -> None:
    known = sd is None or sd > 0
    if not (lr >= 0 and step_size >= 0 and every >= 1 and memory >= 1 and 0 <= forget <= 1 and known):
        raise ValueError(
            "lr and step_size must be 0 or more, every and memory 1 or more, forget between 0 and 1, and sd above 0 or "
            f"None, but they are {lr}, {step_size}, {every}, {memory}, {forget} and {sd}."
        )


def _check_stream(stream: Stream, sd: float | None) -> None:
    if len(stream) < 1:
        raise ValueError("The stream has no sample to read: give more of them than the window that is read before.")
    if stream.slots < 2:
        raise ValueError("The stream's network has one slot: give it two or more, so that there is one to choose.")
    if sd is None and is_any(~(stream.spread > 0)):
        raise ValueError("A row of the stream never changes, so its noise cannot be guessed: give sd.")


class _Weigher:
    """The evidence of a sample, a score (R, K) in nats at a noise of variance 1; and the loss (R, K) of each slot."""

    def __init__(self, stream: Stream, evidence: Evidence, every: int):
        self.stream, self.evidence, self.every = stream, evidence, every
        self.z0 = max_entropy(stream.rows, stream.slots, stream.spread.dtype, stream.spread.device)
        self.pure = torch.eye(stream.slots, dtype=self.z0.dtype, device=self.z0.device).expand(stream.rows, -1, -1)
        self.gap = torch.zeros_like(self.z0)

    @torch.no_grad()
    def every_slot(self, given: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """What each slot says of the sample, (R, K, ...), and its loss (R, K)."""
        said = self.stream.says(given, self.pure)
        return said, self.stream.loss(said, t)

    def score(self, given: Tensor, t: int) -> Tensor:
        """The evidence (R, K): minus the loss of each slot, by one gradient as the tangent at the uniform z has it."""
        if self.evidence == "exact":
            return -self.every_slot(given, t)[1]
        step = one_step(lambda z: self.stream.loss(self.stream.says(given, z[:, None]), t)[:, 0], self.z0)
        assert step.grad is not None
        tangent = -step.loss[:, None] - step.grad + (step.grad * self.z0).sum(-1, keepdim=True)
        if self.evidence == "corrected" and t % self.every == 0:
            self.gap = -self.every_slot(given, t)[1] - tangent
        return tangent + self.gap


class _Learner:
    """The M-step: one step of Adam with z = the belief. Rows that share weights share the step."""

    def __init__(self, stream: Stream, lr: float):
        self.stream = stream
        self.descent = torch.optim.Adam(stream.weights(), lr=lr) if lr else None

    def __call__(self, given: Tensor, belief: Tensor, t: int) -> None:
        if self.descent:
            self.descent.zero_grad()
            self.stream.loss(self.stream.says(given, belief[:, None]), t).sum().backward()
            self.descent.step()
