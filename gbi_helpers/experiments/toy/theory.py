"""Theory meets networks: how large the gap of one step is in them, where it hurts, and what closes it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gbi_helpers import theory
from gbi_helpers.bayes import log_likelihood
from gbi_helpers.data.toy import steady_windows
from gbi_helpers.experiments.toy.recipes import WINDOW, Run, evidence
from gbi_helpers.inference import enumerate_tasks, iterate, max_entropy, one_step

Scores = dict[str, Tensor]
FOUR = (-0.1, 0.3, 0.7, 1.1)  # means of four contexts on a line: two of them lie between others


def gap_in_networks(run: Run, rows: int = 25, points: int = 9) -> Scores:
    """The gap of one step in trained networks against its bounds, on ``rows`` windows a context; (S, windows) each.

    In float64. "range" of the gap and its first-order "bound"; "kl" and "reverse kl" between one step and K passes, and
    "kl bound" from the range; "corrected kl" with a delta fitted on other windows. For two tasks "odds error" and its
    "third-order bound" too, and whether minus the loss is "concave" in the belief, at all ``points`` on both ways. A
    bound is broken where it is below what it bounds.
    """
    model, stream, seeds = run.model.copied(torch.float64), run.stream, run.model.n_seeds
    shown, others = (
        steady_windows(stream.means, stream.sd, n, WINDOW + 1, seeds, seed)[0].double()
        for n, seed in ((rows, 3), (10, 4))
    )
    loss, z0 = evidence(model, shown, stream.sd), _uniform(shown, model.n_tasks)
    step, passes = one_step(loss, z0), enumerate_tasks(loss, z0)
    gap, curvature = theory.gap(loss, z0), theory.curvature_along(loss, z0, points)
    delta = theory.fit_delta(evidence(model, others, stream.sd), _uniform(others, model.n_tasks))
    found = {
        "range": gap.amax(-1) - gap.amin(-1),
        "bound": theory.first_order_bound(curvature.amin(-1), curvature.amax(-1)),
        "kl": _divergence(passes.log_q, step.log_q),
        "reverse kl": _divergence(step.log_q, passes.log_q),
        "kl bound": theory.kl_bound(gap),
        "corrected kl": _divergence(passes.log_q, theory.corrected_one_step(loss, z0, delta).log_q),
    }
    if model.n_tasks == 2:
        found["odds error"] = found["range"]
        found["third-order bound"] = theory.third_order_bound(loss, z0, points)
        found["concave"] = (curvature.amin((1, 2)) >= -1e-9).double()  # nats; less is rounding
    return {name: value.view(seeds, -1) for name, value in found.items()}


def _uniform(windows: Tensor, n_tasks: int) -> Tensor:
    return max_entropy(len(windows), n_tasks, windows.dtype, windows.device)


def broken(gap: Scores) -> Tensor:
    """How many windows of each network, (S,), break a bound (1e-9 nats are rounding)."""
    pairs = [("range", "bound"), ("kl", "kl bound"), ("reverse kl", "kl bound"), ("odds error", "third-order bound")]
    return torch.stack([(gap[a] > gap[b] + 1e-9).sum(1) for a, b in pairs if a in gap]).sum(0)


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)


# ---------------------------------------------------------------- contexts that lie between others


def in_between(run: Run, rows: int = 200) -> Scores:
    """Contexts on a line: accuracy (S,) of "one step", "corrected", "K passes" and of exact "Bayes", and for the first
    two the share of windows from inner contexts that are given to any inner context.

    delta is fitted once for each network, on 10 windows a context that are not among those tested.
    """
    model, stream, seeds = run.model, run.stream, run.model.n_seeds
    test, context = steady_windows(stream.means, stream.sd, rows, WINDOW + 1, seeds, seed=5)
    few, _ = steady_windows(stream.means, stream.sd, 10, WINDOW + 1, seeds, seed=6)
    loss, z0 = evidence(model, test, stream.sd), _uniform(test, model.n_tasks)
    measured = theory.gap(evidence(model, few, stream.sd), _uniform(few, model.n_tasks))
    delta = measured.view(seeds, -1, model.n_tasks).mean(1).repeat_interleave(len(test) // seeds, 0)
    answers = {
        "one step": one_step(loss, z0).task,
        "corrected": theory.corrected_one_step(loss, z0, delta).task,
        "K passes": enumerate_tasks(loss, z0).task,
        "Bayes": log_likelihood(test[:, 1:], stream.means, stream.sd).sum(1).argmax(-1),
    }
    inner = ((context > 0) & (context < model.n_tasks - 1)).view(seeds, -1)
    found = {name: (task == context).float().view(seeds, -1).mean(1) for name, task in answers.items()}
    for name in ("one step", "corrected"):
        chosen = ((answers[name] > 0) & (answers[name] < model.n_tasks - 1)).view(seeds, -1)
        found[f"{name}, inner"] = (chosen & inner).float().sum(1) / inner.sum(1)
    return found


def linear_in_between(
    means: Sequence[float] = FOUR, sd: float = 0.3, samples: int = WINDOW, rows: int = 1000, seeds: int = 20
) -> Scores:
    """:func:`in_between` for the linear readout itself, without a network: x = z @ means + noise, delta derived."""
    centres = torch.tensor(means, dtype=torch.float64, device="cpu")[:, None]
    x, context = steady_windows(centres, sd, rows, samples, seeds)
    z0 = _uniform(x, len(means))
    loss = lambda z: (x - (z @ centres)[:, None]).square().sum((1, 2)) / (2 * sd**2)  # noqa: E731
    delta = theory.one_step_gap(centres, sd, samples)
    answers = {
        "one step": one_step(loss, z0).task,
        "corrected": theory.corrected_one_step(loss, z0, delta).task,
        "Bayes": log_likelihood(x, centres, sd).sum(1).argmax(-1),
    }
    found = {name: (task == context).double().view(seeds, -1).mean(1) for name, task in answers.items()}
    chosen = (answers["one step"] > 0) & (answers["one step"] < len(means) - 1)
    return found | {"one step, inner": chosen.double().view(seeds, -1).mean(1)}


# ---------------------------------------------------------------- L2 on the logits, and the entropy it stands for


def l2_against_entropy(n_tasks: int = 2, largest: float = 6.0, points: int = 61) -> dict[str, Tensor]:
    """How much certainty costs, in nats, by the size of the logits u = (s, 0, 0, ...) centred, s from 0 to ``largest``.

    "entropy" is log K - H(softmax u), which levels off at log K; "l2" is |u|^2 / (2 K), the same for small u (to second
    order, since the Hessian of -H at the uniform point is the identity / K on centred logits), but never levels off.
    """
    size = torch.linspace(0, largest, points, dtype=torch.float64, device="cpu")
    u = torch.nn.functional.pad(size[:, None], (0, n_tasks - 1))
    u = u - u.mean(1, keepdim=True)
    q = torch.softmax(u, 1)
    return {
        "logit": size,
        "entropy": math.log(n_tasks) - torch.special.entr(q).sum(1),
        "l2": u.square().sum(1) / (2 * n_tasks),
    }


def penalties(scale: float, n_tasks: int = 4, problems: int = 200, steps: int = 400, seed: int = 0) -> dict[str, float]:
    """KL from the exact posterior of iterating on a loss linear in z, -z . logits, with each penalty.

    ``scale``: sd of the logits. The entropy's minimum is the posterior itself. "l2" has the paper's weight one,
    "l2 / K" the weight at which it agrees with the entropy near the uniform point.
    """
    draw = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(problems, n_tasks, generator=draw, dtype=torch.float64, device=draw.device)
    exact, z0 = torch.log_softmax(logits, 1), _uniform(logits, n_tasks)
    chosen = {"entropy": ("entropy", 1.0), "l2": ("l2", 1.0), "l2 / K": ("l2", 1 / n_tasks), "none": ("l2", 0.0)}
    found = {}
    for name, (penalty, weight) in chosen.items():
        q = iterate(lambda z: -(z * logits).sum(1), z0, steps, 0.05, penalty=penalty, weight=weight).z[-1]  # type: ignore[arg-type]
        found[name] = float(_divergence(exact, q.clamp_min(1e-300).log()).mean())
    return found
