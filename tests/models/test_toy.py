"""The stacked networks are ordinary networks, trained side by side."""

import pytest
import torch
from torch import nn

from gbi_helpers import enumerate_tasks, iterate, loss_of, max_entropy, one_step
from gbi_helpers.experiments.toy.recipes import evidence
from gbi_helpers.models.base import gaussian_nll
from gbi_helpers.models.toy import ToyLSTM
from gbi_helpers.models.toy_cell import Recurrence, recurrence

VARIANTS = [
    ("lstm", "fixed"), ("idle", "fixed"), ("concat", "fixed"), ("add", "fixed"),
    ("post", "fixed"), ("post", "learned"), ("rec", "fixed"), ("rec", "learned"),
]  # fmt: skip


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Plain(nn.Module):
    """The same network with nn.LSTM, one seed."""

    def __init__(self, stacked, index):
        super().__init__()
        self.lstm = nn.LSTM(stacked.weight_ih.shape[2], stacked.hidden_units, batch_first=True)
        self.out = nn.Linear(stacked.hidden_units, stacked.size)
        self.variant = stacked.variant
        self.gate = stacked.gate[index].detach().clone() if stacked.variant == "post" else None
        names = {"weight_ih_l0": "weight_ih", "weight_hh_l0": "weight_hh", "bias_ih_l0": "bias_ih"}
        with torch.no_grad():
            for mine, theirs in (names | {"bias_hh_l0": "bias_hh"}).items():
                getattr(self.lstm, mine).copy_(getattr(stacked, theirs)[index])
            self.out.weight.copy_(stacked.weight_out[index])
            self.out.bias.copy_(stacked.bias_out[index])

    def forward(self, x, z):
        h, _ = self.lstm(torch.cat([x, z], -1) if self.variant == "concat" else x)
        return self.out(h if self.gate is None else h * (z @ self.gate))


@pytest.mark.parametrize("variant", ["lstm", "concat", "post"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_gives_the_numbers_of_an_ordinary_nn_lstm_loop(variant, dtype):
    seeds, rows, time, updates, index = 3, 2, 5, 30, 1
    stacked = ToyLSTM(seeds, variant, size=2).to(dtype)
    plain = Plain(stacked, index).to(dtype)
    optimizers = [torch.optim.Adam(m.parameters(), lr=3e-3) for m in (stacked, plain)]
    for update in range(updates):
        x, y = (normal(seeds * rows, time, 2, seed=s).to(dtype) for s in (update, 1000 + update))
        z = torch.softmax(normal(seeds * rows, time, 2, seed=2000 + update), -1).to(dtype)
        own = slice(index * rows, (index + 1) * rows)
        outputs = stacked(x, z), plain(x[own], z[own])
        torch.testing.assert_close(outputs[0][own], outputs[1], rtol=0, atol=1e-5)
        errors = (
            (outputs[0] - y).square().unflatten(0, (seeds, rows)).mean((1, 2, 3)),
            (outputs[1] - y[own]).square().mean(),
        )
        for optimizer, loss in zip(optimizers, errors, strict=True):
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
    for mine, theirs in [
        (stacked.weight_ih, plain.lstm.weight_ih_l0), (stacked.weight_hh, plain.lstm.weight_hh_l0),
        (stacked.bias_hh, plain.lstm.bias_hh_l0), (stacked.weight_out, plain.out.weight),
    ]:  # fmt: skip
        torch.testing.assert_close(mine[index], theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("variant", "gates"), VARIANTS)
def test_each_seed_is_a_network_of_its_own(variant, gates):
    together = ToyLSTM(3, variant, gates, n_tasks=3, size=2)
    x, z = normal(3 * 4, 5, 2), torch.softmax(normal(12, 3), -1)
    output = together(x, z)
    assert output.shape == (12, 5, 2)
    for index in range(3):
        own = slice(4 * index, 4 * index + 4)
        torch.testing.assert_close(together.one(index)(x[own], z[own]), output[own], rtol=0, atol=1e-6)
        torch.testing.assert_close(
            ToyLSTM([index], variant, gates, n_tasks=3, size=2)(x[own], z[own]), output[own], rtol=0, atol=1e-6
        )
    assert torch.equal(together.one(-1).weight_hh, together.weight_hh[2:])
    for index in (-4, 3):
        with pytest.raises(IndexError, match=f"no network {index}: of 3"):
            together.one(index)
    gradient = torch.autograd.grad(output[:4].sum(), together.weight_hh)[0]
    assert gradient[0].abs().max() > 0
    assert gradient[1:].abs().max() == 0


@pytest.mark.parametrize(("variant", "gates"), VARIANTS)
def test_z_of_a_row_is_z_of_each_prediction(variant, gates):
    model, x, z = ToyLSTM(2, variant, gates), normal(6, 5, 1), torch.softmax(normal(6, 2), -1)
    torch.testing.assert_close(model(x, z), model(x, z[:, None].expand(-1, 5, -1)))
    torch.testing.assert_close(model(x), model(x, max_entropy(6, 2)))
    other = model(x, z.flip(-1))
    assert torch.equal(model(x, z), other) == (variant == "lstm")


@pytest.mark.parametrize(("variant", "gates"), VARIANTS[1:])
def test_inference_serves_all_seeds_at_once(variant, gates):
    model, windows = ToyLSTM(3, variant, gates), normal(3 * 4, 6, 1)
    z0 = max_entropy(12, 2)
    loss = evidence(model, windows, 0.3)
    for infer in (one_step, enumerate_tasks, lambda f, z: iterate(f, z, steps=3)):
        q = infer(loss, z0).q
        for index in range(3):
            own = slice(4 * index, 4 * index + 4)
            alone = infer(evidence(model.one(index), windows[own], 0.3), z0[own]).q
            torch.testing.assert_close(q[..., own, :], alone, rtol=1e-4, atol=1e-5)
    assert all(p.grad is None for p in model.parameters())


def test_evidence_is_the_summed_loss_of_what_is_scored():
    model, windows, z = ToyLSTM(2, "concat"), normal(2 * 3 * 4, 6, 1), torch.softmax(normal(6, 2), -1)
    one_each = evidence(model, windows[:6], 0.5)(z)
    by_hand = loss_of(model, windows[:6, :-1], lambda out, _: ((out - windows[:6, 1:]) ** 2).sum((1, 2)) / 0.5)(z)
    torch.testing.assert_close(one_each, by_hand)
    last = evidence(model, windows[:6], 0.5, last=2)(z)
    prediction = model(windows[:6, :-1], z)
    torch.testing.assert_close(last, gaussian_nll(prediction[:, 3:], windows[:6, 4:], 0.5))
    many = evidence(model, windows.unflatten(0, (6, 4)), 0.5)(z)
    single = evidence(model, windows, 0.5)(z.repeat_interleave(4, 0))
    torch.testing.assert_close(many, single.view(6, 4).sum(1))


def test_a_copy_does_not_call_what_listens_to_the_original_later():
    model, calls = ToyLSTM(2), []
    copies = (model.one(0), model.copied(torch.float64))
    copies[0].register_forward_hook(lambda *_: calls.append(1))
    model(normal(4, 5, 1))
    assert not calls


def test_a_silenced_unit_reaches_neither_the_output_nor_the_next_step():
    model, x = ToyLSTM(2), normal(4, 5, 1)
    units = torch.zeros(2, 32, dtype=torch.bool)
    units[0, :7] = True
    cut = model.without(units)
    torch.testing.assert_close(cut(x)[2:], model(x)[2:])
    assert not torch.allclose(cut(x)[:2], model(x)[:2])
    changed = model.without(units)
    with torch.no_grad():
        changed.weight_ih[0].view(4, 32, -1)[:, :7] += 1.0
    torch.testing.assert_close(changed(x), cut(x))
    assert (model.weight_hh[0, :, :7] != 0).all()


def test_fixed_gates_are_no_parameters_and_learned_ones_are():
    assert "gate" not in dict(ToyLSTM(2, "post").named_parameters())
    assert "gate" in dict(ToyLSTM(2, "rec", "learned").named_parameters())
    assert set(ToyLSTM(5, "rec").gate.unique().tolist()) == {0.0, 1.0}


def test_what_is_no_variant_and_rows_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="choose one of lstm, idle"):
        ToyLSTM(1, "gru")
    with pytest.raises(ValueError, match="as many rows for each of the 3 seeds"):
        ToyLSTM(3)(normal(4, 5, 1))


@pytest.mark.parametrize("gated", [False, True])
def test_the_backward_pass_written_by_hand_is_autograds(gated):
    drive, weight, gate = (
        v.double().requires_grad_() for v in (normal(3, 2, 4, 12), normal(3, 12, 3), normal(3, 2, 4, 3))
    )
    inputs = (drive, weight, gate if gated else None)
    torch.testing.assert_close(Recurrence.apply(*inputs), recurrence(*inputs))
    assert torch.autograd.gradcheck(Recurrence.apply, inputs)


def test_inference_can_differentiate_twice():
    model, windows = ToyLSTM(2, "concat"), normal(4, 6, 1)
    z = max_entropy(4, 2).requires_grad_()
    (slope,) = torch.autograd.grad(evidence(model, windows, 0.3)(z).sum(), z, create_graph=True)
    assert torch.autograd.grad(slope[:, 0].sum(), z)[0].abs().max() > 0


def test_weights_begin_within_one_over_the_root_and_learned_gates_around_one():
    model = ToyLSTM(1, "post", "learned", hidden=16)
    assert 0.23 < float(model.weight_hh.detach().abs().max()) <= 0.25
    gate = model.gate.detach()
    assert 0.75 <= float(gate.min()) < 0.85
    assert 1.15 < float(gate.max()) <= 1.25
