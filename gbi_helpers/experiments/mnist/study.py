"""The MNIST experiments: Table 2 of the paper, what drives the one-step, and two better models.

Test images are used for the numbers written, and for nothing else: all settings (see :mod:`.recipes`) were chosen on
validation images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gbi_helpers import metrics, runtime
from gbi_helpers.checkpoints import run_facts, save_checkpoint
from gbi_helpers.data import load_fashion_mnist, load_mnist
from gbi_helpers.experiments.mnist import (
    amortised,
    failures,
    few_labels,
    guesses,
    learned_z,
    recipes,
    recompose,
    untrained,
    with_and_without,
)
from gbi_helpers.experiments.mnist.recipes import FULL, SETTINGS
from gbi_helpers.experiments.recipe import Recipe, trained
from gbi_helpers.experiments.results import Results
from gbi_helpers.experiments.shelf import Shelf, mark
from gbi_helpers.experiments.study import ALL, SMALL, Row, Settings, Study
from gbi_helpers.files import ASSETS, DataError, add_asset
from gbi_helpers.models.base import Generative
from gbi_helpers.models.image import ConvAutoencoder
from gbi_helpers.readouts import logits_of, readouts, relative_time

Metrics = dict[str, float]
Measure = Callable[["World", int, Settings], Metrics]


@dataclass(frozen=True)
class Sets:
    """The images of one run, as a model wants them, on one device."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    fashion: Tensor


@dataclass(frozen=True)
class World:
    """The images of one process, and the shelf that trained models lie on."""

    sets: Sets
    shelf: Shelf
    digest: str
    facts: Settings

    def trained(self, recipe: Recipe, seed: int, settings: Settings) -> tuple[Any, Metrics]:
        """A model in eval mode, and what its training took."""
        return trained(self.shelf, self.digest, recipe, recipe.name, seed, self.sets.train, settings)


def opened(shelf: Shelf, variant: str) -> World:
    """The slice that comes with the course, all of MNIST, or a few images. ``DataError`` without the full set."""
    data = load_mnist("full" if variant == "full" else "slice")
    if variant == "full" and len(data.train) < 50_000:
        raise DataError(f"The full set is not at hand ({data.source}): see 'gbi data', or use --size slice.")
    fashion = load_fashion_mnist("slice")
    if variant == SMALL:
        data, fashion = data.cut(256, 100, 50), fashion.cut(1, 1, 50)
    device = runtime.device()
    train, validation, test = (
        (part.pixels().to(device), part.y.to(device)) for part in (data.train, data.validation, data.test)
    )
    return World(
        Sets(train, validation, test, fashion.test.pixels().to(device)),
        shelf,
        mark(data.digest, fashion.digest),
        {"data": data.source},
    )


def faithful(world: World, seed: int, settings: Settings) -> Metrics:
    """The faithful model with every readout, its statistics, its leak, and the mistakes one can make with it."""
    model, facts = world.trained(recipes.train_autoencoder, seed, settings)
    names = ("one_step", "iterative", "likelihood", "nbi", "ebi")
    found = facts | _scores(model, world.sets, names) | posterior_statistics(model, world.sets)
    return found | _leak(model, world.sets, seed) | failures.at_test(model, *world.sets.test, world.sets.fashion)


def variant(recipe: Recipe) -> Measure:
    """A row for a model that differs from the faithful one, or from the VAE, in one thing."""

    def measure(world: World, seed: int, settings: Settings) -> Metrics:
        model, facts = world.trained(recipe, seed, settings)
        leak = _leak(model, world.sets, seed) if model.latent else {}
        return facts | _scores(model, world.sets, ("one_step", "likelihood")) | leak

    return measure


def improved(recipe: Recipe) -> Measure:
    """A row for one of the two better models."""

    def measure(world: World, seed: int, settings: Settings) -> Metrics:
        model, facts = world.trained(recipe, seed, settings)
        scores = _scores(model, world.sets, ("one_step", "iterative", "likelihood"))
        return facts | scores | posterior_statistics(model, world.sets) | _leak(model, world.sets, seed)

    return measure


def classifier(world: World, seed: int, settings: Settings) -> Metrics:
    """The canonical classifier; its time is set against a forward of the faithful autoencoder."""
    model, facts = world.trained(recipes.train_classifier, seed, settings)
    x, y = world.sets.test
    found = metrics.accuracy(logits_of(model, x).argmax(1), y)
    with runtime.usual_defaults():
        other = ConvAutoencoder().to(x.device)
    return facts | {"accuracy": found, "accuracy_time": relative_time(model, other, x)}


def batch_norm(world: World, seed: int, settings: Settings) -> Metrics:
    """The faithful model with BatchNorm, asked in the wrong mode: see :mod:`.failures`."""
    model, facts = world.trained(failures.train_with_batch_norm, seed, settings)
    return facts | failures.of_batch_norm(model, *world.sets.test)


def posterior_statistics(model: Generative, sets: Sets) -> Metrics:
    """How near one step comes to the posterior; step sizes, which move confidence only, are fitted on validation.

    "correlation" of -gradient with -loss across digits; "agreement" of their choices, percent; "kl" from the posterior
    to the one-step answer, nats; negative log score and calibration error of both.
    """
    (x_fit, y_fit), (x, y) = sets.validation, sets.test
    names = ("one_step", "likelihood")
    before, after = readouts(model, x_fit, names), readouts(model, x, names)
    found, log_q = {}, {}
    for name in names:
        size = metrics.fitted_step_size(before[name].posterior.score, y_fit)
        log_q[name] = torch.log_softmax(size * after[name].posterior.score, dim=1)
        found[f"{name}_size"] = size
        found[f"{name}_log_score"] = metrics.negative_log_score(log_q[name], y)
        found[f"{name}_ece"] = metrics.calibration_error(log_q[name].exp(), y)
    return found | {
        "correlation": metrics.correlation(after["one_step"].posterior.score, after["likelihood"].posterior.score),
        "agreement": metrics.agreement(log_q["one_step"], log_q["likelihood"]),
        "kl": metrics.kl(log_q["likelihood"], log_q["one_step"]),
        "nats": float(after["likelihood"].posterior.loss.gather(1, y[:, None]).mean()),
    }


def _scores(model: Generative, sets: Sets, names: Sequence[str]) -> Metrics:
    """Accuracy, model runs and relative time of each readout on the test images."""
    found: Metrics = {}
    for name, measured in readouts(model, sets.test[0], names).items():
        found[name] = metrics.accuracy(measured.posterior.task, sets.test[1])
        found |= {f"{name}_forwards": measured.forwards, f"{name}_backwards": measured.backwards}
        found[f"{name}_time"] = measured.relative_time
    return found


def _leak(model: Generative, sets: Sets, seed: int) -> Metrics:
    """Digit accuracy of a small network on the code, percent."""
    (x, y), (x_test, y_test) = sets.train, sets.test
    with torch.no_grad():
        h, h_test = torch.cat([model.encode(part) for part in x.split(1000)]), model.encode(x_test)
    return {"probe": recipes.probe_accuracy(h, y, h_test, y_test, seed)}


SHIPPED = {"vae_mul": recipes.train_vae, "gradient_aware": recipes.train_gradient_aware}


def ship(world: World, results: Results) -> list[Path]:
    """The two better models, trained longer than a notebook may, of seed 0 on the slice; and one without sevens."""
    if results.name != "mnist_slice":
        return []
    return [*(_shipped(world, results, name) for name in SHIPPED), ship_without_sevens(world, results)]


def ship_without_sevens(world: World, results: Results) -> Path:
    """The network of seed 2 that has never seen a 7, one input short: what the chapter searches for one."""
    settings = {**results.settings["unseen_digit_more"]}
    seed = 7 - settings.pop("first")
    others, z = recompose.other_digits(*world.sets.train, 7)
    model, record = with_and_without.learn(others, z, recompose.LATENT, seed, **settings)
    minutes = round(record.facts["cpu_seconds"] / 60, 2)
    facts = run_facts(**{**results.facts, "seed": seed, "minutes": minutes})
    path = save_checkpoint(ASSETS / "checkpoints" / "mnist_without_7.safetensors", model, facts)
    add_asset(path, **facts)
    return path


def _shipped(world: World, results: Results, name: str) -> Path:
    found = results.rows[name]["0"]
    model, _ = world.trained(SHIPPED[name], 0, results.settings[name])
    minutes = round(found["train_seconds"] / 60, 2)
    facts = run_facts(**{**results.facts, "seed": 0, "minutes": minutes, "metrics": found})
    path = save_checkpoint(ASSETS / "checkpoints" / f"mnist_{name}.safetensors", model, facts)
    add_asset(path, **facts)
    return path


def _row(words: str, measure: Measure, settings: str = "faithful", **options: Any) -> Row:
    only = () if options.pop("full", False) else ("slice", SMALL)
    return Row(measure, words, {**SETTINGS[settings], **options}, only=only)


def _compared(latent: int, *arms: str) -> Row:
    return _row(f"code of {latent}: {', '.join(arms)}", with_and_without.compared, latent=latent, arms=list(arms))


def _few(images: int) -> Row:
    only = ("slice", SMALL) if images == FEW[0] else ("slice",)  # of a few images all others would be the same
    return Row(few_labels.measure, f"{images:,} labelled images", {"images": images, "steps": 624}, only=only)


def _fixed_or_learned(way: str, latent: int) -> Row:
    words = f"z fixed or learned, by {way}, code of {latent}"
    return _row(words, learned_z.measure, latent=latent, conditioning=way)


FEW = (100, 300, 1_000, 3_000, 10_000)
RIVALS = {3: ("ten_more",)}
FAITHFUL, VAE = variant(recipes.train_autoencoder), variant(recipes.train_vae)
STUDY = Study(
    "mnist",
    __name__,
    "05",
    {
        "faithful": _row("faithful autoencoder, code of 3", faithful),
        "pure_generative": _row("pure generative: no code", FAITHFUL, latent=0),
        "classifier": _row("classifier", classifier, "classifier", full=True),
        "classifier_long": _row("classifier, trained as long", classifier, "classifier_long", full=True),
        "vae_mul": _row("VAE-mul", improved(recipes.train_vae), "vae_mul", full=True),
        "gradient_aware": _row("gradient-aware", improved(recipes.train_gradient_aware), "gradient_aware", full=True),
        **{f"latent_{n}": _row(f"faithful, code of {n}", FAITHFUL, latent=n) for n in (2, 4, 8, 16)},
        "add": _row("faithful, z added", FAITHFUL, conditioning="add"),
        "mul": _row("faithful, z multiplied", FAITHFUL, conditioning="mul"),
        "vae_concat": _row("VAE, z concatenated", VAE, "vae_mul", conditioning="concat"),
        "vae_no_kl": _row("VAE-mul without KL", VAE, "vae_mul", beta=0.0),
        "soft_z": _row("faithful, soft Z in training", FAITHFUL, soften=True),
        "batch_norm": _row("faithful, BatchNorm", batch_norm),
        **{
            guesses.row(what, value): _row(f"faithful, {guesses.words(what, value)}", guesses.measure, **changes)
            for what, value, changes in guesses.CHANGES
        },
        **{
            name: Row(untrained.rung(fit), words, once=True, only=("slice", SMALL))
            for name, (words, fit) in untrained.RUNGS.items()
        },
        **{f"z_or_none_{n}": _compared(n, "with", "without", *RIVALS.get(n, ())) for n in (2, 3, 4, 8, 16)},
        "slow": _compared(3, "faint", "shuffled"),
        **{f"few_{n}": _few(n) for n in FEW},
        "unseen_digit": _row("digits 0 to 4, each left out", recompose.unseen_digit, first=0),
        "unseen_digit_more": _row("digits 5 to 9, each left out", recompose.unseen_digit, first=5),
        "unseen_style": _row("styles never trained", recompose.unseen_style),
        "amortised": _row("an encoder for Z beside the gradient", amortised.measure),
        **{f"{way}_z_{n}": _fixed_or_learned(way, n) for way in ("concat", "add", "mul") for n in (3, 8, 16)},
    },
    opened,
    {
        "slice": {},
        "full": FULL,
        SMALL: {ALL: {"epochs": 1}, "unseen_style": {"images": 10, "steps": 5}, f"few_{FEW[0]}": {"steps": 8}},
    },
    seeds={"full": 3},
    ship=ship,
)
