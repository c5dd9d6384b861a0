"""Who else can propose tasks: counts and means, which nobody trains, and classifiers, which take seconds to train."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers.experiments.cifar.recipes import train_classifier
from gbi_helpers.experiments.cost.readings import Proposer, Samples, proposer
from gbi_helpers.experiments.language.inference import naive_bayes, naming_shares
from gbi_helpers.experiments.language.namer import named
from gbi_helpers.experiments.language.windows import Corpus, Windows, losses
from gbi_helpers.meter import flops
from gbi_helpers.metrics import accuracy, agreement
from gbi_helpers.models.base import Generative
from gbi_helpers.models.hundred import class_means
from gbi_helpers.models.language import WordModel
from gbi_helpers.models.naming import WordNamer
from gbi_helpers.readouts import logits_of

Data = tuple[Tensor, Tensor]  # x (N, ...) and classes y (N,)


def forward_flops(samples: Samples) -> int:
    """Of one pass of one sample, its code known."""
    first = torch.zeros(1, dtype=torch.int64, device=samples.y.device)
    loss_fn, z = samples.rows(first), samples.uniform()[:1]
    return flops(lambda: loss_fn(z))


def code_flops(model: Generative, x: Tensor) -> int:
    """Of the code of one sample of x (N, ...); 0 where the decoder needs none."""
    return flops(model.encode, x[:1])


def nearest_mean(train: Data, validation: Data, test: Data, n_tasks: int, forward: int) -> Proposer:
    """By distance to the mean of each class, of vectors as they are; nothing is trained."""
    means = class_means(train[0].flatten(1), train[1], n_tasks)

    def scores(x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return flat @ means.T - means.square().sum(1) / 2  # half the squared distance, less what all classes share

    return proposer(scores(validation[0]), scores(test[0]), flops(lambda: scores(test[0][:1])) / forward, validation[1])


def gaussians(train: Data, validation: Data, test: Data, n_tasks: int, forward: int, components: int = 40) -> Proposer:
    """By a Gaussian for each class, in closed form, on principal components; shrinkage chosen on validation images."""
    flat = train[0].flatten(1)
    mean = flat.mean(0)
    axes = torch.linalg.svd(flat - mean, full_matrices=False).Vh[:components].T
    seen = (flat - mean) @ axes
    own = [seen[train[1] == k] for k in range(n_tasks)]
    spreads = torch.stack([part.T.cov() for part in own])
    sizes = torch.bincount(train[1], minlength=n_tasks) / len(seen)
    pooled = (sizes[:, None, None] * spreads).sum(0)  # within classes: what lies between their means is no noise
    means = torch.stack([part.mean(0) for part in own])

    def scores(x: Tensor, shrink: float) -> Tensor:
        spread = (1 - shrink) * spreads + shrink * pooled
        narrow = torch.linalg.inv(torch.linalg.cholesky(spread))
        away = (x.flatten(1) - mean) @ axes - means[:, None]  # (K, N, components)
        return (-(away @ narrow.mT).square().sum(-1) / 2 - spread.logdet()[:, None] / 2).T

    def right(shrink: float) -> float:
        return accuracy(scores(validation[0], shrink).argmax(1), validation[1])

    shrink = max((0.01, 0.03, 0.1, 0.3), key=right)
    once = n_tasks * components**2 * 2 + flat.shape[1] * components * 2  # of one image, inverses known
    return proposer(scores(validation[0], shrink), scores(test[0], shrink), once / forward, validation[1])


def softmax_regression(
    train: Data, validation: Data, test: Data, n_tasks: int, forward: int, seed: int, epochs: int = 6
) -> Proposer:
    """By a linear classifier of vectors, trained for seconds."""
    options: dict[str, Any] = {"n_tasks": n_tasks, "width": 0, "lr": 1e-2, "epochs": epochs}
    model, _ = train_classifier(train[0].flatten(1), train[1], seed=seed, **options)
    flat = [(x.flatten(1), y) for x, y in (validation, test)]
    return classified(model, flat[0], flat[1], forward)


def classified(model: nn.Module, validation: Data, test: Data, forward: int) -> Proposer:
    """By a classifier's logits."""
    before, after = (logits_of(model, x) for x in (validation[0], test[0]))
    return proposer(before, after, flops(lambda: model(test[0][:1])) / forward, validation[1])


def word_counts(corpus: Corpus, validation: Windows, test: Windows) -> dict[str, Proposer]:
    """By naive Bayes, from words alone and from pairs too. It looks numbers up and adds them: no pass at all."""
    n = validation.words.shape[1]
    share = naming_shares(corpus, validation, [n])[n]
    found = {}
    for name, weight in (("unigram", 0.0), ("bigram", share)):
        before, after = (naive_bayes(corpus, w, weight).sum(1).float() for w in (validation, test))
        found[name] = proposer(before, after, 0.0, validation.task)
    return found


GRID = tuple(range(1, 16))  # nats


def raced(model: WordModel, windows: Windows) -> Tensor:
    """log p(the first words | source) (N, n, K) after each of the n words of windows."""
    return torch.stack([-losses(model, windows, z).cumsum(1) for z in windows.pure(model.n_tasks)], dim=2)


def race(so_far: Tensor, nats: float) -> tuple[Tensor, float]:
    """All sources read word by word, each dropped where it is so many nats behind, until one is left.

    Log beliefs (N, K), in which a source keeps the distance at which it was dropped, and forwards a window. It is a
    sequential test: under the model the true source is dropped with a probability of at most (K - 1) exp(-nats).
    """
    alive = torch.ones_like(so_far[:, 0], dtype=torch.bool)
    behind, read = torch.zeros_like(so_far[:, 0]), 0.0
    for now in so_far.unbind(1):
        racing = alive & (alive.sum(1, keepdim=True) > 1)
        read += float(racing.sum()) / len(so_far)
        gap = now.masked_fill(~alive, -torch.inf).amax(1, keepdim=True) - now
        behind = torch.where(racing, gap, behind)
        alive = alive & ~(racing & (gap > nats))
    return torch.log_softmax(-behind, 1), read / so_far.shape[1]


def races(model: WordModel, validation: Windows, test: Windows) -> dict[str, Proposer]:
    """A race whose distance is the least that names what all passes name in 98 or 99 % of validation windows."""
    before, after = raced(model, validation), raced(model, test)
    found = {}
    for percent in (98, 99):
        enough = [t for t in GRID if agreement(race(before, t)[0], before[:, -1]) >= percent]
        log_q, price = race(after, enough[0] if enough else GRID[-1])
        found[f"race_{percent}"] = Proposer(race(before, GRID[-1])[0], log_q, price)
    return found


def word_namer(namer: WordNamer, gbi: WordModel, validation: Windows, test: Windows) -> Proposer:
    """By an LSTM with the source as a second target: a pass without the read-out of words."""
    before, after = (named(namer, windows)[:, -1] for windows in (validation, test))
    recurrent = sum(p.numel() for p in namer.lstm.parameters() if p.dim() == 2)  # multiplications a word
    price = (recurrent + namer.naming.weight.numel()) / (recurrent + gbi.get_parameter("embedding.weight").numel())
    return proposer(before, after, price, validation.task)
