"""`gbi reproduce all --seeds 1 --size small`, as it is typed: stopped by Ctrl-C, and started again."""

import importlib
import os
import signal
import subprocess
import sys
import time

import pytest

from gbi_helpers.experiments import STUDIES
from gbi_helpers.experiments.results import load_results
from gbi_helpers.experiments.shelf import read_kept
from gbi_helpers.experiments.study import SMALL

ALL = (
    "import signal, sys; from gbi_helpers import cli; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "  # which a shell takes from what runs behind
    "sys.exit(cli.main('reproduce all --seeds 1 --size small --workers 2'.split()))"
)
KEPT = 10  # rows after which it is stopped, if it has not come to its end before


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C for a group of processes, as a terminal gives it")
def test_stopped_and_started_again_all_studies_have_every_row(little, for_all_workers):
    """Rows that other tests have kept on the same shelves by now are not measured again, nor are those kept here."""
    studies = {name: importlib.import_module(module).STUDY for name, module in STUDIES.items()}
    cache = for_all_workers / "little"
    cache.mkdir(exist_ok=True)
    env = {**os.environ, "GBI_CACHE_DIR": str(cache), "GBI_OFFLINE": "1"}

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", ALL], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def on_the_shelves():
        return list(cache.glob("shelf/*/*.json"))

    before, first = len(on_the_shelves()), start()
    while first.poll() is None and len(on_the_shelves()) < before + KEPT:
        time.sleep(0.2)
    if first.returncode is None:
        os.killpg(first.pid, signal.SIGINT)
    told = first.communicate()[0]
    assert first.returncode in (0, 130), told[-4_000:]
    kept = {path: path.read_bytes() for path in on_the_shelves()}

    again = start()
    told = again.communicate()[0]
    assert again.returncode == 0, told[-4_000:]
    assert {path: path.read_bytes() for path in kept} == kept
    now = [read_kept(path) for path in on_the_shelves()]
    for study in studies.values():
        name = study.record(SMALL)
        record = load_results(name, little(study).folder / "records" / f"{name}.json")
        assert list(record.rows) == study.names(SMALL)
        assert "left_out" not in record.facts
        there = [found for by_seed in record.rows.values() for found in by_seed.values()]
        assert all(found in now for found in there), name
