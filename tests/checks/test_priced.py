"""What a student's function may ask: the right numbers, for their price, and no more."""

import pytest
import torch

from gbi_helpers.checks.priced import Ask, OverspentError, unspent

Z = torch.rand(6, 3, dtype=torch.float64)


def asked(budget=4):
    weight = torch.arange(6.0).double()[:, None]
    return Ask(lambda z, rows: (weight[rows] * z**2).sum(1), 6, budget)


def test_a_loss_costs_one_forward_and_a_gradient_two():
    ask = asked()
    loss, slope = ask.gradient(Z)
    assert ask.left == 2
    torch.testing.assert_close(slope, 2 * torch.arange(6.0).double()[:, None] * Z)
    assert torch.equal(ask.loss(Z), loss)
    assert ask.left == 1


def test_some_samples_cost_their_share():
    ask, rows = asked(), torch.tensor([5, 2])
    assert torch.equal(ask.loss(Z[rows], rows), asked().loss(Z)[rows])
    assert torch.equal(ask.gradient(Z[rows], rows)[1], asked().gradient(Z)[1][rows])
    assert ask.left == pytest.approx(4 - 2 / 6 - 4 / 6)


def test_the_last_forward_can_be_spent_and_no_other():
    ask = asked(budget=3)
    ask.gradient(Z)
    for row in range(6):
        ask.loss(Z[[row]], torch.tensor([row]))
    assert ask.left == 0
    with pytest.raises(OverspentError, match=r"this costs 0.167 forwards a sample, and 0 of 3 are left. Ask for less"):
        ask.loss(Z[:1], torch.tensor([0]))


def test_what_is_refused_costs_nothing():
    ask = asked(budget=1)
    with pytest.raises(OverspentError):
        ask.gradient(Z)
    for z, rows, says in [
        (Z[0], None, "a row for each of 6 samples"),
        (Z, torch.tensor([0, 1]), "a row for each of 2 samples"),
        (Z, torch.ones(6, dtype=torch.bool), "rows are the numbers of the samples"),
    ]:
        with pytest.raises(ValueError, match=says):
            ask.loss(z, rows)
    assert ask.left == 1


def test_the_z_that_is_asked_with_stays_as_it_is_and_may_be_of_any_type():
    ask, z = asked(), Z.clone()
    with torch.no_grad():
        assert ask.gradient(z)[1].any()
    assert torch.equal(z, Z)
    assert not z.requires_grad
    whole = torch.nn.functional.one_hot(torch.arange(6) % 3)
    assert ask.loss(whole).dtype == torch.float64


def test_with_nothing_spent_there_is_the_whole_budget():
    ask = asked()
    ask.gradient(Z)
    assert unspent(ask).left == 4
    assert ask.left == 2
    assert unspent(len) is len
    assert repr(ask) == "ask (6 samples, 2 forwards each)"
