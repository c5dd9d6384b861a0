"""The LSTM recurrence of S stacked networks, twice: as its formulas, and with the backward pass written out by hand.

Both give the same numbers (tests hold it). Autograd runs the first, which can be differentiated as often as one likes;
training uses the second, about twice as fast: one matrix product gives the weight gradient of all time steps.
Shapes: drive (S, B, T, 4H), what the inputs and biases add to the four gates i, f, g, o; weight (S, 4H, H); gate
(S, B, T, H), which h and c are multiplied by after each step, or None. Both return h (S, B, T, H).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def recurrence(drive: Tensor, weight: Tensor, gate: Tensor | None = None) -> Tensor:
    """Hidden states of an LSTM from zero, by its formulas (Hochreiter and Schmidhuber 1997, with forget gate)."""
    h = c = drive.new_zeros(*drive.shape[:2], weight.shape[2])
    states = []
    for t, now in enumerate(drive.unbind(2)):
        i, f, g, o = torch.baddbmm(now, h, weight.mT).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        if gate is not None:
            h, c = h * gate[:, :, t], c * gate[:, :, t]
        states.append(h)
    return torch.stack(states, dim=2)


class Recurrence(torch.autograd.Function):
    """:func:`recurrence` for training: ``Recurrence.apply(drive, weight, gate)``, differentiable once."""

    @staticmethod
    def forward(ctx: Any, drive: Tensor, weight: Tensor, gate: Tensor | None) -> Tensor:
        """Run it, keeping what the backward pass needs."""
        hidden, recurrent = weight.shape[2], weight.mT.contiguous()
        h = c = drive.new_zeros(*drive.shape[:2], hidden)
        gates = [None] * drive.shape[2] if gate is None else gate.unbind(2)
        kept: list[tuple[Tensor, ...]] = []
        for now, part in zip(drive.unbind(2), gates, strict=True):
            inputs = torch.baddbmm(now, h, recurrent)
            opened = torch.sigmoid(inputs)
            i, f, _, o = opened.split(hidden, dim=-1)
            g = torch.tanh(inputs[..., 2 * hidden : 3 * hidden])
            before = h, c
            c = torch.addcmul(f * c, i, g)
            squashed = torch.tanh(c)
            h = o * squashed
            kept.append((opened, g, squashed, *before, h, c))
            if part is not None:
                h, c = h * part, c * part
        stacked = [torch.stack(values) for values in zip(*kept, strict=True)]
        ctx.save_for_backward(weight, gate, *stacked)
        h = stacked[5].movedim(0, 2).contiguous()
        return h if gate is None else h * gate

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Walk back in time: a step passes on two products, and all else is known for all steps at once.

        Axes of what was kept: (T, S, B, ...).
        """
        weight, gate, opened, g, squashed, h_before, c_before, h, c = ctx.saved_tensors
        hidden = weight.shape[2]
        i, f, _, o = opened.split(hidden, dim=-1)
        to_c = o * (1 - squashed * squashed)  # dh / dc
        to_inputs = opened * (1 - opened)  # the slopes of three sigmoids, and of a tanh
        to_inputs[..., 2 * hidden : 3 * hidden] = 1 - g * g
        to_inputs *= torch.cat([g, c_before, i, squashed], dim=-1)
        dh = dc = torch.zeros_like(h[0])
        inputs, gates = [], []
        steps = zip(slope.unbind(2), to_c, to_inputs, f, range(len(h)), strict=True)
        for by_output, by_h, by_both, kept_c, t in reversed(list(steps)):
            dh = dh + by_output
            if gate is not None:
                gates.append(dh * h[t] + dc * c[t])
                dh, dc = dh * gate[:, :, t], dc * gate[:, :, t]
            dc = torch.addcmul(dc, dh, by_h)
            inputs.append(torch.cat([dc, dc, dc, dh], dim=-1) * by_both)
            dh, dc = torch.bmm(inputs[-1], weight), dc * kept_c
        d_drive = torch.stack(inputs[::-1], dim=2)
        d_weight = torch.bmm(d_drive.flatten(1, 2).mT, h_before.movedim(0, 2).flatten(1, 2))
        return d_drive, d_weight, torch.stack(gates[::-1], dim=2) if gates else None
