"""Two factors of an image, which digit and where it stands, and pairs of them that were never seen together.

As in :mod:`.composition`, with places instead of angles: eight of them, so that pairs, prices and ways to read are the
same. A place moves pixels to where no pixel of the digit was before: who knows nothing of shifts cannot know it there.

A trap: of each place one or two digits were never seen there, so the place alone tells the digit of an unseen pair. A
way that leans towards pairs never drawn well names unseen pairs and loses seen ones: what composes is right on both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.questions import composition
from gbi_helpers.experiments.questions.composition import DIGITS, held_out, pure, ways
from gbi_helpers.experiments.recipe import Recipe
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.models.factored import Order, PairClassifier, TwoFactors
from gbi_helpers.models.placed import GRID, STEP, PlaceClassifier, Stamped, at_places

PLACES = len(GRID)
assert PLACES == composition.ANGLES, "held out and read as angles are"
Scores = dict[str, Any]
Loss = Callable[[tuple[Tensor, Tensor]], Tensor]


def shown(x: Tensor, digit: Tensor, held: int, draw: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) shrunk and set at places (N,) drawn among those where their digit may be; and these."""
    on = x.device if draw is None else draw.device
    other = torch.randint(1, PLACES, (len(x),), generator=draw, device=on).to(x.device)
    place = (held_out(digit, held) + other) % PLACES
    return at_places(x, place), place


def _placed(x: Tensor, order: Order = "late", latent: int = 16, width: int = 384, canvas: int = 64) -> TwoFactors:
    return TwoFactors(order, DIGITS, PLACES, latent, width, canvas)


def _stamped(x: Tensor, told: bool, pooled: bool, latent: int = 16, width: int = 384, seen: int = 128) -> Stamped:
    return Stamped(told, pooled, DIGITS, latent, width, seen)


def _described(model: TwoFactors, held: int, beta: float) -> Loss:
    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        x, place = shown(*batch, held)
        return model.free_energy(x, pure(batch[1], place), beta).mean()

    return loss


def _two_heads(x: Tensor, width: int = 384) -> PairClassifier:
    return PairClassifier(DIGITS, PLACES, width)


def _windows(x: Tensor, told: Literal["shifts", "places"], width: int = 128) -> PlaceClassifier:
    return PlaceClassifier(told, DIGITS, width)


def _classified(model: nn.Module, held: int) -> Loss:
    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        x, place = shown(*batch, held)
        return functional.nll_loss(model(x).flatten(1), batch[1] * PLACES + place)

    return loss


SIZES = {"latent": 16, "width": 384}
TRAINING = {"epochs": 12, "batch_size": 128, "lr": 2e-3}
VAE = {**TRAINING, **SIZES, "beta": 0.4}
train_placed = Recipe("digit and place", _placed, _described, {**VAE, "canvas": 256})
train_stamped = Recipe("digit stamped", _stamped, _described, {**VAE, "seen": 128})
train_two_heads = Recipe("digit and place, two heads", _two_heads, _classified, {**TRAINING, "width": 384})
train_windows = Recipe("digit and place, windows", _windows, _classified, {**TRAINING, "width": 128})


def asked(world: World, seed: int, settings: Settings) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Images, digits and places: "seen", test digits where theirs was shown; "unseen", where it never was."""
    x, digit = (part[: settings["images"]] for part in world.mnist.sets.test)
    images, place = shown(x, digit, seed, torch.Generator().manual_seed(seed))
    never = held_out(digit, seed)
    return {"seen": (images, digit, place), "unseen": (at_places(x, never), digit, never)}


def right(scores: Tensor, digit: Tensor, place: Tensor) -> dict[str, float]:
    """Percent of images of which both factors are named right, or each of them, from scores of pairs (N, 10, 8)."""
    found = composition.right(scores, digit, place)
    return {"both": found["both"], "digit": found["digit"], "place": found["angle"]}


def generative(recipe: Recipe) -> Callable[[World, int, Settings], Scores]:
    """Percent right by each way to read z, on pairs seen in training and on pairs never seen; and :func:`elsewhere`."""

    def measure(world: World, seed: int, settings: Settings) -> Scores:
        model, found = _trained(world, recipe, seed, settings)
        x, digit = (part[: settings["fit"]] for part in world.mnist.sets.train)
        fit = shown(x, digit, seed, torch.Generator().manual_seed(seed))[0]
        for name, (x, digit, place) in asked(world, seed, settings).items():
            found[name] = {way: right(scores, digit, place) for way, scores in ways(model, x, fit).items()}
            found[f"{name}_elsewhere"] = elsewhere(model, x, digit, place)
        return found

    return measure


@torch.no_grad()
def elsewhere(model: TwoFactors, x: Tensor, digit: Tensor, place: Tensor) -> float:
    """How far a drawing of a pair is from that at the opposite place, moved here: percent of that one's length.

    Where the pair was never seen, the other one was: so it says whether the pair is drawn as it should be.
    """
    h, opposite, grid = model.encode(x), (place + PLACES // 2) % PLACES, place.new_tensor(GRID)
    draw = [model.decoder(h, pure(digit, where)) for where in (place, opposite)]
    way = STEP * (grid[place] - grid[opposite])
    moved = torch.stack([image.roll(tuple(by), (1, 2)) for image, by in zip(draw[1], way.tolist(), strict=True)])
    return 100 * float((draw[0] - moved).norm() / moved.norm())


def classifier(recipe: Recipe) -> Callable[[World, int, Settings], Scores]:
    """The same of a classifier's one answer."""

    def measure(world: World, seed: int, settings: Settings) -> Scores:
        model, found = _trained(world, recipe, seed, settings)
        with torch.no_grad():
            return found | {name: right(model(x), *pair) for name, (x, *pair) in asked(world, seed, settings).items()}

    return measure


def _trained(world: World, recipe: Recipe, seed: int, settings: Settings) -> tuple[Any, Scores]:
    options = {name: value for name, value in settings.items() if name not in IMAGES}
    model, facts = world.mnist.trained(recipe, seed, {**options, "held": seed})
    return model, dict(facts)


def _row(recipe: Recipe, words: str, **options: Any) -> Row:
    return Row(generative(recipe), words, {**recipe.settings, **IMAGES, **options})


def _rival(recipe: Recipe, words: str, **options: Any) -> Row:
    return Row(classifier(recipe), words, {**recipe.settings, "images": IMAGES["images"], **options})


IMAGES = {"images": 1000, "fit": 250}  # test images, and training images that delta is averaged over
ROWS: dict[str, Row] = {
    "places/product": _row(train_placed, "both factors multiplied in at one layer", order="product"),
    "places/late": _row(train_placed, "the digit first, its place a layer later", order="late"),
    "places/pairs": _row(train_placed, "one z for each pair", order="pairs"),
    "places/operator": _row(train_placed, "a drawing, then a learned map for each place", order="operator"),
    "places/repeated": _row(train_placed, "a drawing, then one learned map, as often as places say", order="repeated"),
    "places/learned": _row(train_stamped, "a drawing, then learned shifts", told=False, pooled=False),
    "places/learned_pooled": _row(train_stamped, "the same, with a code shifts do not move", told=False, pooled=True),
    "places/known": _row(train_stamped, "a drawing, then known shifts", told=True, pooled=False),
    "places/known_pooled": _row(train_stamped, "the same, with a code shifts do not move", told=True, pooled=True),
    "places/classifier": _rival(train_two_heads, "classifier with two heads"),
    "places/classifier_shifts": _rival(train_windows, "classifier told of shifts", told="shifts"),
    "places/classifier_places": _rival(train_windows, "classifier told of places", told="places"),
}
_FEW = {"epochs": 1, "width": 16, "seen": 16, "images": 20, "fit": 10}
SMALL: dict[str, dict[str, Any]] = {
    name: {key: value for key, value in _FEW.items() if key in row.settings} for name, row in ROWS.items()
}
