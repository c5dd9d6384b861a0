"""How fast training over stacked seeds is, beside a plain loop over nn.LSTM.

Run ``python -m gbi_helpers.experiments.cost.toy``. CPU seconds of this process, one thread, the two timed in turns
in the same run, the best of several rounds each.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gbi_helpers.data.toy import switching_stream
from gbi_helpers.experiments.toy.recipes import WINDOW, train
from gbi_helpers.runtime import usual_defaults


@usual_defaults()
def plain_loop(updates: int) -> None:
    """One seed, as one would write it: nn.LSTM, nn.Linear, Adam, an update for every sample."""
    stream = switching_stream(1, blocks=1, block=updates + WINDOW)
    x = stream.x
    lstm, out = nn.LSTM(1, 32, batch_first=True), nn.Linear(32, 1)
    adam = torch.optim.Adam([*lstm.parameters(), *out.parameters()], lr=3e-3)
    for step in range(updates):
        predicted = out(lstm(x[:, step : step + WINDOW])[0])
        loss = (predicted - x[:, step + 1 : step + WINDOW + 1]).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()


def stacked(variant: str, seeds: int, updates: int) -> None:
    """The course's training, all seeds in one pass, data included."""
    stream = switching_stream(seeds, blocks=1, block=updates + WINDOW, hazard=0.02)
    train(stream, variant)  # type: ignore[arg-type]


def cpu_seconds(call: Callable[..., None], *args: Any) -> float:
    """CPU seconds of one call."""
    started = time.process_time()
    call(*args)
    return time.process_time() - started


def main() -> None:
    """Print seed-updates per CPU second of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[20, 40, 80])
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("variant  seeds  CPU s  seed-updates/s  plain/s  ratio")
    for variant, seeds in itertools.product(("lstm", "post", "rec", "concat"), asked.seeds):
        rounds = [
            (cpu_seconds(stacked, variant, seeds, asked.updates), cpu_seconds(plain_loop, asked.updates))
            for _ in range(asked.rounds)
        ]
        ours, plain = (min(times) for times in zip(*rounds, strict=True))
        rates = seeds * asked.updates / ours, asked.updates / plain
        print(f"{variant:8} {seeds:5}  {ours:5.2f}  {rates[0]:14.0f}  {rates[1]:7.0f}  {rates[0] / rates[1]:5.1f}")


if __name__ == "__main__":
    main()
