"""The language study: sources as tasks, on the packages' text, and on BabyLM's where it is at hand.

Settings were chosen on validation text. Networks of one seed meet the same windows, so gaps are paired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from gbi_helpers.experiments.language import measures
from gbi_helpers.experiments.language.inference import LENGTHS
from gbi_helpers.experiments.language.recipes import HELD_OUT, NETWORKS, SMALL_NETWORKS
from gbi_helpers.experiments.language.ship import ship
from gbi_helpers.experiments.language.stream import LONG_PIECE, PIECE, Filter
from gbi_helpers.experiments.language.tables import VARIANTS
from gbi_helpers.experiments.language.world import Settings, World, files, opened, train
from gbi_helpers.experiments.study import SMALL, Row, Study

Measure = Callable[[World, int, Settings], measures.Scores]
Only = tuple[str, ...]
PACKAGES, PAIR = ("packages", SMALL), ("gbi", "lstm")
FILTER = Filter(chunk=1, hazard=0.02, step_size=1.2, reread=20)
FILTERS = {
    "filter": FILTER,
    "filter_exact": replace(FILTER, exact=True),
    "filter_forward": replace(FILTER, reread=0),
    "filter_five": Filter(chunk=5, hazard=0.02),
}
STREAMS: dict[str, Any] = {
    "streams": 24,
    "length": 600,
    "pieces": [PIECE, LONG_PIECE],
    "filters": {name: asdict(how) for name, how in FILTERS.items()},
}
COUNTED: dict[str, Any] = {
    "streams": 24,
    "length": 600,
    "piece": PIECE,
    "grid": {"hazard": [0.01, 0.02, 0.04, 0.08], "step_size": [0.4, 0.6, 0.8, 1.0, 1.2]},
    "reread": FILTER.reread,
}

TUNED: dict[str, Any] = {
    "per_source": 256,
    "sizes": [256],
    "rates": [3e-4, 1e-3, 3e-3, 1e-2, 3e-2],  # of all weights
    "looks": [0, 2, 5, 10, 20, 35, 50, 75, 100],  # steps at which validation text is read
    "bias": {"rates": [1e-2, 3e-2, 1e-1, 3e-1], "looks": [0, 5, 10, 20, 50, 100, 150, 200]},  # the output biases alone
}


def _row(measure: Measure, words: str, *needs: str, once: bool = False, only: Only = (), **settings: Any) -> Row:
    return Row(measure, words, {"networks": {name: NETWORKS[name] for name in needs}, **settings}, once, needs, only)


def _other(network: str, **more: Any) -> Row:
    """A network that differs from the chapter's in one thing; ``plain``: the same told nothing, to hold it against."""
    needs = (network, *more.values(), *PAIR)
    return _row(measures.other, VARIANTS[network], *needs, only=PACKAGES, network=network, per_source=128, **more)


def _held_out(source: str, text: str) -> Row:
    only = PACKAGES if source == "chat" else (text,)  # in little, one stands for all
    needs = (f"gbi_without_{source}", f"lstm_without_{source}")
    return _row(measures.held_out, f"never seen: {source}", *needs, only=only, source=source, per_source=256)


def _beyond(source: str) -> Row:
    needs = (f"namer_without_{source}", f"gbi_without_{source}")
    words = f"how sure of one never seen: {source}"
    return _row(measures.beyond, words, *needs, only=PACKAGES, source=source, per_source=64)


def _tuned(source: str) -> Row:
    needs = (f"gbi_without_{source}", f"lstm_without_{source}")
    return _row(measures.tuned, f"tuned from the Z found: {source}", *needs, only=PACKAGES, source=source, **TUNED)


ROWS = {
    "learning": _row(measures.learning, "told the source, or nothing", *PAIR, per_source=128),
    "naming": _row(measures.naming, "naming the source", "gbi", per_source=128, lengths=LENGTHS),
    "rest": _row(measures.rest, "reading on with an inferred z", *PAIR, per_source=128, lengths=(1, 5, 20, 50)),
    "stream": _row(measures.online, "streams that switch", *PAIR, **STREAMS),
    "structure": _row(measures.structure, "modules and confusions", *PAIR, per_source=24),
    "shuffled": _row(measures.beside, "told a random source", "shuffled", *PAIR, network="shuffled"),
    **{f"held_out/{source}": _held_out(source, "packages") for source in HELD_OUT["packages"]},
    **{f"held_out/{source}": _held_out(source, "babylm") for source in HELD_OUT["babylm"]},
    **{network: _other(network) for network in ("gate", "concat", "gatein", "udrop")},
    "transformer": _other("transformer", plain="transformer_lstm"),
    "bpe": _row(measures.pieces, "pieces of words", "gbi_pieces", "lstm_pieces", only=PACKAGES),
    "long": _row(measures.long, "four times as long", *PAIR, "gbi_long", "lstm_long", per_source=128),
    "rest_counted": _row(
        measures.rest_counted, "reading on with the belief of counts", "gbi", per_source=64, lengths=(1, 5, 20, 50)
    ),
    "stream_counted": _row(measures.online_counted, "streams filtered by counts", "gbi", **COUNTED),
    "amortised": _row(
        measures.amortised, "an LSTM that names the source", "namer", *PAIR, only=PACKAGES, per_source=128
    ),
    "beyond/speech": _beyond("speech"),
    **{f"tuned/{source}": _tuned(source) for source in ("speech", "recipe")},
    "map": _row(
        measures.plane, "a map of sources", "plane", *PAIR, once=True, only=PACKAGES, side=15, per_source=6
    ),
}  # fmt: skip
FEW = {  # what tests ask for
    "per_source": 8, "streams": 2, "length": 60, "side": 3, "sizes": [64], "rates": [1e-3],
    "looks": [0, 2], "bias": {"rates": [1e-2], "looks": [0, 2]}, "grid": {"hazard": [0.02], "step_size": [1.0]},
}  # fmt: skip
STUDY = Study(
    "language",
    __name__,
    "08",
    ROWS,
    opened,
    {
        "packages": {},
        "babylm": {},
        SMALL: {
            name: {"networks": {need: SMALL_NETWORKS[need] for need in row.needs}}
            | {key: few for key, few in FEW.items() if key in row.settings}
            for name, row in ROWS.items()
        },
    },
    train=train,
    files=files,
    ship=ship,
)
