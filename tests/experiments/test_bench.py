"""The mark under which a row is kept depends on all the data that it reads, its own as well as the world's."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import counting
import numpy as np
import pytest
import torch

from gbi_helpers.experiments import borrowed, source
from gbi_helpers.experiments.bench import Bench
from gbi_helpers.experiments.continual import further, hundred, language
from gbi_helpers.experiments.cost.study import STUDY as COST
from gbi_helpers.experiments.ood import unopened
from gbi_helpers.experiments.ood.study import STUDY as OOD
from gbi_helpers.experiments.questions.study import STUDY as QUESTIONS
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import Task
from gbi_helpers.files import DataError


def lacking(world, row, settings):
    raise DataError("CIFAR-1000 is damaged: get it anew.")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where the row "fast" lies, or would, in a study that names further data in this way."""
    monkeypatch.setenv("COUNTING", str(tmp_path))
    return lambda digest_for: Bench(
        dataclasses.replace(counting.STUDY, digest_for=digest_for), "", Shelf(tmp_path)
    ).place("fast", 0)


def test_rows_that_read_further_data_lie_under_a_mark_of_them(place):
    places = {digest: place(lambda world, row, settings, digest=digest: digest) for digest in ("", "a", "b")}
    assert len(set(places.values())) == 3
    assert places[""] == place(None) == place(lacking), "without further data the mark is the world's alone"


def test_a_row_lies_under_a_mark_of_the_networks_it_needs(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTING", str(tmp_path))

    def retrained(world, network, seed):
        return [tmp_path / f"retrained-{network}-{seed}.safetensors"]

    studies = counting.STUDY, dataclasses.replace(counting.STUDY, files=retrained)
    before, after = (Bench(study, "", Shelf(tmp_path)) for study in studies)
    assert before.place("net a", 0) != after.place("net a", 0)
    assert before.place("fast", 0) == after.place("fast", 0), "which needs none"


@pytest.mark.parametrize("row", ["cifar/sums", "lang/replay_16", "sums"])
def test_continual_tells_images_and_texts_apart(row, monkeypatch):
    monkeypatch.setattr(hundred, "opened", lambda which, images: SimpleNamespace(digest=f"{which} {images}"))
    monkeypatch.setattr(language, "text", lambda variant: ("a source", SimpleNamespace(digest=variant)))
    settings = {"set": "standin", "images": (4, 1, 1), "text": "small"}
    told = {"cifar/sums": "standin (4, 1, 1)", "lang/replay_16": "small", "sums": ""}
    assert further.digest_for(None, row, settings) == told[row]
    monkeypatch.setattr(further, "at_hand", lambda key: False)
    assert further.digest_for(None, "cifar/sums", {"set": "full"}) == "", "what is not there is not looked for"


def test_cost_and_questions_tell_hundred_classes_apart():
    def world(digest):
        return SimpleNamespace(variant="small", cifar=SimpleNamespace(digest=digest))

    def told(study, row, digest):
        return study.digest_for(world(digest), row, study.settings(row, "small"))

    for study, row in ((COST, "cifar_features"), (COST, "directions/pixels"), (QUESTIONS, "embeddings/learned")):
        assert "" != told(study, row, "a") != told(study, row, "b")
    assert told(COST, "mnist", "a") == told(QUESTIONS, "together_detection", "a") == ""


def test_who_reads_photographs_tells_them_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GBI_OFFLINE", "1")

    def told():
        unopened.digest.cache_clear()
        away = borrowed.digest_for("questions", None, "together_untrained", {"unopened": ["letters", "photographs"]})
        return OOD.digest_for(None, "unopened", {}), away, OOD.digest_for(None, "faithful", {})

    assert told() == ("", "", "")
    found = []
    for value in (0, 255):
        np.savez(tmp_path / "cifar-10-test.npz", x_test=np.full((3, 32, 32, 3), value, np.uint8))
        found.append(told())
    assert all(a and b and a != b for a, b in list(zip(*found, strict=True))[:2])
    assert [last for *_, last in found] == ["", ""]
    unopened.digest.cache_clear()


def test_rows_and_networks_are_made_on_one_thread(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTING", str(tmp_path))
    seen = []

    def measure(world, seed, settings):
        seen.append(torch.get_num_threads())
        return {"x": 1.0}

    row = dataclasses.replace(counting.ROWS["fast"], measure=measure, needs=("net",))
    train = lambda world, network, seed: seen.append(torch.get_num_threads())  # noqa: E731
    study = dataclasses.replace(counting.STUDY, rows={"fast": row}, train=train)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Bench(study, "", Shelf(tmp_path)).measure(Task("fast", (0,)))
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1]


KIND, TABLE = torch.float32, torch.zeros(2)


def reads_constants():
    return KIND, TABLE


@pytest.mark.parametrize(
    ("name", "changed"), [("KIND", torch.bfloat16), ("TABLE", torch.ones(2)), ("TABLE", np.zeros(2)), ("TABLE", 2j)]
)
def test_a_mark_knows_dtypes_tensors_arrays_and_complex_numbers(name, changed, monkeypatch):
    source._mark.cache_clear()
    before = source.code_of(reads_constants)
    monkeypatch.setitem(reads_constants.__globals__, name, changed)
    source._mark.cache_clear()
    assert source.code_of(reads_constants) != before
