"""One training loop for all chapters: progress bar, resume after an interruption, and a record of what happened."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers.files import part_file
from gbi_helpers.progress import progress_bar
from gbi_helpers.records import TrainingRecord
from gbi_helpers.runtime import random_state_kept, usual_defaults

Batch = tuple[Tensor, ...]
Batches = Callable[[int], Any]
Watch = Callable[[int], Mapping[str, Any]]


def fit(
    model: nn.Module | Iterable[Tensor],
    loss_fn: Callable[..., Tensor],
    data: Sequence[Tensor] | Batches,
    *,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int = 128,
    lr: float = 2e-3,
    schedule: str = "cosine",
    warm_up: float = 50,
    average: float = 0.0,
    progress: bool = False,
    seed: int = 0,
    desc: str = "training",
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    watch: Watch | None = None,
    resume: str | Path | None = None,
    save_every: float = 30.0,
    device: torch.device | str | None = None,
) -> TrainingRecord:
    """Minimise ``loss_fn(batch) -> ()`` over the parameters of ``model`` (a module, or the parameters themselves).

    ``data``: tensors of one length N, cut into shuffled batches (tuples, moved to ``device``), or a function of the
    step that returns a batch. Give ``steps``, or ``epochs`` with tensors. ``schedule``: "cosine" to zero, or
    "constant"; both after ``warm_up`` steps of rising rate. ``average``: decay of a running mean of the weights
    (say .99), which replaces the weights at the end. ``watch(step)``, called before each step and once after the last,
    returns numbers or tensors to record as curves, by name. With ``progress`` the call is ``loss_fn(batch, done)``,
    where ``done`` in [0, 1) is the share of the steps behind us, for losses that change during training.

    ``resume``: a file, written every ``save_every`` seconds; calling ``fit`` again with the same arguments goes on
    from it and ends with the same weights as a run that was never stopped. It is removed at the end of the run.
    (Given mere parameters, it cannot know of buffers such as BatchNorm's: pass the module if it has any.)
    PyTorch's random numbers inside depend on ``seed`` only (and on what ``watch`` draws), and the caller's random state
    is left as it was. So is the model's mode: call ``model.train()`` first where dropout is to work.
    Raises ``ValueError`` if the loss is not one number, and where ``steps``, ``epochs``, ``batch_size``, ``warm_up`` or
    ``average`` mean nothing (``steps=0`` is no training), ``FloatingPointError`` when it turns NaN or infinite.
    """
    _check_range(steps=steps, epochs=epochs, batch_size=batch_size, warm_up=warm_up, average=average)
    steps, batch_size, seed = None if steps is None else int(steps), int(batch_size), int(seed)
    lr, average, warm_up = float(lr), float(average), float(warm_up)  # plain, so that file and record take them
    parameters = list(model.parameters() if isinstance(model, nn.Module) else model)
    batches, total = _plan(data, steps, epochs, batch_size, seed, device)
    if schedule not in ("cosine", "constant"):
        raise ValueError(f"schedule is '{schedule}': choose 'cosine' or 'constant'.")
    plan = {"steps": total, "batch_size": batch_size, "lr": lr, "seed": seed, "average": average}
    run = _Run(parameters, optimizer(parameters, lr=lr), plan | {"schedule": schedule, "warm_up": warm_up})
    run.buffers = list(model.buffers()) if isinstance(model, nn.Module) else []
    with random_state_kept(*run.gpus, seed=seed):
        if resume is not None:
            run.load(Path(resume))
        saved = time.perf_counter()
        for step in progress_bar(range(run.step, total), desc=desc, initial=run.step, total=total):
            if watch is not None:
                run.note(watch(step))
            loss = loss_fn(batches(step), step / total) if progress else loss_fn(batches(step))
            run.descend(loss, lr * _rate(step, total, schedule, warm_up))
            if resume is not None and time.perf_counter() - saved >= save_every:
                run.save(Path(resume))
                saved = time.perf_counter()
        run.finish()
        if watch is not None:
            run.note(watch(total))
    if resume is not None:
        Path(resume).unlink(missing_ok=True)
    seconds, cpu_seconds = (round(value, 2) for value in run.times())
    facts = plan | {"desc": desc, "seconds": seconds, "cpu_seconds": cpu_seconds}
    losses = torch.tensor(run.losses, dtype=torch.float32, device="cpu")
    return TrainingRecord(loss=losses, curves=run.stacked_curves(), facts=facts)


_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "steps": (lambda value: value >= 0 and value == int(value), "a whole number from 0 up"),
    "epochs": (lambda value: 0 < value < math.inf, "a number above 0"),
    "batch_size": (lambda value: value >= 1 and value == int(value), "a whole number from 1 up"),
    "warm_up": (lambda value: 0 <= value < math.inf, "a number of steps from 0 up"),
    "average": (lambda value: 0 <= value < 1, "a decay from 0 to below 1"),
}


def _check_range(**given: Any) -> None:
    """Raise ``ValueError`` for a number that means nothing."""
    for name, value in given.items():
        holds, told = _RANGES[name]
        if value is not None and not holds(value):
            raise ValueError(f"{name} is {value}: give {told}.")


class _Run:
    """What a run must remember: weights, optimiser, running mean, step, losses, curves."""

    def __init__(self, parameters: list[Tensor], optimizer: torch.optim.Optimizer, plan: dict[str, Any]):
        self.parameters, self.optimizer, self.plan = parameters, optimizer, plan
        self.gpus = list(dict.fromkeys(p.device for p in parameters if p.device.type == "cuda"))
        self.buffers: list[Tensor] = []
        self.mean: list[Tensor] = []
        self.step, self.losses = 0, list[float]()
        self.curves: dict[str, list[Tensor]] = {}
        self.before, self.started = (0.0, 0.0), (time.perf_counter(), time.process_time())

    def descend(self, loss: Tensor, rate: float) -> None:
        """One step of the optimiser at the given rate."""
        self.losses.append(_checked(loss, self.step))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        if self.plan["average"] and self.step >= self.plan["steps"] // 5:
            self._track()  # the first fifth is too early to be worth a mean

    def _track(self) -> None:
        now = [p.detach() for p in self.parameters]
        if self.mean:
            torch._foreach_lerp_(self.mean, now, 1 - self.plan["average"])
        else:
            self.mean = [p.clone() for p in now]

    def finish(self) -> None:
        """Put the running mean in the place of the weights."""
        with torch.no_grad():
            for parameter, mean in zip(self.parameters, self.mean, strict=False):
                parameter.copy_(mean)

    def times(self) -> tuple[float, float]:
        """Seconds by the clock and of the processor, those before an interruption included."""
        wall, cpu = self.before[0] - self.started[0], self.before[1] - self.started[1]
        return wall + time.perf_counter(), cpu + time.process_time()

    def note(self, values: Mapping[str, Any]) -> None:
        """Add one entry to each curve."""
        for name, value in values.items():
            self.curves.setdefault(name, []).append(_as_noted(value))

    def stacked_curves(self) -> dict[str, Tensor]:
        """The curves as tensors, first axis time."""
        return {name: torch.stack(values) for name, values in self.curves.items()}

    def made(self) -> list[Any]:
        """What a file must have in common with this run beside its plan: the optimizer, its options, and buffers."""
        groups = self.optimizer.param_groups
        options = [{name: group[name] for name in group if name not in ("params", "lr")} for group in groups]
        return [type(self.optimizer).__name__, options, [list(b.shape) for b in self.buffers]]

    def save(self, path: Path) -> None:
        """Write everything to ``path``, through a part file."""
        state = {
            "plan": self.plan,
            "made": self.made(),
            "parameters": [p.detach() for p in self.parameters],
            "buffers": self.buffers,
            "optimizer": self.optimizer.state_dict(),
            "mean": self.mean,
            "progress": {"step": self.step, "losses": self.losses, "curves": self.curves},
            "times": self.times(),
            "random": [torch.get_rng_state(), *(torch.cuda.get_rng_state(gpu) for gpu in self.gpus)],
        }
        with part_file(path) as part:
            whole = io.BytesIO()  # torch.save itself does not tell a full disk from other trouble
            torch.save(state, whole)
            part.write_bytes(whole.getbuffer())

    def load(self, path: Path) -> None:
        """Go on from ``path`` if it is there; ``ValueError`` if it is of another run or cannot be read."""
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            progress, plan, shapes = state["progress"], state["plan"], [p.shape for p in state["parameters"]]
            made = state["made"]
        except Exception as error:
            raise ValueError(f"{path} cannot be read, so training cannot go on from it; delete it.") from error
        if plan != self.plan or made != self.made() or shapes != [p.shape for p in self.parameters]:
            told = "other weights, buffers, optimizer, steps, rate or seed"
            raise ValueError(f"{path} belongs to another run ({told}); delete it.")
        with torch.no_grad():
            stored = [*state["parameters"], *state["buffers"]]
            for tensor, value in zip([*self.parameters, *self.buffers], stored, strict=True):
                tensor.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.mean = [m.to(p.device) for m, p in zip(state["mean"], self.parameters, strict=False)]
        self.step, self.losses, self.curves = progress["step"], progress["losses"], progress["curves"]
        self.before = state["times"]
        torch.set_rng_state(state["random"][0])
        for gpu, told in zip(self.gpus, state["random"][1:], strict=False):
            torch.cuda.set_rng_state(told, gpu)


def _as_noted(value: Any) -> Tensor:
    """A copy of a tensor on the CPU; a number as a tensor, float32 or int64."""
    with usual_defaults():
        return torch.as_tensor(value).detach().cpu().clone()


def _plan(
    data: Sequence[Tensor] | Batches,
    steps: int | None,
    epochs: float | None,
    batch_size: int,
    seed: int,
    device: torch.device | str | None,
) -> tuple[Batches, int]:
    """A function step -> batch, and the number of steps."""
    if callable(data):
        if steps is None or epochs is not None:
            raise ValueError("Give steps=..., and no epochs=...: a function of the step has none.")
        return data, steps
    if isinstance(data, Tensor) or not len(data):
        raise ValueError("data must be a sequence of one or more tensors: write (x,) for one.")
    n = len(data[0])
    if any(len(part) != n for part in data) or n < batch_size:
        raise ValueError(
            f"The data must be tensors of one length, at least batch_size={batch_size}, but have lengths "
            f"{[len(part) for part in data]}."
        )
    if (steps is None) == (epochs is None):
        raise ValueError("Give either steps=... or epochs=..., not both and not neither.")
    per_epoch = n // batch_size
    if epochs is not None and not round(epochs * per_epoch):
        raise ValueError(f"epochs is {epochs} of {per_epoch} batches, which is no step: give more of them.")
    order: dict[int, Tensor] = {}

    def batches(step: int) -> Batch:
        epoch, place = divmod(step, per_epoch)
        if epoch not in order:  # the order of an epoch depends on seed and epoch alone, so a resumed run meets the same
            order.clear()
            draw = torch.Generator().manual_seed(seed * 100_003 + epoch)
            order[epoch] = torch.randperm(n, generator=draw, device=draw.device)
        rows = order[epoch][place * batch_size : (place + 1) * batch_size]
        return tuple(part[rows].to(device) for part in data)

    return batches, steps if steps is not None else round((epochs or 0) * per_epoch)


def _rate(step: int, total: int, schedule: str, warm_up: float) -> float:
    """Learning rate at ``step`` relative to its peak."""
    rise = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
    return rise * (0.5 * (1 + math.cos(math.pi * step / total)) if schedule == "cosine" else 1.0)


def _checked(loss: Tensor, step: int) -> float:
    if loss.numel() != 1:
        raise ValueError(
            f"loss_fn must return one number (say, .mean() over the batch), not shape {tuple(loss.shape)}."
        )
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError(
            f"The loss is {value} at step {step}: training has diverged. Lower lr, or look for bad values in the data."
        )
    return value
