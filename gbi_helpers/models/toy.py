"""The toy networks: an LSTM that predicts the next sample, and GBI-LSTMs that are also told the task abstraction Z.

Many seeds are trained in one pass. Every weight has a leading axis of S seeds, and rows of data come seed after seed:
x (S * B, T, D) holds B rows for seed 0, then B for seed 1, ... With S = 1 this is an ordinary module ``model(x, z)``,
and with any S it fits ``gbi_helpers.inference``: one_step, iterate and enumerate_tasks then serve all seeds at once.
Batched matrix products do it; torch.func.vmap over stacked parameters took 2 to 3 times as long here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from gbi_helpers.models.toy_cell import Recurrence, recurrence

Variant = Literal["lstm", "idle", "concat", "add", "post", "rec"]
Gates = Literal["fixed", "learned"]


class ToyLSTM(nn.Module):
    """S networks of one shape: LSTM with H hidden units and a linear readout of the next sample.

    ``variant`` says where Z enters. "lstm": nowhere. "concat": beside the input. "idle": the same, but held at 1/K in
    training (the control whose input is optimised later). "add": h + V z before the readout. "post": h * (z G) before
    the readout, the recurrence untouched. "rec": h and c times z G after every step, inside the recurrence.
    ``gates`` (for "post" and "rec"): "fixed" is a random binary G (K, H), drawn once for each seed, ``keep`` its share
    of ones; "learned" starts near one and is trained. Weights start as in nn.LSTM and nn.Linear, and seed s starts the
    same whether it comes alone or with others.
    Raises ``ValueError`` for an unknown variant or gates.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor
    weight_out: Tensor
    bias_out: Tensor
    task: Tensor
    gate: Tensor

    def __init__(
        self,
        seeds: int | Sequence[int] = 1,
        variant: Variant = "lstm",
        gates: Gates = "fixed",
        *,
        n_tasks: int = 2,
        hidden: int = 32,
        size: int = 1,
        keep: float = 0.5,
    ):
        super().__init__()
        if variant not in get_args(Variant) or gates not in get_args(Gates):
            raise ValueError(
                f"There is no variant '{variant}' with gates '{gates}': choose one of {', '.join(get_args(Variant))}, "
                f"and gates 'fixed' or 'learned'."
            )
        self.variant, self.gates = variant, gates
        self.n_tasks, self.hidden_units, self.size, self.keep = n_tasks, hidden, size, keep
        made = [self._draw(s) for s in (range(seeds) if isinstance(seeds, int) else seeds)]
        for name in made[0]:
            value = torch.stack([weights[name] for weights in made])
            value = value.to(torch.get_default_device(), torch.get_default_dtype())
            if name == "gate" and gates == "fixed":
                self.register_buffer(name, value)
            else:
                self.register_parameter(name, nn.Parameter(value))

    @property
    def n_seeds(self) -> int:
        """Number of networks S."""
        return len(self.weight_hh)

    @property
    def uses_z(self) -> bool:
        """Whether Z enters at all: for every variant but the plain LSTM."""
        return self.variant != "lstm"

    def _draw(self, seed: int) -> dict[str, Tensor]:
        """The weights of one network before training: the same numbers, whatever the default dtype and device."""
        draw = torch.Generator().manual_seed(seed)
        hidden, tasks, wide = self.hidden_units, self.n_tasks, 1 / math.sqrt(self.hidden_units)

        def uniform(*shape: int) -> Tensor:
            return (2 * numbers(*shape) - 1) * wide

        def numbers(*shape: int) -> Tensor:
            return torch.rand(shape, generator=draw, dtype=torch.float32, device=draw.device)

        inputs = self.size + tasks * (self.variant in ("concat", "idle"))
        weights = {
            "weight_ih": uniform(4 * hidden, inputs),
            "weight_hh": uniform(4 * hidden, hidden),
            "bias_ih": uniform(4 * hidden),
            "bias_hh": uniform(4 * hidden),
            "weight_out": uniform(self.size, hidden),
            "bias_out": uniform(self.size),
        }
        if self.variant == "add":
            weights["task"] = uniform(tasks, hidden)
        if self.variant in ("post", "rec"):
            random = numbers(tasks, hidden)
            weights["gate"] = (random < self.keep).float() if self.gates == "fixed" else 0.75 + random / 2
        return weights

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Prediction of the sample after each of x: (S * B, T, D) -> (S * B, T, D).

        ``z`` (S * B, K): one task abstraction a row, or (S * B, T, K): one for each prediction. 1/K everywhere if None.
        """
        return self.readout(self.hidden(x, z))

    def hidden(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """What the readout sees, (S * B, T, H): hidden units after the gate, or with V z added."""
        if self.late:
            return self.join(self.encode(x), z)
        rows = self._by_seed(x)
        task = self._task(z, rows).expand(*rows.shape[:3], self.n_tasks)
        if self.variant == "rec":
            return self._run(rows, self._effect(task, self.gate)).flatten(0, 1)
        return self._run(torch.cat([rows, task], dim=-1)).flatten(0, 1)

    @property
    def late(self) -> bool:
        """Whether Z enters after the recurrence ("post", "add") or never: then h is computed once for all z."""
        return self.variant in ("lstm", "add", "post")

    def encode(self, x: Tensor) -> Tensor:
        """Hidden units (S * B, T, H) before Z enters. Raises ``ValueError`` where it enters the recurrence."""
        if not self.late:
            raise ValueError(f"In the variant '{self.variant}' Z enters the recurrence: call the network itself.")
        return self._run(self._by_seed(x)).flatten(0, 1)

    def join(self, h: Tensor, z: Tensor | None) -> Tensor:
        """Hidden units (S * B, T, H) as the readout sees them, from those of :meth:`encode`."""
        if not self.uses_z:
            return h
        rows = self._by_seed(h)
        effect = self._effect(self._task(z, rows), self.task if self.variant == "add" else self.gate)
        return (rows * effect if self.variant == "post" else rows + effect).flatten(0, 1)

    @property
    def decoder(self) -> nn.Module:
        """The part of the network after :meth:`encode`, ``decoder(h, z)``: what inference must run again for each z."""
        return _Decoder(self)

    @staticmethod
    def _effect(task: Tensor, entry: Tensor) -> Tensor:
        """What Z does to each unit: (S, B, T, K) times (S, K, H)."""
        return torch.bmm(task.flatten(1, 2), entry).unflatten(1, task.shape[1:3])

    def readout(self, h: Tensor) -> Tensor:
        """Prediction (S * B, T, D) from hidden units (S * B, T, H)."""
        flat = h.reshape(self.n_seeds, -1, self.hidden_units)
        return torch.baddbmm(self.bias_out.unsqueeze(1), flat, self.weight_out.mT).view(*h.shape[:-1], self.size)

    def _run(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Hidden states (S, B, T, H) of the LSTM over x (S, B, T, inputs), times ``gate`` after each step if given."""
        seeds, rows, time, _ = x.shape
        bias = (self.bias_ih + self.bias_hh).unsqueeze(1)
        drive = torch.baddbmm(bias, x.flatten(1, 2), self.weight_ih.mT).view(seeds, rows, time, -1)
        trained = torch.is_grad_enabled() and self.weight_hh.requires_grad
        return (Recurrence.apply if trained else recurrence)(drive, self.weight_hh, gate)

    def _by_seed(self, x: Tensor) -> Tensor:
        """Rows (S * B, ...) as (S, B, ...)."""
        if x.dim() != 3 or len(x) % self.n_seeds:
            raise ValueError(
                f"x must be (rows, time, {self.size}) with as many rows for each of the {self.n_seeds} seeds, "
                f"but is {tuple(x.shape)}."
            )
        return x.unflatten(0, (self.n_seeds, -1))

    def _task(self, z: Tensor | None, x: Tensor) -> Tensor:
        """Z as (S, B, 1 or T, K)."""
        if z is None:
            return x.new_full((*x.shape[:2], 1, self.n_tasks), 1 / self.n_tasks)
        return (z.unsqueeze(1) if z.dim() == 2 else z).unflatten(0, (self.n_seeds, -1))

    def one(self, index: int) -> ToyLSTM:
        """The network of one seed by itself (S = 1), with copies of its weights. Raises ``IndexError`` past the end."""
        if not -self.n_seeds <= index < self.n_seeds:
            raise IndexError(f"There is no network {index}: of {self.n_seeds} the last is {self.n_seeds - 1}, or -1.")
        return self._with({name: value[[index]] for name, value in self.state_dict().items()})

    def copied(self, dtype: torch.dtype) -> ToyLSTM:
        """A copy of all networks with weights of another precision."""
        return self._with({name: value.to(dtype) for name, value in self.state_dict().items()})

    def without(self, units: Tensor) -> ToyLSTM:
        """A copy in which ``units`` (S, H), True where silenced, reach neither the readout nor the next step."""
        kept = (~units)[:, None].to(self.weight_out)
        cut = {name: getattr(self, name).detach() * kept for name in ("weight_hh", "weight_out")}
        return self._with(dict(self.state_dict()) | cut)

    def _with(self, weights: dict[str, Tensor]) -> ToyLSTM:
        other = copy.deepcopy(self)
        other._parameters = {name: nn.Parameter(weights[name].clone()) for name in self._parameters}
        other._buffers = {name: weights[name].clone() for name in self._buffers}
        return other


class _Decoder(nn.Module):
    def __init__(self, net: ToyLSTM):
        super().__init__()
        self.net = net

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        return self.net.readout(self.net.join(h, z))
