"""What one gradient step costs against trying every class, for ten to ten thousand classes.

``python -m gbi_helpers.experiments.cifar.prices`` prints the table. Times are medians of calls taken in turns, so that
a busy machine slows all alike; passes are counted, and do not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import torch
from torch import Tensor

from gbi_helpers.inference import LossFn, enumerate_tasks, max_entropy, one_step
from gbi_helpers.meter import Passes, timed
from gbi_helpers.models.hundred import CodeModel
from gbi_helpers.progress import progress_bar
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.runtime import random_state_kept, usual_defaults

CLASSES = (10, 100, 1_000, 10_000)
SIZE = 512  # of the vectors described
Price = dict[str, float]


def prices(classes: Sequence[int] = CLASSES, batch: int = 16, repetitions: int = 30) -> list[Price]:
    """One row for each number of classes K: milliseconds of one forward, of one step and of all K forwards, and more.

    The model is the chapter's (a code, and z multiplied in), untrained, since weights do not change the time.
    "step_over_forward" and "all_over_step" are ratios within this run; "forwards", "backwards": passes of one step,
    counted; "all_forwards": of the enumeration; "z_parameters": numbers in the one layer that grows with K.
    """
    return [price(k, batch, repetitions) for k in progress_bar(classes, desc="numbers of classes")]


def price(n_tasks: int, batch: int = 16, repetitions: int = 30) -> Price:
    """The row of one number of classes; the enumeration is timed fewer times where it takes longer."""
    model, loss_fn, z0 = _asked(n_tasks, batch)
    dear = max(1, min(repetitions, 1_000 // n_tasks))
    forward, step, every = [], [], []
    for repetition in range(-3, repetitions):
        with torch.no_grad():
            seconds, _ = timed(loss_fn, z0)
        more, _ = timed(one_step, loss_fn, z0)
        if repetition >= 0:  # the first ones warm up
            forward.append(seconds)
            step.append(more)
        if 0 <= repetition < dear:
            every.append(timed(enumerate_tasks, loss_fn, z0)[0])
    z_layer = model.decoder.join.task
    assert z_layer is not None  # z is multiplied in, so it has a layer of its own
    found: Price = {"classes": n_tasks, "batch": batch, "z_parameters": z_layer.weight.numel()}
    times = {name: median(values) for name, values in (("forward", forward), ("step", step), ("all", every))}
    found |= {f"{name}_ms": round(1000 * seconds, 4) for name, seconds in times.items()}
    ratios = {"step_over_forward": times["step"] / times["forward"], "all_over_step": times["all"] / times["step"]}
    return found | {name: round(ratio, 2) for name, ratio in ratios.items()} | passes(n_tasks)


@usual_defaults()
def _asked(n_tasks: int, batch: int) -> tuple[CodeModel, LossFn, Tensor]:
    """An untrained model, its loss on random vectors, and the uniform start: the same at every call."""
    with random_state_kept(seed=0):
        model, x = CodeModel(SIZE, n_tasks=n_tasks).eval(), torch.randn(batch, SIZE)
    return model, decoder_loss(model, x), max_entropy(batch, n_tasks)


def passes(n_tasks: int, batch: int = 2) -> dict[str, int]:
    """Passes through the decoder, counted: of one step, and of trying every class."""
    model, loss_fn, z0 = _asked(n_tasks, batch)
    with Passes(model.decoder) as step:
        one_step(loss_fn, z0)
    with Passes(model.decoder) as every:
        enumerate_tasks(loss_fn, z0)
    return {"forwards": step.forwards, "backwards": step.backwards, "all_forwards": every.forwards}


def main() -> int:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{'classes':>8} {'forward ms':>11} {'one step ms':>12} {'every class ms':>15} {'ratio':>8}")
    for row in prices():
        print(
            f"{row['classes']:>8,} {row['forward_ms']:>11.2f} {row['step_ms']:>12.2f} {row['all_ms']:>15.1f} "
            f"{row['all_over_step']:>8.1f}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
