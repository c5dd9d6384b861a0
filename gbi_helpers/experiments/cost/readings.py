"""Ways to spend a few passes, as functions of scores and exact losses, so that no pass is done twice.

A way is priced in forwards of the decoder a sample, from the sample as it comes to the answer: a gradient to z costs
two, an exact pass one, and whoever asks the decoder first needs the sample's code, once. Scores are nats: of one step
minus the gradient, of all passes minus the loss. What :func:`gbi_helpers.inference.rescore` does with a model
is done to matrices (N, K) here, by the same rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.inference import LossFn, candidates, decided, enumerate_tasks, fit_within, max_entropy, one_step

GRADIENT = 2.0  # forwards: one, and the backward to z, which costs as much
MANY = (2, 3, 5, 10)  # candidates
COVERAGES = (0.98, 0.99)


@dataclass(frozen=True)
class Reading:
    """What is known of N samples: the scores of one step and of all passes, (N, K) each, and their tasks (N,)."""

    one: Tensor
    exact: Tensor
    y: Tensor


@dataclass(frozen=True)
class Samples:
    """N samples of a trained model: ``rows(index)`` is the loss of some of them; ``y`` (N,) their tasks."""

    rows: Callable[[Tensor], LossFn]
    y: Tensor
    n_tasks: int
    dtype: torch.dtype = torch.float32
    batch: int = 250

    def uniform(self) -> Tensor:
        """z (N, K) that favours no task."""
        return max_entropy(len(self.y), self.n_tasks, self.dtype, self.y.device)

    def everything(self) -> LossFn:
        """The loss of all samples."""
        return self.rows(self._index())

    def score_at(self, z: Tensor) -> Tensor:
        """Minus the gradient (N, K) at z (N, K), which may lie off the simplex."""
        found = []
        for index in self._index().split(self.batch):
            grad = one_step(self.rows(index), z[index], space="free").grad
            assert grad is not None
            found.append(-grad)
        return torch.cat(found)

    def read(self) -> Reading:
        """One gradient from the uniform start, and all K passes."""
        z0 = self.uniform()
        parts = self._index().split(self.batch)
        exact = torch.cat([-enumerate_tasks(self.rows(index), z0[index]).loss for index in parts])
        return Reading(self.score_at(z0), exact, self.y)

    def _index(self) -> Tensor:
        return torch.arange(len(self.y), device=self.y.device)


@dataclass(frozen=True)
class Proposer:
    """Who ranks the tasks before any pass: log beliefs (N, K) of validation and of test samples, and its price.

    ``code``: what a sample's first pass costs besides, where the ranking did without the decoder's code.
    """

    before: Tensor
    after: Tensor
    price: float
    code: float = 0.0


def proposer(before: Tensor, after: Tensor, price: float, y: Tensor | None = None) -> Proposer:
    """From scores (N, K); ``y``: the tasks of the validation samples, for scores that are not in nats yet."""
    size = 1.0 if y is None else metrics.fitted_step_size(before, y)
    return Proposer(torch.log_softmax(size * before, 1), torch.log_softmax(size * after, 1), price)


@dataclass(frozen=True)
class Answer:
    """Log beliefs (N, K), and forwards a sample; where a distance was fitted, ``within`` in nats and the ``extra``
    passes a sample.
    """

    log_q: Tensor
    price: float
    within: float | None = None
    extra: float | None = None


# ---------------------------------------------------------------- candidates, and who decides among them


def best(log_q: Tensor, m: int, among: Tensor | None = None) -> Tensor:
    """Which (N, K) are the best m, of those that are ``among`` (N, K)."""
    return candidates(log_q if among is None else log_q.masked_fill(~among, -torch.inf), m)


def ways(
    log_q: Tensor, exact: Tensor, price: float, within: Mapping[float, float], code: float = 0.0
) -> dict[str, Answer]:
    """What a proposer's beliefs become: as they are (""), with the best m passed, with those near the best passed.

    ``within``: distance in nats by the coverage that it promises; ``code``: of :class:`Proposer`.
    """
    found = {"": Answer(log_q, price)}
    for m in MANY:
        if m < log_q.shape[1]:
            found[f"_top_{m}"] = Answer(decided(log_q, exact, best(log_q, m)), price + code + m)
    for coverage, nats in within.items():
        chosen = candidates(log_q, within=nats)
        extra, asked = (float(many.double().mean()) for many in (chosen.sum(1), chosen.any(1)))
        paid = price + asked * code + extra
        found[f"_within_{round(100 * coverage)}"] = Answer(decided(log_q, exact, chosen), paid, nats, extra)
    return found


def distances(log_q: Tensor, exact: Tensor) -> dict[float, float]:
    """For each of :data:`COVERAGES`, the distance fitted to validation samples, without their labels."""
    known = torch.log_softmax(exact, 1)
    return {coverage: fit_within(log_q, known, coverage) for coverage in COVERAGES}


def curve(log_q: Tensor, exact: Tensor) -> Tensor:
    """The task (N, K) that is named after m = 1 .. K candidates were passed."""
    order = log_q.argsort(dim=1, descending=True)
    return order.gather(1, exact.gather(1, order).cummax(1).indices)


# ---------------------------------------------------------------- further gradients in place of passes


def narrowed(samples: Samples, log_q: Tensor, sizes: Sequence[int], price: float = GRADIENT) -> Answer:
    """Gradients at the centroid of fewer and fewer survivors: so many (``sizes``) after each; ``price``: of the first.

    (2,) is one more gradient, at the midpoint of the two best.
    """
    left = torch.ones_like(log_q, dtype=torch.bool)
    for size in sizes:
        left = best(log_q, size, left)
        log_q = decided(log_q, samples.score_at(left.to(log_q) / size), left)
    return Answer(log_q, price + GRADIENT * len(sizes))


def shrinking(n_tasks: int, keep: float) -> list[int]:
    """Numbers of survivors when a share ``keep`` is kept each time, down to the last above one."""
    sizes = []
    while (n_tasks := math.ceil(n_tasks * keep)) > 1:
        sizes.append(n_tasks)
    return sizes


# ---------------------------------------------------------------- what is measured


def measured(answer: Answer, seen: Reading) -> dict[str, float]:
    """Accuracy and agreement with all passes in percent, KL(all passes || answer) in nats, price; of a fitted distance
    also "within" in nats and the "extra" passes beside the proposer's price.
    """
    found = {
        "accuracy": metrics.accuracy(answer.log_q.argmax(1), seen.y),
        "agreement": metrics.agreement(answer.log_q, seen.exact),
        "kl": metrics.kl(torch.log_softmax(seen.exact, 1), answer.log_q),
        "price": answer.price,
    }
    if answer.within is None or answer.extra is None:
        return found
    return found | {"within": answer.within, "extra": answer.extra}


def best_many(one: Proposer, known: Reading, seen: Reading) -> dict[str, float]:
    """The number of candidates m with which validation samples are named best, the least of equals; on test samples."""
    right = (curve(one.before, known.exact) == known.y[:, None]).double().mean(0)
    m = int(right.argmax()) + 1
    named = curve(one.after, seen.exact)[:, m - 1]
    return {
        "m": m,
        "accuracy": metrics.accuracy(named, seen.y),
        "agreement": metrics.accuracy(named, seen.exact.argmax(1)),
        "price": one.price + (one.code + m if m > 1 else 0),
    }


def curves(one: Proposer, seen: Reading) -> dict[str, list[float]]:
    """Percent of test samples, by m = 1 .. K: "agreement" with all passes, and "accuracy"."""
    named, exact = curve(one.after, seen.exact), seen.exact.argmax(1)
    truths = {"agreement": exact, "accuracy": seen.y}
    return {name: (100 * (named == truth[:, None]).double().mean(0)).tolist() for name, truth in truths.items()}


Scores = dict[str, dict[str, dict[str, float]]]  # "validation" or "test" -> way -> what is measured


def scored(before: Mapping[str, Answer], after: Mapping[str, Answer], known: Reading, seen: Reading) -> Scores:
    """Accuracy and log score of each way on validation and on test samples; KL(all passes || way) needs no label.

    Log scores with the step size that fits the beliefs to the validation labels: no way is punished for its scale.
    """
    sizes = {name: metrics.fitted_step_size(answer.log_q, known.y) for name, answer in before.items()}
    parts = {"validation": (before, known), "test": (after, seen)}
    return {
        part: {name: _scores(answer.log_q, sizes[name], reading) for name, answer in answers.items()}
        for part, (answers, reading) in parts.items()
    }


def _scores(log_q: Tensor, size: float, reading: Reading) -> dict[str, float]:
    return {
        "accuracy": metrics.accuracy(log_q.argmax(1), reading.y),
        "log_score": metrics.negative_log_score(torch.log_softmax(size * log_q.double(), 1), reading.y),
        "kl": metrics.kl(torch.log_softmax(reading.exact, 1), log_q),
    }


def favoured(scores: Scores, names: Sequence[str]) -> dict[str, str]:
    """The way that validation samples favour by each rule, the first of equals."""
    told = scores["validation"]
    return {
        "by_accuracy": max(names, key=lambda name: told[name]["accuracy"]),
        "by_log_score": min(names, key=lambda name: told[name]["log_score"]),
        "by_kl": min(names, key=lambda name: told[name]["kl"]),
    }
