"""The exercises of chapter 02, train with Z; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, uniform
from gbi_helpers.metrics import blocks_to_criterion


def _gated(h: Tensor, z: Tensor, gate: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return (h * (z @ gate)) @ weight.T + bias


def _bell(bias: Tensor, sd: float) -> Tensor:
    return sd * math.sqrt(2 / math.pi) * (-(bias**2) / (2 * sd**2)).exp()


def _absolute_error(bias: Tensor, sd: float) -> Tensor:
    return _bell(bias, sd) + bias * torch.erf(bias / (sd * math.sqrt(2)))


def _blocks_until_inputs(draw: Generator, blocks: int, seeds: int) -> Inputs:
    falling = torch.linspace(1, 0, blocks, dtype=torch.float64, device=draw.device)[:, None]
    return falling + 0.6 * uniform(draw, blocks, seeds), 0.75


_short, *_falling = drawn(202, _blocks_until_inputs, (6, 2), (9, 3), (14, 2), (20, 5), (11, 4))
_last = torch.tensor([[1.0, 0.9], [1.0, 0.9], [0.9, 0.9], [0.9, 0.8], [0.4, 0.5]], dtype=torch.float64, device="cpu")
_never = torch.cat([_short[0].new_ones(6, 1), _short[0]], dim=1)

blocks_until = Exercise(
    "blocks_until",
    "student(excess (blocks, S), criterion) -> the block (S,), counted from 1, that ends the first good run. "
    "A good run: three blocks in a row whose mean lies below the criterion. Infinity where there is none.",
    lambda e, c: blocks_to_criterion(e, c, run=3),
    [*_falling, (_last, 0.75)],  # the last: a run that only the last three blocks make
    mistakes=[
        Mistake(lambda e, c: blocks_to_criterion(e, c, run=3) - 1, "Blocks are counted from 1, not from 0."),
        Mistake(
            lambda e, c: blocks_to_criterion(e, c, run=3) - 2,
            "You give the block that begins the run of three; asked is the one that ends it.",
        ),
        Mistake(
            lambda e, c: blocks_to_criterion(e, c, run=3) - 3,
            "You give the index at which the run of three begins; asked is the block that ends it, counted from 1.",
        ),
        Mistake(
            lambda e, c: blocks_to_criterion(e, c, run=1),
            "One block below the criterion may be luck: the mean of three in a row has to be.",
        ),
        Mistake(
            lambda e, c: blocks_to_criterion(e.unfold(0, 3, 1).amax(-1), c, run=1) + 2,
            "You want each of the three blocks below the criterion; it is their mean that has to be.",
        ),
        Mistake(
            lambda e, c: len(e) + 1 - blocks_to_criterion((2 * c - e).flip(0), c, run=3),
            "That is not the first time: some later blocks are above the criterion again.",
        ),
    ],
    hard=[
        (
            (_never, 0.75),
            "Right where the criterion is met. But a seed that never meets it should get infinity (math.inf), "
            "or your average will call the slowest network fast.",
        )
    ],
    without=("blocks_to_criterion",),
)


def _gated_inputs(draw: Generator, batch: int, hidden: int, tasks: int, size: int) -> Inputs:
    z = torch.softmax(2 * normal(draw, batch, tasks), -1)
    weight, bias = normal(draw, size, hidden), normal(draw, size)
    return normal(draw, batch, hidden), z, uniform(draw, tasks, hidden), weight, bias


gated = Exercise(
    "gated",
    "student(h (B, H), z (B, K), gate (K, H), weight (D, H), bias (D,)) -> prediction (B, D).",
    _gated,
    drawn(203, _gated_inputs, (4, 6, 3, 2), (2, 5, 4, 3), (7, 8, 2, 1), (3, 4, 5, 2)),
    mistakes=[
        Mistake(lambda h, z, g, w, b: h @ w.T + b, "The gate is missing: h * (z @ gate) goes into the readout."),
        Mistake(lambda h, z, g, w, b: _gated(h, z, g, w, 0 * b), "The bias of the readout is missing."),
        Mistake(lambda h, z, g, w, b: (h + z @ g) @ w.T + b, "You add z @ gate. A gate multiplies: h * (z @ gate)."),
        Mistake(
            lambda h, z, g, w, b: _gated(h, torch.nn.functional.one_hot(z.argmax(-1), z.shape[1]).to(z), g, w, b),
            "You pick the likeliest task's gate. z may lie between tasks: mix the gates, z @ gate.",
        ),
        Mistake(
            lambda h, z, g, w, b: _gated(h, z, torch.sigmoid(g), w, b),
            "There is no sigmoid here: the gate is used as it is.",
        ),
        Mistake(
            lambda h, z, g, w, b: _gated(h, torch.full_like(z, 1 / z.shape[1]), g, w, b),
            "z is not used: every row should have the gate that its own z asks for.",
        ),
        Mistake(
            lambda h, z, g, w, b: _gated(h, torch.ones_like(z), g, w, b),
            "z is not used: sum the rows of the gate weighted by z.",
        ),
    ],
)


def _reordered(z: Tensor, block: int, order: Tensor) -> Tensor:
    blocks = z.unflatten(1, (-1, block))
    return blocks[torch.arange(len(z), device=z.device)[:, None], order].flatten(1, 2)


def _labels_inputs(draw: Generator, seeds: int, blocks: int, block: int, tasks: int) -> Inputs:
    said = uniform(draw, seeds, blocks, tasks).softmax(-1)  # soft, so that no block is like another
    return said.repeat_interleave(block, dim=1), block, uniform(draw, seeds, blocks).argsort(1)


reorder_blocks = Exercise(
    "reorder_blocks",
    "student(z (S, N, K), block, order (S, N / block)) -> labels (S, N, K): at place b stands z's block order[s, b].",
    _reordered,
    drawn(204, _labels_inputs, (3, 6, 4, 2), (2, 8, 3, 3), (5, 5, 6, 2), (4, 7, 2, 4)),
    mistakes=[
        Mistake(lambda z, b, o: z, "Nothing has moved: these are the true labels."),
        Mistake(lambda z, b, o: _reordered(z, b, o[:1].expand_as(o)), "Each seed has an order of its own: order[s]."),
        Mistake(
            lambda z, b, o: _reordered(z, b, o.argsort(1)),
            "You send block b to place order[s, b]. Asked is the reverse: at place b stands block order[s, b].",
        ),
        Mistake(
            lambda z, b, o: z.unflatten(1, (b, -1))[
                torch.arange(len(z), device=z.device)[:, None, None],
                torch.arange(b, device=z.device)[:, None],
                o[:, None],
            ].flatten(1, 2),
            "You cut across the blocks: numbers of one block lie side by side, so the axes are (blocks, block).",
        ),
        Mistake(
            lambda z, b, o: _reordered(z, b, o).flip(-1),
            "You renamed the labels as well: 'low' says 'high'. Leave each block's label as it is.",
        ),
    ],
    without=("shuffled_z",),
)


def _absolute_error_inputs(draw: Generator, size: int) -> Inputs:
    return normal(draw, size), 0.2 + float(uniform(draw))


absolute_error = Exercise(
    "absolute_error",
    "student(bias (N,), sd) -> expected absolute error (N,) of predictions that are off by bias. "
    "The sample scatters around its true mean with sd: E|e| for e ~ N(bias, sd^2), the folded normal's mean.",
    _absolute_error,
    drawn(205, _absolute_error_inputs, (4,), (7,), (3,), (5,)),
    mistakes=[
        Mistake(
            lambda b, s: (b**2 + s**2).sqrt(),
            "That is the root of the mean *squared* error. The mean of |e| is smaller: integrate |e| itself.",
        ),
        Mistake(lambda b, s: b**2 + s**2, "That is the mean squared error. Asked is the mean of |e|."),
        Mistake(
            lambda b, s: b.abs() + _bell(0 * b, s),
            "Bias and noise do not add up like that: for a large bias the noise cancels, on average.",
        ),
        Mistake(lambda b, s: b.abs(), "The noise is missing: with bias 0 the error is sd * sqrt(2 / pi), not 0."),
        Mistake(lambda b, s: _bell(0 * b, s), "That is the floor, for bias 0 only."),
        Mistake(
            lambda b, s: _bell(b, s) + b * torch.erf(b / s),
            "Nearly: the erf wants bias / (sd * sqrt(2)).",
        ),
        Mistake(
            lambda b, s: _absolute_error(b, s) - _bell(b, s) + _bell(2**0.5 * b, s),
            "Nearly: the exponent is bias^2 / (2 sd^2).",
        ),
        Mistake(
            lambda b, s: _absolute_error(b, s) - _bell(b, s) / 2,
            "Nearly: the first term is half of what it should be. Both sides of the bell count.",
        ),
        Mistake(
            lambda b, s: _bell(b, s) + b,
            "You integrate e for the positive side only: a positive e counts as +e, a negative one as -e.",
        ),
    ],
    hard=[
        (
            (torch.tensor([-1e3, 0.0, 1e3], dtype=torch.float64, device="cpu"), 0.3),
            "Right for a small bias, but not for a huge one, where the answer is just |bias|: something overflows.",
        )
    ],
    given=("folded_mean",),
)


def _paired(a: Tensor, b: Tensor, t: float) -> tuple[Tensor, Tensor, Tensor]:
    difference = a - b
    return difference.mean(), t * difference.std() / len(a) ** 0.5, (difference > 0).sum()


def _unpaired(a: Tensor, b: Tensor, t: float) -> Tensor:
    return t * ((a.var() + b.var()) / len(a)).sqrt()


def _paired_inputs(draw: Generator, seeds: int, t: float) -> Inputs:
    stream = normal(draw, seeds)  # what a seed shares: hard for one network, hard for the other
    return stream + 0.3 * normal(draw, seeds) + 0.4, stream + 0.3 * normal(draw, seeds), t


paired = Exercise(
    "paired",
    "student(a (S,), b (S,), t) -> mean of a - b over seeds, half-width of its 95 % interval, "
    "and in how many seeds a is larger. t: Student's t for S seeds.",
    _paired,
    drawn(206, _paired_inputs, (6, 2.571), (20, 2.093), (9, 2.306), (12, 2.201)),
    mistakes=[
        Mistake(lambda a, b, t: (b - a).mean(), "The sign: asked is a minus b.", "mean"),
        Mistake(lambda a, b, t: (a - b).median(), "That is the median difference: take the mean.", "mean"),
        Mistake(lambda a, b, t: a.mean() / b.mean(), "That is a ratio of means: take the difference.", "mean"),
        Mistake(
            _unpaired,
            "You treat a and b as if they had nothing to do with each other. Seed s of both had the same stream: "
            "subtract first, then take the spread of the differences.",
            "half-width",
        ),
        Mistake(
            lambda a, b, t: t * (a - b).std(),
            "That is how far single seeds scatter. Their mean scatters less: divide by the root of their number.",
            "half-width",
        ),
        Mistake(
            lambda a, b, t: t * (a - b).std(correction=0) / len(a) ** 0.5,
            "You divide by S where S - 1 belongs: the standard deviation of a sample (torch's default).",
            "half-width",
        ),
        Mistake(
            lambda a, b, t: 1.96 * (a - b).std() / len(a) ** 0.5,
            "1.96 is for a spread that is known. Yours is estimated from a few seeds: use t.",
            "half-width",
        ),
        Mistake(
            lambda a, b, t: (a - b).std() / len(a) ** 0.5,
            "That is the standard error; the interval reaches t of them to each side.",
            "half-width",
        ),
        Mistake(lambda a, b, t: 2 * _paired(a, b, t)[1], "That is the whole width: asked is half of it.", "half-width"),
        Mistake(lambda a, b, t: (a < b).sum(), "You count the seeds in which b is larger.", "count"),
        Mistake(lambda a, b, t: (a > b).double().mean(), "That is a share: count the seeds.", "count"),
    ],
    parts=("mean", "half-width", "count"),
    without=("summarise",),
    given=("paired",),
)
