"""K passes and one step as who knows the decoder does them: what lies before Z once, columns looked up, no one-hots.

A one-hot z times a layer with K columns is one of its columns, so nobody who tries K classes multiplies. Nor does one
step: at the uniform start the layer says the mean of its columns, and only the last product of its way back grows with
K. Let F be the operations above that layer and w its width: K passes cost K F, one step 2 F + 2 w K. So one step is
never more than F / 2w times cheaper, and half of that at K = F / w.

Where what lies above Z is linear, all K exact losses are one product, and one step has no advantage at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.experiments.cost.decoders import CHUNK, SIZE, Asked
from gbi_helpers.guards import LossFn
from gbi_helpers.inference import one_step
from gbi_helpers.meter import flops
from gbi_helpers.models.base import gaussian_nll
from gbi_helpers.models.hundred import CodeModel, ZOnly
from gbi_helpers.models.toy import ToyLSTM
from gbi_helpers.runtime import random_state_kept, usual_defaults

WORDS = {
    "deep": "Z multiplied in, one layer above it",
    "linear": "a decoder of Z alone, linear",
    "added": "Z added before a linear read-out",
    "post": "gates on the last hidden layer of an LSTM, one output",
}


@dataclass(frozen=True)
class Cheap:
    """A decoder asked as any other, and the cheap ways to the same answers.

    ``before()``: what lies before Z, once for all; ``every(units)``: the exact losses (B, K); ``slope(units)``: the
    gradient (B, K) at the uniform start, up to a constant for each sample.
    """

    question: Asked
    before: Callable[[], Tensor]
    every: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]

    def all_losses(self) -> Tensor:
        """The exact losses (B, K) from nothing."""
        return self.every(self.before())

    def log_q(self) -> Tensor:
        """One step's log posterior (B, K) from nothing."""
        return torch.log_softmax(-self.slope(self.before()), dim=-1)


def cheap(kind: str, n_tasks: int, batch: int = 1, *, device: str = "cpu", seed: int = 0, **sizes: int) -> Cheap:
    """The decoder of this kind (:data:`WORDS`), untrained, with random samples. ``sizes``: of its layers."""
    with random_state_kept(), usual_defaults(), torch.device(device), torch.no_grad():
        torch.manual_seed(seed)
        return MAKERS[kind](n_tasks, batch, **sizes)


def _back_to_z(loss_fn: LossFn, place: Tensor, columns: Tensor) -> Tensor:
    """dL/dz (B, K): one backward to what the layer of Z says, ``place`` (B, w), then its ``columns`` (K, w)."""
    grad = one_step(loss_fn, place, space="free").grad
    assert grad is not None
    return grad @ columns.T


def _deep(n_tasks: int, batch: int, size: int = SIZE, width: int = SIZE) -> Cheap:
    """z chooses which hidden units take part."""
    question, columns, units_of, body = _with_code(n_tasks, batch, size, width, "mul")
    x, mean = question.seen, columns.mean(0)

    @torch.no_grad()
    def every(units: Tensor) -> Tensor:
        parts = columns.split(max(1, CHUNK // batch))
        return torch.cat([_squares(body(units[:, None] * part), x[:, None]) for part in parts], dim=1)

    def slope(units: Tensor) -> Tensor:
        return _back_to_z(lambda gate: _squares(body(units * gate), x), mean.expand_as(units), columns)

    return Cheap(question, units_of, every, slope)


def _added(n_tasks: int, batch: int, size: int = SIZE, width: int = SIZE) -> Cheap:
    """All passes are one: what a task adds to the output is known beforehand, and only a product with x is new."""
    question, columns, units_of, body = _with_code(n_tasks, batch, size, width, "add")
    x, mean, patterns = question.seen, columns.mean(0), columns @ body.weight.T

    def every(units: Tensor) -> Tensor:
        return _distances(x - body(units), patterns)

    def slope(units: Tensor) -> Tensor:
        return _back_to_z(lambda added: _squares(body(units + added), x), mean.expand_as(units), columns)

    return Cheap(question, units_of, every, slope)


def _with_code(n_tasks: int, batch: int, size: int, width: int, conditioning: Any) -> tuple[Asked, Tensor, Any, Any]:
    """A model of chapter 07: the question, Z's columns (K, w) and bias, the units before Z, and what is above."""
    model = CodeModel(size, n_tasks=n_tasks, conditioning=conditioning, width=width).eval().requires_grad_(False)
    x = _drawn(batch, size)
    join, h = model.decoder.join, model.encode(x)
    assert join.task is not None
    columns = (join.task.weight.T + join.task.bias).contiguous()
    return Asked(n_tasks, model.decoder, h, x, model.nll), columns, lambda: join.code(h).relu(), model.decoder.body[1]


def _linear(n_tasks: int, batch: int, size: int = SIZE) -> Cheap:
    """Every loss is a distance to a pattern."""
    model, x = ZOnly(size, n_tasks).eval().requires_grad_(False), _drawn(batch, size)
    patterns = model.decoder.patterns.normal_()
    mean = patterns.mean(0)

    def slope(units: Tensor) -> Tensor:
        return _back_to_z(lambda place: _squares(place, x), mean.expand_as(x), patterns)

    question = Asked(n_tasks, model.decoder, model.encode(x), x, model.nll)
    return Cheap(question, lambda: x, lambda x: _distances(x, patterns), slope)


def _post(n_tasks: int, batch: int, hidden: int = 32, words: int = 20) -> Cheap:
    """The recurrence runs once, and K read-outs of one number follow."""
    net = ToyLSTM(1, "post", "learned", n_tasks=n_tasks, hidden=hidden).eval().requires_grad_(False)
    x = _drawn(batch, words + 1, 1)
    before, after = x[:, :-1], x[:, 1:]
    gate, weight, bias = net.gate[0], net.weight_out[0, 0], net.bias_out[0]

    def every(h: Tensor) -> Tensor:
        said = (h * weight) @ gate.T + bias
        return _squares(said.mT, after.mT)

    def slope(h: Tensor) -> Tensor:
        def loss_fn(place: Tensor) -> Tensor:
            return _squares(((h * place[:, None]) @ weight[:, None] + bias)[..., 0], after[..., 0])

        return _back_to_z(loss_fn, gate.mean(0).expand(batch, -1), gate)

    question = Asked(n_tasks, net, before, after, lambda output, seen: gaussian_nll(output, seen, sd=1.0))
    return Cheap(question, lambda: net.encode(before), every, slope)


MAKERS: dict[str, Callable[..., Cheap]] = {"deep": _deep, "linear": _linear, "added": _added, "post": _post}


def _drawn(*shape: int) -> Tensor:
    """Random samples, where :func:`cheap` says."""
    return torch.randn(shape, dtype=torch.float32, device=torch.get_default_device())


def _squares(output: Tensor, x: Tensor) -> Tensor:
    """Nats (...,) of x around the output, both (..., D)."""
    return (output - x).square().sum(-1) / 2


def _distances(x: Tensor, patterns: Tensor) -> Tensor:
    """Nats (B, K) of x (B, D) around each of the patterns (K, D), by one product."""
    far = x.square().sum(-1, keepdim=True) + patterns.square().sum(-1)
    return far / 2 - x @ patterns.T


# ---------------------------------------------------------------- prices


def ceiling(above: float, width: int) -> float:
    """How many times cheaper than K passes one step can be, however large K is: F / 2w."""
    return above / (2 * width)


def honest_ratio(n_tasks: int, above: float, width: int) -> float:
    """K passes over one step, both as cheap as they can be had, what lies before Z left out: K F / (2 F + 2 w K)."""
    return n_tasks * above / (2 * above + 2 * width * n_tasks)


def counted_ratios(kind: str, tasks: Sequence[int], batch: int = 1) -> list[dict[str, float]]:
    """FLOPs a sample of what lies "before" Z, of "every" exact loss and of one "step", and their ratios, by K.

    "above_z": the ratio without what lies before Z; "whole": with it; "naive": of the decoder asked by one-hot z.
    """
    return [_counted(kind, n_tasks, batch) for n_tasks in tasks]


def _counted(kind: str, n_tasks: int, batch: int) -> dict[str, float]:
    ways = cheap(kind, n_tasks, batch, device="meta")
    units = ways.before()
    before, every, step = flops(ways.before), flops(ways.every, units), flops(ways.slope, units)
    naive = n_tasks * flops(torch.no_grad()(ways.question.rows()), ways.question.z0)
    found = {"tasks": n_tasks, "before": before / batch, "every": every / batch, "step": step / batch}
    ratios = {"above_z": every / step, "whole": (before + every) / (before + step)}
    return found | ratios | {"naive": naive / flops(one_step, ways.question.rows(), ways.question.z0)}
