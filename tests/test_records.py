"""Records keep their arrays, check their axes, and survive a round trip to disk."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from gbi_helpers.records import Posterior, TrainingRecord, Trajectory, WordsRecord


def trajectory(**more) -> Trajectory:
    z = torch.softmax(torch.randn(6, 2, 4), -1)
    return Trajectory(z=z, loss=torch.rand(6, 2), q=z, **more)


def read_text(**more) -> WordsRecord:
    good = {
        "belief": torch.softmax(torch.randn(4, 3), -1),
        "evidence": torch.randn(4, 3),
        "loss": torch.rand(4),
        "words": ["to", "be", ",", "<unk>"],
        "tasks": ["speech", "chat", "recipe"],
    }
    return WordsRecord(**(good | more))


@pytest.mark.parametrize(
    "record",
    [
        Posterior(log_q=torch.log_softmax(torch.randn(3, 5), -1), loss=torch.rand(3), grad=torch.randn(3, 5)),
        Posterior(log_q=torch.zeros(3, 5), loss=torch.rand(3, 5)),
        trajectory(),
        trajectory(frames=torch.rand(6, 2, 8, 8), target=torch.rand(2, 8, 8)),
        TrainingRecord(torch.rand(9), {"val": torch.rand(3), "lr": torch.rand(9)}, {"seed": 3, "model": "toy"}),
        TrainingRecord(torch.rand(9, 4)),
        read_text(true=torch.tensor([0, 0, 2, 2]), facts={"model": "toy"}),
        read_text(words=("to", "be", ",", "or")),
    ],
    ids=[
        "one-step",
        "enumerated",
        "path",
        "path with frames",
        "training",
        "training over seeds",
        "words",
        "words of a reader",
    ],
)
def test_a_record_survives_the_disk(record, tmp_path):
    again = type(record).load(record.save(tmp_path / "folder" / "record.npz"))
    for name, value in vars(record).items():
        other = getattr(again, name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, other)
        elif isinstance(value, dict) and value and isinstance(next(iter(value.values())), torch.Tensor):
            assert value.keys() == other.keys()
            assert all(torch.equal(value[k], other[k]) for k in value)
        else:
            assert value == other
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["record.npz"]


def test_a_posterior_names_its_most_probable_task():
    posterior = Posterior(log_q=torch.tensor([[0.2, 0.8], [0.9, 0.1]]).log(), loss=torch.zeros(2))
    assert posterior.task.tolist() == [1, 0]
    torch.testing.assert_close(posterior.q.sum(-1), torch.ones(2))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"loss": torch.rand(5, 2)}, "'step' is 6 long in 'z' but 5 in 'loss'"),
        ({"loss": torch.rand(6)}, "loss needs the axes"),
        ({"frames": torch.rand(6, 3, 8, 8)}, "'batch' is 2 long in 'z' but 3 in 'frames'"),
        ({"z": torch.rand(6, 2, 4, 1)}, "z needs the axes"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(fields, words):
    good = {"z": torch.rand(6, 2, 4), "loss": torch.rand(6, 2)}
    with pytest.raises(ValueError, match=words):
        Trajectory(**(good | fields))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"words": ["to", "be"]}, r"words names 2, but its belief has the shape \(4, 3\)"),
        ({"tasks": ["speech"]}, r"tasks names 1, but its belief has the shape \(4, 3\)"),
        ({"words": "to b"}, "words must be a list of strings"),
        ({"tasks": [0, 1, 2]}, "tasks must be a list of strings"),
        ({"loss": torch.rand(5)}, "'word' is 4 long in 'belief' but 5 in 'loss'"),
        ({"true": torch.zeros(4)}, "whole numbers of 0 to 2"),
        ({"true": torch.tensor([0, 1, 2, 3])}, "whole numbers of 0 to 2"),
        ({"true": torch.tensor([0, 1])}, "'word' is 4 long in 'belief' but 2 in 'true'"),
    ],
)
def test_a_text_needs_a_name_for_each_word_and_task(fields, words):
    with pytest.raises(ValueError, match=words):
        read_text(**fields)


def test_a_record_of_another_kind_is_refused(tmp_path):
    path = trajectory().save(tmp_path / "path.npz")
    with pytest.raises(ValueError, match=r"holds a Trajectory.*Trajectory\.load"):
        Posterior.load(path)


def in_place(head, byte):
    """Write ``byte`` over the eighth one after the last ``head``: how the first file inside was packed."""
    return lambda b: b[: b.rindex(head) + 8] + byte + b[b.rindex(head) + 9 :]


def an_array():
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[: len(b) // 2],
        lambda b: b"",
        lambda b: b"not a record",
        lambda b: an_array(),
        in_place(b"PK\x01\x02", b"\x01"),
        lambda b: b.replace(b"loss.npy", b"lost.npy"),
    ],
    ids=["half", "empty", "text", "array", "encrypted", "renamed"],
)
def test_a_damaged_file_is_answered_with_a_sentence(tmp_path, damage):
    path = trajectory().save(tmp_path / "path.npz")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="write it again"):
        Trajectory.load(path)
