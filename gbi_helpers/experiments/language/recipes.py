"""How the language models are trained: settings chosen on validation text, and one function for all of them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gbi_helpers.experiments.language.windows import Corpus, Windows, by_source, even_windows, losses, random_windows
from gbi_helpers.inference import max_entropy
from gbi_helpers.models.language import WordLSTM, WordModel
from gbi_helpers.models.transformer import WordTransformer
from gbi_helpers.records import TrainingRecord
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit

Told = Literal["true", "nothing", "shuffled"]
SETTINGS: dict[str, Any] = {"steps": 600, "per_source": 2, "window": 64, "lr": 8e-3, "schedule": "constant"}
SHORT = SETTINGS | {"steps": 300}  # of the networks that are compared, at equal tokens, with the others on their way
LOOKS = (25, 50, 100, 150, 200, 250, 300, 350, 400, 450, 500, 550, 600)  # steps at which validation text is read
LONG = SETTINGS | {"steps": 2400, "looks": (*LOOKS, 750, 900, 1050, 1200, 1400, 1600, 1800, 2000, 2200, 2400)}
HELD_OUT = {
    "packages": ("api", "chat", "recipe", "speech"),
    "babylm": ("childes", "gutenberg", "scripture", "wikipedia"),
}
# How each network is trained: "without": on all sources but one; "pieces": on a text cut into so many pieces of words;
# "weight": of a second target, the source.
NETWORKS: dict[str, dict[str, Any]] = {
    "gbi": SETTINGS,
    "lstm": SETTINGS | {"told": "nothing"},
    "gbi_long": LONG,
    "lstm_long": LONG | {"told": "nothing"},
    "namer": SETTINGS | {"weight": 1.0},
    "plane": SETTINGS | {"plane": 2},
    "shuffled": SHORT | {"told": "shuffled"},
    "gate": SHORT | {"conditioning": "gate"},
    "concat": SHORT | {"conditioning": "concat"},
    "gatein": SHORT | {"conditioning": "gatein"},
    "udrop": SHORT | {"udrop": 0.2},
    "transformer": SHORT | {"model": "transformer", "lr": 2e-3},
    "transformer_lstm": SHORT | {"model": "transformer", "lr": 2e-3, "told": "nothing"},
    "gbi_pieces": SHORT | {"pieces": 1200},
    "lstm_pieces": SHORT | {"pieces": 1200, "told": "nothing"},
}
ROLES: dict[str, dict[str, Any]] = {"gbi": {}, "lstm": {"told": "nothing"}, "namer": {"weight": 1.0}}
NETWORKS |= {
    f"{name}_without_{source}": SHORT | told | {"without": source}
    for source in (*HELD_OUT["packages"], *HELD_OUT["babylm"])
    for name, told in ROLES.items()
}
# The same in seconds: all small, on windows of few words.
SMALL_NETWORKS = {
    name: options | {"steps": options["steps"] // 12, "window": 16, "hidden": 16, "width": 16}
    | ({"pieces": 300} if "pieces" in options else {})
    for name, options in NETWORKS.items()
}  # fmt: skip


class ClippedAdamW(torch.optim.AdamW):
    """AdamW without weight decay that first scales the gradient down to a norm of at most 1."""

    def __init__(self, parameters: Any, lr: float = 1e-3):
        super().__init__(parameters, lr=lr, weight_decay=0.0, fused=True)

    def step(self, closure: Any = None) -> Any:
        """One update."""
        nn.utils.clip_grad_norm_([p for group in self.param_groups for p in group["params"]], 1.0)
        return super().step(closure)


def train(
    corpus: Corpus,
    seed: int = 0,
    *,
    told: Told = "true",
    udrop: float = 0.0,
    looks: Sequence[int] = LOOKS,
    resume: Path | None = None,
    model: str = "lstm",
    steps: int = SETTINGS["steps"],
    per_source: int = SETTINGS["per_source"],
    window: int = SETTINGS["window"],
    lr: float = SETTINGS["lr"],
    schedule: str = SETTINGS["schedule"],
    **sizes: Any,
) -> tuple[WordModel, TrainingRecord]:
    """A trained model in eval mode, and its record; networks of one seed meet the same windows in the same order.

    ``told``: the z given in training, "true", "nothing" (1/K: this is the LSTM) or "shuffled" (a random source).
    ``udrop``: share of windows told 1/K instead, so that the network knows that point. ``looks``: steps at which the
    loss on validation text is taken, told z: curve "validation" (looks, K), nats a word; "step" (looks,).
    ``sizes``: further arguments of the model. ``facts`` gain "tokens" and "tokens_per_cpu_second".
    """
    torch.manual_seed(seed)
    with usual_defaults():
        network = made(corpus, model, **sizes).to(corpus.train[0].device)
    watch = _Looks(network, even_windows(corpus.validation, corpus.start, 16, 64), looks, told)

    def batch(step: int) -> tuple[Windows, Tensor]:
        windows = random_windows(corpus, per_source, window, seed * 1_000_003 + step)
        return windows, told_z(windows.task, corpus.n_tasks, told, udrop, seed * 1_000_003 + step)

    def loss(batch: tuple[Windows, Tensor]) -> Tensor:
        windows, z = batch
        return network.nll(network(windows.inputs, z), windows.words).mean() / window

    record = fit(
        network, loss, batch, steps=steps, batch_size=per_source * corpus.n_tasks, lr=lr, schedule=schedule, seed=seed,
        optimizer=ClippedAdamW, watch=watch, resume=resume, desc=f"{model}, told {told}",
    )  # fmt: skip
    tokens = steps * per_source * corpus.n_tasks * window
    record.facts["tokens"] = tokens
    record.facts["tokens_per_cpu_second"] = round(tokens / max(record.facts["cpu_seconds"], 0.01))
    return network.eval(), record


def made(corpus: Corpus, model: str = "lstm", **options: Any) -> WordModel:
    """An untrained network for the corpus; options that are not the model's own, but of its training, are ignored."""
    if model not in ("lstm", "transformer"):
        raise ValueError(f"model is '{model}': choose 'lstm' or 'transformer'.")
    kind: type[WordModel] = WordLSTM if model == "lstm" else WordTransformer
    own = {name: value for name, value in options.items() if name in inspect.signature(kind).parameters}
    return kind(corpus.size, corpus.n_tasks, **own)


def told_z(task: Tensor, n_tasks: int, told: Told, udrop: float = 0.0, seed: int = 0) -> Tensor:
    """The z (B, K) that training gives for windows of sources ``task`` (B,)."""
    uniform = max_entropy(len(task), n_tasks, torch.float32, task.device)
    if told == "nothing":
        return uniform
    draw = torch.Generator().manual_seed(seed)
    if told == "shuffled":
        task = torch.randint(n_tasks, task.shape, generator=draw, device=draw.device).to(task.device)
    z = nn.functional.one_hot(task, n_tasks).float()
    dropped = torch.rand(len(task), 1, generator=draw, dtype=torch.float32, device=draw.device) < udrop
    return torch.where(dropped.to(task.device), uniform, z)


class _Looks:
    """Reads validation text at some steps of training; ``fit`` calls it at every one."""

    def __init__(self, model: WordModel, windows: Windows, looks: Sequence[int], told: Told):
        self.model, self.windows, self.looks, self.told = model, windows, set(looks), told

    def __call__(self, step: int) -> dict[str, Any]:
        if step not in self.looks:
            return {}
        task = self.windows.task
        found = losses(self.model, self.windows, told_z(task, self.model.n_tasks, self.told))
        return {"step": step, "validation": by_source(found, task)}
