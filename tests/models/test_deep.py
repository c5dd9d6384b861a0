"""The deep Transformer: what it reads, and what z does at every depth; texts of a batch do not touch each other."""

import pytest
import torch

from gbi_helpers import enumerate_tasks, max_entropy, one_step
from gbi_helpers.checkpoints import load_model, save_checkpoint
from gbi_helpers.experiments.language.inference import evidence, slopes
from gbi_helpers.experiments.language.windows import Windows
from gbi_helpers.models.deep import DeepTransformer

K, V, T = 3, 17, 9


@pytest.fixture(name="model")
def made():
    torch.manual_seed(0)
    model = DeepTransformer(V, K, width=8, layers=2, heads=2, longest=T).eval()
    with torch.no_grad():
        model.embedding.weight.mul_(10)  # else an untrained network hardly minds what it reads
    return model


@pytest.fixture(name="windows")
def some_windows():
    draw = torch.Generator().manual_seed(3)
    return Windows(torch.randint(2, V, (5, T), generator=draw), torch.arange(5) % K, start=1)


def test_gradients_of_a_batch_are_those_of_each_text_alone(model, windows):
    together = slopes(model, windows)
    alone = torch.cat([slopes(model, windows.rows(slice(i, i + 1))) for i in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_gradients_are_those_of_finite_differences(model, windows):
    loss = evidence(model.double(), windows)
    z0 = max_entropy(5, K, torch.float64)
    ways = 1e-5 * torch.eye(K, dtype=torch.float64)
    differences = torch.stack([(loss(z0 + way) - loss(z0 - way)) / 2e-5 for way in ways], dim=1)
    torch.testing.assert_close(one_step(loss, z0).grad, differences, atol=1e-6, rtol=1e-6)


def test_passes_over_all_tasks_are_losses_told_each(model, windows):
    loss = evidence(model, windows)
    found = enumerate_tasks(loss, max_entropy(5, K)).loss
    told = torch.stack([loss(torch.eye(K)[k].expand(5, K)) for k in range(K)], dim=1)
    torch.testing.assert_close(found, told)


def test_no_word_sees_a_later_one(model, windows):
    changed = windows.inputs.clone()
    changed[:, 5:] = 2
    before, after = (model(words, windows.z(K))[:, :5] for words in (windows.inputs, changed))
    torch.testing.assert_close(before, after)


@pytest.mark.parametrize("kept", [0, 1])
def test_z_acts_after_every_block(kept, model, windows):
    """Also where every other block is deaf to it."""
    deaf = model.turns[1 - kept]
    torch.nn.init.ones_(deaf.scale.weight)
    torch.nn.init.zeros_(deaf.shift.weight)
    one, other = (model(windows.inputs, torch.eye(K)[k].expand(5, K)) for k in (0, 1))
    assert (one - other).abs().max() > 1e-3


def test_z_may_change_from_word_to_word(model, windows):
    z = windows.z(K)[:, None].expand(-1, T, -1)
    torch.testing.assert_close(model(windows.inputs, z), model(windows.inputs, windows.z(K)))
    first, second = torch.eye(K)[:1].expand(5, K), torch.eye(K)[1:2].expand(5, K)
    changes = torch.stack([first] * 4 + [second] * (T - 4), dim=1)
    found, steady = model(windows.inputs, changes), model(windows.inputs, first)
    torch.testing.assert_close(found[:, :4], steady[:, :4])
    assert not torch.isclose(found[:, 4:], steady[:, 4:]).all()


@pytest.mark.parametrize(("words", "z", "told"), [(T + 1, (5, K), "positions"), (T, (5, K + 1), "z must be")])
def test_what_does_not_fit_is_refused(model, words, z, told):
    with pytest.raises(ValueError, match=told):
        model(torch.zeros(5, words, dtype=torch.int64), torch.zeros(z))


def test_its_file_says_how_large_it_is(model, windows, tmp_path):
    save_checkpoint(tmp_path / "model.safetensors", model, {}, half=False)
    again = load_model(tmp_path / "model.safetensors")[0].eval()
    torch.testing.assert_close(again(windows.inputs, windows.z(K)), model(windows.inputs, windows.z(K)))


def test_the_size_of_the_course_has_millions_of_weights():
    with torch.device("meta"):
        model = DeepTransformer(2000, 11)
    assert 5e6 < sum(p.numel() for p in model.parameters()) < 2e7
