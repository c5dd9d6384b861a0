"""Sources in families: closed forms against one step of the package, what a second level changes, and small rows."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.experiments.questions import families
from gbi_helpers.experiments.results import plain
from gbi_helpers.inference import enumerate_tasks, max_entropy, one_step
from gbi_helpers.models.natural import family_of

F64 = torch.float64
FAMILY = torch.tensor([0, 0, 1, 2, 2, 2])


def words(n=40, size=30):
    draw = torch.Generator().manual_seed(0)
    theta = torch.randn(6, size, generator=draw, dtype=F64).log_softmax(1)
    bags = torch.multinomial(theta.exp()[torch.arange(n) % 6], 15, replacement=True, generator=draw)
    return torch.zeros(n, size, dtype=F64).scatter_add_(1, bags, torch.ones(n, 15, dtype=F64)), theta


def loss(bags, theta):
    family = family_of("words")
    return lambda z: family.samples(bags) * family.log_partition(z @ theta) - (bags * (z @ theta)).sum(1)


@pytest.mark.parametrize("name", families.ROWS)
def test_every_row_is_measured_in_small(world, name):
    row = families.ROWS[name]
    assert {*families.SMALL[name]} <= {*row.settings}
    names = world.language.corpus.tasks
    settings = {**row.settings, **families.SMALL[name], "families": (names[:1], names[1:])}
    found = plain(row.measure(world, 0, settings))
    if name == "families/steps":
        for kind in ("given", "found"):
            for way in families.WAYS:
                scores = found[kind][way]
                assert all(0 <= s <= f <= 100 for s, f in zip(scores["source"], scores["family"], strict=True))
        assert found["given"]["flat"]["source"] == found["found"]["flat"]["source"]
    else:
        assert {*found} == {"words", "all", "given", "found"}
        assert all(value > 0 for value in found["all"]["nats"])


def test_flat_and_exact_are_the_packages():
    bags, theta = words()
    z0 = max_entropy(40, 6, F64)
    step, exact = one_step(loss(bags, theta), z0), enumerate_tasks(loss(bags, theta), z0)
    torch.testing.assert_close(families.flat(bags, theta, FAMILY).log_softmax(1), step.log_q)
    torch.testing.assert_close(families.all_sources(bags, theta, FAMILY).log_softmax(1), exact.log_q)


def test_two_levels_are_one_gradient_to_a_z_of_families_and_members():
    bags, theta = words()
    means = families.mean_of(theta, FAMILY)
    both = torch.cat([means, theta - means[FAMILY]])
    z0 = torch.cat([torch.full((40, 3), 1 / 3, dtype=F64), (1 / (3 * FAMILY.bincount()[FAMILY])).expand(40, -1)], 1)
    score = one_step(loss(bags, both), z0, space="free").score
    expected = score[:, FAMILY] + score[:, 3:]
    torch.testing.assert_close(families.two_levels(bags, theta, FAMILY), expected)


def test_families_of_one_size_change_nothing():
    bags, theta = words()
    even = torch.tensor([0, 1, 2, 0, 1, 2])
    torch.testing.assert_close(families.two_levels(bags, theta, even), families.flat(bags, theta, even))


def test_from_coarse_to_fine_is_nearer_to_bayes_where_members_are_alike():
    draw = torch.Generator().manual_seed(1)
    theta = 1.5 * torch.randn(3, 50, generator=draw, dtype=F64)[FAMILY]
    theta = (theta + 0.7 * torch.randn(6, 50, generator=draw, dtype=F64)).log_softmax(1)
    task = torch.arange(1200) % 6
    drawn = torch.multinomial(theta.exp()[task], 20, replacement=True, generator=draw)
    bags = torch.zeros(1200, 50, dtype=F64).scatter_add_(1, drawn, torch.ones(1200, 20, dtype=F64))
    way = {name: f(bags, theta, FAMILY) for name, f in families.WAYS.items()}
    right = {name: float((score.argmax(1) == task).double().mean()) for name, score in way.items()}
    assert right["flat"] < right["coarse_to_fine"] <= right["passes"] + 0.01
    torch.testing.assert_close(way["coarse_to_fine"].exp().sum(1), torch.ones(1200, dtype=F64))


def test_leaning_goes_from_the_counts_to_the_family():
    counts = torch.tensor([[8.0, 2.0, 0.0], [2.0, 6.0, 0.0], [0.0, 0.0, 10.0]], dtype=F64)
    family = torch.tensor([0, 0, 1])
    little, much = (families.leaning(counts, family, words) for words in (1e-6, 1e6))
    torch.testing.assert_close(little, counts / counts.sum(1, keepdim=True), atol=1e-5, rtol=0)
    torch.testing.assert_close(much[0], much[1], atol=1e-4, rtol=0)
    assert much[2, 2] > families.leaning(counts, None, 1e6)[2, 2]
    assert (little > 0).all()
    torch.testing.assert_close(much.sum(1), torch.ones(3, dtype=F64))


def test_how_much_to_lean_is_what_makes_other_text_likeliest():
    counts, task = torch.tensor([[9.0, 1.0], [1.0, 9.0]], dtype=F64), torch.tensor([0, 1])
    even, own = torch.full((2, 2), 50.0, dtype=F64), 10 * counts
    for seen, words in ((even, 1e4), (own, 1e-2)):
        found = families.fitted(counts, None, seen, task, (1e-2, 1e4))
        torch.testing.assert_close(found, families.leaning(counts, None, words))


def test_sources_that_use_words_alike_are_found_to_be_a_family():
    _, theta = words(size=200)
    near = (3 * theta[:3] + 0.1 * torch.randn(2, 3, 200, dtype=F64)).flatten(0, 1).softmax(1)
    found = families.clustered(near, 3)
    assert found[:3].unique().numel() == 3
    torch.testing.assert_close(found[:3], found[3:])


def test_a_source_without_a_family_is_said():
    assert families.named_families(["a", "c", "b"], [("a", "b"), ("c",)]).tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="'d' is in no family"):
        families.named_families(["a", "d"], [("a",)])


def test_counted_text_is_as_long_as_asked_and_another_for_another_seed():
    stream = torch.randint(20, (500,), generator=torch.Generator().manual_seed(0))
    one, other = (families.counted([stream, stream[:30]], 100, 20, seed) for seed in (0, 1))
    assert one.sum(1).tolist() == [100, 30]
    assert (one != other).any()
