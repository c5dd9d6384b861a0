"""Every number of the toy chapters, measured over many seeds; their notebooks compute smaller versions themselves."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from gbi_helpers.experiments.study import SMALL, Row, Study
from gbi_helpers.experiments.toy import against_bayes, modules, networks, theory
from gbi_helpers.experiments.toy.measures import (
    Measure,
    Settings,
    exact_filter,
    forgetting,
    gap,
    learned,
    lengths,
    linear,
    of_run,
    opened,
    orders,
    penalties,
    raced,
    rates,
    shares,
    watched,
)
from gbi_helpers.experiments.toy.recipes import NETWORKS

# ---------------------------------------------------------------- the study

LONG, QUICK, SHORT = ({"blocks": blocks, "block": block} for blocks, block in ((100, 50), (40, 25), (8, 10)))
WIDE = {"LSTM, 128 units": {"variant": "lstm", "hidden": 128}}
TOLD = {
    "renamed Z": {"variant": "post", "told": "renamed"},
    "Z one late": {"variant": "post", "told": "one late"},
    "Z says when, not what": {"variant": "post", "told": "switches"},
}
COMPARED = ("LSTM", "GBI post", "GBI concat")
STACK = 20  # seeds that are shipped
LATE = 50  # blocks at the end of the long stream over which the place in the block is averaged
LENGTHS: dict[str, Any] = {"lengths": (10, 25, 50, 100, 200), "stream_length": 5000, "stack": STACK}
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
ORDERS = {"40 blocks of 25": QUICK, "100 blocks of 50": LONG, "25 blocks of 200": {"blocks": 25, "block": 200}}
FORGETTING = {"20 blocks of 50": {"blocks": 20, "block": 50}, "10 blocks of 200": {"blocks": 10, "block": 200}}
KNOB = {"200 blocks of 10": {"blocks": 200, "block": 10}, "40 blocks of 50": {"blocks": 40, "block": 50}}
ZEROS = {"": (0.2, 0.8), ", zero half-way": (-0.3, 0.3)}
LINES = {"2 contexts": (0.2, 0.8), "3 contexts": (0.2, 0.5, 0.8), "4 contexts": theory.FOUR}
LINEAR = {"means": theory.FOUR, "sd": 0.3, "samples": 5, "rows": 1000, "stack": STACK}
LITTLE: dict[str, Any] = {
    "stream": SHORT, "quick": SHORT, "stack": 2, "late": 4, "lengths": (25,), "stream_length": 200, "rates": (3e-3,),
    "shares": (0.8,), "tries": 1, "rows": 50, "steps": 20, "windows": (1, 5), "after": (2,), "looks": (2,), "trial": 1,
}  # fmt: skip


def _row(
    measure: Measure, network: str, words: str, stream: Settings = LONG, schedule: str = "constant", **more: Any
) -> Row:
    how = {**(NETWORKS | WIDE | TOLD | against_bayes.HASTY)[network], "schedule": schedule}
    return Row(
        measure, f"{network}: {words}", {"stream": stream, "network": how, "stack": STACK, **more}, together=True
    )


ROWS = {
    **{f"learning/{name}": _row(learned, name, "learning", late=LATE) for name in NETWORKS | WIDE},
    **{f"quick/{name}": _row(learned, name, "learning, quick", QUICK) for name in NETWORKS},
    **{f"quick/{name}": _row(learned, name, "learning, quick", QUICK, late=20) for name in TOLD},
    **{f"race/{name}": _row(raced, name, "the race of chapter 02", QUICK, late=20) for name in ("LSTM", "GBI post")},
    **{
        f"order/{name}, {length}": _row(orders, name, f"in shuffled order, {length}", stream)
        for length, stream in ORDERS.items()
        for name in ("LSTM", "GBI post")
    },
    **{f"rates/{name}": _row(rates, name, "by learning rate", rates=RATES) for name in COMPARED},
    **{
        f"lengths/{name}": Row(
            lengths, f"{name}: by length", {"network": NETWORKS[name], "stack": STACK, **LENGTHS}, together=True
        )
        for name in COMPARED
    },
    "shares/GBI post": _row(shares, "GBI post", "by share of right labels", shares=SHARES),
    **{
        f"forgetting/{name}, {length}": _row(forgetting, name, f"forgetting, {length}", stream)
        for length, stream in FORGETTING.items()
        for name in ("LSTM", "GBI post", "GBI post, learned gates", "GBI concat")
    },
    **{
        f"forgetting/{name}, {length}": _row(forgetting, name, f"forgetting, {length}", stream, gain=True)
        for length, stream in KNOB.items()
        for name in ("LSTM", "GBI post", "GBI post, learned gates", "GBI concat")
    },
    **{
        f"modules/{name}{zero}": Row(
            watched,
            f"{name}: modules{zero}",
            {"stream": {"means": means, **KNOB["40 blocks of 50"]}, "network": how, "every": 5, "stack": STACK},
            together=True,
        )
        for zero, means in ZEROS.items()
        for name, how in modules.GATED.items()
    },
    **{
        f"theory/{name}, {line}": _row(gap, name, f"gap, {line}", {**LONG, "means": means}, "cosine")
        for line, means in LINES.items()
        for name in ("GBI post", "GBI recurrent", "GBI concat")
    },
    **{name: _row(functools.partial(of_run, what), **how) for name, (what, how) in against_bayes.ROWS.items()},
    "linear readout": Row(linear, "linear readout, 4 contexts", LINEAR, together=True),
    "penalties": Row(penalties, "penalties on iterating", {"scales": (0.3, 1.0, 3.0), "steps": 400}, once=True),
    "exact filter": Row(
        exact_filter,
        "exact filter",
        {"seeds": STACK, "stream": LONG, "quick": QUICK, "late": LATE, **LENGTHS},
        once=True,
    ),
}


def _little(settings: Settings) -> Settings:
    """What differs in the small variant, where a row has it."""
    there = {name: value for name, value in LITTLE.items() if name in settings}
    return {name: {**settings[name], **v} if isinstance(v, Mapping) else v for name, v in there.items()}


SMALLER = {name: _little(row.settings) for name, row in ROWS.items()}
STUDY = Study(
    "toy", __name__, "02 to 04", ROWS, opened, {"": {}, SMALL: SMALLER}, seeds={"": STACK}, ship=networks.ship
)
