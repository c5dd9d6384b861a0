"""The inference core: exact where theory says exact, and it leaves the caller's world untouched."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gbi_helpers.inference import (
    candidates,
    enumerate_tasks,
    fit_within,
    iterate,
    loss_of,
    max_entropy,
    one_step,
    rescore,
)

F64 = torch.float64
SGD = torch.optim.SGD
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
problems = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**31)
sizes = {"seed": seeds, "batch": st.integers(1, 7), "n_tasks": st.integers(2, 30)}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def curved_loss(seed: int, batch: int, n_tasks: int, dtype: torch.dtype = F64):
    """A non-linear loss per sample: a small tanh decoder of z against random data."""
    g = generator(seed)
    w1 = torch.randn(n_tasks, 6, generator=g, dtype=F64).to(dtype)
    w2 = torch.randn(6, 4, generator=g, dtype=F64).to(dtype)
    x = torch.randn(batch, 4, generator=g, dtype=F64).to(dtype)
    return lambda z, rows=slice(None): ((torch.tanh(z @ w1) @ w2 - x[rows]) ** 2).sum(-1)


def linear_loss(seed: int, batch: int, n_tasks: int, scale: float = 10.0):
    losses = scale * torch.randn(batch, n_tasks, generator=generator(seed), dtype=F64)
    return (lambda z: (losses * z).sum(-1) + 3.0), losses


# ---------------------------------------------------------------- what the gradient is


@problems
@given(**sizes, step_size=st.floats(0.01, 20))
def test_one_step_is_the_softmax_of_autograds_gradient(seed, batch, n_tasks, step_size):
    loss_fn, z0 = curved_loss(seed, batch, n_tasks), max_entropy(batch, n_tasks, F64)
    z = z0.clone().requires_grad_()
    loss_fn(z).sum().backward()
    posterior = one_step(loss_fn, z0, step_size)
    torch.testing.assert_close(posterior.grad, z.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(posterior.q, torch.softmax(-step_size * z.grad, -1), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(posterior.loss, loss_fn(z0), rtol=1e-12, atol=1e-12)


@problems
@given(**sizes)
def test_a_batch_equals_a_loop_over_samples(seed, batch, n_tasks):
    loss_fn, z0 = curved_loss(seed, batch, n_tasks), max_entropy(batch, n_tasks, F64)
    together = one_step(loss_fn, z0).log_q
    alone = [one_step(lambda z, b=b: loss_fn(z, slice(b, b + 1)), z0[:1]).log_q for b in range(batch)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("infer", [one_step, enumerate_tasks, lambda f, z: iterate(f, z, steps=5)])
def test_rows_of_a_batch_do_not_touch_each_other(infer):
    g = generator(0)
    w, x = torch.randn(5, 8, generator=g, dtype=F64), torch.randn(6, 8, generator=g, dtype=F64)
    changed = x.clone()
    changed[3] += 10
    results = [infer(lambda z, d=d: ((z @ w - d) ** 2).sum(-1), max_entropy(6, 5, F64)).q for d in (x, changed)]
    before, after = (q if q.dim() == 2 else q[-1] for q in results)
    others = [0, 1, 2, 4, 5]
    assert torch.equal(before[others], after[others])
    assert not torch.allclose(before[3], after[3])


@problems
@given(**sizes)
def test_renaming_the_tasks_renames_the_answer(seed, batch, n_tasks):
    loss_fn, z0 = curved_loss(seed, batch, n_tasks), max_entropy(batch, n_tasks, F64)
    order = torch.randperm(n_tasks, generator=generator(seed))
    inverse = order.argsort()
    for infer in (one_step, enumerate_tasks):
        renamed = infer(lambda z: loss_fn(z[:, inverse]), z0).log_q
        torch.testing.assert_close(renamed, infer(loss_fn, z0).log_q[:, order], rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- where one step is exact


@problems
@given(**sizes, scale=st.floats(0.01, 1e4))
def test_one_step_is_exact_for_a_loss_linear_in_z(seed, batch, n_tasks, scale):
    loss_fn, _ = linear_loss(seed, batch, n_tasks, scale)
    z0 = max_entropy(batch, n_tasks, F64)
    torch.testing.assert_close(
        one_step(loss_fn, z0).log_q, enumerate_tasks(loss_fn, z0).log_q, rtol=1e-9, atol=1e-9 * scale
    )


@problems
@given(seed=seeds, batch=st.integers(1, 7), dim=st.integers(1, 40), noise=st.floats(0.2, 3))
def test_one_step_is_exact_for_two_tasks_in_a_linear_gaussian_model(seed, batch, dim, noise):
    g = generator(seed)
    w, x = torch.randn(2, dim, generator=g, dtype=F64), torch.randn(batch, dim, generator=g, dtype=F64)
    z0 = max_entropy(batch, 2, F64)

    def loss_fn(z: Tensor) -> Tensor:
        return ((x - z @ w) ** 2).sum(-1) / (2 * noise**2)

    torch.testing.assert_close(one_step(loss_fn, z0).log_q, enumerate_tasks(loss_fn, z0).log_q, rtol=0, atol=1e-9)


@problems
@given(seed=seeds, batch=st.integers(1, 5), n_tasks=st.integers(2, 12))
def test_float32_agrees_with_float64(seed, batch, n_tasks):
    single = one_step(curved_loss(seed, batch, n_tasks, torch.float32), max_entropy(batch, n_tasks, torch.float32))
    double = one_step(curved_loss(seed, batch, n_tasks), max_entropy(batch, n_tasks, F64))
    assert single.q.dtype == torch.float32
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-4, atol=1e-4 * double.grad.abs().max().item())


@problems
@given(**sizes)
def test_enumeration_is_bayes_rule_with_the_prior_given(seed, batch, n_tasks):
    loss_fn, losses = linear_loss(seed, batch, n_tasks, 2.0)
    prior = torch.softmax(torch.randn(n_tasks, generator=generator(seed), dtype=F64), -1)
    joint = prior * torch.exp(-losses)
    posterior = enumerate_tasks(loss_fn, max_entropy(batch, n_tasks, F64), prior.log())
    torch.testing.assert_close(posterior.q, joint / joint.sum(-1, keepdim=True))
    torch.testing.assert_close(posterior.loss, losses + 3.0)
    assert torch.equal(posterior.task, joint.argmax(-1))


@settings(max_examples=10, deadline=None)
@given(seed=seeds, n_tasks=st.integers(2, 6))
def test_iterating_with_the_exact_entropy_finds_the_posterior(seed, n_tasks):
    """Minimising E_q[loss] - H(q) over the simplex is Bayes' rule (the E-step of EM)."""
    loss_fn, _ = linear_loss(seed, 4, n_tasks, 1.0)
    z0 = max_entropy(4, n_tasks, F64)
    path = iterate(loss_fn, z0, steps=400, lr=0.1, penalty="entropy", weight=1.0)
    # Adam's last steps waver by up to 2e-3; with the other penalty the difference is above 0.1.
    torch.testing.assert_close(path.q[-1], enumerate_tasks(loss_fn, z0).q, rtol=0, atol=5e-3)


# ---------------------------------------------------------------- iterating


def test_iterate_records_every_step_and_descends():
    loss_fn = curved_loss(3, 6, 5)
    path = iterate(loss_fn, max_entropy(6, 5, F64), steps=50)
    assert path.z.shape == (51, 6, 5)
    assert path.n_steps == 50
    torch.testing.assert_close(path.z[0], max_entropy(6, 5, F64))
    torch.testing.assert_close(path.z.sum(-1), torch.ones(51, 6, dtype=F64))
    torch.testing.assert_close(path.loss[-1], loss_fn(path.z[-1]))
    assert (path.loss[-1] < path.loss[0]).all()
    assert path.q is not None


def test_the_l2_penalty_pulls_towards_the_uniform_point_and_is_not_in_the_recorded_loss():
    loss_fn, _ = linear_loss(1, 4, 5)
    z0 = max_entropy(4, 5, F64)
    free, held = (iterate(loss_fn, z0, steps=100, weight=w) for w in (0.0, 100.0))
    assert torch.special.entr(held.z[-1]).sum(-1).min() > torch.special.entr(free.z[-1]).sum(-1).max()
    torch.testing.assert_close(held.loss[-1], loss_fn(held.z[-1]))


def test_a_free_z_may_leave_the_simplex_and_have_another_size():
    target = torch.tensor([[-1.5, 2.0, 0.3]], dtype=F64)
    path = iterate(lambda z: ((z - target) ** 2).sum(-1), torch.zeros(1, 3, dtype=F64), steps=300, space="free", lr=0.1)
    torch.testing.assert_close(path.z[-1], target, rtol=0, atol=1e-3)
    assert path.q is None


@pytest.mark.parametrize("start", [[1.0, 0.0, 0.0], [0.2, 0.5, 0.3]])
def test_iterate_starts_where_it_is_told(start):
    z0 = torch.tensor([start], dtype=F64)
    path = iterate(lambda z: z[:, 1], z0, steps=0)
    torch.testing.assert_close(path.z[0], z0, rtol=0, atol=1e-5)


# ---------------------------------------------------------------- numbers of any size


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_losses_of_a_million_nats_leave_q_finite(device, dtype):
    z0 = max_entropy(3, 10, dtype, device)
    losses = torch.linspace(-1e6, 1e6, 30, dtype=dtype, device=device).view(3, 10)
    for infer in (one_step, enumerate_tasks):
        posterior = infer(lambda z: (losses * z).sum(-1), z0)
        assert torch.isfinite(posterior.log_q).all()
        torch.testing.assert_close(posterior.q.sum(-1), torch.ones(3, dtype=dtype, device=device))
        assert posterior.q.device == z0.device


@pytest.mark.parametrize(("batch", "n_tasks"), [(200, 10_000), (4096, 488)])
def test_many_tasks_and_many_samples(batch, n_tasks):
    losses = torch.randn(batch, n_tasks, generator=generator(0))
    posterior = one_step(lambda z: (losses * z).sum(-1), max_entropy(batch, n_tasks))
    assert torch.equal(posterior.task, losses.argmin(-1))


MEMORY = """
import resource, sys, torch
from gbi_helpers import enumerate_tasks, max_entropy
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
torch.set_num_threads(1)
losses = torch.randn(2000, 500)
def loss_fn(z):
    global before
    before = before or peak()
    return (losses * z).sum(-1)
before = 0
posterior = enumerate_tasks(loss_fn, max_entropy(2000, 500))
assert torch.equal(posterior.loss, losses)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no module resource")
def test_enumerating_many_tasks_keeps_no_memory_of_each():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 200, "MB beyond the first task; one tensor a task would be 2,000"


# ---------------------------------------------------------------- the caller's world stays as it was


class Decoder(nn.Module):
    """A little of everything that could leak: convolution, dropout, batch norm, an embedding of z."""

    def __init__(self, n_tasks: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(n_tasks, 18)
        self.body = nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.ReLU(), nn.Conv2d(3, 1, 3, padding=1)
        )

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.body(self.embed(z).view(-1, 2, 3, 3) + x)


def image_loss(output: Tensor, x: Tensor) -> Tensor:
    return (output - x[:, :1]).square().flatten(1).sum(1)


@pytest.mark.filterwarnings("ignore:BatchNorm")
@pytest.mark.parametrize("infer", [one_step, enumerate_tasks, lambda f, z: iterate(f, z, steps=3)])
@pytest.mark.parametrize("training", [True, False])
def test_flags_gradients_modes_buffers_and_random_state_are_left_alone(infer, training):
    model = Decoder().train(training)
    model.embed.weight.requires_grad_(False)
    model.embed.bias.grad = torch.full_like(model.embed.bias, 7.0)
    x = torch.randn(5, 2, 3, 3, requires_grad=True)
    parts = dict(model.named_parameters())
    flags, buffers = {n: p.requires_grad for n, p in parts.items()}, [b.clone() for b in model.buffers()]
    z0, random_state = max_entropy(5, 4), torch.get_rng_state()
    infer(loss_of(model, x, image_loss), z0)
    assert {n: p.requires_grad for n, p in parts.items()} == flags
    assert [n for n, p in parts.items() if p.grad is not None] == ["embed.bias"]
    assert (model.embed.bias.grad == 7).all()
    assert x.grad is None
    assert not z0.requires_grad
    assert model.training is training
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.is_grad_enabled()
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), buffers, strict=True))


class BackwardMasks(TorchDispatchMode):
    """Notes, for every convolution's backward, which of (input, weight, bias) gradients were computed."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: list[list[bool]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            self.masks.append(list(args[-1]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("bind", [True, False], ids=["loss_of", "own closure"])
def test_no_weight_gradient_is_computed(bind):
    model = Decoder().eval()
    x = torch.randn(5, 2, 3, 3)
    loss_fn = loss_of(model, x, image_loss) if bind else lambda z: image_loss(model(x, z), x)
    with BackwardMasks() as seen:
        one_step(loss_fn, max_entropy(5, 4))
    assert seen.masks == [[True, False, False]] * 2
    assert all(p.grad is None for p in model.parameters())


class Calls:
    """Counts the forwards and backwards that pass through a loss."""

    def __init__(self, loss_fn) -> None:
        self.loss_fn, self.forwards, self.backwards = loss_fn, 0, 0

    def __call__(self, z: Tensor) -> Tensor:
        self.forwards += 1
        if z.requires_grad:
            z.register_hook(self._seen)
        return self.loss_fn(z)

    def _seen(self, grad: Tensor) -> None:
        self.backwards += 1


@pytest.mark.parametrize(
    ("infer", "forwards", "backwards"),
    [(one_step, 1, 1), (enumerate_tasks, 4, 0), (lambda f, z: iterate(f, z, steps=7), 8, 7)],
    ids=["one_step", "enumerate_tasks", "iterate"],
)
def test_the_price_in_model_runs(infer, forwards, backwards):
    calls = Calls(curved_loss(0, 5, 4))
    infer(calls, max_entropy(5, 4, F64))
    assert (calls.forwards, calls.backwards) == (forwards, backwards)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_where_the_caller_switched_gradients_off(mode):
    loss_fn, z0 = curved_loss(0, 3, 4), max_entropy(3, 4, F64)
    expected = one_step(loss_fn, z0).log_q
    with mode():
        torch.testing.assert_close(one_step(loss_fn, z0).log_q, expected)
        torch.testing.assert_close(iterate(loss_fn, z0, steps=2).z[0], z0)
        exact = enumerate_tasks(loss_fn, z0).log_q
        torch.testing.assert_close(rescore(expected, loss_fn, z0, m=4).log_q, exact)


def test_a_share_that_underflows_has_an_entropy_still():
    path = iterate(lambda z: 300 * z[:, 1], max_entropy(1, 2), 50, 2.0, penalty="entropy", weight=0.1, optimizer=SGD)
    assert path.z[-1].isfinite().all()
    assert path.z[-1, 0, 0] > 0.999


# ---------------------------------------------------------------- models that this project did not write


class WithTask(nn.Module):
    """Any classifier of images, with an embedding of z added to its input."""

    def __init__(self, model: nn.Module, n_tasks: int) -> None:
        super().__init__()
        self.model, self.embed = model, nn.Linear(n_tasks, 3)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.model(x + self.embed(z)[:, :, None, None])


class Normed(nn.Module):
    """Running statistics between z and the output."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.norm(x * z)


def test_running_statistics_may_be_bound_in_inference_mode():
    model, x, z0 = Normed().eval(), torch.rand(2, 3), max_entropy(2, 3)
    with torch.inference_mode():
        loss_fn = loss_of(model, x, lambda out, x: (out - x).square().sum(1))
        assert one_step(loss_fn, z0).grad.any()


def test_a_torchvision_model_with_an_embedding_of_z():
    from gbi_helpers.data import torchvision

    torch.manual_seed(0)
    model = WithTask(torchvision().models.squeezenet1_1(num_classes=5), n_tasks=6).eval()
    x, labels = torch.randn(3, 3, 64, 64), torch.tensor([0, 1, 2])
    loss_fn = loss_of(model, x, lambda out, _: nn.functional.cross_entropy(out, labels, reduction="none"))
    together = one_step(loss_fn, max_entropy(3, 6))
    alone = one_step(
        loss_of(model, x[1:2], lambda out, _: nn.functional.cross_entropy(out, labels[1:2], reduction="none")),
        max_entropy(1, 6),
    )
    torch.testing.assert_close(together.log_q[1:2], alone.log_q, rtol=1e-4, atol=1e-5)


class Translator(nn.Module):
    """PyTorch's own Transformer, with z added to every source position."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 16)
        self.net = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.net(x + self.embed(z)[:, None], x)


def test_pytorchs_transformer_with_an_embedding_of_z():
    torch.manual_seed(0)
    model, x = Translator().eval(), torch.randn(4, 7, 16)
    loss_fn = loss_of(model, x, lambda out, inputs: (out - inputs).square().flatten(1).sum(1))
    path = iterate(loss_fn, max_entropy(4, 5), steps=20)
    assert (path.loss[-1] < path.loss[0]).all()
    assert one_step(loss_fn, max_entropy(4, 5)).q.shape == (4, 5)


# ---------------------------------------------------------------- bad input


def no_graph(z: Tensor) -> Tensor:
    return torch.ones(len(z))


def one_nan(z: Tensor) -> Tensor:
    return z.sum(-1) * torch.tensor([1.0, 1.0, float("nan")])


def one_infinite_slope(z: Tensor) -> Tensor:
    return (z[:, 0] - torch.tensor([0.0, 0.0, 0.25])).sqrt()


@pytest.mark.parametrize(
    ("loss_fn", "z0", "words"),
    [
        (lambda z: z, max_entropy(3, 4), "one loss per sample"),
        (lambda z: z.sum(), max_entropy(3, 4), "one loss per sample"),
        (lambda z: 1.0, max_entropy(3, 4), "one loss per sample"),
        (lambda z: z.sum(-1), torch.ones(3, 4), "not on the simplex"),
        (lambda z: z.sum(-1), torch.tensor([[1.5, -0.5]]), "row 0 is not on the simplex"),
        (lambda z: z.sum(-1), torch.full((3, 4), float("nan")), "start z0 of sample 0 is not finite"),
        (lambda z: z.sum(-1), torch.ones(4), "shape"),
        (lambda z: z.sum(-1), torch.ones(3, 4, dtype=torch.int64), "floating-point"),
        (lambda z: z.sum(-1), torch.ones(0, 4), "shape"),
        (one_nan, max_entropy(3, 4), "loss of sample 2 is not finite"),
    ],
)
@pytest.mark.parametrize("infer", [one_step, enumerate_tasks, iterate])
def test_bad_input_is_answered_with_a_sentence(infer, loss_fn, z0, words):
    with pytest.raises(ValueError, match=words):
        infer(loss_fn, z0)


@pytest.mark.parametrize("infer", [one_step, iterate])
@pytest.mark.parametrize(
    ("loss_fn", "words"), [(no_graph, "no gradient to z"), (one_infinite_slope, "gradient of sample 2 is not finite")]
)
def test_a_loss_without_a_usable_gradient_is_refused(infer, loss_fn, words):
    with pytest.raises(ValueError, match=words):
        infer(loss_fn, max_entropy(3, 4))


def test_a_loss_with_a_graph_that_misses_z_is_refused():
    weight = nn.Parameter(torch.ones(3))
    with pytest.raises(ValueError, match="no gradient to z"):
        one_step(lambda z: weight * 2, max_entropy(3, 4))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"space": "sphere"}, "logits"),
        ({"penalty": "l1"}, "entropy"),
        ({"penalty": "entropy", "space": "free", "weight": 1.0}, "free z"),
        ({"steps": -1}, "steps"),
        ({"lr": 0.0}, "lr"),
        ({"lr": float("inf")}, "lr"),
        ({"weight": float("nan")}, "weight"),
    ],
)
def test_iterate_refuses_options_it_does_not_know(options, words):
    with pytest.raises(ValueError, match=words):
        iterate(lambda z: z.sum(-1), max_entropy(2, 3), **options)


@pytest.mark.parametrize("step_size", [float("nan"), float("inf")])
def test_one_step_refuses_a_step_size_that_would_make_nan(step_size):
    with pytest.raises(ValueError, match="step_size"):
        one_step(lambda z: z.sum(-1), max_entropy(2, 4), step_size)


def test_a_prior_may_rule_out_tasks_but_not_all():
    ruled_out = torch.tensor([0.0, -torch.inf, 0.0, -torch.inf])
    posterior = enumerate_tasks(lambda z: z.sum(-1), max_entropy(2, 4), ruled_out)
    torch.testing.assert_close(posterior.q, torch.tensor([[0.5, 0.0, 0.5, 0.0]] * 2))


@pytest.mark.parametrize(
    "prior",
    [
        torch.zeros(3),
        torch.full((4,), float("nan")),
        torch.zeros(2, 5),
        torch.full((4,), -torch.inf),
        torch.tensor([[0.0] * 4, [-torch.inf] * 4]),
        torch.tensor([0.0, torch.inf, 0.0, 0.0]),
        [0.0] * 4,
    ],
)
def test_a_prior_that_is_none_is_refused(prior):
    with pytest.raises(ValueError, match="log_prior"):
        enumerate_tasks(lambda z: z.sum(-1), max_entropy(2, 4), prior)


def test_a_prior_of_another_type_leaves_the_answer_in_that_of_z():
    found = enumerate_tasks(lambda z: z.sum(-1), max_entropy(2, 4), torch.zeros(4, dtype=F64))
    assert found.log_q.dtype == torch.float32


def test_batch_norm_in_training_mode_is_warned_of_once_it_couples_samples():
    x = torch.randn(5, 2, 3, 3)
    with pytest.warns(UserWarning, match=r"body\.1"):
        loss_of(Decoder().train(), x, image_loss)


def test_batch_norm_without_running_statistics_couples_samples_in_eval_mode_too():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)).eval()
    with pytest.warns(UserWarning, match="BatchNorm"):
        loss_of(model, torch.randn(5, 4), lambda out, _: out.sum(1))


@pytest.mark.filterwarnings("error")
def test_no_warning_for_a_model_in_eval_mode():
    loss_of(Decoder().eval(), torch.randn(5, 2, 3, 3), image_loss)


# ---- what a penalty pulls to, what is kept, what stands where nothing is said ----


def one_plain_step(space, z0, steps=1):
    """z after plain gradient steps of size .25 on nothing but an l2 penalty of weight 1.5."""
    told = {"space": space, "weight": 1.5, "penalty": "l2", "optimizer": torch.optim.SGD, "lr": 0.25}
    return iterate(lambda z: 0.0 * z.sum(-1), z0, steps=steps, **told).z[-1]


def test_a_penalty_shrinks_a_free_z_by_its_weight():
    z0 = torch.tensor([[2.0, -1.0, 0.5]], dtype=F64)
    torch.testing.assert_close(one_plain_step("free", z0), z0 * (1 - 0.25 * 1.5))


def test_on_the_simplex_it_shrinks_logits_whose_mean_is_zero_and_so_pulls_to_the_middle():
    z0 = torch.softmax(torch.tensor([[2.0, -1.0, 0.5]], dtype=F64), -1)
    u = z0.log() - z0.log().mean(-1, keepdim=True)
    torch.testing.assert_close(one_plain_step("logits", z0), torch.softmax(u * (1 - 0.25 * 1.5), -1))
    torch.testing.assert_close(one_plain_step("logits", z0, steps=200), torch.full_like(z0, 1 / 3))


@pytest.mark.parametrize("weight", [-1.0, float("inf")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match="weight"):
        iterate(lambda z: z.sum(-1), max_entropy(2, 3), weight=weight)


def test_the_defaults_are_fifty_steps_of_two_tenths_and_the_two_best():
    def loss(z):
        return (z * torch.arange(5.0)).sum(-1)

    z0 = max_entropy(2, 5)
    assert torch.equal(iterate(loss, z0).z, iterate(loss, z0, steps=50, lr=0.2).z)
    log_q = one_step(loss, z0).log_q
    assert rescore(log_q, loss, z0).loss.isfinite().sum(1).tolist() == [2, 2]
    assert candidates(log_q).sum(1).tolist() == [2, 2]


def test_no_answer_holds_a_graph():
    w = torch.randn(4, 3, requires_grad=True)

    def loss(z):
        return (z @ w).square().sum(-1)

    z0 = max_entropy(2, 4)
    one = one_step(loss, z0)
    for found in (one, enumerate_tasks(loss, z0), rescore(one.log_q, loss, z0)):
        assert not found.log_q.requires_grad
        assert not found.loss.requires_grad


def test_within_nothing_of_the_best_are_those_that_tie_with_it():
    log_q = torch.tensor([[0.4, 0.4, 0.2]], dtype=F64).log()
    losses = torch.tensor([3.0, 1, 2], dtype=F64)
    found = rescore(log_q, lambda z: (z * losses).sum(-1), max_entropy(1, 3, F64), within=0.0)
    assert found.loss.isfinite().tolist() == [[True, True, False]]


@pytest.mark.parametrize("coverage", [0.0, -0.5])
def test_a_coverage_of_nothing_is_refused(coverage):
    flat = torch.zeros(9, 3).log_softmax(1)
    with pytest.raises(ValueError, match="coverage"):
        fit_within(flat, flat, coverage)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_start_a_thousandth_off_the_simplex_is_refused(dtype):
    with pytest.raises(ValueError, match="simplex"):
        one_step(lambda z: z.sum(-1), torch.tensor([[0.5, 0.501]], dtype=dtype))


def test_one_step_refuses_a_space_that_it_does_not_know():
    with pytest.raises(ValueError, match="space is 'fre': choose 'simplex', or 'free'"):
        one_step(lambda z: z.sum(-1), max_entropy(1, 2), space="fre")


@pytest.mark.parametrize("part", [nn.Dropout(0.5), nn.LSTM(4, 4, num_layers=2, dropout=0.5)])
def test_dropout_at_work_is_warned_of(part):
    model = nn.Sequential(nn.Linear(4, 4), part)
    with pytest.warns(UserWarning, match=r"Dropout in training mode \(1\) .* Call model.eval\(\) first"):
        loss_of(model, torch.zeros(2, 4), lambda output, _: output.sum(-1))


def test_nothing_is_warned_of_where_no_part_is_at_work(recwarn):
    for model in (
        nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4)).eval(),
        nn.Sequential(nn.Dropout(0), nn.LSTM(4, 4)),
    ):
        loss_of(model, torch.zeros(2, 4), lambda output, _: output.sum(-1))
    assert not recwarn.list


def test_the_penalty_is_l2_unless_asked_otherwise():
    loss_fn, _ = linear_loss(1, 4, 5)
    usual, l2 = (
        iterate(loss_fn, max_entropy(4, 5, F64), steps=20, weight=1.0, **how) for how in ({}, {"penalty": "l2"})
    )
    assert torch.equal(usual.z, l2.z)


def test_a_one_hot_start_is_held_off_the_corner_by_a_millionth():
    path = iterate(linear_loss(1, 1, 3)[0], torch.eye(3, dtype=F64)[:1], steps=1)
    assert float(path.z[0, 0, 1]) == pytest.approx(1e-6, rel=1e-3)
