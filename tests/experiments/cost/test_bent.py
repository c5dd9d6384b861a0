"""What is asked of trained networks in chapter 10: the theorem of dreams by enumeration, and every row, small."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from gbi_helpers import enumerate_tasks, max_entropy, one_step
from gbi_helpers.experiments.cost import asked as asking
from gbi_helpers.experiments.cost import bent, curved, sizes, spent
from gbi_helpers.experiments.cost.asked import (
    COINS,
    GAUSSIAN,
    WORDS,
    Asked,
    divergences,
    each,
    passes,
    slopes,
    whole_gap,
)
from gbi_helpers.experiments.cost.judged import centred, judged, moved, related
from gbi_helpers.experiments.cost.study import STUDY
from gbi_helpers.experiments.runner import run
from gbi_helpers.experiments.study import SMALL
from gbi_helpers.models.image import ConditionalVAE
from gbi_helpers.models.language import CONDITIONINGS, WordLSTM
from gbi_helpers.models.transformer import WordTransformer
from gbi_helpers.theory import second_order_gap

F64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


class Bent(nn.Module):
    """Outputs (B, 1, 2, 2) far from linear in z."""

    def __init__(self, n_tasks=3, linear=False):
        super().__init__()
        self.linear = linear
        self.enter = nn.Parameter(1.5 * normal(n_tasks, 4, seed=1))

    def forward(self, given, z):
        out = given + z @ self.enter
        return (out if self.linear else torch.tanh(out) * out + out.sin()).view(-1, 1, 2, 2)


def words(kind, n_tasks=3, size=4, length=3, rows=2):
    """A small softmax network with strong gates, and some texts that it read."""
    torch.manual_seed(0)
    made = WordTransformer(size, n_tasks, 8, 1, 2) if kind == "transformer" else WordLSTM(size, n_tasks, 5, kind)
    with torch.no_grad():
        for part in made.parameters():
            part.mul_(2)
        made.embedding.weight.mul_(8)
        if getattr(made, "gate", None) is not None:
            made.gate.weight.copy_(normal(*made.gate.weight.shape, seed=5))
    read = torch.randint(size, (rows, length), generator=torch.Generator().manual_seed(3))
    return Asked(made.double().eval(), read, read, torch.zeros(rows, dtype=torch.int64), n_tasks, WORDS)


def pixels(says, rows=5, linear=False, target=None):
    given = normal(rows, 4, seed=2)
    target = torch.zeros(rows, 1, 2, 2, dtype=F64) if target is None else target
    return Asked(Bent(linear=linear).eval(), given, target, torch.arange(rows) % 3, 3, says)


def every(asked, values, shape):
    """The mean of the whole gap over all targets there are, each as probable as the network says at z0."""
    mean, total = 0, 0
    for one in itertools.product(values, repeat=math.prod(shape)):
        target = torch.tensor(one).view(shape).expand(len(asked.task), *shape)
        this = replace(asked, target=target if asked.says is WORDS else target.double())
        p = (-this.loss(this.z0)).exp()
        mean, total = mean + p[:, None] * whole_gap(this.loss, this.z0), total + p
    torch.testing.assert_close(total, torch.ones_like(total))
    return mean


@pytest.mark.parametrize("kind", [*CONDITIONINGS, "transformer"])
def test_on_all_that_a_word_network_may_dream_the_mean_gap_is_minus_the_kl(kind):
    asked = words(kind)
    kl = divergences(asked)
    assert kl.amax() > 0.05  # or nothing is tested
    assert (every(asked, range(4), (3,)) + kl).abs().max() < 1e-12


def test_on_all_that_pixels_may_be_the_mean_gap_is_minus_the_kl():
    coins = pixels(COINS)
    assert (every(coins, (0, 1), (1, 2, 2)) + divergences(coins)).abs().max() < 1e-12
    blurred = pixels(GAUSSIAN)  # its gap is linear in x, so the mean over x is the gap of the mean
    mean = replace(blurred, target=blurred.model(blurred.given, blurred.z0).detach())
    kl = divergences(blurred)
    assert kl.amax() > 1
    assert (whole_gap(mean.loss, mean.z0) + kl).abs().max() < 1e-12


def test_on_data_that_are_no_dreams_it_is_not():
    asked = pixels(GAUSSIAN, target=3 * normal(5, 1, 2, 2, seed=7))
    assert (whole_gap(asked.loss, asked.z0) + divergences(asked)).abs().max() > 1


@pytest.mark.parametrize("says", [GAUSSIAN, COINS, WORDS], ids=["gaussian", "coins", "words"])
def test_what_an_output_says_is_what_pytorch_says_of_its_distribution(says):
    one, other = normal(6, 5, 3, seed=4), normal(6, 5, 3, seed=5)
    d = torch.distributions
    made = {
        id(GAUSSIAN): lambda out: d.Normal(out, math.sqrt(0.5)),
        id(COINS): lambda out: d.Bernoulli(logits=out),
        id(WORDS): lambda out: d.Categorical(logits=out),
    }[id(says)]
    expected = d.kl_divergence(made(one), made(other)).flatten(1).sum(1)
    torch.testing.assert_close(says.divergence(one, other), expected)
    target = says.draw(one, torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        says.nll(one, target) - says.nll(other, target),
        (made(other).log_prob(target) - made(one).log_prob(target)).flatten(1).sum(1),
    )


@pytest.mark.parametrize("says", [GAUSSIAN, COINS, WORDS], ids=["gaussian", "coins", "words"])
def test_draws_are_as_frequent_as_the_output_says(says):
    out = normal(1, 2, 4, seed=6)
    drawn = says.draw(out.expand(40_000, -1, -1), torch.Generator().manual_seed(1))
    if says is WORDS:
        seen, told = torch.nn.functional.one_hot(drawn, 4).double().mean(0), out[0].softmax(-1)
    else:
        seen, told = drawn.mean(0), out[0] if says is GAUSSIAN else out[0].sigmoid()
        spread = 0.5 if says is GAUSSIAN else told * (1 - told)
        assert (drawn.var(0) - spread).abs().max() < 0.02
    assert (seen - told).abs().max() < 0.02


def test_a_dream_leaves_what_was_read_and_differs_from_draw_to_draw():
    asked, draw = words("both", length=20, rows=8), torch.Generator().manual_seed(0)
    first, second = asked.dreamed(draw, batch=3), asked.dreamed(draw, batch=3)
    assert torch.equal(first.given, asked.given)
    assert first.target.shape == asked.target.shape
    assert not torch.equal(first.target, second.target)
    assert torch.equal(first.target, asked.dreamed(torch.Generator().manual_seed(0), batch=3).target)


def test_parts_are_asked_like_the_whole():
    asked = pixels(COINS, rows=7)
    for way in (slopes, passes, whole_gap):
        torch.testing.assert_close(each(asked, way, batch=3), way(asked.loss, asked.z0))
    torch.testing.assert_close(divergences(asked, batch=3), divergences(asked))
    assert torch.equal(slopes(asked.loss, asked.z0), -one_step(asked.loss, asked.z0).grad)
    assert torch.equal(passes(asked.loss, asked.z0), -enumerate_tasks(asked.loss, asked.z0).loss)


# ---------------------------------------------------------------- curvature, the start, the free energy


def test_between_its_kinks_a_relu_decoder_has_no_curvature_but_that_of_the_likelihood():
    """So what dreams find, the Fisher information, is all that the second order knows; words differ."""
    torch.manual_seed(0)
    vae = ConditionalVAE(3, 4, width=16).double().eval()
    x = torch.rand(6, 1, 28, 28, dtype=F64)
    image = Asked(vae.decoder, vae.encode(x).detach(), x, torch.zeros(6, dtype=torch.int64), 4, GAUSSIAN)
    text = words("both")
    apart = [second_order_gap(one.loss, one.z0) - curved._fisher(one) for one in (image, text)]
    assert apart[0].abs().max() < 1e-10 * curved._fisher(image).abs().max()
    assert apart[1].abs().max() > 0.01 * curved._fisher(text).abs().max()


def test_a_linear_decoder_has_a_start_without_gap_and_there_one_step_is_right():
    asked = pixels(GAUSSIAN, rows=200, linear=True, target=2 * normal(200, 1, 2, 2, seed=8))
    starts = curved._starts(asked, (300,), lr=0.1)
    exact = each(asked, passes)
    left = {n: centred(exact - each(asked, lambda f, z0, z=z: slopes(f, z.expand_as(z0)))) for n, z in starts.items()}
    assert left[0].abs().max() > 0.5
    assert left[300].abs().max() < 1e-3  # of every sample, not only in the mean
    assert starts[300].sum() != pytest.approx(2)
    assert torch.equal(starts[0], asked.z0[0])


@pytest.mark.parametrize("strength", [0.1, 3.0])
def test_the_free_energy_to_second_order_is_at_rest_where_it_should_be(strength):
    root, slope = strength * normal(5, 6, 6, seed=9), normal(5, 6, seed=10)
    hessian, z0 = root @ root.mT, max_entropy(5, 6, F64)

    def loss(z):
        return (slope * z).sum(-1) + torch.einsum("bj,bjk,bk->b", z, hessian, z) / 2

    log_q = curved.least_free_energy(loss, z0, rounds=6_000)
    at = log_q.exp()
    rest = centred(slope + torch.einsum("bjk,bk->bj", hessian, at) + log_q)
    torch.testing.assert_close(at.sum(1), torch.ones(5, dtype=F64))
    assert rest.abs().max() < 1e-6


# ---------------------------------------------------------------- how it is judged


def test_a_gap_is_related_to_itself_and_to_its_half():
    gap = normal(6, 4)
    assert related(gap, gap) == pytest.approx({"correlation": 1, "slope": 1})
    assert related(0.5 * gap + normal(6, 1, seed=1), gap) == pytest.approx({"correlation": 1, "slope": 0.5})
    assert related(0 * gap, gap) == {"correlation": 0.0, "slope": 0.0}


def test_mended_and_broken_are_counted_against_the_exact_answer():
    exact = torch.eye(3)[[0, 1, 2, 0]]
    before, now = torch.eye(3)[[0, 2, 1, 1]], torch.eye(3)[[1, 1, 1, 0]]
    assert moved(now, before, exact) == {"mended": 50.0, "broken": 25.0}
    assert judged(now, exact, torch.tensor([0, 1, 2, 1]))["agreement"] == 50.0


@pytest.mark.parametrize(("noise", "put"), [(0.0, True), (30.0, False)])
def test_a_rule_that_is_sure_takes_the_gap_only_where_it_clearly_helps(noise, put):
    exact, gap = 2 * normal(200, 5), 2 * normal(5, seed=1)
    slope = exact - gap + noise * normal(200, 5, seed=2)
    rules = bent._rules([slope, slope + gap], exact, exact.argmax(1))
    assert rules["sure"] is put
    assert bent._rules([slope, slope], exact, exact.argmax(1)) == dict.fromkeys(rules, False)


def test_by_chance_errors_of_mean_zero_pass_and_others_do_not():
    mixed = normal(6, 6, seed=1)
    found = torch.tensor([bent._chance(normal(300, 6, seed=seed) @ mixed) for seed in range(200)])
    assert 0.4 < found.mean() < 0.6
    assert (found < 0.1).double().mean() == pytest.approx(0.1, abs=0.06)
    assert bent._chance(normal(300, 6) @ mixed + 0.5 * mixed.norm(dim=0)) < 1e-6


def test_shares_of_the_gap_add_up_and_find_what_was_put_in():
    own = centred(normal(4000, 4))
    gap = centred(torch.tensor([3.0, 0, 0, -3], dtype=F64)) + 2 * (own - own.mean(0))
    found = bent._shares(gap, own)
    assert sum(found.values()) == pytest.approx(100)
    assert found["rest"] == pytest.approx(0, abs=1e-6)
    assert found["shared"] == pytest.approx(100 * 4.5 / float(gap.square().mean()), rel=1e-6)


def test_many_random_directions_show_the_gradient_and_one_does_not():
    score = normal(20, 10)
    many, one = (spent._along(score, n, torch.Generator().manual_seed(1)) for n in (20_000, 1))
    assert (many - score).abs().max() < 0.2
    assert (one.argmax(1) == score.argmax(1)).double().mean() < 0.6


def test_all_pixels_seen_are_the_image_and_fewer_are_among_more():
    asked = pixels(GAUSSIAN, target=normal(5, 1, 2, 2, seed=7))
    none, some, whole = sizes._seen(asked, (0, 2, 4))
    torch.testing.assert_close(whole.loss(asked.z0), asked.loss(asked.z0))
    assert (none.loss(asked.z0) == 0).all()
    assert (some.loss(asked.z0) < whole.loss(asked.z0)).all()
    assert sizes._mask(asked.target[0], 2).sum() == 2


# ---------------------------------------------------------------- the rows


@pytest.fixture(name="of")
def _of(little):
    """The values of a row of seed 0, small."""
    return lambda name: run(STUDY, [0], [name], variant=SMALL, shelf=little(STUDY)).rows[name]["0"]


@pytest.mark.parametrize("name", list(bent.ROWS))
def test_every_row_runs_small_and_leaves_plain_numbers(of, name):
    found = of(name)
    assert json.loads(json.dumps(found)) == found
    assert STUDY.rows[name].words


def test_rows_that_ask_one_network_ask_it_of_the_same_samples(of):
    """One step, without anything, is the same in the rows of one network wherever all its test samples are used."""
    put_back = of("delta/words_5")
    assert put_back["one_step"]["slope"] == 0
    assert put_back["measured"]["slope"] == pytest.approx(1)
    assert put_back["exact"]["kl"] == pytest.approx(0, abs=1e-5)
    assert set(put_back["chosen"]) == {"passes", "sure", "labels", "fitted"}


def test_small_dreams_of_a_trained_network_do_not_contradict_the_theorem(of):
    for name in ("vae_mul", "words_20"):
        found = of(f"dreams/{name}")
        assert sum(found["shares"].values()) == pytest.approx(100, abs=1e-3)
        assert max(map(abs, found["z"])) < 5


def test_networks_are_those_of_their_own_chapters():
    """So what lies on the shelf of another study is used: the settings are the same, to the letter."""
    from gbi_helpers.experiments.language.study import STUDY as LANGUAGE
    from gbi_helpers.experiments.mnist.study import STUDY as MNIST

    assert (
        STUDY.settings("dreams/words_20", "")["networks"]["gbi"]
        == LANGUAGE.settings("naming", "packages")["networks"]["gbi"]
    )
    for name in ("vae_mul", "gradient_aware", "faithful", "add"):
        assert asking.IMAGES[name][1] == MNIST.settings(name, "slice")
