"""Means with an interval, as prose and outputs write them: "0.9 ± 0.2", ".85 ± .05", "−3 ± 12"."""

import re

INTERVAL = re.compile(r"(\d*\.?\d+) ± (\d*\.?\d+)")


def digits(number):
    """How many it has behind the point."""
    return len(number.partition(".")[2])


def pairs(text):
    """Each mean, without its sign, and half-width, as written."""
    return [found.groups() for found in INTERVAL.finditer(text.replace("\xa0", " "))]


def same(told, found):
    """Whether ``found``, in as many digits or more, is what was ``told``."""
    return all(map(rounds_to, found, told))


def rounds_to(found, told):
    """A number that was rounded itself may stand half a unit in its last digit further off."""
    more = digits(found) > digits(told)
    off = more * (10.0 ** -digits(told) + 10.0 ** -digits(found)) / 2
    return digits(found) >= digits(told) and abs(float(found) - float(told)) <= off + 1e-12


def unfounded(prose, outputs):
    """The intervals of the prose that no output has; the bound of a claim, "(= 0.9 ± 0.2)", is none."""
    shown = set(pairs(re.sub(r"\(= [^()]*\)", "", outputs)))
    return [f"{mean} ± {half}" for mean, half in pairs(prose) if not any(same((mean, half), one) for one in shown)]
