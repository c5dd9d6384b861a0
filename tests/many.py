"""A study of a hundred rows, for two processes at once."""

import os
from pathlib import Path

from counting import fast, opened

from gbi_helpers.experiments.runner import run
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import Row, Study

STUDY = Study("many", __name__, "00", {f"row {number}": Row(fast) for number in range(100)}, opened)


def take_all(folder, shelf):
    """What each of the processes does."""
    os.environ["COUNTING"] = folder
    run(STUDY, range(3), shelf=Shelf(Path(shelf)))
