"""``gbi reproduce`` as a whole: said before, measured, stopped, gone on with, compared, and a page left."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import failing
import pytest

from gbi_helpers import cli, files
from gbi_helpers.experiments import STUDIES, bench, needed, reproducing, runner
from gbi_helpers.experiments.bench import Bench
from gbi_helpers.experiments.results import Results, load_results
from gbi_helpers.experiments.shelf import Shelf

TESTS = Path(__file__).parents[1]
HERE = {"counting": "counting", "lacking": "lacking"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTING", str(tmp_path))
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(reproducing, "STUDIES", HERE)
    for module in (runner, files):
        monkeypatch.setattr(module, "ASSETS", tmp_path / "assets")
    bench._world.cache_clear()
    return tmp_path


def reproduce(name="all", size=None, seeds=None, rows=None, **how):
    return reproducing.reproduce(reproducing.asked(name, size, seeds, rows), f"gbi reproduce {name}", **how)


def values(path):
    """What a record holds but for times."""
    rows = json.loads(path.read_text())["rows"]

    def kept(found):
        return {key: value for key, value in found.items() if not key.endswith("seconds")}

    return {row: {seed: kept(found) for seed, found in by_seed.items()} for row, by_seed in rows.items()}


def records(folder):
    return {path.name: values(path) for path in folder.rglob("records/*.json")}


def test_of_all_studies_each_is_measured_and_what_has_no_data_is_named(folder, capsys):
    assert reproduce(seeds=1, size="small") == 1
    told = capsys.readouterr()
    assert "gbi: lacking_small: row wants was left out: CIFAR-1000 is not here: get it." in told.err
    assert "counting_small.json is in " in told.out
    assert f"The report is {folder / 'cache' / 'shelf' / 'reproduce-all.html'}." in told.out
    page = (folder / "cache" / "shelf" / "reproduce-all.html").read_text("utf-8")
    assert "CIFAR-1000 is not here" in page
    left = load_results("lacking_small", folder / "cache" / "shelf" / "lacking" / "records" / "lacking_small.json")
    assert (list(left.rows), left.facts["left_out"]) == (["fast"], {"wants": "CIFAR-1000 is not here: get it."})


def test_where_all_is_there_the_exit_status_is_zero(capsys):
    assert reproduce("counting", seeds=1) == 0
    assert "Nothing of this size is shipped" in capsys.readouterr().out


def test_a_record_without_some_rows_does_not_replace_the_shipped_one(folder):
    assert reproduce("lacking") == 1
    assert not list((folder / "assets").rglob("*.json"))


def test_where_the_course_cannot_be_written_that_is_said_first_and_the_record_lies_on_the_shelf(folder, capsys):
    (folder / "assets").write_text("no folder, so that nothing can be written into it: as if read-only")
    assert reproduce("counting") == 0
    told = capsys.readouterr()
    shelf = folder / "cache" / "shelf"
    assert told.err.startswith("gbi: the course's own folder cannot be written (File exists): the shipped records stay")
    assert f"counting.json is in {shelf / 'counting' / 'records'}." in told.out
    assert (shelf / "reproduce-counting.html").exists()
    assert load_results("counting", shelf / "counting" / "records" / "counting.json").seeds() == 5
    reproduce("counting", rows=["fast"])
    assert capsys.readouterr().err == "", "it would not have replaced the shipped one anyway"


def test_rows_that_fail_take_neither_other_rows_nor_later_studies_with_them(folder, monkeypatch, capsys):
    monkeypatch.setattr(reproducing, "STUDIES", {"failing": "failing", "lacking": "lacking"})
    assert reproduce(seeds=2, size="small") == 1
    told = capsys.readouterr()
    why = "it failed with RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB."
    assert f"gbi: failing_small: row too large was left out: {why}" in told.err
    assert "gbi: failing_small: row nan was left out: it failed with ValueError: A measurement is NaN" in told.err
    left = load_results("failing_small", folder / "cache" / "shelf" / "failing" / "records" / "failing_small.json")
    assert (list(left.rows), left.facts["left_out"]["too large"]) == (["fast"], why)
    page = (folder / "cache" / "shelf" / "reproduce-all.html").read_text("utf-8")
    assert why in page
    assert "CIFAR-1000 is not here" in page
    lines = (folder / "measured.txt").read_text().splitlines()
    assert lines.count("too large 0") == 1
    assert "too large 1" not in lines, "it has failed once"


def test_a_row_that_failed_holds_no_memory_of_which_the_others_would_run_short(folder):
    lost = {}
    runner.run(failing.STUDY, [0], shelf=Shelf(folder / "shelf"), left_out=lost)
    assert set(lost) == {"too large", "nan"}
    assert [ref() for ref in failing.held] == [None] * len(failing.held)
    with pytest.raises(RuntimeError, match="CUDA out of memory") as error:
        runner.run(failing.STUDY, [1], shelf=Shelf(folder / "shelf"))
    assert error.traceback[-1].name == "too_large", "the place where it failed is still told"
    assert len(list((folder / "shelf").glob("fast-*.json"))) == 2


def test_of_all_studies_those_go_on_that_come_after_one_without_a_row(folder, monkeypatch, capsys):
    monkeypatch.setattr(failing, "STUDY", dataclasses.replace(failing.STUDY, rows={"nan": failing.ROWS["nan"]}))
    monkeypatch.setattr(reproducing, "STUDIES", {"failing": "failing", "lacking": "lacking"})
    assert reproduce() == 1
    told = capsys.readouterr()
    assert "gbi: failing was left out: it failed with ValueError: A measurement is NaN" in told.err
    assert "lacking.json is in " in told.out
    assert (folder / "cache" / "shelf" / "reproduce-all.html").exists()


def test_ctrl_c_stops_rows_and_studies_at_once(folder, monkeypatch):
    def stops(world, seed, settings):
        raise KeyboardInterrupt

    rows = {"stops": dataclasses.replace(failing.ROWS["nan"], measure=stops), "fast": failing.ROWS["fast"]}
    monkeypatch.setattr(failing, "STUDY", dataclasses.replace(failing.STUDY, rows=rows))
    monkeypatch.setattr(reproducing, "STUDIES", {"failing": "failing", "lacking": "lacking"})
    with pytest.raises(KeyboardInterrupt):
        reproduce()
    assert not (folder / "measured.txt").exists()


def test_a_row_that_is_asked_for_by_name_and_has_no_data_is_one_sentence():
    with pytest.raises(files.DataError, match="CIFAR-1000 is not here: get it"):
        reproduce("lacking", rows=["wants"])


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (None, ["packages", "babylm"]),
        (["naming"], ["packages", "babylm"]),
        (["naming", "bpe"], ["packages"]),
        (["held_out/scripture"], ["babylm"]),
    ],
)
def test_without_a_size_those_are_meant_that_have_all_the_rows(rows, sizes, monkeypatch):
    monkeypatch.setattr(reproducing, "STUDIES", STUDIES)
    assert [one.variant for one in reproducing.asked("language", None, 1, rows)] == sizes


@pytest.mark.parametrize("rows", [["nothing"], ["bpe", "held_out/scripture"]])
def test_rows_that_no_size_has_together_are_refused_with_the_choices(rows, monkeypatch):
    monkeypatch.setattr(reproducing, "STUDIES", STUDIES)
    with pytest.raises(ValueError, match=f"language has no row '{rows[-1]}': choose among learning, "):
        reproducing.asked("language", None, 1, rows)


def test_the_list_is_of_the_rows_asked_for(capsys):
    assert reproducing.list_rows(reproducing.asked("counting", None, 2, ["once", "fast"])) == 0
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == ["counting", "once", "fast"]


@pytest.mark.parametrize("kept", [1, 4, 7])
def test_stopped_and_started_again_it_ends_with_the_same_records(kept, folder, monkeypatch, capsys):
    monkeypatch.setenv("GBI_CACHE_DIR", str(folder / "whole"))
    reproduce(seeds=2, size="small")
    whole = records(folder / "whole")
    assert set(whole) == {"counting_small.json", "lacking_small.json"}
    monkeypatch.setenv("GBI_CACHE_DIR", str(folder / "stopped"))
    keep, left = Bench.keep, [kept]

    def stops(*found):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        keep(*found)

    monkeypatch.setattr(Bench, "keep", stops)
    assert cli.main(["reproduce", "all", "--seeds", "2", "--size", "small"]) == 130
    assert capsys.readouterr().err.endswith("gbi: stopped.\n")
    assert records(folder / "stopped") != whole
    monkeypatch.setattr(Bench, "keep", keep)
    reproduce(seeds=2, size="small")
    assert records(folder / "stopped") == whole


def test_two_workers_leave_the_same_records(folder, monkeypatch, capsys):
    monkeypatch.setenv("GBI_CACHE_DIR", str(folder / "one"))
    assert reproduce(seeds=2, size="small") == 1
    monkeypatch.setenv("GBI_CACHE_DIR", str(folder / "two"))
    capsys.readouterr()
    assert reproduce(seeds=2, size="small", on="2") == 1
    told = capsys.readouterr()
    assert "with 2 workers" in told.out
    assert "row wants was left out" in told.err
    assert records(folder / "two") == records(folder / "one")


STARTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell takes from what it runs in the background
from gbi_helpers import cli
from gbi_helpers.experiments import reproducing
reproducing.STUDIES = {"counting": "counting"}
sys.exit(cli.main(["reproduce", "all", "--seeds", "40", "--size", "small", "--workers", "2"]))
"""


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C for a group of processes, as a terminal gives it")
def test_ctrl_c_ends_workers_too_and_is_one_line(folder):
    running = subprocess.Popen(
        [sys.executable, "-c", STARTED], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for _ in range(600):
        if (folder / "measured.txt").exists():
            break
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    told = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert "Traceback" not in told
    assert told.endswith("gbi: stopped.\n")


def test_a_dry_run_measures_nothing_and_writes_nothing(folder, capsys):
    assert reproduce(dry=True) == 0
    _, counting, lacking, whole, _ = capsys.readouterr().out.splitlines()
    assert counting.split() == ["counting", "21", "of", "21", "?", "?"]
    assert lacking.split() == ["lacking", "4", "of", "4", "?", "?"]
    assert whole.split()[:4] == ["all", "25", "of", "25"]
    assert not (folder / "measured.txt").exists()
    assert not list(folder.rglob("*.html"))


def test_a_size_that_some_studies_do_not_have_is_told_before_anything_starts(folder):
    with pytest.raises(ValueError, match="No size 'large' in counting, lacking: for all studies choose small"):
        reproduce(size="large")
    assert not (folder / "measured.txt").exists()


def test_a_full_disk_stops_it_with_one_sentence_and_leaves_nothing_half_written(folder, monkeypatch, capsys):
    def full(values, path):
        path.write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bench, "write_values", full)
    with pytest.raises(OSError, match=r"Cannot write .*\(No space left on device\). Free some space"):
        reproduce(seeds=1, size="small")
    assert not [path for path in (folder / "cache").rglob("*") if path.suffix in (".json", ".part", ".html")]


# ---------------------------------------------------------------- beside the shipped record


def ship(folder, minutes=0.0, **rows):
    """Make a shipped record of the study: the score of each seed, by row."""
    found = {row: {str(seed): {"score": score} for seed, score in enumerate(scores)} for row, scores in rows.items()}
    path = folder / "assets" / "records" / "counting.json"
    runner.write_record(path, Results("counting", found, {}, {}, {}), {"minutes": minutes})
    files.add_asset(path, command="a test")


def test_what_moved_is_told_and_still_is_when_the_new_record_has_replaced_the_old(folder, capsys):
    ship(folder, fast=[1.0, 1.5, 2.0, 2.5, 3.0], together=[0.0, 10.0, 20.0, 30.0, 40.0])
    for _ in range(2):  # the second time everything lies on the shelf, and what is shipped is the new record
        assert reproduce("counting") == 0
        told = capsys.readouterr().out
        assert re.search(r"counting +(21|0) of 21 +[?0]", told), "the record has no times"
        assert f"counting.json is in {folder / 'assets' / 'records'}." in told
        assert re.search(r"counting +fast +score +2 +0\.666666 +-1\.33 ± 0\.33", told)
        assert set(load_results("counting").rows) == {"fast", "once", "together", "net a", "net b"}


MOVED = r"counting +fast +score +2 +0\.666666 +-1\.33 ± 0\.33"  # against the shipped record
SHIPPED = {"fast": [1.0, 1.5, 2.0, 2.5, 3.0], "together": [0.0, 10.0, 20.0, 30.0, 40.0]}


@pytest.mark.parametrize("then", [{"rows": ["fast"]}, {"seeds": 6}])
def test_after_a_whole_study_every_other_one_is_still_held_against_what_was_shipped(then, folder, capsys):
    """And not against the record that was measured here before, in which nothing ever moves."""
    ship(folder, **SHIPPED)
    reproduce("counting")
    for _ in range(2):
        capsys.readouterr()
        assert reproduce("counting", **then) == 0
        assert re.search(MOVED, capsys.readouterr().out)
    assert reproduce("counting") == 0
    assert re.search(MOVED, capsys.readouterr().out), "once more whole"


def test_a_shipped_record_that_came_since_is_the_one_to_be_held_against(folder, capsys):
    ship(folder, **SHIPPED)
    reproduce("counting")
    ship(folder, fast=[4.0, 4.5, 5.0, 5.5, 6.0])
    for _ in range(2):
        capsys.readouterr()
        reproduce("counting", seeds=6)
        assert re.search(r"counting +fast +score +5 +0\.666666 +-4\.33 ± 0\.33", capsys.readouterr().out)


def test_where_nothing_was_shipped_a_study_is_not_held_against_itself(folder, capsys):
    reproduce("counting")
    capsys.readouterr()
    reproduce("counting", rows=["fast"])
    assert "Nothing of this size is shipped" in capsys.readouterr().out


@pytest.mark.parametrize("left", ['{"rows": {"fa', "{}", None])
def test_a_damaged_file_beside_the_record_stops_neither_record_nor_report(left, folder, capsys):
    ship(folder, **SHIPPED)
    reproduce("counting")
    (before,) = (folder / "cache").rglob("*.before.json")
    before.unlink() if left is None else before.write_text(left)
    for seeds in (6, 5):
        assert reproduce("counting", seeds=seeds) == 0
    told = capsys.readouterr()
    assert ("before.json cannot be read: counting is held against no shipped record." in told.err) == bool(left)
    assert load_results("counting").seeds() == 5
    (own,) = (folder / "cache").rglob("*.own.json")
    own.write_text('["')
    assert reproduce("counting", seeds=6) == 0


def test_the_damaged_record_of_a_training_costs_its_minutes_and_no_more(folder):
    reproduce("counting", seeds=1, size="small")
    (training,) = (folder / "cache").rglob("net-0-*.npz")
    training.write_bytes(training.read_bytes()[:50])
    assert reproduce("counting", seeds=1, size="small") == 0
    path = folder / "cache" / "shelf" / "counting" / "records" / "counting_small.json"
    assert load_results("counting_small", path).facts["minutes"] == 0


def test_a_record_that_holds_the_same_numbers_has_not_moved(folder):
    ship(folder, fast=[1.0])
    shelf = Shelf.of("counting")
    same = load_results("counting")
    assert runner.shipped_before(same, shelf).rows == same.rows
    runner._keep_shipped(same, shelf)
    assert not (shelf.folder / "records").exists()


# ---------------------------------------------------------------- what the README says


def test_the_table_of_what_it_takes_follows_the_records(folder, monkeypatch):
    monkeypatch.setattr(needed, "NEEDED", {"counting": {"net": "cifar-100", "fast": "cifar-100", "once": "mnist"}})
    monkeypatch.setattr(reproducing, "NEEDED", needed.NEEDED)
    for minutes in (9.0, 18.0):  # of its one measurement, so of each of 21, and of five networks
        ship(folder, fast=[1.0], minutes=minutes)
        *_, counting, lacking, whole = reproducing.what_it_takes().splitlines()
        data = "CIFAR-100 (`net...`, `fast`); all of MNIST (`once`)"
        assert counting == f"| `counting` | 00 | 5 | 5 | {data} | {26 * minutes:.0f} |"
        assert lacking == "| `lacking` | 00 | 2 | 2 | - | 0 |"
        assert whole == f"| all | | | | | {26 * minutes / 60:.1f} hours |"
