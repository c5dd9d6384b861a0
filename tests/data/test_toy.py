"""The toy stream is what it says, and its references are exact."""

import pytest
import torch

from gbi_helpers.data.toy import floors, random_z, shuffled_z, steady_windows, switching_stream


def test_a_seed_draws_the_same_alone_and_with_others():
    together, alone = switching_stream(4, blocks=6), switching_stream([2], blocks=6)
    assert torch.equal(together.x[2:3], alone.x)
    assert torch.equal(together.context[2:3], alone.context)
    assert not torch.equal(together.x[0], together.x[1])


def test_two_contexts_take_turns_in_fixed_blocks():
    stream = switching_stream(3, blocks=8, block=10)
    blocks = stream.context.unflatten(1, (8, 10))
    assert (blocks == blocks[:, :, :1]).all()
    assert (blocks[:, 1:, 0] != blocks[:, :-1, 0]).all()
    assert stream.hazard == 0.1


@pytest.mark.parametrize("n_contexts", [2, 3, 5])
def test_a_hazard_switches_that_often_and_never_to_the_same_context(n_contexts):
    stream = switching_stream(5, means=list(range(n_contexts)), blocks=100, block=100, hazard=0.05)
    switched = stream.context[:, 1:] != stream.context[:, :-1]
    assert float(switched.float().mean()) == pytest.approx(0.05, abs=0.005)
    assert stream.context.unique().tolist() == list(range(n_contexts))
    assert stream.block == 0


def test_samples_lie_around_the_means_of_their_contexts_also_for_vectors():
    means = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.0, 3.0]])
    stream = switching_stream(4, means=means, sd=0.5, blocks=100)
    assert stream.x.shape == (4, 5000, 3)
    error = stream.x - stream.true_mean
    assert float(error.std()) == pytest.approx(0.5, abs=0.01)
    assert error.mean((0, 1)).abs().max() < 0.02
    assert torch.equal(stream.z.argmax(-1), stream.context)


@pytest.mark.parametrize(
    "wrong", [{"means": [0.1]}, {"means": torch.zeros(2, 2, 2)}, {"sd": 0.0}, {"blocks": 0}, {"hazard": 1.5}]
)
def test_what_makes_no_stream_is_refused(wrong):
    with pytest.raises(ValueError, match=r"stream needs|2 or more contexts"):
        switching_stream(1, **wrong)


def test_the_controls_keep_the_shape_of_z_but_not_its_meaning():
    stream = switching_stream(10, blocks=200, block=10)
    for z in (random_z(stream, 10), random_z(stream, 1), shuffled_z(stream)):
        assert z.shape == stream.z.shape
        assert (z.sum(-1) == 1).all()
        assert float((z * stream.z).sum(-1).mean()) == pytest.approx(0.5, abs=0.06)
    assert torch.equal(shuffled_z(stream).sum(1), stream.z.sum(1))
    few = switching_stream(3, means=[0.0, 1, 2, 3], blocks=30, block=10)
    for z in (random_z(few, 10), shuffled_z(few)):
        blocks = z.unflatten(1, (30, 10))
        assert (blocks == blocks[:, :, :1]).all(), "they change as often as the context"
        assert (blocks[:, 1:, 0] != blocks[:, :-1, 0]).any()
    with pytest.raises(ValueError, match="no blocks"):
        shuffled_z(switching_stream(1, hazard=0.1))


def test_floors_are_the_known_ones():
    found = floors(switching_stream(20))
    assert found.mse == pytest.approx(0.09)
    assert found.mae == pytest.approx(0.2394, abs=1e-4)
    assert found.filter_excess == pytest.approx(0.0175, abs=0.001)
    assert found.window_excess == pytest.approx(0.0181, abs=0.001)
    assert found.filter_excess < found.window_excess


def test_steady_windows_stay_in_their_context():
    windows, context = steady_windows(torch.tensor([[0.2], [0.8]]), 0.3, rows=500, length=6, seeds=3)
    assert windows.shape == (3 * 2 * 500, 6, 1)
    other, _ = steady_windows(torch.tensor([[0.2], [0.8]]), 0.3, rows=500, length=6, seeds=3, seed=9)
    assert not torch.equal(windows, other)
    found = windows.unflatten(0, (3, 2, 500)).mean((2, 3, 4))
    torch.testing.assert_close(found, torch.tensor([0.2, 0.8]).expand(3, 2), rtol=0, atol=0.03)
    assert torch.equal(context.unflatten(0, (3, 2, 500))[0, :, 0], torch.tensor([0, 1]))
    assert not torch.equal(windows[:1000], windows[1000:2000])
