"""Accuracy against price, on each set of chapters 05, 07 and 08: one step, a few passes beside it, and its rivals.

A row is one network, or for decoders in closed form one random part of the training images, and gives for each way
"accuracy", "agreement" with all K passes, "kl" and "price" (:mod:`.readings`), in which the "code" of a sample is
counted once. Distances, step sizes and numbers of candidates are fitted to validation samples, delta to unlabelled
training samples; test samples are for the numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers.experiments.borrowed import Settings, World
from gbi_helpers.experiments.cifar import study as cifar
from gbi_helpers.experiments.cost import readings, sets
from gbi_helpers.experiments.cost.readings import GRADIENT, Answer, Proposer, Reading
from gbi_helpers.experiments.cost.sets import Set
from gbi_helpers.experiments.language.recipes import NETWORKS, SMALL_NETWORKS
from gbi_helpers.experiments.mnist import recipes as mnist
from gbi_helpers.experiments.study import ALL, Row
from gbi_helpers.experiments.study import SMALL as SMALL_VARIANT
from gbi_helpers.inference import rescore
from gbi_helpers.metrics import agreement
from gbi_helpers.theory import fit_delta

Values = dict[str, Any]
CHOICES = ("one_step", "delta", "one_step_top_2", "delta_top_2")  # the cheapest of equals is the first
AMONG = {"any": CHOICES, "with_delta_or_not": CHOICES[:2], "rescored_or_not": CHOICES[::2]}


def frontier(made: Set, first: bool = False) -> Values:
    """Every way of a set, and what validation chooses ("chosen"), what ``rescore`` takes ("counted").

    ``first``: also how each proposer rises with the number of candidates ("curves").
    """
    known, seen = made.validation.read(), made.test.read()
    delta = fit_delta(made.fit.everything(), made.fit.uniform())
    gradient = GRADIENT + made.code
    proposers = {
        "one_step": readings.proposer(known.one, seen.one, gradient),
        "delta": readings.proposer(known.one + delta, seen.one + delta, gradient),
        **{name: replace(one, code=made.code) for name, one in made.rivals.items()},
    }
    found = _every(proposers, made, seen) | _proposed(proposers, known, seen)
    found["chosen"] = _chosen(proposers, known, seen)
    found["counted"] = counted(made, proposers["one_step"], known, seen)
    found["samples"] = {"validation": len(known.y), "test": len(seen.y)}
    found["code"] = made.code
    if first:
        found["curves"] = {name: readings.curves(one, seen) for name, one in proposers.items()}
    return found


def _every(proposers: Mapping[str, Proposer], made: Set, seen: Reading) -> Values:
    """The ways without candidates to be passed: all passes, more gradients, and what stands alone."""
    one, n_tasks = proposers["one_step"], made.test.n_tasks
    sizes = {
        "midpoint": [2],
        "zoom_half": readings.shrinking(n_tasks, 1 / 2),
        "zoom_quarter": readings.shrinking(n_tasks, 1 / 4),
    }
    answers = {"all": Answer(torch.log_softmax(seen.exact, 1), made.code + n_tasks)}
    answers |= {name: readings.narrowed(made.test, one.after, many, one.price) for name, many in sizes.items()}
    answers |= {name: Answer(other.after, other.price) for name, other in made.alone.items()}
    return {name: readings.measured(answer, seen) for name, answer in answers.items()}


def _proposed(proposers: Mapping[str, Proposer], known: Reading, seen: Reading) -> Values:
    """Each proposer alone, and with its candidates passed."""
    found: Values = {}
    for name, one in proposers.items():
        within = readings.distances(one.before, known.exact)
        answers = readings.ways(one.after, seen.exact, one.price, within, one.code)
        found |= {name + way: readings.measured(answer, seen) for way, answer in answers.items()}
        found[f"{name}_best"] = readings.best_many(one, known, seen)
    return found


def _chosen(proposers: Mapping[str, Proposer], known: Reading, seen: Reading) -> Values:
    """The scores of :data:`CHOICES` and of all passes, and by each rule what is chosen: the way, and its test scores.

    "judge": two passes if all passes judge validation samples better than one step does, else none.
    """

    def answers(beliefs: Mapping[str, Tensor], exact: Tensor) -> dict[str, Answer]:
        found = {"all": Answer(torch.log_softmax(exact, 1), exact.shape[1])}
        for name, log_q in beliefs.items():
            found |= {name + way: answer for way, answer in readings.ways(log_q, exact, GRADIENT, {}).items()}
        return {name: found[name] for name in (*CHOICES, "all")}

    before = answers({name: proposers[name].before for name in ("one_step", "delta")}, known.exact)
    after = answers({name: proposers[name].after for name in ("one_step", "delta")}, seen.exact)
    scores = readings.scored(before, after, known, seen)
    picked = {among: readings.favoured(scores, names) for among, names in AMONG.items()}
    judges = readings.favoured(scores, ("one_step", "all"))
    picked["judge"] = {rule: "one_step_top_2" if judge == "all" else judge for rule, judge in judges.items()}
    test = scores["test"]
    return scores | {
        among: {rule: {"way": way, **test[way]} for rule, way in ways.items()} for among, ways in picked.items()
    }


def counted(made: Set, one: Proposer, known: Reading, seen: Reading) -> Values:
    """Passes a sample that the package's ``rescore`` takes, by rows that go through the decoder, and its answer.

    "agreement": percent of samples that it names as the matrices do; "apart": most that the beliefs differ, in nats.
    """
    within = readings.distances(one.before, known.exact)[0.99]
    taken: dict[str, dict[str, Any]] = {"top_2": {"m": 2}, "within_99": {"within": within}}
    answers = readings.ways(one.after, seen.exact, GRADIENT, {0.99: within})
    found: Values = {}
    for name, told in taken.items():
        passed: list[int] = []
        with _counting(made.module, passed):
            ours = rescore(one.after, made.test.everything(), made.test.uniform(), rows=made.test.rows, **told).log_q
        theirs = answers[f"_{name}"].log_q
        apart = float((ours - theirs).abs().max())
        found[name] = {"passes": sum(passed) / len(ours), "agreement": agreement(ours, theirs), "apart": apart}
    return found


@contextlib.contextmanager
def _counting(module: nn.Module, passed: list[int]) -> Iterator[None]:
    """Note how many samples go through a module at a time."""
    hook = module.register_forward_hook(lambda _, inputs, output: passed.append(len(output)))
    try:
        yield
    finally:
        hook.remove()


# ---------------------------------------------------------------- rows


def _row(words: str, make: Callable[[World, int, Settings], Set], **settings: Any) -> Row:
    def measure(world: World, seed: int, told: Settings) -> Values:
        return frontier(make(world, seed, told), first=seed == 0)

    return Row(measure, words, settings)


def _digits(words: str, name: str, make: Callable[[World, int, Settings], Set]) -> Row:
    return _row(words, make, model=mnist.SETTINGS[name], classifier=mnist.SETTINGS["classifier_long"])


def _hundred(words: str, row: str, make: Callable[[World, int, Settings], Set], **settings: Any) -> Row:
    """``row``: of chapter 07, whose settings these are."""
    own = cifar.ROWS[row].settings
    return _row(words, make, **{**own, **settings})


def _texts(length: int) -> Row:
    networks = {name: NETWORKS[name] for name in ("gbi", "namer")}
    words = f"sources of text, {length} words"
    return _row(words, sets.texts, networks=networks, length=length, per_source=128, fit=32)


LENGTHS = (5, 20, 50)
IMAGES = {"validation": 2_000, "test": 8_000, "share": 0.8}
ROWS: dict[str, Row] = {
    "mnist": _digits("MNIST, VAE-mul", "vae_mul", sets.digits(mnist.train_vae)),
    "mnist_aware": _digits("MNIST, gradient-aware", "gradient_aware", sets.digits(mnist.train_gradient_aware)),
    "cifar_pixels": _hundred("CIFAR-100, discriminants of pixels", "lda_pixels", sets.hundred_linear, **IMAGES),
    "cifar_features": _hundred("CIFAR-100, discriminants of features", "lda_features", sets.hundred_linear, **IMAGES),
    "cifar_code": _hundred(
        "CIFAR-100, features, a code", "features_mul", sets.hundred_code, **{**IMAGES, "test": 2_000, "share": 1.0}
    ),
    **{f"language_{n}": _texts(n) for n in LENGTHS},
}
_FEW = {"share": 1.0, "validation": 100, "test": 50, "views": cifar.STUDY.variants[SMALL_VARIANT][ALL]["views"]}
_BRIEF = {name: {**mnist.SETTINGS[name], "epochs": 1} for name in ("vae_mul", "gradient_aware", "classifier_long")}
SMALL: dict[str, dict[str, Any]] = {
    "mnist": {"model": _BRIEF["vae_mul"], "classifier": _BRIEF["classifier_long"]},
    "mnist_aware": {"model": _BRIEF["gradient_aware"], "classifier": _BRIEF["classifier_long"]},
    "cifar_pixels": _FEW,
    "cifar_features": _FEW,
    "cifar_code": {**_FEW, "epochs": 1},
    **{
        f"language_{n}": {
            "networks": {name: SMALL_NETWORKS[name] for name in ("gbi", "namer")},
            "per_source": 26,
            "fit": 4,
        }
        for n in LENGTHS
    },
}
