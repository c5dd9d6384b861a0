"""What the curvature of trained networks says of the gap, and a start fitted so that no mean gap is left."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.experiments.borrowed import World
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
)
from gbi_helpers.experiments.cost.judged import centred, judged, moved, related, rms
from gbi_helpers.experiments.study import Row
from gbi_helpers.inference import LossFn
from gbi_helpers.meter import flops
from gbi_helpers.theory import second_order_gap

Scores = dict[str, Any]


# ---------------------------------------------------------------- second order


def second(world: World, seed: int, settings: Settings) -> Scores:
    """The gap to second order, by K Hessian-vector products a sample, against the measured one, on test samples.

    "own": of each sample; "fisher": what of it a mean over dreams without end leaves; "kl": -KL(p_z0 || p_k); "gap":
    the measured one. "mean_...": the same averaged over validation samples. "free": not put back, but the free energy
    with the loss to second order minimised (:func:`least_free_energy`).
    Each with correlation and slope over the measured gap, and judged when put back; "mended" and "broken" beside one
    step. "price": of the products, in FLOPs and CPU seconds, over K passes and over a forward.
    """
    validation, test = opened(world, seed, settings)
    fit = validation.rows(slice(settings["fit_samples"]))
    asked = test.rows(slice(None, None, max(len(test.task) // settings["samples"], 1)))
    slope, exact = each(asked, slopes), each(asked, passes)
    gap = centred(exact - slope)
    named = _gaps(asked) | {f"mean_{name}": missed.mean(0) for name, missed in _gaps(fit).items()}
    named |= {"mean_gap": centred(each(fit, passes) - each(fit, slopes)).mean(0)}
    free = each(asked, least_free_energy)

    def said(missed: Tensor) -> Scores:
        score = slope + missed
        return {**judged(score, exact, asked.task), **moved(score, slope, exact), **related(missed + 0 * gap, gap)}

    found = {"one_step": judged(slope, exact, asked.task), "exact": judged(exact, exact, asked.task)}
    found |= {name: said(missed) for name, missed in named.items()}
    found |= {"free": {**judged(free, exact, asked.task), **moved(free, slope, exact)}}
    left = {f"rms_left_{name}": rms(gap - missed) for name, missed in named.items()}
    return {**found, "rms": rms(gap), **left, "price": _price(asked.rows(slice(settings["priced"])))}


def _gaps(asked: Asked) -> dict[str, Tensor]:
    """What is said of the gap (N, K) of each sample without its exact losses."""
    own, kl = each(asked, second_order_gap), -centred(divergences(asked))
    return {"own": own, "fisher": _fisher(asked), "kl": kl}


def least_free_energy(loss_fn: LossFn, z0: Tensor, rounds: int = 500) -> Tensor:
    """Log q (N, K) of the least E_q[L] - H(q) on the simplex, the loss L(q) taken to second order at z0.

    By exponentiated gradient, with steps that the curvature of each sample allows. Where that is negative it may stop
    in one of several minima.
    """
    z = z0.detach().clone().requires_grad_()
    (grad,) = torch.autograd.grad(loss_fn(z).sum(), z, create_graph=True)
    rows = [torch.autograd.grad(column.sum(), z, retain_graph=True)[0] for column in grad.unbind(1)]
    hessian = centred(centred(torch.stack(rows, 1)).mT)  # the simplex sees no more of it
    size = 1 / (1 + hessian.abs().amax((1, 2)))[:, None]
    log_q, grad = z0.log(), grad.detach()
    for _ in range(rounds):
        slope = grad + torch.einsum("bjk,bk->bj", hessian, log_q.exp() - z0)
        log_q = torch.log_softmax((1 - size) * log_q - size * slope, 1)
    return log_q


def _fisher(asked: Asked, batch: int = 128) -> Tensor:
    """Half the Fisher information at z0 along the way to each task, negated (N, K): what dreams without end find."""
    return torch.cat([second_order_gap(part.expected_loss, part.z0) for part in asked.parts(batch)])


def _price(asked: Asked) -> Scores:
    """Of K Hessian-vector products: FLOPs and CPU seconds over those of K passes, and FLOPs over one forward."""
    ways: dict[str, Callable[[LossFn, Tensor], Tensor]] = {"second": second_order_gap, "passes": passes}
    plain = asked.in_double()  # no layer is fused there, which would not be counted
    counted = {name: flops(way, plain.loss, plain.z0) for name, way in ways.items()}
    seconds = {name: min(_seconds(way, asked) for _ in range(3)) for name, way in ways.items()}
    dearer = counted["second"] / counted["passes"]
    return {
        "flops_over_passes": dearer,
        "forwards": dearer * asked.n_tasks,
        "seconds_over_passes": seconds["second"] / seconds["passes"],
    }


def _seconds(way: Callable[[LossFn, Tensor], Tensor], asked: Asked) -> float:
    started = time.process_time()
    way(asked.loss, asked.z0)
    return max(time.process_time() - started, 1e-6)


# ---------------------------------------------------------------- the start


def start(world: World, seed: int, settings: Settings) -> Scores:
    """One step from a start, off the simplex too, that was fitted so that validation samples have no mean gap.

    By number of steps of the fit, "0" the uniform start: the mean gap on the samples of the fit and on test samples
    ("rms_fit", "rms_mean"), the gap of single test samples ("rms_single"), where the start lies, and one step judged.
    """
    validation, test = opened(world, seed, settings)
    fit = validation.rows(slice(settings["fit_samples"]))
    asked = test.rows(slice(None, None, max(len(test.task) // settings["samples"], 1)))
    exact = each(asked, passes)
    found = {}
    for steps, z in _starts(fit, settings["steps"], settings["lr"]).items():
        slope = each(asked, functools.partial(_slopes_at, z))
        before = each(fit, passes) - each(fit, functools.partial(_slopes_at, z))
        found[steps] = {
            "rms_fit": rms(before.mean(0)),
            "rms_mean": rms((exact - slope).mean(0)),
            "rms_single": rms(exact - slope),
            "least": float(z.min()),
            "greatest": float(z.max()),
            "length": float(z.abs().sum()),
            **judged(slope, exact, asked.task),
        }
    return {"steps": found}


def _slopes_at(z: Tensor, loss_fn: LossFn, z0: Tensor) -> Tensor:
    return slopes(loss_fn, z.expand_as(z0))


def _starts(fit: Asked, steps: tuple[int, ...], lr: float) -> dict[int, Tensor]:
    """The start (K,) before the fit and after so many steps of Adam on the mean square of the mean gap."""
    exact = each(fit, passes).mean(0)
    z = fit.z0[0].clone().requires_grad_()
    descent, kept = torch.optim.Adam([z], lr=lr), {0: z.detach().clone()}
    loss_fn = fit.loss
    for step in range(1, max(steps) + 1):
        (grad,) = torch.autograd.grad(loss_fn(z.expand(len(fit.task), -1)).mean(), z, create_graph=True)
        descent.zero_grad()
        centred(exact + grad).square().mean().backward()
        descent.step()
        if step in steps:
            kept[step] = z.detach().clone()
    return kept


SECOND = settings_of(
    {"samples": 500, "fit_samples": 200, "priced": 64}, {"samples": 200, "fit_samples": 100, "priced": 16}
)
START = settings_of(
    {"samples": 2000, "fit_samples": 300, "steps": (40, 150), "lr": 0.03},
    {"samples": 480, "fit_samples": 96, "steps": (40, 100), "lr": 0.03},
)
ROWS = {
    **{f"second/{name}": Row(second, f"the gap to second order, {SAID[name]}", told) for name, told in SECOND.items()},
    **{f"start/{name}": Row(start, f"a start without mean gap, {SAID[name]}", told) for name, told in START.items()},
}
