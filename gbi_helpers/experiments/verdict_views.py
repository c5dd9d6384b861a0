"""Chapter 12's pages: statements of the paper beside what was measured, as a table to filter and as a picture."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Sequence
from itertools import count

from matplotlib.figure import Figure

from gbi_helpers import plots
from gbi_helpers.experiments.verdicts import VERDICTS, Judged
from gbi_helpers.files import questions
from gbi_helpers.metrics import Summary

HEAD = ("stated", "the paper", "measured", "verdict", "remark", "shown in")
KNOWN = {"stated": "", "recalled": "recalled, unverified"}
THIS = "12"
# Radio buttons of one name are one group on the whole page, so those of a table have a name of their own: by its number
# among the tables made, which is the same in each run of a notebook from its start.
_MADE = count(1)


def told(one: Judged) -> str:
    """The number of the paper as text, with its ± and whether it is verified; empty without one."""
    reported = one.reported
    if reported is None or reported.value is None:
        return ""
    spread = f" ± {reported.spread:g}" if reported.spread else ""
    remark = KNOWN[reported.known]
    return f"{reported.value:g}{spread}" + (f" ({remark})" if remark else "")


def found(one: Judged, measured: Summary | None) -> str:
    """A measured number as text: mean ± half of its 95 % interval, unit and seeds; empty without one."""
    if measured is None:
        return ""
    digits = one.statement.digits
    half = "" if math.isnan(measured.half_width) else f" ± {measured.half_width:.{digits}f}"
    images = " and images" if one.statement.images or one.statement.paired else ""
    seeds = f" ({measured.n} {one.statement.of}{images})" if measured.n > 1 else " (one run)"
    return f"{measured.mean:z.{digits}f}{half} {one.statement.unit}".rstrip() + seeds


def measured_words(one: Judged) -> str:
    """What was measured, and beside it the other measurement where there is one."""
    other = found(one, one.otherwise)
    return found(one, one.measured) + (f"; {one.statement.elsewhere}: {other}" if other else "")


def marked(verdict: str) -> str:
    """A verdict with its sign."""
    return f"{VERDICTS[verdict]} {verdict}"


def chapters() -> dict[str, str]:
    """The name of each chapter before this one, by its number."""
    return {name[:2]: name for name in questions() if name[:2] < THIS}


def lines_of(judged: Sequence[Judged]) -> list[list[str]]:
    """The table's lines as text, a statement each, in the order of :data:`HEAD`."""
    return [
        [
            f"{one.statement.where}: {one.statement.says}",
            told(one),
            measured_words(one),
            marked(one.verdict),
            one.statement.why,
            one.statement.chapter,
        ]
        for one in judged
    ]


def counted(judged: Sequence[Judged]) -> dict[str, int]:
    """How many statements have each verdict, in the order of :data:`VERDICTS`."""
    number = Counter(one.verdict for one in judged)
    return {verdict: number[verdict] for verdict in VERDICTS if number[verdict]}


def verdict_table(judged: Sequence[Judged], caption: str, *, filtered: bool = False, folded: bool = False) -> None:
    """Display statements with their verdicts; ``filtered``: with buttons that leave one verdict, without any script.

    ``folded``: only the caption and how many have each verdict is seen until the reader unfolds it.

    Under each chapter's number unfolds the rule, and the command that measures the numbers again. Plain text where HTML
    is not shown.
    """
    from IPython.display import display

    name = "gbi-verdicts" + ("-all" if filtered else "")
    head = "".join(f'<th scope="col" style="text-align:left">{cell}</th>' for cell in HEAD)
    body = "".join(map(_row, judged))
    table = (
        f'<table><caption style="text-align:left;font-weight:bold">{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
    if folded:
        verdicts = ", ".join(f"{marked(verdict)}: {n}" for verdict, n in counted(judged).items())
        table = f"<details><summary>{html.escape(caption)} ({verdicts})</summary>{table}</details>"
    buttons = _buttons(judged, name) if filtered else ""
    text = [caption, *("  |  ".join(line) for line in [list(HEAD), *lines_of(judged)])]
    display({"text/html": f'<div class="{name}">{buttons}{table}</div>', "text/plain": "\n".join(text)}, raw=True)


def _row(one: Judged) -> str:
    first, *cells, _ = (html.escape(cell) for cell in lines_of([one])[0])
    told = "".join(f'<td style="text-align:left">{cell}</td>' for cell in (*cells, ""))[: -len("</td>")]
    chapter = one.statement.chapter
    link = f'<a href="{chapters()[chapter]}.ipynb">{chapter}</a>' if chapter in chapters() else html.escape(chapter)
    code = "<br>".join(f"<code>{html.escape(command)}</code>" for command in one.commands)
    again = f"<details><summary>again</summary>{_rule(one)}{code}</details>" if code else ""
    heading = f'<th scope="row" style="text-align:left;font-weight:normal">{first}</th>'
    return f'<tr data-verdict="{one.verdict}">{heading}{told}{link}{again}</td></tr>'


def _rule(one: Judged) -> str:
    """What the measured number must be for the statement to hold, as a line of HTML."""
    asked = "near the paper's" if one.statement.rule == "near" else f"{one.statement.rule} {one.statement.unit}".strip()
    return f"holds if {html.escape(asked)}<br>" if one.statement.rule else ""


def _buttons(judged: Sequence[Judged], name: str) -> str:
    """Radio buttons, and the rules by which they hide rows: without CSS that knows ``:has`` all rows stay."""
    made = next(_MADE)
    group = name if made == 1 else f"{name}-{made}"
    number = counted(judged)
    rules = "".join(
        f'.{name}:has(input[value="{verdict}"]:checked) tbody tr:not([data-verdict="{verdict}"]){{display:none}}'
        for verdict in number
    )
    choices = {"all": f"all ({len(judged)})", **{verdict: f"{marked(verdict)} ({n})" for verdict, n in number.items()}}
    labels = "".join(  # the attribute: or JupyterLab takes the arrow keys
        f'<label style="margin-right:1em;white-space:nowrap"><input type="radio" name="{group}" value="{value}" '
        f"data-lm-suppress-shortcuts{' checked' if value == 'all' else ''}> {html.escape(words)}</label>"
        for value, words in choices.items()
    )
    return f"<style>{rules}</style><fieldset><legend>Show the statements that</legend>{labels}</fieldset>"


def numbers_figure(judged: Sequence[Judged]) -> tuple[Figure, str]:
    """What the paper reports (diamonds) and what was measured (dots), one axis a statement; and its alt text.

    Of each statement with a number of the paper, with both intervals where there are any. All are shown as shares of
    hundred.
    """
    shown = [one for one in judged if told(one) and one.measured]
    fig, ax = plots.new(8.4, 0.42 * len(shown) + 0.8)
    for place, one in enumerate(reversed(shown)):
        ax.axhline(place, color="0.9", linewidth=0.8, zorder=0, linestyle="-")
        _pair(ax, one, place, 1 if one.statement.unit == "%" else 100)
    ax.set_yticks(range(len(shown)), [f"{one.statement.says}  {VERDICTS[one.verdict]}" for one in reversed(shown)])
    ax.set(xlim=(0, 100), xlabel="percent; errors and AUROC times a hundred")
    ax.plot([], [], "D", color=plots.PALETTE[1], label="the paper")
    ax.plot([], [], "o", color=plots.PALETTE[0], label="measured")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    told_all = "; ".join(f"{one.statement.says}: paper {told(one)}, measured {measured_words(one)}" for one in shown)
    return fig, f"Numbers of the paper and measured ones, a line each. {told_all}"


def _pair(ax: plots.Axes, one: Judged, place: int, size: float) -> None:
    paper, measured = one.reported, one.measured
    if paper and paper.value is not None and measured:
        _point(ax, paper.value * size, (paper.spread or 0) * size, place + 0.14, "D", plots.PALETTE[1])
        _point(ax, measured.mean * size, measured.half_width * size, place - 0.14, "o", plots.PALETTE[0])


def _point(ax: plots.Axes, value: float, half: float, at: float, marker: str, colour: str) -> None:
    half = 0.0 if math.isnan(half) else half
    ax.errorbar([value], [at], xerr=[half], fmt=marker, color=colour, capsize=3, markersize=5, linestyle="none")
