"""How the large model is trained: in stretches, each going on from the weights of the one before.

The stem is trained at a constant rate, then its weights are cooled, at a rate that falls to zero. A stem may go on on
another day, or on a GPU: a further stretch after it, and cooled anew; what was trained before is taken from the shelf.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.experiments.language.recipes import SETTINGS as CHAPTER
from gbi_helpers.experiments.language.recipes import ClippedAdamW, Told, told_z
from gbi_helpers.experiments.language.windows import Corpus, Windows, by_source, even_windows, losses, random_windows
from gbi_helpers.models.deep import DeepTransformer
from gbi_helpers.models.language import WordModel
from gbi_helpers.records import TrainingRecord
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit

HELD_OUT = {"": "wikipedia", "small": "chat"}
NUMBERS = "bfloat16"  # products of matrices in 16 bits: twice as fast on processors that have them; sums are in 32
HOW: dict[str, Any] = {
    "per_source": 2, "window": 128, "lr": 1.5e-3, "udrop": 0.1, "every": 250,
    "width": 256, "layers": 6, "heads": 4, "longest": 128,
}  # fmt: skip
STEM = HOW | {"steps": 3000, "schedule": "constant"}
FAR = HOW | {"steps": 2500, "schedule": "constant"}
COOLED = HOW | {"steps": 2000, "schedule": "cosine"}
# Chapter 08's LSTM on as many tokens, at a rate that falls as well: what a small network makes of the same text.
LSTM = CHAPTER | {"steps": 15000, "schedule": "cosine", "udrop": 0.1, "looks": tuple(range(0, 15001, 500))}
NETWORKS: dict[str, dict[str, Any]] = {
    "gbi_stem": STEM | {"told": "true"},
    "none_stem": STEM | {"told": "nothing"},
    "gbi_far": FAR | {"told": "true", "after": "gbi_stem"},
    "none_far": FAR | {"told": "nothing", "after": "none_stem"},
    "gbi": COOLED | {"told": "true", "after": "gbi_far"},
    "none": COOLED | {"told": "nothing", "after": "none_far"},
    "lstm_gbi": LSTM | {"told": "true", "chapter": "08"},
    "lstm_none": LSTM | {"told": "nothing", "chapter": "08"},
}
TINY = {"window": 16, "width": 16, "layers": 2, "heads": 2, "every": 5}


def _tiny(options: dict[str, Any]) -> dict[str, Any]:
    """The same in a second: few steps of a small network on short windows."""
    fewer = {"steps": options["steps"] // 500}
    if "chapter" in options:
        return options | fewer | {"window": 16, "hidden": 16, "looks": (0, 15, 30)}
    return options | fewer | TINY


SMALL_NETWORKS = {name: _tiny(options) for name, options in NETWORKS.items()}


def train(
    corpus: Corpus,
    seed: int = 0,
    *,
    start: WordModel | None = None,
    before: int = 0,
    told: Told = "true",
    udrop: float = 0.0,
    steps: int = 100,
    per_source: int = 2,
    window: int = 128,
    lr: float = 1e-3,
    schedule: str = "constant",
    every: int = 100,
    resume: Path | None = None,
    **sizes: int,
) -> tuple[DeepTransformer, TrainingRecord]:
    """One stretch of training, from the weights of ``start`` after ``before`` steps, or from none; eval mode, record.

    Networks of one seed meet the same windows in the same order, whatever they are told; no stretch meets those of the
    one before again, but by chance. ``every``: so often is validation text read: curve "validation"
    (looks, K), nats a word, at "step" (looks,), counted from the first stretch. ``facts`` gain "tokens",
    of this stretch, "weights", their number, and "tokens_per_cpu_second". ``resume``: see
    :func:`~gbi_helpers.training.fit`.
    """
    torch.manual_seed(seed)
    with usual_defaults():
        network = DeepTransformer(corpus.size, corpus.n_tasks, **sizes).to(corpus.train[0].device)
    if start is not None:
        network.load_state_dict(copy.deepcopy(start.state_dict()))

    def batch(step: int) -> tuple[Windows, Tensor]:
        draw = seed * 1_000_003 + before + step
        windows = random_windows(corpus, per_source, window, draw)
        return windows, told_z(windows.task, corpus.n_tasks, told, udrop, draw)

    def loss(batch: tuple[Windows, Tensor]) -> Tensor:
        windows, z = batch
        with torch.autocast(z.device.type, getattr(torch, NUMBERS)):
            logits = network(windows.inputs, z)
        return network.nll(logits.float(), windows.words).mean() / window

    watched = even_windows(corpus.validation, corpus.start, 16, min(64, window))

    def watch(step: int) -> dict[str, Any]:
        return {} if step % every and step != steps else {"step": before + step, **_read(network, watched, told)}

    record = fit(
        network, loss, batch, steps=steps, batch_size=per_source * corpus.n_tasks, lr=lr, schedule=schedule, seed=seed,
        optimizer=ClippedAdamW, watch=watch, resume=resume, save_every=60, desc=f"{schedule} rate, told {told}",
    )  # fmt: skip
    tokens = steps * per_source * corpus.n_tasks * window
    speed = round(tokens / max(record.facts["cpu_seconds"], 0.01))
    weights = sum(p.numel() for p in network.parameters())
    record.facts.update(tokens=tokens, tokens_per_cpu_second=speed, weights=weights)
    return network.eval(), record


def _read(network: WordModel, windows: Windows, told: Told) -> dict[str, Tensor]:
    """Nats a word (K,) of validation text, told what it is told in training."""
    z = told_z(windows.task, network.n_tasks, told)
    return {"validation": by_source(losses(network, windows, z), windows.task)}
