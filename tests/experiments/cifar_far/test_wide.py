"""The wide network and its twin under softmax: the same start, the same images; and a CPU is not asked for days."""

import pytest
import torch

from gbi_helpers.experiments.cifar.measure import scores
from gbi_helpers.experiments.cifar_far import wide
from gbi_helpers.experiments.cifar_far.study import STUDY
from gbi_helpers.experiments.cifar_far.world import opened
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import SMALL
from gbi_helpers.files import DataError
from gbi_helpers.models.wide import WideClassifier, WideModel

TINY = {"sizes": {"depth": 10, "widen": 1}, "epochs": 2, "lr": 0.1, "batch_size": 10}


def data(n=40):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, 32, 32), generator=draw, dtype=torch.uint8), torch.arange(n) % 5


def test_both_start_from_the_same_layers_and_meet_the_same_images(monkeypatch):
    met = {"aware": [], "softmax": []}
    for kind, batches in met.items():

        def noted(x, most, batches=batches):
            batches.append(x.clone())
            return x.float() / 255

        monkeypatch.setattr(wide, "varied", noted)
        wide.train(kind, *data(), 0, **TINY)
    assert len(met["aware"]) == 8
    assert all(torch.equal(a, b) for a, b in zip(met["aware"], met["softmax"], strict=True))
    starts = []
    for kind in (WideModel, WideClassifier):
        torch.manual_seed(0)
        starts.append(kind(**TINY["sizes"]).encoder.state_dict())
    assert all(torch.equal(value, starts[1][name]) for name, value in starts[0].items())


def test_one_step_learns_the_classes():
    x = torch.zeros(40, 3, 32, 32, dtype=torch.uint8)
    y = torch.arange(40) % 2
    x[y == 1, 0] = 200  # red, or black
    model, record = wide.train("aware", x, y, 0, **TINY | {"epochs": 25, "describe": 1e-3})
    assert record.loss[-4:].mean() < record.loss[0] / 3
    assert torch.equal(scores(model, x).argmax(1), y)


def test_what_the_picture_leaves_counts_as_much_as_is_asked():
    x, y = data(10)
    torch.manual_seed(0)
    model = WideModel(**TINY["sizes"])
    losses = [float(wide.aware(model, share)((x.float() / 255, y)).detach()) for share in (0.0, 1e-3, 2e-3)]
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-2)
    assert losses[1] > losses[0]


def test_a_step_is_no_longer_than_its_clipped_gradient():
    weight = torch.zeros(3, requires_grad=True)
    weight.grad = torch.tensor([300.0, 0.0, 400.0])
    wide.Descent([weight], lr=0.1).step()
    torch.testing.assert_close(weight.detach(), -0.1 * 1.9 * torch.tensor([3.0, 0.0, 4.0]))  # Nesterov: 1 + .9


def test_a_cpu_is_told_to_leave_the_large_one_to_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("GBI_DEVICE", "cpu")
    world = opened(Shelf(tmp_path), SMALL)
    with pytest.raises(DataError, match="CUDA device"):
        wide.wide(world, 0, STUDY.rows["wide"].settings)
    assert not list(tmp_path.glob("wide*"))
