"""Softmax regression on the very same features: all choices of rate and decay learn side by side.

So the features, which are kept in 16 bits, are standardised once for all of them.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers import metrics
from gbi_helpers.experiments.cifar.measure import Labels
from gbi_helpers.experiments.cifar_far.closed import Blocks, Sums, parts

Values = dict[str, Any]
Pairs = list[tuple[Tensor, Tensor]]  # weight (D, K) and bias (K,) of each choice
BATCH, SMOOTHED = 250, 0.1


def softmax(
    sums: Sums, blocks: Blocks, labels: Labels, epochs: int, rates: Sequence[float], decays: Sequence[float]
) -> tuple[Tensor, Values]:
    """Test scores (N, K) of the regression and the epoch that are best on validation images, of all choices.

    Adam, labels smoothed by .1, from zero; each rate falls to 0 along half a cosine. ``decays``: the share of the
    weights, times the rate, that each step takes off them. Also what was chosen, "lr", "decay" and "epoch" (from 1),
    its accuracy on validation images, "validation", in percent, and "tried": the same of every choice, by epoch. The
    seconds are those of all choices together.
    """
    started, choices, n = time.process_time(), list(itertools.product(rates, decays)), len(labels.train)
    known = [block[n : n + len(labels.validation)] for block in blocks]
    curves: list[list[float]] = [[] for _ in choices]
    best, kept = (-1.0, 0, 0), Pairs()
    for epoch, learned in enumerate(_learned(sums, blocks, labels.train, choices, epochs)):
        for choice, scores in enumerate(_scores(sums, known, learned)):
            right = metrics.accuracy(scores.argmax(1), labels.validation)
            curves[choice].append(right)
            if right > best[0]:
                weight, bias = learned[choice]
                best, kept = (right, choice, epoch + 1), [(weight.clone(), bias.clone())]
    right, choice, epoch = best
    (scores,) = _scores(sums, [block[-len(labels.test) :] for block in blocks], kept)
    tried = [{"lr": lr, "decay": decay, "validation": of} for (lr, decay), of in zip(choices, curves, strict=True)]
    told = {"lr": choices[choice][0], "decay": choices[choice][1], "epoch": epoch, "validation": right}
    return scores, told | {"tried": tried, "fit_cpu_seconds": time.process_time() - started}


def _learned(
    sums: Sums, blocks: Blocks, y: Tensor, choices: Sequence[tuple[float, float]], epochs: int
) -> Iterator[Pairs]:
    """The weights of every choice after each epoch over images of classes y (N,); they go on changing."""
    pairs = [(torch.zeros_like(sums.means.T), torch.zeros_like(sums.means[:, 0])) for _ in choices]
    groups = [
        {"params": [one.requires_grad_() for one in pair], "lr": lr, "weight_decay": decay}
        for pair, (lr, decay) in zip(pairs, choices, strict=True)
    ]
    descent, draw = torch.optim.AdamW(groups), torch.Generator().manual_seed(0)
    steps = epochs * math.ceil(len(y) / BATCH)
    falling = torch.optim.lr_scheduler.LambdaLR(descent, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)
    for _ in range(epochs):
        for rows in torch.randperm(len(y), generator=draw, device=draw.device).to(y.device).split(BATCH):
            x = sums.standardised(blocks, rows).sub_(sums.centre)
            losses = [functional.cross_entropy(x @ w + b, y[rows], label_smoothing=SMOOTHED) for w, b in pairs]
            descent.zero_grad()
            torch.stack(losses).sum().backward()
            descent.step()
            falling.step()
        yield [(weight.detach(), bias.detach()) for weight, bias in pairs]


def _scores(sums: Sums, blocks: Blocks, pairs: Pairs) -> list[Tensor]:
    """Scores (N, K) of all rows of the blocks, by every pair."""
    found: list[list[Tensor]] = [[] for _ in pairs]
    for rows in parts(len(blocks[0])):
        x = sums.standardised(blocks, rows).sub_(sums.centre)
        for scores, (weight, bias) in zip(found, pairs, strict=True):
            scores.append(x @ weight + bias)
    return [torch.cat(scores) for scores in found]
