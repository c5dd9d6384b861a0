"""The sets on which accuracy is held against price: trained decoders of chapters 05, 07 and 08, and their rivals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from gbi_helpers.experiments.borrowed import Settings, World
from gbi_helpers.experiments.cifar import world as cifar
from gbi_helpers.experiments.cifar.parts import discriminants_of_part, part_of
from gbi_helpers.experiments.cifar.recipes import means_of, train_code
from gbi_helpers.experiments.cifar.views import Views
from gbi_helpers.experiments.cost import rivals
from gbi_helpers.experiments.cost.readings import GRADIENT, Proposer, Samples, proposer
from gbi_helpers.experiments.cost.rivals import Data
from gbi_helpers.experiments.language import world as language
from gbi_helpers.experiments.language.inference import evidence
from gbi_helpers.experiments.language.windows import Windows, even_windows, random_windows
from gbi_helpers.experiments.mnist import recipes as mnist
from gbi_helpers.experiments.recipe import Recipe
from gbi_helpers.inference import LossFn
from gbi_helpers.models.base import Generative
from gbi_helpers.models.hundred import ZOnly
from gbi_helpers.models.language import WordModel
from gbi_helpers.readouts import decoder_rows
from gbi_helpers.starts import exact_start
from gbi_helpers.theory import dreamed_delta

FIT = 500  # training images that delta is averaged over
DREAMS = 100
OURS = ("validation", "test", "share")  # settings of a row that are not those of its network


@dataclass(frozen=True)
class Set:
    """What a row looks at: validation and test samples, unlabelled ``fit`` samples for delta, and the rivals.

    ``module``: what a pass goes through. ``alone``: proposers of this kind of decoder that are not re-scored. ``code``:
    what the code of a sample costs, in forwards; 0 where the decoder needs none.
    """

    validation: Samples
    test: Samples
    fit: Samples
    module: nn.Module
    rivals: Mapping[str, Proposer]
    alone: Mapping[str, Proposer] = field(default_factory=dict)
    code: float = 0.0


def of_images(model: Generative, x: Tensor, y: Tensor) -> Samples:
    """Images, or vectors, as a decoder is asked about them."""
    return Samples(decoder_rows(model, x), y, model.n_tasks, x.dtype)


def of_words(model: WordModel, windows: Windows) -> Samples:
    """Windows of text, as a word model is asked about them."""
    return Samples(window_rows(model, windows), windows.task, model.n_tasks)


def window_rows(model: WordModel, windows: Windows) -> Callable[[Tensor], LossFn]:
    """For :func:`gbi_helpers.inference.rescore`: ``rows(index)`` is the loss of some windows alone, in nats."""
    return lambda index: evidence(model, windows.rows(index))


# ---------------------------------------------------------------- chapter 05


def digits(recipe: Recipe) -> Callable[[World, int, Settings], Set]:
    """A model of chapter 05 on its slice of MNIST."""

    def made(world: World, seed: int, settings: Settings) -> Set:
        images = world.mnist.sets
        train, validation, test = images.train, images.validation, images.test
        model, _ = world.mnist.trained(recipe, seed, settings["model"])
        classifier, _ = world.mnist.trained(mnist.train_classifier, seed, settings["classifier"])
        before, after = (of_images(model, *part) for part in (validation, test))
        fit = of_images(model, train[0][:FIT], train[1][:FIT])
        forward = rivals.forward_flops(after)
        found = {
            "mean": rivals.nearest_mean(train, validation, test, 10, forward),
            "gaussians": rivals.gaussians(train, validation, test, 10, forward),
            "softmax": rivals.softmax_regression(train, validation, test, 10, forward, seed),
            "classifier": rivals.classified(classifier, validation, test, forward),
        }
        return Set(before, after, fit, model.decoder, found, code=rivals.code_flops(model, test[0]) / forward)

    return made


# ---------------------------------------------------------------- chapter 07


def hundred_linear(world: World, seed: int, settings: Settings) -> Set:
    """Discriminants of pixels or of features, and the mean of each class, from a random part of the training images.

    In 64 bits: the start from which one step is exact lies far off the simplex. All K losses of such a decoder are one
    product of matrices, about as dear as one step, so its prices are told in forwards for comparison alone.
    """
    seen = discriminants_of_part(world.cifar, seed, settings)
    model = means_of(*seen[0]).double()
    views = Views(world.cifar.data, world.cifar.shelf, settings["views"])
    made = _hundred(model, [(x.double(), y) for x, y in seen], views, seed, settings)
    return replace(made, alone=linear_alone(model, made.validation, made.test, seed))


def hundred_code(world: World, seed: int, settings: Settings) -> Set:
    """Chapter 07's network with a code and z multiplied in, trained on all training images."""
    options = {name: value for name, value in settings.items() if name not in OURS}
    seen, model, _ = cifar.network(world.cifar, train_code, seed, options)
    x, y = (part_of(of, seed, settings) for of in (seen.view, seen.labels))
    views = Views(world.cifar.data, world.cifar.shelf, settings["views"])
    return _hundred(model, list(zip(x, y, strict=True)), views, seed, settings)


def _hundred(model: Generative, seen: Sequence[Data], views: Views, seed: int, settings: Settings) -> Set:
    train, validation, test = ((x.float(), y) for x, y in seen)
    fit, before, after = (of_images(model, x[:n], y[:n]) for (x, y), n in zip(seen, (FIT, None, None), strict=True))
    raw = [(x, y) for x, (_, y) in zip(part_of(views.view("pooled"), seed, settings), seen, strict=True)]
    n_tasks, forward = model.n_tasks, rivals.forward_flops(after)
    found = {
        "mean": rivals.nearest_mean(raw[0], raw[1], raw[2], n_tasks, forward),
        "softmax": rivals.softmax_regression(train, validation, test, n_tasks, forward, seed),
    }
    return Set(before, after, fit, model.decoder, found, code=rivals.code_flops(model, validation[0]) / forward)


def linear_alone(model: ZOnly, before: Samples, after: Samples, seed: int) -> dict[str, Proposer]:
    """What a decoder linear in z needs no pass for: delta from dreams, and the start from which one step is exact."""
    patterns = model.decoder.patterns.detach()
    uniform, start = before.uniform()[0], exact_start(patterns)
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(DREAMS, patterns.shape[1], generator=draw, dtype=patterns.dtype, device=draw.device)
    dreams = of_images(model, uniform @ patterns + noise.to(patterns.device), after.y.new_zeros(DREAMS))
    delta = dreamed_delta(-dreams.score_at(dreams.uniform()), uniform)
    at_uniform, at_start = ([s.score_at(z.expand(len(s.y), -1)) for s in (before, after)] for z in (uniform, start))
    return {
        "dreamed": proposer(at_uniform[0] + delta, at_uniform[1] + delta, GRADIENT),
        "start": proposer(at_start[0], at_start[1], GRADIENT),
    }


# ---------------------------------------------------------------- chapter 08


def texts(world: World, seed: int, settings: Settings) -> Set:
    """The first words of windows, as many of each source; half as many validation windows."""
    corpus, n = world.language.corpus, settings["length"]
    gbi, namer = (language.trained(world.language, name, seed, settings)[0] for name in ("gbi", "namer"))
    longest, per_source = 50, settings["per_source"]
    validation, test = (
        even_windows(part, corpus.start, many, longest).first(n)
        for part, many in ((corpus.validation, per_source // 2), (corpus.test, per_source))
    )
    fit = random_windows(corpus, settings["fit"], longest, seed=77).first(n)
    counted = rivals.word_counts(corpus, validation, test)
    found = {**counted, "namer": rivals.word_namer(namer, gbi, validation, test)}
    alone = rivals.races(gbi, validation, test)
    return Set(of_words(gbi, validation), of_words(gbi, test), of_words(gbi, fit), gbi, found, alone)
