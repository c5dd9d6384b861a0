"""What the theory module states, against enumeration and against the inference functions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gbi_helpers import enumerate_tasks, max_entropy, one_step, theory
from gbi_helpers.theory import kl_bound, one_step_gap

F64 = torch.float64
CASES = 250  # random problems in one batch; 60 batches make 15,000
problems = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**31)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


# ---------------------------------------------------------------- linear-Gaussian decoders


class Linear:
    """CASES linear-Gaussian problems x = z @ patterns + noise, each with T samples of its own."""

    def __init__(self, seed, n_tasks, size, samples=1, cases=CASES):
        self.sd = 0.3 + 3 * torch.rand(cases, 1, generator=torch.Generator().manual_seed(seed), dtype=F64)
        scale = self.sd[..., None] * torch.logspace(-1, 1, cases, dtype=F64)[:, None, None] / size**0.5
        self.patterns = scale * normal(cases, n_tasks, size, seed=seed + 1)
        truth = self.patterns[torch.arange(cases), torch.arange(cases) % n_tasks]
        self.x = truth[:, None] + self.sd[..., None] * normal(cases, samples, size, seed=seed + 2)
        self.z0 = max_entropy(cases, n_tasks, F64)
        self.delta = one_step_gap(self.patterns, self.sd, samples)

    def __call__(self, z):
        made = torch.einsum("bk,bkd->bd", z, self.patterns)
        return (self.x - made[:, None]).square().sum((1, 2)) / (2 * self.sd[:, 0] ** 2)


def divergences(a, b):
    return [torch.where(p.exp() > 0, p.exp() * (p - q), 0.0).sum(-1) for p, q in ((a, b), (b, a))]


@problems
@given(seed=seeds, n_tasks=st.integers(2, 50), size=st.integers(1, 200), samples=st.integers(1, 4))
def test_the_derived_gap_restores_exactness(seed, n_tasks, size, samples):
    loss = Linear(seed, n_tasks, size, samples, cases=20)
    scale = 1 + loss.delta.abs().max()  # nats: 1e-10 of them
    exact = enumerate_tasks(loss, loss.z0)
    corrected = theory.corrected_one_step(loss, loss.z0, loss.delta)
    assert (corrected.q - exact.q).abs().max() < 1e-10
    assert (corrected.log_q - exact.log_q).abs().max() / scale < 1e-10
    measured = theory.gap(loss, loss.z0)
    assert (measured - (loss.delta - loss.delta.mean(-1, keepdim=True))).abs().max() / scale < 1e-10


@problems
@given(seed=seeds, size=st.integers(1, 200), samples=st.integers(1, 4))
def test_two_tasks_need_no_correction(seed, size, samples):
    loss = Linear(seed, 2, size, samples, cases=20)
    assert (one_step(loss, loss.z0).q - enumerate_tasks(loss, loss.z0).q).abs().max() < 1e-10
    assert theory.third_order_bound(loss, loss.z0, points=3).max() < 1e-8


@problems
@given(seed=seeds, n_tasks=st.integers(2, 50), extra=st.integers(0, 20))
def test_equidistant_patterns_need_no_correction(seed, n_tasks, extra):
    rotation = torch.linalg.qr(normal(n_tasks + extra, n_tasks + extra, seed=seed))[0]
    patterns = 3 * torch.eye(n_tasks, n_tasks + extra, dtype=F64) @ rotation + normal(n_tasks + extra, seed=seed + 1)
    x = normal(30, n_tasks + extra, seed=seed + 2)
    loss = lambda z: (x - z @ patterns).square().sum(-1) / 2  # noqa: E731
    z0 = max_entropy(30, n_tasks, F64)
    assert (one_step(loss, z0).q - enumerate_tasks(loss, z0).q).abs().max() < 1e-10
    assert kl_bound(one_step_gap(patterns, 1.0)) < 1e-18


@problems
@given(seed=seeds, n_tasks=st.integers(2, 50), size=st.integers(1, 200))
def test_kl_never_exceeds_its_bound(seed, n_tasks, size):
    loss = Linear(seed, n_tasks, size)
    bound = kl_bound(loss.delta)
    for divergence in divergences(enumerate_tasks(loss, loss.z0).log_q, one_step(loss, loss.z0).log_q):
        assert (divergence <= bound * (1 + 1e-9) + 1e-12).all()


@problems
@given(seed=seeds, n_tasks=st.integers(2, 50))
def test_kl_never_exceeds_its_bound_for_any_logits_at_all(seed, n_tasks):
    logits, delta = 4 * normal(CASES, n_tasks, seed=seed), 3 * normal(CASES, n_tasks, seed=seed + 1)
    pair = [torch.log_softmax(v, -1) for v in (logits, logits - delta)]
    for divergence in divergences(*pair):
        assert (divergence <= kl_bound(delta) * (1 + 1e-9)).all()


def test_the_bound_is_nearly_reached_so_no_smaller_one_would_do():
    delta = torch.tensor([0.0, 0.2], dtype=F64)
    even = torch.full((2,), 0.5, dtype=F64).log()
    reached = divergences(even, torch.log_softmax(even - delta, 0))[0] / kl_bound(delta)
    assert 0.99 < float(reached) <= 1


# ---------------------------------------------------------------- any loss


class Waves:
    """Losses sum_j a_j cos(w_j . z + b_j), whose derivatives along a way d are at most sum_j |a_j| |w_j . d|^n."""

    def __init__(self, seed, n_tasks, cases=CASES, waves=4):
        self.a, self.b = 2 * normal(cases, waves, seed=seed), 3 * normal(cases, waves, seed=seed + 1)
        self.w = 1.5 * normal(cases, waves, n_tasks, seed=seed + 2)
        self.z0 = max_entropy(cases, n_tasks, F64)

    def __call__(self, z):
        return (self.a * torch.cos(torch.einsum("bjk,bk->bj", self.w, z) + self.b)).sum(-1)

    def most(self, way, order):
        return (self.a.abs() * (self.w @ way).abs() ** order).sum(-1)


@problems
@given(seed=seeds, n_tasks=st.integers(2, 50))
def test_the_first_order_bound_is_never_exceeded(seed, n_tasks):
    loss = Waves(seed, n_tasks)
    ways = torch.eye(n_tasks, dtype=F64) - 1 / n_tasks
    most = torch.stack([loss.most(way, 2) for way in ways], dim=1)
    bound = theory.first_order_bound(-most, most)
    delta = theory.gap(loss, loss.z0)
    assert (delta.amax(-1) - delta.amin(-1) <= bound + 1e-9).all()
    for divergence in divergences(enumerate_tasks(loss, loss.z0).log_q, one_step(loss, loss.z0).log_q):
        assert (divergence <= bound**2 / 8 + 1e-9).all()


@problems
@given(seed=seeds)
def test_the_third_order_bound_is_never_exceeded(seed):
    loss = Waves(seed, 2)
    odds = [(p.log_q[:, 1] - p.log_q[:, 0]) for p in (one_step(loss, loss.z0), enumerate_tasks(loss, loss.z0))]
    most = loss.most(torch.tensor([0.5, -0.5], dtype=F64), 3) / 3
    assert ((odds[0] - odds[1]).abs() <= most + 1e-9).all()
    assert (theory.third_order_bound(loss, loss.z0, points=9) <= most + 1e-9).all()


@pytest.mark.parametrize("n_tasks", [2, 3, 6])
def test_the_gap_is_minus_the_weighted_curvature_on_the_way(n_tasks):
    loss, points = Waves(4, n_tasks, cases=12), 401
    curvature = theory.curvature_along(loss, loss.z0, points)
    t = torch.linspace(0, 1, points, dtype=F64)
    delta = -torch.trapezoid((1 - t) * curvature, t, dim=-1)
    measured = theory.gap(loss, loss.z0)
    torch.testing.assert_close(delta - delta.mean(-1, keepdim=True), measured, rtol=1e-3, atol=1e-3)


def test_the_third_order_error_shrinks_with_the_cube_of_the_step():
    loss = Waves(1, 2, cases=200)
    errors = []
    for size in (0.4, 0.2):
        small = lambda z, s=size: loss(0.5 + s * (z - 0.5))  # noqa: E731
        measured = theory.gap(small, loss.z0)
        errors.append((measured[:, 1] - measured[:, 0]).abs().mean())
    assert 6.5 < float(errors[0] / errors[1]) < 9.5  # 2 cubed


def test_a_loss_linear_in_z_has_no_gap_and_no_curvature():
    slopes = normal(10, 4)
    loss, z0 = (lambda z: (z * slopes).sum(-1)), max_entropy(10, 4, F64)
    assert theory.gap(loss, z0).abs().max() < 1e-12
    assert theory.curvature_along(loss, z0, 3).abs().max() == 0


# ---------------------------------------------------------------- the correction


def test_a_measured_delta_repairs_samples_it_has_not_seen():
    patterns = torch.tensor([0.0, 0.4, 0.8, 1.2], dtype=F64)[:, None]
    draw = torch.arange(2000) % 4
    x = patterns[draw] + 0.15 * normal(2000, 1, seed=3)
    loss = lambda z: (x[: len(z)] - z @ patterns).square().sum(-1) / (2 * 0.15**2)  # noqa: E731
    delta = theory.fit_delta(loss, max_entropy(40, 4, F64))
    torch.testing.assert_close(delta, one_step_gap(patterns, 0.15) - one_step_gap(patterns, 0.15).mean())
    z0 = max_entropy(2000, 4, F64)
    plain, repaired = one_step(loss, z0).task, theory.corrected_one_step(loss, z0, delta).task
    assert not ((plain == 1) | (plain == 2)).any()  # the failure: contexts in between are never chosen
    assert torch.equal(repaired, enumerate_tasks(loss, z0).task)


def test_a_step_size_scales_the_gradient_and_not_the_correction():
    loss, delta = Linear(0, 3, 4), normal(3)
    found = theory.corrected_one_step(loss, loss.z0, delta, step_size=0.5)
    torch.testing.assert_close(found.q, torch.softmax(delta - 0.5 * found.grad, -1))


def test_what_makes_no_sense_is_refused():
    loss = Linear(0, 3, 4)
    with pytest.raises(ValueError, match="delta must be"):
        theory.corrected_one_step(loss, loss.z0, normal(2))
    with pytest.raises(ValueError, match="delta must be"):  # one row for all samples
        theory.corrected_one_step(loss, loss.z0, normal(1, 3))
    with pytest.raises(ValueError, match="two tasks only"):
        theory.third_order_bound(loss, loss.z0)


# ---------------------------------------------------------------- the gap as a KL divergence


class Words:
    """Texts of ``n`` words from natural gates softmax(bias + z @ gates): their losses, K tasks, V words."""

    def __init__(self, seed, n_tasks, vocabulary=50, n=20, strength=1.0, cases=20):
        self.bias, self.gates = normal(vocabulary, seed=seed), strength * normal(n_tasks, vocabulary, seed=seed + 1)
        said = torch.softmax(self.bias + self.gates[torch.arange(cases) % n_tasks], -1)
        draw = torch.multinomial(said, n, replacement=True, generator=torch.Generator().manual_seed(seed + 2))
        self.counts = torch.zeros(cases, vocabulary, dtype=F64).scatter_add(1, draw, torch.ones(cases, n, dtype=F64))
        self.z0 = max_entropy(cases, n_tasks, F64)

    def log_partition(self, theta):
        return (self.bias + theta).logsumexp(-1)

    def __call__(self, z):
        return -(torch.log_softmax(self.bias + z @ self.gates, -1) * self.counts).sum(-1)


def bent(seed, n_tasks, outcomes):
    """A network with a hidden layer that says which of some outcomes comes: the loss of each, and log p_z of all."""
    first, second = 2 * normal(n_tasks, 6, seed=seed), 2 * normal(6, outcomes, seed=seed + 1)
    log_p = lambda z: torch.log_softmax((z @ first).tanh() @ second, -1)  # noqa: E731
    return (lambda z: -log_p(z).diagonal(dim1=-2, dim2=-1)), log_p


@problems
@given(seed=seeds, n_tasks=st.integers(2, 10), outcomes=st.integers(2, 30))
def test_in_the_mean_over_dreams_the_gap_is_minus_a_kl_in_any_network(seed, n_tasks, outcomes):
    """Exactly, for all that the network can say is weighted by how likely it says it."""
    loss, log_p = bent(seed, n_tasks, outcomes)
    z0 = max_entropy(outcomes, n_tasks, F64)
    dreamed, pure = log_p(z0[0]), log_p(torch.eye(n_tasks, dtype=F64))
    kl = (dreamed.exp() * (dreamed - pure)).sum(-1)
    found = (dreamed.exp()[:, None] * theory.gap(loss, z0)).sum(0)
    torch.testing.assert_close(found, kl.mean() - kl, rtol=1e-9, atol=1e-9)


def test_in_a_bent_network_it_holds_in_the_mean_alone():
    loss, _ = bent(0, 4, 12)
    assert theory.gap(loss, max_entropy(12, 4, F64)).std(0).max() > 0.5  # nats, from one x to another


@problems
@given(seed=seeds, n_tasks=st.integers(2, 10), n=st.integers(1, 50), strength=st.floats(0.1, 2), inside=st.booleans())
def test_with_natural_gates_the_gap_is_minus_a_kl_for_every_single_text(seed, n_tasks, n, strength, inside):
    loss = Words(seed, n_tasks, n=n, strength=strength)
    z0 = torch.softmax(normal(n_tasks, seed=seed + 3), 0).expand_as(loss.z0) if inside else loss.z0
    dreamed, pure = (torch.log_softmax(loss.bias + z @ loss.gates, -1) for z in (z0[0], torch.eye(n_tasks).double()))
    kl = n * (dreamed.exp() * (dreamed - pure)).sum(-1)  # by its definition
    torch.testing.assert_close(theory.natural_kl(loss.log_partition, loss.gates, z0[0], n), kl, rtol=1e-9, atol=1e-9)
    assert (theory.gap(loss, z0) - (kl.mean() - kl)).abs().max() < 1e-9
    exact = enumerate_tasks(loss, z0).log_q
    assert (theory.corrected_one_step(loss, z0, -kl).log_q - exact).abs().max() < 1e-9


def test_the_kl_of_gaussians_is_half_their_distance_squared():
    patterns, z = normal(5, 3), torch.tensor([0.7, -0.4, 0.2, 0.2, 0.3], dtype=F64)  # off the simplex, too
    kl = theory.natural_kl(lambda theta: theta.square().sum(-1) / 2, patterns, z, samples=3)
    torch.testing.assert_close(kl, 3 * (patterns - z @ patterns).square().sum(-1) / 2)


def dreamed(patterns, noise):
    """The gap by dreams with this noise (S, D), and as it is."""
    z0 = max_entropy(len(noise), len(patterns), F64)
    dreams = z0 @ patterns + noise
    grad = one_step(lambda z: (dreams - z @ patterns).square().sum(-1) / 2, z0).grad
    delta = one_step_gap(patterns, 1.0)
    return theory.dreamed_delta(grad, z0[0]), delta - delta.mean()


@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_dreams_know_the_gap_of_a_hundred_tasks(seed):
    found, delta = dreamed(normal(100, 10, seed=seed), normal(100, 10, seed=seed + 100))
    assert torch.corrcoef(torch.stack([found, delta]))[0, 1] > 0.9
    assert abs(found.sum()) < 1e-9
    assert 0.6 < (found @ delta) / delta.square().sum() < 1.6  # and as large


@pytest.mark.parametrize(("dims", "count"), [(10, 100), (30, 100), (100, 100), (100, 1000)])
def test_it_is_the_dimensions_that_ask_for_dreams_not_the_tasks(dims, count):
    """The correlation is 1 / sqrt(1 + D / S), whatever K is."""
    pairs = [dreamed(normal(300, dims, seed=seed), normal(count, dims, seed=seed + 100)) for seed in range(10)]
    found = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs]).mean()
    assert abs(float(found) - (1 + dims / count) ** -0.5) < 0.03


@problems
@given(seed=seeds, n_tasks=st.integers(2, 60), dims=st.integers(1, 40))
def test_as_many_dreams_as_dimensions_are_enough_if_they_are_orthogonal(seed, n_tasks, dims):
    noise = dims**0.5 * torch.linalg.qr(normal(dims, dims, seed=seed + 1))[0]
    found, delta = dreamed(normal(n_tasks, dims, seed=seed), noise)
    assert (found - delta).abs().max() < 1e-9


# ---------------------------------------------------------------- when the answer survives


@problems
@given(seed=seeds, n_tasks=st.integers(2, 50), size=st.integers(1, 50), samples=st.integers(1, 4))
def test_a_lead_beyond_the_range_of_the_gap_survives(seed, n_tasks, size, samples):
    loss = Linear(seed, n_tasks, size, samples)
    exact, one = enumerate_tasks(loss, loss.z0), one_step(loss, loss.z0)
    safe = theory.survives(exact.log_q, loss.delta)
    assert torch.equal(exact.task[safe], one.task[safe])


@problems
@given(seed=seeds, n_tasks=st.integers(2, 20))
def test_whatever_the_logits_a_safe_lead_is_kept_and_the_best_is_near_the_top(seed, n_tasks):
    exact, delta = 3 * normal(CASES, n_tasks, seed=seed), normal(CASES, n_tasks, seed=seed + 1)
    safe, step = theory.survives(torch.log_softmax(exact, -1), delta), exact - delta
    assert torch.equal(exact[safe].argmax(1), step[safe].argmax(1))
    assert not safe[exact.argmax(1) != step.argmax(1)].any()
    deficit = step.amax(1) - step.gather(1, exact.argmax(1, keepdim=True))[:, 0]
    assert (deficit <= delta.amax(1) - delta.amin(1)).all()


def test_a_smaller_lead_may_fall():
    """The margin is needed to its last nat: the gap can favour the second by all of its range."""
    log_p, delta = torch.tensor([[0.0, -1.0, -9.0]], dtype=F64), torch.tensor([1.01, 0.0, 0.5], dtype=F64)
    assert theory.survives(log_p, delta).tolist() == [False]
    assert int((log_p - delta).argmax()) == 1
    assert theory.survives(log_p, 0.98 * delta).tolist() == [True]


# ---------------------------------------------------------------- one step is four things


class Quadratic:
    """Losses s . z + z' H z / 2, whose gradient is s + H z."""

    def __init__(self, seed, n_tasks, strength=1.0, cases=20):
        self.slope = 2 * normal(cases, n_tasks, seed=seed)
        root = normal(cases, n_tasks, n_tasks, seed=seed + 1)
        self.bend = strength * (root + root.mT) / 2
        self.q = torch.softmax(normal(cases, n_tasks, seed=seed + 2), -1)
        self.z0 = max_entropy(cases, n_tasks, F64)

    def gradient(self, z):
        return self.slope + torch.einsum("bjk,bk->bj", self.bend, z)

    def __call__(self, z):
        return (self.slope * z).sum(-1) + torch.einsum("bj,bjk,bk->b", z, self.bend, z) / 2


@problems
@given(seed=seeds, n_tasks=st.integers(2, 20))
def test_one_step_is_a_step_of_exponentiated_gradient(seed, n_tasks):
    loss = Quadratic(seed, n_tasks)
    moved = loss.z0 * (-loss.gradient(loss.z0)).exp()
    assert (one_step(loss, loss.z0).q - moved / moved.sum(-1, keepdim=True)).abs().max() < 1e-12


@problems
@given(seed=seeds, n_tasks=st.integers(2, 8), step_size=st.floats(0.05, 1.0))
def test_it_is_a_natural_gradient_step_on_the_free_energy(seed, n_tasks, step_size):
    """The gradient by the logits, by automatic differentiation, times the inverse of Fisher's information."""
    loss = Quadratic(seed, n_tasks)
    u = loss.q.log().requires_grad_()
    q = torch.softmax(u, -1)
    (slope,) = torch.autograd.grad((loss(q) + (q * q.log()).sum(-1)).sum(), u)
    fisher = torch.diag_embed(loss.q) - loss.q[:, :, None] * loss.q[:, None]
    move = torch.linalg.pinv(fisher, hermitian=True, rtol=1e-12) @ slope[..., None]
    expected = torch.softmax(u.detach() - step_size * move[..., 0], -1)
    assert (theory.natural_step(loss, loss.q, step_size).q - expected).abs().max() < 1e-9


@problems
@given(seed=seeds, n_tasks=st.integers(2, 20))
def test_of_size_one_it_is_one_step_from_any_start(seed, n_tasks):
    loss = Quadratic(seed, n_tasks)
    assert (theory.natural_step(loss, loss.q).log_q - one_step(loss, loss.q).log_q).abs().max() < 1e-12
    corner = torch.eye(n_tasks, dtype=F64)[:1].expand_as(loss.q)  # probabilities of 0
    assert theory.natural_step(loss, corner, 0.5).log_q.isfinite().all()


@problems
@given(seed=seeds, n_tasks=st.integers(2, 20))
def test_it_minimises_the_tangent_of_the_free_energy(seed, n_tasks):
    """Any other q lies higher, by KL(q | one step)."""
    loss = Quadratic(seed, n_tasks)
    tangent = lambda q: (loss.gradient(loss.z0) * q + torch.xlogy(q, q)).sum(-1)  # noqa: E731
    step = one_step(loss, loss.z0)
    higher = tangent(loss.q) - tangent(step.q)
    torch.testing.assert_close(higher, divergences(loss.q.log(), step.log_q)[0], rtol=1e-9, atol=1e-9)


@problems
@given(seed=seeds, n_tasks=st.integers(2, 20))
def test_of_a_linear_loss_it_is_the_end_of_all_steps(seed, n_tasks):
    loss = Quadratic(seed, n_tasks, strength=0.0)
    exact = enumerate_tasks(loss, loss.z0)
    there = theory.natural_step(loss, loss.q)
    assert (there.log_q - exact.log_q).abs().max() < 1e-12
    assert (theory.natural_step(loss, there.q, 0.3).log_q - exact.log_q).abs().max() < 1e-9


def test_steps_on_a_curved_loss_swing_or_settle_on_a_mixture():
    """x lies amid three patterns: Bayes names the middle one, the best mixture is of the outer two."""
    patterns = torch.tensor([[-3.0], [0.5], [3.0]], dtype=F64)
    loss = lambda z: (0.5 - z @ patterns).square().sum(-1) / 2  # noqa: E731
    exact = enumerate_tasks(loss, max_entropy(1, 3, F64)).q
    swung, settled = [max_entropy(1, 3, F64)], max_entropy(1, 3, F64)
    for _ in range(200):
        swung.append(theory.natural_step(loss, swung[-1]).q)
        settled = theory.natural_step(loss, settled, 0.1).q
    assert (swung[-1] - swung[-2]).abs().max() > 0.5  # for ever there and back
    assert (swung[-1] - swung[-3]).abs().max() < 1e-6
    assert (settled - theory.natural_step(loss, settled, 0.1).q).abs().max() < 1e-6
    assert exact[0, 1] > 0.9
    assert settled.max() < 0.5


# ---------------------------------------------------------------- second order


@problems
@given(seed=seeds, n_tasks=st.integers(2, 12), inside=st.booleans())
def test_the_second_order_is_the_whole_gap_of_a_quadratic_loss(seed, n_tasks, inside):
    loss = Quadratic(seed, n_tasks)
    z0 = loss.q if inside else loss.z0
    found = theory.second_order_gap(loss, z0)
    assert (found - theory.gap(loss, z0)).abs().max() < 1e-9
    exact = enumerate_tasks(loss, z0).log_q
    assert (theory.corrected_one_step(loss, z0, found).log_q - exact).abs().max() < 1e-9


def test_of_words_the_second_order_overshoots_where_gates_are_strong():
    """With the same words at the start, gates twice as strong: four times the second order, not thrice the gap."""
    sizes = []
    for strength in (4.0, 8.0):
        loss = Words(3, 4, strength=strength, n=1)
        loss.gates = loss.gates - loss.gates.mean(0)
        sizes.append([f(loss, loss.z0)[0].abs().sum() for f in (theory.second_order_gap, theory.gap)])
    (second, gap), (second_strong, gap_strong) = sizes
    assert 3.99 < second_strong / second < 4.01
    assert gap_strong / gap < 3
    assert second_strong > 2 * gap_strong


def test_the_first_order_bound_is_half_the_width_of_what_may_lie_between():
    low, high = torch.tensor([[0.0, 1.0]]), torch.tensor([[9.0, 1.5]])
    assert theory.first_order_bound(low, high).tolist() == [4.0]
    assert theory.first_order_bound(low.flip(1), high.flip(1)).tolist() == [4.0]


@pytest.mark.parametrize("a", [6.0, -6.0])
def test_a_cubic_reaches_the_third_order_bound(a):
    def loss(z):
        return a * (z[:, 0] - z[:, 1]) ** 3

    z0 = max_entropy(1, 2, F64)
    error = theory.gap(loss, z0).diff().abs()[:, 0]
    torch.testing.assert_close(theory.third_order_bound(loss, z0), error)


def test_the_third_order_bound_looks_all_the_way_to_the_corners():
    z0 = max_entropy(1, 2, F64)
    steep = theory.third_order_bound(lambda z: torch.exp(-2 * (z[:, 0] - z[:, 1])), z0)
    assert float(steep) == pytest.approx(8 * torch.tensor(2.0, dtype=F64).exp().item() / 3)


def test_the_third_order_bound_looks_at_what_lies_between_the_corners():
    """Of exp(-8 t²): its third derivative is (12 u - 8 u³) exp(-u²) 8^1.5 with u = t √8, most at u = 0.525."""

    def bump(z):
        return torch.exp(-8 * (z[:, 0] - z[:, 1]) ** 2)

    most = (12 * 0.525 - 8 * 0.525**3) * math.exp(-(0.525**2)) * 8**1.5 / 3
    bound = float(theory.third_order_bound(bump, max_entropy(1, 2, F64)))
    assert 0.85 * most < bound < 1.001 * most


def test_dreams_from_another_start_add_up_to_the_gap_there():
    patterns, z0 = normal(6, 4), torch.softmax(normal(6, seed=1), 0)
    x = z0 @ patterns + 2 * torch.linalg.qr(normal(4, 4, seed=2))[0]  # four dreams whose noise is white
    grad = one_step(lambda z: (x - z @ patterns).square().sum(-1) / 2, z0.expand(4, -1)).grad
    gap = -(patterns - z0 @ patterns).square().sum(-1) / 2
    torch.testing.assert_close(theory.dreamed_delta(grad, z0), gap - gap.mean())


def test_curvature_and_divergence_are_the_same_in_inference_mode():
    def loss_fn(z):
        return (z * torch.arange(z.shape[1])).exp().sum(-1)

    def found():
        z0, theta = max_entropy(2, 3, torch.float64), torch.eye(3, dtype=torch.float64)
        return (
            theory.curvature_along(loss_fn, z0, points=3),
            theory.second_order_gap(loss_fn, z0),
            theory.third_order_bound(loss_fn, max_entropy(2, 2, torch.float64)),
            theory.natural_kl(lambda at: at.logsumexp(-1), theta, z0[0]),
        )

    outside = found()
    with torch.inference_mode():
        inside = found()
    for one, other in zip(outside, inside, strict=True):
        assert one.abs().amax() > 0
        assert torch.equal(one, other)
