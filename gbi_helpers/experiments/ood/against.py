"""Rivals and gates against every foreign set, strangers made of digits among these; and what each score costs."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.experiments.ood import gates, rivals, scores
from gbi_helpers.experiments.ood.measure import Found, against
from gbi_helpers.experiments.ood.pretend import strangers
from gbi_helpers.experiments.ood.sets import Scale, Sets
from gbi_helpers.experiments.ood.unopened import UNOPENED
from gbi_helpers.meter import Passes, bytes_of, timed
from gbi_helpers.models.image import Classifier, ConditionalVAE
from gbi_helpers.readouts import gbi_one_step

Named = Callable[[Tensor], dict[str, Tensor]]  # images (N, 1, 28, 28) -> scores (N,) by name


def on_pixels(sets: Sets) -> Named:
    """Scores that train nothing, and the sum of two of them."""
    return _with_sum(rivals.on_pixels(*sets.train), sets)


def on_classifier(net: Classifier, sets: Sets) -> Named:
    """Scores that have a classifier, sums of two of them, and max softmax under the two rules for a step size."""
    head = rivals.Head.of(net, len(sets.kept))
    score = _with_sum(rivals.on_features(head, *sets.train), sets)

    def logits(images: Tensor) -> Tensor:
        return head.logits(head.features(images)).detach().double()

    size = metrics.fitted_step_size(logits(sets.validation[0]), sets.validation[1])
    return lambda images: score(images) | _both_rules("softmax", logits(images), size)


def on_vae(model: ConditionalVAE, sets: Sets) -> Named:
    """Scores of the gates, sums of them, and each score of ten numbers under the two rules for a step size."""
    gate, (known, y) = gates.on_gates(model, *sets.train), sets.validation
    answers = _answers(scores.look(model, known))
    sizes = {name: metrics.fitted_step_size(score, y) for name, score in answers.items()}
    familiar = gate(known) | {"relative_likelihood": scores.log_odds(answers["relative_likelihood"])}
    sums = rivals.together(familiar), rivals.together(familiar, "relative_likelihood")

    def every(images: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, score in _answers(scores.look(model, images)).items():
            found |= {name: scores.log_odds(score)} | _both_rules(name, score, sizes[name])
        seen = gate(images)
        for one in (seen, *(add(seen | found) for add in sums)):
            found |= {f"gate {name}": score for name, score in one.items()}
        return found

    return every


def _answers(seen: scores.Look) -> dict[str, Tensor]:
    """Scores (N, K) of the tasks; the step size on each is what the two rules are about."""
    relative = scores.relative_gradient(seen.loss, seen.grad)
    return {"max_z": -seen.grad, "relative": -relative, "likelihood": -seen.losses,
            "relative_likelihood": -seen.losses.log()}  # fmt: skip


def _both_rules(name: str, score: Tensor, size: float) -> dict[str, Tensor]:
    """Fitted on validation digits; and the limit of small steps, the lead over the average."""
    return {f"{name} fitted": scores.log_odds(size * score), f"{name} small": scores.advantage(-score)}


def _with_sum(scorer: Named, sets: Sets) -> Named:
    add = rivals.together(scorer(sets.validation[0]))

    def both(images: Tensor) -> dict[str, Tensor]:
        found = scorer(images)
        return found | add(found)

    return both


def detected(score: Named, sets: Sets) -> Found:
    """AUROC and the rest of each score against each foreign set, and against strangers made of validation digits."""
    x, y = sets.validation
    return {"detection": against(score, sets.test[0], sets.foreign) | against(score, x, strangers(x, y))}


def unopened(sets: Sets) -> dict[str, Tensor]:
    """The images that nobody had looked at, each set standardised by itself."""
    foreign = {name: make() for name, make in UNOPENED.items()}
    return {name: Scale.of(x)(x).to(sets.test[0]) for name, x in foreign.items()}


def several(named: dict[str, Named], sets: Sets, foreign: dict[str, Tensor]) -> Found:
    """The same of several networks' scores, by "network/score", against other foreign sets."""

    def score(images: Tensor) -> dict[str, Tensor]:
        return {f"{net}/{name}": values for net, one in named.items() for name, values in one(images).items()}

    return {"detection": against(score, sets.test[0], foreign)}


def price(model: ConditionalVAE, net: Classifier, sets: Sets, chunk: int = 250) -> Found:
    """What a score costs: bytes kept beside its network, and seconds by those of the relative gradient, side by side.

    Passes of the decoder for each image are counted.
    """
    x, y = sets.train
    head = rivals.Head.of(net)
    known, moved = head.features(x), gates.gate_gradient(model, x)
    pixel, deep, gate = rivals.nearest(x), rivals.nearest(known), rivals.nearest(moved)
    ways: dict[str, tuple[int, Callable[[Tensor], object]]] = {
        "relative gradient": (0, lambda part: gbi_one_step(model, part)),
        "energy": (0, lambda part: rivals.of_logits(head, head.features(part))),
        "nearest pixels": (bytes_of(x), pixel),
        "nearest features": (bytes_of(known), lambda part: deep(head.features(part))),
        "nearest gates": (bytes_of(moved), lambda part: gate(gates.gate_gradient(model, part))),
        "relative likelihood": (0, lambda part: scores.look(model, part)),
    }
    parts = sets.test[0].split(chunk)
    took = {name: [timed(call, part)[0] for part in parts] for name, (_, call) in ways.items()}
    with Passes(model.decoder) as counted:
        gbi_one_step(model, parts[0])
    return {
        "stored": {name: size for name, (size, _) in ways.items()},
        "times": {name: median(took[name]) / median(took["relative gradient"]) for name in ways},
        "network": {"VAE-mul": bytes_of(*model.parameters()), "classifier": bytes_of(*net.parameters())},
        "passes": {"forwards": counted.forwards, "backwards": counted.backwards, "stored images": len(y)},
    }
