"""Rows on other processes: the same record in every digit, networks trained once, nothing lost with a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import dying
import pytest
from counting import STUDY

from gbi_helpers import files, runtime
from gbi_helpers.experiments import bench, workers
from gbi_helpers.experiments.mnist.study import STUDY as MNIST
from gbi_helpers.experiments.runner import run
from gbi_helpers.experiments.shelf import Shelf

TESTS = Path(__file__).parents[1]
HERE = runtime.device().type


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTING", str(tmp_path))
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]))
    bench._world.cache_clear()
    return tmp_path


def measured(folder):
    return Counter((folder / "measured.txt").read_text().splitlines())


def test_two_workers_leave_the_same_record_and_train_a_network_once(folder, tmp_path):
    here = run(STUDY, [0, 1], shelf=Shelf(tmp_path / "here"))
    alone = measured(folder)
    (folder / "measured.txt").unlink()
    with workers.connected("2") as client:
        there = run(STUDY, [0, 1], shelf=Shelf(tmp_path / "there"), workers=client)
    assert measured(folder) == alone
    assert without_times(there) == without_times(here)


def without_times(results):
    def kept(found):
        return {key: value for key, value in found.items() if not key.endswith(("seconds", "_time"))}

    return {row: {seed: kept(found) for seed, found in by_seed.items()} for row, by_seed in results.rows.items()}


def test_two_workers_train_real_networks_to_the_same_digits(tmp_path):
    rows = ["classifier", "latent_2"]
    here = run(MNIST, [0, 1], rows, variant="small", shelf=Shelf(tmp_path / "here"))
    with workers.connected("2") as client:
        there = run(MNIST, [0, 1], rows, variant="small", shelf=Shelf(tmp_path / "there"), workers=client)
    assert without_times(there) == without_times(here)


def test_a_worker_that_is_killed_takes_no_row_with_it(folder, tmp_path):
    with workers.connected("2") as client:
        results = run(dying.STUDY, range(4), ["slow", "fast"], shelf=Shelf(tmp_path / "s"), workers=client)
    assert (folder / "killed").exists()
    assert results.values("slow", "score").tolist() == [0, 1, 2, 3]
    assert measured(folder) == {
        "slow 0": 1, "slow 1": 2, "slow 2": 1, "slow 3": 1,  # 1 was begun twice, since its worker died over it
        "row 0": 1, "row 1": 1, "row 2": 1, "row 3": 1,
    }  # fmt: skip


def test_there_are_as_many_processes_as_were_asked_for():
    with workers.connected("1") as client:
        assert len(client.scheduler_info()["workers"]) == 1


def test_a_row_that_fails_is_told_when_the_others_are_done(folder, tmp_path):
    shelf = Shelf(tmp_path / "s")
    with workers.connected("1") as client, pytest.raises(ValueError, match="this row has no number"):
        run(dying.STUDY, range(3), ["fails", "fast"], shelf=shelf, workers=client)
    assert len(list(shelf.folder.glob("f*.json"))) == 5


@pytest.mark.skipif(os.name != "posix", reason="Windows has no masks for signals")
def test_ctrl_c_while_workers_start_is_not_lost():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
    try:
        with pytest.raises(KeyboardInterrupt), workers._interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def apart(folder, tmp_path):
    """The address of a scheduler with two workers that share no folder, with each other or with us."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, dashboard_address=":0") as cluster:
        address, started = cluster.scheduler_address, []
        for name in "ab":
            command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
            command += ["--no-dashboard", "--local-directory", str(tmp_path / f"dask-{name}"), "--name", name]
            env = {**os.environ, "GBI_CACHE_DIR": str(tmp_path / f"cache-{name}"), "OMP_NUM_THREADS": "1"}
            started.append(subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        yield address
        for process in started:
            process.terminate()
            process.wait(30)


def test_workers_that_share_no_folder_send_their_rows_and_networks(apart, folder, tmp_path):
    with workers.connected(apart) as client:
        client.wait_for_workers(2, timeout=60)
        results = run(STUDY, range(4), ["net a", "net b"], shelf=Shelf(tmp_path / "mine"), workers=client)
    assert results.values("net b", "score").tolist() == [0, 1, 2, 3]
    found = measured(folder)
    assert {f"trained {seed}": found[f"trained {seed}"] for seed in range(4)} == {
        f"trained {seed}": 1 for seed in range(4)
    }
    assert len(list((tmp_path / "mine").glob("net_*.json"))) == 8
    both = [sum(1 for _ in (tmp_path / f"cache-{name}").rglob("net_*-*.json")) for name in "ab"]
    assert sum(both) == 8
    assert len(list((tmp_path / "mine").glob("net-*.safetensors"))) == 4  # for whoever ships them
    assert min(both) > 0
    again = run(STUDY, range(4), ["net a", "net b"], shelf=Shelf(tmp_path / "mine"))
    assert again.rows == results.rows
    assert measured(folder) == found


def test_of_a_network_that_was_sent_the_record_is_written_first(tmp_path, monkeypatch):
    written = []

    def part_file(path):
        written.append(path.name)
        return files.part_file(path)

    monkeypatch.setattr(workers, "part_file", part_file)
    workers._put_all(Shelf(tmp_path), {"net.safetensors": b"weights", "net.npz": b"record"})
    assert written == ["net.npz", "net.safetensors"]
    assert (tmp_path / "net.npz").read_bytes() == b"record"


@pytest.mark.parametrize(
    ("code", "data", "kind", "told"),
    [
        ("another", "data", HERE, "another version of gbi_helpers than this process: install the same on all"),
        (workers.version(), "another", HERE, "A worker has other data than this process"),
        (workers.version(), "data", "tpu", rf"another kind of device \({HERE}\) than this process \(tpu\)"),
    ],
)
def test_a_worker_of_another_version_or_with_other_data_or_device_is_told_in_one_sentence(code, data, kind, told):
    with pytest.raises(ValueError, match=told):
        workers.bench_at((STUDY.module, "", "", code, data, kind))


@pytest.mark.parametrize(
    ("asked", "kind", "told"),
    [
        ("tcp://127.0.0.1:9", ConnectionError, "No scheduler answers at tcp://127.0.0.1:9"),
        ("nonsense", ValueError, "give a number of processes, or an address as tcp://HOST:PORT"),
        ("0", ValueError, "give a number of processes"),
    ],
)
def test_a_scheduler_that_does_not_answer_is_told_in_one_sentence(asked, kind, told, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 1)
    with pytest.raises(kind, match=told), workers.connected(asked):
        pass


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'gbi-helpers\[cluster\]'"), workers.connected("2"):
        pass
