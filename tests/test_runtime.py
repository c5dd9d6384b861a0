"""Device, profile, seeds, and files that are never half-written."""

from __future__ import annotations

import contextlib
import errno

import pytest
import torch

from gbi_helpers import files, runtime


def test_the_profile_follows_the_device_and_can_be_overridden(monkeypatch):
    monkeypatch.delenv("GBI_PROFILE", raising=False)
    monkeypatch.setenv("GBI_DEVICE", "cpu")
    assert runtime.profile() == "quick"
    monkeypatch.setattr(runtime, "device", lambda: torch.device("cuda"))  # which this machine need not have
    assert runtime.profile() == "full"
    monkeypatch.setenv("GBI_PROFILE", "quick")
    assert runtime.profile() == "quick"
    monkeypatch.setenv("GBI_PROFILE", "fast")
    with pytest.raises(ValueError, match="quick, full"):
        runtime.profile()


def test_a_device_that_is_none_is_one_sentence(monkeypatch):
    monkeypatch.setenv("GBI_DEVICE", "banana")
    with pytest.raises(ValueError, match="GBI_DEVICE is 'banana': set it to cpu or cuda"):
        runtime.profile()


@pytest.mark.parametrize(
    "named",
    [
        "meta",  # knows shapes, and no numbers
        pytest.param("cuda", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA computes here")),
    ],
)
def test_a_device_that_cannot_compute_here_is_one_sentence(named, monkeypatch):
    monkeypatch.setenv("GBI_DEVICE", named)
    with pytest.raises(ValueError, match=f"GBI_DEVICE is '{named}', on which PyTorch cannot compute here: set it to"):
        runtime.device()


def test_a_part_file_becomes_the_file_only_when_all_went_well(tmp_path):
    target = tmp_path / "new folder" / "result.txt"
    with files.part_file(target) as part:
        part.write_text("done")
        assert not target.exists()
    assert target.read_text() == "done"

    def fail_half_way() -> None:
        with files.part_file(target) as part:
            part.write_text("half")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert target.read_text() == "done"
    assert [p.name for p in target.parent.iterdir()] == ["result.txt"]


def test_a_full_disk_is_answered_with_a_sentence_and_leaves_nothing(tmp_path):
    def fill_the_disk() -> None:
        with files.part_file(tmp_path / "big.bin") as part:
            part.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"Cannot write .*big\.bin.*No space left.*Free some space"):
        fill_the_disk()
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_answered_with_a_sentence(tmp_path):
    (tmp_path / "cache").write_text("in the way")

    def write() -> None:
        with files.part_file(tmp_path / "cache" / "x.npz") as part:
            part.write_text("never")

    with pytest.raises(OSError, match=r"Cannot write .*x\.npz"):
        write()


def test_draws_inside_leave_the_random_state_and_open_no_gpu(monkeypatch):
    asked = []
    monkeypatch.setattr(
        torch.random, "fork_rng", lambda devices: asked.append(list(devices)) or contextlib.nullcontext()
    )
    with runtime.random_state_kept(torch.device("cpu"), torch.device("cuda:1"), torch.device("cuda:1")):
        pass
    assert asked == [[torch.device("cuda:1")]]
    monkeypatch.undo()
    torch.manual_seed(0)
    with runtime.random_state_kept():
        torch.rand(5)
    with runtime.random_state_kept(seed=0):
        first = torch.rand(1)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))
    assert torch.equal(drawn, first)
