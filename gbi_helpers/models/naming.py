"""A word-level LSTM that is trained to name the source as well: amortised inference, the rival of one gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.models.language import WordLSTM


class WordNamer(WordLSTM):
    """The LSTM control with a second read-out of K logits at every word; its own z is always the uniform one.

    Labels teach it to name the source, as they teach GBI to use one: same labels, same text, another place.
    ``named(tokens (B, T)) -> logits (B, T, K)`` of the source, each from the words up to there.
    """

    def __init__(self, vocabulary_size: int, n_tasks: int, hidden: int = 128):
        super().__init__(vocabulary_size, n_tasks, hidden)
        self.naming = nn.Linear(hidden, n_tasks)

    def both(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the next words (B, T, V), and of the source (B, T, K), in one pass."""
        z = torch.full((len(tokens), self.n_tasks), 1 / self.n_tasks, dtype=self.bias.dtype, device=tokens.device)
        units = self.units(tokens, z)
        return functional.linear(units, self.embedding.weight, self.bias), self.naming(units)

    def named(self, tokens: Tensor) -> Tensor:
        """Logits (B, T, K) of the source after each word that was read."""
        return self.both(tokens)[1]
