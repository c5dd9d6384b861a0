"""What notebook 02 shows beyond the runs it makes itself: the same networks on a long stream, other settings.

``python -m gbi_helpers.experiments.toy.learning`` measures the shipped record again, in about ten minutes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gbi_helpers.bayes import bayes_filter as exact_filter
from gbi_helpers.bayes import log_likelihood, predict_next
from gbi_helpers.checkpoints import run_facts
from gbi_helpers.data.toy import Stream, floors, switching_stream
from gbi_helpers.experiments.toy.recipes import NETWORKS, WINDOW, Run, train
from gbi_helpers.files import ASSETS, add_asset, load_asset
from gbi_helpers.records import Record

NAME = "records/toy_learning.npz"
COMPARED = ("LSTM", "GBI post", "GBI concat")
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
LENGTHS = (10, 25, 50, 100, 200)
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
WIDE = {"LSTM, 128 units": {"variant": "lstm", "hidden": 128}}
LATE = 50  # blocks at the end of the long stream over which the place in the block is averaged


@dataclass(frozen=True, eq=False)
class LearningRecord(Record):
    """Errors of S seeds on streams of 5,000 samples.

    ``excess``, ``absolute`` (network, block, S): 100 blocks of 50. ``place`` (network, 50, S): excess by place in the
    block, late; ``filter_place`` (50,): the exact filter's. ``rate`` (rate, compared, S), ``length`` (length, compared,
    S), ``share`` (share, S): mean excess over the last fifth of the stream, by learning rate, block length, and share
    of blocks whose label was right ("GBI post"). ``length_floor`` (length,): the exact filter's.
    ``facts["networks"]`` names the first axis.
    """

    AXES: ClassVar[dict[str, tuple[str, ...]]] = {
        "excess": ("network", "block", "seed"),
        "absolute": ("network", "block", "seed"),
        "place": ("network", "place", "seed"),
        "filter_place": ("place",),
        "rate": ("rate", "compared", "seed"),
        "length": ("length", "compared", "seed"),
        "length_floor": ("length",),
        "share": ("share", "seed"),
    }
    excess: Tensor
    absolute: Tensor
    place: Tensor
    filter_place: Tensor
    rate: Tensor
    length: Tensor
    length_floor: Tensor
    share: Tensor
    facts: dict[str, Any] = field(default_factory=dict)

    def of(self, network: str, curve: str = "excess") -> Tensor:
        """One network's curve: "excess" or "absolute" (blocks, S), or "place" (places, S)."""
        found: Tensor = getattr(self, curve)
        return found[self.facts["networks"].index(network)]


def by_place(values: Tensor, block: int, blocks: int) -> Tensor:
    """Means (block, ...) of values (samples, ...) at each place in a block, over the last ``blocks`` blocks."""
    return values[-blocks * block :].unflatten(0, (blocks, block)).mean(0)


def filter_excess(stream: Stream) -> Tensor:
    """Excess error (samples, S) of the exact filter, from sample number WINDOW on, like the networks' curves."""
    belief = exact_filter(log_likelihood(stream.x, stream.means, stream.sd), stream.hazard)[:, WINDOW - 1 : -1]
    predicted = predict_next(belief, stream.hazard, stream.means)
    return (predicted - stream.true_mean[:, WINDOW:]).square().mean(-1).T


def unreliable_z(stream: Stream, share: float) -> Tensor:
    """The true Z (S, N, 2), with each block's label right with probability ``share`` and swapped otherwise."""
    kept = []
    for seed in stream.seeds:
        draw = torch.Generator().manual_seed(40_000 + seed)
        right = torch.rand(-(-stream.x.shape[1] // stream.block), generator=draw) < share
        kept.append(right.repeat_interleave(stream.block))
    return torch.where(torch.stack(kept)[..., None], stream.z, stream.z.flip(-1))


def _late(run: Run) -> Tensor:
    """Mean excess (S,) over the last fifth of the stream."""
    curve = run.online.curves["excess"]
    return curve[-run.stream.x.shape[1] // 5 :].mean(0)


def _table(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row) for row in rows])


def learn(seeds: int = 20) -> LearningRecord:
    """Run everything the record holds: eleven networks on the long stream, and the three sweeps."""
    started = time.process_time()
    stream = switching_stream(seeds, blocks=100, block=50)
    networks = NETWORKS | WIDE
    runs = {name: train(stream, **how) for name, how in tqdm(networks.items(), desc="networks", delay=2)}
    chosen = [NETWORKS[name] for name in COMPARED]
    streams = [switching_stream(seeds, blocks=5000 // length, block=length) for length in LENGTHS]
    rate = [[_late(train(stream, lr=lr, **how)) for how in chosen] for lr in tqdm(RATES, desc="rates", delay=2)]
    length = [[_late(train(one, **how)) for how in chosen] for one in tqdm(streams, desc="lengths", delay=2)]
    told = (unreliable_z(stream, share) for share in tqdm(SHARES, desc="labels", delay=2))
    bound = floors(stream)
    return LearningRecord(
        excess=torch.stack([run.blocks() for run in runs.values()]),
        absolute=torch.stack([run.blocks("absolute") for run in runs.values()]),
        place=torch.stack([by_place(run.online.curves["excess"], 50, LATE) for run in runs.values()]),
        filter_place=by_place(filter_excess(stream), 50, LATE).mean(1),
        rate=_table(rate),
        length=_table(length),
        length_floor=torch.stack([filter_excess(one).mean() for one in streams]),
        share=torch.stack([_late(train(stream, "post", told=z)) for z in told]),
        facts=run_facts(
            command="python -m gbi_helpers.experiments.toy.learning",
            networks=list(networks), seeds=seeds, blocks=100, block=50, lr=3e-3,
            filter_excess=bound.filter_excess, cpu_minutes=round((time.process_time() - started) / 60, 1),
        ),
    )  # fmt: skip


def load() -> LearningRecord:
    """The shipped record, checked."""
    return LearningRecord.load(load_asset(NAME))


def main() -> None:
    """Measure the shipped record again and enter it in the list of assets."""
    record = learn()
    facts = record.facts
    add_asset(
        record.save(ASSETS / NAME),
        command=facts["command"], commit=facts["commit"], seed=f"0-{facts['seeds'] - 1}", device=facts["device"],
        versions=facts["versions"], minutes=facts["cpu_minutes"], data="generated",
        metrics={name: round(float(record.of(name)[-20:].mean()), 4) for name in facts["networks"]},
    )  # fmt: skip


if __name__ == "__main__":
    main()
