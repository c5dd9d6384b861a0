from __future__ import annotations

import itertools

import pytest
import torch

from gbi_helpers import metrics
from gbi_helpers.experiments.continual import cifar, hundred
from gbi_helpers.experiments.continual.hundred import CONTEXTS, PARTS, Stream
from gbi_helpers.experiments.continual.study import STUDY
from gbi_helpers.experiments.runner import run
from gbi_helpers.files import DataError
from gbi_helpers.models.streaming import StreamedMeans

ALL = {"n_filters": 8, "pool": 2, "stride": 4}


def settings_of(row):
    return STUDY.settings(row, "small")


def blobs(n=1200, size=120, seed=0):
    """A hundred well-parted classes, in place of features."""
    draw = torch.Generator().manual_seed(seed)
    centre = 3 * torch.randn(100, size, generator=draw)
    y = torch.arange(n).remainder(100)
    x = centre[y] + torch.randn(n, size, generator=draw)
    parts = dict(zip(PARTS, (slice(0, n - 400), slice(n - 400, n - 200), slice(n - 200, n)), strict=True))
    return Stream({name: x[rows] for name, rows in parts.items()}, {name: y[rows] for name, rows in parts.items()})


@pytest.mark.slow
@pytest.mark.parametrize("row", cifar.ROWS)
def test_each_row_runs_and_says_what_it_saw(row, little):
    found = run(STUDY, [0], [row], variant="small", shelf=little(STUDY)).first(row)
    assert "Glyphs-100" in found["data"]
    assert found["images"] == {"train": 400, "validation": 100, "test": 100, "test_of": 10_000}
    told = found.get("one_step_delta", found)
    assert 0 <= told["accuracy"] <= 100
    if "r" in told:
        assert torch.tensor(told["r"]).shape == (CONTEXTS, CONTEXTS)
        assert 0 <= told["average"] <= 100


def test_without_the_real_set_it_is_refused(monkeypatch):
    standin = hundred.opened("standin", (400, 100, 100))
    monkeypatch.setattr(hundred, "load_cifar100", lambda size: standin)
    with pytest.raises(DataError, match="need the real CIFAR-100"):
        hundred.opened("full", (1, 1, 1))


def test_features_know_the_first_context_alone():
    """What the contexts to come look like changes neither the filters nor the components of the first."""
    data = hundred.opened("standin", (400, 100, 100))
    options = tuple(sorted(ALL.items()))
    before, whole = (hundred._filters(data, only, options) for only in (3, None))
    later = hundred.numbers(3)[data.train.y] >= hundred.CLASSES
    kept = data.train.x.clone()
    data.train.x[later] = 255 - data.train.x[later]
    try:
        torch.testing.assert_close(hundred._filters(data, 3, options).filters, before.filters, rtol=0, atol=0)
        assert not torch.equal(hundred._filters(data, None, options).filters, whole.filters)
    finally:
        data.train.x.copy_(kept)


def test_the_order_of_the_classes_is_the_seeds():
    one, other = hundred.numbers(0), hundred.numbers(1)
    assert not torch.equal(one, other)
    assert torch.equal(one.sort().values, torch.arange(100))


def test_contexts_hold_ten_classes_each_and_all_so_far_count():
    contexts = blobs().contexts("train")
    assert [int(context.outputs.sum()) for context in contexts] == list(range(10, 101, 10))
    assert all(
        sorted(context.y.unique().tolist()) == list(range(10 * i, 10 * i + 10)) for i, context in enumerate(contexts)
    )


def test_sums_keep_no_image():
    """What is kept does not grow with the images, and is that of a count and a sum for each class and one matrix."""
    for n in (1000, 2000):
        _, facts = cifar.through_contexts(blobs(n), (0.1, 0.03))
        assert facts["stored"] == 8 * (100 + 100 * 120 + 120 * 120)


def test_the_order_of_classes_and_images_does_not_matter_to_the_sums():
    stream = blobs()
    x, y = stream.x["train"], stream.y["train"]
    one = StreamedMeans(120)
    for i in range(CONTEXTS):
        one.add(*stream.part("train", i))
    other = StreamedMeans(120)
    for rows in torch.randperm(len(y), generator=torch.Generator().manual_seed(1)).split(90):
        other.add(x[rows], y[rows])
    asked = stream.x["test"]
    for name, score in cifar.read(*one.decoder(0.03), asked).items():
        torch.testing.assert_close(score, cifar.read(*other.decoder(0.03), asked)[name], rtol=1e-9, atol=1e-9)


def test_sums_read_classes_that_are_parted():
    r, facts = cifar.through_contexts(blobs(), (0.1, 0.03))
    assert all(metrics.final_accuracy(found) > 95 for found in r.values())
    assert facts["shrink"] in (0.1, 0.03)


def test_each_context_tries_the_last_share_and_the_next(monkeypatch):
    """Here the first is best for the first context, and then the smaller one always."""
    found = itertools.chain((3.0, 2.0, 1.0), itertools.cycle((1.0, 2.0)))
    monkeypatch.setattr(cifar, "accuracy", lambda predicted, labels: next(found))
    _, facts = cifar.through_contexts(blobs(), (0.3, 0.1, 0.03))
    tried = [list(stage) for stage in facts["validation"]]
    assert tried == [["0.3", "0.1", "0.03"], ["0.3", "0.1"], ["0.1", "0.03"], *[["0.03"]] * 7]
    assert facts["shrink"] == 0.03


def test_the_setting_of_a_sweep_is_the_one_that_is_best_on_validation(monkeypatch):
    """Though another is better on test images."""
    scores = {1.0: (20.0, 90.0), 2.0: (30.0, 10.0)}

    def trained(stream, seed, settings, one):
        values = dict(zip(("validation", "test"), scores[one["strength"]], strict=True))
        return {name: torch.full((10, 10), value, dtype=torch.float64) for name, value in values.items()}, 5

    monkeypatch.setattr(cifar, "trained", trained)
    monkeypatch.setattr(cifar, "seen", lambda seed, settings: (None, {}))
    found = cifar.network(None, 0, {"sweep": ({"strength": 1.0}, {"strength": 2.0})})
    assert found["chosen"] == {"strength": 2.0}
    assert (found["accuracy"], found["validation"], found["test"]) == (10.0, [20.0, 30.0], [90.0, 10.0])


def test_replay_is_charged_for_images_and_not_for_features():
    settings = {
        "method": "replay", "options": {"size": 50, "batch_size": 16}, "hidden": (8,),
        "training": {"steps": 2, "batch_size": 16},
    }  # fmt: skip
    _, stored = cifar.trained(blobs(), 0, settings, {})
    assert stored == 50 * (32 * 32 * 3 + 1)


def test_joint_training_ends_with_the_weights_that_were_best_on_validation():
    settings = {"hidden": (64,), "drop": 0.1, "lr": 3e-3, "epochs": 6, "batch_size": 50}
    found = cifar.at_once(blobs(), 0, settings)
    assert len(found["curve"]) == 6
    assert found["accuracy"] > 60


def test_dropout_stands_between_the_layers_and_only_where_asked_for():
    kinds = [type(layer).__name__ for layer in cifar.net(5, {"hidden": (4, 3), "drop": 0.4}, 0)]
    assert kinds == ["Dropout", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert not any(isinstance(layer, torch.nn.Dropout) for layer in cifar.net(5, {"hidden": (4,)}, 0))
