"""Records keep their arrays, check their axes, and survive a round trip to disk."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from gbi_helpers.records import ContinualRecord, ModulesRecord, Posterior, TrainingRecord, Trajectory, WordsRecord


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


def learned(**more) -> ContinualRecord:
    """Two learners, three contexts looked at once each, four images of six classes."""
    good = {
        "r": torch.full((2, 3, 3), 50.0).masked_fill(torch.ones(3, 3).triu(1).bool(), torch.nan),
        "q": torch.softmax(torch.randn(2, 3, 4, 6), -1),
        "images": torch.randint(256, (4, 5, 5), dtype=torch.uint8),
        "y": torch.tensor([0, 2, 4, 5]),
        "context": torch.arange(3),
        "step": torch.tensor([9, 9, 9]),
        "known": torch.arange(6) // 2 <= torch.arange(3)[:, None],
        "learners": ["net", "sums"],
        "contexts": ["a", "b", "c"],
        "classes": list("012345"),
    }
    return ContinualRecord(**(good | more))


def with_nan(values: torch.Tensor, *place: int) -> torch.Tensor:
    values = values.clone()
    values[place] = torch.nan
    return values


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
        read_text(true=torch.tensor([0, 3, 3, 1]), sources=["a", "b", "c", "d"]),
        learned(facts={"steps": 9}),
        learned(means=torch.rand(3, 6, 5, 5), gates=torch.rand(3, 7), learners=("net", "sums")),
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
        "words in slots",
        "learners",
        "learners with means and gates",
    ],
)
def test_a_record_survives_the_disk(record, tmp_path):
    again = type(record).load(record.save(tmp_path / "folder" / "record.npz"))
    for name, value in vars(record).items():
        other = getattr(again, name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(value.nan_to_num(-1), other.nan_to_num(-1))
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
    with pytest.raises(ValueError, match="no number for each task but log_q"):
        _ = posterior.score


def test_curves_are_of_all_frames_and_seeds():
    drawn = torch.rand(3, 2, 2, 4)
    ModulesRecord(torch.arange(3), drawn, drawn, curves={"overlap": torch.rand(3, 2)})
    with pytest.raises(ValueError, match=r"curves needs the axes \('frame', 'seed'\), but has shape \(3,\)"):
        ModulesRecord(torch.arange(3), drawn, drawn, curves={"overlap": torch.rand(3)})


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


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"q": torch.rand(2, 3, 4)}, "q needs the axes"),
        ({"q": torch.full((2, 4, 4, 6), 1 / 6)}, "'stage' is 3 long in 'r' but 4 in 'q'"),
        ({"y": torch.tensor([0, 2, 4])}, "'image' is 4 long in 'q' but 3 in 'y'"),
        ({"means": torch.rand(6, 5, 5)}, "means needs the axes"),
        ({"gates": torch.rand(2, 7)}, "'context' is 3 long in 'r' but 2 in 'gates'"),
        ({"learners": ["net"]}, r"learners names 1, but its r has the shape \(2, 3, 3\)"),
        ({"contexts": "abc"}, "contexts must be a list of strings"),
        ({"classes": list("01")}, r"classes names 2, but its q has the shape \(2, 3, 4, 6\)"),
        ({"y": torch.tensor([0, 2, 4, 6])}, "y must hold whole numbers of 0 to 5, one for each image"),
        ({"context": torch.tensor([0, 1, 3])}, "context must hold whole numbers of 0 to 2"),
        ({"context": torch.tensor([0, 2, 1])}, "context falls"),
        ({"q": torch.rand(2, 3, 4, 6)}, "q must hold probabilities"),
        ({"q": with_nan(torch.full((2, 3, 4, 6), 1 / 6), 1, 2, 0, 3)}, "q must hold probabilities"),
        ({"r": with_nan(torch.full((2, 3, 3), 50.0), 1, 2, 0)}, "r must be percent"),
        ({"r": torch.full((2, 3, 3), 101.0)}, "r must be percent"),
    ],
)
def test_what_learners_know_is_checked_and_told_in_one_sentence(fields, words):
    with pytest.raises(ValueError, match=words) as caught:
        learned(**fields)
    assert "\n" not in str(caught.value)


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


def test_half_precision_that_numpy_lacks_comes_back_as_the_same_numbers(tmp_path):
    log_q = torch.randn(2, 3).log_softmax(1).bfloat16()
    kept = Posterior(log_q, torch.zeros(2)).save(tmp_path / "a.npz")
    assert torch.equal(Posterior.load(kept).log_q, log_q.float())


def test_what_is_no_tensor_is_refused_at_once_and_not_when_it_is_used():
    with pytest.raises(ValueError, match=r"Posterior\.log_q must be a tensor, but is a ndarray"):
        Posterior(np.zeros((2, 3)), torch.zeros(2))
    with pytest.raises(ValueError, match=r"Posterior\.loss must be a tensor, but is a NoneType"):
        Posterior(torch.zeros(2, 3), None)
    assert Posterior(torch.zeros(2, 3), torch.zeros(2), None).grad is None
