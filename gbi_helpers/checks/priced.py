"""What a student's function may ask for a price, and no more often than it can pay."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class OverspentError(RuntimeError):
    """More was asked than the budget pays for."""


class Ask:
    """The samples of a batch, which answer for a price: 1 forward for a loss, 2 for a loss with its gradient.

    ``loss_of(z (N, K), rows (N,)) -> (N,)``: the losses of the samples ``rows``.
    """

    def __init__(self, loss_of: Callable[[Tensor, Tensor], Tensor], samples: int, budget: int):
        self.samples, self.budget, self._spent = samples, budget, 0
        self._loss_of = loss_of

    @property
    def left(self) -> float:
        """Forwards that are left, a sample on average."""
        return self.budget - self._spent / self.samples

    def __repr__(self) -> str:
        return f"ask ({self.samples} samples, {self.left:.3g} forwards each)"

    def loss(self, z: Tensor, rows: Tensor | None = None) -> Tensor:
        """Loss (B,) of each sample at its row of ``z`` (B, K): 1 forward. ``rows`` (N,): of these samples alone."""
        z, rows = self._asked(z, rows)
        self._pay(1, len(rows))
        return self._loss_of(z, rows)

    def gradient(self, z: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Loss (B,) and its gradient to ``z`` (B, K): 2 forwards. ``rows`` (N,): of these samples alone."""
        z, rows = self._asked(z, rows)
        self._pay(2, len(rows))
        with torch.enable_grad():
            loss = self._loss_of(z.requires_grad_(), rows)
            return loss.detach(), torch.autograd.grad(loss.sum(), z)[0]

    def _asked(self, z: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        rows = torch.arange(self.samples, device="cpu") if rows is None else rows
        if rows.dim() != 1 or rows.is_floating_point() or rows.dtype == torch.bool:
            raise ValueError("rows are the numbers of the samples that are asked: whole numbers, shape (N,).")
        if z.dim() != 2 or len(z) != len(rows):
            raise ValueError(f"z must have a row for each of {len(rows)} samples, but has shape {tuple(z.shape)}.")
        return z.detach().to("cpu", torch.float64, copy=True), rows

    def _pay(self, price: int, samples: int) -> None:
        asked = price * samples
        if self._spent + asked > self.budget * self.samples:
            raise OverspentError(
                f"overspent: this costs {asked / self.samples:.3g} forwards a sample, and {self.left:.3g} of "
                f"{self.budget} are left. Ask for less, or for fewer samples."
            )
        self._spent += asked


def unspent(asked: T) -> T:
    """The same with nothing spent; what asks for no price, such as a function, as it is."""
    if not isinstance(asked, Ask):
        return asked
    full = copy.copy(asked)
    full._spent = 0
    return full
