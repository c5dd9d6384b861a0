"""Permuted-MNIST: ten orders of the pixels, learned one after another; gates whose context one image tells.

What a permutation moves may be less than all pixels, so that contexts come to resemble each other. The decoder that
names the context is a mean image for each: no training, one sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gbi_helpers import metrics, theory
from gbi_helpers.continual import Context, learn, logits
from gbi_helpers.experiments.continual import networks
from gbi_helpers.experiments.continual.scenarios import Labelled
from gbi_helpers.inference import loss_of, max_entropy
from gbi_helpers.models.base import one_hot
from gbi_helpers.models.gated import GatedMLP
from gbi_helpers.models.natural import Streamed
from gbi_helpers.runtime import usual_defaults

Settings = Mapping[str, Any]
PIXELS = 784


def orders(contexts: int, moved: int, seed: int) -> Tensor:
    """Orders (contexts, 784) of the pixels; each moves about ``moved`` of them, the same ones in all contexts."""
    draw = torch.Generator().manual_seed(seed)
    which = torch.randperm(PIXELS, generator=draw, device=draw.device)[:moved]
    made = torch.arange(PIXELS, device=draw.device).repeat(contexts, 1)
    for row in made:
        row[which] = which[torch.randperm(moved, generator=draw, device=draw.device)]
    return made


def seen(images: Labelled, order: Tensor, n: int) -> Labelled:
    """The first ``n`` images with their pixels in the order of each context (contexts, n, 784), and digits (n,)."""
    x, y = images[0][:n].flatten(1), images[1][:n]
    return torch.stack([x[:, row.to(x.device)] for row in order]), y


def context_decoder(x: Tensor) -> tuple[Any, Tensor]:
    """Coins whose chances are each context's mean image, from x (contexts, n, 784), and the delta of one step."""
    streamed = Streamed("bernoulli")
    for i, part in enumerate(x):
        streamed.add(part, torch.full((len(part),), i, dtype=torch.int64, device=part.device))
    gates = streamed.gates(share=0.01)
    z0 = max_entropy(1, len(x), torch.float64, x.device)[0]
    return gates, theory.natural_gap(gates.family.log_partition, gates.decoder.patterns, z0)


def inferred(decoder: tuple[Any, Tensor], x: Tensor) -> Tensor:
    """Belief in each context (B, K) from single images x (B, 784): one gradient, with its delta."""
    gates, delta = decoder
    z0 = max_entropy(len(x), gates.n_tasks, torch.float64, x.device)
    return theory.corrected_one_step(loss_of(gates, x.double(), gates.nll), z0, delta).q


def permuted(train: Labelled, test: Labelled, seed: int, settings: Settings) -> dict[str, Any]:
    """R with the context given, and with it inferred; with the uniform z and with another context's as controls."""
    order = orders(settings["contexts"], settings["moved"], seed)
    x, y = seen(train, order, settings["n"])
    asked, answers = seen(test, order, settings["test"])
    decoder, k = context_decoder(x), len(order)
    beliefs = torch.stack([inferred(decoder, part) for part in asked]).float()  # (contexts, n, K)
    given = torch.eye(k, dtype=x.dtype, device=x.device)[:, None].expand_as(beliefs)
    told = {"given": given, "inferred": beliefs, "uniform": torch.full_like(beliefs, 1 / k), "other": given.roll(1, 2)}
    with torch.random.fork_rng(), usual_defaults():
        torch.manual_seed(seed)
        model = GatedMLP((PIXELS, *settings["hidden"], 10), k, settings["off"], seed).to(x.device)
    every = torch.ones(10, dtype=torch.bool, device=x.device)
    contexts = [Context((part, one_hot(torch.full_like(y, i), k)), y, every) for i, part in enumerate(x)]
    method = networks.METHODS[settings["method"]](**settings.get("options", {}))
    rows: dict[str, list[list[float]]] = {name: [] for name in told}

    def test_all(i: int) -> list[float]:
        for name, z in told.items():
            answer = [logits(model, (part, each), every).argmax(1) for part, each in zip(asked, z, strict=True)]
            rows[name].append([metrics.accuracy(one, answers) for one in answer])
        return rows["given"][-1]

    learn(model, contexts, method, test_all, seed=seed, **settings["training"])
    named = [metrics.accuracy(belief.argmax(1), torch.full_like(answers, i)) for i, belief in enumerate(beliefs)]
    r = {name: networks.told(torch.tensor(found, dtype=torch.float64, device="cpu")) for name, found in rows.items()}
    return r | {"named": sum(named) / k, "stored": method.stored}
