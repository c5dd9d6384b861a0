"""Where theorems about dreams stop being true of trained networks: the gap as a KL, and the gap that dreams measure.

The theorem: on what a network draws at z0, the mean gap of task k is -KL(p_z0 || p_k). It holds of every network, but
inference is asked about data, which are no draws of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from scipy.special import chdtrc
from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.cost import curved, sizes, spent
from gbi_helpers.experiments.cost.asked import (
    SAID,
    Asked,
    Settings,
    divergences,
    each,
    opened,
    passes,
    settings_of,
    slopes,
    whole_gap,
)
from gbi_helpers.experiments.cost.judged import centred, judged, related, rms
from gbi_helpers.experiments.language.inference import matched
from gbi_helpers.experiments.language.recipes import SMALL_NETWORKS
from gbi_helpers.experiments.study import Row
from gbi_helpers.theory import dreamed_delta

Scores = dict[str, Any]
SCALES = [at / 20 for at in range(81)]  # by which a dreamed gap may be stretched


# ---------------------------------------------------------------- the gap is a KL


def dreams(world: World, seed: int, settings: Settings) -> Scores:
    """The mean gap against -KL(p_z0 || p_k): on dreams of a network given test samples, and on the samples themselves.

    "z": (mean gap + KL) of each task in standard errors; "chance": that all of them together are as large or larger by
    sampling alone (Hotelling's test), small where the theorem fails.
    "dreams" and "data": correlation and slope of the mean gap over -KL, over tasks, and of single ones, over samples
    and tasks. "shares": how much of the gap's square on data all samples share, the further part that each sample's own
    -KL takes away, and the rest, in percent.
    """
    asked = opened(world, seed, settings)[1]
    asked = asked.rows(_spread(len(asked.task), settings["samples"], asked.task))
    draw = torch.Generator().manual_seed(seed)
    kl, data = divergences(asked), each(asked, whole_gap)
    dreamed = torch.stack([each(asked.dreamed(draw), whole_gap) for _ in range(settings["dreams"])])  # (S, N, K)
    error = (dreamed + kl).flatten(0, 1).double()
    return {
        "z": error.mean(0) / (error.std(0) / len(error) ** 0.5),
        "chance": _chance(error),
        "error": rms(error.mean(0)),
        "minus_kl": -kl.mean(0),
        "on_dreams": dreamed.mean((0, 1)),
        "on_data": data.mean(0),
        "dreams": _over_kl(dreamed.mean(0), kl),
        "data": _over_kl(data, kl),
        "rms_data": rms(data),
        "rms_dreams": rms(dreamed),
        "shares": _shares(centred(data), -centred(kl)),
    }


def _chance(error: Tensor) -> float:
    """That the mean of errors (N, K) with mean 0 is as far from 0 or farther; N is large, so by chi-squared."""
    mean = error.mean(0)
    return float(chdtrc(error.shape[1], float(len(error) * mean @ torch.linalg.solve(error.T.cov(), mean))))


def _spread(n: int, samples: int, like: Tensor) -> Tensor:
    """Places of so many samples, evenly spread over n."""
    step = max(n // samples, 1)
    return torch.arange(0, n, step, device=like.device)[:samples]


def _over_kl(gap: Tensor, kl: Tensor) -> Scores:
    mean = related(gap.mean(0), -kl.mean(0))
    return {"mean": mean, "single": related(gap, -kl)}


def _shares(gap: Tensor, own: Tensor) -> dict[str, float]:
    """Percent of the mean square of gaps (N, K): of their mean, of what ``own`` (N, K) explains beside it, of the rest.

    Least squares: gap = shared (K,) + scale * own, the mean over samples taken out first.
    """
    whole = float(gap.square().mean())
    shared = float(gap.mean(0).square().mean()) / whole
    explained = related(own - own.mean(0), gap - gap.mean(0))["correlation"] ** 2 * (1 - shared)
    return {"shared": 100 * shared, "own_kl": 100 * explained, "rest": 100 * (1 - shared - explained)}


# ---------------------------------------------------------------- the gap put back


def delta(world: World, seed: int, settings: Settings) -> Scores:
    """One step on test samples with the gap put back: measured by K passes, or dreamed, on validation samples.

    No label is used, but by two of the rules that choose. Judged are "one_step", "exact", "measured" (as
    :func:`~gbi_helpers.theory.fit_delta` has it, on half the validation samples) and "matched", the vector that brings
    these nearest to K passes in KL; "dreamed" by number of dreams, with correlation and slope over the measured one,
    and "stretched", the same times the one "scale" that K passes on a few samples fitted; "few": what is measured on so
    many samples alone; "own": dreams of each sample alone, by their number. "chosen": see :func:`_chosen`.
    """
    validation, test = opened(world, seed, settings)
    half = len(validation.task) // 2
    pool, rest = validation.rows(slice(half)), validation.rows(slice(half, None))
    slope, exact = ([each(part, way) for part in (pool, rest, test)] for way in (slopes, passes))
    measured = centred(exact[0] - slope[0]).mean(0)
    named = {"one_step": 0 * measured, "measured": measured, "matched": matched(slope[0], exact[0])}

    def said(gap: Tensor) -> Scores:
        return {**judged(slope[2] + gap, exact[2], test.task), **related(gap, measured)}

    def stretched(gap: Tensor) -> Scores:
        scale = _scale(gap, slope[0][: settings["passes"]], exact[0][: settings["passes"]])
        return {**said(gap), "scale": scale, "stretched": said(scale * gap)}

    return {
        **{name: said(gap) for name, gap in named.items()},
        "exact": judged(exact[2], exact[2], test.task),
        "dreamed": {n: stretched(gap) for n, gap in _dreamed(pool, settings["dreams"], seed).items()},
        "few": {n: said(centred(exact[0][:n] - slope[0][:n]).mean(0)) for n in settings["few"]},
        "own": _own(test, settings["own"], settings["own_samples"], seed),
        "sizes": _step_sizes(named, slope, exact, rest, test),
        "chosen": _chosen(named, slope, exact, rest, test, settings["choose"]),
    }


def _dreamed(pool: Asked, numbers: Sequence[int], seed: int) -> dict[int, Tensor]:
    """The gap (K,) from so many dreams, each given another sample of the pool as far as these go."""
    at = torch.arange(max(numbers), device=pool.task.device) % len(pool.task)
    dreams = pool.rows(at).dreamed(torch.Generator().manual_seed(seed))
    grad = -each(dreams, slopes)
    return {n: dreamed_delta(grad[:n], pool.z0[0]) for n in numbers}


def _scale(gap: Tensor, slope: Tensor, exact: Tensor) -> float:
    """By what the gap (K,) is to be multiplied so that one step comes nearest, in KL, to K passes on a few samples."""
    log_p = torch.log_softmax(exact, 1)
    apart = [metrics.kl(log_p, torch.log_softmax(slope + scale * gap, 1)) for scale in SCALES]
    return SCALES[apart.index(min(apart))]


def _own(test: Asked, numbers: Sequence[int], samples: int, seed: int) -> Scores:
    """The trap: a gap for each sample from its own dreams alone. "0" is one step; by number of dreams."""
    asked = test.rows(_spread(len(test.task), samples, test.task))
    draw, z0 = torch.Generator().manual_seed(seed), asked.z0[0]
    slope, exact = each(asked, slopes), each(asked, passes)
    grad = torch.stack([-each(asked.dreamed(draw), slopes) for _ in range(max(numbers))], 1)  # (N, S, K)
    found: dict[Any, Any] = {0: judged(slope, exact, asked.task)}
    for n in numbers:
        gap = torch.stack([dreamed_delta(own[:n], z0) for own in grad])
        found[n] = judged(slope + gap, exact, asked.task)
    return found


Pairs = list[Tensor]  # scores of the pool, of the validation samples to choose by, of the test samples


def _step_sizes(named: dict[str, Tensor], slope: Pairs, exact: Pairs, rest: Asked, test: Asked) -> Scores:
    """Step sizes fitted to labels of validation samples, and the log score on test samples with them."""
    ways = {name: (slope[1] + gap, slope[2] + gap) for name, gap in named.items()} | {"exact": (exact[1], exact[2])}
    found = {}
    for name, (before, after) in ways.items():
        size = metrics.fitted_step_size(before, rest.task)
        score = metrics.negative_log_score(torch.log_softmax(size * after, 1), test.task)
        found[name] = {"size": size, "log_score": score}
    return found


def _chosen(
    named: dict[str, Tensor], slope: Pairs, exact: Pairs, rest: Asked, test: Asked, numbers: Sequence[int]
) -> Scores:
    """Whether a rule puts the measured gap back ("put_back", 1 or 0), by n other validation samples; the test outcome.

    "passes": where it brings one step nearer to K passes in KL, no label; "sure": where it does by more than two
    standard errors; "labels": where the log score is better, "fitted": that with the best step size of each.
    "..._gained": beyond one step.
    """
    after = [judged(slope[2] + named[name], exact[2], test.task) for name in ("one_step", "measured")]
    found: Scores = {}
    for n in numbers:
        scores = [slope[1][:n] + named[name] for name in ("one_step", "measured")]
        for rule, put in _rules(scores, exact[1][:n], rest.task[:n]).items():
            gained = {f"{key}_gained": after[put][key] - after[0][key] for key in after[0]}
            found.setdefault(rule, {})[n] = {"put_back": int(put), **after[put], **gained}
    return found


def _rules(scores: list[Tensor], exact: Tensor, task: Tensor) -> dict[str, bool]:
    """Of scores (n, K) of one step without and with the gap: whether each rule takes the second."""
    log_p = torch.log_softmax(exact, 1).double()
    without, put = (log_p.exp() * (log_p - torch.log_softmax(score, 1)) for score in scores)
    nearer = (without - put).sum(1)
    fitted = [metrics.fitted_step_size(score, task) * score for score in scores]
    labels, best = (
        [metrics.negative_log_score(torch.log_softmax(s, 1), task) for s in either] for either in (scores, fitted)
    )
    return {
        "passes": bool(nearer.mean() > 0),
        "sure": bool(nearer.mean() > 2 * nearer.std() / len(nearer) ** 0.5),
        "labels": labels[1] < labels[0],
        "fitted": best[1] < best[0],
    }


# ---------------------------------------------------------------- rows

DREAMS = settings_of({"samples": 500, "dreams": 32}, {"samples": 128, "dreams": 16})
DELTA = settings_of(
    {"own": (1, 2, 4, 8, 32), "own_samples": 1000, "choose": (8, 32, 128, 1000)},
    {"own": (1, 2, 4, 8, 16), "own_samples": 120, "choose": (8, 32, 128, 256)},
)
OFTEN = {"dreams": (10, 32, 100, 256, 1000), "passes": 32, "few": (8, 32, 96)}
ROWS: dict[str, Row] = {
    **{f"dreams/{n}": Row(dreams, f"the gap as a KL, {SAID[n]}", told) for n, told in DREAMS.items()},
    **{f"delta/{n}": Row(delta, f"the gap put back, {SAID[n]}", {**OFTEN, **told}) for n, told in DELTA.items()},
    **curved.ROWS,
    **spent.ROWS,
    **sizes.ROWS,
}
FEW_FEATURES: dict[str, Settings] = {"features": {"n_filters": 16, "pool": 2, "stride": 3}}
FEW: Settings = {
    "samples": 16, "dreams": 3, "fit_samples": 16, "per_source": 8, "own": (1, 2), "own_samples": 16, "steps": (2, 4),
    "passes": 8, "few": (4, 8), "choose": (4, 16), "priced": 4, "directions": (1, 10), "words": 5, "sizes": (1, 2, 5),
}  # fmt: skip


def _small(told: Settings) -> dict[str, Any]:
    """What changes of a row's settings in the small variant."""
    changes = {key: few for key, few in FEW.items() if key in told}
    if "training" in told:
        changes["training"] = {**told["training"], "epochs": 1}
    if "networks" in told:
        changes["networks"] = {name: SMALL_NETWORKS[name] for name in told["networks"]}
    if "views" in told:
        changes["views"] = {name: {**view, **FEW_FEATURES.get(name, {})} for name, view in told["views"].items()}
    if "few" in told:
        changes["dreams"] = (4, 8)
    return changes


SMALL: dict[str, dict[str, Any]] = {name: _small(row.settings) for name, row in ROWS.items()}
