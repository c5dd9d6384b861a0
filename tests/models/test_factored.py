"""Images of two factors: turning, and what each decoder makes of both."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.models.factored import PairClassifier, TwoFactors, all_turned, mixture_of_turns, turned

ORDERS = ("product", "late", "pairs", "operator", "repeated", "turned", "equivariant")


def picture(n=3):
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def pure(digit, angle, n=3):
    z = torch.zeros(n, 18)
    z[:, digit] = z[:, 10 + angle] = 1
    return z


def test_a_right_angle_is_exact_and_four_of_them_are_none():
    x = picture()
    torch.testing.assert_close(turned(x, torch.full((3,), 90.0)), x.rot90(1, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(all_turned(x, 8)[:, 0], x[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(all_turned(x, 8)[:, 6], x[:, 0].rot90(3, (1, 2)), atol=1e-5, rtol=0)


def test_half_a_right_angle_twice_is_nearly_one():
    disc = (torch.linspace(-2, 2, 28)[:, None] - 0.5).square() + torch.linspace(-2, 2, 28).square()
    blob = (-disc).exp()[None, None]
    half = torch.tensor([45.0])
    torch.testing.assert_close(turned(turned(blob, half), half), blob.rot90(1, (2, 3)), atol=0.05, rtol=0)


def test_a_mixture_of_turns_has_its_slopes_where_its_weights_are_0_too():
    x, z = picture(2), torch.eye(8)[[0, 3]]
    each = all_turned(x, 8)
    torch.testing.assert_close(mixture_of_turns(x, z), torch.stack([each[0, :1], each[1, 3:4]]))
    z.requires_grad_()
    mixture_of_turns(x, z).square().sum().backward()
    torch.testing.assert_close(z.grad[0], 2 * (each[0] * each[0, :1]).sum((1, 2)))


@pytest.mark.parametrize("order", ORDERS)
def test_both_factors_and_the_code_change_the_image(order):
    torch.manual_seed(0)
    model = TwoFactors(order, width=12, latent=4, canvas=6).eval()
    with torch.no_grad():
        image, other_digit, other_angle = (model(picture(), pure(*z)) for z in ((3, 1), (4, 1), (3, 2)))
        assert image.shape == (3, 1, 28, 28)
        assert (image - other_digit).abs().max() > 1e-4
        assert (image - other_angle).abs().max() > 1e-4
        assert (image[0] - image[1]).abs().max() > 1e-6  # of another image another code


def test_in_the_order_of_making_a_turn_is_the_same_for_every_digit():
    torch.manual_seed(0)
    model = TwoFactors("turned", width=12).eval()
    with torch.no_grad():
        for digit in (0, 7):
            upright, half_round = (model(picture(), pure(digit, angle)) for angle in (0, 4))
            torch.testing.assert_close(half_round, upright.rot90(2, (2, 3)), atol=1e-5, rtol=0)


def test_one_map_taken_often_is_each_angle():
    torch.manual_seed(0)
    model, h = TwoFactors("repeated", width=12, latent=4, canvas=6).eval(), torch.ones(3, 4)
    decoder = model.decoder
    with torch.no_grad():
        before = decoder(h, pure(2, 5))
        decoder.step.weight.copy_(torch.linalg.matrix_power(decoder.step.weight, 5))
        torch.testing.assert_close(decoder(h, pure(2, 1)), before)


def test_an_equivariant_model_gives_a_turned_image_the_turned_losses():
    torch.manual_seed(0)
    model, x = TwoFactors("equivariant", width=12).eval(), picture()
    with torch.no_grad():
        at_rest = model.nll(model(x, pure(5, 1)), x)
        round_ = x.rot90(1, (2, 3))
        torch.testing.assert_close(model.nll(model(round_, pure(5, 3)), round_), at_rest)
        plain = TwoFactors("turned", width=12).eval()
        assert not torch.allclose(plain.nll(plain(round_, pure(5, 3)), round_), plain.nll(plain(x, pure(5, 1)), x))


def test_a_classifier_told_of_turns_says_of_a_turned_image_what_it_said_before():
    torch.manual_seed(0)
    model, x = PairClassifier(width=12, turns=True), picture()
    with torch.no_grad():
        said = model(x)
        torch.testing.assert_close(model(x.rot90(1, (2, 3))), said.roll(2, 2), atol=1e-5, rtol=0)
        torch.testing.assert_close(said.exp().sum((1, 2)), torch.ones(3))
        assert PairClassifier(width=12)(x).exp().sum((1, 2)).allclose(torch.ones(3))
