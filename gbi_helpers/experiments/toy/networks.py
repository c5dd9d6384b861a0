"""The trained networks of notebook 04, shipped: the first seeds of those whose numbers the toy record holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gbi_helpers import runtime
from gbi_helpers.checkpoints import load_checkpoint, run_facts, save_checkpoint
from gbi_helpers.data.toy import Stream, switching_stream
from gbi_helpers.experiments.toy.recipes import Run, train
from gbi_helpers.experiments.toy.theory import FOUR
from gbi_helpers.files import ASSETS, add_asset
from gbi_helpers.models.toy import ToyLSTM
from gbi_helpers.records import TrainingRecord

SHIPPED = "checkpoints/toy_frozen.safetensors"
SEEDS, STACK = 5, 20  # so many are shipped, of so many that were trained in one pass
LINE, PLANE = (0.0, 0.5, 1.0), ((0.2, 0.2), (0.2, 0.8), (1.0, 0.5))
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {  # by name in the notebook: means, and how the network is trained
    "post": ((0.2, 0.8), {"variant": "post"}),
    "recurrent": ((0.2, 0.8), {"variant": "rec"}),
    "concat": ((0.2, 0.8), {"variant": "concat"}),
    "concat, not cooled": ((0.2, 0.8), {"variant": "concat", "schedule": "constant"}),
    "concat, high rate": ((0.2, 0.8), {"variant": "concat", "lr": 1e-2}),
    "three on a line": (LINE, {"variant": "post"}),
    "three in a plane": (PLANE, {"variant": "post"}),
    "four on a line": (FOUR, {"variant": "post"}),
}


def trained(name: str, seeds: int = SEEDS) -> Run:
    """The networks of this name with frozen weights: from the shipped file, or trained now in the profile "full".

    Trained on 100 blocks of 50 samples with a learning rate that falls to zero, unless KINDS says otherwise. Shipped
    ones come without the curves of their training.
    Raises ``ValueError`` for an unknown name, or more seeds than are shipped.
    """
    if name not in KINDS or not 1 <= seeds <= SEEDS:
        raise ValueError(f"Choose one of {', '.join(KINDS)}, and 1 to {SEEDS} seeds.")
    whole = _now(name) if runtime.profile() == "full" else _shipped(name)
    keep = {key: value[:seeds] for key, value in whole.model.state_dict().items()}
    model = _untrained(name, seeds)
    model.load_state_dict(keep)
    return Run(model, _stream(name, seeds), whole.online)


def ship(world: Any, results: Any) -> Iterable[Path]:
    """Train all kinds and write the file that is shipped; its path."""
    models = nn.ModuleDict({name: _first(name, _now(name).model) for name in KINDS})
    facts = run_facts(command="gbi reproduce toy", seed=list(range(SEEDS)), data="toy (generated)", minutes=1)
    path = save_checkpoint(ASSETS / SHIPPED, models, facts, half=False)
    add_asset(path, **facts)
    return [path]


def _now(name: str) -> Run:
    return train(_stream(name, STACK), **{"schedule": "cosine", **KINDS[name][1]})


def _first(name: str, model: ToyLSTM) -> ToyLSTM:
    first = _untrained(name, SEEDS)
    first.load_state_dict({key: value[:SEEDS] for key, value in model.state_dict().items()})
    return first


def _shipped(name: str) -> Run:
    models = {kind: _untrained(kind, SEEDS) for kind in KINDS}
    load_checkpoint(SHIPPED, nn.ModuleDict(models))
    return Run(models[name], _stream(name, SEEDS), TrainingRecord(torch.empty(0, dtype=torch.float32, device="cpu")))


def _stream(name: str, seeds: int) -> Stream:
    return switching_stream(
        seeds, means=torch.tensor(KINDS[name][0], dtype=torch.float32, device="cpu"), blocks=100, block=50
    )


def _untrained(name: str, seeds: int) -> ToyLSTM:
    means = torch.tensor(KINDS[name][0], dtype=torch.float32, device="cpu")
    size = means.shape[1] if means.dim() > 1 else 1
    return ToyLSTM(seeds, KINDS[name][1]["variant"], n_tasks=len(means), size=size)
