"""Two factors of an image, which digit and how it is turned, and pairs of them that were never seen together.

Of each digit one angle is held out, another one in each seed. A model's image is a function of z = (digit, angle), ten
numbers and eight; so one gradient tells of eighty pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers import metrics
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.recipe import Recipe
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.inference import LossFn, one_step
from gbi_helpers.models.base import one_hot
from gbi_helpers.models.factored import Order, PairClassifier, TwoFactors, turned
from gbi_helpers.readouts import decoder_loss

DIGITS, ANGLES = 10, 8
# Passes through the decoder, a gradient being two: one forward, one backward.
PRICES = {"one_step": 2, "one_step_delta": 2, "three_steps": 6, "eight_steps": 16, "eight_steps_delta": 16, "pairs": 80}
PRICES |= {"one_step_nine": 11, "three_steps_nine": 15}
Scores = dict[str, Any]
Loss = Callable[[tuple[Tensor, Tensor]], Tensor]


def held_out(digit: Tensor, held: int) -> Tensor:
    """The angle (N,) at which each digit (N,) is never shown; ``held`` moves them all."""
    return (3 * digit + held) % ANGLES


def shown(x: Tensor, digit: Tensor, held: int, draw: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) turned to angles (N,) drawn among those at which their digit may be shown; and these."""
    on = x.device if draw is None else draw.device
    other = torch.randint(1, ANGLES, (len(x),), generator=draw, device=on).to(x.device)
    angle = (held_out(digit, held) + other) % ANGLES
    return at(x, angle), angle


def at(x: Tensor, angle: Tensor) -> Tensor:
    """Images turned to the angles of these numbers."""
    return turned(x, 360 / ANGLES * angle)


def _factored(x: Tensor, order: Order = "late", latent: int = 16, width: int = 384, canvas: int = 64) -> TwoFactors:
    return TwoFactors(order, DIGITS, ANGLES, latent, width, canvas)


def _described(model: TwoFactors, held: int, beta: float) -> Loss:
    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        x, angle = shown(*batch, held)
        return model.free_energy(x, pure(batch[1], angle), beta).mean()

    return loss


def _classifier(x: Tensor, width: int = 384, turns: bool = False) -> PairClassifier:
    return PairClassifier(DIGITS, ANGLES, width, turns)


def _classified(model: nn.Module, held: int) -> Loss:
    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        x, angle = shown(*batch, held)
        return functional.nll_loss(model(x).flatten(1), batch[1] * ANGLES + angle)

    return loss


TRAINING = {"epochs": 6, "batch_size": 128, "lr": 2e-3}
train_factored = Recipe(
    "two factors", _factored, _described, {**TRAINING, "beta": 0.4, "latent": 16, "width": 384, "canvas": 256}
)
train_pair_classifier = Recipe("two heads", _classifier, _classified, {**TRAINING, "width": 384})


# ---------------------------------------------------------------- reading both factors


def starts(n: int, like: Tensor) -> Tensor:
    """z (n, 18) that favours no digit and no angle."""
    halves = [like.new_full((n, size), 1 / size) for size in (DIGITS, ANGLES)]
    return torch.cat(halves, 1)


def slopes(loss_fn: LossFn, z: Tensor) -> tuple[Tensor, Tensor]:
    """Minus the gradient to digits (N, 10) and to angles (N, 8) at z (N, 18)."""
    one, other = one_step(loss_fn, z, space="free").score.split([DIGITS, ANGLES], 1)
    return one, other


def in_one_step(loss_fn: LossFn, z0: Tensor) -> Tensor:
    """Scores of the pairs (N, 10, 8) from one gradient."""
    one, other = slopes(loss_fn, z0)
    return one[:, :, None] + other[:, None]


def in_turn(loss_fn: LossFn, z0: Tensor) -> Tensor:
    """From three gradients: one for both, one for the angle at what the first said of the digit, and the reverse.

    Vaguer beliefs than those of step size 1 did worse on validation images.
    """
    digit, _ = slopes(loss_fn, z0)
    angle = slopes(loss_fn, torch.cat([digit.softmax(1), z0[:, DIGITS:]], 1))[1]
    digit = slopes(loss_fn, torch.cat([z0[:, :DIGITS], angle.softmax(1)], 1))[0]
    return digit[:, :, None] + angle[:, None]


def at_each_angle(loss_fn: LossFn, z0: Tensor) -> Tensor:
    """From a gradient for the digit at each angle: linear in the digit alone, so the factors' interaction is known."""
    found = []
    for number in range(ANGLES):
        angle = one_hot(torch.full((len(z0),), number, dtype=torch.int64, device=z0.device), ANGLES)
        z = torch.cat([z0[:, :DIGITS], angle], 1)
        step = one_step(loss_fn, z, space="free")
        assert step.grad is not None
        slope = step.grad[:, :DIGITS]
        found.append((slope * z0[:, :DIGITS]).sum(1, keepdim=True) - slope - step.loss[:, None])
    return torch.stack(found, 2)


def all_pairs(loss_fn: LossFn, z0: Tensor) -> Tensor:
    """By eighty passes."""
    found = []
    with torch.no_grad():
        for digit in torch.eye(DIGITS, dtype=z0.dtype, device=z0.device):
            for angle in torch.eye(ANGLES, dtype=z0.dtype, device=z0.device):
                found.append(-loss_fn(torch.cat([digit, angle]).expand(len(z0), -1)))
    return torch.stack(found, 1).view(-1, DIGITS, ANGLES)


def few_pairs(rough: Tensor, exact: Tensor, each: int = 3) -> Tensor:
    """The exact scores of the ``each`` best digits at the ``each`` best angles of rough ones, all others left out."""
    kept = torch.zeros_like(rough, dtype=torch.bool)
    digit, angle = rough.amax(2).topk(each, 1).indices, rough.amax(1).topk(each, 1).indices
    image = torch.arange(len(rough), device=rough.device)[:, None, None]
    kept[image, digit[:, :, None], angle[:, None]] = True
    return exact.masked_fill(~kept, -torch.inf)


def ways(model: TwoFactors, x: Tensor, fit: Tensor) -> dict[str, Tensor]:
    """Scores of the pairs (N, 10, 8) by each way to read images x; :data:`PRICES` says what each costs.

    ``fit``: images on which the gap is measured that is put back by the ways with "delta", one number for each pair.
    """
    known, found = read(model, fit), read(model, x)
    for name in ("one_step", "eight_steps"):
        found[f"{name}_delta"] = found[name] + _centred(known["pairs"] - known[name]).mean(0)
    return found | {f"{name}_nine": few_pairs(found[name], found["pairs"]) for name in ("one_step", "three_steps")}


def read(model: TwoFactors, x: Tensor) -> dict[str, Tensor]:
    """By one gradient, by three, by eight, and by eighty passes."""
    by_part = [_read(decoder_loss(model, part), starts(len(part), part)) for part in x.split(250)]
    return {name: torch.cat([part[name] for part in by_part]) for name in by_part[0]}


def _read(loss_fn: LossFn, z0: Tensor) -> dict[str, Tensor]:
    few = {"one_step": in_one_step(loss_fn, z0), "three_steps": in_turn(loss_fn, z0)}
    return few | {"eight_steps": at_each_angle(loss_fn, z0), "pairs": all_pairs(loss_fn, z0)}


def _centred(scores: Tensor) -> Tensor:
    return scores - scores.mean((1, 2), keepdim=True)


def right(scores: Tensor, digit: Tensor, angle: Tensor) -> dict[str, float]:
    """Percent of images of which both factors are named right, or each of them."""
    best = scores.flatten(1).argmax(1)
    named = {"digit": (best // ANGLES, digit), "angle": (best % ANGLES, angle)}
    found = {name: metrics.accuracy(*pair) for name, pair in named.items()}
    return {"both": metrics.accuracy(best, digit * ANGLES + angle), **found}


def asked(world: World, seed: int, settings: Settings) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Images, digits and angles: "seen", test digits at angles at which theirs was shown; "unseen", at the others."""
    x, digit = (part[: settings["images"]] for part in world.mnist.sets.test)
    draw = torch.Generator().manual_seed(seed)
    images, angle = shown(x, digit, seed, draw)
    never = held_out(digit, seed)
    return {"seen": (images, digit, angle), "unseen": (at(x, never), digit, never)}


def right_by_pair(scores: Tensor, digit: Tensor, angle: Tensor) -> list[list[float]]:
    """Percent of the images of each pair, (10, 8), of which both factors are named right; -1 where there is none."""
    pair = digit * ANGLES + angle
    hit = (scores.flatten(1).argmax(1) == pair).double()
    n, hits = (torch.bincount(pair, weight, DIGITS * ANGLES) for weight in (torch.ones_like(hit), hit))
    return torch.where(n > 0, 100 * hits / n, -1).view(DIGITS, ANGLES).tolist()


def generative(world: World, seed: int, settings: Settings) -> Scores:
    """Percent right of each way to read z, on pairs seen in training and on pairs never seen; :func:`half_turn`.

    "by_pair": of all pairs tried, for each pair.
    """
    model, facts = _trained(world, train_factored, seed, settings)
    found: Scores = dict(facts)
    x, digit = (part[: settings["fit"]] for part in world.mnist.sets.train)
    fit = shown(x, digit, seed, torch.Generator().manual_seed(seed))[0]
    for name, (x, digit, angle) in asked(world, seed, settings).items():
        said = ways(model, x, fit)
        found[name] = {way: right(scores, digit, angle) for way, scores in said.items()}
        found[f"{name}_by_pair"] = right_by_pair(said["pairs"], digit, angle)
        found[f"{name}_half_turn"] = half_turn(model, x, digit, angle)
    return found


@torch.no_grad()
def half_turn(model: TwoFactors, x: Tensor, digit: Tensor, angle: Tensor) -> float:
    """How far a drawing of a pair is from the one half a turn away, turned back: percent of that one's length.

    Where the pair was never seen, the other one was: so it says whether the pair is drawn as it should be.
    """
    h = model.encode(x)
    draw = [model.decoder(h, pure(digit, (angle + by) % ANGLES)) for by in (0, ANGLES // 2)]
    back = draw[1].rot90(2, (2, 3))
    return 100 * float((draw[0] - back).norm() / back.norm())


def pure(digit: Tensor, angle: Tensor) -> Tensor:
    """z (N, 18) of known digits and angles (N,)."""
    return torch.cat([one_hot(digit, DIGITS), one_hot(angle, ANGLES)], 1)


def classifier(world: World, seed: int, settings: Settings) -> Scores:
    """The same of a classifier's one answer."""
    model, facts = _trained(world, train_pair_classifier, seed, settings)
    found = dict[str, Any](facts)
    for name, (x, *pair) in asked(world, seed, settings).items():
        with torch.no_grad():
            scores = model(x)
        found |= {name: right(scores, *pair), f"{name}_by_pair": right_by_pair(scores, *pair)}
    return found


def _trained(world: World, recipe: Recipe, seed: int, settings: Settings) -> tuple[Any, Mapping[str, float]]:
    options = {name: value for name, value in settings.items() if name not in IMAGES}
    return world.mnist.trained(recipe, seed, {**options, "held": seed})


WORDS = {
    "product": "both factors multiplied in at one layer",
    "late": "the digit first, its angle a layer later",
    "pairs": "one z for each pair",
    "operator": "a drawing, then a learned map for each angle",
    "repeated": "a drawing, then one learned map, as often as the angle says",
    "turned": "a drawing, then known turns",
    "equivariant": "the same, with a code that turns do not move",
}
IMAGES = {"images": 1000, "fit": 250}  # test images, and training images that delta is averaged over
ROWS: dict[str, Row] = {
    **{
        f"composition/{order}": Row(generative, words, {**train_factored.settings, **IMAGES, "order": order})
        for order, words in WORDS.items()
    },
    "composition/classifier": Row(
        classifier, "classifier with two heads", {**train_pair_classifier.settings, "images": 1000, "turns": False}
    ),
    "composition/classifier_turned": Row(
        classifier, "classifier told of turns", {**train_pair_classifier.settings, "images": 1000, "turns": True}
    ),
}
_FEW = {"epochs": 1, "width": 16, "images": 20, "fit": 10}
SMALL: dict[str, dict[str, Any]] = {
    name: {key: value for key, value in _FEW.items() if key in row.settings} for name, row in ROWS.items()
}
