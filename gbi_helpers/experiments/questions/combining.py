"""Rules by which several networks, or several scores, say one thing together.

Of M networks: scores (M, N, K) of the tasks, or log posteriors of that shape. Of S scores of how familiar a sample is,
high for familiar: (S, N); what their units are is learned from familiar samples alone, never from foreign ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gbi_helpers import metrics


def product(scores: Tensor) -> Tensor:
    """The networks' mean score (N, K): with a temperature it is the product of their posteriors; scores (M, N, K).

    For one step, whose score is -dL/dz, that is one step down the mean loss.
    """
    return scores.mean(0)


def mixture(log_q: Tensor) -> Tensor:
    """Log of the networks' mean posterior (N, K), each as likely; log_q (M, N, K) log probabilities."""
    return log_q.logsumexp(0) - math.log(len(log_q))


def disagreement(log_q: Tensor) -> Tensor:
    """Nats (N,) that the network's name and the task share: entropy of the mixture less the networks' mean entropy.

    Depeweg et al. (2018), arXiv 1710.07283. 0 where all say the same, log M at most; log_q (M, N, K).
    """
    return _entropy(mixture(log_q)) - _entropy(log_q).mean(0)


def _entropy(log_q: Tensor) -> Tensor:
    return torch.special.entr(log_q.exp()).sum(-1)


def fitted_weights(scores: Tensor, labels: Tensor, steps: int = 50) -> Tensor:
    """One factor for each of P scores (P, N, K), (P,): softmax(sum of factor * score) has the best log score.

    A step size each, found together on validation data of classes ``labels`` (N,); a convex problem, by L-BFGS.
    """
    score = scores.double()
    unit = score.std((1, 2), keepdim=True).clamp_min(1e-12)  # of one size, or the search crawls
    weights = torch.full_like(unit, 1 / len(score)).requires_grad_()
    search = torch.optim.LBFGS([weights], max_iter=steps, line_search_fn="strong_wolfe")

    def missed() -> Tensor:
        search.zero_grad()
        loss = torch.nn.functional.cross_entropy((weights * score / unit).sum(0), labels)
        loss.backward()
        return loss

    with torch.enable_grad():
        search.step(missed)
    return (weights / unit).detach().flatten()


def standardised(scores: Tensor, familiar: slice) -> Tensor:
    """Scores (..., N) less their mean and over their deviation on the samples ``familiar``: a common unit.

    Raises ``ValueError`` for a score that is the same for all of these, which has no unit.
    """
    known = scores[..., familiar].double()
    spread = known.std(-1, keepdim=True)
    if not (spread > 0).all():
        raise ValueError("A score is the same for all familiar samples, so it has no unit: leave it out of the sum.")
    return (scores.double() - known.mean(-1, keepdim=True)) / spread


def log_share_below(scores: Tensor, familiar: slice) -> Tensor:
    """Log of the share of familiar samples that score no higher than this one, (..., N): a rank's log p-value.

    A common unit as :func:`standardised` is, but one that a score's long tail does not stretch. Sums of it are Fisher's
    (1932) joint test. Below all M familiar samples it stays at -log(M + 1).
    """
    known = scores[..., familiar].contiguous().sort(-1).values
    below = torch.searchsorted(known, scores.contiguous(), right=True)
    return ((below + 1).double() / (known.shape[-1] + 1)).log()


def one_of_each(one: Tensor, other: Tensor) -> Tensor:
    """Sums (A, B, N) of each of one kind of scores (A, N) with each of another (B, N), both of one unit."""
    return one[:, None] + other[None]


def two_of_a_kind(scores: Tensor) -> Tensor:
    """Sums (M (M - 1) / 2, N) of each two of the scores (M, N), of one unit."""
    first, second = torch.triu_indices(len(scores), len(scores), 1, device=scores.device)
    return scores[first] + scores[second]


def auroc(scores: Tensor, familiar: slice, foreign: slice) -> Tensor:
    """AUROC (...) of each of the scores (..., N): ``familiar`` samples against ``foreign`` ones."""
    rows = scores.reshape(-1, scores.shape[-1])
    found = [metrics.detection(row[familiar], row[foreign]).auroc for row in rows]
    return torch.tensor(found, dtype=torch.float64, device="cpu").view(scores.shape[:-1])


def better_than_both(pairs: Tensor, one: Tensor, other: Tensor) -> float:
    """Percent of pairs (A, B) whose AUROC is above those of both its members, (A,) and (B,)."""
    return 100 * float((pairs > torch.maximum(one[:, None], other[None])).double().mean())


def correlations(one: Tensor, other: Tensor) -> tuple[float, float, float]:
    """Pearson's correlation over samples: inside one kind of scores (A, N), inside another (B, N), and across kinds.

    Means over pairs of different scores; 1 inside a kind of which there is one alone.
    """
    found = torch.corrcoef(torch.cat([one, other]).double())
    a = len(one)
    return _between(found[:a, :a]), _between(found[a:, a:]), float(found[:a, a:].mean())


def _between(square: Tensor) -> float:
    first, second = torch.triu_indices(len(square), len(square), 1, device=square.device)
    return float(square[first, second].mean()) if len(first) else 1.0


def named(log_q: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy (percent), negative log score (nats) and calibration error (percent) of log_q (N, K)."""
    return {
        "accuracy": metrics.accuracy(log_q.argmax(-1), labels),
        "nll": metrics.negative_log_score(log_q, labels),
        "ece": metrics.calibration_error(log_q.exp(), labels),
    }


def means(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over single networks."""
    return {name: sum(one[name] for one in found) / len(found) for name in found[0]}
