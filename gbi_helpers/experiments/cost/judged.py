"""How near scores come to exact Bayes, and how near one vector of gaps comes to another."""

from __future__ import annotations

import torch
from torch import Tensor

from gbi_helpers import metrics


def centred(values: Tensor) -> Tensor:
    """Less their mean over tasks (..., K), which no posterior sees."""
    return values - values.mean(-1, keepdim=True)


def related(estimate: Tensor, measured: Tensor) -> dict[str, float]:
    """Pearson's correlation of two gaps (..., K), and the slope of the estimate over the measured one, 0 if it is none.

    Over all samples and tasks at once, each sample less its mean over tasks.
    """
    x, y = (centred(values.double()).flatten() for values in (measured, estimate))
    xx, xy, yy = float(x @ x), float(x @ y), float(y @ y)
    return {"correlation": xy / (xx * yy) ** 0.5 if xx * yy else 0.0, "slope": xy / xx if xx else 0.0}


def judged(score: Tensor, exact: Tensor, task: Tensor) -> dict[str, float]:
    """Of scores (N, K): accuracy, agreement with the exact ones (percent), KL from these and log score (nats)."""
    log_q, log_p = torch.log_softmax(score, 1), torch.log_softmax(exact, 1)
    return {
        "accuracy": metrics.accuracy(score.argmax(1), task),
        "agreement": metrics.agreement(score, exact),
        "kl": metrics.kl(log_p, log_q),
        "log_score": metrics.negative_log_score(log_q, task),
    }


def moved(score: Tensor, before: Tensor, exact: Tensor) -> dict[str, float]:
    """Percent of samples whose best task is the exact one only now ("mended"), or was so only before ("broken")."""
    now, once, right = score.argmax(1), before.argmax(1), exact.argmax(1)
    mended, broken = (now == right) & (once != right), (now != right) & (once == right)
    return {"mended": 100 * float(mended.double().mean()), "broken": 100 * float(broken.double().mean())}


def rms(gap: Tensor) -> float:
    """Root mean square of gaps (..., K) around their mean over tasks, nats."""
    return float(centred(gap).square().mean().sqrt())
