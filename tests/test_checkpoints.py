"""Trained models in files: they come back as they were, and say whose weights they are."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from gbi_helpers import checkpoints, files
from gbi_helpers.checkpoints import load_checkpoint, load_model, run_facts, save_checkpoint
from gbi_helpers.models.hundred import CodeModel, Embedded, Grouped
from gbi_helpers.models.image import Classifier, ConditionalVAE
from gbi_helpers.models.language import WordLSTM

SHIPPED = sorted(name for name in files.manifest() if name.endswith(".safetensors"))
MANY = "checkpoints/toy_frozen.safetensors"  # networks of several kinds, which chapter 04's `trained` makes by name
X = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.ReLU(), nn.Linear(8, 1))


def test_checkpoint_round_trip_keeps_answers_and_facts(tmp_path):
    model, copy = network().eval(), network()
    path = save_checkpoint(tmp_path / "model.safetensors", model, run_facts(command="test", seed=3))
    with torch.no_grad():
        copy[0].weight.zero_()
    copy, facts = load_checkpoint(path, copy)
    assert not copy.training
    torch.testing.assert_close(copy(X), model(X), atol=5e-3, rtol=5e-3)
    assert facts["seed"] == 3
    assert {"versions", "device", "commit", "command"} <= facts.keys()
    exact, _ = load_checkpoint(save_checkpoint(path, model, {}, half=False), network())
    assert torch.equal(exact(X), model(X))


def test_checkpoint_of_another_model_or_damaged_is_named(tmp_path):
    path = save_checkpoint(tmp_path / "model.safetensors", network(), {})
    with pytest.raises(ValueError, match="another model"):
        load_checkpoint(path, nn.Linear(4, 2))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match="not a checkpoint that can be read"):
        load_checkpoint(path, network())


def test_a_weight_beyond_16_bits_is_refused_by_name_and_kept_in_32(tmp_path):
    model = network()
    with torch.no_grad():
        model[0].weight[0, 0] = 1e5
    with pytest.raises(ValueError, match=r"0\.weight has a value above 65504, .* half=False"):
        save_checkpoint(tmp_path / "model.safetensors", model, {})
    path = save_checkpoint(tmp_path / "model.safetensors", model, {}, half=False)
    assert load_checkpoint(path, network())[0][0].weight[0, 0] == 1e5


def test_tied_weights_are_kept_in_32_bits_too(tmp_path):
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    path = save_checkpoint(tmp_path / "model.safetensors", model, {}, half=False)
    copy, _ = load_checkpoint(path, nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)))
    assert torch.equal(copy[0].weight, model[0].weight)
    assert torch.equal(copy[1].weight, model[0].weight)


def test_a_path_may_be_text_as_for_saving(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_checkpoint("mine.safetensors", network(), {"seed": 3})
    assert load_checkpoint("mine.safetensors", network())[1]["seed"] == 3
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "yours.safetensors", network())
    with pytest.raises(
        files.DataError, match=r"no asset 'mnist_vae_mul': choose another, .*mnist_vae_mul\.safe"
    ) as told:
        load_checkpoint("mnist_vae_mul", network())
    assert str(told.value).count("/") <= 3, "the likely ones, not all"


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_commit_is_the_source_trees_and_not_of_a_repository_around_an_install(tmp_path, monkeypatch):
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=True)
    for place, commit in (("gbi_helpers", asked.stdout.strip()), (".venv/lib/gbi_helpers", None)):
        (tmp_path / place).mkdir(parents=True)
        monkeypatch.setattr(checkpoints, "__file__", str(tmp_path / place / "checkpoints.py"))
        assert run_facts()["commit"] == commit


# Class and sizes from the file's own facts


MADE = [
    lambda: ConditionalVAE(4, channels=2, width=16),
    lambda: WordLSTM(30, 3, plane=2),
    lambda: CodeModel(8, 2, 3, width=16, task_map=Grouped((0, 0, 1))),
    lambda: CodeModel(8, latent=2, n_tasks=3, width=16, task_map=Embedded(3, 2)),
]


@pytest.mark.parametrize("make", MADE)
def test_a_model_is_made_in_its_own_class_and_sizes(make, tmp_path):
    model = make()
    path = save_checkpoint(tmp_path / "model.safetensors", model, {"seed": 3}, half=False)
    copy, facts = load_model(path, type(model))
    assert type(copy) is type(model)
    assert facts["seed"] == 3
    assert not copy.training
    assert copy.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, copy.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != MANY])
def test_every_shipped_checkpoint_says_whose_weights_it_holds(name):
    model, facts = load_model(name)
    assert facts["model"]["class"] == f"{type(model).__module__}.{type(model).__qualname__}"
    with safe_open(files.load_asset(name), framework="pt") as stored:
        assert set(stored.keys()) == set(model.state_dict())


def test_a_file_of_another_class_or_without_a_word_is_told(tmp_path):
    path = save_checkpoint(tmp_path / "model.safetensors", Classifier(), {})
    with pytest.raises(ValueError, match="holds a Classifier, not a ConditionalVAE"):
        load_model(path, ConditionalVAE)
    path = save_checkpoint(tmp_path / "plain.safetensors", network(), {})
    with pytest.raises(ValueError, match=r"'None' is no model of this course .* fill it with load_checkpoint\("):
        load_model(path)


def test_a_size_that_a_model_no_longer_has_is_told(tmp_path):
    facts = {"model": {"class": "gbi_helpers.models.hundred.ZOnly", "sizes": {"gone": 3}}}
    save_file({"weight": torch.ones(1)}, tmp_path / "x.safetensors", metadata={"facts": json.dumps(facts)})
    with pytest.raises(ValueError, match="is no model of this course"):
        load_model(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "name",
    [
        "os.path.join",
        "gbi_helpers.training.fit",
        "gbi_helpers.gone.away.Model",
        "torch.nn.Linear",
        "gbi_helpers.no.Model",
    ],
)
def test_a_file_cannot_name_anything_but_a_model_of_the_course(tmp_path, name):
    facts = {"model": {"class": name, "sizes": {}}}
    save_file({"weight": torch.ones(1)}, tmp_path / "x.safetensors", metadata={"facts": json.dumps(facts)})
    with pytest.raises(ValueError, match="is no model of this course"):
        load_model(tmp_path / "x.safetensors")
