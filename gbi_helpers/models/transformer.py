"""A small Transformer with Z, to see whether what holds of the LSTM holds of another architecture."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.models.language import WordModel, check_z


class Block(nn.Module):
    """Attention to earlier words, then an MLP; each reads a normalised residual stream (B, T, d) and adds to it."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """The stream (B, T, d) after this block."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.attend(self.before(x)).chunk(3, -1)
        )
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.mix(seen.transpose(1, 2).flatten(2))
        return x + self.mlp(self.between(x))


class WordTransformer(WordModel):
    """Next-word model: two pre-norm blocks, learned positions, the embedding again as the read-out.

    z (B, K) is added to the words' embeddings, and gates the final residual stream, as it gates the LSTM's output.
    ``forward(tokens (B, T), z (B, K)) -> logits (B, T, V)``, for T up to ``longest``; z may be (B, T, K).
    Raises ``ValueError`` for a longer text, or a z of another shape.
    """

    def __init__(
        self, vocabulary_size: int, n_tasks: int, width: int = 128, layers: int = 2, heads: int = 4, longest: int = 128
    ):
        super().__init__()
        self.n_tasks = n_tasks
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.positions = nn.Parameter(0.02 * torch.randn(longest, width))
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.last = nn.LayerNorm(width)
        self.added, self.gate = nn.Linear(n_tasks, width, bias=False), nn.Linear(n_tasks, width, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.normal_(self.added.weight, std=0.1)
        nn.init.normal_(self.gate.weight, mean=1.0, std=0.1)

    def forward(self, tokens: Tensor, z: Tensor) -> Tensor:
        """Logits (B, T, V) of the word after each of tokens (B, T)."""
        if tokens.shape[1] > len(self.positions):
            raise ValueError(f"This Transformer knows {len(self.positions)} positions: give it shorter windows.")
        check_z(z, tokens, self.n_tasks)
        z = z[:, None] if z.dim() == 2 else z
        x = self.embedding(tokens) + self.positions[: tokens.shape[1]] + self.added(z)
        x = self.last(self.blocks(x)) * self.gate(z)
        return functional.linear(x, self.embedding.weight, self.bias)
