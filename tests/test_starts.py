"""From where one step is exact, and which tasks it never names: theorems and laws, on random problems."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from gbi_helpers import enumerate_tasks, max_entropy, one_step
from gbi_helpers.starts import exact_start, nameable_share, natural_start, visible
from gbi_helpers.theory import natural_kl

F64 = torch.float64
problems = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**31)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def gaussian(patterns, x, samples=1.0):
    return lambda z: samples * (x - z @ patterns).square().sum(-1) / 2


def from_start(loss, z, batch):
    """One step from z (K,), wherever that lies, and exact Bayes."""
    one = one_step(loss, z.expand(batch, -1), space="free")
    return one, enumerate_tasks(loss, max_entropy(batch, len(z), F64))


# ---------------------------------------------------------------- Gaussians


@problems
@given(seed=seeds, n_tasks=st.integers(2, 100), more=st.integers(0, 100))
def test_from_the_circumcentre_one_step_is_exact_for_any_number_of_tasks(seed, n_tasks, more):
    patterns, x = normal(n_tasks, 2 * n_tasks + more, seed=seed), 1.5 * normal(10, 2 * n_tasks + more, seed=seed + 1)
    z = exact_start(patterns)
    one, exact = from_start(gaussian(patterns, x), z, 10)
    assert (one.q - exact.q).abs().max() < 1e-9
    assert abs(z.sum() - 1) < 1e-12
    assert visible(patterns, z).all()


@problems
@given(seed=seeds, n_tasks=st.integers(3, 40))
def test_it_is_equally_far_from_all_patterns_up_to_as_many_as_space_has_corners(seed, n_tasks):
    patterns = normal(n_tasks, n_tasks - 1, seed=seed)
    try:
        z = exact_start(patterns)
    except ValueError as error:
        if "condition number" not in str(error):  # so near to a plane that its centre is drowned: rare
            raise
    else:
        farther = patterns.square().sum(-1) - 2 * patterns @ (z @ patterns)  # than the origin is; squared
        assert (farther.amax() - farther.amin()) / patterns.square().sum(-1).max() < 1e-7


def test_it_leaves_the_triangle_when_an_angle_passes_90_degrees():
    corner = lambda height: torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, height]], dtype=F64)  # noqa: E731
    assert exact_start(corner(1.1)).min() > 0
    assert exact_start(corner(1.0)).min() == pytest.approx(0, abs=1e-12)  # on the long side
    assert exact_start(corner(0.9)).min() < 0
    torch.testing.assert_close(exact_start(corner(3**0.5)), torch.full((3,), 1 / 3, dtype=F64))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_more_patterns_than_corners_have_a_start_if_they_lie_on_one_sphere(dtype):
    angle = torch.tensor([0.1, 0.9, 2.0, 4.0, 5.5], dtype=dtype)
    patterns = 2 + torch.stack([angle.cos(), angle.sin()], 1)
    z = exact_start(patterns)
    assert z.dtype == dtype
    torch.testing.assert_close(z @ patterns, torch.full((2,), 2.0, dtype=dtype), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (normal(5, 3), "all 5 patterns: in 3 dimensions only 4"),
        (torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]), "mixtures of one another"),
        (torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0 + 1e-7]], dtype=F64), r"condition number [1-9]e\+07"),
        (torch.tensor([[0.0, torch.nan]]), r"finite parameters of 2 tasks or more, \(tasks, size\), not \(1, 2\)"),
        (torch.zeros(3), r"not \(3,\)"),
    ],
)
def test_where_there_is_no_start_a_sentence_says_so(patterns, words):
    with pytest.raises(ValueError, match=words):
        exact_start(patterns)


# ---------------------------------------------------------------- words


def vocabulary(seed, n_tasks, size):
    bias, gates = normal(size, seed=seed), normal(n_tasks, size, seed=seed + 1)
    return bias, gates, lambda theta: (bias + theta).logsumexp(-1)


@problems
@given(seed=seeds, n_tasks=st.integers(2, 10), n=st.integers(1, 30))
def test_from_the_start_equally_far_in_kl_one_step_reads_words_exactly(seed, n_tasks, n):
    bias, gates, log_partition = vocabulary(seed, n_tasks, 50)
    z = natural_start(log_partition, gates)
    kl = natural_kl(log_partition, gates, z, n)
    assert kl.amax() - kl.amin() < 1e-9
    draw = torch.Generator().manual_seed(seed)
    counts = torch.randint(3, (10, 50), generator=draw).double()
    loss = lambda z: -(torch.log_softmax(bias + z @ gates, -1) * counts).sum(-1)  # noqa: E731
    one, exact = from_start(loss, z, 10)
    assert (one.q - exact.q).abs().max() < 1e-9


@problems
@given(seed=seeds, n_tasks=st.integers(2, 30), more=st.integers(0, 30))
def test_newton_finds_the_circumcentre_too(seed, n_tasks, more):
    patterns = normal(n_tasks, 2 * n_tasks + more, seed=seed)
    found = natural_start(lambda theta: theta.square().sum(-1) / 2, patterns)
    torch.testing.assert_close(found, exact_start(patterns), rtol=1e-8, atol=1e-8)


@settings(max_examples=100, deadline=None)
@given(seed=seeds, n_tasks=st.integers(2, 6), more=st.integers(0, 6))
def test_a_start_is_found_just_where_there_is_one(seed, n_tasks, more):
    """By linear programming: are there words, each with some probability, to which all tasks give one log score?"""
    bias, gates, log_partition = vocabulary(seed, n_tasks, n_tasks + more)
    scores = torch.log_softmax(bias + gates, -1)
    equal = torch.cat([scores[1:] - scores[0], torch.ones_like(scores[:1])])
    room = torch.cat([-torch.eye(n_tasks + more, dtype=F64), torch.ones(n_tasks + more, 1, dtype=F64)], 1)
    least = linprog(
        [0.0] * (n_tasks + more) + [-1.0],
        A_eq=torch.cat([equal, torch.zeros(n_tasks, 1, dtype=F64)], 1).numpy(),
        b_eq=[0.0] * (n_tasks - 1) + [1.0],
        A_ub=room.numpy(),
        b_ub=[0.0] * (n_tasks + more),
        bounds=(None, None),
    ).fun
    if least > 1e-3:  # the rarest word would need less than no probability
        with pytest.raises(ValueError, match="found no start"):
            natural_start(log_partition, gates)
    elif least < -1e-3:
        kl = natural_kl(log_partition, gates, natural_start(log_partition, gates))
        assert kl.amax() - kl.amin() < 1e-9


def test_for_two_tasks_the_common_kl_is_the_information_of_chernoff():
    bias, gates, log_partition = vocabulary(0, 2, 12)
    scores = torch.log_softmax(bias + gates, -1)
    share = torch.linspace(0, 1, 10_001, dtype=F64)[:, None]
    information = -(share * scores[0] + (1 - share) * scores[1]).logsumexp(-1).min()
    kl = natural_kl(log_partition, gates, natural_start(log_partition, gates))
    assert kl[0] == pytest.approx(float(information), rel=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, far=st.floats(0.1, 20))
def test_a_task_that_is_a_mixture_of_others_leaves_no_start(seed, far):
    pure = torch.softmax(2 * normal(2, 20, seed=seed), -1)
    theta = torch.cat([pure, pure.mean(0, keepdim=True)]).log()
    log_partition = lambda t: t.logsumexp(-1)  # noqa: E731
    with pytest.raises(ValueError, match="a task is a mixture of others"):
        natural_start(log_partition, theta)
    z = far * normal(3, seed=seed + 1)
    kl = natural_kl(log_partition, theta, z + (1 - z.sum()) / 3)
    assert kl[2] < kl[:2].mean() + 1e-9  # nearer than they are on average, from everywhere


def test_a_search_that_leads_to_where_no_number_is_left_says_so_too():
    """Far out the model says one word alone, and the curvature is a matrix that no routine takes apart."""
    pure = torch.softmax(normal(5, 50, seed=115), -1)
    theta = torch.cat([pure, pure[:2].mean(0, keepdim=True)]).log()
    with pytest.raises(ValueError, match="found no start"):
        natural_start(lambda t: t.logsumexp(-1), theta)


# ---------------------------------------------------------------- blind spots


@problems
@given(seed=seeds, n_tasks=st.integers(2, 30), size=st.integers(1, 8))
def test_visible_is_what_one_step_names_in_the_limit_of_long_data(seed, n_tasks, size):
    patterns = normal(n_tasks, size, seed=seed)
    samples = 1e12
    x = patterns + normal(n_tasks, size, seed=seed + 1) / samples**0.5  # the mean of so many
    found = one_step(gaussian(patterns, x, samples), max_entropy(n_tasks, n_tasks, F64)).task
    assert torch.equal(visible(patterns), found == torch.arange(n_tasks))


def test_visible_takes_many_problems_and_any_start():
    patterns, z0 = normal(4, 7, 3), torch.softmax(normal(4, 7, seed=1), -1)
    each = torch.stack([visible(w, z) for w, z in zip(patterns, z0, strict=True)])
    assert torch.equal(visible(patterns, z0), each)
    assert torch.equal(visible(patterns), visible(patterns, torch.full((4, 7), 1 / 7, dtype=F64)))
    assert not visible(torch.zeros(2, 3)).any()  # twins: neither is ever named for sure


@pytest.mark.parametrize("n_tasks", [10, 100, 1000])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.5, 2.0, 3.0])
def test_the_law_of_blind_spots_holds_over_ten_seeds(n_tasks, ratio):
    dims = max(1, round(ratio * math.log(n_tasks)))
    runs = 10 * max(1, 100 // n_tasks)  # few tasks make a share of few
    found = torch.stack([visible(normal(n_tasks, dims, seed=seed)).double().mean() for seed in range(runs)])
    assert abs(float(found.mean()) - nameable_share(n_tasks, dims)) < 0.05


def test_the_law_is_the_mean_of_its_formula_and_has_its_limits():
    r = normal(400_000, 5).square().sum(1).sqrt() / math.sqrt(1 - 1 / 30)
    drawn = (29 * torch.special.log_ndtr(r)).exp().mean()
    assert nameable_share(30, 5) == pytest.approx(float(drawn), abs=3e-3)
    assert nameable_share(2, 1) == 1  # two tasks are always visible
    assert nameable_share(10_000, 200) > 0.999
    assert [nameable_share(100, dims) for dims in (1, 9, 30)] == sorted(
        nameable_share(100, dims) for dims in (1, 9, 30)
    )
    for wrong in ((1, 3), (3, 0)):
        with pytest.raises(ValueError, match=f"but there are {wrong[0]} and {wrong[1]}"):
            nameable_share(*wrong)


def test_with_long_data_accuracy_ends_at_the_visible_share():
    patterns, samples = torch.stack([normal(10, 3, seed=seed) for seed in range(40)]), 1000
    x = patterns + normal(40, 10, 3, seed=99) / samples**0.5
    right = [
        (one_step(gaussian(w, each, samples), max_entropy(10, 10, F64)).task == torch.arange(10)).double().mean()
        for w, each in zip(patterns, x, strict=True)
    ]
    share = float(visible(patterns).double().mean())
    assert share < 0.7
    assert abs(float(torch.stack(right).mean()) - share) < 0.05
