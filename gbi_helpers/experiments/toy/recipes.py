"""Train the toy networks, all seeds in one pass, and what notebooks 02 and 03 show of it."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers.data.toy import Stream, random_z, shuffled_z, steady_windows
from gbi_helpers.inference import LossFn, loss_of
from gbi_helpers.metrics import by_block, excess_error
from gbi_helpers.models.base import gaussian_nll
from gbi_helpers.models.toy import Gates, ToyLSTM, Variant
from gbi_helpers.modularity import overlap, shared_ratio
from gbi_helpers.records import ModulesRecord, TrainingRecord
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit

WINDOW = 5
# The networks of notebook 02, by the name in its legend: variant, gates, and what they are told as Z.
NETWORKS: dict[str, dict[str, Any]] = {
    "LSTM": {"variant": "lstm"},
    "GBI post": {"variant": "post"},
    "GBI post, learned gates": {"variant": "post", "gates": "learned"},
    "GBI recurrent": {"variant": "rec"},
    "GBI recurrent, learned gates": {"variant": "rec", "gates": "learned"},
    "GBI concat": {"variant": "concat"},
    "GBI add": {"variant": "add"},
    "LSTM, idle inputs": {"variant": "idle"},
    "random Z per block": {"variant": "post", "told": "random block"},
    "random Z per step": {"variant": "post", "told": "random step"},
    "shuffled Z": {"variant": "post", "told": "shuffled"},
}
TOLD = ("true", "random block", "random step", "shuffled", "renamed", "one late", "switches")


@dataclass(frozen=True, eq=False)
class Run:
    """S networks trained on S streams, and the curves of their training.

    ``online.curves``, each (steps, S), tell of the predictions made before each update: "excess" error, "squared" and
    "absolute" error. ``modules`` is None without frames.
    """

    model: ToyLSTM
    stream: Stream
    online: TrainingRecord
    modules: ModulesRecord | None = None

    def blocks(self, curve: str = "excess") -> Tensor:
        """Means (blocks, S) of a curve over the blocks of the stream."""
        return by_block(self.online.curves[curve], self.stream.block, WINDOW)


def train(
    stream: Stream,
    variant: Variant = "lstm",
    gates: Gates = "fixed",
    *,
    told: str | Tensor = "true",
    order: Tensor | None = None,
    lr: float = 3e-3,
    schedule: str = "constant",
    frames: int = 0,
    **sizes: Any,
) -> Run:
    """One pass through the stream: an Adam update per new sample, on the squared error of the last five predictions.

    ``told``: the Z given in training, one of TOLD (:func:`labels`) or a tensor (S, N, K); idle inputs are always told
    1/K. ``order`` (S, steps): the window that each update learns from, by its first sample, where they should not come
    one after the other; the curves are then in this order too. ``frames``: how many times to look at the units on the
    way (first and last step included). ``sizes``: further arguments of :class:`~gbi_helpers.models.toy.ToyLSTM`.
    Weights of seed s start the same for every variant where their shapes agree.
    """
    with usual_defaults():
        model = ToyLSTM(stream.seeds, variant, gates, n_tasks=stream.n_contexts, size=stream.x.shape[2], **sizes)
    model = model.to(stream.x)
    x, z = stream.x, _told(stream, variant, told)
    steps = x.shape[1] - WINDOW
    predictions: list[Tensor] = []

    def batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
        numbers, task = _window(x, step, order), _window(z, step, order)
        return numbers[:, :-1], numbers[:, 1:], task[:, 1:]

    def loss(batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        history, targets, task = batch
        predicted = model(history, task)
        predictions.append(predicted[:, -1].detach())
        return (predicted - targets).square().mean((1, 2)).sum()  # a sum, so that no seed touches another's gradient

    watch = _Frames(model, stream, steps, frames) if frames else None
    record = fit(
        model, loss, batch, steps=steps, lr=lr, schedule=schedule, warm_up=0, batch_size=1, watch=watch,
        desc=f"{len(stream.seeds)} x {variant}", optimizer=functools.partial(torch.optim.Adam, fused=True),
    )  # fmt: skip
    seen = record.curves
    online = dataclasses.replace(record, curves=_errors(torch.stack(predictions), stream, order))
    return Run(model, stream, online, watch.record(seen) if watch else None)


def _window(values: Tensor, step: int, order: Tensor | None) -> Tensor:
    """The WINDOW + 1 samples (S, WINDOW + 1, ...) of values (S, N, ...) that this update learns from."""
    if order is None:
        return values[:, step : step + WINDOW + 1]
    rows = order[:, step, None] + torch.arange(WINDOW + 1, device=order.device)
    return values[torch.arange(len(values), device=order.device)[:, None], rows]


def _told(stream: Stream, variant: str, told: str | Tensor) -> Tensor:
    """Z (S, N, K) for training."""
    if variant == "idle":
        return torch.full_like(stream.z, 1 / stream.n_contexts)
    return told if isinstance(told, Tensor) else labels(stream, told)


def labels(stream: Stream, told: str) -> Tensor:
    """Z (S, N, K) as one of TOLD: true, or spoilt in a way that a control needs.

    "random block", "random step": a context at random for each block or sample; "shuffled": blocks permuted;
    "renamed": the first context called the last, and so on; "one late": the label of the sample before; "switches":
    1/K, but one-hot on the first number of a block, always the same: it says when, and never what.
    Raises ``ValueError`` for another name.
    """
    if told not in TOLD:
        raise ValueError(f"told is '{told}': choose one of {', '.join(TOLD)}.")
    z = stream.z
    if told == "renamed":
        return z.flip(-1)
    if told == "one late":
        return torch.cat([z[:, :1], z[:, :-1]], dim=1)
    if told == "switches":
        changed = (z[:, 1:] != z[:, :-1]).any(-1, keepdim=True)
        first = torch.nn.functional.one_hot(torch.zeros_like(z[..., 0], dtype=torch.int64), z.shape[-1]).to(z)
        rest = torch.full_like(z, 1 / stream.n_contexts)
        return torch.where(torch.nn.functional.pad(changed, (0, 0, 1, 0)), first, rest)
    if told == "shuffled":
        return shuffled_z(stream)
    return z if told == "true" else random_z(stream, 1 if told == "random step" else stream.block)


def shuffled_order(stream: Stream) -> Tensor:
    """Every window of a stream once, (S, steps), in an order drawn for each seed, for :func:`train`."""
    draws = (torch.Generator().manual_seed(50_000 + seed) for seed in stream.seeds)
    windows = stream.x.shape[1] - WINDOW
    return torch.stack([torch.randperm(windows, generator=draw, device=draw.device) for draw in draws])


def _errors(predictions: Tensor, stream: Stream, order: Tensor | None) -> dict[str, Tensor]:
    """Curves (steps, S) from predictions (steps, S, D): of the samples from number WINDOW on, or in another order."""
    sample, mean = (v[:, WINDOW:] for v in (stream.x, stream.true_mean))
    if order is not None:
        sample, mean = (v.gather(1, order[..., None].expand_as(v)) for v in (sample, mean))
    sample, mean = sample.transpose(0, 1), mean.transpose(0, 1)
    return {
        "excess": excess_error(predictions, mean),
        "squared": excess_error(predictions, sample),
        "absolute": (predictions - sample).abs().mean(-1),
    }


# ---------------------------------------------------------------- units and tasks


def drive(model: ToyLSTM, windows: Tensor, z: Tensor | None = None) -> Tensor:
    """How much each unit moves the output, (S, H): mean |h * w_out| over windows (rows, T, D) shown to every seed.

    ``z`` (K,): the task abstraction told; 1/K if None.
    """
    rows = windows.repeat(model.n_seeds, 1, 1)
    with torch.no_grad():
        h = model.hidden(rows, None if z is None else z.expand(len(rows), -1))
    mean = h.abs().unflatten(0, (model.n_seeds, -1)).mean((1, 2))
    return mean * model.weight_out.detach().norm(dim=1)


def drives(model: ToyLSTM, windows: Tensor, same: bool = False) -> Tensor:
    """The drive (S, K, H) in each task: its own windows (K, rows, T, D) with its own Z; ``same``: all windows."""
    tasks = torch.eye(model.n_tasks, dtype=windows.dtype, device=windows.device)
    shown = [windows.flatten(0, 1)] * len(tasks) if same else list(windows)
    return torch.stack([drive(model, x, z) for x, z in zip(shown, tasks, strict=True)], dim=1)


class _Frames:
    """Looks at the units at some steps of training; ``fit`` calls it at every one."""

    def __init__(self, model: ToyLSTM, stream: Stream, steps: int, frames: int, rows: int = 32):
        self.model = model
        windows, _ = steady_windows(stream.means, stream.sd, rows, WINDOW)
        self.windows = windows.unflatten(0, (stream.n_contexts, rows))
        self.at = set(torch.linspace(0, steps, frames, dtype=torch.float32, device="cpu").long().tolist())

    def __call__(self, step: int) -> dict[str, Any]:
        if step not in self.at:
            return {}
        own, same = drives(self.model, self.windows), drives(self.model, self.windows, same=True)
        seen = {"step": step, "activation": own, "z_only": same}
        return seen | ({"gate": self.model.gate.detach()} if self.model.variant in ("post", "rec") else {})

    def record(self, seen: dict[str, Tensor]) -> ModulesRecord:
        curves = {
            "overlap": overlap(seen["activation"]),
            "shared ratio": shared_ratio(seen["activation"]),
            "z-only overlap": overlap(seen["z_only"]),
        }
        return ModulesRecord(**seen, curves=curves, facts={"variant": self.model.variant})


def evidence(model: nn.Module, windows: Tensor, sd: float, last: int | None = None) -> LossFn:
    """The loss, in nats, of the samples in each window as a function of z: a ``LossFn`` for ``gbi_helpers.inference``.

    ``windows`` (rows, T + 1, D): each sample after the first is predicted from those before it, and the T errors add
    up; or only the ``last`` ones, the earlier samples being history. (rows, M, T + 1, D): one z (rows, K)
    explains M windows. Rows come seed after seed. Where Z enters after the recurrence, that is run only once.
    """
    rows, many = len(windows), windows.dim() == 4
    flat = windows.flatten(0, 1) if many else windows
    history, targets = flat[:, :-1], flat[:, 1:]
    scored = slice(-last if last else None, None)
    if isinstance(model, ToyLSTM) and model.late:
        with torch.no_grad():
            history, model = model.encode(history), model.decoder
    loss = loss_of(model, history, lambda out, _: gaussian_nll(out[:, scored], targets[:, scored], sd))
    if not many:
        return loss
    return lambda z: loss(z.repeat_interleave(windows.shape[1], 0)).view(rows, -1).sum(1)
