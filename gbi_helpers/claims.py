"""Claims: every number that the prose quotes is asserted, and shown, by a cell below it."""

from __future__ import annotations

import math
from typing import SupportsFloat

# What stands in for a sign where the output cannot hold it.
ASCII = str.maketrans({"✓": "ok:", "≥": ">=", "≤": "<=", "±": "+-", "−": "-", "–": "-", "×": "x", "δ": "delta"})


def say(line: str) -> None:
    """Print a line; in ASCII where the output cannot hold all of its signs, as a Windows pipe cannot."""
    try:
        print(line)
    except UnicodeEncodeError:
        print(line.translate(ASCII).encode("ascii", "replace").decode())


def claim(
    what: str,
    value: SupportsFloat,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    equals: float | None = None,
    within: float = 0.0,
) -> None:
    """Assert a statement about a number, and print the statement, the number and its bound.

    The line reads ``✓ LSTM over GBI, excess error: 9.3 (≥ 5)``. The strict comparison of notebooks blanks the number
    alone, unless it must be exact (``equals`` without ``within``). Give ``at_least``, ``at_most`` or both, or
    ``equals`` with the tolerance ``within``. Of a :class:`gbi_helpers.metrics.Summary` the mean is claimed, and its
    95 % interval shown beside it.
    Raises ``AssertionError`` with the value when the claim does not hold, ``ValueError`` when it has no bound, or
    ``within`` is below zero or stands alone.
    """
    if within < 0 or (within and equals is None):
        raise ValueError(f"claim({what!r}): within={within:g} must be zero or more, and belongs to equals=...")
    if equals is not None:
        if at_least is not None or at_most is not None:
            raise ValueError(f"claim({what!r}): give either equals=..., or at_least=... and at_most=..., not both.")
        reach = within * (1 + 1e-9)  # 0.8 - 0.7 is 0.1 and a rounding error
        at_least, at_most = equals - reach, equals + reach
        bound = f"= {_bound(equals)}" + (f" ± {_bound(within)}" if within else "")
    elif at_least is None and at_most is None:
        raise ValueError(f"claim({what!r}) states no bound: give at_least=..., at_most=... or equals=....")
    else:
        parts = [f"≥ {_bound(at_least)}"] if at_least is not None else []
        bound = " and ".join(parts + ([f"≤ {_bound(at_most)}"] if at_most is not None else []))
    low = -math.inf if at_least is None else at_least
    high = math.inf if at_most is None else at_most
    number = float(value)
    spread = getattr(value, "half_width", math.nan)
    zeros = "" if math.isnan(spread) else "#"  # beside an interval both have three digits
    told = shown(number, low, high, zeros) + (f" ± {three_digits(spread, zeros)}" if zeros else "")
    if not low <= number <= high:  # a NaN fails too
        raise AssertionError(f"Claim does not hold: {what}: {told} ({bound}).")
    say(f"✓ {what}: {told} ({bound})")


def _bound(bound: float) -> str:
    """A bound in six digits, or all those of a whole number."""
    told = f"{bound:g}"
    return f"{bound:.0f}" if float(told) != bound and float(bound).is_integer() else told


def shown(number: float, low: float, high: float, zeros: str = "") -> str:
    """A number in three digits; in as many as it takes where it would read as on the other side of a bound.

    ``zeros``: "#" keeps those at the end.
    """
    told = three_digits(number, zeros)
    same_side = (low <= float(told) <= high) == (low <= number <= high)
    if same_side or math.isnan(number):
        return told
    return f"{number:.0f}" if number.is_integer() else repr(number)


def three_digits(number: float, zeros: str = "") -> str:
    """A number in three digits, with those at the end that are zero ("#") or without; from 1,000 on to the unit."""
    if 999.5 <= abs(number) < 1e6:
        return f"{number:.0f}"
    return f"{number:{zeros}.3g}".removesuffix(".")
