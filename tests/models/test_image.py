from __future__ import annotations

import inspect

import pytest
import torch

from gbi_helpers import loss_of, max_entropy, one_step
from gbi_helpers.models.base import bernoulli_nll, gaussian_nll, one_hot, squared_error
from gbi_helpers.models.image import (
    Classifier,
    ConditionalVAE,
    ConvAutoencoder,
    free_energy,
    gradient_loss,
    reconstruction,
)

GENERATIVE = {
    "faithful": lambda: ConvAutoencoder(),
    "pure generative": lambda: ConvAutoencoder(latent=0),
    "add": lambda: ConvAutoencoder(conditioning="add"),
    "mul": lambda: ConvAutoencoder(conditioning="mul"),
    "vae": lambda: ConditionalVAE(),
    "vae concat": lambda: ConditionalVAE(conditioning="concat"),
}


@pytest.fixture(params=GENERATIVE, name="model")
def a_model(request):
    torch.manual_seed(0)
    return GENERATIVE[request.param]().eval()


@pytest.fixture(name="x")
def images():
    return torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def test_shapes(model, x):
    z = max_entropy(6, 10)
    h = model.encode(x)
    assert h.shape == (6, model.latent)
    assert model(x, z).shape == x.shape
    assert model.nll(model(x, z), x).shape == (6,)


def test_z_enters_through_the_decoder_alone(model, x):
    z = torch.softmax(torch.randn(6, 10), 1)
    assert torch.equal(model.decoder(model.encode(x), z), model(x, z))  # so a cached code changes nothing
    assert list(inspect.signature(model.encode).parameters) == ["x"]


def test_every_task_changes_the_image(model, x):
    h, seen = model.encode(x), []
    for digit in range(10):
        seen.append(model.decoder(h, one_hot(torch.full((6,), digit))))
    gaps = torch.stack([(a - b).abs().amax((1, 2, 3)).min() for a in seen for b in seen if a is not b])
    assert gaps.min() > 1e-4


def test_one_step_gives_a_gradient_for_each_image(model, x):
    whole = one_step(loss_of(model, x, model.nll), max_entropy(6, 10))
    alone = one_step(loss_of(model, x[2:3], model.nll), max_entropy(1, 10))
    torch.testing.assert_close(whole.grad[2:3], alone.grad, rtol=1e-4, atol=1e-4)
    assert whole.grad.abs().sum(1).min() > 0


@pytest.mark.parametrize("nll", [bernoulli_nll, squared_error])
def test_nll_sums_over_pixels_of_each_image(nll, x):
    out = torch.randn_like(x)
    assert torch.allclose(nll(out, x), torch.stack([nll(out[i : i + 1], x[i : i + 1])[0] for i in range(6)]))
    twice = nll(torch.cat([out, out], 2), torch.cat([x, x], 2))
    torch.testing.assert_close(twice, 2 * nll(out, x))


def test_bernoulli_nll_is_minus_log_probability():
    logits, x = torch.randn(3, 1, 2, 2), torch.randint(0, 2, (3, 1, 2, 2)).float()
    expected = -torch.distributions.Bernoulli(logits=logits).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(bernoulli_nll(logits, x), expected)


def test_squared_error_is_nats_at_the_scale_its_docstring_names():
    mean, x = torch.randn(3, 1, 2, 2), torch.randn(3, 1, 2, 2)
    gaussian = torch.distributions.Normal(mean, 0.5**0.5)
    nats = -gaussian.log_prob(x).sum((1, 2, 3)) + gaussian.log_prob(mean).sum((1, 2, 3))
    torch.testing.assert_close(squared_error(mean, x), nats)


@pytest.mark.parametrize("sd", [1.0, 0.3])
def test_gaussian_nll_is_minus_log_density_beyond_that_of_the_mean(sd):
    mean, x = torch.randn(3, 5, 2), torch.randn(3, 5, 2)
    gaussian = torch.distributions.Normal(mean, sd)
    nats = (gaussian.log_prob(mean) - gaussian.log_prob(x)).sum((1, 2))
    torch.testing.assert_close(gaussian_nll(mean, x, sd), nats)


@pytest.mark.parametrize("nll", [squared_error, gaussian_nll])
def test_images_without_their_channel_are_refused_and_one_image_may_stand_for_many(nll, x):
    assert torch.equal(nll(x[:1], x)[:1], torch.zeros(1))
    with pytest.raises(ValueError, match=r"\(6, 1, 28, 28\) and the data \(6, 28, 28\): reshape"):
        nll(x, x[:, 0])


def test_a_wrong_conditioning_is_refused_in_words():
    with pytest.raises(ValueError, match="choose 'concat', 'add' or 'mul'"):
        ConvAutoencoder(conditioning="film")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="use conditioning='concat'"):
        ConvAutoencoder(latent=0, conditioning="mul")


def test_code_of_the_vae_is_the_mean_and_its_kl_is_right(x):
    torch.manual_seed(0)
    model = ConditionalVAE(latent=4)
    mean, log_var = model.posterior(x)
    assert torch.equal(model.encode(x), mean)
    draws = torch.stack([model.sample(x)[0] for _ in range(400)])
    torch.testing.assert_close(draws.mean(0), mean, atol=0.3, rtol=0)
    torch.testing.assert_close(draws.std(0), (0.5 * log_var).exp(), atol=0.3, rtol=0)
    code = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    expected = torch.distributions.kl_divergence(code, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(model.sample(x)[1], expected)


def test_free_energy_without_kl_is_reconstruction_from_a_sampled_code(x):
    model, y = ConditionalVAE(), torch.arange(6)
    torch.manual_seed(3)
    h, divergence = model.sample(x)
    expected = model.nll(model.decoder(h, one_hot(y)), x)
    for beta in (0.0, 2.0):
        torch.manual_seed(3)
        torch.testing.assert_close(free_energy(model, x, y, beta), (expected + beta * divergence).mean())


def test_training_losses_take_the_precision_of_the_images(x):
    y = torch.arange(6)
    for loss, model, *more in ((free_energy, ConditionalVAE(), 1.0), (reconstruction, ConvAutoencoder())):
        assert loss(model.double(), x.double(), y, *more).dtype == torch.float64


def test_gradient_loss_is_the_log_score_of_one_step(x):
    model, y = ConvAutoencoder(), torch.arange(6)
    size = torch.tensor(-1.0)
    expected = one_step(loss_of(model, x, model.nll), max_entropy(6, 10), step_size=float(size.exp()))
    loss = gradient_loss(model, model.encode(x), x, y, size)
    torch.testing.assert_close(loss, -expected.log_q[range(6), y].mean())


def test_gradient_loss_reaches_decoder_encoder_and_step_size(x):
    model, y = ConvAutoencoder(), torch.arange(6)
    size = torch.tensor(-1.0, requires_grad=True)
    gradient_loss(model, model.encode(x), x, y, size).backward()
    assert size.grad is not None
    assert model.decoder.join.code.weight.grad.abs().sum() > 0
    assert model.encoder[0].weight.grad.abs().sum() > 0


def test_reconstruction_is_the_mean_over_the_batch(x):
    model, y = ConvAutoencoder(), torch.arange(6)
    torch.testing.assert_close(reconstruction(model, x, y), model.nll(model(x, one_hot(y)), x).mean())


def test_classifier_has_the_convolutions_of_the_autoencoder(x):
    assert Classifier()(x).shape == (6, 10)
    ours, theirs = Classifier().encoder, ConvAutoencoder().encoder
    assert [p.shape for p in ours[:-1].parameters()] == [p.shape for p in theirs[:-1].parameters()]
