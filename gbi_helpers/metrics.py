"""How good an inference is: accuracy, intervals over seeds, calibration, agreement with Bayes; what is forgotten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.special import stdtrit
from torch import Tensor


@dataclass(frozen=True)
class Summary:
    """Mean over seeds, standard deviation (n - 1), and the half-width of the 95 % interval of the mean."""

    mean: float
    sd: float
    half_width: float
    n: int

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval of the mean."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval of the mean."""
        return self.mean + self.half_width

    def __float__(self) -> float:
        return self.mean

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if math.isnan(self.half_width) else f" ± {self.half_width:.1f}")


def summarise(values: Sequence[float] | Tensor) -> Summary:
    """Summary of one number per seed, with Student's t; with one seed sd and half-width are NaN.

    Raises ``ValueError`` for no values.
    """
    numbers = torch.as_tensor(values, dtype=torch.float64, device="cpu").flatten()
    n = len(numbers)
    if n == 0:
        raise ValueError("There are no values to summarise: give one number per seed.")
    sd = float(numbers.std()) if n > 1 else math.nan
    half_width = float(stdtrit(n - 1, 0.975)) * sd / math.sqrt(n) if n > 1 else math.nan
    return Summary(float(numbers.mean()), sd, half_width, n)


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Share of correct predictions, in percent. Raises ``ValueError`` if the shapes differ."""
    if predicted.shape != labels.shape:
        raise ValueError(f"{tuple(predicted.shape)} predictions for {tuple(labels.shape)} labels: give one for each.")
    return 100 * float((predicted.cpu() == labels.cpu()).double().mean())


def agreement(q: Tensor, p: Tensor) -> float:
    """Percent of samples for which two posteriors (B, K), or scores, choose the same task.

    Raises ``ValueError`` if the shapes differ, and for NaN.
    """
    _check_alike(q, p)
    _check_known(q, p)
    return accuracy(q.argmax(-1), p.argmax(-1))


def _check_alike(q: Tensor, p: Tensor) -> None:
    if q.shape != p.shape:
        raise ValueError(f"Both must be of the same samples and tasks, but are {tuple(q.shape)} and {tuple(p.shape)}.")


def negative_log_score(log_q: Tensor, labels: Tensor) -> float:
    """Mean -log q of the true task, in nats; log_q (B, K). Raises ``ValueError`` unless labels are (B,)."""
    _check_labels(log_q, labels)
    return -float(log_q.gather(1, labels[:, None]).double().mean())


def calibration_error(q: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error in percent: |confidence - accuracy| over equal bins of confidence, by their share.

    Guo et al. (2017), "On calibration of modern neural networks". q (B, K), labels (B,).
    Raises ``ValueError`` as :func:`reliability` does.
    """
    _, confidence, right = reliability(q, labels, bins)
    if not len(q):
        raise ValueError("There is no sample: the error of none is unknown.")
    return 100 * float((confidence - right).abs().sum()) / len(q)


def reliability(q: Tensor, labels: Tensor, bins: int = 10) -> Tensor:
    """What a reliability diagram is drawn from, (3, bins): samples by confidence, and their summed confidence and hits.

    Equal bins of confidence, the largest entry of q (B, K); labels (B,). Sums of seeds can be added.
    Raises ``ValueError`` for labels of another shape, or no bin.
    """
    _check_labels(q, labels)
    if bins < 1:
        raise ValueError(f"bins must be 1 or more, but is {bins}.")
    confidence, predicted = q.detach().double().cpu().max(-1)
    right = (predicted == labels.cpu()).double()
    place = (confidence * bins).long().clamp(0, bins - 1)
    columns = torch.stack([torch.ones_like(right), confidence, right])
    return columns.new_zeros(3, bins).index_add_(1, place, columns)


def _check_known(*numbers: Tensor, what: str = "numbers") -> None:
    if unknown := sum(int(values.isnan().sum()) for values in numbers):
        raise ValueError(f"{unknown} of the {what} are NaN: find out why before comparing.")


def _check_labels(q: Tensor, labels: Tensor) -> None:
    _check_known(q)
    if q.dim() != 2 or labels.shape != q.shape[:1]:
        raise ValueError(f"{tuple(labels.shape)} labels for beliefs {tuple(q.shape)}: give (B,) for (B, K).")


def kl(log_p: Tensor, log_q: Tensor) -> float:
    """Mean KL(p || q) in nats over a batch of posteriors, both (B, K) log probabilities.

    Raises ``ValueError`` if the shapes differ.
    """
    _check_alike(log_p, log_q)
    p, q = log_p.double(), log_q.double()
    return float(torch.where(p == -torch.inf, 0.0, p.exp() * (p - q)).sum(-1).mean())


@dataclass(frozen=True)
class Detection:
    """How well a score tells samples of the training distribution from others, each number between 0 and 1.

    ``auroc``: the chance that a familiar sample scores higher than a foreign one; .5 is a coin. ``aupr``: average
    precision with the familiar ones as positives; it depends on the shares of the two. ``fpr95``: share of foreign
    samples let in when 95 % of the familiar ones are.
    """

    auroc: float
    aupr: float
    fpr95: float


def detection(familiar: Tensor, foreign: Tensor) -> Detection:
    """AUROC, AUPR and FPR95 of scores (N,) of familiar and (M,) of foreign samples; high should mean familiar.

    By scikit-learn. Raises ``ValueError`` for scores of another shape, none at all, or NaN.
    """
    from sklearn.metrics import auc, average_precision_score, roc_curve  # not at import: it is slow to load

    scores = [_checked_scores(part, name) for part, name in ((familiar, "familiar"), (foreign, "foreign"))]
    both = torch.cat(scores).numpy()
    truth = torch.cat([torch.ones_like(scores[0]), torch.zeros_like(scores[1])]).numpy()
    false, true, _ = roc_curve(truth, both, drop_intermediate=False)
    fpr95 = float(false[(true >= 0.95).argmax()])
    return Detection(float(auc(false, true)), float(average_precision_score(truth, both)), fpr95)


def _checked_scores(scores: Tensor, name: str) -> Tensor:
    values = torch.as_tensor(scores, dtype=torch.float64, device="cpu").detach()
    if values.dim() != 1 or not len(values):
        raise ValueError(f"The {name} scores must be one number a sample, shape (N,), but are {tuple(values.shape)}.")
    _check_known(values, what=f"{name} scores")
    return values.clamp(-1e300, 1e300)  # scikit-learn takes no infinities


def correlation(a: Tensor, b: Tensor) -> float:
    """Mean over samples of Pearson's correlation across tasks, a and b (B, K): say, of -gradient with -loss.

    Raises ``ValueError`` if the shapes differ.
    """
    _check_alike(a, b)
    x, y = (v.double() - v.double().mean(1, keepdim=True) for v in (a, b))
    return float(torch.nn.functional.cosine_similarity(x, y, dim=1).mean())


def fitted_step_size(score: Tensor, labels: Tensor) -> float:
    """The step size a for which softmax(a * score) has the best log score; score (B, K) is -gradient or -loss.

    Fit it on training or validation data. It moves confidence, never accuracy. Searched over 1e-4 .. 1e2.
    Raises ``ValueError`` for NaN.
    """
    sizes = torch.logspace(-4, 2, 241, dtype=torch.float64, device="cpu").tolist()
    scores = [negative_log_score(torch.log_softmax(size * score.double(), 1), labels) for size in sizes]
    return sizes[int(torch.tensor(scores, dtype=torch.float32, device="cpu").argmin())]


def log_odds(score: Tensor) -> Tensor:
    """log q - log(1 - q) (B,) of the largest entry q of softmax(score), score (B, K): it ranks as max q does.

    In nats. Where max q would round to 1, and all such samples be tied, this still tells them apart.
    """
    ranked = score.double().sort(dim=-1, descending=True).values
    return ranked[..., 0] - ranked[..., 1:].logsumexp(-1)


# ---------------------------------------------------------------- the toy stream


def excess_error(prediction: Tensor, true_mean: Tensor) -> Tensor:
    """Squared distance (...,) of predictions (..., D) from the mean that samples are drawn around, per dimension.

    It is the squared error beyond the noise, which no predictor can avoid (Bayes with the context known has 0).
    Raises ``ValueError`` where the two differ in D.
    """
    if prediction.shape[-1:] != true_mean.shape[-1:]:
        raise ValueError(
            f"Both must end with an axis of the same D numbers, but are {tuple(prediction.shape)} and "
            f"{tuple(true_mean.shape)}: write x[..., None] for single numbers."
        )
    return (prediction - true_mean).square().mean(-1)


def by_block(values: Tensor, block: int, skipped: int = 0) -> Tensor:
    """Means (blocks, ...) of values (samples, ...) over blocks of samples, the first of which lacks ``skipped``.

    Raises ``ValueError`` if the values do not end with a block.
    """
    if (len(values) + skipped) % block or skipped >= block:
        raise ValueError(f"{len(values)} values and {skipped} skipped are no whole number of blocks of {block}.")
    first, rest = values[: block - skipped], values[block - skipped :]
    return torch.cat([first.mean(0, keepdim=True), rest.unflatten(0, (-1, block)).mean(1)])


def first_below(x: Tensor, curve: Tensor, goal: float) -> float:
    """Where a curve (P,) over x (P,) is first down at ``goal``, lines drawn between its points; infinite if never."""
    below = (curve <= goal).nonzero()
    if not len(below):
        return math.inf
    at = int(below[0])
    if at == 0:
        return float(x[0])
    if curve[at - 1] == math.inf:  # it falls from there in no distance at all
        return float(x[at])
    share = (curve[at - 1] - goal) / (curve[at - 1] - curve[at])
    return float(x[at - 1] + share * (x[at] - x[at - 1]))


def blocks_to_criterion(excess: Tensor, criterion: float, run: int = 3) -> Tensor:
    """Blocks (S,) until the mean of ``run`` blocks in a row falls below ``criterion``; infinity where it never does.

    ``excess`` (blocks, S). Counted from 1, at the last block of the run.
    """
    if len(excess) < run:  # too few blocks for one run
        return excess.new_full(excess.shape[1:], math.inf)
    mean = excess.unfold(0, run, 1).mean(-1) < criterion
    first = mean.float().argmax(0) + run
    return torch.where(mean.any(0), first.to(excess), math.inf)


# R (T, T), percent: row i holds the accuracy on each of T contexts after learning context i.


def final_accuracy(r: Tensor) -> float:
    """Mean of the last row of R (T, T), percent: how good the learner is on everything in the end."""
    return float(_square(r)[-1].mean())


def learning_accuracy(r: Tensor) -> float:
    """Mean of the diagonal: how well each context was learned when it came. Never show forgetting without it."""
    return float(_square(r).diagonal().mean())


def forgetting(r: Tensor) -> float:
    """Best accuracy a context ever had, less its last, mean over all but the last context.

    The last row is among those that the best is taken of, so a context that ends at its best counts as 0. Chaudhry et
    al. (2018) leave the last row out, and there such a context counts as below 0, as a gain: theirs is never larger.
    """
    ahead = torch.ones_like(_square(r), dtype=torch.bool).triu(1)  # contexts that are yet to come
    return float((r.masked_fill(ahead, -torch.inf).amax(0) - r[-1])[:-1].mean())


def backward_transfer(r: Tensor) -> float:
    """Last accuracy less the one just after learning, mean over all but the last (Lopez-Paz and Ranzato 2017)."""
    return float((_square(r)[-1] - r.diagonal())[:-1].mean())


def _square(r: Tensor) -> Tensor:
    if r.dim() != 2 or r.shape[0] != r.shape[1] or len(r) < 2:
        raise ValueError(f"R has a row and a column for each of two or more contexts, but is {tuple(r.shape)}.")
    return r
