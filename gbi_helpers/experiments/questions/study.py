"""What the paper left open: richer Z, GBI beside other ways to be uncertain, tasks that nobody names (chapter 11)."""

from __future__ import annotations

import functools

from gbi_helpers.experiments.borrowed import digest_for, opened
from gbi_helpers.experiments.questions import (
    adapting,
    composition,
    discovered,
    embeddings,
    families,
    found_digits,
    learned,
    moments,
    moments_learned,
    more_streams,
    places,
    reading,
    together,
    unsure,
    words,
)
from gbi_helpers.experiments.study import SMALL, Study

PARTS = (
    *(discovered, more_streams, found_digits, reading, words),
    *(embeddings, learned, composition, places, moments, moments_learned, families),
    *(together, unsure, adapting),
)
STUDY = Study(
    "questions",
    __name__,
    "11",
    {name: row for part in PARTS for name, row in part.ROWS.items()},
    opened,
    {"": {}, SMALL: {name: changes for part in PARTS for name, changes in part.SMALL.items()}},
    digest_for=functools.partial(digest_for, "questions"),
)
