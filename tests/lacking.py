"""A study of which one row has no data, for the tests."""

from counting import fast, opened

from gbi_helpers.experiments.study import SMALL, Row, Study
from gbi_helpers.files import DataError


def wants(world, seed, settings):
    raise DataError("CIFAR-1000 is not here: get it.")


ROWS = {"fast": Row(fast, "a fast row"), "wants": Row(wants, "a row without data")}
STUDY = Study("lacking", __name__, "00", ROWS, opened, {"": {}, SMALL: {}}, seeds={"": 2})
