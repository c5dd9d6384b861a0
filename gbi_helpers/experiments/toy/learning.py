"""What notebook 02 shows beside the networks: errors along a stream, the exact filter's, and what controls spoil."""

from __future__ import annotations

import torch
from torch import Tensor

from gbi_helpers.bayes import bayes_filter, log_likelihood, predict_next
from gbi_helpers.data.toy import Stream, switching_stream
from gbi_helpers.experiments.toy.recipes import WINDOW, Run
from gbi_helpers.metrics import blocks_to_criterion, excess_error
from gbi_helpers.models.toy import ToyLSTM


def by_place(values: Tensor, block: int, blocks: int) -> Tensor:
    """Means (block, ...) of values (samples, ...) at each place in a block, over the last ``blocks`` blocks."""
    return values[-blocks * block :].unflatten(0, (blocks, block)).mean(0)


def filter_excess(stream: Stream) -> Tensor:
    """Excess error (samples, S) of the exact filter, from sample number WINDOW on, like the networks' curves."""
    belief = bayes_filter(log_likelihood(stream.x, stream.means, stream.sd), stream.hazard)[:, WINDOW - 1 : -1]
    predicted = predict_next(belief, stream.hazard, stream.means)
    return (predicted - stream.true_mean[:, WINDOW:]).square().mean(-1).T


def unreliable_z(stream: Stream, share: float) -> Tensor:
    """The true Z (S, N, 2), with each block's label right with probability ``share`` and swapped otherwise."""
    kept = []
    for seed in stream.seeds:
        draw = torch.Generator().manual_seed(40_000 + seed)
        blocks = -(-stream.x.shape[1] // stream.block)
        right = torch.rand(blocks, generator=draw, dtype=torch.float32, device=draw.device) < share
        kept.append(right.repeat_interleave(stream.block))
    return torch.where(torch.stack(kept)[..., None].to(stream.x.device), stream.z, stream.z.flip(-1))


def late_excess(run: Run) -> Tensor:
    """Mean excess (S,) over the last fifth of the stream."""
    curve = run.online.curves["excess"]
    return curve[-run.stream.x.shape[1] // 5 :].mean(0)


def speed(run: Run) -> dict[str, Tensor]:
    """Errors (S,) over parts of the stream, and how many blocks it takes until the excess falls below .02 and .01.

    "late" is the last tenth of the blocks, "early" the second and third, "first" (absolute error) half a tenth.
    """
    excess, absolute = run.blocks(), run.blocks("absolute")
    blocks = len(excess)
    late, early = slice(-blocks // 10, None), slice(blocks // 10, 3 * blocks // 10)
    return {
        "excess, late": excess[late].mean(0),
        "excess, early": excess[early].mean(0),
        "excess, second half": excess[blocks // 2 :].mean(0),
        "absolute, late": absolute[late].mean(0),
        "absolute, first": absolute[: max(1, blocks // 20)].mean(0),
        "blocks to .02": blocks_to_criterion(excess, 0.02),
        "blocks to .01": blocks_to_criterion(excess, 0.01),
    }


def curves(run: Run, late: int) -> dict[str, Tensor]:
    """Excess and absolute error by block, (blocks, S), and excess by place in the block over the ``late`` last ones."""
    place = by_place(run.online.curves["excess"], run.stream.block, late)
    return {"excess": run.blocks(), "absolute": run.blocks("absolute"), "place": place}


# ---------------------------------------------------------------- weights at rest


def fresh_stream(stream: Stream, blocks: int = 20) -> Stream:
    """A stream of the same kind that nobody was trained on, for seeds 1000 and up."""
    seeds = [1000 + seed for seed in stream.seeds]
    return switching_stream(seeds, means=stream.means, sd=stream.sd, blocks=blocks, block=stream.block)


def frozen_excess(model: ToyLSTM, stream: Stream, z: Tensor | None = None) -> Tensor:
    """Excess error (samples, S) of a network whose weights rest, from sample number WINDOW on.

    It sees the last WINDOW samples before each, and is told ``z`` (S, N, K), if it is told anything.
    """
    windows = stream.x.unfold(1, WINDOW, 1)[:, :-1].mT
    with torch.no_grad():
        predicted = model(windows.flatten(0, 1), None if z is None else z[:, WINDOW:].flatten(0, 1))[:, -1]
    return excess_error(predicted.unflatten(0, windows.shape[:2]), stream.true_mean[:, WINDOW:]).T


def rested(run: Run, places: int = 25) -> dict[str, Tensor]:
    """Excess error on a fresh stream with the weights at rest, (S,), and at the first places in a block, (places, S).

    "last": in the context that training ended with; "other": in all others.
    """
    stream = fresh_stream(run.stream)
    error = frozen_excess(run.model, stream, stream.z if run.model.uses_z else None)
    last = (stream.context == run.stream.context[:, -1:])[:, WINDOW:].T
    return {
        "excess": error.mean(0),
        "last": (error * last).sum(0) / last.sum(0),
        "other": (error * ~last).sum(0) / (~last).sum(0),
        "place": by_place(error, stream.block, len(error) // stream.block)[:places],
    }
