"""What notebook 03 measures of the units: means over whole swings, modules, and the control of a lesion."""

import dataclasses

import pytest
import torch

from gbi_helpers.data.toy import switching_stream
from gbi_helpers.experiments.toy import modules
from gbi_helpers.experiments.toy.recipes import train


@pytest.fixture(scope="module", name="run")
def short_run():
    return train(switching_stream(2, blocks=8, block=10), "post", "learned", frames=16)


def test_a_swing_with_the_blocks_vanishes_from_means_over_two_of_them(run):
    step = run.modules.step[:, None]
    swing = 0.5 + 0.2 * torch.where(step % 20 < 10, 1.0, -1.0).expand(-1, 2)
    curves = {"overlap": swing, "z-only overlap": torch.ones(16, 2)}
    swung = dataclasses.replace(run, modules=dataclasses.replace(run.modules, curves=curves))
    found = modules.by_two_blocks(swung)
    torch.testing.assert_close(found["two blocks"]["overlap"], torch.full((4, 2), 0.5))
    assert torch.equal(found["start"]["overlap"], swing[0])


def test_the_control_of_a_lesion_silences_as_many_units_but_others(run, monkeypatch):
    silenced = []
    monkeypatch.setattr(modules, "excess_given", lambda model, run: silenced.append(model) or torch.zeros(2, 2))
    units = torch.zeros(2, 2, 32, dtype=torch.bool)
    units[:, 0, :5] = units[0, 1, 8:20] = True
    monkeypatch.setattr(modules, "modules_in", lambda *_: units)
    assert modules.random_lesion(run).shape == (2, 2, 2)
    cut = torch.stack([(model.weight_out == 0).all(1) for model in silenced], 1)
    assert torch.equal(cut.sum(-1), units.sum(-1))
    assert not torch.equal(cut, units)


def test_a_module_is_what_a_lesion_of_it_silences(run):
    units = modules.modules_in(run)
    assert units.shape == (2, 2, 32)
    assert not bool(units.all(1).any())  # no unit belongs to both
    hurt = modules.lesion(run)
    torch.testing.assert_close(hurt[:, 1], modules.excess_given(run.model.without(units[:, 0]), run))
    torch.testing.assert_close(hurt[:, 0], modules.excess_given(run.model, run))


def test_what_is_watched_has_a_number_for_every_seed():
    found = modules.watched(switching_stream(2, blocks=4, block=10), modules.GATED["learned gates, random Z"], every=5)
    assert found["two blocks"]["overlap"].shape == (2, 2)
    assert found["units"].shape == (2, 2)
    assert found["lesion"].shape == (3, 2, 2)
    assert found["random lesion"].shape == (2, 2, 2)
    assert (modules.watched(switching_stream(1, blocks=2, block=10), {}, 5)["z-only overlap"] == 1).all()  # the LSTM
