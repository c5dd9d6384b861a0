"""A study whose second seed kills the process that measures it, the first time."""

import os
import signal
import time
from pathlib import Path

from counting import fast, note, opened

from gbi_helpers.experiments.study import Row, Study


def slow(world, seed, settings):
    note(f"slow {seed}")
    time.sleep(0.5)
    killed = Path(os.environ["COUNTING"]) / "killed"
    if seed == 1 and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"score": float(seed)}


def fails(world, seed, settings):
    if seed == 0:
        raise ValueError("this row has no number")
    return fast(world, seed, settings)


STUDY = Study("dying", __name__, "00", {"slow": Row(slow), "fast": Row(fast), "fails": Row(fails)}, opened)
