"""How far the beliefs of frozen networks are from Bayes', and whose error that is: the network's, or the inference's.

The long versions of what notebook 04 shows, for the study. Every score has one value a seed, (S,), on its last axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.bayes import bayes_filter, log_likelihood
from gbi_helpers.data.toy import steady_windows
from gbi_helpers.experiments.study import Settings
from gbi_helpers.experiments.toy.inference import (
    UNSEEN,
    Scores,
    Windows,
    compare,
    filter_test,
    fresh_stream,
    fresh_windows,
    over_starts,
)
from gbi_helpers.experiments.toy.recipes import WINDOW, Run, evidence
from gbi_helpers.experiments.toy.theory import gap_in_networks
from gbi_helpers.inference import LossFn, enumerate_tasks, iterate, max_entropy, one_step
from gbi_helpers.metrics import excess_error

HASTY = {"GBI concat, high rate": {"variant": "concat", "lr": 1e-2}}
PENALTIES: dict[str, dict[str, Any]] = {
    "no penalty": {},
    "L2": {"weight": 0.5},
    "entropy": {"penalty": "entropy", "weight": 1.0},
}


def judged(run: Run, settings: Settings) -> dict[str, Any]:
    """One step and K passes against Bayes on windows of each length, and where they start from, in a stream, and bent.

    "windows": lists over the lengths, see :func:`split`. "given": excess error with Z given. "filter", "last": KL from
    the exact filter of the gradient in Bayes' rule, and of one step on the last samples alone, a list over the lengths.
    "gap": medians over windows of the error of the log odds and of its two bounds.
    """
    lengths = settings["windows"]
    parts = [split(fresh_windows(run, count)) for count in lengths]
    gap = gap_in_networks(run, rows=20)
    return {
        "windows": {name: torch.stack([part[name] for part in parts]) for name in parts[0]},
        "given": told(run),
        "starts": {name: {key: scores[key] for key in ("kl", "accuracy")} for name, scores in over_starts(run).items()},
        "filter": filter_test(run).scores(),
        "last": torch.stack([last_samples(run, count) for count in lengths]),
        "gap": {name: gap[name].median(1).values for name in ("range", "bound", "third-order bound")},
    }


def split(test: Windows) -> Scores:
    """The error of one step in two parts, in nats.

    "one step" and "K passes" are KL from exact Bayes; what K passes miss is the network's own error. "between" is the
    KL of one step from K passes: what the inference adds. "apart": share of windows for which the two name different
    contexts. Parts do not add up, since KL is no distance.
    """
    step, passes = one_step(test.loss, test.z0), enumerate_tasks(test.loss, test.z0)
    return {
        "one step": test.scores(step.log_q)["kl"],
        "K passes": test.scores(passes.log_q)["kl"],
        "between": compare(passes.log_q, step.log_q, test.n_seeds)["kl"],
        "apart": (step.task != passes.task).float().unflatten(0, (test.n_seeds, -1)).mean(1),
    }


def told(run: Run) -> Tensor:
    """Excess error (S,) on fresh windows with Z given."""
    test = fresh_windows(run)
    means = run.stream.means[test.context]
    z = torch.nn.functional.one_hot(test.context, run.model.n_tasks).to(test.x)
    with torch.no_grad():
        predicted = run.model(test.x[:, :-1], z)[:, -1]
    return excess_error(predicted, means).unflatten(0, (test.n_seeds, -1)).mean(1)


def last_samples(run: Run, samples: int) -> Tensor:
    """KL (S,) from the exact filter, along a fresh stream, of one step on the last ``samples`` samples alone."""
    fresh = fresh_stream(run)
    exact = bayes_filter(log_likelihood(fresh.x, fresh.means, fresh.sd), fresh.hazard)[:, samples:].flatten(0, 1)
    rows = fresh.x.unfold(1, samples + 1, 1).mT.flatten(0, 1)
    step = one_step(
        evidence(run.model, rows, fresh.sd), max_entropy(len(rows), run.model.n_tasks, rows.dtype, rows.device)
    )
    return compare(exact, step.log_q, fresh.n_seeds)["kl"]


# ---------------------------------------------------------------- iterating


def descended(run: Run, settings: Settings) -> dict[str, Any]:
    """Descending on the logits of z, with each penalty of PENALTIES: where it goes, and where it comes to rest.

    "kl": list over the first 60 steps; "end": KL at the last one; "sure": the greatest belief, mean over windows;
    "gain": how far the loss ends below that of the best pure context, in nats. "averaged": KL at the end of a descent
    on the average of the pure losses in the place of the loss at the average. "exact sure": of the exact posterior.
    """
    test, steps = fresh_windows(run, rows=100), settings["steps"]
    pure = enumerate_tasks(test.loss, test.z0)
    found: dict[str, Any] = {"exact sure": _sure(test.exact, test.n_seeds)}
    for name, options in PENALTIES.items():
        path = iterate(test.loss, test.z0, steps, 0.2, **options)
        logs = [q.clamp_min(1e-9).log() for q in (*path.z[:61], path.z[-1])]
        kl = torch.stack([test.scores(log_q)["kl"] for log_q in logs])
        gain = (pure.loss.amin(1) - path.loss[-1]).unflatten(0, (test.n_seeds, -1)).mean(1)
        found[name] = {"kl": kl[:-1], "end": kl[-1], "sure": _sure(logs[-1], test.n_seeds), "gain": gain}
        found[name]["averaged"] = _averaged(pure.loss, pure.log_q, test.n_seeds, min(steps, 300), options)
    return found


def _sure(log_q: Tensor, n_seeds: int) -> Tensor:
    return log_q.exp().amax(-1).unflatten(0, (n_seeds, -1)).mean(1)


def _averaged(loss: Tensor, log_q: Tensor, n_seeds: int, steps: int, options: Mapping[str, Any]) -> Tensor:
    average: LossFn = lambda z: (z * loss).sum(-1)  # noqa: E731
    end = iterate(average, max_entropy(loss.shape[0], loss.shape[1], loss.dtype, loss.device), steps, 0.2, **options).z[
        -1
    ]
    return compare(log_q, end.clamp_min(1e-12).log(), n_seeds)["kl"]


# ---------------------------------------------------------------- a mean that was never trained


def adapted(run: Run, settings: Settings) -> dict[str, Any]:
    """Excess error (means, S) on each mean of UNSEEN after 60 steps in each space, and (after, means, S) in free space.

    As :func:`~gbi_helpers.experiments.toy.inference.unseen_means` with ``lr=0.2``, but looked at several times on the
    way: "free, later" where "free" is among the spaces. "SPACE, chosen": with the rate and the number of steps that
    suit this network and space best, see :func:`_at_its_best`. "not adapted" is the start, "averages" see
    :func:`averages_of`.
    """
    after, tries = settings["after"], settings["tries"]
    averages = averages_of(run.model.n_seeds, run.stream.sd, tries)
    found: dict[str, Any] = {"not adapted": _looked(run, "free", 0.2, (0,), tries)[0], "averages": averages}
    for space in settings["spaces"]:
        looks = (60, *after) if space == "free" else (60,)
        found[space], *later = _looked(run, space, 0.2, looks, tries)
        found |= ({"free, later": torch.stack(later)} if later else {}) | _at_its_best(run, space, settings)
    return found


TEST, VALIDATION = (1, 2), (3, 4)  # the draws of windows that Z is fitted to, and of those it is then tried on


def _looked(run: Run, space: str, lr: float, looks: Sequence[int], tries: int, draws: tuple[int, int] = TEST) -> Tensor:
    """Excess error (looks, means, S) after so many steps at this rate, from the uniform Z."""
    means = _unseen().expand(-1, run.model.size)
    given, _ = steady_windows(means, run.stream.sd, tries * 8, WINDOW + 1, run.model.n_seeds, draws[0])
    loss = evidence(run.model, given.unflatten(0, (-1, 8)), run.stream.sd)
    z0 = max_entropy(len(given) // 8, run.model.n_tasks, given.dtype, given.device)
    path = iterate(loss, z0, max(looks), lr, space).z if max(looks) else z0[None]  # type: ignore[arg-type]
    return torch.stack([_tested(run, path[step], tries, draws[1]) for step in looks])


def _at_its_best(run: Run, space: str, settings: Settings) -> dict[str, Tensor]:
    """What the rate and number of steps reach that are best on other windows of the same means, over all seeds.

    "SPACE, chosen": excess error (means, S) on the windows of all others; "SPACE, rate" and "SPACE, steps" (S,): the
    choice; "SPACE, tried" (rates, steps, S): what it was made by, the mean over the means, from ``trial`` Z of each.
    """
    rates, looks = settings["rates"], settings["looks"]
    tried = torch.stack([_looked(run, space, rate, looks, settings["trial"], VALIDATION).mean(1) for rate in rates])
    rate, steps = divmod(int(tried.mean(-1).argmin()), len(looks))
    test = _looked(run, space, rates[rate], (looks[steps],), settings["tries"])[0]
    choice = {"rate": test.new_full(test.shape[1:], rates[rate]), "steps": test.new_full(test.shape[1:], looks[steps])}
    return {f"{space}, {name}": value for name, value in ({"chosen": test, "tried": tried} | choice).items()}


def _unseen() -> Tensor:
    """The means of UNSEEN, (means, 1)."""
    return torch.tensor(UNSEEN, dtype=torch.float32, device="cpu")[:, None]


def _tested(run: Run, z: Tensor, tries: int, draw: int) -> Tensor:
    """Excess error (means, S) on eight fresh windows for each z, (S * means * tries, K)."""
    means = _unseen().expand(-1, run.model.size)
    test, which = steady_windows(means, run.stream.sd, tries * 8, WINDOW, run.model.n_seeds, draw)
    with torch.no_grad():
        predicted = run.model(test, z.repeat_interleave(8, 0))[:, -1]
    return excess_error(predicted, means[which]).view(run.model.n_seeds, len(means), -1).mean(-1).T


def averages_of(seeds: int, sd: float, tries: int) -> dict[str, Tensor]:
    """Excess error (means, S) of plain averages of the same numbers that :func:`adapted` is given.

    "40": those scored; "48": with each window's first, which is history; "53": with the five of the test's window too.
    """
    means = _unseen()
    given, which = steady_windows(means, sd, tries * 8, WINDOW + 1, seeds, seed=1)
    test, _ = steady_windows(means, sd, tries * 8, WINDOW, seeds, seed=2)
    seen = given.unflatten(0, (-1, 8))
    both = (seen.sum((1, 2)).repeat_interleave(8, 0) + test.sum(1)) / 53
    guess = {"40": seen[:, :, 1:].mean((1, 2)), "48": seen.mean((1, 2))}
    every = {name: mean.repeat_interleave(8, 0) for name, mean in guess.items()} | {"53": both}
    return {name: excess_error(m, means[which]).view(seeds, len(means), -1).mean(-1).T for name, m in every.items()}


# ---------------------------------------------------------------- the rows of the study

SHORT = {"blocks": 50, "block": 40}
COOLED = {"windows": (1, 2, 5, 10, 20), "words": "against Bayes", "schedule": "cosine"}
HOT = {**COOLED, "words": "against Bayes, not cooled", "schedule": "constant"}
ADAPTED = {"tries": 10, "after": (60, 300, 1000), "words": "a mean never trained", "schedule": "cosine"}
SEARCHED = {"rates": (0.05, 0.2, 0.8, 3.2, 12.8), "looks": (20, 60, 120, 300, 1000), "trial": 2}
ROWS: dict[str, tuple[Callable[[Run, Settings], Any], dict[str, Any]]] = {
    "judged/GBI post": (judged, {"network": "GBI post", **COOLED}),
    "judged/GBI recurrent": (judged, {"network": "GBI recurrent", **COOLED}),
    "judged/GBI concat": (judged, {"network": "GBI concat", **COOLED}),
    "judged/GBI concat, not cooled": (judged, {"network": "GBI concat", **HOT}),
    "judged/GBI concat, high rate": (judged, {"network": "GBI concat, high rate", **COOLED}),
    "judged/GBI concat, high rate, not cooled": (judged, {"network": "GBI concat, high rate", **HOT}),
    "judged/GBI concat, high rate, not cooled, short": (
        judged,
        {"network": "GBI concat, high rate", **HOT, "stream": SHORT},
    ),
    "descended/GBI post": (
        descended,
        {"network": "GBI post", "words": "iterating to the end", "schedule": "cosine", "steps": 1000},
    ),
    "adapted/GBI post": (adapted, {"network": "GBI post", **ADAPTED, **SEARCHED, "spaces": ("logits", "free")}),
    "adapted/LSTM": (adapted, {"network": "LSTM", **ADAPTED, "spaces": ()}),
    "adapted/LSTM, idle inputs": (  # each step runs the recurrence, so few
        adapted,
        {"network": "LSTM, idle inputs", **ADAPTED, **SEARCHED, "tries": 4, "after": (60,), "spaces": ("free",)},
    ),
}
