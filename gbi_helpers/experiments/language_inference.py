"""Which source is this text from? One gradient, with and without the gap put back, K passes, and naive Bayes.

All are asked about the first n words of test windows; what can be chosen (step sizes, the bigram's share) is chosen on
validation windows. Scores are natural logarithms, accuracies percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.experiments.language_windows import Corpus, Windows, even_windows, losses, random_windows
from gbi_helpers.inference import LossFn, iterate, loss_of, max_entropy, one_step
from gbi_helpers.theory import fit_delta

LENGTHS = (1, 2, 5, 10, 20, 50)
REST = slice(64, 128)  # the words on which a z inferred from the first ones is tried
WAYS = ("one_step", "corrected", "exact", "unigram", "bigram")
Scores = dict[str, Any]


def evidence(model: Any, windows: Windows) -> LossFn:
    """The loss of whole windows as a function of z, in nats: what :mod:`gbi_helpers.inference` works on."""
    return loss_of(model, windows.inputs, lambda logits, _: model.nll(logits, windows.words))


def slopes(model: Any, windows: Windows, batch: int = 176) -> Tensor:
    """Minus the gradient (N, K) of each window's loss at the uniform z: the one-step scores."""
    found = []
    for part in windows.parts(batch):
        grad = one_step(evidence(model, part), max_entropy(len(part.words), model.n_tasks)).grad
        assert grad is not None
        found.append(-grad)
    return torch.cat(found)


def log_likelihoods(model: Any, windows: Windows, lengths: Sequence[int]) -> dict[int, Tensor]:
    """log p(first n words | source) (N, K) for each n, by K passes over the longest: exact Bayes with a flat prior."""
    longest = windows.first(max(lengths))
    so_far = torch.stack([-losses(model, longest, z).cumsum(1) for z in torch.eye(model.n_tasks)], dim=2)
    return {n: so_far[:, n - 1] for n in lengths}


def fit_deltas(model: Any, corpus: Corpus, lengths: Sequence[int] = LENGTHS, per_source: int = 16) -> dict[int, Tensor]:
    """The gap (K,) of one step for each length, measured on training windows, without labels."""
    windows = random_windows(corpus, per_source, max(lengths), seed=77)
    z0 = max_entropy(len(windows.words), model.n_tasks)
    return {n: fit_delta(evidence(model, windows.first(n)), z0) for n in lengths}


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
            after = bigrams[before * corpus.size + word] / seen.clamp_min(1)
            p[:, 1:] = torch.where(seen > 0, share * after + (1 - share) * p[:, 1:], p[:, 1:])
        found.append(p.log())
    return torch.stack(found, dim=2)


def fitted_share(corpus: Corpus, windows: Windows) -> float:
    """The bigram's share that gives validation windows, of known source, the highest likelihood."""
    shares = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8)
    own = windows.task[:, None, None].expand(-1, windows.words.shape[1], 1)
    fits = [float(naive_bayes(corpus, windows, share).gather(2, own).mean()) for share in shares]
    return shares[int(torch.tensor(fits).argmax())]


# ---------------------------------------------------------------- the first n words


def source_scores(
    model: Any, corpus: Corpus, windows: Windows, share: float, deltas: dict[int, Tensor]
) -> dict[int, Any]:
    """For each length n, the scores (N, K) of each way to name the source."""
    exact = log_likelihoods(model, windows, tuple(deltas))
    unigram, bigram = (naive_bayes(corpus, windows, s).cumsum(1) for s in (0.0, share))
    found = {}
    for n, delta in deltas.items():
        slope = slopes(model, windows.first(n))
        ways = (slope, slope + delta, exact[n], unigram[:, n - 1].float(), bigram[:, n - 1].float())
        found[n] = dict(zip(WAYS, ways, strict=True))
    return found


def naming(model: Any, corpus: Corpus, deltas: dict[int, Tensor], per_source: int) -> Scores:
    """How well each way names the source of the first n words, and how near one step comes to exact Bayes.

    Lists are over the lengths: "accuracy", "log_score" at step size 1, best "step_size" on validation, "ece" with and
    without it, and against the exact posterior "correlation", "agreement", "kl".
    """
    longest = max(deltas)
    fit = even_windows(corpus.validation, corpus.start, max(per_source // 2, 8), longest)
    windows = even_windows(corpus.test, corpus.start, per_source, longest)
    share = fitted_share(corpus, fit)
    before = source_scores(model, corpus, fit, share, deltas)
    after = source_scores(model, corpus, windows, share, deltas)
    found: Scores = {"lengths": list(deltas), "windows": len(windows.words), "bigram_share": share}
    for n in deltas:
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


def rest(gbi: Any, lstm: Any, corpus: Corpus, deltas: dict[int, Tensor], per_source: int) -> Scores:
    """Loss of words 64 to 127, nats a word, when z was inferred from the first n words in several ways.

    Scalars: "lstm", "uniform", "true", "wrong" (a random other source). Lists over lengths: "one_step", "corrected",
    "hard" (the corrected one's best source alone), "exact", and "iterative" (ten steps of Adam on the logits).
    """
    windows = even_windows(corpus.test, corpus.start, per_source, REST.stop)
    true = windows.z(corpus.n_tasks)

    def loss(z: Tensor | None, model: Any = gbi) -> float:
        return float(losses(model, windows, z)[:, REST].mean())

    shift = torch.randint(1, corpus.n_tasks, (len(true),), generator=torch.Generator().manual_seed(5))
    wrong = torch.nn.functional.one_hot((windows.task + shift) % corpus.n_tasks, corpus.n_tasks).float()
    found: Scores = {"lengths": list(deltas), "windows": len(true), "lstm": loss(None, lstm), "uniform": loss(None)}
    found |= {"true": loss(true), "wrong": loss(wrong)}
    exact = log_likelihoods(gbi, windows, tuple(deltas))
    for n, delta in deltas.items():
        slope = slopes(gbi, windows.first(n))
        z = {name: torch.softmax(score, 1) for name, score in
             {"one_step": slope, "corrected": slope + delta, "exact": exact[n]}.items()}  # fmt: skip
        z["hard"] = torch.nn.functional.one_hot(z["corrected"].argmax(1), corpus.n_tasks).float()
        z["iterative"] = _iterated(gbi, windows.first(n))
        for name, told in z.items():
            found.setdefault(name, []).append(loss(told))
    return found


def _iterated(model: Any, windows: Windows, steps: int = 10, batch: int = 176) -> Tensor:
    parts = windows.parts(batch)
    return torch.cat(
        [
            iterate(evidence(model, part), max_entropy(len(part.words), model.n_tasks), steps=steps, lr=0.3).z[-1]
            for part in parts
        ]
    )
