"""What one gradient costs, what is true of it, and what a few exact passes beside it buy: chapter 10."""

from __future__ import annotations

from gbi_helpers.experiments.cost import frontier, laws, prices
from gbi_helpers.experiments.cost.world import opened
from gbi_helpers.experiments.study import SMALL, Study

STUDY = Study(
    "cost",
    __name__,
    "10",
    {**prices.ROWS, **laws.ROWS, **frontier.ROWS},
    opened,
    {"": {}, SMALL: {**prices.SMALL, **laws.SMALL, **frontier.SMALL}},
)
