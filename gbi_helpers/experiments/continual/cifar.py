"""Split-CIFAR-100: a hundred classes, ten at a time, for sums and for networks that see the same label-free features.

Filters come from the training images of the first ten classes alone, so nothing of what is to come leaks into them; the
order of the classes is the seed's. What a learner may choose it chooses on validation images: those of the classes that
it has met.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.continual import Replay
from gbi_helpers.experiments.continual import networks
from gbi_helpers.experiments.continual.hundred import CONTEXTS, HUNDRED, Stream, by_context, seen
from gbi_helpers.experiments.continual.sums import READINGS, read
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.meter import bytes_of
from gbi_helpers.metrics import accuracy
from gbi_helpers.models.streaming import StreamedMeans
from gbi_helpers.runtime import random_state_kept, usual_defaults
from gbi_helpers.training import fit

IMAGE = 3 * 32 * 32  # bytes of one, for replay: its features are computed again
TRAINING, NET = ("steps", "lr", "batch_size"), ("hidden", "drop")  # of a sweep's settings; all others are the method's


def told(r: Tensor) -> dict[str, Any]:
    """R (T, T) and what it says; ``average``: accuracy over the classes so far, its mean over the stages."""
    stages = [float(row[: i + 1].mean()) for i, row in enumerate(r)]
    return networks.told(r) | {"average": sum(stages) / len(stages)}


# ---------------------------------------------------------------- sums


def through_contexts(stream: Stream, shares: Sequence[float]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """R (T, T) by reading, on test images; and what was chosen, with the bytes that are kept.

    ``shares``: of shrinkage, falling. The first context tries all on its validation images; as more images need less,
    each later one tries the last one's share and the next, on those of all its classes.
    """
    kept = StreamedMeans(stream.x["train"].shape[1], stream.x["train"].device)
    rows, swept, left = {name: list[Tensor]() for name in READINGS}, [], list(shares)
    for stage in range(CONTEXTS):
        kept.add(*stream.part("train", stage))
        decoders = [kept.decoder(share) for share in (left[:2] if stage else left)]
        x, y = stream.so_far("validation", stage)
        found = [accuracy(read(*decoder, x)["one_step_delta"].argmax(1), y) for decoder in decoders]
        best = max(range(len(found)), key=found.__getitem__)
        swept.append({str(share): value for share, value in zip(left, found, strict=False)})
        left = left[best:]
        x, y = stream.so_far("test", stage)
        for name, score in read(*decoders[best], x).items():
            rows[name].append(by_context(score.argmax(1), y))
    facts = {"shrink": left[0], "validation": swept, "size": len(kept.outer)}
    return {name: torch.stack(r) for name, r in rows.items()}, facts | {"stored": kept.stored}


def sums(world: Any, seed: int, settings: Settings) -> dict[str, Any]:
    """The decoder of sums, class-incremental, by every reading.

    ``expanded``: the sums are of so many random features of what is seen, relu(x @ W) with W fixed: RanPAC (McDonnell
    et al. 2023, arXiv 2307.02251).
    """
    stream, facts = expanded(seed, settings)
    by_reading, found = through_contexts(stream, settings["shrink"])
    return facts | found | {name: told(r) for name, r in by_reading.items()}


def ridge(world: Any, seed: int, settings: Settings) -> dict[str, Any]:
    """Ridge regression from the same sums; its share is chosen anew after each context, on validation images so far."""
    stream, facts = expanded(seed, settings)
    kept = StreamedMeans(stream.x["train"].shape[1], stream.x["train"].device)
    rows, chosen = [], []
    for stage in range(CONTEXTS):
        kept.add(*stream.part("train", stage))
        made = {share: kept.least_squares(share) for share in settings["shrink"]}
        x, y = stream.so_far("validation", stage)
        right = {share: accuracy(_named(x, *reader), y) for share, reader in made.items()}
        chosen.append(max(right, key=right.__getitem__))
        x, y = stream.so_far("test", stage)
        rows.append(by_context(_named(x, *made[chosen[-1]]), y))
    return facts | told(torch.stack(rows)) | {"shrink": chosen, "stored": kept.stored}


def _named(x: Tensor, weights: Tensor, offset: Tensor) -> Tensor:
    return (x.to(weights) @ weights + offset).argmax(1)


def expanded(seed: int, settings: Settings) -> tuple[Stream, dict[str, Any]]:
    """What is seen, and what is told of it; "expanded": so many random features of it."""
    stream, facts = seen(seed, settings)
    if settings.get("expanded"):
        x = stream.x["train"]
        stream = stream.through(expansion(x.shape[1], settings["expanded"], seed).to(x.device))
    return stream, facts


def expansion(size: int, out: int, seed: int) -> nn.Module:
    """Random features: relu(x @ W), W (size, out) normal, drawn once and never changed."""
    with random_state_kept(seed=seed), usual_defaults():
        layer = nn.Linear(size, out, bias=False).requires_grad_(False)
        nn.init.normal_(layer.weight, std=size**-0.5)
        return nn.Sequential(layer, nn.ReLU())


# ---------------------------------------------------------------- networks


def net(size: int, settings: Settings, seed: int) -> nn.Sequential:
    """Layers with ReLU between them; ``drop``: share of hidden units, and half that of inputs, left out in training."""
    made, drop = networks.mlp(size, tuple(settings["hidden"]), HUNDRED, seed), settings.get("drop", 0.0)
    if not drop:
        return made
    after = [[layer, nn.Dropout(drop)] if isinstance(layer, nn.ReLU) else [layer] for layer in made]
    return nn.Sequential(nn.Dropout(drop / 2), *itertools.chain(*after))


def trained(stream: Stream, seed: int, settings: Settings, one: Settings) -> tuple[dict[str, Tensor], int]:
    """R (T, T) on validation and on test images of one training, and the bytes that the method kept.

    ``one``: of a sweep's settings; they come before those of ``settings``. ``own``: see :func:`.networks.run`.
    """
    training = {**settings["training"], **{name: one[name] for name in TRAINING if name in one}}
    options = {name: value for name, value in one.items() if name not in (*TRAINING, *NET)}
    method = networks.METHODS[settings["method"]](**settings.get("options", {}), **options)
    asked = {name: stream.contexts(name) for name in ("validation", "test")}
    x = stream.x["train"]
    model = net(x.shape[1], {**settings, **one}, seed).to(x.device)
    known = stream.contexts("train", own=settings.get("own", False))
    r = networks.through(model, known, asked, "class", method, seed=seed, **training)
    if not isinstance(method, Replay):
        return r, method.stored
    return r, (IMAGE + 1) * len(method.y) + (bytes_of(method.answers) if method.weight else 0)


def network(world: Any, seed: int, settings: Settings) -> dict[str, Any]:
    """A method, at each setting of its sweep; the one chosen on validation, and what the others reach."""
    stream, facts = seen(seed, settings)
    found = [trained(stream, seed, settings, one) for one in settings["sweep"]]
    validation = [told(r["validation"])["accuracy"] for r, _ in found]
    best = max(range(len(found)), key=validation.__getitem__)
    swept = {"validation": validation, "test": [told(r["test"])["accuracy"] for r, _ in found]}
    chosen = {"chosen": settings["sweep"][best], "stored": found[best][1]}
    return facts | told(found[best][0]["test"]) | swept | chosen


def joint(world: Any, seed: int, settings: Settings) -> dict[str, Any]:
    """One network on all classes at once: the setting of the sweep, and the epoch, that are best on validation."""
    stream, facts = seen(seed, settings)
    found = [at_once(stream, seed, one) for one in settings["sweep"]]
    best = max(range(len(found)), key=lambda i: max(found[i]["curve"]))
    every = {"validation": [max(one["curve"]) for one in found], "test": [one["accuracy"] for one in found]}
    return facts | found[best] | every | {"chosen": settings["sweep"][best], "stored": 0}


def at_once(stream: Stream, seed: int, settings: Settings) -> dict[str, Any]:
    """Test accuracy by context, of the weights that were best on validation; ``curve``: validation by epoch."""
    x, y = (part["train"] for part in (stream.x, stream.y))
    model = net(x.shape[1], settings, seed).to(x.device)
    per_epoch, curve, weights = len(x) // settings["batch_size"], [0.0], {}

    def watch(step: int) -> dict[str, Tensor]:
        if step and step % per_epoch == 0:
            curve.append(accuracy(answers(model, stream.x["validation"]), stream.y["validation"]))
            if curve[-1] == max(curve):
                weights.update({name: value.clone() for name, value in model.state_dict().items()})
        return {}

    options = {name: settings[name] for name in ("epochs", "batch_size", "lr")}
    adam = functools.partial(torch.optim.AdamW, weight_decay=settings.get("decay", 0.0))
    fit(model, lambda b: functional.cross_entropy(model(b[0].float()), b[1]), (x, y), seed=seed, watch=watch,
        optimizer=adam, desc="joint", **options)  # fmt: skip
    model.load_state_dict(weights)
    found = by_context(answers(model, stream.x["test"]), stream.y["test"])
    return {"by_context": found.tolist(), "accuracy": float(found.mean()), "curve": curve[1:]}


@torch.no_grad()
def answers(model: nn.Module, x: Tensor) -> Tensor:
    """The class (N,) that a network names for each vector (N, D); it is left in training mode."""
    model.eval()
    found = torch.cat([model(part.float()).argmax(1) for part in x.split(5000)])
    model.train()
    return found


# ---------------------------------------------------------------- rows

SEES: Settings = {"set": "full", "filters_of": "first", "features": {"n_filters": 400, "pool": 3, "stride": 1}}
COMPONENTS: Settings = {**SEES, "components": 1024}
SHRINK: Settings = {"shrink": (0.1, 0.03, 0.01, 0.003)}
LESS: Settings = {"shrink": (0.1, 0.03, 0.01, 0.003, 0.001, 3e-4)}
LEARNER: Settings = {**COMPONENTS, "hidden": (512,), "training": {"steps": 175, "batch_size": 128, "lr": 1e-3}}
SLOW: Settings = {"steps": 350, "lr": 3e-4, "drop": 0.5}  # what fine-tuning with own outputs chooses
EWC = tuple({"strength": strength} for strength in (1.0, 10.0, 1e2, 1e4))
EWC_OWN = tuple({"strength": strength, **how} for how in ({}, SLOW) for strength in (0.1, 1.0, 10.0))
REPLAY = tuple(
    {"steps": steps, "lr": lr, "drop": 0.5}
    for steps, lr in ((175, 1e-4), (175, 3e-4), (350, 1e-4), (350, 3e-4), (700, 1e-4))
)
ANSWERS = tuple(
    {"steps": steps, "lr": 3e-4, "drop": 0.5, "logits": weight}
    for steps, weight in ((350, 0.003), (350, 0.03), (350, 0.3), (175, 0.03))
)
# for LwF; with dropout, by hand in four orders: 17 %
SLOWER: tuple[Settings, ...] = ({}, {"lr": 3e-4}, {"steps": 350, "lr": 3e-4})
LONGER: tuple[Settings, ...] = ({}, SLOW, *({**SLOW, "steps": steps} for steps in (175, 700, 1400)))
APART = tuple(
    {"steps": steps, "lr": 3e-4, "drop": 0.5, "share": share}
    for steps, share in ((350, 0.2), (350, 0.1), (350, 0.05), (350, 0.02), (175, 0.1))
)
STORED: Settings = {"options": {"size": 2000, "batch_size": 128}}
RIDGE: Settings = {"shrink": (1e-4, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)}
MORE: Settings = {"shrink": (0.9, 0.7, 0.5, 0.3, 0.1, 0.03)}  # as many random features ask for
JOINT = tuple(
    {"hidden": (width,), "drop": drop, "lr": lr, "decay": 0.0, "epochs": 12, "batch_size": 128}
    for width, drop, lr in ((512, 0.4, 2e-3), (1024, 0.5, 1e-3), (1024, 0.5, 3e-4), (2048, 0.6, 3e-4))
)
ROWS = {
    "cifar/sums": Row(sums, "sums of patch features", {**SEES, **SHRINK}),
    "cifar/sums_components": Row(sums, "sums of what the networks see", {**COMPONENTS, **LESS}),
    "cifar/expanded": Row(  # one order: it takes long, and gains nothing
        sums, "sums of random features (RanPAC)", {**COMPONENTS, **MORE, "expanded": 5000}, once=True
    ),
    "cifar/fine_tuning": Row(network, "fine-tuning", {**LEARNER, "method": "fine_tuning", "sweep": ({},)}),
    "cifar/lwf": Row(network, "LwF", {**LEARNER, "method": "lwf", "sweep": ({},)}),
    "cifar/ewc": Row(network, "EWC", {**LEARNER, "method": "ewc", "sweep": EWC}),
    "cifar/ridge": Row(ridge, "ridge regression, sums of what the networks see", {**COMPONENTS, **RIDGE}),
    "cifar/ridge_expanded": Row(  # one order, as the row it stands beside
        ridge,
        "ridge regression, sums of random features (RanPAC)",
        {**COMPONENTS, **MORE, "expanded": 5000},
        once=True,
    ),
    **{
        f"cifar/{name}_2000": Row(
            network,
            words,
            {**LEARNER, **STORED, "method": "replay", "sweep": sweep},
        )
        for name, words, sweep in (
            ("replay", "replay of 2,000", REPLAY),
            ("answers", "replay of 2,000 and their old answers (after DER++)", ANSWERS),
        )
    },
    "cifar/apart_2000": Row(
        network,
        "replay of 2,000, new images among their own (ER-ACE)",
        {**LEARNER, **STORED, "own": True, "method": "apart", "sweep": APART},
    ),
    **{
        f"cifar/{name}_own": Row(
            network, f"{words}, own outputs", {**LEARNER, "own": True, "method": name, "sweep": sweep}
        )
        for name, words, sweep in (
            ("fine_tuning", "fine-tuning", LONGER),
            ("lwf", "LwF", SLOWER),
            ("ewc", "EWC", EWC_OWN),
        )
    },
    "cifar/joint": Row(joint, "everything at once", {**COMPONENTS, "sweep": JOINT}),
}
FEW: Settings = {
    "set": "standin",
    "images": (400, 100, 100),
    "features": {"n_filters": 16, "pool": 3, "stride": 4},
    "training": {"steps": 3, "batch_size": 16, "lr": 1e-3},
}
SMALL: dict[str, dict[str, Any]] = {
    name: {**FEW}
    | ({"components": 110} if "components" in row.settings else {})
    | ({"expanded": 120} if "expanded" in row.settings else {})
    | ({"shrink": (0.3, 0.1)} if "shrink" in row.settings else {})
    for name, row in ROWS.items()
}
SMALL["cifar/ewc"] |= {"sweep": ({"strength": 1.0}, {"strength": 100.0})}
OF_A_STORE = {"replay_2000": {}, "answers_2000": {"logits": 0.1}, "apart_2000": {"share": 0.2}}
for name, more in OF_A_STORE.items():
    SMALL[f"cifar/{name}"] |= {
        "sweep": ({"steps": 2, **more}, {"steps": 3, "drop": 0.5, **more}),
        "options": {"size": 100, "batch_size": 16},
    }
for name, more in {"fine_tuning_own": {}, "lwf_own": {}, "ewc_own": {"strength": 1.0}}.items():
    SMALL[f"cifar/{name}"] |= {"sweep": ({**more}, {"steps": 2, "lr": 3e-4, **more})}
SMALL["cifar/joint"] |= {"sweep": ({"hidden": (8,), "drop": 0.2, "lr": 1e-2, "epochs": 2, "batch_size": 16},)}
