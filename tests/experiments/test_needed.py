"""What records need beside the course: known by name, and looked for where loaders look."""

import importlib
import json

import pytest

from gbi_helpers.experiments import STUDIES
from gbi_helpers.experiments.needed import NAMES, NEEDED, advice, at_hand, needs
from gbi_helpers.experiments.study import SMALL

SHIPPED = {
    study.record(variant): (study, variant)
    for study in (importlib.import_module(module).STUDY for module in STUDIES.values())
    for variant in study.variants
    if variant != SMALL
}


@pytest.fixture(autouse=True)
def nothing_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("GBI_DATA_DIR", raising=False)
    monkeypatch.setenv("GBI_DEVICE", "cpu")
    return tmp_path


def test_every_record_that_is_named_is_shipped_and_every_row_is_there():
    assert set(NEEDED) <= set(SHIPPED)
    for record, sets in NEEDED.items():
        study, variant = SHIPPED[record]
        for start, key in sets.items():
            assert key in NAMES
            assert any(row.startswith(start) for row in study.names(variant)), f"{record} has no row '{start}...'"


@pytest.mark.parametrize("record", ["continual", "cost", "questions"])
def test_rows_that_look_at_a_hundred_classes_say_so(record):
    study, variant = SHIPPED[record]
    for row in study.names(variant):
        settings = json.dumps(study.settings(row, variant), default=str)
        sees = '"views"' in settings or '"set": "full"' in settings
        assert ("cifar-100" in needs(record, row)) is sees, row


def test_nothing_is_at_hand_in_empty_folders_and_the_advice_says_how_to_get_it():
    assert [key for key in NAMES if at_hand(key)] == []
    assert advice("cifar-100") == "CIFAR-100: gbi data get cifar-100"


def test_what_lies_in_the_data_folder_is_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar-10-test.npz").write_bytes(b"x")
    assert at_hand("cifar-10")


@pytest.mark.filterwarnings("error")
def test_to_look_whether_a_set_is_at_hand_moves_no_damaged_one(tmp_path, monkeypatch):
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("GBI_DATA_DIR", raising=False)
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte").write_bytes(b"half")
    (tmp_path / "cifar-100.npz").write_bytes(b"half")
    (tmp_path / "cifar-10-batches-py").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert not any(map(at_hand, ("mnist", "cifar-100", "cifar-10")))
    assert sorted(tmp_path.rglob("*")) == before


def test_small_records_need_nothing():
    assert needs("continual_small", "cifar/sums") == []
    assert needs("continual", "cifar/sums") == ["mnist", "cifar-100"]
