"""Which source is this text from? One gradient, with and without the gap put back, K passes, and naive Bayes.

All are asked about the first n words of test windows; what can be chosen (step sizes, the bigram's shares) is chosen on
validation windows. Scores are natural logarithms, accuracies percent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.experiments.language.windows import Corpus, Windows, even_windows, losses, random_windows
from gbi_helpers.inference import LossFn, iterate, loss_of, one_step
from gbi_helpers.models.language import WordModel

LENGTHS = (1, 2, 5, 10, 20, 50)
SHARES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)  # of pairs, beside single words
REST = slice(64, 128)  # the words on which a z inferred from the first ones is tried
WAYS = ("one_step", "corrected", "matched", "exact", "unigram", "bigram")
Gaps = dict[int, tuple[Tensor, Tensor]]
Scores = dict[str, Any]


def evidence(model: WordModel, windows: Windows) -> LossFn:
    """The loss of whole windows as a function of z, in nats: what :mod:`gbi_helpers.inference` works on."""
    return loss_of(model, windows.inputs, lambda logits, _: model.nll(logits, windows.words))


def slopes(model: WordModel, windows: Windows, batch: int = 176) -> Tensor:
    """Minus the gradient (N, K) of each window's loss at the uniform z: the one-step scores."""
    found = []
    for part in windows.parts(batch):
        grad = one_step(evidence(model, part), part.uniform(model.n_tasks)).grad
        assert grad is not None
        found.append(-grad)
    return torch.cat(found)


def log_likelihoods(model: WordModel, windows: Windows, lengths: Sequence[int]) -> dict[int, Tensor]:
    """log p(first n words | source) (N, K) for each n, by K passes over the longest: exact Bayes with a flat prior."""
    longest = windows.first(max(lengths))
    so_far = torch.stack([-losses(model, longest, z).cumsum(1) for z in longest.pure(model.n_tasks)], dim=2)
    return {n: so_far[:, n - 1] for n in lengths}


def fit_gaps(
    model: WordModel, corpus: Corpus, lengths: Sequence[int] = LENGTHS, per_source: int = 32
) -> dict[int, tuple[Tensor, Tensor]]:
    """Two vectors (K,) for each length that put right what one step misses, from training windows, without labels.

    The first is the mean gap, as :func:`~gbi_helpers.theory.fit_delta` has it; the second is :func:`matched`.
    """
    windows = random_windows(corpus, per_source, max(lengths), seed=77)
    exact = log_likelihoods(model, windows, lengths)
    found = {}
    for n in lengths:
        slope = slopes(model, windows.first(n))
        gap = (exact[n] - slope).mean(0)
        found[n] = (gap - gap.mean(), matched(slope, exact[n]))
    return found


def matched(slope: Tensor, exact: Tensor) -> Tensor:
    """The vector (K,) to be added to one-step scores (N, K) so that the posterior comes nearest to the exact one.

    Nearest in KL, averaged over windows; the mean gap is nearest in scores instead, also those of sources that are out
    of the question anyway.
    """
    delta = slope.new_zeros(slope.shape[1]).requires_grad_()
    p = torch.softmax(exact, 1)
    descent = torch.optim.LBFGS([delta], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        descent.zero_grad()
        value = -(p * torch.log_softmax(slope + delta, 1)).sum(1).mean()
        value.backward()
        return value

    descent.step(loss)
    return (delta - delta.mean()).detach()


# ---------------------------------------------------------------- naive Bayes


def naive_bayes(corpus: Corpus, windows: Windows, share: float = 0.0) -> Tensor:
    """log p(word | source) of each word, (N, T, K), by counting training words.

    ``share``: weight of the bigram, interpolated with the unigram (the first word of a window has no bigram).
    """
    found = []
    for stream in corpus.train:
        unigram = (torch.bincount(stream, minlength=corpus.size) + 0.5).double()
        p = (unigram / unigram.sum())[windows.words]
        if share:
            pairs = stream[:-1] * corpus.size + stream[1:]
            bigrams = torch.bincount(pairs, minlength=corpus.size**2)
            before, word = windows.words[:, :-1], windows.words[:, 1:]
            seen = torch.bincount(stream, minlength=corpus.size)[before]
            after = bigrams[before * corpus.size + word].float() / seen.clamp_min(1)
            p[:, 1:] = torch.where(seen > 0, share * after + (1 - share) * p[:, 1:], p[:, 1:])
        found.append(p.log())
    return torch.stack(found, dim=2)


def naming_shares(corpus: Corpus, windows: Windows, lengths: Sequence[int]) -> dict[int, float]:
    """For each length, the bigram's share that names the first so many words of validation windows best.

    By the log score at the best step size: the share that predicts words best is larger, and names worse.
    """
    longest = windows.first(max(lengths))
    so_far = {share: naive_bayes(corpus, longest, share).cumsum(1).float() for share in SHARES}

    def missed(share: float, n: int) -> float:
        score = so_far[share][:, n - 1]
        size = metrics.fitted_step_size(score, windows.task)
        return metrics.negative_log_score(torch.log_softmax(size * score, 1), windows.task)

    return {n: min(SHARES, key=lambda share: missed(share, n)) for n in lengths}


# ---------------------------------------------------------------- the first n words


def source_scores(
    model: WordModel, corpus: Corpus, windows: Windows, shares: Mapping[int, float], gaps: Gaps
) -> dict[int, dict[str, Tensor]]:
    """For each length n, the scores (N, K) of each way to name the source; ``shares``: of the bigram, by length."""
    exact = log_likelihoods(model, windows, tuple(gaps))
    counted = {one: naive_bayes(corpus, windows, one).cumsum(1) for one in {0.0, *shares.values()}}
    found = {}
    for n, (mean, near) in gaps.items():
        slope = slopes(model, windows.first(n))
        unigram, bigram = (counted[one][:, n - 1].float() for one in (0.0, shares[n]))
        found[n] = dict(zip(WAYS, (slope, slope + mean, slope + near, exact[n], unigram, bigram), strict=True))
    return found


def naming(model: WordModel, corpus: Corpus, gaps: Gaps, per_source: int) -> Scores:
    """How well each way names the source of the first n words, and how near one step comes to exact Bayes.

    Lists are over the lengths: "accuracy", "log_score" at step size 1, best "step_size" on validation, "ece" with and
    without it, and against the exact posterior "correlation", "agreement", "kl".
    """
    longest = max(gaps)
    fit = even_windows(corpus.validation, corpus.start, max(per_source // 2, 8), longest)
    windows = even_windows(corpus.test, corpus.start, per_source, longest)
    shares = naming_shares(corpus, fit, tuple(gaps))
    before, after = (source_scores(model, corpus, part, shares, gaps) for part in (fit, windows))
    found: Scores = {"lengths": list(gaps), "windows": len(windows.words), "bigram_share": list(shares.values())}
    for n in gaps:
        for way in WAYS:
            one = _one_way(before[n][way], fit.task, after[n][way], windows.task, after[n]["exact"])
            for score, value in one.items():
                found.setdefault(f"{way}_{score}", []).append(value)
    return found


def _one_way(fit: Tensor, fit_task: Tensor, score: Tensor, task: Tensor, exact: Tensor) -> dict[str, float]:
    size = metrics.fitted_step_size(fit, fit_task)
    log_q, fitted = torch.log_softmax(score, 1), torch.log_softmax(size * score, 1)
    return {
        "accuracy": metrics.accuracy(score.argmax(1), task),
        "log_score": metrics.negative_log_score(log_q, task),
        "step_size": size,
        "fitted_log_score": metrics.negative_log_score(fitted, task),
        "ece": metrics.calibration_error(log_q.exp(), task),
        "fitted_ece": metrics.calibration_error(fitted.exp(), task),
        **nearness(score, exact),
    }


def nearness(score: Tensor, exact: Tensor) -> dict[str, float]:
    """How near the posterior of scores (N, K) is to the exact one, of scores ``exact``: no labels needed."""
    log_q, log_p = torch.log_softmax(score, 1), torch.log_softmax(exact, 1)
    return {
        "correlation": metrics.correlation(score, exact),
        "agreement": metrics.agreement(score, exact),
        "kl": metrics.kl(log_p, log_q),
    }


# ---------------------------------------------------------------- the rest of the window


def rest(gbi: WordModel, lstm: WordModel, corpus: Corpus, gaps: Gaps, per_source: int) -> Scores:
    """Loss of words 64 to 127, nats a word, when z was inferred from the first n words in several ways.

    Scalars: "lstm", "uniform", "true", "wrong" (a random other source). Lists over lengths: "one_step", "corrected",
    "matched", "hard" (the corrected one's best source alone), "exact", "iterative" (20 steps of Adam on the logits).
    """
    windows = even_windows(corpus.test, corpus.start, per_source, REST.stop)
    true = windows.z(corpus.n_tasks)

    def loss(z: Tensor | None, model: WordModel = gbi) -> float:
        return float(losses(model, windows, z)[:, REST].mean())

    draw = torch.Generator().manual_seed(5)
    shift = torch.randint(1, corpus.n_tasks, (len(true),), generator=draw, device=draw.device)
    wrong = torch.nn.functional.one_hot((windows.task + shift.to(true.device)) % corpus.n_tasks, corpus.n_tasks).float()
    found: Scores = {"lengths": list(gaps), "windows": len(true), "lstm": loss(None, lstm), "uniform": loss(None)}
    found |= {"true": loss(true), "wrong": loss(wrong)}
    exact = log_likelihoods(gbi, windows, tuple(gaps))
    for n, (mean, near) in gaps.items():
        slope = slopes(gbi, windows.first(n))
        scores = {"one_step": slope, "corrected": slope + mean, "matched": slope + near, "exact": exact[n]}
        z = {name: torch.softmax(score, 1) for name, score in scores.items()}
        z["hard"] = torch.nn.functional.one_hot(z["corrected"].argmax(1), corpus.n_tasks).float()
        z["iterative"] = _iterated(gbi, windows.first(n))
        for name, told in z.items():
            found.setdefault(name, []).append(loss(told))
    return found


def _iterated(model: WordModel, windows: Windows, steps: int = 20, batch: int = 176) -> Tensor:
    parts = windows.parts(batch)
    return torch.cat(
        [iterate(evidence(model, part), part.uniform(model.n_tasks), steps=steps, lr=0.3).z[-1] for part in parts]
    )
