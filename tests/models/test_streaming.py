from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from gbi_helpers import theory
from gbi_helpers.inference import enumerate_tasks, max_entropy
from gbi_helpers.models.streaming import StreamedMeans
from gbi_helpers.readouts import decoder_loss


def data(n_tasks=5, n=400, size=12, seed=0):
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % n_tasks
    means, mix = (torch.randn(rows, size, generator=draw) for rows in (n_tasks, size))
    return means[y] + torch.randn(n, size, generator=draw) @ mix / 2, y


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), parts=st.integers(1, 50))
def test_any_order_of_classes_and_images_ends_at_the_same_sums(seed, parts):
    x, y = data(seed=seed)
    shuffled = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    streams = [StreamedMeans(12) for _ in range(3)]
    for stream, order in zip(streams, (torch.arange(len(x)), shuffled, y.argsort(descending=True)), strict=True):
        for part in order.split(parts):
            stream.add(x[part], y[part])
    for other in streams[1:]:
        torch.testing.assert_close(other.means, streams[0].means, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(other.within, streams[0].within, rtol=1e-9, atol=1e-12)


def test_the_sums_are_those_of_all_data_at_once():
    x, y = data()
    stream = StreamedMeans(12).add(x[:100], y[:100]).add(x[100:], y[100:])
    means = torch.stack([x[y == k].double().mean(0) for k in range(5)])
    torch.testing.assert_close(stream.means, means)
    away = x.double() - means[y]
    torch.testing.assert_close(stream.within, away.T @ away / len(x))


@pytest.mark.parametrize("equidistant", [False, True])
def test_one_step_with_its_delta_is_k_passes(equidistant):
    x, y = data()
    to, model = StreamedMeans(12).add(x, y).decoder(equidistant=equidistant)
    z0 = max_entropy(len(x), 5, torch.float64)
    loss = decoder_loss(model, to(x.double()))
    delta = theory.one_step_gap(model.decoder.patterns.detach(), sd=1.0)
    step = theory.corrected_one_step(loss, z0, delta)
    assert (step.log_q - enumerate_tasks(loss, z0).log_q).abs().max() < 1e-9
    if equidistant:
        assert delta.max() - delta.min() < 1e-9


def test_without_shrinkage_it_is_linear_discriminant_analysis():
    x, y = data()
    to, model = StreamedMeans(12).add(x, y).decoder(shrink=0.0)
    exact = enumerate_tasks(decoder_loss(model, to(x.double())), max_entropy(len(x), 5, torch.float64))
    reference = LinearDiscriminantAnalysis(solver="lsqr", priors=[0.2] * 5).fit(x.double().numpy(), y.numpy())
    expected = torch.from_numpy(reference.predict_log_proba(x.double().numpy()))
    torch.testing.assert_close(exact.log_q, expected, rtol=1e-6, atol=1e-6)


def test_what_is_refused_leaves_the_sums_as_they_were():
    x, y = data()
    stream = StreamedMeans(12).add(x, y)
    means = stream.means
    for wrong, told in ((x[:, :5], y), (x[:1], torch.tensor([9.0])), (x[:1], torch.tensor([-1]))):
        with pytest.raises(ValueError, match=r"are summed here|whole numbers"):
            stream.add(wrong, told)
    assert stream.n_tasks == 5
    assert torch.equal(stream.means, means)


def test_classes_come_as_they_come_and_what_is_missing_is_told():
    x, y = data()
    stream = StreamedMeans(12).add(x[y == 0], y[y == 0])
    with pytest.raises(ValueError, match="add a second one"):
        stream.decoder()
    stream.add(x[y == 2], y[y == 2])
    assert stream.n_tasks == 3
    with pytest.raises(ValueError, match="No data yet of class 1"):
        stream.decoder()
    assert stream.add(x[y == 1], y[y == 1]).decoder()[1].n_tasks == 3


def test_least_squares_are_those_of_the_vectors_themselves():
    """Ridge regression with an intercept to one-hot classes, its penalty as a share of the mean variance."""
    x, y = data()
    weights, offset = StreamedMeans(x.shape[1]).add(x, y).least_squares(0.1)
    around = (x - x.mean(0)).double()
    cov = around.T @ around / len(x)
    one = torch.nn.functional.one_hot(y).double()
    ridge = 0.1 / 0.9 * cov.diagonal().mean() * torch.eye(x.shape[1], dtype=torch.float64)
    expected = torch.linalg.solve(cov + ridge, around.T @ (one - one.mean(0)) / len(x)) / 0.9
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(x.double().mean(0) @ weights + offset, one.mean(0))
