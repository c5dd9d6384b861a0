"""What one step of inference costs: ``python -m gbi_helpers.experiments.cost.step``.

Times one-step inference (one forward, one backward to z) against a forward without gradients, of the same
autoencoder on the same images, in turns, so that a busy machine slows both. Prints the median ratio.
"""

from __future__ import annotations

import argparse
from statistics import median, quantiles

import torch

from gbi_helpers.inference import loss_of, max_entropy, one_step
from gbi_helpers.meter import Passes, timed
from gbi_helpers.models.image import ConvAutoencoder
from gbi_helpers.runtime import usual_defaults


@usual_defaults()
def ratios(batch: int = 256, repetitions: int = 100) -> list[float]:
    """Seconds of one-step inference over those of a plain forward, encoder included in both, for each repetition."""
    torch.manual_seed(0)
    model, x = ConvAutoencoder().eval(), torch.rand(batch, 1, 28, 28)
    z0, loss_fn = max_entropy(batch, model.n_tasks), loss_of(model, x, model.nll)
    found = []
    for repetition in range(repetitions + 10):
        with torch.no_grad():
            forward, _ = timed(lambda: model.nll(model(x, z0), x))
        step, _ = timed(one_step, loss_fn, z0)
        if repetition >= 10:  # the first ones warm up
            found.append(step / forward)
    return found


@usual_defaults()
def passes(batch: int = 256) -> tuple[int, int]:
    """Forward and backward passes of the whole model that one step takes, counted."""
    model, x = ConvAutoencoder().eval(), torch.rand(batch, 1, 28, 28)
    with Passes(model) as count:
        one_step(loss_of(model, x, model.nll), max_entropy(batch, model.n_tasks))
    return count.forwards, count.backwards


def main() -> int:
    """Print the measured ratio and its bound; exit code 1 if it is above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--at-most", type=float, default=2.0, help="bound on the median ratio")
    args = parser.parse_args()
    found = ratios(args.batch, args.repetitions)
    low, *_, high = quantiles(found, n=20)
    print(f"one step: {passes()[0]} forward, {passes()[1]} backward")
    print(
        f"one step / forward without gradients, batch {args.batch}, {torch.get_num_threads()} threads: "
        f"median {median(found):.2f} (5 % to 95 %: {low:.2f} to {high:.2f}); bound {args.at_most}"
    )
    return int(median(found) > args.at_most)


if __name__ == "__main__":
    raise SystemExit(main())
