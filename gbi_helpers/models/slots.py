"""Networks with slots for tasks that have no name yet, each beside the stream that it reads.

What :func:`gbi_helpers.discovery.discover` asks of any network is a :class:`Stream`. Here are two: numbers, read by
the toy LSTM, and words, of which only their frequency counts.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from gbi_helpers.models.toy import ToyLSTM


class Stream(Protocol):
    """R rows read side by side by a network with K slots; ``len`` samples each. Rows are seeds, or parallel texts."""

    rows: int
    slots: int
    numbers: int  # of a sample, whose noise is estimated; 0 where ``loss`` is in nats as it is
    spread: Tensor  # (R,): the first guess of the standard deviation of the noise

    def __len__(self) -> int:
        """Samples to read."""

    def weights(self) -> list[nn.Parameter]:
        """What an M-step moves."""

    def given(self, t: int) -> Tensor:
        """What does not depend on z before sample t, (R, 1, ...)."""

    def says(self, given: Tensor, z: Tensor) -> Tensor:
        """What is said of the sample at each of M abstractions z (R, M, K): (R, M, ...)."""

    def loss(self, said: Tensor, t: int) -> Tensor:
        """Loss (R, M) of sample t, in nats at a noise of variance 1."""


class Samples:
    """A stream of numbers x (S, N, D), one row a seed, for a ToyLSTM of S seeds whose z enters after the recurrence.

    Each sample is predicted from the ``window`` before it; the first ``window`` are only read.
    """

    def __init__(self, model: ToyLSTM, x: Tensor, window: int = 5):
        self.model, self.x, self.window = model, x, window
        self.rows, self.slots, self.numbers = len(x), model.n_tasks, x.shape[2]
        self.spread = x.var(1).mean(-1).sqrt()

    def __len__(self) -> int:
        return max(0, self.x.shape[1] - self.window)

    def weights(self) -> list[nn.Parameter]:
        """All of the network's, gates apart if they are fixed."""
        return list(self.model.parameters())

    def given(self, t: int) -> Tensor:
        """The last hidden state, (S, 1, H)."""
        return self.model.encode(self.x[:, t : t + self.window])[:, -1:]

    def says(self, given: Tensor, z: Tensor) -> Tensor:
        """Predictions (S, M, D)."""
        return self.model.decoder(given.expand(-1, z.shape[1], -1), z)

    def loss(self, said: Tensor, t: int) -> Tensor:
        """Half the squared error."""
        return (said - self.x[:, t + self.window, None]).square().sum(-1) / 2


class WordSlots(nn.Module):
    """Word frequencies of each slot, softmax(bias + z W) over V words: the smallest model of text that has a z.

    ``log_frequency`` (V,): of all text, fixed. W (K, V) starts from small random numbers, as equal slots stay equal.
    """

    bias: Tensor

    def __init__(self, log_frequency: Tensor, slots: int, seed: int = 0, start: float = 0.1):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        size = (slots, len(log_frequency))
        entry = torch.randn(size, generator=draw, dtype=torch.float32, device=draw.device)
        self.register_buffer("bias", log_frequency)
        self.entry = nn.Parameter(start * entry.to(log_frequency))

    def forward(self, z: Tensor) -> Tensor:
        """Logits (..., V) for z (..., K)."""
        return self.bias + z @ self.entry


class Words:
    """R texts read side by side by one :class:`WordSlots`, in chunks of n words: ``words`` (R, T, n) int64."""

    numbers = 0

    def __init__(self, model: WordSlots, words: Tensor):
        self.model, self.words = model, words
        self.rows, self.slots = len(words), len(model.entry)
        self.spread = model.bias.new_ones(self.rows)

    def __len__(self) -> int:
        return self.words.shape[1]

    def weights(self) -> list[nn.Parameter]:
        """W."""
        return [self.model.entry]

    def given(self, t: int) -> Tensor:
        """Nothing, (R, 1, 0): no chunk knows of those before."""
        return self.model.bias.new_zeros(self.rows, 1, 0)

    def says(self, given: Tensor, z: Tensor) -> Tensor:
        """Logits (R, M, V)."""
        return self.model(z)

    def loss(self, said: Tensor, t: int) -> Tensor:
        """Nats of a chunk."""
        words = self.words[:, t, None].expand(-1, said.shape[1], -1)
        return words.shape[-1] * said.logsumexp(-1) - said.gather(-1, words).sum(-1)
