"""A study of which two rows fail, for the tests."""

import math
import weakref

from counting import fast, note, opened

from gbi_helpers.experiments.study import SMALL, Row, Study

held = []  # weak references to what the failed row has made


class Large:
    """What takes the memory of a device."""


def too_large(world, seed, settings):
    note(f"too large {seed}")
    tensor = Large()
    held.append(weakref.ref(tensor))
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def nan(world, seed, settings):
    return {"score": math.nan}


ROWS = {"too large": Row(too_large), "nan": Row(nan), "fast": Row(fast)}
STUDY = Study("failing", __name__, "00", ROWS, opened, {"": {}, SMALL: {}}, seeds={"": 2})
