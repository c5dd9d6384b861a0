"""A word-level LSTM with a task abstraction Z, the source that a text comes from.

Z enters in two places that leave the recurrence whole, so that PyTorch's fused LSTM does the work: beside every word
that is read ("concat"), and as a gate on every unit that predicts ("gate"). The LSTM control is the very same network,
always told 1/K. Losses are in nats, summed over the words of a window, as inference needs them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.models.base import Described

Conditioning = Literal["concat", "gate", "both", "gatein"]
State = tuple[Tensor, Tensor]
CONDITIONINGS = ("concat", "gate", "both", "gatein")


def word_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """-log p of each word in nats, (B, T), from logits (B, T, V) and the words' ids (B, T)."""
    return functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none").view(targets.shape)


def window_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """-log p of a window in nats, (B,): the sum over its words. A mean would divide the evidence for z by T."""
    return word_nll(logits, targets).sum(1)


def check_z(z: Tensor, tokens: Tensor, n_tasks: int) -> None:
    """Raise ``ValueError`` unless z is (B, K) or (B, T, K) for tokens (B, T)."""
    if z.shape[-1:] != (n_tasks,) or z.shape[:-1] not in (tokens.shape[:1], tokens.shape):
        batch, words = tokens.shape
        raise ValueError(f"z must be ({batch}, {n_tasks}) or ({batch}, {words}, {n_tasks}), not {tuple(z.shape)}.")


class WordModel(Described):
    """A next-word model that is told z: ``model(tokens (B, T), z (B, K) or (B, T, K)) -> logits (B, T, V)``."""

    n_tasks: int
    nll = staticmethod(window_nll)


class WordLSTM(WordModel):
    """Next-word model with z: embedding, one LSTM layer, a gate, and the embedding again as the read-out.

    ``conditioning``: "concat" puts z beside each word's embedding; "gate" multiplies the LSTM's output by W z; "both"
    does both; "gatein" multiplies inside the recurrence, word by word, which no fused LSTM can do.
    ``plane``: if not 0, sources first get coordinates in so many dimensions, learned, and these enter instead of z.

    ``forward(tokens (B, T), z (B, K)) -> logits (B, T, V)`` of the next words; z may be (B, T, K), a z for each word.
    Raises ``ValueError`` for another conditioning, or a z of another shape.
    """

    def __init__(
        self,
        vocabulary_size: int,
        n_tasks: int,
        hidden: int = 128,
        conditioning: Conditioning = "both",
        plane: int = 0,
    ):
        super().__init__()
        if conditioning not in CONDITIONINGS:
            raise ValueError(f"conditioning is '{conditioning}': choose one of {', '.join(CONDITIONINGS)}.")
        self.n_tasks, self.hidden, self.conditioning, self.plane = n_tasks, hidden, conditioning, plane
        self.embedding = nn.Embedding(vocabulary_size, hidden)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.sources = nn.Linear(n_tasks, plane, bias=False) if plane else None
        size = plane or n_tasks
        if conditioning == "gatein":
            self.cell = nn.LSTMCell(hidden, hidden)
        else:
            self.lstm = nn.LSTM(hidden + (0 if conditioning == "gate" else size), hidden, batch_first=True)
        self.gate = None if conditioning == "concat" else nn.Linear(size, hidden, bias=bool(plane))
        self._start()

    def _start(self) -> None:
        """Small embeddings, and gates near 1 for every source, so that learning starts as in a plain LSTM."""
        nn.init.normal_(self.embedding.weight, std=0.1)
        if self.gate is not None:
            nn.init.normal_(self.gate.weight, mean=0.0 if self.plane else 1.0, std=0.1)
            if self.plane:
                nn.init.ones_(self.gate.bias)

    def place(self, z: Tensor) -> Tensor:
        """What enters the network for z (..., K): its place in the plane (..., d), or z itself where there is none."""
        if z.shape[-1] != self.n_tasks or z.dim() not in (2, 3):
            raise ValueError(f"z must be (batch, {self.n_tasks}) or (batch, words, {self.n_tasks}): {tuple(z.shape)}.")
        return z if self.sources is None else self.sources(z)

    def forward(self, tokens: Tensor, z: Tensor) -> Tensor:
        """Logits (B, T, V) of the word after each of tokens (B, T)."""
        check_z(z, tokens, self.n_tasks)
        return self.read(tokens, self.place(z))[0]

    def read(self, tokens: Tensor, place: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Read tokens (B, T) on from ``state``; returns logits (B, T, V) and the state to go on from.

        ``place`` (B, d) or (B, T, d): see :meth:`place`. The state (two tensors (1, B, H)) is None at the start.
        """
        output, state = self._run(tokens, place, state)
        return functional.linear(output, self.embedding.weight, self.bias), state

    def units(self, tokens: Tensor, z: Tensor) -> Tensor:
        """Activity (B, T, H) of the units that predict, gate included: what the read-out sees."""
        return self._run(tokens, self.place(z), None)[0]

    def _run(self, tokens: Tensor, place: Tensor, state: State | None) -> tuple[Tensor, State]:
        words = self.embedding(tokens)
        place = place[:, None] if place.dim() == 2 else place
        if self.conditioning == "gatein":
            return self._gated_inside(words, place, state)
        if self.conditioning != "gate":
            words = torch.cat([words, place.expand(*tokens.shape, -1)], dim=-1)
        output, state = self.lstm(words, state)
        return output if self.gate is None else output * self.gate(place), state

    def _gated_inside(self, words: Tensor, place: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The recurrence written out: the gate acts on what the next word's cell receives, too."""
        assert self.gate is not None
        gates = self.gate(place).expand(*words.shape[:2], -1)
        h, c = (part[0] for part in state) if state else (words.new_zeros(len(words), self.hidden),) * 2
        outputs = []
        for t in range(words.shape[1]):
            h, c = self.cell(words[:, t], (h, c))
            h = h * gates[:, t]
            outputs.append(h)
        return torch.stack(outputs, dim=1), (h[None], c[None])
