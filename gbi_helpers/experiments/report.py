"""What ``gbi reproduce`` says at its end: what moved against the shipped records, in the terminal and as a page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from gbi_helpers.experiments.moved import (
    ALONE,
    EQUAL,
    INSIDE,
    OUTSIDE,
    ROUNDED,
    UNPAIRED,
    VERDICTS,
    WORDS,
    Comparison,
    Moved,
    Ratio,
)
from gbi_helpers.files import part_file

STYLE = Path(__file__).with_suffix(".css")
TOLD = 8  # values that moved most are told in the terminal
NOTHING_SHIPPED = "nothing of this size is shipped: not compared"
NOTHING_MEASURED = "no row was measured: nothing is compared"
CHANCE = "Of values that moved by chance alone, five in a hundred lie outside their 95 % interval."
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Outcome:
    """What was left of one record: how many ``rows``, at ``path``; None as the comparison where none is shipped.

    ``left_out``: rows that failed, or whose data are not at hand, and why; ``path`` is None where no row is left.
    """

    record: str
    rows: int = 0
    path: Path | None = None
    comparison: Comparison | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Lines of words as a table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (zip(line, widths, strict=True) for line in lines)
    return "\n".join("  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in padded)


def summary(outcomes: Sequence[Outcome]) -> str:
    """A line for each record, and the values that moved most, for a terminal."""
    told = [columns(overview(outcomes))]
    if not any(one.comparison for one in outcomes):
        told = [columns([line[:2] for line in overview(outcomes)]), _not_compared(outcomes)]
    counts = sum((one.comparison.counts for one in outcomes if one.comparison), Counter[str]())
    if counts[OUTSIDE]:
        found = [(one.record, value) for one in outcomes if one.comparison for value in one.comparison.values]
        worst = sorted((one for one in found if one[1].verdict == OUTSIDE), key=lambda one: -_distance(one[1]))
        lines = [[record, v.row, _metric(v), _number(v.shipped), _number(v.measured), _by(v)] for record, v in worst]
        head = ["furthest outside", "row", "value", "shipped", "measured", "difference"]
        told += [CHANCE, "", columns([head, *lines[:TOLD]])]
    return "\n".join(told)


def _not_compared(outcomes: Sequence[Outcome]) -> str:
    return f"{(NOTHING_SHIPPED if any(one.path for one in outcomes) else NOTHING_MEASURED).capitalize()}."


def overview(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Of each record its rows, single values by verdict (a list of ten numbers is ten), and the ratio of its times."""
    return [["record", "rows", *_COLUMNS, "times"], *(_line(one) for one in outcomes)]


_COLUMNS = {
    "equal": [EQUAL],
    "rounding": [ROUNDED],
    "moved within": [INSIDE],
    "outside": [OUTSIDE],
    "no interval": [ALONE],
    "other": [WORDS, UNPAIRED],
}


def _line(one: Outcome) -> list[str]:
    rows = f"{one.rows} of {one.rows + len(one.left_out)}" if one.left_out else str(one.rows)
    if one.comparison is None:
        return [one.record, rows, *("-" for _ in _COLUMNS), "-"]
    counts = (f"{sum(one.comparison.counts[name] for name in names):,}" for names in _COLUMNS.values())
    return [one.record, rows, *counts, _ratio(one.comparison.ratio)]


def _distance(value: Moved) -> float:
    """How many half-widths of its interval a difference is from 0."""
    by = value.difference
    return 0.0 if by is None else abs(by.mean) / by.half_width if by.half_width else math.inf


def _metric(value: Moved) -> str:
    return value.metric + (f" [{value.at}]" if value.at else "")


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _by(value: Moved) -> str:
    if value.difference is None:
        return ""
    interval = f" ± {value.difference.half_width:.2g}" if math.isfinite(value.difference.half_width) else ""
    return f"{value.difference.mean:+.3g}{interval}"


def _ratio(ratio: float) -> str:
    return f"x {ratio:.2f}" if math.isfinite(ratio) else "-"


# ---------------------------------------------------------------- the page


def write_page(path: Path, title: str, outcomes: Sequence[Outcome]) -> Path:
    """One page that needs nothing else, whole or not at all; its path. Raises ``OSError`` with one clear sentence."""
    with part_file(path) as part:
        part.write_text(page(title, outcomes), encoding="utf-8")
    return path


def page(title: str, outcomes: Sequence[Outcome]) -> str:
    """The page as text: an overview, all values that moved with a choice among verdicts, and times as ratios."""
    moved = [(one.record, value) for one in outcomes if one.comparison for value in _lines(one.comparison)]
    times = [(one.record, each) for one in outcomes if one.comparison for each in one.comparison.times]
    left_out = [[one.record, row, why] for one in outcomes for row, why in one.left_out.items()]
    parts = [
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>",
        "<p>Each value is held against the shipped record's, paired by seed. A value is one number over all seeds; ± "
        f"is half of the 95 % interval of the paired difference. {CHANCE}</p>",
        _table("Records", overview(outcomes)),
        _table("Left out", [["record", "row", "why"], *left_out]) if left_out else "",
        "<h2>Values</h2>" + _chosen(moved) if moved else f"<p>{_not_compared(outcomes)}</p>",
        _table("Times, as ratios", [_TIMES, *(_time(*one) for one in times)]) if times else "",
        "</main>\n</body>\n</html>\n",
    ]
    return "\n".join(filter(None, parts))


_VALUES = ["record", "row", "value", "verdict", "shipped", "measured", "difference", "seeds"]
_TIMES = ["record", "row", "value", "shipped", "measured", "ratio"]


def _lines(found: Comparison) -> Iterator[Moved]:
    """Every value that is not equal, and before those of a row one line for all that are."""
    for row in dict.fromkeys(value.row for value in found.values):
        mine = [value for value in found.values if value.row == row]
        n = sum(value.n for value in mine if value.verdict == EQUAL)
        if n:
            yield Moved(row, f"{n:,} values" if n > 1 else "1 value", EQUAL, n)
        yield from (value for value in mine if value.verdict != EQUAL)


def _chosen(moved: Sequence[tuple[str, Moved]]) -> str:
    """The table of values below a choice of verdicts, which is made by style alone: without it, all are shown."""
    order = list(VERDICTS)
    counts = Counter(value.verdict for _, value in moved)
    choices = ['<label><input type="radio" name="verdict" id="all" checked> all</label>']
    choices += [
        f'<label><input type="radio" name="verdict" id="v{order.index(name)}"> {name} '
        f"<small>({counts[name]:,}: {escape(VERDICTS[name])})</small></label>"
        for name in order
        if counts[name]
    ]
    head, *lines = [_VALUES, *(_value(*one) for one in moved)]
    kinds = [f"v{order.index(value.verdict)}" for _, value in moved]
    fields = f"<fieldset>\n<legend>Lines to show, by verdict</legend>\n{''.join(choices)}\n</fieldset>"
    return f"{fields}\n{_table('Values, by row', [head, *lines], kinds)}"


def _value(record: str, value: Moved) -> list[str]:
    seeds = str(value.difference.n) if value.difference else ""
    of = f" ({value.n} in the list)" if value.n > 1 and value.verdict != EQUAL else ""
    shown = [_number(value.shipped), _number(value.measured), _by(value), seeds]
    return [record, value.row, _metric(value) + of, value.verdict, *shown]


def _time(record: str, one: Ratio) -> list[str]:
    return [record, one.row, one.metric, _number(one.shipped), _number(one.measured), _ratio(one.ratio)]


def _table(caption: str, lines: Sequence[Sequence[str]], kinds: Sequence[str] = ()) -> str:
    """Lines of words as a table, the first one its head; ``kinds``: a class for each of the others."""
    head, *body = ([escape(cell) for cell in line] for line in lines)
    marks = [f' class="{kind}"' for kind in kinds] or [""] * len(body)
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    rows = "\n".join(
        f'<tr{mark}><th scope="row">{cells[0]}</th>{"".join(f"<td>{cell}</td>" for cell in cells[1:])}</tr>'
        for mark, cells in zip(marks, body, strict=True)
    )
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{escape(caption)}">\n<table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )
