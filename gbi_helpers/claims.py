"""Claims: every number that the prose quotes is asserted by the cell below it."""

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
    """Assert a statement about a number and print the statement and its bound, never the value.

    The printed line is the same on every machine, so a strict notebook comparison can hold it. Give ``at_least``,
    ``at_most`` or both, or ``equals`` with the tolerance ``within``.
    Raises ``AssertionError`` with the value when the claim does not hold, ``ValueError`` when it has no bound.
    """
    number = float(value)
    if equals is not None:
        if at_least is not None or at_most is not None:
            raise ValueError(f"claim({what!r}): give either equals=..., or at_least=... and at_most=..., not both.")
        at_least, at_most = equals - within, equals + within
        bound = f"= {equals:g}" + (f" ± {within:g}" if within else "")
    elif at_least is None and at_most is None:
        raise ValueError(f"claim({what!r}) states no bound: give at_least=..., at_most=... or equals=....")
    else:
        parts = [f"≥ {at_least:g}"] if at_least is not None else []
        bound = " and ".join(parts + ([f"≤ {at_most:g}"] if at_most is not None else []))
    low = -math.inf if at_least is None else at_least
    high = math.inf if at_most is None else at_most
    if not low <= number <= high:  # a NaN fails too
        told = f"{number:.6g}"
        told = repr(number) if low <= float(told) <= high else told  # a near miss must not read like a hit
        raise AssertionError(f"Claim does not hold: {what} ({bound}), but the value is {told}.")
    say(f"✓ {what} ({bound})")
