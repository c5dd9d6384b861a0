"""Inference and training on a CUDA device: the same answers as on the CPU."""

import copy
import dataclasses

import pytest
import torch

from gbi_helpers import enumerate_tasks, iterate, max_entropy, one_step
from gbi_helpers.data.toy import steady_windows, switching_stream
from gbi_helpers.experiments.toy.recipes import evidence
from gbi_helpers.experiments.toy.recipes import train as train_toy
from gbi_helpers.models.image import ConditionalVAE, free_energy
from gbi_helpers.models.toy import ToyLSTM
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.training import fit

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
INFERENCES = {
    "one_step": one_step,
    "enumerate_tasks": enumerate_tasks,
    "iterate": lambda loss, z0: iterate(loss, z0, steps=10),
}


@pytest.fixture(autouse=True)
def whole_float32(monkeypatch):
    """Convolutions round to 10 bits (TF32) otherwise."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def toy(dtype, device):
    """A loss and a start, of toy networks of two seeds on windows from each context."""
    windows, _ = steady_windows(torch.tensor([[0.2], [0.8]], dtype=dtype, device=device), 0.3, 3, 6, seeds=2)
    loss = evidence(ToyLSTM(2, "post").to(windows), windows, 0.3)
    return loss, max_entropy(len(windows), 2, dtype, device)


def vae(dtype, device):
    """The same of an image model with random weights on random images."""
    torch.manual_seed(0)
    model, x = ConditionalVAE(latent=4, channels=4, width=32).eval(), torch.rand(5, 1, 28, 28)
    x = x.to(device, dtype)
    return decoder_loss(model.to(x), x), max_entropy(5, 10, dtype, device)


@pytest.mark.parametrize("of", [toy, vae])
@pytest.mark.parametrize("name", INFERENCES)
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-5), (torch.float32, 1e-3)])
def test_inference_on_the_gpu_agrees_with_the_cpu(name, of, dtype, close):
    found, expected = (vars(INFERENCES[name](*of(dtype, device))) for device in (DEVICE, "cpu"))
    for part, value in expected.items():
        assert (value is None) == (found[part] is None)
        if value is not None:
            assert found[part].device.type == DEVICE
            torch.testing.assert_close(found[part].cpu(), value, rtol=close, atol=close)


def test_an_image_model_learns_on_the_gpu():
    torch.manual_seed(0)
    model = ConditionalVAE(latent=2, n_tasks=2, channels=2, width=16)
    x, y = torch.rand(2, 1, 28, 28).round().repeat_interleave(32, 0), torch.arange(2).repeat_interleave(32)
    cpu = copy.deepcopy(model)
    model = model.to(DEVICE)
    records = [
        fit(
            net,
            lambda batch, net=net: free_energy(net, *batch, beta=0.0),
            (x, y),
            steps=60,
            batch_size=16,
            lr=1e-2,
            device=at,
        )
        for net, at in ((model, DEVICE), (cpu, "cpu"))
    ]
    assert all(p.device.type == DEVICE for p in model.parameters())
    found, expected = (float(record.loss[-5:].mean() / record.loss[0]) for record in records)
    assert found < 0.7
    assert found == pytest.approx(expected, rel=0.1)  # the codes' noise is drawn by another generator


def test_toy_networks_learn_on_the_gpu_what_they_learn_on_the_cpu():
    stream = switching_stream(2, blocks=4, block=10)
    moved = {name: getattr(stream, name).to(DEVICE) for name in ("x", "context", "means")}
    found, expected = (train_toy(s, "post", frames=2) for s in (dataclasses.replace(stream, **moved), stream))
    assert found.model.weight_hh.device.type == DEVICE
    torch.testing.assert_close(
        found.online.curves["excess"].cpu(), expected.online.curves["excess"], rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(found.modules.activation, expected.modules.activation, rtol=1e-4, atol=1e-4)
