"""A study of a hundred rows, for two processes at once."""

from counting import fast, opened

from gbi_helpers.experiments.study import Row, Study

STUDY = Study("many", __name__, "00", {f"row {number}": Row(fast) for number in range(100)}, opened)
