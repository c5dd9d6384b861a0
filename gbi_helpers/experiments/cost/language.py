"""What Z costs in training: tokens a CPU second of each kind of word LSTM, over those of a plain ``nn.LSTM``.

Run ``python -m gbi_helpers.experiments.cost.language``. Whole training steps, one thread, all networks in turns in
the same run, so that a busy machine slows all; the median of the ratios of each round. Exit code 1 if the gate outside
the recurrence falls below its bound.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.experiments.language.recipes import ClippedAdamW
from gbi_helpers.models.language import CONDITIONINGS, WordLSTM, window_nll
from gbi_helpers.runtime import usual_defaults

KINDS = ("plain", *CONDITIONINGS)


class PlainLSTM(nn.Module):
    """The same language model without Z: embedding, ``nn.LSTM``, and the embedding again."""

    def __init__(self, vocabulary_size: int, hidden: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, hidden)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)

    def forward(self, tokens: Tensor, z: Tensor) -> Tensor:
        """Logits (B, T, V); z is not looked at."""
        return functional.linear(self.lstm(self.embedding(tokens))[0], self.embedding.weight, self.bias)


@usual_defaults()
def rates(
    rounds: int = 9, steps: int = 2, batch: int = 16, window: int = 64, n_tasks: int = 8
) -> list[dict[str, float]]:
    """Tokens a CPU second of each of :data:`KINDS`, for each round, in an order that turns from round to round."""
    torch.manual_seed(0)
    made = {kind: _model(kind, n_tasks) for kind in KINDS}
    descents = {kind: ClippedAdamW(model.parameters(), lr=1e-3) for kind, model in made.items()}
    words = torch.randint(0, 2000, (batch, window + 1))
    z = torch.eye(n_tasks)[torch.arange(batch) % n_tasks]
    found = []
    for turn in range(rounds + 1):
        order = [KINDS[(turn + at) % len(KINDS)] for at in range(len(KINDS))]
        seconds = {kind: _seconds(made[kind], descents[kind], words, z, steps) for kind in order}
        if turn:  # the first round warms up
            found.append({kind: steps * batch * window / taken for kind, taken in seconds.items()})
    return found


def _model(kind: str, n_tasks: int, size: int = 2000, hidden: int = 128) -> nn.Module:
    return PlainLSTM(size, hidden) if kind == "plain" else WordLSTM(size, n_tasks, hidden, kind)  # type: ignore[arg-type]


def _seconds(model: nn.Module, descent: torch.optim.Optimizer, words: Tensor, z: Tensor, steps: int) -> float:
    started = time.process_time()
    for _ in range(steps):
        loss = window_nll(model(words[:, :-1], z), words[:, 1:]).mean()
        descent.zero_grad()
        loss.backward()
        descent.step()
    return time.process_time() - started


def ratios(found: list[dict[str, float]]) -> dict[str, float]:
    """The median over rounds of each kind's rate over the plain one's."""
    return {kind: median(rate[kind] / rate["plain"] for rate in found) for kind in KINDS}


def main() -> int:
    """Print the rates and ratios; exit code 1 if the gate's ratio is below its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--at-least", type=float, default=0.9, help="bound on the ratio of the gate")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = rates(args.rounds)
    over = ratios(found)
    for kind in KINDS:
        rate = median(one[kind] for one in found)
        print(f"{kind:7} {rate:8.0f} tokens a CPU second, {over[kind]:.3f} of plain")
    return int(over["gate"] < args.at_least)


if __name__ == "__main__":
    raise SystemExit(main())
