"""The small measures of notebook 02."""

import pytest
import torch

from gbi_helpers.data.toy import floors, switching_stream
from gbi_helpers.experiments.toy import learning as toy_learning
from gbi_helpers.experiments.toy.recipes import train


def test_the_place_in_a_block_is_averaged_over_the_last_blocks_only():
    values = torch.tensor([[9.0], [9.0], [1.0], [2.0], [3.0], [6.0]])
    assert toy_learning.by_place(values, block=2, blocks=2).tolist() == [[2.0], [4.0]]


def test_the_filter_s_errors_average_to_the_floor():
    stream = switching_stream(4, blocks=10, block=25)
    found = toy_learning.filter_excess(stream)
    assert found.shape == (245, 4)
    assert float(found.mean()) == pytest.approx(floors(stream).filter_excess, abs=1e-6)


def test_unreliable_labels_are_right_or_swapped_for_a_whole_block():
    stream = switching_stream(20, blocks=50, block=10)
    told = toy_learning.unreliable_z(stream, 0.8)
    right = (told == stream.z).all(-1).unflatten(1, (50, 10))
    assert bool((right.all(-1) | ~right.any(-1)).all())
    assert float(right.float().mean()) == pytest.approx(0.8, abs=0.05)
    assert torch.equal(toy_learning.unreliable_z(stream, 1.0), stream.z)


def test_weights_at_rest_see_five_numbers_and_the_label_of_the_next():
    model = train(switching_stream(2, blocks=2, block=10), "post").model
    fresh = switching_stream([1000, 1001], blocks=2, block=10)
    error = toy_learning.frozen_excess(model, fresh, fresh.z)
    with torch.no_grad():
        said = model(fresh.x[:, 7:12], fresh.z[:, 12])[:, -1]
    torch.testing.assert_close(error[7], (said - fresh.true_mean[:, 12]).square().mean(-1))
    assert error.shape == (15, 2)


def test_at_rest_the_context_that_training_ended_with_is_told_apart():
    run = train(switching_stream(1, blocks=3, block=10), "lstm")
    found = toy_learning.rested(run)
    fresh = toy_learning.fresh_stream(run.stream)
    error = toy_learning.frozen_excess(run.model, fresh)[:, 0]
    last = fresh.context[0, 5:] == run.stream.context[0, -1]
    assert float(found["last"]) == pytest.approx(float(error[last].mean()))
    assert float(found["other"]) == pytest.approx(float(error[~last].mean()))
    assert float(found["excess"]) == pytest.approx(float(error.mean()))
    assert found["place"].shape == (10, 1)
    assert fresh.seeds == (1000,)
