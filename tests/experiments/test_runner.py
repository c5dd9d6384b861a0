"""One runner for all studies: nothing is measured twice, nothing finished is lost, nothing else passes for it."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import math
import multiprocessing
from collections import Counter
from pathlib import Path

import counting
import lacking
import many
import numpy as np
import pytest
import torch
from counting import ROWS, STUDY

from gbi_helpers import files
from gbi_helpers.experiments import bench, runner
from gbi_helpers.experiments.results import Results, load_results, plain
from gbi_helpers.experiments.runner import replaces, reproduce, run
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import ALL
from gbi_helpers.files import DataError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTING", str(tmp_path))
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "cache"))
    bench._world.cache_clear()
    return tmp_path


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "shelf")


def measured(folder):
    """What was measured since the last call, and how often."""
    path = folder / "measured.txt"
    found = Counter(path.read_text().splitlines()) if path.exists() else Counter()
    path.unlink(missing_ok=True)
    return found


def test_every_row_is_measured_for_every_seed_and_kept(shelf, folder):
    results = run(STUDY, [0, 1], shelf=shelf)
    assert measured(folder) == {
        "row 0": 2, "row 1": 1, "together [0, 1]": 1, "trained 0": 1, "trained 1": 1, "with network 0": 2,
        "with network 1": 2,
    }  # fmt: skip
    assert results.values("fast", "score").tolist() == [0.0, 0.333333]
    assert results.values("fast", "curve")[1].tolist() == [1, math.inf]
    assert results.values("together", "score").tolist() == [0, 10]
    assert {row: results.seeds(row) for row in results.rows} == {
        "fast": 2, "once": 1, "together": 2, "net a": 2, "net b": 2,
    }  # fmt: skip
    assert results.words["once"] == "without randomness"
    assert run(STUDY, [0, 1], shelf=shelf).values("fast", "score").tolist() == [0.0, 0.333333]
    assert measured(folder) == {}


def test_a_cheap_row_has_more_seeds_than_are_asked_for_and_those_of_a_pass_in_one(shelf, folder):
    rows = {name: dataclasses.replace(STUDY.rows[name], times=2) for name in ("fast", "together")}
    results = run(dataclasses.replace(STUDY, rows=STUDY.rows | rows), [0, 1], ["fast", "together", "once"], shelf=shelf)
    assert {row: list(by_seed) for row, by_seed in results.rows.items()} == {
        "fast": ["0", "1", "2", "3"], "together": ["0", "1", "2", "3"], "once": ["0"],
    }  # fmt: skip
    assert measured(folder)["together [0, 1, 2, 3]"] == 1


def test_two_seeds_after_five_are_two(shelf, folder):
    run(STUDY, range(5), ["fast", "together"], shelf=shelf)
    measured(folder)
    two = run(STUDY, range(2), ["fast", "together"], shelf=shelf)
    assert {row: list(by_seed) for row, by_seed in two.rows.items()} == {"fast": ["0", "1"], "together": ["0", "1"]}
    assert measured(folder) == {}


def test_a_pass_of_all_seeds_takes_only_those_that_are_missing(shelf, folder):
    run(STUDY, range(2), ["together"], shelf=shelf)
    run(STUDY, range(4), ["together"], shelf=shelf)
    assert measured(folder) == {"together [0, 1]": 1, "together [2, 3]": 1}


def test_a_stopped_study_goes_on_where_it_was(shelf, folder, monkeypatch):
    def stops(world, seed, settings):
        raise KeyboardInterrupt

    rows = {"fast": ROWS["fast"], "stops": dataclasses.replace(ROWS["fast"], measure=stops)}
    with pytest.raises(KeyboardInterrupt):
        run(dataclasses.replace(STUDY, rows=rows), [0, 1], shelf=shelf)
    assert measured(folder) == {"row 0": 1}
    run(STUDY, [0, 1], ["fast"], shelf=shelf)
    assert measured(folder) == {"row 1": 1}


def test_other_settings_are_another_row_and_leave_the_others_alone(shelf, folder):
    run(STUDY, [0], ["fast", "once"], shelf=shelf)
    measured(folder)
    changed = ROWS | {"fast": dataclasses.replace(ROWS["fast"], settings={"which": 7})}
    results = run(dataclasses.replace(STUDY, rows=changed), [0], ["fast", "once"], shelf=shelf)
    assert results.values("fast", "which").tolist() == [7]
    assert results.settings["fast"] == {"which": 7}
    assert measured(folder) == {"row 0": 1}
    assert run(STUDY, [0], ["fast"], shelf=shelf).values("fast", "which").tolist() == [0]
    assert measured(folder) == {}


def test_a_variant_changes_settings_and_bears_its_name(shelf):
    small = run(STUDY, [0], ["fast", "once"], variant="small", shelf=shelf)
    assert (small.name, small.settings) == ("counting_small", {"fast": {"which": 1}, "once": {}})
    only = dataclasses.replace(
        STUDY, rows={"fast": ROWS["fast"], "large": dataclasses.replace(ROWS["fast"], only=("",))}
    )
    assert list(run(only, [0], variant="small", shelf=shelf).rows) == ["fast"]
    assert list(run(only, [0], shelf=shelf).rows) == ["fast", "large"]


def test_a_variant_changes_all_rows_first_and_then_those_it_names():
    usual = {"steps": 1, "lr": 1, "seed": 1}
    changes = {ALL: {"steps": 2, "lr": 2}, "fast": {"steps": 3}}
    study = dataclasses.replace(
        STUDY,
        rows={name: dataclasses.replace(ROWS["fast"], settings=usual) for name in ("fast", "other")},
        variants={"": {}, "small": changes},
    )
    assert study.settings("fast", "small") == {"steps": 3, "lr": 2, "seed": 1}
    assert study.settings("other", "small") == {"steps": 2, "lr": 2, "seed": 1}
    assert study.settings("fast", "") == usual


def test_other_data_is_another_row(shelf, folder, monkeypatch):
    run(STUDY, [0], ["fast"], shelf=shelf)
    monkeypatch.setenv("COUNTING_DATA", "other")
    bench._world.cache_clear()
    run(STUDY, [0], ["fast"], shelf=shelf)
    assert measured(folder) == {"row 0": 2}


def test_other_code_is_another_row(shelf, folder):
    def fast(world, seed, settings):
        counting.note(f"row {seed}")
        return {"score": seed / 4}

    run(STUDY, [0], ["fast"], shelf=shelf)
    changed = {"fast": dataclasses.replace(ROWS["fast"], measure=fast)}
    run(dataclasses.replace(STUDY, rows=changed), [0], shelf=shelf)
    assert measured(folder) == {"row 0": 2}


def test_a_damaged_file_is_made_anew_and_said_once(shelf, folder, capsys):
    run(STUDY, [0], ["fast"], shelf=shelf)
    (path,) = (path for path in shelf.folder.glob("fast*.json"))
    path.write_text('{"score": 0.')
    assert run(STUDY, [0], ["fast"], shelf=shelf).values("fast", "score").tolist() == [0]
    assert capsys.readouterr().err.count("is damaged: what it held is made anew") == 1
    assert measured(folder) == {"row 0": 2}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"rows": ["fats"]}, "The study counting has no row 'fats': choose among fast, once, net a, net b, together"),
        ({"variant": "large"}, "The study counting has no size 'large': choose one of small"),
    ],
)
def test_an_unknown_name_is_told_with_the_choices(shelf, asked, told):
    with pytest.raises(ValueError, match=told):
        run(STUDY, [0], **asked, shelf=shelf)


def test_nan_is_no_measurement(shelf):
    nan = {"nan": dataclasses.replace(ROWS["fast"], measure=lambda world, seed, settings: {"loss": [1.0, math.nan]})}
    with pytest.raises(ValueError, match="is NaN"):
        run(dataclasses.replace(STUDY, rows=nan), [0], shelf=shelf)
    assert not list(shelf.folder.glob("*.json"))


def test_minus_infinity_is_refused_for_it_would_come_back_as_infinity():
    for value in (-math.inf, [1.0, -math.inf], torch.tensor([-math.inf])):
        with pytest.raises(ValueError, match="is minus infinity, which no record can hold"):
            plain({"score": value})


def test_numpys_numbers_become_plain_and_other_things_are_refused():
    found = plain({"a": np.float32(1 / 3), "b": [np.int64(7), np.True_], "c": np.array([[1.5, np.inf]])})
    assert json.loads(json.dumps(found)) == {"a": 0.333333, "b": [7, True], "c": [[1.5, None]]}
    assert plain(np.longdouble(2)) == 2
    for value in (np.array([math.nan]), np.float32("nan"), {1, 2}, 1j, np.array([object()])):
        with pytest.raises(ValueError, match=r"^A measurement is "):
            plain({"score": value})


def test_numbers_become_plain():
    found = plain({1: [1 / 3, math.inf], "text": ("a", 7, None)})
    assert found == {"1": [0.333333, None], "text": ["a", 7, None]}


def test_a_full_disk_is_told_in_one_sentence(shelf, monkeypatch):
    def full(values, path):
        path.write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bench, "write_values", full)
    with pytest.raises(OSError, match=r"Cannot write .*fast-0.* \(No space left on device\). Free some space"):
        run(STUDY, [0], ["fast"], shelf=shelf)
    assert not list(shelf.folder.glob("fast*"))


def test_a_full_disk_stops_all_after_the_row_that_it_could_not_keep(shelf, folder, monkeypatch):
    def full(values, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bench, "write_values", full)
    with pytest.raises(OSError, match="No space left"):
        run(STUDY, [0, 1], ["fast", "together"], shelf=shelf, left_out={})
    assert measured(folder) == {"row 0": 1}


def test_what_a_pass_of_all_seeds_takes_is_shared_among_them(shelf, monkeypatch):
    clock = itertools.count(0, 8)  # eight seconds later at each look
    monkeypatch.setattr(bench.time, "process_time", lambda: next(clock))
    found = run(STUDY, range(4), ["together"], shelf=shelf)
    assert found.values("together", "cpu_seconds").tolist() == [2.0] * 4


def test_two_processes_on_one_shelf_lose_nothing_and_measure_nothing_twice(shelf, folder):
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=many.take_all, args=(str(folder), str(shelf.folder))) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    found = measured(folder)
    assert sum(found.values()) == 300
    assert set(found.values()) == {100}  # three seeds of a hundred rows
    assert len(list(shelf.folder.glob("row_*.json"))) == 300


# ---------------------------------------------------------------- the record


def test_some_rows_leave_their_record_on_the_shelf_and_the_shipped_one_alone(folder, monkeypatch):
    monkeypatch.setattr(runner, "ASSETS", folder / "assets")
    (path,) = reproduce(STUDY, 2, ["fast"])
    assert path.is_relative_to(folder / "cache")
    assert not (folder / "assets").exists()
    found = load_results("counting", path)
    assert found.values("fast", "score").tolist() == [0.0, 0.333333]
    assert found.facts["command"] == "gbi reproduce counting --seeds 2 --rows fast"


def test_a_whole_study_ships_its_record_with_facts_and_what_lies_beside_it(folder, monkeypatch):
    assets = folder / "assets"
    monkeypatch.setattr(runner, "ASSETS", assets)
    monkeypatch.setattr(files, "ASSETS", assets)

    def ship(world, results):
        assert (world.digest, results.name) == ("data", "counting")
        return [folder / "beside.npz"]

    paths = reproduce(dataclasses.replace(STUDY, ship=ship, seeds={"": 2}), 2)
    assert paths == [assets / "records" / "counting.json", folder / "beside.npz"]
    stored = json.loads(paths[0].read_text())
    assert list(stored) == ["settings", "facts", "words", "rows"]
    facts = files.manifest()["records/counting.json"]
    assert {"command", "commit", "seed", "device", "versions", "minutes", "data", "sha256"} <= set(facts)
    assert facts["seed"] == [0, 1]
    assert facts["minutes"] == 0.1  # both networks say 1.5 seconds: 3 of 60


def test_the_command_in_a_record_can_be_typed_again(folder):
    (path,) = reproduce(STUDY, 2, ["net a", "fast"])
    command = load_results("counting", path).facts["command"]
    assert command == 'gbi reproduce counting --seeds 2 --rows "net a" fast'
    (path,) = reproduce(STUDY, 1, ["fast"], variant="small")
    command = load_results("counting_small", path).facts["command"]
    assert command == "gbi reproduce counting --seeds 1 --size small --rows fast"


def test_a_record_has_unix_line_ends_on_every_system(folder, monkeypatch):
    """Its SHA-256 is kept, and must hold where git, or another system, has written it."""
    write = Path.write_text
    monkeypatch.setattr(Path, "write_text", lambda path, text, **how: write(path, text, **how | {"newline": "\r\n"}))
    for module in (runner, files):
        monkeypatch.setattr(module, "ASSETS", folder / "assets")
    reproduce(STUDY, 5)
    written = [path for path in (folder / "assets").rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert sorted(path.name for path in written) == ["counting.json", "manifest.json"]
    assert not any(b"\r" in path.read_bytes() for path in written)


def test_fewer_seeds_than_are_shipped_leave_the_shipped_record_alone(folder, monkeypatch):
    monkeypatch.setattr(runner, "ASSETS", folder / "assets")
    (path,) = reproduce(STUDY, 2)
    assert path.is_relative_to(folder / "cache")


def test_a_whole_record_replaces_one_of_as_many_seeds_or_fewer_and_the_small_variant_none():
    assert [replaces(STUDY, "", seeds, None) for seeds in (4, 5, 6)] == [False, True, True]
    assert not replaces(STUDY, "", 5, ["fast"])
    assert not replaces(STUDY, "small", 5, None)


def test_rows_without_data_are_entered_and_the_others_go_on(shelf, folder):
    left_out = {}
    results = run(lacking.STUDY, [0, 1], shelf=shelf, left_out=left_out)
    assert {row: str(error) for row, error in left_out.items()} == {"wants": "CIFAR-1000 is not here: get it."}
    assert (list(results.rows), list(results.words), list(results.settings)) == (["fast"],) * 3
    with pytest.raises(DataError, match="CIFAR-1000"):
        run(lacking.STUDY, [0, 1, 2], shelf=shelf)
    assert measured(folder) == {"row 0": 1, "row 1": 1, "row 2": 1}  # told when the others are done


def test_the_list_says_what_is_measured_already(folder):
    reproduce(STUDY, 2, ["fast", "together"])
    lines = {name: there for name, _, there, _ in runner.on_the_shelf(STUDY, 3)}
    assert lines == {"fast": "2 of 3", "once": "0 of 1", "together": "2 of 3", "net a": "0 of 3", "net b": "0 of 3"}


def test_the_list_says_the_minutes_of_a_seed_as_shipped(monkeypatch):
    monkeypatch.setattr(runner, "seconds_of", lambda record: {"together": 90.0})
    minutes = {name: minutes for name, _, _, minutes in runner.on_the_shelf(STUDY, 5, rows=["fast", "together"])}
    assert minutes == {"fast": "?", "together": "1.5"}


def test_a_seed_of_a_row_takes_the_mean_of_what_the_shipped_ones_took(monkeypatch):
    """By the processor's time, or by the clock in records that lack it; a row with neither is left out."""
    rows = {
        "new": {"0": {"cpu_seconds": 1.0, "seconds": 9.0}, "1": {"cpu_seconds": 3.0, "seconds": 9.0}},
        "old": {"0": {"seconds": 5.0}},
        "untimed": {"0": {"score": 1.0}},
    }
    monkeypatch.setattr(runner, "load_results", lambda name: Results(name, rows, {}, {}, {}))
    assert runner.seconds_of("record") == {"new": 2.0, "old": 5.0}
