from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gbi_helpers import max_entropy, metrics
from gbi_helpers.data import load_fashion_mnist, load_mnist
from gbi_helpers.experiments.ood import against, gates, pretend, rivals, scores, tables, unopened
from gbi_helpers.experiments.ood.sets import Scale
from gbi_helpers.experiments.results import Results, load_results
from gbi_helpers.experiments.tables import interval
from gbi_helpers.files import DataError
from gbi_helpers.metrics import Summary
from gbi_helpers.models.image import Classifier, ConditionalVAE, ConvAutoencoder


@pytest.fixture(name="draw")
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(name="known")
def features_in_three_classes(draw):
    y = torch.arange(90) % 3
    return torch.randn(90, 6, generator=draw) @ torch.randn(6, 6, generator=draw) + 3 * y[:, None], y


@pytest.fixture(name="head")
def untrained_classifier():
    torch.manual_seed(0)
    return rivals.Head.of(Classifier().eval())


@pytest.fixture(name="x")
def images(draw):
    return torch.rand(6, 1, 28, 28, generator=draw)


# Scores of features


def test_a_stored_image_is_its_own_nearest_whatever_its_contrast(known):
    score = rivals.nearest(known[0])(5 * known[0][:4])
    torch.testing.assert_close(score["nearest 1"], torch.ones(4).double(), rtol=0, atol=1e-5)
    assert (score["nearest 1"] >= score["nearest 5"]).all()
    assert (score["nearest 5"] >= score["nearest 20"]).all()


def test_mahalanobis_is_the_squared_distance_that_numpy_finds(known, draw):
    features, y = (part.double().numpy() for part in known)
    new = torch.randn(5, 6, generator=draw)
    means = np.stack([features[y == k].mean(0) for k in range(3)])
    spread = np.mean([np.outer(row, row) for row in features - means[y.astype(int)]], 0) + 0.1 * np.eye(6)
    away = new.double().numpy()[:, None] - means
    expected = -np.einsum("nki,ij,nkj->nk", away, np.linalg.inv(spread), away).min(1)
    np.testing.assert_allclose(rivals.mahalanobis(*known)(new)["mahalanobis 0.1"].numpy(), expected, rtol=1e-6)


def test_relative_mahalanobis_of_one_class_says_nothing(known):
    alone = rivals.mahalanobis(known[0], torch.zeros(90, dtype=torch.int64))(known[0])
    assert alone["relative_mahalanobis 0.1"].abs().max() < 1e-9
    assert alone["mahalanobis 0.1"].std() > 0.1


def test_what_principal_components_leave_over_is_a_share(draw):
    plane = torch.randn(300, 2, generator=draw) @ torch.randn(2, 400, generator=draw)
    score = rivals.residual(plane + 1e-3 * torch.randn(300, 400, generator=draw))
    inside, outside = score(plane[:3])["residual 10"], score(torch.randn(3, 400, generator=draw))["residual 10"]
    assert (inside > -0.01).all()
    assert (outside < -0.5).all()
    assert (outside >= -1).all()


# Scores of a classifier


def test_gradnorm_is_the_length_of_the_gradient_that_autograd_finds(head, x):
    features = head.features(x)
    for row, found in zip(features, rivals.of_logits(head, features)["gradnorm"], strict=True):
        log_q = head.last(row).log_softmax(0)
        (slope,) = torch.autograd.grad(-log_q.mean(), head.last.weight)
        assert float(slope.abs().sum()) == pytest.approx(float(found), rel=1e-4)


def test_odin_without_a_step_is_softmax_at_its_temperature(head, x):
    expected = scores.log_odds(head.logits(head.features(x)).detach().double() / 1000)
    torch.testing.assert_close(rivals.odin(head, x)["odin 0"], expected)


def test_vim_takes_off_what_lies_outside_the_main_directions_and_nothing_else():
    last = nn.Linear(600, 10)
    nn.init.zeros_(last.bias)  # so that the origin is 0
    head, basis = rivals.Head(nn.Flatten(), last, 10), torch.eye(600)[:32]
    draw = torch.Generator().manual_seed(1)
    known = torch.randn(500, 32, generator=draw) @ basis + 1e-6 * torch.randn(500, 600, generator=draw)
    score = rivals.vim(head, known)
    energy = last(known[:4]).detach().double().logsumexp(1)
    off = known[:4] + torch.eye(600)[599]
    assert (score(off)["vim 32"] < last(off).detach().double().logsumexp(1) - 100).all()
    assert (score(known[:4])["vim 32"] - energy).abs().max() < 10


def test_outputs_that_were_never_right_take_no_part(x):
    torch.manual_seed(0)
    eight = rivals.Head.of(Classifier().eval(), tasks=8)
    assert eight.logits(eight.features(x)).shape == (6, 8)


def test_a_sum_is_in_units_of_familiar_images():
    one = {"nearest 1": torch.tensor([0.0, 1.0, 2.0])} | {
        f"relative_mahalanobis {ridge:g}": torch.tensor([0.0, 100.0, 200.0]) for ridge in rivals.RIDGES
    }
    torch.testing.assert_close(rivals.together(one)(one)["together 0.1"], torch.tensor([-2.0, 0.0, 2.0]))


# The gates


def test_the_gates_gradient_sums_up_to_the_relative_gradient(x):
    torch.manual_seed(0)
    model = ConditionalVAE().eval()
    seen = scores.look(model, x)
    summed = gates.gate_gradient(model, x, chunk=4) @ model.decoder.join.task.weight
    expected = scores.relative_gradient(seen.loss, seen.grad).float()
    torch.testing.assert_close(summed, expected, rtol=1e-3, atol=1e-6)


def test_a_model_without_gates_is_told_so(x):
    with pytest.raises(ValueError, match="use VAE-mul"):
        gates.gate_gradient(ConvAutoencoder(), x)


# Strangers made of digits, and what is chosen on them


def test_strangers_are_made_of_two_digits_of_different_classes(x):
    y = torch.tensor([0, 0, 0, 1, 1, 1])
    made = pretend.strangers(x, y)
    assert set(made) == set(tables.PRETEND)
    assert {one.shape for one in made.values()} == {x.shape}
    assert torch.equal(made["spliced"][:, :, :14], x[:, :, :14])
    for image, own in zip(2 * made["averaged"] - x, y, strict=True):
        partner = (x - image).abs().flatten(1).sum(1).argmin()
        assert y[partner] != own
    torch.testing.assert_close(made["overlaid"], pretend.strangers(x, y)["overlaid"])


def of(values):
    return {"auroc": values, "fpr95": 0.0, "aupr": 0.0}


def test_a_setting_is_chosen_on_strangers_made_of_digits_alone():
    good = {"nearest 1": of(0.7), "nearest 5": of(0.9)}
    best_abroad = {"nearest 1": of(1.0), "nearest 5": of(0.1)}
    detection = dict.fromkeys(tables.PRETEND, good) | {"fashion": best_abroad}
    results = Results("ood", {"pixels": {"0": {"detection": detection}}}, {}, {}, {})
    assert tables.settings_of(results, "pixels", "nearest") == ["nearest 1", "nearest 5"]
    assert tables.chosen(results, "pixels", "nearest") == "nearest 5"


def test_the_interval_of_images_is_the_spread_over_samples_of_images(draw):
    found = []
    for _ in range(150):
        known, foreign = torch.randn(200, generator=draw) + 1.2, torch.randn(200, generator=draw)
        found.append(metrics.detection(known, foreign).auroc)
    usual = dict(tables.TEST_IMAGES)
    try:
        tables.TEST_IMAGES["fashion"] = (200, 200)
        told = tables.with_images(Summary(float(np.mean(found)), 0.0, 0.0, 5)).half_width
    finally:
        tables.TEST_IMAGES.clear()
        tables.TEST_IMAGES.update(usual)
    assert told == pytest.approx(1.96 * np.std(found), rel=0.2)


def test_one_seed_has_the_interval_of_its_images_and_stays_one():
    found = tables.with_images(metrics.summarise([0.9]))
    assert (interval(found), found.n) == ("0.900 ± 0.010", 1)


# What was opened last


def test_letters_are_white_on_black_and_the_same_each_time():
    drawn = unopened.letters(50)
    assert drawn.shape == (50, 1, 28, 28)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert (drawn[:, 0, 0, 0] == 0).all()
    assert torch.equal(drawn, unopened.letters(50))


def test_photographs_are_read_in_grey(tmp_path, monkeypatch):
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path))
    np.savez(tmp_path / "cifar-10-test.npz", x_test=np.full((3, 32, 32, 3), 128, np.uint8))
    photographs = unopened.photographs(2)
    assert photographs.shape == (2, 1, 28, 28)
    torch.testing.assert_close(photographs, torch.full((2, 1, 28, 28), 128 / 255), rtol=0, atol=1e-3)


def _saved(path, **arrays):
    np.savez(path, **arrays)
    return path.read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        lambda path: b"no archive",
        lambda path: b"",
        lambda path: _saved(path, x_test=np.zeros((9, 32, 32, 3), np.uint8))[:5_000],
        lambda path: _saved(path, test=np.zeros((9, 32, 32, 3), np.uint8)),
        lambda path: _saved(path, x_test=np.zeros((9, 3, 32, 32), np.uint8)),
        lambda path: _saved(path, x_test=np.zeros((9, 32, 32, 3))),
    ],
    ids=["other", "empty", "truncated", "wrong key", "wrong shape", "wrong kind"],
)
def test_damaged_photographs_are_one_sentence(tmp_path, monkeypatch, content):
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path))
    path = tmp_path / "cifar-10-test.npz"
    path.write_bytes(content(path))
    with pytest.raises(DataError, match=r"cifar-10-test.npz is damaged or has no x_test \(N, 32, 32, 3\)"):
        unopened.photographs()


def test_without_photographs_it_is_said_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GBI_OFFLINE", "1")
    with pytest.raises(DataError, match=r"^CIFAR-10 is not at hand: .*leave the row out"):
        unopened.photographs()


# The untrained rungs on the shipped images


def test_the_untrained_rivals_are_as_strong_as_the_record_says():
    mnist, clothes = load_mnist("slice"), load_fashion_mnist("slice").test.pixels()
    scale = Scale.of(mnist.train.pixels())
    known, foreign = scale(mnist.test.pixels()[::4]), Scale.of(clothes)(clothes)[::4]
    score = rivals.nearest(scale(mnist.train.pixels()))
    auroc = metrics.detection(score(known)["nearest 1"], score(foreign)["nearest 1"]).auroc
    recorded = load_results("ood").mean(*tables.at("pixels", "nearest 1"))
    assert recorded == pytest.approx(0.9939, abs=1e-3)
    assert auroc == pytest.approx(recorded, abs=0.01)


def test_the_price_of_the_relative_gradient_is_one_pass_and_nothing_kept():
    price = load_results("ood").first("price")
    assert price["stored"]["relative gradient"] == 0
    assert (price["passes"]["forwards"], price["passes"]["backwards"]) == (1, 1)
    assert price["stored"]["nearest pixels"] == 10_000 * 784 * 4


def test_every_rule_for_a_step_size_is_asked_of_the_same_scores(x):
    torch.manual_seed(0)
    seen = scores.look(ConditionalVAE().eval(), x)
    both = against._both_rules("max_z", -seen.grad, 0.5)
    torch.testing.assert_close(both["max_z small"], scores.advantage(seen.grad))
    torch.testing.assert_close(both["max_z fitted"], scores.log_odds(-0.5 * seen.grad))
    assert max_entropy(1, 10).shape == (1, 10)
