"""Where one gradient is exact and how it misses elsewhere: starts, the four identities, dreams, the second order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gbi_helpers import theory
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.cost.problems import Linear, Words, drawn, normal
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.guards import LossFn
from gbi_helpers.inference import enumerate_tasks, max_entropy, one_step
from gbi_helpers.metrics import accuracy, agreement, correlation, kl
from gbi_helpers.starts import exact_start, natural_start

Values = dict[str, Any]


# ---------------------------------------------------------------- starts


def starts(world: World, seed: int, settings: Settings) -> Values:
    """Largest error of q from the uniform start and from the exact one, and where that lies, for each family and K.

    Gaussians in 2 K dimensions, and ``tight``, in K - 1; words, and ``mixtures``: one task more, which is a mixture of
    two. ``refused``: percent of problems that have no such start, or none to compute with.
    """
    found: Values = {"gaussian": {}, "tight": {}, "words": {}, "mixtures": {}}
    draws = [drawn(1000 * seed + at) for at in range(settings["problems"])]
    for tasks in settings["tasks"]:
        found["gaussian"][tasks] = together([gaussian_start(draw, tasks, 2 * tasks) for draw in draws])
        found["tight"][tasks] = together([gaussian_start(draw, tasks, tasks - 1) for draw in draws])
    for tasks in settings["word_tasks"]:
        found["words"][tasks] = together([words_start(draw, tasks, mixed=False) for draw in draws])
        found["mixtures"][tasks] = together([words_start(draw, tasks + 1, mixed=True) for draw in draws])
    return found


def together(each: list[Values]) -> Values:
    """Over problems: the worst errors, and the median of all else."""
    there = [values for values in each if values]
    found: Values = {"refused": 100 * (1 - len(there) / len(each))}
    for name in there[0] if there else ():
        column = torch.tensor([values[name] for values in there], dtype=torch.float64, device="cpu")
        found[name] = float(column.max() if name in ("uniform", "exact") else column.median())
    return found


def gaussian_start(draw: torch.Generator, tasks: int, dims: int) -> Values:
    """50 samples, four observations each, with noise about as large as the patterns are."""
    problem = Linear.drawn(draw, problems=1, tasks=tasks, dims=dims, each=50, samples=4, sd=1)
    patterns = problem.patterns[0]
    size = torch.linalg.svdvals(patterns - patterns.mean(0))[: tasks - 1]
    found = compared(problem, problem.z0, lambda: exact_start(patterns))
    return found and {**found, "condition": float(size[0] / size[-1])}


def words_start(draw: torch.Generator, tasks: int, mixed: bool) -> Values:
    """50 texts of 20 words; ``mixed``: the last task is a mixture of the first two."""
    family = Words.drawn(draw, tasks, words=50, strength=1.0)
    pure = torch.eye(tasks, dtype=torch.float64, device="cpu")
    if mixed:
        blend = family.log_p(pure)[:2].logsumexp(0) - family.bias
        family = Words(family.bias, torch.cat([family.gates[:-1], blend[None]]))
    texts = family.say(draw, pure.repeat(50 // tasks + 1, 1)[:50], 20)
    z0 = max_entropy(50, tasks, pure.dtype, pure.device)
    return compared(texts, z0, lambda: natural_start(family.log_partition, family.gates))


def compared(loss_fn: LossFn, z0: Tensor, find: Callable[[], Tensor]) -> Values:
    """One step from both starts against Bayes, and where the exact one lies; nothing where there is none."""
    try:
        z = find()
    except ValueError:
        return {}
    exact, uniform = enumerate_tasks(loss_fn, z0), one_step(loss_fn, z0)
    there = one_step(loss_fn, z.expand_as(z0), space="free")
    return {
        "uniform": float((uniform.q - exact.q).abs().max()),
        "exact": float((there.q - exact.q).abs().max()),
        "uniform_agrees": agreement(uniform.log_q, exact.log_q),
        "exact_agrees": agreement(there.log_q, exact.log_q),
        "negative": 100 * float((z < 0).double().mean()),
        "norm": float(z.abs().sum()),
    }


# ---------------------------------------------------------------- identities


def identities(world: World, seed: int, settings: Settings) -> Values:
    """Largest errors of the four identities on random quadratic losses; then what comes of further steps.

    ``swings``: percent of linear-Gaussian problems in which steps of size 1 still move q by more than .1 at the end;
    ``kl``: KL(exact | q) of one step, of many small ones, and of the best mixture's own probability.
    """
    draw, cases, tasks = drawn(seed), settings["cases"], settings["tasks"]
    slope, root = 2 * normal(draw, cases, tasks), normal(draw, cases, tasks, tasks)
    q, z0 = torch.softmax(normal(draw, cases, tasks), -1), max_entropy(cases, tasks, slope.dtype, slope.device)

    def loss(z: Tensor) -> Tensor:
        return (slope * z).sum(-1) + (root @ z[..., None]).square().sum((-1, -2)) / 2

    grad = slope + (root.mT @ root @ z0[..., None])[..., 0]
    one = one_step(loss, z0)
    weighed = z0 * (-grad).exp()
    tangent = (grad * q + torch.xlogy(q, q)).sum(-1) - (grad * one.q + torch.xlogy(one.q, one.q)).sum(-1)
    linear = lambda z: (slope * z).sum(-1)  # noqa: E731
    errors = {
        "exponentiated": one.q - weighed / weighed.sum(-1, keepdim=True),
        "natural": natural_by_fisher(loss, q) - theory.natural_step(loss, q, 0.5).q,
        "tangent": tangent - (q * (q.log() - one.log_q)).sum(-1),
        "fixed": theory.natural_step(linear, q).q - enumerate_tasks(linear, z0).q,
    }
    return {name: float(error.abs().max()) for name, error in errors.items()} | further_steps(draw, settings)


def natural_by_fisher(loss_fn: LossFn, q: Tensor) -> Tensor:
    """Half a natural-gradient step on the free energy by its definition: Fisher's inverse times the slope by logits."""
    u = q.log().requires_grad_()
    with torch.enable_grad():
        at = torch.softmax(u, -1)
        (slope,) = torch.autograd.grad((loss_fn(at) + torch.xlogy(at, at).sum(-1)).sum(), u)
    fisher = torch.diag_embed(q) - q[:, :, None] * q[:, None]
    move = torch.linalg.pinv(fisher, hermitian=True, rtol=1e-12) @ slope[..., None]
    return torch.softmax(u.detach() - move[..., 0] / 2, -1)


def further_steps(draw: torch.Generator, settings: Settings) -> Values:
    """Many natural steps on a linear-Gaussian loss, of size 1 and small."""
    problem = Linear.drawn(draw, **settings["linear"])
    large = small = problem.one.q
    for _ in range(settings["steps"]):
        before, large = large, theory.natural_step(problem, large).q
        small = theory.natural_step(problem, small, 0.05).q
    exact = problem.exact.log_q
    return {
        "swings": 100 * float(((large - before).abs().amax(-1) > 0.1).double().mean()),
        "kl": {"one": kl(exact, problem.one.log_q), "settled": kl(exact, small.log())},
        "accuracy": {
            "one": accuracy(problem.one.task, problem.truth),
            "settled": accuracy(small.argmax(-1), problem.truth),
            "bayes": accuracy(problem.exact.task, problem.truth),
        },
    }


# ---------------------------------------------------------------- dreams


def dreams(world: World, seed: int, settings: Settings) -> Values:
    """The gap from S dreams of a linear-Gaussian decoder, for each D: its correlation with delta, and accuracies.

    ``orthogonal``: D dreams whose noise is one orthogonal matrix. ``expected``: 1 / sqrt(1 + D / S).
    """
    found: Values = {"counts": settings["counts"]}
    for dims in settings["dims"]:
        problem = Linear.drawn(drawn(seed), dims=dims, **settings["linear"])
        noises = [normal(drawn(seed + 1), count, dims) for count in settings["counts"]]
        noises.append(dims**0.5 * torch.linalg.qr(noises[-1][:dims])[0].mT.contiguous())
        deltas = [dreamed(problem, noise) for noise in noises]
        corrected = [accuracy(theory.corrected_one_step(problem, problem.z0, d).task, problem.truth) for d in deltas]
        likeness = [correlation(each[None], problem.delta[:1]) for each in deltas]
        found[str(dims)] = {
            "correlation": likeness[:-1],
            "expected": [(1 + dims / count) ** -0.5 for count in settings["counts"]],
            "dreamed": corrected[:-1],
            "orthogonal": {"correlation": likeness[-1], "dreamed": corrected[-1]},
            "one": accuracy(problem.one.task, problem.truth),
            "delta": accuracy(theory.corrected_one_step(problem, problem.z0, problem.delta).task, problem.truth),
            "bayes": accuracy(problem.exact.task, problem.truth),
        }
    return found


def dreamed(problem: Linear, noise: Tensor) -> Tensor:
    """The gap (K,) from dreams at the uniform start with this noise (S, D), of variance 1 a dimension."""
    said = problem.patterns[0].mean(0) + problem.sd / problem.samples**0.5 * noise
    dream = Linear(problem.patterns, said[None], torch.zeros_like(noise[None, :, 0]), problem.samples, problem.sd)
    grad = dream.one.grad
    assert grad is not None  # one step always has its gradient
    return theory.dreamed_delta(grad, dream.z0[0])


# ---------------------------------------------------------------- second order


def second_order(world: World, seed: int, settings: Settings) -> Values:
    """KL(exact | q) and accuracy of words as gates get stronger: one step, with the second order, with the gap."""
    found: Values = {"strength": settings["strengths"]}
    each = [strengthened(drawn(seed), strength, settings) for strength in settings["strengths"]]
    return found | {name: {m: [one[name][m] for one in each] for m in ("kl", "accuracy")} for name in each[0]}


def strengthened(draw: torch.Generator, strength: float, settings: Settings) -> Values:
    """One strength of the gates."""
    tasks = settings["tasks"]
    family = Words.drawn(draw, tasks, settings["words"], strength)
    y = torch.arange(settings["texts"], device="cpu") % tasks
    texts = family.say(draw, torch.nn.functional.one_hot(y, tasks).double(), settings["n"])
    z0 = max_entropy(len(y), tasks, family.bias.dtype, family.bias.device)
    exact = enumerate_tasks(texts, z0)
    ways = {
        "one": one_step(texts, z0),
        "second": theory.corrected_one_step(texts, z0, theory.second_order_gap(texts, z0)),
        "gap": theory.corrected_one_step(
            texts, z0, theory.natural_gap(family.log_partition, family.gates, z0[0], settings["n"])
        ),
        "bayes": exact,
    }
    return {name: {"kl": kl(exact.log_q, way.log_q), "accuracy": accuracy(way.task, y)} for name, way in ways.items()}


ROWS: dict[str, Row] = {
    "starts": Row(
        starts,
        "starts from which one step is exact",
        {"tasks": (3, 10, 30, 100), "word_tasks": tuple(range(2, 11)), "problems": 20},
    ),
    "identities": Row(
        identities,
        "one step is four things",
        {
            "cases": 200,
            "tasks": 10,
            "steps": 200,
            "linear": {"problems": 20, "tasks": 10, "dims": 32, "each": 50, "samples": 30, "sd": 2.0},
        },
    ),
    "dreams": Row(
        dreams,
        "the gap from dreams",
        {
            "dims": (8, 32, 128),
            "counts": (10, 100, 1000),
            "linear": {"problems": 1, "tasks": 100, "each": 2000, "samples": 10, "sd": 1.0},
        },
    ),
    "second_order": Row(
        second_order,
        "second order, as gates get stronger",
        {"tasks": 8, "words": 200, "texts": 400, "n": 10, "strengths": (0.25, 0.5, 1.0, 2.0, 4.0)},
    ),
}
SMALL: dict[str, dict[str, Any]] = {
    "starts": {"tasks": (3, 10), "word_tasks": (2, 4), "problems": 3},
    "identities": {
        "cases": 20,
        "steps": 20,
        "linear": {"problems": 2, "tasks": 10, "dims": 32, "each": 20, "samples": 30, "sd": 2.0},
    },
    "dreams": {
        "dims": (8,),
        "counts": (10, 100),
        "linear": {"problems": 1, "tasks": 20, "each": 100, "samples": 10, "sd": 1.0},
    },
    "second_order": {"texts": 40, "strengths": (0.5, 4.0)},
}
