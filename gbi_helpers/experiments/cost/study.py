"""What one gradient costs, what is true of it, and what a few exact passes beside it buy: chapter 10."""

from __future__ import annotations

import functools

from gbi_helpers.experiments.borrowed import digest_for, opened
from gbi_helpers.experiments.cost import bent, duel, frontier, laws, prices
from gbi_helpers.experiments.study import SMALL, Study

STUDY = Study(
    "cost",
    __name__,
    "10",
    {**prices.ROWS, **laws.ROWS, **bent.ROWS, **frontier.ROWS, **duel.ROWS},
    opened,
    {"": {}, SMALL: {**prices.SMALL, **laws.SMALL, **bent.SMALL, **frontier.SMALL, **duel.SMALL}},
    digest_for=functools.partial(digest_for, "cost"),
)
