"""What is true of one step, measured where everything is known: blind spots, more data, certificates."""

from __future__ import annotations

import math
from typing import Any

import torch

from gbi_helpers import theory
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.cost import exactness
from gbi_helpers.experiments.cost.problems import Linear, drawn, normal
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.inference import fit_within
from gbi_helpers.metrics import accuracy, agreement, fitted_step_size, kl
from gbi_helpers.starts import exact_start, nameable_share, visible

Values = dict[str, Any]


# ---------------------------------------------------------------- blind spots


def law(world: World, seed: int, settings: Settings) -> Values:
    """Share of tasks that one step can ever name, (ratios, seeds) for each K, and what the law says, (ratios,).

    ``plain``: the law with r = chi_D sqrt(1 - 1/K), which forgets that the mean contains each pattern. ``sphere``: of
    patterns at random on a sphere from the uniform start; ``centre``: of the same from their exact one.
    """
    found: Values = {name: {} for name in ("dims", "share", "law", "plain", "sphere", "centre")}
    for tasks in settings["tasks"]:
        dims = [max(1, round(ratio * math.log(tasks))) for ratio in settings["ratios"]]
        shares = torch.tensor(
            [[seen(tasks, size, each) for each in range(settings["seeds"])] for size in dims],
            dtype=torch.float64,
            device="cpu",
        )
        found["dims"][tasks] = dims
        found["law"][tasks] = [nameable_share(tasks, size) for size in dims]
        found["plain"][tasks] = [independent_share(tasks, size) for size in dims]
        found |= {name: found[name] | {tasks: shares[..., at]} for at, name in enumerate(("share", "sphere", "centre"))}
    return found


def seen(tasks: int, dims: int, seed: int) -> tuple[float, ...]:
    """Visible shares of at least a thousand tasks: normal patterns; on a sphere; there, from where one step is exact.

    On a line there is no sphere: two dimensions, then.
    """
    free = normal(drawn(seed), max(1, 1000 // tasks), tasks, dims)
    wide = normal(drawn(seed), max(1, 1000 // tasks), tasks, max(2, dims))
    sphere = wide / wide.norm(dim=-1, keepdim=True)
    start = torch.stack([exact_start(each) for each in sphere])
    return tuple(float(which.double().mean()) for which in (visible(free), visible(sphere), visible(sphere, start)))


def independent_share(tasks: int, dims: int) -> float:
    """E[Phi(r)^(K-1)] with r = chi_D sqrt(1 - 1/K), by drawing r."""
    r = normal(drawn(0), 20_000, dims).square().sum(-1).mul(1 - 1 / tasks).sqrt()
    return float(((tasks - 1) * torch.special.log_ndtr(r)).exp().mean())


# ---------------------------------------------------------------- more data


def growth(world: World, seed: int, settings: Settings) -> Values:
    """KL(exact | one step), accuracies and the fitted step size over T, for each D; the share of visible tasks.

    ``rate``: nats a sample by which KL grows in the end, as statement 13 has it.
    """
    found: Values = {"samples": settings["samples"]}
    for dims in settings["dims"]:
        curves = [grown(seed, dims, samples, settings) for samples in settings["samples"]]
        patterns = Linear.drawn(drawn(seed), **sizes(settings, dims)).patterns
        away = patterns - patterns.mean(1, keepdim=True)
        along = away @ away.mT
        behind = (along.amax(-1) - along.diagonal(dim1=1, dim2=2)) / settings["sd"] ** 2
        ends = {"visible": 100 * float(visible(patterns).double().mean()), "rate": float(behind.mean())}
        found[str(dims)] = {name: [curve[name] for curve in curves] for name in curves[0]} | ends
    return found


def grown(seed: int, dims: int, samples: float, settings: Settings) -> Values:
    """One step and Bayes on T samples."""
    problem = Linear.drawn(drawn(seed), **sizes(settings, dims, samples))
    return {
        "kl": kl(problem.exact.log_q, problem.one.log_q),
        "one": accuracy(problem.one.task, problem.truth),
        "bayes": accuracy(problem.exact.task, problem.truth),
        "step_size": fitted_step_size(problem.one.score, problem.truth),
    }


def sizes(settings: Settings, dims: int, samples: float = 1) -> Values:
    """What :meth:`Linear.drawn` asks for."""
    return {name: settings[name] for name in ("problems", "tasks", "each", "sd")} | {"dims": dims, "samples": samples}


# ---------------------------------------------------------------- when the answer survives


def certificate(world: World, seed: int, settings: Settings) -> Values:
    """For each K and T: how often the exact winner lies outside the certificate, and what the certificate costs.

    ``kept``: tasks within range(delta) of one step's best; ``fitted``: within a distance fitted at 99 %, and how often
    that holds the winner (``covered``); ``safe``: percent of samples whose margin says that one step names the winner.
    """
    found: Values = {"cases": 0, "violations": 0, "mistakes": 0, "beyond_bound": 0}
    for tasks in settings["tasks"]:
        by_samples = [certified(seed, tasks, samples, settings) for samples in settings["samples"]]
        for name in ("cases", "violations", "mistakes", "beyond_bound"):
            found[name] += sum(each.pop(name) for each in by_samples)
        found[str(tasks)] = {name: [each[name] for each in by_samples] for name in by_samples[0]}
    return found


def certified(seed: int, tasks: int, samples: float, settings: Settings) -> Values:
    """The certificate, the margin, the bound on the KL and the fitted distance, on one K and T."""
    shape = {name: settings[name] for name in ("problems", "dims", "each", "sd")}
    problem = Linear.drawn(drawn(seed), tasks=tasks, samples=samples, **shape)
    exact, one, delta = problem.exact, problem.one, problem.delta
    reach = delta.amax(-1) - delta.amin(-1)
    behind = one.log_q.amax(-1, keepdim=True) - one.log_q
    deficit = behind.gather(1, exact.task[:, None])[:, 0]
    safe = theory.survives(exact.log_q, delta)
    bound = (exact.q * (exact.log_q - one.log_q)).nan_to_num(0).sum(-1) > theory.kl_bound(delta) * (1 + 1e-9) + 1e-9
    fit, new = (torch.arange(len(deficit), device=deficit.device) % 2 == side for side in (0, 1))
    within = fit_within(one.log_q[fit], exact.log_q[fit], 0.99)
    return {
        "cases": len(deficit),
        "violations": int((deficit > reach + 1e-9).sum()),
        "mistakes": int((exact.task != one.task)[safe].sum()),
        "beyond_bound": int(bound.sum()),
        "kept": float((behind <= reach[:, None] + 1e-9).double().sum(-1).mean()),
        "fitted": float((behind[new] <= within).double().sum(-1).mean()),
        "covered": 100 * float((deficit[new] <= within).double().mean()),
        "safe": 100 * float(safe.double().mean()),
        "agree": agreement(one.log_q, exact.log_q),
    }


RATIOS = (0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
SAMPLES = (1, 3, 10, 30, 100, 300, 1000)
ROWS: dict[str, Row] = {
    "law": Row(
        law, "the law of blind spots", {"tasks": (10, 100, 1000, 5000), "ratios": RATIOS, "seeds": 10}, once=True
    ),
    "growth": Row(
        growth,
        "more data, visible tasks and blind spots",
        {"tasks": 10, "dims": (32, 3), "samples": SAMPLES, "problems": 20, "each": 200, "sd": 2.0},
    ),
    "certificate": Row(
        certificate,
        "margin, certificate, and a fitted distance",
        {"tasks": (5, 10, 30, 100), "samples": (3, 30, 300), "dims": 20, "problems": 5, "each": 200, "sd": 2.0},
    ),
    **exactness.ROWS,
}
SMALL: dict[str, dict[str, Any]] = {
    "law": {"tasks": (10, 100), "ratios": (0.5, 2.0), "seeds": 2},
    "growth": {"samples": (1, 1000), "problems": 2, "each": 20},
    "certificate": {"tasks": (5,), "samples": (3, 30), "problems": 2},
    **exactness.SMALL,
}
