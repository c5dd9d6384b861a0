"""What moved: a record beside one measured anew, value by value, paired by seed; times apart, as ratios."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gbi_helpers.experiments.results import Results
from gbi_helpers.metrics import Summary, summarise

EQUAL, ROUNDED, INSIDE, OUTSIDE = "equal", "within rounding", "moved within", "moved outside"
ALONE, WORDS, UNPAIRED = "moved, no interval", "other words", "in one record only"
VERDICTS = {  # from what is least to what is most worth a look: a list is told by its last
    EQUAL: "the same in every seed",
    ROUNDED: "half of the fifth digit, or less than 0.0000001",
    WORDS: "not a number: a name, or where data came from",
    UNPAIRED: "measured in one of the two records only",
    INSIDE: "the 95 % interval of the paired difference holds 0",
    ALONE: "a single seed, or a goal that was reached in one of the two alone",
    OUTSIDE: "the 95 % interval of the paired difference does not hold 0",
}
FIFTH_DIGIT, SINGLE = 5e-5, 1e-7  # half of what the oldest records keep; what single precision leaves of 1
# What a clock said, by the names that all records have for it, and rows of nothing else.
CLOCK = re.compile(r"(^|_)(seconds|minutes|ms|times?|clock)(_|$)|_cpu_second$|^(step_over_forward|all_over_step|cost)$")
CLOCKED_ROWS = re.compile(r"wall/.*|compile|half|gpu")

Path = tuple[Any, ...]  # keys of tables and places in lists, from a row's seed down to one value
Leaves = dict[Path, Any]


@dataclass(frozen=True)
class Moved:
    """Some values of a row that are told together: a number, or a list of ``n`` of which ``at`` moved most.

    ``difference``: measured less shipped, paired by seed; None where there is no number. ``shipped``, ``measured``:
    means over the seeds of both.
    """

    row: str
    metric: str
    verdict: str
    n: int = 1
    at: str = ""
    shipped: float | str = ""
    measured: float | str = ""
    difference: Summary | None = None


@dataclass(frozen=True)
class Ratio:
    """A time: ``ratio`` of what was measured to what was shipped, geometric mean over values and seeds."""

    row: str
    metric: str
    shipped: float
    measured: float
    ratio: float


@dataclass(frozen=True)
class Comparison:
    """All of a record: ``counts`` of single values by verdict, all ``values``, each with its verdict, ``times``."""

    record: str
    rows: int
    counts: Counter[str]
    values: list[Moved]
    times: list[Ratio]

    @property
    def ratio(self) -> float:
        """Geometric mean of all ratios of times; NaN without any."""
        return _geometric([one.ratio for one in self.times])


def compare(shipped: Results, measured: Results) -> Comparison:
    """Hold what was measured against what was shipped: only rows that were measured, and seeds that both have."""
    counts: Counter[str] = Counter()
    values: list[Moved] = []
    times: list[Ratio] = []
    for row, by_seed in measured.rows.items():
        old = shipped.rows.get(row, {})
        seeds = [seed for seed in by_seed if seed in old]
        if not seeds:
            counts[UNPAIRED] += 1
            values.append(Moved(row, "all of it", UNPAIRED))
            continue
        pairs = _paired([dict(_leaves(old[s])) for s in seeds], [dict(_leaves(by_seed[s])) for s in seeds])
        for metric, found in _grouped(pairs).items():
            if is_time(row, metric):
                times += _ratio(row, metric, found)
            else:
                values.append(_told(row, metric, found, counts))
    return Comparison(measured.name, len(measured.rows), counts, values, times)


def is_time(row: str, metric: str) -> bool:
    """Whether a clock gave that number, so that it is another on any machine and on any day."""
    return bool(CLOCKED_ROWS.fullmatch(row)) or any(CLOCK.search(name) for name in metric.split("/"))


def _leaves(found: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(found, Mapping | list):
        for key, inner in found.items() if isinstance(found, Mapping) else enumerate(found):
            yield from _leaves(inner, (*path, key))
    else:
        yield path, math.inf if found is None else found


def _paired(old: list[Leaves], new: list[Leaves]) -> dict[Path, list[tuple[Any, Any]]]:
    """By path, (shipped, measured) of each seed that has both; none where one record alone has the path."""
    paths = dict.fromkeys(path for leaves in (*new, *old) for path in leaves)
    return {p: [(a[p], b[p]) for a, b in zip(old, new, strict=True) if p in a and p in b] for p in paths}


def _grouped(pairs: dict[Path, list[tuple[Any, Any]]]) -> dict[str, dict[str, list[tuple[Any, Any]]]]:
    """The same by metric, the keys of tables, and inside by place in its lists."""
    found: dict[str, dict[str, list[tuple[Any, Any]]]] = {}
    for path, both in pairs.items():
        metric = "/".join(key for key in path if isinstance(key, str))
        place = ", ".join(str(key) for key in path if not isinstance(key, str))
        found.setdefault(metric, {})[place] = both
    return found


def _told(row: str, metric: str, found: dict[str, list[tuple[Any, Any]]], counts: Counter[str]) -> Moved:
    """The line of some values, which is that of the one that moved most; each is counted."""
    verdicts = {place: verdict(pairs) for place, pairs in found.items()}
    counts.update(verdicts.values())
    order = list(VERDICTS)
    worst = max(order.index(each) for each in verdicts.values())
    at = max((place for place in found if order.index(verdicts[place]) == worst), key=lambda p: _size(found[p]))
    old, new, difference = _means(found[at])
    return Moved(row, metric, order[worst], len(found), at, old, new, difference)


def verdict(pairs: list[tuple[Any, Any]]) -> str:
    """How far a value moved, from (shipped, measured) of each seed; infinite where a goal was never reached."""
    if not pairs:
        return UNPAIRED
    if all(a == b for a, b in pairs):
        return EQUAL
    if any(isinstance(value, str) for pair in pairs for value in pair):
        return WORDS
    if all(math.isclose(a, b, rel_tol=FIFTH_DIGIT, abs_tol=SINGLE) for a, b in pairs):
        return ROUNDED
    difference = _difference(pairs)
    if not math.isfinite(difference.half_width):
        return ALONE
    return INSIDE if abs(difference.mean) <= difference.half_width else OUTSIDE


def _difference(pairs: list[tuple[float, float]]) -> Summary:
    return summarise([0.0 if a == b else float(b) - float(a) for a, b in pairs])  # both infinite: no difference


def _size(pairs: list[tuple[Any, Any]]) -> float:
    """How far the mean moved: to choose which of a list to tell."""
    if not pairs or any(isinstance(value, str) for pair in pairs for value in pair):
        return 0.0
    return abs(_difference(pairs).mean)


def _means(pairs: list[tuple[Any, Any]]) -> tuple[float | str, float | str, Summary | None]:
    if not pairs:
        return "", "", None
    if any(isinstance(value, str) for pair in pairs for value in pair):
        old_words, new_words = next((pair for pair in pairs if pair[0] != pair[1]), pairs[0])  # a seed that moved
        return str(old_words), str(new_words), None
    old, new = ([float(value) for value in side] for side in zip(*pairs, strict=True))
    return sum(old) / len(old), sum(new) / len(new), _difference(pairs)


def _ratio(row: str, metric: str, found: dict[str, list[tuple[Any, Any]]]) -> list[Ratio]:
    """None where a clock gave no number: zero, or never."""
    numbers = [(float(a), float(b)) for both in found.values() for a, b in both if not {str} & {type(a), type(b)}]
    both = [(a, b) for a, b in numbers if a > 0 and b > 0 and math.isfinite(a * b)]
    if not both:
        return []
    old, new = (sum(side) / len(both) for side in zip(*both, strict=True))
    return [Ratio(row, metric, old, new, _geometric([b / a for a, b in both]))]


def _geometric(ratios: list[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan
