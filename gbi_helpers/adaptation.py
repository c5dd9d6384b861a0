"""A few gradient steps on a new task: of a context alone, or of all weights; and training for what they lead to.

One shape for all rivals: what moves is a table of tensors (T, ...), one of each for each of T tasks, and a loss (T,) is
a function of it. GBI and CAVIA move a context z (Zintgraf et al. 2019, arXiv 1810.03642), MAML and fine-tuning all
weights (Finn et al. 2017, arXiv 1703.03400). They differ in what the rest was trained for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Moving = Mapping[str, Tensor]
TaskLoss = Callable[[Moving], Tensor]
Inner = tuple[float, int]  # rate and number of the steps that are trained for


def descend(
    loss_fn: TaskLoss, start: Moving, rate: float, steps: int, through: bool = False
) -> list[dict[str, Tensor]]:
    """The path (steps + 1) from ``start`` down the loss (T,) of each task, by plain gradient steps.

    A gradient of what is done with the path reaches ``start`` as though the steps did not depend on it (first order);
    with ``through`` it goes through the steps, into all that the loss depends on (second order).
    Raises ``ValueError`` for a negative number of steps.
    """
    if steps < 0:
        raise ValueError(f"The number of steps must be 0 or more, but is {steps}.")
    path = [dict(start)]
    for _ in range(steps):
        here = {name: _live(value, through) for name, value in path[-1].items()}
        with torch.enable_grad():
            slopes = torch.autograd.grad(loss_fn(here).sum(), list(here.values()), create_graph=through)
        now = here if through else path[-1]
        path.append({name: now[name] - rate * slope for name, slope in zip(here, slopes, strict=True)})
    return path


def outer_loss(
    told: str, one: TaskLoss, other: TaskLoss, names: Tensor, begin: Callable[[str], Moving], inner: Inner | None
) -> Tensor:
    """What a network learns from that is ``told`` something, (T,), of two losses (T,) on samples of the same tasks.

    "names": both at ``names`` (T, K), their one-hot z; "nothing": both at 1/K. "context" and "weights", meta-trained,
    from the second loss after ``inner`` steps down the first, from ``begin("z")`` or ``begin("weights")``; through the
    steps for a context, to first order for weights.
    """
    if told in ("names", "nothing"):
        z = names if told == "names" else torch.full_like(names, 1 / names.shape[1])
        return (one({"z": z}) + other({"z": z})) / 2
    assert inner is not None, f"who is told {told} needs the steps that are trained for"
    start = begin("z" if told == "context" else told)
    return other(descend(one, start, *inner, through=told == "context")[-1])


def _live(value: Tensor, through: bool) -> Tensor:
    return value if through and value.requires_grad else value.detach().requires_grad_()


def for_each(weights: Moving, n_tasks: int) -> dict[str, Tensor]:
    """The same weights (...) once for each task, (T, ...), so that each can move its own."""
    return {name: value.expand(n_tasks, *value.shape) for name, value in weights.items()}


def tried(support: TaskLoss, query: TaskLoss, start: Moving, rates: Sequence[float], looks: Sequence[int]) -> Tensor:
    """What ``query`` says, (rates, looks, T, ...), after each number of steps of ``looks`` down ``support``, no grad.

    Infinite where a rate was so high that nothing finite came of it.
    """
    found = []
    for rate in rates:
        path = descend(support, start, rate, max(looks))
        with torch.no_grad():
            found.append(torch.stack([query(path[look]) for look in looks]))
    return torch.stack(found).nan_to_num(torch.inf, torch.inf)


def at_best_rate(validation: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Mean loss (looks, ...) on test tasks at the rate that suits validation tasks best, and that rate's number.

    Both as :func:`tried` found them, (rates, looks, T, ...). Each number of steps has a rate of its own.
    """
    best = validation.mean(2).argmin(0)
    return test.mean(2).gather(0, best[None])[0], best
