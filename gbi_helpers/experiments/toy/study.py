"""Every number of notebooks 02 to 04, measured over many seeds and kept in one record.

``python -m gbi_helpers.experiments.toy.study`` measures again and writes the record, in about five minutes; the
notebooks compute smaller versions themselves.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gbi_helpers.checkpoints import run_facts
from gbi_helpers.data.toy import floors, switching_stream
from gbi_helpers.experiments.toy import inference, modules
from gbi_helpers.experiments.toy import theory as in_networks
from gbi_helpers.experiments.toy.recipes import NETWORKS, Run, train
from gbi_helpers.files import ASSETS, add_asset, load_asset, part_file
from gbi_helpers.metrics import Summary, blocks_to_criterion, summarise

NAME = "records/toy_measured.json"
INFERRING = ("GBI post", "GBI post, learned gates", "GBI recurrent", "GBI concat", "GBI add")
LONG, QUICK = {"blocks": 100, "block": 50}, {"blocks": 40, "block": 25}
FORGETTING = {"20 blocks of 50": {"blocks": 20, "block": 50}, "10 blocks of 200": {"blocks": 10, "block": 200}}
STEP_SIZES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0)
LINES = {"3 contexts": (0.2, 0.5, 0.8), "4 contexts": in_networks.FOUR}
Section = dict[str, dict[str, Any]]


def learning(seeds: int, blocks: int, block: int) -> Section:
    """Excess and absolute error of each network while it learns, at a constant rate, by seed."""
    stream = switching_stream(seeds, blocks=blocks, block=block)
    late, middle = slice(-blocks // 10, None), slice(blocks // 10, 3 * blocks // 10)
    found: Section = {"floors": vars(floors(stream))}
    for name in tqdm(NETWORKS, desc="learning", delay=2, leave=False):
        run = train(stream, **NETWORKS[name])
        excess, absolute = run.blocks(), run.blocks("absolute")
        found[name] = {
            "excess, late": excess[late].mean(0), "excess, early": excess[middle].mean(0),
            "excess, second half": excess[blocks // 2 :].mean(0),
            "absolute, late": absolute[late].mean(0), "absolute, first": absolute[: blocks // 20].mean(0),
            "blocks to .02": blocks_to_criterion(excess, 0.02), "blocks to .01": blocks_to_criterion(excess, 0.01),
        }  # fmt: skip
        found[name] |= modules.modules_of(run) | {"lesion": modules.lesion(run)}
    return found


def forgetting(seeds: int) -> Section:
    """Excess error right after a block on the one before, with Z given and inferred, by length of blocks."""
    found: Section = {}
    for length, sizes in FORGETTING.items():
        stream = switching_stream(seeds, **sizes)  # type: ignore[arg-type]
        for name in ("LSTM", "GBI post", "GBI post, learned gates", "GBI concat"):
            ways = modules.forgetting(train(stream, **NETWORKS[name]))
            found[f"{name}, {length}"] = {
                f"{way}, {on}": value for way, both in ways.items() for on, value in both.items()
            }
    return found


def frozen(seeds: int, blocks: int, block: int) -> dict[str, Section]:
    """One step, the live filter, and unseen means, on networks whose learning rate fell to zero."""
    stream = switching_stream(seeds, blocks=blocks, block=block)
    sections: dict[str, Section] = {"one step": {}, "filter": {}, "unseen": {}}
    for name in tqdm((*INFERRING, "LSTM", "LSTM, idle inputs"), desc="inference", delay=2, leave=False):
        run = train(stream, schedule="cosine", **NETWORKS[name])
        if name in INFERRING:
            sections["one step"][name] = _one_step(run)
            sections["filter"][name] = inference.filter_test(run).scores()
        spaces = (None,) if name == "LSTM" else (None, "logits", "free")
        tries = 16 if run.model.late else 4  # where Z enters the recurrence, each step costs much more
        unseen = {space or "not adapted": inference.unseen_means(run, space, tries=tries) for space in spaces}
        sections["unseen"][name] = unseen
    return sections


def _one_step(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for samples, ways in inference.over_windows(run).items():
        found |= {f"{way}, {samples} samples, {score}": v for way, s in ways.items() for score, v in s.items()}
    found |= {f"start {name}, kl": scores["kl"] for name, scores in inference.over_starts(run).items()}
    found["kl by step size"] = inference.over_step_sizes(run, STEP_SIZES)
    found["kl by iteration"] = inference.over_iterations(run)[1]
    return found


def theory(seeds: int, blocks: int, block: int) -> Section:
    """The gap against its bounds in networks with 2, 3 and 4 contexts, and contexts that lie between others."""
    found: Section = {"linear readout, 4 contexts": in_networks.linear_in_between(seeds=seeds)}
    for line, means in {"2 contexts": (0.2, 0.8), **LINES}.items():
        stream = switching_stream(seeds, means=means, blocks=blocks, block=block)
        for name in ("GBI post", "GBI recurrent", "GBI concat"):
            run = train(stream, schedule="cosine", **NETWORKS[name])
            gap = in_networks.gap_in_networks(run)
            scores: dict[str, Any] = {key: value.mean(1) for key, value in gap.items()}
            scores["bounds broken"] = _broken(gap)
            found[f"{name}, {line}"] = scores | (in_networks.in_between(run) if line in LINES else {})
    found["penalties"] = {f"scale {scale}": in_networks.penalties(scale) for scale in (0.3, 1.0, 3.0)}
    return found


def _broken(gap: dict[str, Tensor]) -> int:
    """How many windows break a bound (1e-9 nats are rounding)."""
    pairs = [("range", "bound"), ("kl", "kl bound"), ("reverse kl", "kl bound"), ("odds error", "third-order bound")]
    return sum(int((gap[a] > gap[b] + 1e-9).sum()) for a, b in pairs if a in gap)


# ---------------------------------------------------------------- the record


def measure(seeds: int = 20, blocks: int = 100, block: int = 50) -> dict[str, Section]:
    """All sections for seeds 0 .. ``seeds`` - 1: section -> row -> score -> values, by seed on the last axis."""
    sections: dict[str, Section] = {
        "learning": learning(seeds, blocks, block),
        "learning, quick": learning(seeds, **QUICK),
        "forgetting": forgetting(seeds),
    }
    return sections | frozen(seeds, blocks, block) | {"theory": theory(seeds, blocks, block)}


def reproduce(seeds: int = 20, path: Path | None = None, **sizes: int) -> Path:
    """Measure everything and write it to ``path``, or to the shipped record, which then enters the manifest."""
    started = time.perf_counter()
    sections = measure(seeds, **(LONG | sizes))
    command = f"python -m gbi_helpers.experiments.toy.study --seeds {seeds}"
    facts = run_facts(command=command, seed=list(range(seeds)), data="toy (generated)", threads=torch.get_num_threads())
    facts["minutes"] = round((time.perf_counter() - started) / 60, 1)
    target = path or ASSETS / NAME
    content = {"facts": facts, "settings": LONG | sizes, "sections": _plain(sections)}
    with part_file(target) as part:
        part.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
    if path is None:
        add_asset(target, **facts, metrics=headline(content["sections"]))
    return target


def load_measured(path: Path | None = None) -> dict[str, Section]:
    """The sections of the shipped record (or of one at ``path``): section -> row -> score -> plain lists.

    Infinity (a criterion never reached) is stored as None.
    """
    sections: dict[str, Section] = json.loads((path or load_asset(NAME)).read_text(encoding="utf-8"))["sections"]
    return sections


def summary(sections: dict[str, Section], section: str, row: str, score: str) -> Summary:
    """Mean, sd and interval over seeds of one score. Raises ``ValueError`` naming what there is for an unknown one."""
    place: Any = sections
    for key in (section, row, score):
        if key not in place:
            raise ValueError(f"There is no '{key}' here: choose one of {', '.join(map(repr, place))}.")
        place = place[key]
    return summarise(place)


def headline(sections: dict[str, Section]) -> dict[str, float]:
    """The few numbers that stand in the manifest."""
    wanted: dict[str, Callable[[], float]] = {
        "filter KL": lambda: summary(sections, "filter", "GBI post", "kl").mean,
        "filter r": lambda: summary(sections, "filter", "GBI post", "r").mean,
        "late excess, LSTM": lambda: summary(sections, "learning", "LSTM", "excess, late").mean,
        "late excess, GBI post": lambda: summary(sections, "learning", "GBI post", "excess, late").mean,
    }
    return {name: round(value(), 5) for name, value in wanted.items()}


def _plain(value: Any) -> Any:
    """Tensors as lists of numbers with five significant digits, infinity as None."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if abs(value) < float("inf") else None
    return value


def main() -> None:
    """Measure, write the record, and say where it lies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    torch.set_num_threads(1)
    print(f"Wrote {reproduce(parser.parse_args().seeds)}.", file=sys.stderr)


if __name__ == "__main__":
    main()
