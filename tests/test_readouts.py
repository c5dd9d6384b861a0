"""Every way to read the task out of a generative model: what it means, and what it costs."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers import iterate, max_entropy
from gbi_helpers import readouts as module
from gbi_helpers.models.base import one_hot
from gbi_helpers.models.hundred_images import UNet
from gbi_helpers.models.image import ConditionalVAE, ConvAutoencoder
from gbi_helpers.readouts import (
    READOUTS,
    decoder_loss,
    decoder_rows,
    ebi,
    gbi_iterative,
    gbi_one_step,
    logits_of,
    nbi,
    pixel_entropy,
    readouts,
    relative_time,
)


@pytest.fixture(name="model")
def untrained():
    torch.manual_seed(0)
    return ConvAutoencoder().eval()


@pytest.fixture(name="x")
def images():
    return torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def test_passes_are_counted_exactly(model, x):
    found = readouts(model, x, chunk=3)
    assert {name: (one.forwards, one.backwards) for name, one in found.items()} == {
        "one_step": (1, 1),
        "iterative": (51, 50),
        "likelihood": (10, 0),
        "nbi": (10, 10),
        "ebi": (1, 1),
    }
    assert all(one.posterior.log_q.shape == (6, 10) and one.relative_time > 0 for one in found.values())


def test_readouts_of_chunks_are_those_of_the_whole(model, x):
    for name in READOUTS:
        whole, chunked = (readouts(model, x, [name], chunk=size)[name].posterior.log_q for size in (6, 2))
        torch.testing.assert_close(whole, chunked, rtol=1e-3, atol=1e-3)


def test_gradients_and_losses_of_chunks_are_those_of_the_whole(model, x):
    whole, chunked = (readouts(model, x, ["one_step"], chunk=size)["one_step"].posterior for size in (6, 2))
    torch.testing.assert_close(whole.grad, chunked.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(whole.loss, chunked.loss)
    torch.testing.assert_close(whole.grad, gbi_one_step(model, x).grad)


@pytest.fixture
def clock(monkeypatch):
    """Says that a forward of the whole model took a second, and what else is timed as many as are listed, in turn."""
    seconds = []

    def timed(call, *inputs):
        return 1.0 if call is module._plain_forward else seconds.pop(0), call(*inputs)

    monkeypatch.setattr(module, "timed", timed)
    return seconds


def test_a_time_is_that_of_a_readout_in_forwards_of_the_model_and_the_median_of_chunks(model, x, clock):
    clock += [2.0, 3.0, 100.0]
    assert readouts(model, x, ["one_step"], chunk=2)["one_step"].relative_time == 3
    clock += [2.0, 3.0, 100.0]
    assert relative_time(torch.nn.Flatten(), model, x, chunk=2) == 3


@pytest.mark.parametrize("made", [ConvAutoencoder, lambda: UNet(channels=8)])
def test_some_rows_have_the_loss_that_they_have_among_all(made, x):
    torch.manual_seed(0)
    model = made().eval()
    x = x if isinstance(model, ConvAutoencoder) else torch.rand(6, 3, 32, 32)
    index, z = torch.tensor([4, 0, 4]), torch.softmax(torch.randn(3, model.n_tasks), 1)
    found, encodings = decoder_rows(model, x)(index)(z), []
    torch.testing.assert_close(found, decoder_loss(model, x[index])(z))
    encode, model.encode = model.encode, lambda x: encodings.append(len(x)) or encode(x)
    rows = decoder_rows(model, x)
    rows(index)(z), rows(index[:1])(z[:1])
    assert encodings == [6]  # once, for all


def test_some_rows_may_be_judged_by_another_loss(model, x):
    z, brightness = torch.full((1, 10), 0.1), lambda output, images: images.flatten(1).sum(1)
    found = decoder_rows(model, x, nll=brightness)(torch.tensor([2]))(z)
    torch.testing.assert_close(found, x[2].sum()[None])


def test_one_step_names_the_digit_by_its_gradient_as_it_is(model, x):
    found = gbi_one_step(model, x)
    torch.testing.assert_close(found.log_q, torch.log_softmax(-found.grad, 1))


def test_the_iterative_readout_is_where_so_many_steps_of_such_a_rate_end(model, x):
    path = iterate(decoder_loss(model, x), max_entropy(6, 10), steps=3, lr=0.5)
    found = gbi_iterative(model, x, steps=3, lr=0.5)
    torch.testing.assert_close(found.q, path.q[-1])
    torch.testing.assert_close(found.loss, path.loss[-1])


def test_logits_of_more_images_than_go_through_at_once_are_those_of_all():
    x = torch.arange(5000.0).view(2500, 2)
    assert torch.equal(logits_of(torch.nn.Identity(), x), x)


def test_nbi_is_the_norm_of_the_gradient_at_each_corner(model, x):
    norm = nbi(model, x).loss
    for digit in (0, 7):
        z = one_hot(torch.full((6,), digit)).requires_grad_()
        model.nll(model(x, z), x).sum().backward()
        torch.testing.assert_close(norm[:, digit], z.grad.norm(dim=1), rtol=1e-4, atol=1e-4)
    assert torch.equal(nbi(model, x).task, norm.argmin(1))


def test_ebi_descends_the_entropy_of_the_models_own_pixels(model, x):
    logits = torch.randn(3, 1, 2, 2)
    expected = torch.distributions.Bernoulli(logits=logits).entropy().sum((1, 2, 3))
    torch.testing.assert_close(pixel_entropy(logits), expected)
    z = max_entropy(6, 10).requires_grad_()
    pixel_entropy(model(x, z)).sum().backward()
    torch.testing.assert_close(ebi(model, x).grad, z.grad, rtol=1e-4, atol=1e-4)


def test_no_readout_leaves_a_gradient_on_the_weights(model, x):
    readouts(model, x)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_readouts_refuse_what_they_cannot_do(model, x):
    with pytest.raises(ValueError, match="leave out 'ebi'"):
        readouts(ConditionalVAE(), x)
    with pytest.raises(ValueError, match="choose among"):
        readouts(model, x, ["two_step"])
