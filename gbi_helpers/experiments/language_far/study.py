"""A language model of five million weights on BabyLM's text: what is left of chapter 08's findings there.

Settings were chosen on validation text. Networks of one seed meet the same windows, so gaps are paired. One source is
kept from training for all rows, since each network takes hours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gbi_helpers.experiments.language_far import measures
from gbi_helpers.experiments.language_far.recipes import NETWORKS, SMALL_NETWORKS
from gbi_helpers.experiments.language_far.world import Settings, World, files, opened, stretches, train
from gbi_helpers.experiments.study import SMALL, Row, Study


def _row(measure: Callable[[World, int, Settings], Any], words: str, *networks: str, **settings: Any) -> Row:
    needs = tuple(need for network in networks for need in stretches(NETWORKS, network))
    return Row(measure, words, {"networks": {name: NETWORKS[name] for name in needs}, **settings}, needs=needs)


LSTM = ("lstm_gbi", "lstm_none")
NEW: dict[str, Any] = {"per_source": 96, "learn_from": 2048}  # of the source that was kept from training
ROWS = {
    "learning": _row(measures.learning, "told the source, or nothing", "gbi", "none", *LSTM, per_source=96),
    "naming": _row(measures.naming, "naming the source", "gbi", "lstm_gbi", per_source=64, lengths=(5, 20, 50)),
    "reading_on": _row(measures.reading_on, "with an inferred z", "gbi", "none", per_source=48, lengths=(20,)),
    "mixed": _row(measures.mixed, "never seen: a mixture of known ones", "gbi", "none", **NEW),
    "column": _row(measures.new_column, "never seen: a column of its own", "gbi", **NEW, rates=(1e-3, 3e-3, 1e-2)),
    "tuned": _row(measures.tuned, "never seen: all weights", "gbi", "none", **NEW, rates=(1e-4, 3e-4, 1e-3)),
}
FEW = {"per_source": 8, "rates": (1e-3,), "lengths": (5, 20), "learn_from": 256}  # what tests ask for
STUDY = Study(
    "language_far",
    __name__,
    "12",
    ROWS,
    opened,
    {
        "": {},
        SMALL: {
            name: {"networks": {need: SMALL_NETWORKS[need] for need in row.needs}}
            | {key: few for key, few in FEW.items() if key in row.settings}
            for name, row in ROWS.items()
        },
    },
    seeds={"": 1},
    train=train,
    files=files,
)
