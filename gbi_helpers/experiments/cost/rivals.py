"""Who else can propose tasks: counts and means, which nobody trains, and classifiers, which take seconds to train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gbi_helpers.experiments.cifar.recipes import train_classifier
from gbi_helpers.experiments.cost.readings import Proposer, Samples, proposer
from gbi_helpers.experiments.language.inference import fitted_share, naive_bayes
from gbi_helpers.experiments.language.namer import named
from gbi_helpers.experiments.language.windows import Corpus, Windows
from gbi_helpers.models.hundred import class_means
from gbi_helpers.models.language import WordModel
from gbi_helpers.models.naming import WordNamer
from gbi_helpers.readouts import logits_of

Data = tuple[Tensor, Tensor]  # x (N, ...) and classes y (N,)


def flops(call: Callable[[], Any]) -> int:
    """Floating-point operations of a call, as PyTorch counts them: those of matrix products and convolutions."""
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        call()
    return counted.get_total_flops()


def forward_flops(samples: Samples) -> int:
    """Of one pass of one sample, its code known."""
    first = torch.zeros(1, dtype=torch.int64, device=samples.y.device)
    loss_fn, z = samples.rows(first), samples.uniform()[:1]
    return flops(lambda: loss_fn(z))


def nearest_mean(train: Data, validation: Data, test: Data, n_tasks: int, forward: int) -> Proposer:
    """By distance to the mean of each class, of vectors as they are; nothing is trained."""
    means = class_means(train[0].flatten(1), train[1], n_tasks)

    def scores(x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return flat @ means.T - means.square().sum(1) / 2  # half the squared distance, less what all classes share

    return proposer(scores(validation[0]), scores(test[0]), flops(lambda: scores(test[0][:1])) / forward, validation[1])


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
    share = fitted_share(corpus, validation)
    found = {}
    for name, weight in (("unigram", 0.0), ("bigram", share)):
        before, after = (naive_bayes(corpus, w, weight).sum(1).float() for w in (validation, test))
        found[name] = proposer(before, after, 0.0, validation.task)
    return found


def word_namer(namer: WordNamer, gbi: WordModel, validation: Windows, test: Windows) -> Proposer:
    """By an LSTM with the source as a second target: a pass without the read-out of words."""
    before, after = (named(namer, windows)[:, -1] for windows in (validation, test))
    recurrent = sum(p.numel() for p in namer.lstm.parameters() if p.dim() == 2)  # multiplications a word
    price = (recurrent + namer.naming.weight.numel()) / (recurrent + gbi.get_parameter("embedding.weight").numel())
    return proposer(before, after, price, validation.task)
