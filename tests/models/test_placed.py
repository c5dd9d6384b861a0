"""Things at places: setting them there, and what each model makes of a shift."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.models.placed import GRID, PlaceClassifier, PooledCode, Stamped, at_places, points, stamped


def thing(n=3):
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def pure(digit, place, n=3):
    z = torch.zeros(n, 18)
    z[:, digit] = z[:, 10 + place] = 1
    return z


def test_a_thing_is_half_as_large_and_where_its_place_says():
    x = thing(8)
    images = at_places(x, torch.arange(8))
    small = torch.nn.functional.avg_pool2d(x, 2)
    for place, (row, column) in enumerate(GRID):
        expected = torch.zeros(28, 28)
        expected[7 * row : 7 * row + 14, 7 * column : 7 * column + 14] = small[place, 0]
        torch.testing.assert_close(images[place, 0], expected, atol=1e-5, rtol=0)


def test_a_mixture_of_places_is_a_mixture_of_images():
    x = torch.rand(2, 1, 14, 14)
    weights = torch.rand(2, 8).softmax(1)
    where = points(x)
    each = torch.stack([stamped(x, kernel.expand(2, -1, -1)) for kernel in where], 1)
    mixed = stamped(x, torch.einsum("bp,phw->bhw", weights, where))
    torch.testing.assert_close(mixed, torch.einsum("bp,bpchw->bchw", weights, each), atol=1e-5, rtol=0)


@pytest.mark.parametrize("told", [False, True])
def test_a_place_is_the_same_shift_for_every_digit(told):
    torch.manual_seed(0)
    model, h = Stamped(told=told, width=12, latent=4, seen=6).eval(), torch.randn(3, 4)
    with torch.no_grad():
        model.decoder.kernels[5] = model.decoder.kernels[1].roll((7, -7), (0, 1))
        for digit in (0, 7):
            one, other = (model.decoder(h, pure(digit, place)) for place in (1, 5))
            torch.testing.assert_close(other, one.roll((7, -7), (2, 3)), atol=1e-5, rtol=0)
            assert (one - other).abs().max() > 1e-3


def test_known_places_are_not_learned_and_learned_ones_are():
    assert not Stamped(told=True, width=8).decoder.kernels.requires_grad
    assert Stamped(told=False, width=8).decoder.kernels.requires_grad


def test_a_pooled_code_is_the_same_wherever_the_thing_is_and_another_of_another():
    torch.manual_seed(0)
    code, x = PooledCode(5, 6), thing(1)
    with torch.no_grad():
        found = code(at_places(x.expand(8, -1, -1, -1), torch.arange(8)))
        torch.testing.assert_close(found, found[:1].expand(8, -1), atol=1e-5, rtol=0)
        assert (code(at_places(x.flip(3), torch.tensor([0]))) - found[0]).abs().max() > 1e-4


def test_without_pooling_the_code_sees_where_it_is():
    torch.manual_seed(0)
    plain, pooled = (Stamped(pooled=pooled, width=8, seen=6) for pooled in (False, True))
    x = at_places(thing(1).expand(2, -1, -1, -1), torch.tensor([0, 4]))
    with torch.no_grad():
        assert (plain.encode(x)[0] - plain.encode(x)[1]).abs().max() > 1e-4
        torch.testing.assert_close(*pooled.encode(x), atol=1e-5, rtol=0)


def test_classifiers_told_of_shifts_name_a_thing_alike_at_all_places():
    torch.manual_seed(0)
    x = at_places(thing(1).expand(2, -1, -1, -1), torch.tensor([0, 4]))
    with torch.no_grad():
        said = PlaceClassifier("shifts", width=8)(x).exp()
        torch.testing.assert_close(said.sum((1, 2)), torch.ones(2))
        torch.testing.assert_close(said[0].sum(1), said[1].sum(1), atol=1e-5, rtol=0)
        assert (said[0].sum(0) - said[1].sum(0)).abs().max() > 1e-5  # the place moves
        model = PlaceClassifier("places", width=8)
        logits = model(x)
        ratio = [(logits[n, :, place] - logits[n, :1, place]) for n, place in ((0, 0), (1, 4))]
        torch.testing.assert_close(*ratio, atol=1e-4, rtol=0)
