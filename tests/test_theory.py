"""What the theory module states, against enumeration and against the inference functions."""

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
    with pytest.raises(ValueError, match="two tasks only"):
        theory.third_order_bound(loss, loss.z0)
