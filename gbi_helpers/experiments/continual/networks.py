"""Networks that learn context after context, and those that are told everything at once: the upper line."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers import metrics
from gbi_helpers.continual import EWC, SI, Context, FineTuning, LwF, Replay, learn, logits
from gbi_helpers.experiments.continual.scenarios import Scenario, Split, accuracies, outputs_of
from gbi_helpers.experiments.study import Settings
from gbi_helpers.runtime import random_state_kept, usual_defaults
from gbi_helpers.training import fit


class Apart(Replay):
    """Replay whose new images compete among their own outputs, and stored ones among all so far (after ER-ACE).

    Caccia et al. 2022, arXiv 2104.05025. It is told each context's own outputs. ``share``: weight of stored images.
    """

    def __init__(self, size: int, share: float = 0.2, **options: Any):
        super().__init__(size, **options)
        self.share = share

    def loss(self, model: nn.Module, inputs: Sequence[Tensor], y: Tensor, outputs: Tensor) -> Tensor:
        """Cross-entropy on new images among their own outputs, and on stored ones among all."""
        found = FineTuning.loss(self, model, inputs, y, outputs)
        if not self.contexts:
            return found
        so_far = outputs | self.outputs.any(0)
        return (1 - self.share) * found + self.share * self._again(model, so_far)


METHODS: dict[str, Callable[..., FineTuning]] = {
    "fine_tuning": FineTuning,
    "ewc": EWC,
    "si": SI,
    "lwf": LwF,
    "replay": Replay,
    "apart": Apart,
}


AS_LEARNED = {"schedule": "constant", "warm_up": 0}  # as context after context


def mlp(size: int, hidden: tuple[int, ...], outputs: int, seed: int, drop: float = 0.0) -> nn.Sequential:
    """Layers of these sizes with ReLU, and dropout if any, between them."""
    sizes, layers = (size, *hidden, outputs), list[nn.Module]()
    with random_state_kept(seed=seed), usual_defaults():
        for a, b in itertools.pairwise(sizes[:-1]):
            layers += [nn.Linear(a, b), nn.ReLU(), *([nn.Dropout(drop)] if drop else [])]
        return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def run(split: Split, scenario: Scenario, method: FineTuning, seed: int, settings: Settings) -> dict[str, Tensor]:
    """R (T, T) of a method on validation and on test images, from one training.

    ``own``: of the settings; while a context is learned, its own outputs alone compete, as if the context were told
    ("labels trick", Zeno et al. 2018, arXiv 1803.10123). Asked is what the scenario asks, of all classes so far.
    """
    asked = {name: split.contexts(scenario, name) for name in ("validation", "test")}
    x = split.train[0]
    model = mlp(x.shape[1], tuple(settings["hidden"]), outputs_of(scenario), seed).to(x.device)
    known = split.contexts("task" if settings.get("own") else scenario)
    return through(model, known, asked, scenario, method, seed=seed, **settings["training"])


def through(
    model: nn.Module,
    told: list[Context],
    asked: Mapping[str, list[Context]],
    scenario: Scenario,
    method: FineTuning,
    **options: Any,
) -> dict[str, Tensor]:
    """R (T, T) on each set that is ``asked``, from one training through the contexts; options are those of learning."""
    rows: dict[str, list[list[float]]] = {name: [] for name in asked}

    def test(i: int) -> list[float]:
        for name, contexts in asked.items():
            rows[name].append(accuracies(model, contexts, scenario, i))
        return rows["test"][-1]

    learn(model, told, method, test, **options)
    return {name: torch.tensor(found, dtype=torch.float64, device="cpu") for name, found in rows.items()}


def joint(split: Split, scenario: Scenario, seed: int, settings: Settings) -> Tensor:
    """R (T, T) of networks trained anew, after each context, on all images so far, with as many steps in all."""
    known, asked = split.contexts(scenario), split.contexts(scenario, "test")
    rows = []
    for i in range(len(known)):
        model = mlp(known[0].inputs[0].shape[1], tuple(settings["hidden"]), outputs_of(scenario), seed)
        options = {**AS_LEARNED, **settings["training"], "steps": settings["training"]["steps"] * (i + 1)}
        at_once(model.to(known[0].y.device), known[: i + 1], seed=seed, **options)
        rows.append(torch.tensor(accuracies(model, asked, scenario, i), dtype=torch.float64, device="cpu"))
    return torch.stack(rows)


def best_at_once(split: Split, seed: int, settings: Settings) -> dict[str, Any]:
    """The best that networks of several sizes reach when all classes are at hand, trained until nothing is gained.

    Size and dropout are chosen on validation images, over the last epochs of a rate that falls to zero.
    """
    known = split.contexts("class")
    asked = {name: split.contexts("class", name) for name in ("validation", "test")}
    found: dict[str, list[float]] = {name: [] for name in asked}
    for hidden, drop in settings["choices"]:
        model = mlp(known[0].inputs[0].shape[1], tuple(hidden), outputs_of("class"), seed, drop)
        at_once(model.to(known[0].y.device), known, seed=seed, **settings["training"])
        for name, contexts in asked.items():
            right = accuracies(model, contexts, "class", len(known) - 1)
            sizes = [len(each.y) for each in contexts]
            found[name].append(sum(a * n for a, n in zip(right, sizes, strict=True)) / sum(sizes))
    best = max(range(len(found["validation"])), key=found["validation"].__getitem__)
    return {"accuracy": found["test"][best], "choice": best, **found}


def at_once(model: nn.Module, contexts: list[Context], **options: Any) -> None:
    """Train on the images of all contexts together, each with the outputs that count for it in the end."""
    last = contexts[-1].outputs
    counts = [last if (last | ~each.outputs).all() else each.outputs for each in contexts]
    x = torch.cat([each.inputs[0] for each in contexts])
    rows = torch.cat([one.expand(len(each.y), -1) for one, each in zip(counts, contexts, strict=True)])

    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        x, outputs, y = batch
        return functional.cross_entropy(logits(model, (x,), outputs), y)

    fit(model, loss, (x, rows, torch.cat([each.y for each in contexts])), desc="joint", **options)


def told(r: Tensor) -> dict[str, Any]:
    """R and what it says, as plain values."""
    return {
        "r": r.nan_to_num(-1).tolist(),  # -1: of a class that has not come
        "accuracy": metrics.final_accuracy(r),
        "learning": metrics.learning_accuracy(r),
        "forgetting": metrics.forgetting(r),
        "backward_transfer": metrics.backward_transfer(r),
    }
