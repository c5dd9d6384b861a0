"""A shelf: what took long is made once, whole, and made anew where it is damaged."""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
from pathlib import Path

import pytest
import torch

from gbi_helpers.experiments import shelf as module
from gbi_helpers.experiments.shelf import Shelf, mark
from gbi_helpers.models.image import Classifier
from gbi_helpers.records import TrainingRecord


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


def test_marks_differ_where_the_settings_do():
    assert mark({"a": 1, "b": 2}) == mark({"b": 2, "a": 1})
    assert len({mark({"lr": 0.1}), mark({"lr": 0.2}), mark({"lr": 0.1}, "more"), mark()}) == 4


def test_what_another_kind_of_device_made_lies_apart(shelf, monkeypatch):
    monkeypatch.setattr(module, "device", lambda: torch.device("cuda", 0))
    there = shelf.network("net", "x", trained(3, []))[0], shelf.place("net", "x", ".npy")
    monkeypatch.setattr(module, "device", lambda: torch.device("cpu"))
    resumes = []
    shelf.network("net", "x", trained(4, resumes))
    assert (len(resumes), there[0].sizes) == (1, {"channels": 3})
    assert there[1] != shelf.place("net", "x", ".npy")
    assert shelf.place("net", "x", ".npy").name == f"net-{mark('x')}.npy", "the CPU's places are the old ones"


def test_values_are_made_once_for_what_they_depend_on(shelf):
    made = []

    def make():
        made.append(1)
        return {"found": len(made)}

    assert [shelf.values("a/b", on, make)["found"] for on in ("x", "x", "y", "x")] == [1, 1, 2, 1]
    assert len(list(shelf.folder.glob("a-b-*.json"))) == 2


def test_nothing_half_written_is_left(shelf):
    def stops():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shelf.values("a", "x", stops)
    assert [path for path in shelf.folder.iterdir() if not path.name.startswith(".")] == []


def trained(channels, resumes):
    def train(resume):
        resumes.append(resume)
        torch.manual_seed(0)
        return Classifier(channels=channels), TrainingRecord(torch.arange(3.0), facts={"cpu_seconds": 1.0})

    return train


def test_a_network_comes_back_bit_by_bit_with_its_record_in_its_own_sizes(shelf):
    resumes = []
    first, _ = shelf.network("net", "x", trained(3, resumes))
    again, record = shelf.network("net", "x", trained(3, resumes))
    assert len(resumes) == 1
    assert resumes[0].parent == shelf.folder
    assert not again.training
    assert again.sizes == {"channels": 3}
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert record.loss.tolist() == [0, 1, 2]


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_a_damaged_network_is_trained_anew_and_said_once(shelf, ending, capsys):
    resumes = []
    shelf.network("net", "x", trained(3, resumes))
    path = shelf.place("net", "x", ending)
    path.write_bytes(path.read_bytes()[:40])
    for _ in range(2):
        shelf.network("net", "x", trained(3, resumes))
    assert len(resumes) == 2
    assert capsys.readouterr().err.count("is damaged: what it held is made anew") == 1


def test_an_error_of_the_system_is_raised_and_costs_no_file(shelf, monkeypatch):
    """Too many open files, or a disk that fails, say nothing of what lies there: hours of measuring would be lost."""
    resumes = []
    path = shelf.place("a", "x")
    shelf.values("a", "x", lambda: {"found": 1})
    shelf.network("net", "x", trained(3, resumes))
    half = path.with_name("half.pt")
    torch.save({"step": 7}, half)
    files = sorted(p for p in shelf.folder.iterdir() if not p.name.startswith("."))
    assert len(files) == 4
    reading = {
        ".json": lambda: module.read_kept(path),
        ".safetensors": lambda: shelf.network("net", "x", trained(3, resumes)),
        ".npz": lambda: shelf.network("net", "x", trained(3, resumes)),
        ".pt": lambda: module._resumed(half),
    }
    for number, (ending, read) in itertools.product((errno.EMFILE, errno.EIO), reading.items()):
        monkeypatch.setattr(Path, "open", failing(ending, number))
        with pytest.raises(OSError, match=os.strerror(number)):
            read()
        monkeypatch.undo()
    assert [p for p in files if not p.exists()] == []
    assert shelf.values("a", "x", lambda: {"found": 2}) == {"found": 1}
    shelf.network("net", "x", trained(3, resumes))
    assert len(resumes) == 1


def failing(ending, number):
    """Path.open, which fails for files of this ending."""
    plain = Path.open

    def opened(path, *how, **more):
        if path.suffix == ending:
            raise OSError(number, os.strerror(number), str(path))
        return plain(path, *how, **more)

    return opened


def test_a_network_without_its_record_is_trained_anew(shelf):
    resumes = []
    shelf.network("net", "x", trained(3, resumes))
    shelf.place("net", "x", ".npz").unlink()
    shelf.network("net", "x", trained(3, resumes))
    shelf.network("net", "x", trained(3, resumes))
    assert len(resumes) == 2


def test_a_tensor_makes_no_mark_for_its_words_would_be_those_of_another():
    with pytest.raises(TypeError, match="not of a Tensor: give a digest of it"):
        mark({"weights": torch.zeros(2000)})
    assert mark(torch.float32, torch.device("cpu")) != mark(torch.float64, torch.device("cpu"))


def test_a_network_just_trained_is_in_eval_mode(shelf):
    def train(resume):
        return Classifier(channels=2).train(), TrainingRecord(torch.zeros(1))

    assert not shelf.network("n", "x", train)[0].training


def test_who_comes_second_waits_for_what_the_first_makes(shelf):
    made = []

    def make():
        made.append(1)
        time.sleep(0.5)
        return {"x": 1}

    both = [threading.Thread(target=shelf.values, args=("a", "x", make)) for _ in "ab"]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert made == [1]


def test_a_shelf_is_swept_of_what_a_killed_process_left(tmp_path, monkeypatch):
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path))
    kept, left = (Shelf.of("toy").folder / name for name in ("new.part", "old.part"))
    for path in (kept, left):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.utime(kept, (time.time() - 7200,) * 2)
    os.utime(left, (1, 1))
    Shelf.of("toy")
    assert (kept.exists(), left.exists()) == (True, False)
