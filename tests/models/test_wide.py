"""The wide residual network, under a decoder with z and under a plain classifier."""

import pytest
import torch

from gbi_helpers import max_entropy, one_step
from gbi_helpers.checkpoints import load_model, save_checkpoint
from gbi_helpers.models.wide import WideClassifier, WideModel, WideResNet
from gbi_helpers.readouts import decoder_loss

SMALL = {"depth": 10, "widen": 1}


def images(n=3):
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_it_has_as_many_layers_as_its_depth_says():
    for depth in (10, 16):
        sizes = [m.kernel_size for m in WideResNet(depth, 2).modules() if isinstance(m, torch.nn.Conv2d)]
        assert sizes.count((3, 3)) == depth - 3
        assert sizes.count((1, 1)) == 3  # past the blocks that change the width: they count as layers
    assert WideResNet(10, 2).eval()(images()).shape == (3, 128)


def test_widths_are_those_of_the_paper():
    """WRN-16-8 has 11.0 million weights (Zagoruyko and Komodakis 2016, table 4), with CIFAR-100's last layer."""
    assert sum(p.numel() for p in WideClassifier(depth=16, widen=8).parameters()) == pytest.approx(11.0e6, rel=0.01)


def test_no_images_gradient_depends_on_the_others():
    model, x = WideModel(n_tasks=5, **SMALL).eval(), images(4)
    together = one_step(decoder_loss(model, x), max_entropy(4, 5)).score
    alone = one_step(decoder_loss(model, x[:1]), max_entropy(1, 5)).score
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


def test_many_images_are_described_a_part_at_a_time_but_in_training(monkeypatch):
    model, x, calls = WideClassifier(n_tasks=5, **SMALL).eval(), images(5), []
    whole = model(x)
    monkeypatch.setattr("gbi_helpers.models.wide.PART", 2)
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    torch.testing.assert_close(model(x), whole, rtol=1e-5, atol=1e-6)
    assert len(calls) == 3
    model.train()(x)
    assert len(calls) == 4


def test_a_file_remembers_it(tmp_path):
    model, x = WideModel(n_tasks=5, **SMALL).eval(), images()
    save_checkpoint(tmp_path / "wide.safetensors", model, {}, half=False)
    again = load_model(tmp_path / "wide.safetensors")[0].eval()
    z = max_entropy(3, 5)
    assert torch.equal(model(x, z), again(x, z))
    assert model(x, z).shape == (3, 3, 16, 16)
