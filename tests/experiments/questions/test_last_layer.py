"""A last layer that is not known, dropout at test, and a classifier that is told a belief."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gbi_helpers.experiments.questions.believing import BelievingClassifier, pack
from gbi_helpers.experiments.questions.last_layer import (
    DropoutVAE,
    LastLayer,
    chosen_ridge,
    features,
    masked_steps,
)
from gbi_helpers.inference import max_entropy, one_step
from gbi_helpers.models.base import one_hot
from gbi_helpers.models.image import ConditionalVAE, ConvAutoencoder
from gbi_helpers.readouts import decoder_loss


@pytest.fixture(name="images")
def few_images():
    draw = torch.Generator().manual_seed(0)
    return torch.rand(40, 1, 28, 28, generator=draw), torch.arange(40) % 4


@pytest.fixture(name="model")
def small_vae():
    torch.manual_seed(0)
    return ConditionalVAE(3, 4, channels=2, width=8).eval()


def test_features_are_what_the_last_layer_multiplies(model, images):
    h, z = model.encode(images[0]), one_hot(images[1], 4)
    last = model.decoder.body[2]
    weights = torch.cat([last.weight, last.bias[:, None]], 1)
    expected = model.decoder(h, z).flatten(1)
    torch.testing.assert_close(features(model.decoder, h, z) @ weights.T, expected, rtol=1e-4, atol=1e-5)


def test_the_uncertain_layer_predicts_as_draws_of_its_weights_do(model, images):
    """Weights drawn from the posterior, one pixel at a time: their spread over draws is noise * phi' C phi."""
    layer = LastLayer.of(model, *images, ridge=1.0)
    h, z = model.encode(images[0]).detach(), max_entropy(40, 4)
    root = torch.linalg.cholesky(layer.noise * layer.covariance.double())
    draws = root @ torch.randn(9, 50_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    seen = (features(model.decoder, h, z).double() @ draws).var(1).detach()
    torch.testing.assert_close(seen, layer.noise * layer.unsure(h, z).double().detach(), rtol=0.05, atol=0)


def test_the_loss_is_the_log_density_of_a_wider_normal(model, images):
    layer = LastLayer.of(model, *images, ridge=0.1)
    h, z = model.encode(images[0]), one_hot(images[1], 4)
    wide = (layer.noise * (1 + layer.unsure(h, z))).sqrt()
    normal = torch.distributions.Normal(model.decoder(h, z).flatten(1), wide[:, None])
    density = normal.log_prob(images[0].flatten(1)).sum(1)
    left_out = density + layer.loss(images[0])(z)
    torch.testing.assert_close(left_out, left_out[:1].expand(40), rtol=1e-5, atol=1e-3)
    assert wide.std() > 0


def test_with_a_prior_that_leaves_no_doubt_the_step_is_the_plain_one(model, images):
    layer, z0 = LastLayer.of(model, *images, ridge=1e12), max_entropy(40, 4)
    doubtless, plain = one_step(layer.loss(images[0]), z0), one_step(decoder_loss(model, images[0]), z0)
    torch.testing.assert_close(doubtless.grad, plain.grad / (2 * layer.noise), rtol=1e-4, atol=1e-4)


def test_more_images_leave_less_doubt(model, images):
    few, many = (LastLayer.of(model, images[0][:n], images[1][:n], 1.0) for n in (10, 40))
    h, z = model.encode(images[0]), one_hot(images[1], 4)
    assert (many.unsure(h, z) < few.unsure(h, z)).all()


def test_a_prior_is_chosen_by_what_it_predicts(model, images):
    found = chosen_ridge(model, images, images, (1e-6, 1e6))
    losses = {
        ridge: float(LastLayer.of(model, *images, ridge).loss(images[0])(one_hot(images[1], 4)).mean().detach())
        for ridge in (1e-6, 1e6)
    }
    assert found == min(losses, key=losses.get)


def test_a_decoder_of_another_end_is_refused(images):
    model = ConvAutoencoder(2, 4, channels=2).eval()
    with pytest.raises(ValueError, match="must end with a linear layer"):
        LastLayer.of(model, *images, ridge=1.0)


def test_masks_differ_and_leave_the_network_and_the_random_state_as_they_were(images):
    torch.manual_seed(0)
    model = DropoutVAE(3, 4).eval()
    before = torch.random.get_rng_state()
    losses, grads = masked_steps(model, images[0], masks=3)
    again, _ = masked_steps(model, images[0], masks=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not model.decoder.training
    assert grads.shape == (3, 40, 4)
    torch.testing.assert_close(losses, again)
    assert (losses[0] != losses[1]).any()
    assert (grads[1] != grads[2]).any()


def test_a_classifier_hears_the_belief(images):
    torch.manual_seed(0)
    net = BelievingClassifier(4, channels=2).eval()
    beliefs = torch.log_softmax(torch.randn(2, 40, 4), -1)
    one, other = (net(pack(images[0], log_q)) for log_q in beliefs)
    torch.testing.assert_close(one - other, _heard(net, beliefs), rtol=1e-4, atol=1e-5)


def _heard(net, beliefs):
    weight = net.last.weight[:, -4:]
    return nn.functional.linear(beliefs[0].exp() - beliefs[1].exp(), weight)
