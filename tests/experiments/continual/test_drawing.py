from __future__ import annotations

import pytest
import torch

from gbi_helpers.continual import learn
from gbi_helpers.experiments.continual import drawing, study
from gbi_helpers.experiments.continual.scenarios import Split, in_order
from gbi_helpers.inference import enumerate_tasks
from gbi_helpers.models.base import one_hot
from gbi_helpers.readouts import decoder_loss

TRAINING = {"steps": 6, "batch_size": 16, "lr": 1e-2}


@pytest.fixture(scope="module", name="split")
def images_of_seed_1(world):
    return Split(**in_order(world.images, 1))


def losses_of_old_digits(method, split):
    """Loss (N, 4) of the first four digits' images under each of their gates, after context 2 and after all."""
    model, contexts, found = drawing.decoder(16, seed=0), split.contexts("class"), []
    x, y = split.test

    def test(after):
        if after in (1, 4):
            asked = x[y < 4]
            z0 = one_hot(torch.zeros(len(asked), dtype=torch.long))
            found.append(enumerate_tasks(decoder_loss(model, asked), z0).loss[:, :4])
        return [0.0] * 5

    learn(model, contexts, method, test, **TRAINING)
    return found


def test_frozen_but_for_its_gates_a_decoder_forgets_exactly_nothing(split):
    before, after = losses_of_old_digits(drawing.Frozen(0.1), split)
    assert torch.equal(before, after)
    before, after = losses_of_old_digits(drawing.Naive(0.1), split)
    assert (before - after).abs().max() > 1


def test_frozen_gates_do_learn(split):
    model, method = drawing.decoder(16, seed=0), drawing.Frozen(0.1)
    gates = []
    learn(model, split.contexts("class"), method, lambda i: gates.append(_gates(model)) or [0.0] * 5, **TRAINING)
    for i in range(1, 5):
        moved = (gates[i] != gates[i - 1]).any(0)
        assert moved.nonzero().flatten().tolist() == [2 * i, 2 * i + 1]


def _gates(model):
    return model.decoder.join.task.weight.detach().clone()


def test_only_digits_seen_so_far_are_read(split):
    found = drawing.scores(drawing.decoder(16, seed=0).eval(), split.test[0][:30], 4)
    assert {name: score.shape for name, score in found.items()} == {"one_step": (30, 4), "k_passes": (30, 4)}


def test_only_gates_tell_digits_of_one_code_apart(split):
    model = drawing.decoder(16, seed=0).eval()
    with torch.no_grad():
        model.decoder.join.task.weight[:, 1:] = model.decoder.join.task.weight[:, :1]
        found = drawing.pictures(model, split)
    assert found["own_code"].shape == (10, 28, 28)
    assert torch.equal(found["one_code"], found["one_code"][:1].expand(10, -1, -1))
    assert not torch.equal(found["own_code"][0], found["own_code"][1])


def test_a_picture_survives_its_text():
    images = torch.randint(256, (10, 28, 28), generator=torch.Generator().manual_seed(0)) / 255
    torch.testing.assert_close(drawing.from_text(drawing.as_text(images)), images)


@pytest.mark.parametrize("name", drawing.ROWS)
def test_a_row_has_r_by_each_reading_and_a_picture_for_the_first_seed(world, name):
    settings = study.STUDY.settings(name, "small")
    for seed in (0, 1):
        found = study.STUDY.rows[name].measure(world, seed, settings)
        assert all(len(found[reading]["r"]) == 5 for reading in drawing.READINGS)
        assert ("pictures" in found) == (seed == 0)
        assert found["stored"] == 0
    again = study.STUDY.rows[name].measure(world, 1, settings)
    assert again == found
