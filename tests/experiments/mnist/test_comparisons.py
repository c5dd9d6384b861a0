from __future__ import annotations

import pytest
import torch

from gbi_helpers import enumerate_tasks, max_entropy, one_step
from gbi_helpers.data import load_mnist
from gbi_helpers.experiments.mnist import amortised, comparisons, few_labels, learned_z, recipes, recompose
from gbi_helpers.experiments.mnist import with_and_without as arms
from gbi_helpers.experiments.results import Results
from gbi_helpers.models.base import bernoulli_nll, one_hot
from gbi_helpers.models.image import ConvAutoencoder
from gbi_helpers.readouts import decoder_loss


@pytest.fixture(scope="module", name="data")
def a_little_of_mnist():
    return load_mnist("slice").cut(256, 100, 100)


@pytest.fixture(scope="module", name="nine")
def a_network_without_sevens(data):
    x, z = recompose.other_digits(data.train.pixels(), data.train.y, 7)
    return arms.learn(x, z, 3, seed=0, steps=30, batch_size=64, lr=4e-3)[0]


# With and without Z


def test_told_the_one_hot_label_it_is_the_faithful_network_of_the_same_seed(data):
    x, y = data.train.pixels(), data.train.y
    model, _ = arms.learn(x, one_hot(y), 3, seed=1, epochs=1, batch_size=64, lr=4e-3)
    other, _ = recipes.train_autoencoder(x, y, seed=1, epochs=1)
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))


def test_a_shuffled_z_has_the_same_digits_and_is_mostly_another_images(data):
    z = arms.shuffled(data.train.y)
    assert torch.equal(z.sum(0), one_hot(data.train.y).sum(0))
    assert (z.argmax(1) == data.train.y).float().mean() < 0.25


def test_without_z_the_wrong_digit_changes_nothing_and_nats_are_means_over_all_images(data):
    x, y = data.test.pixels(), data.test.y
    model = ConvAutoencoder(3, 0).eval()
    assert arms.nats(model, x, arms.nothing(y)) == arms.nats(model, x, arms.nothing((y + 1) % 10))
    told = ConvAutoencoder(3).eval()
    with torch.no_grad():
        expected = bernoulli_nll(told(x, one_hot(y)), x).mean()
    assert arms.nats(told, x, one_hot(y)) == pytest.approx(float(expected), rel=1e-5)


def made(rows):
    return Results("made", rows, {}, {}, {})


def test_steps_to_match_is_where_the_curve_with_z_crosses_the_end_of_the_one_without():
    curves = {"with_curve": [500.0, 200.0, 100.0, 90.0], "without_curve": [500.0, 300.0, 200.0, 150.0]}
    found = comparisons.steps_to_match(made({"z_or_none_3": {"0": curves, "1": curves}}), 3)
    assert found.mean == pytest.approx(1.5 * arms.EVERY)


# What was never trained


def test_the_other_nine_digits_have_nine_inputs_in_the_order_of_the_digits():
    x, y = torch.zeros(10, 1, 28, 28), torch.arange(10)
    others, z = recompose.other_digits(x, y, 7)
    assert len(others) == 9
    assert torch.equal(z, torch.eye(9))


def test_more_freedom_for_z_describes_the_same_images_better(nine, data):
    sevens = data.test.pixels()[data.test.y == 7]
    found = recompose.searched(nine, sevens)
    assert found["free"] < found["mixture"] < found["uniform"]
    assert found["mixture"] <= found["single"] + 0.5  # the best one-hot z is a corner of the simplex
    exact = enumerate_tasks(decoder_loss(nine, sevens), max_entropy(len(sevens), 9))
    assert found["single"] == pytest.approx(float(exact.loss.min(1).values.mean()), rel=1e-5)


def test_a_shared_z_is_judged_on_images_it_was_not_found_on(nine, data):
    """Blank images after the first ten: whatever fits the first ones cannot have been fitted to these."""
    sevens = data.train.pixels()[data.train.y == 7][:20].clone()
    alone = recompose.searched(nine, sevens[:10].repeat(2, 1, 1, 1))["free_shared"]
    sevens[10:] = 1.0
    assert recompose.searched(nine, sevens)["free_shared"] > 2 * alone


def test_a_new_input_and_a_moved_code_leave_the_weights_alone_and_help(nine, data):
    sevens = data.train.pixels()[data.train.y == 7][:20]
    before = [p.clone() for p in nine.parameters()]
    unmoved = recompose.searched(nine, sevens)
    assert recompose.new_input(nine, sevens) < unmoved["uniform"]
    assert recompose.code_searched(nine, sevens) < unmoved["single"]
    assert all(torch.equal(one, two) for one, two in zip(before, nine.parameters(), strict=True))


def test_a_code_that_is_moved_starts_from_the_best_digit_that_was_trained(nine, data, monkeypatch):
    sevens = data.train.pixels()[data.train.y == 7][:20]
    monkeypatch.setattr(recompose, "RATE", 1e-9)
    assert recompose.code_searched(nine, sevens) == pytest.approx(recompose.searched(nine, sevens)["single"], rel=1e-4)


def test_images_in_the_span_of_the_mean_digits_are_drawn_without_loss_by_means_and_components():
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(40, 1, 28, 28, generator=draw)
    z = torch.eye(2).repeat(20, 1)
    means = torch.stack([x[::2].mean(0), x[1::2].mean(0)])
    floor = float(torch.special.entr(means).add(torch.special.entr(1 - means)).flatten(1).sum(1).mean())
    assert recompose.by_means(x, z, means) == pytest.approx(floor, rel=1e-4)
    few = x[:5]
    own = float(torch.special.entr(few).add(torch.special.entr(1 - few)).flatten(1).sum(1).mean())
    assert recompose.by_components(few, few, 4, least=1e-6) == pytest.approx(own, rel=1e-3)


def test_styles_stay_images_and_differ_from_the_plain_ones(data):
    x = data.test.pixels()[:10]
    for change in recompose.STYLES.values():
        changed = change(x)
        assert changed.shape == x.shape
        assert torch.equal(changed, changed.clamp(0, 1))
        assert (changed - x).abs().mean() > 0.02


# Few labels


def test_untrained_rivals_are_right_where_each_digit_has_one_bright_square():
    y = torch.arange(10).repeat(8)
    x = torch.zeros(80, 1, 28, 28)
    for k in range(10):
        x[y == k, 0, 2 * k : 2 * k + 2, 5:9] = 1
    noisy = (x + 0.1 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    found = few_labels.without_network(noisy, y, noisy, y)
    assert set(found) == {"svm", "nearest_mean", "nearest_neighbour", "lda", "coins"}
    assert min(found.values()) == 100


# An encoder as a rival


def test_the_encoder_without_labels_learns_the_exact_answer_of_the_frozen_decoder(data):
    x, y = data.train.pixels(), data.train.y
    model, _ = recipes.train_autoencoder(x, y, seed=0, steps=80, epochs=None)
    encoder = amortised.unlabelled(model, x, (x[:100], y[:100]), seed=0, settings={"epochs": 60})
    exact = enumerate_tasks(decoder_loss(model, x), max_entropy(len(x), 10)).task
    with torch.no_grad():
        assert (encoder(x).argmax(1) == exact).float().mean() > 0.85


# A learned Z


@pytest.mark.parametrize("way", ["concat", "add", "mul"])
def test_a_gradient_through_the_embedding_is_the_embeddings_gradient_projected_on_each_task(way, data):
    torch.manual_seed(0)
    model = learned_z.EmbeddedAutoencoder(4, way).eval()
    x = data.test.pixels()[:5]
    grad = one_step(decoder_loss(model, x), max_entropy(5, 10)).grad
    inner, embedding = model.decoder.decoder, model.decoder.embedding.detach()
    e = embedding.mean(0).expand(5, -1).clone().requires_grad_()
    (slope,) = torch.autograd.grad(bernoulli_nll(inner(model.encode(x).detach(), e), x).sum(), e)
    assert torch.allclose(grad, slope @ embedding.T, rtol=1e-3, atol=1e-2)


def test_tables_of_the_comparisons_pair_seeds_and_sort_digits():
    rows = {
        name: {
            str(s): {"digit": first + s, "uniform": 200.0, "told": 100.0, "free": 100.0 + first + s} for s in range(5)
        }
        for name, first in (("unseen_digit", 0), ("unseen_digit_more", 5))
    }
    assert comparisons.unseen_digits(made(rows), "free").tolist() == [100.0 + d for d in range(10)]
    assert comparisons.gap_closed(made(rows), "free").mean == pytest.approx(95.5)
