"""Streams of digits whose pixels are reordered, turned, or called otherwise from time to time, and nobody says when."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional

from gbi_helpers.discovery import discover, predict
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.questions.more_streams import kmeans, mixture, running_mean
from gbi_helpers.experiments.questions.time_rivals import HMM, likeliest, names_hmm, shaped_hmm
from gbi_helpers.experiments.questions.unlabelled import agreement
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.models.base import one_hot
from gbi_helpers.models.factored import turned
from gbi_helpers.models.gated import GatedMLP
from gbi_helpers.models.image import PIXELS
from gbi_helpers.models.slots_of_images import Answers, Pictures
from gbi_helpers.runtime import random_state_kept, usual_defaults

Scores = dict[str, Any]
DIGITS = 10


@dataclass(frozen=True)
class Digits:
    """R streams of T digits: pixels ``x`` (R, T, 784), labels ``y`` (R, T), what is done to each, ``task`` (R, T)."""

    x: Tensor
    y: Tensor
    task: Tensor


def digits(images: tuple[Tensor, Tensor], kind: str, settings: Settings, seed: int) -> Digits:
    """Images (N, 1, 28, 28) and labels (N,) in streams, none twice; before each the task changes with chance "hazard".

    ``kind``: "permuted", each task has an order of the pixels; "rotated", by even angles; "relabelled", an order of
    the labels, the images are as they are. "rows", "length" and "tasks" are numbers.
    Raises ``ValueError`` for fewer images than that.
    """
    rows, length, tasks = (settings[name] for name in ("rows", "length", "tasks"))
    if rows * length > len(images[1]):
        raise ValueError(f"{rows} streams of {length} need {rows * length} images, but there are {len(images[1])}.")
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(images[1]), generator=draw, device=draw.device)[: rows * length]
    x, y = (part.cpu()[chosen] for part in images)
    moved = torch.rand(rows, length, generator=draw, dtype=torch.float64, device=draw.device) < settings["hazard"]
    step = torch.randint(1, tasks, (rows, length), generator=draw, device=draw.device) * moved
    step[:, 0] = torch.randint(tasks, (rows,), generator=draw, device=draw.device)
    task = (step.cumsum(1) % tasks).flatten()

    def orders(size: int) -> Tensor:
        return torch.stack([torch.randperm(size, generator=draw, device=draw.device) for _ in range(tasks)])

    if kind == "permuted":
        x = x.flatten(1).gather(1, orders(PIXELS)[task])
    elif kind == "rotated":
        x = turned(x, 360 / tasks * task)
    else:
        y = orders(DIGITS)[task, y]
    return Digits(x.reshape(rows, length, PIXELS), y.view(rows, length), task.view(rows, length))


def _network(settings: Settings, slots: int, off: float, seed: int) -> GatedMLP:
    with random_state_kept(), usual_defaults():
        torch.manual_seed(seed)
        return GatedMLP((PIXELS, settings["hidden"], DIGITS), slots, off, seed)


def read(made: Digits, z: Tensor, then: Tensor, model: GatedMLP, lr: float) -> float:
    """Percent of labels right in the second half, each said with ``z`` (R, T, K) before it is learned with ``then``."""
    descent = torch.optim.Adam(model.parameters(), lr=lr)
    right = []
    for x, y, now, later in zip(*(part.unbind(1) for part in (made.x, made.y, z, then)), strict=True):
        with torch.no_grad():
            right.append(model(x, now).argmax(-1) == y)
        descent.zero_grad()
        functional.cross_entropy(model(x, later), y, reduction="sum").backward()
        descent.step()
    return 100 * float(torch.stack(right[len(right) // 2 :]).double().mean())


def scored(made: Digits, slot: Tensor) -> Scores:
    """Agreement of the slots (R, T - first) with tasks in the second half of the streams."""
    left = made.task.shape[1] - made.task.shape[1] // 2
    return agreement(slot[:, -left:].flatten(), made.task[:, -left:].flatten())


def found(world: World, seed: int, settings: Settings) -> Scores:
    """One pass through streams without names of tasks; scores of :func:`.unlabelled.agreement` in the second half.

    By "kind" and "by": slots of "pictures", which see no label, or of "answers". "accuracy": percent of labels that a
    network says right in one pass with the "discovered" z, the "true" one, and "none" (a network without gates). The
    discovered one knows the image; of labels only those before.
    """
    made = digits(world.mnist.sets.train, settings["kind"], settings, seed)
    slots = settings["slots"]
    network = functools.partial(_network, settings, seed=seed)
    answers = settings["by"] == "answers"
    stream = Answers(network(slots, 0.5), made.x, made.y) if answers else Pictures(made.x, slots, seed)
    seen = discover(stream, **settings["discover"])
    belief = seen.belief.movedim(0, 1)
    z = {
        "discovered": belief,
        "true": one_hot(made.task, settings["tasks"]).to(made.x),
        "none": belief[..., :1] * 0 + 1,
    }
    expected = predict(belief[:, :-1].clamp_min(1e-30).log(), seen.hazard.mT[:, :-1]).exp()
    before = {**z, "discovered": torch.cat([torch.full_like(belief[:, :1], 1 / slots), expected], 1)} if answers else z
    accuracy = {
        name: read(made, before[name], then, network(then.shape[-1], 0.0 if name == "none" else 0.5), settings["lr"])
        for name, then in (z.items() if settings["read"] else ())
    }
    return {**scored(made, seen.slot.mT), "hazard": float(seen.hazard[-1].mean()), "accuracy": accuracy}


def features(made: Digits, kind: str, size: int) -> Tensor:
    """Main components (R, T, size) of the pixels, as the first half has them; where labels are what changes, their
    products with the label (R, T, size * 10).
    """
    told = main(made.x, size)
    return (
        (told[..., None] * one_hot(made.y, DIGITS).double()[..., None, :]).flatten(2) if kind == "relabelled" else told
    )


def main(x: Tensor, size: int) -> Tensor:
    """Main components (R, T, size) of x (R, T, F), as the first half has them; float64."""
    fitted = PCA(size, random_state=0).fit(x[:, : x.shape[1] // 2].flatten(0, 1).numpy())
    return torch.from_numpy(fitted.transform(x.flatten(0, 1).numpy())).view(*x.shape[:2], size).double()


def smoothed(told: Tensor, keep: float) -> Tensor:
    """Running means (R, T, F) of each stream of features."""
    return torch.stack([running_mean(row, keep) for row in told])


def clustered(find: Callable[..., Tensor]) -> Callable[[World, int, Settings], Scores]:
    """A row: clusters of running means of :func:`features`, found in the first half, scored in the second.

    "directions", where the settings have them: so many main components of the running means.
    """

    def measure(world: World, seed: int, settings: Settings) -> Scores:
        made = digits(world.mnist.sets.train, settings["kind"], settings, seed)
        told = features(made, settings["kind"], settings["components"])
        x, half = smoothed(told, settings["keep"]), told.shape[1] // 2
        x = main(x, settings["directions"]) if "directions" in settings else x
        first, second = x[:, :half].flatten(0, 1), x[:, half:].flatten(0, 1)
        slot = find(first, second, settings["k"], seed, **settings.get("how", {}))
        return scored(made, slot.view(len(x), -1))

    return measure


Fit = Callable[[Tensor, Tensor], HMM]  # data (R, T, ...), slots to begin with (R, T) -> a model


def begun(told: Tensor, settings: Settings, seed: int) -> list[Tensor]:
    """Slots (R, T // 2) for Markov models to start from: first what the row of k-means finds in ``told`` (R, T, F).

    Then what it finds with each other memory of "keeps".
    """
    seen = told[:, : told.shape[1] // 2]
    means = [smoothed(seen, keep).flatten(0, 1) for keep in (settings["keep"], *settings["keeps"])]
    return [kmeans(x, x, settings["k"], seed, settings["starts"]).view(seen.shape[:2]) for x in means]


def held_out(seen: Tensor, starts: Sequence[Tensor], fit: Fit) -> float:
    """Nats a datum of the first quarter of the streams ``seen`` (R, T, ...) under a model fitted to the others."""
    new = max(len(seen) // 4, 1)
    model = likeliest(seen[new:], [slot[new:] for slot in starts], fit)
    return float(model.filtered(seen[:new])[1].mean())


def chosen(made: Digits, data: Mapping[float, Tensor], fit: Callable[[float], Fit], starts: Sequence[Tensor]) -> Scores:
    """Markov models fitted to the first half, scored in the second, of ``data`` (R, T, ...) for each "way" to see them.

    The way is that under which held-out streams of the first half are likeliest; the model is begun at the first of
    ``starts``, and, "likeliest", at all of them. No label says anything here.
    """
    half = made.y.shape[1] // 2
    way = min(data, key=lambda way: held_out(data[way][:, :half], starts[:1], fit(way)))
    best = [likeliest(data[way][:, :half], begin, fit(way)) for begin in (starts[:1], starts)]
    scores = [scored(made, model.filtered(data[way])[0].argmax(-1)) for model in best]
    return {**scores[0], "way": way, "likeliest": scores[1]}


def markov(world: World, seed: int, settings: Settings) -> Scores:
    """A hidden Markov model of Gaussians on the same features; "way": the share of "ways" to shrink covariances by."""
    made = digits(world.mnist.sets.train, settings["kind"], settings, seed)
    told = features(made, settings["kind"], settings["components"])

    def fit(share: float) -> Fit:
        return functools.partial(shaped_hmm, share=share, rounds=settings["rounds"])

    return chosen(made, dict.fromkeys(settings["ways"], told), fit, begun(told, settings, seed))


def pairs(made: Digits, components: int, groups: int, seed: int) -> Tensor:
    """Which name an image of which group has, (R, T, groups * 10) of zeros and a one; groups as the first half has."""
    x = main(made.x, components)
    group = kmeans(x[:, : x.shape[1] // 2].flatten(0, 1), x.flatten(0, 1), groups, seed).view(made.y.shape)
    return one_hot(DIGITS * group + made.y, DIGITS * groups).double()


def markov_of_names(world: World, seed: int, settings: Settings) -> Scores:
    """A hidden Markov model of what each group of images is called; "way": how many groups, of "ways"."""
    made = digits(world.mnist.sets.train, settings["kind"], settings, seed)
    told = features(made, settings["kind"], settings["components"])
    data = {n: pairs(made, settings["components"], n, seed) for n in settings["ways"]}
    fit = functools.partial(names_hmm, names=DIGITS, rounds=settings["rounds"])
    return chosen(made, data, lambda _: fit, begun(told, settings, seed))


STREAM: Scores = {"rows": 8, "length": 1250, "tasks": 4, "hazard": 1 / 40}
NETWORK: Scores = {**STREAM, "slots": 8, "hidden": 256, "lr": 1e-3}
WORDS = {"permuted": "pixels in another order", "rotated": "digits turned", "relabelled": "digits called otherwise"}
# The best adjusted Rand index on turned digits of seeds 100 .. 102, among rates .01, .03 and step sizes .01 .. .05.
PICTURES = {"evidence": "corrected", "lr": 0.03, "step_size": 0.05}
# Running means of k-means: the best adjusted Rand index on seeds 100 and 101, among 0 .. .9.
KEEPS = {"permuted": 0.0, "rotated": 0.8, "relabelled": 0.7}
# Those of the mixture, with the type of its covariances, chosen in the same way for itself.
MIXTURES = {"permuted": (0.5, "full"), "rotated": (0.7, "diag"), "relabelled": (0.7, "spherical")}
# Markov models begin as k-means ends, with its memory; also tried: other memories, of which the likelihood may choose.
MARKOV: Scores = {"components": 30, "k": 4, "starts": 20, "keeps": [0.0, 0.3, 0.5, 0.8], "rounds": 20}
SHARES, GROUPS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3], [10, 30, 100, 300]


def _found(kind: str, by: str, how: Settings, told: bool) -> Row:
    settings = {**NETWORK, "kind": kind, "by": by, "discover": how, "read": told}
    return Row(found, f"{WORDS[kind]}, slots of {by}", settings)


def _mixture(kind: str, keep: float, covariance: str) -> Row:
    settings = {**STREAM, "kind": kind, "components": 30, "k": 8, "keep": keep, "how": {"covariance": covariance}}
    if kind == "relabelled":  # products with the label are 300 numbers, too many for eight Gaussians
        settings["directions"] = 30
    return Row(clustered(mixture), f"{WORDS[kind]}, Dirichlet mixture, smoothed", settings)


def _markov(kind: str, measure: Callable[[World, int, Settings], Scores], ways: Sequence[float]) -> Row:
    settings = {**STREAM, **MARKOV, "kind": kind, "keep": KEEPS[kind], "ways": ways}
    return Row(measure, f"{WORDS[kind]}, hidden Markov model", settings)


ROWS: dict[str, Row] = {
    "streams/permuted": _found("permuted", "pictures", PICTURES, True),
    "streams/rotated": _found("rotated", "pictures", PICTURES, True),
    "streams/relabelled": _found("relabelled", "answers", {"evidence": "exact", "lr": 1e-3}, True),
    "streams/relabelled/one_step": _found("relabelled", "answers", {"evidence": "one_step", "lr": 1e-3}, False),
    "streams/permuted/answers": _found("permuted", "answers", {"evidence": "exact", "lr": 1e-3}, False),
    **{
        f"streams/{kind}/kmeans": Row(
            clustered(kmeans),
            f"{WORDS[kind]}, k-means, smoothed",
            {**STREAM, "kind": kind, "components": 30, "k": 4, "keep": keep, "how": {"starts": 20}},
        )
        for kind, keep in KEEPS.items()
    },
    **{f"streams/{kind}/mixture": _mixture(kind, *how) for kind, how in MIXTURES.items()},
    **{f"streams/{kind}/hmm": _markov(kind, markov, SHARES) for kind in ("permuted", "rotated")},
    "streams/relabelled/hmm": _markov("relabelled", markov_of_names, GROUPS),
}

LITTLE: Scores = {"rows": 2, "length": 40, "hidden": 16, "components": 5, "directions": 5, "rounds": 2}
LITTLE |= {"keeps": [0.5]}
SMALL: dict[str, Scores] = {
    name: {key: value for key, value in LITTLE.items() if key in row.settings} for name, row in ROWS.items()
}
for name in ("permuted", "rotated"):
    SMALL[f"streams/{name}/hmm"]["ways"] = [0.1, 0.3]
SMALL["streams/relabelled/hmm"]["ways"] = [2, 3]
