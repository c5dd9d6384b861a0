from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gbi_helpers import files, max_entropy, metrics, one_step
from gbi_helpers.checkpoints import load_model
from gbi_helpers.data import ImageData, load_fashion_mnist, load_mnist
from gbi_helpers.experiments.mnist import recipes
from gbi_helpers.experiments.ood import recipes as ood_models
from gbi_helpers.experiments.ood import scores, study, tables
from gbi_helpers.experiments.ood.sets import Scale, Sets, rotated, shuffled
from gbi_helpers.experiments.ood.study import STUDY
from gbi_helpers.experiments.results import load_results
from gbi_helpers.experiments.runner import run
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.tables import against_paper
from gbi_helpers.models.image import Classifier, ConditionalVAE
from gbi_helpers.readouts import decoder_loss

SEEDS = 5
ACROSS = (("vae_mul", "max_z"), ("vae_mul", "relative"), ("vae_mul", "relative_likelihood"), ("vae_mul", "regret"),
          ("classifier", "softmax"), ("classifier", "energy"))  # fmt: skip


@pytest.fixture(scope="module", name="data")
def the_slice():
    return load_mnist("slice")


@pytest.fixture(scope="module", name="clothes")
def a_few_clothes():
    return load_fashion_mnist("slice").test.pixels()[:60]


@pytest.fixture(name="model")
def untrained():
    torch.manual_seed(0)
    return ConditionalVAE().eval()


@pytest.fixture(name="x")
def images():
    return torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(1))


# The scores


@settings(deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 1000))
def test_relative_gradient_does_not_see_the_scale_of_the_loss(factor, seed):
    draw = torch.Generator().manual_seed(seed)
    loss, grad = 1 + torch.rand(5, generator=draw).double(), torch.randn(5, 4, generator=draw).double()
    torch.testing.assert_close(
        scores.relative_gradient(factor * loss, factor * grad), scores.relative_gradient(loss, grad)
    )


def test_relative_gradient_is_the_gradient_of_the_log_of_the_loss(model, x):
    seen = scores.look(model, x)
    z = max_entropy(6, 10).requires_grad_()
    (expected,) = torch.autograd.grad(decoder_loss(model, x)(z).log().sum(), z)
    torch.testing.assert_close(scores.relative_gradient(seen.loss, seen.grad).float(), expected, rtol=1e-3, atol=1e-6)


def test_relative_gradient_names_what_it_cannot_divide_by():
    with pytest.raises(ValueError, match="losses above 0"):
        scores.relative_gradient(torch.tensor([1.0, 0.0]), torch.ones(2, 3))
    with pytest.raises(ValueError, match="one loss for each row"):
        scores.relative_gradient(torch.ones(3), torch.ones(2, 3))


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 20))
def test_log_odds_are_those_of_the_largest_probability(seed, scale):
    score = scale * torch.randn(7, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q = torch.softmax(score, 1).max(1).values
    assert torch.allclose(torch.sigmoid(scores.log_odds(score)), q)


def test_log_odds_tell_apart_what_rounding_ties():
    score = torch.tensor([[50.0, 0.0, 0.0], [90.0, 0.0, 0.0]])
    assert torch.softmax(score, 1).max(1).values.unique().numel() == 1
    assert scores.log_odds(score).diff() > 0


def test_advantage_is_what_small_steps_rank_by():
    grad = torch.randn(200, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(scores.log_odds(-1e-7 * grad).argsort(), scores.advantage(grad).argsort())


def test_a_look_of_chunks_is_that_of_the_whole(model, x):
    whole, parts = scores.look(model, x), scores.look(model, x, chunk=4)
    for name in ("loss", "grad", "losses"):
        torch.testing.assert_close(getattr(whole, name), getattr(parts, name), rtol=1e-4, atol=1e-3)


def test_regret_compares_with_the_same_z_and_the_trap_does_not(model, x):
    found, seen = scores.regret(model, x, steps=20), scores.look(model, x)
    assert (found["regret"] < 0).all()  # minus what fitting the code wins
    gain = seen.loss - seen.losses.min(1).values
    torch.testing.assert_close(found["regret"] - found["uniform_regret"], gain)


def test_every_score_of_a_model_is_one_number_an_image(model, x):
    found = scores.gradient_scores(scores.look(model, x), {"max_z": 0.1, "relative": 1.0, "likelihood": 0.1})
    assert {score.shape for score in found.values()} == {(6,)}
    assert torch.equal(found["relative"], found["relative_fitted"])  # at the same step size


def test_an_ensemble_of_one_opinion_is_that_classifier():
    logits = torch.randn(1, 8, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one, votes = scores.classifier_scores(logits[0]), scores.vote_scores(logits.log_softmax(2))
    torch.testing.assert_close(one["softmax"], votes["softmax"])
    torch.testing.assert_close(one["energy"], logits[0].logsumexp(1))


# The images


def test_rotated_by_a_right_angle_and_by_a_full_turn(x):
    torch.testing.assert_close(rotated(x, 90), torch.rot90(x, 1, (2, 3)), rtol=0, atol=1e-4)
    torch.testing.assert_close(rotated(x, 360), x, rtol=0, atol=1e-4)
    assert rotated(torch.ones(1, 1, 28, 28), 45)[0, 0, 0, 0] == 0  # black where nothing was


def test_shuffled_keeps_each_images_pixels(x):
    mixed = shuffled(x)
    assert not torch.equal(mixed, x)
    assert torch.equal(mixed.flatten(1).sort(1).values, x.flatten(1).sort(1).values)
    assert torch.equal(mixed, shuffled(x))


def test_a_scale_standardises_its_own_set_and_can_be_undone(x):
    scale = Scale.of(x)
    assert float(scale(x).mean()) == pytest.approx(0, abs=1e-5)
    assert float(scale(x).std()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(scale.undo(scale(x)), x)


def test_with_one_black_a_dark_pixel_tells_nothing(data, clothes):
    sets = Sets.of(data, clothes)
    black = float(sets.test[0].min())
    assert float(sets.foreign["fashion"].min()) < black - 0.3  # standardised by itself: another number
    found = sets.with_one_black(clothes)
    for name in ("fashion", "bright", "faint"):
        assert torch.equal(found[name] == black, clothes == 0)
    lit = clothes > 0
    assert torch.equal(found["fashion"][lit], sets.foreign["fashion"][lit])
    torch.testing.assert_close(found["inverted"], sets.scale(1 - data.test.pixels()))


def test_two_digits_left_out_are_in_no_split_but_the_foreign_one(data, clothes):
    sets = Sets.of(data, clothes)
    near = sets.without((3, 8))
    n = int(torch.isin(data.test.y, torch.tensor([3, 8])).sum())
    assert len(near.foreign["near"]) == n
    assert len(near.test[0]) == len(data.test) - n
    for _, y in (near.train, near.validation, near.test):
        assert y.unique().tolist() == list(range(8))
    kept = data.train.y[~torch.isin(data.train.y, torch.tensor([3, 8]))]
    assert torch.equal(near.train[1][kept == 9].unique(), torch.tensor([7]))


def test_five_seeds_leave_out_every_digit_once():
    assert sorted(digit for pair in tables.PAIRS for digit in pair) == list(range(10))


def test_what_is_weighed_against_a_squared_error_grows_with_it():
    found = ood_models.scaled({"beta": 0.6, "weight": 30.0, "epochs": 3}, sd=0.5)
    assert found == {"beta": 2.4, "weight": 120.0, "epochs": 3}


def test_dropout_votes_differ_repeat_and_leave_the_model_in_eval_mode(x):
    model = ood_models.DropoutClassifier().eval()
    votes = model.votes(x, masks=3)
    assert votes.shape == (3, 6, 10)
    assert not torch.allclose(votes[0], votes[1])
    assert torch.equal(votes, model.votes(x, masks=3))
    assert not model.training
    torch.testing.assert_close(votes.exp().sum(2), torch.ones(3, 6))


# The study, at small size


def test_the_small_study_measures_every_row_for_every_table(little):
    results = run(STUDY, [0], variant="small", shelf=little(STUDY))
    for row, by_seed in results.rows.items():
        assert set(by_seed["0"]["detection"]) >= ({"near"} if row.startswith("near") else {"fashion"})
    assert all(0 <= one.measured.mean <= 1 for one in against_paper(results, "ood"))
    assert all(results.has(*tables.at(*score, foreign)) for score in ACROSS for foreign in tables.FOREIGN)


def test_an_ensemble_shares_its_first_network_with_the_classifier(tmp_path):
    shelf = Shelf(tmp_path)
    run(STUDY, [0, 1], ["classifier"], variant="small", shelf=shelf)
    assert len(list(tmp_path.glob("classifier-*.safetensors"))) == 2 * study.MEMBERS


# What is shipped


def test_shipped_record_holds_every_row_and_its_facts():
    results = load_results("ood")
    assert results.seeds() >= SEEDS
    assert min(one.measured.n for one in against_paper(results, "ood")) >= SEEDS
    assert {"command", "commit", "versions", "device", "minutes", "data"} <= results.facts.keys()
    for foreign in tables.FOREIGN:
        assert all(results.summary(*tables.at(*score, foreign)).n >= SEEDS for score in ACROSS)


def test_shipped_record_reaches_what_the_course_promises():
    results = load_results("ood")
    relative = results.summary(*tables.at("vae_mul", "relative"))
    assert relative.mean >= 0.985
    assert 0.82 <= results.mean(*tables.at("vae_mul", "max_z")) <= 0.97
    assert relative.low > results.summary(*tables.at("classifier", "softmax")).high
    sweep = tables.sweep(results, "vae_mul", "step size")
    assert max(one.mean for one in sweep.values()) - min(one.mean for one in sweep.values()) > 0.02


def test_shipped_weights_give_the_recorded_scores(data):
    results = load_results("ood")
    sets = Sets.of(data, load_fashion_mnist("slice").test.pixels())
    (x, y), cloth = sets.test, sets.foreign["fashion"]
    model, facts = load_model("checkpoints/ood_vae_mul.safetensors", ConditionalVAE)
    known, foreign = (
        scores.gradient_scores(scores.look(model, images), facts["metrics"]["sizes"]) for images in (x, cloth)
    )
    for name in ("max_z", "relative"):
        expected = results.first(*tables.at("vae_mul", name))
        assert metrics.detection(known[name], foreign[name]).auroc == pytest.approx(expected, abs=0.003)
    net, facts = load_model("checkpoints/ood_classifier.safetensors", Classifier)
    with torch.no_grad():
        assert metrics.accuracy(net(x).argmax(1), y) == pytest.approx(facts["metrics"]["accuracy"], abs=0.15)
    assert all(files.manifest()[f"checkpoints/ood_{name}.safetensors"]["bytes"] < 1_000_000 for name in study.SHIPPED)


# From scratch, so that stored weights cannot hide a broken loop


@pytest.mark.slow
def test_relative_gradient_tells_clothes_from_digits_from_scratch(data):
    part = data.train[:3000]
    sets = Sets.of(
        ImageData(data.name, "3,000", part, data.validation[:500], data.test[:500], data.classes),
        load_fashion_mnist("slice").test.pixels()[:500],
    )
    settings = ood_models.scaled(ood_models.SETTINGS["vae_mul"], sets.scale.sd) | {"epochs": 10, "batch_size": 64}
    model, _ = recipes.train_vae(*sets.train, seed=0, **settings)
    known, foreign = (scores.look(model.eval(), x) for x in (sets.test[0], sets.foreign["fashion"]))
    score = {
        name: scores.log_odds(-scores.relative_gradient(s.loss, s.grad))
        for name, s in {"in": known, "out": foreign}.items()
    }
    assert metrics.detection(score["in"], score["out"]).auroc >= 0.93  # five seeds: .969 to .986
    assert (
        metrics.accuracy(one_step(decoder_loss(model, sets.test[0]), max_entropy(500, 10)).task, sets.test[1]) >= 78
    )  # 86 to 88
