"""A Transformer with Z on its residual stream at every depth: a language model with millions of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.models.language import WordModel, check_z
from gbi_helpers.models.transformer import Block


class Turn(nn.Module):
    """What a task does to a residual stream x (B, T, d): it is scaled by W z and moved by V z, z (B or 1, T or 1, K).

    Both are linear in z, and each source has a column of its own in each.
    """

    def __init__(self, n_tasks: int, width: int):
        super().__init__()
        self.scale, self.shift = nn.Linear(n_tasks, width, bias=False), nn.Linear(n_tasks, width, bias=False)
        nn.init.normal_(self.scale.weight, mean=1.0, std=0.05)  # near 1: learning starts as without Z
        nn.init.normal_(self.shift.weight, std=0.02)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """The stream, scaled and moved."""
        return x * self.scale(z) + self.shift(z)


class DeepTransformer(WordModel):
    """Next-word model: ``layers`` pre-norm blocks, a turn by z after each, the embedding again as the read-out.

    Six layers of width 256 and 2,000 words have 5.3 million weights. No layer couples the texts of a batch.
    ``forward(tokens (B, T), z (B, K)) -> logits (B, T, V)``, for T up to ``longest``; z may be (B, T, K).
    Raises ``ValueError`` for a longer text, or a z of another shape.
    """

    def __init__(
        self, vocabulary_size: int, n_tasks: int, width: int = 256, layers: int = 6, heads: int = 4, longest: int = 128
    ):
        super().__init__()
        self.n_tasks = n_tasks
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.positions = nn.Parameter(0.02 * torch.randn(longest, width))
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.turns = nn.ModuleList(Turn(n_tasks, width) for _ in range(layers))
        self.last = nn.LayerNorm(width)
        self._start()

    def _start(self) -> None:
        """Small embeddings, and blocks that add little at first, less the more there are (Radford et al. 2019)."""
        nn.init.normal_(self.embedding.weight, std=0.05)
        for name, weight in self.blocks.named_parameters():
            if name.endswith(("mix.weight", "mlp.2.weight")):
                nn.init.normal_(weight, std=0.02 / (2 * len(self.blocks)) ** 0.5)

    def forward(self, tokens: Tensor, z: Tensor) -> Tensor:
        """Logits (B, T, V) of the word after each of tokens (B, T)."""
        if tokens.shape[1] > len(self.positions):
            raise ValueError(f"This Transformer knows {len(self.positions)} positions: give it shorter windows.")
        check_z(z, tokens, self.n_tasks)
        z = z[:, None] if z.dim() == 2 else z
        x = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        for block, turn in zip(self.blocks, self.turns, strict=True):
            x = turn(block(x), z)
        return functional.linear(self.last(x), self.embedding.weight, self.bias)
