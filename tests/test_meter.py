"""What is counted of a call: operations, memory; and what is timed."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from gbi_helpers.inference import enumerate_tasks, loss_of, max_entropy, one_step
from gbi_helpers.meter import Passes, flops, in_turns, plain_kernels, saved_bytes
from gbi_helpers.models.language import WordLSTM
from gbi_helpers.models.transformer import WordTransformer


def weighed(batch=6, size=5, n_tasks=4, device="cpu"):
    """A loss with one matrix product, its start, and the weights."""
    weights, x = torch.randn(n_tasks, size, device=device), torch.randn(batch, size, device=device)
    return lambda z: (x - z @ weights).square().sum(-1), max_entropy(batch, n_tasks, weights.dtype, device), weights


def test_a_product_counts_two_for_each_multiplication_and_a_step_walks_it_twice():
    loss_fn, z0, _ = weighed()
    assert flops(loss_fn, z0) == 2 * 6 * 5 * 4
    assert flops(one_step, loss_fn, z0) == 2 * flops(loss_fn, z0)
    assert flops(enumerate_tasks, loss_fn, z0) == 4 * flops(loss_fn, z0)


def test_a_count_needs_no_numbers():
    loss_fn, z0, _ = weighed(device="meta", size=10**9)
    assert flops(one_step, loss_fn, z0) == 4 * 6 * 10**9 * 4


@pytest.mark.parametrize("model", [WordLSTM(30, 3, 8), WordTransformer(30, 3, 8, heads=2)], ids=["lstm", "transformer"])
def test_fused_kernels_are_counted_and_training_is_dearer_than_inference(model):
    text = torch.randint(30, (4, 7))
    loss_fn, z0 = loss_of(model, text[:, :-1], lambda output, _: model.nll(output, text[:, 1:])), max_entropy(4, 3)
    shapes = copy.deepcopy(model).to("meta")  # where no kernel is fused
    assert flops(loss_fn, z0) == flops(shapes, text[:, :-1].to("meta"), z0.to("meta"))
    trained = flops(lambda: model.nll(model(text[:, :-1], z0), text[:, 1:]).sum().backward())
    assert 1.5 < flops(one_step, loss_fn, z0) / flops(loss_fn, z0) < 2.1 < trained / flops(loss_fn, z0)
    model.zero_grad()


def test_what_is_kept_for_the_way_back_is_counted_once_and_without_weights():
    layer = nn.Linear(5, 7)
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    x = torch.randn(6, 5, requires_grad=True)
    assert saved_bytes(layer, x) == 4 * 5 * 7  # the weights alone, of which the gradient to x is made
    assert saved_bytes(layer, x, apart_from=layer.parameters()) == 0
    # ReLU keeps its output, and the square keeps the same numbers: one memory
    assert saved_bytes(lambda: layer(x).relu().square(), apart_from=layer.parameters()) == 4 * 6 * 7
    with torch.no_grad():
        assert saved_bytes(lambda: layer(x).relu().square()) == 0


def test_memory_needs_no_numbers_either():
    x = torch.randn(6, 10**9, device="meta", requires_grad=True)
    assert saved_bytes(lambda: x.exp().log(), apart_from=[x]) == 4 * 6 * 10**9


def told(seconds):
    """A clock by which every call takes so long."""
    ticks = itertools.count()
    return lambda: next(ticks) * seconds


def test_calls_are_timed_in_turns_and_the_least_of_each_is_told():
    seen = []
    calls = {"one": lambda: seen.append(1), "two": lambda: seen.append(2)}
    assert in_turns(calls, turns=3, seconds=100.0, clock=told(1.0)) == {"one": 1.0, "two": 1.0}
    assert seen == [1, 2] + [1, 1, 2, 2] * 3  # one round warms up
    seen.clear()
    in_turns(calls, turns=50, seconds=0.5, clock=told(1.0))
    assert len(seen) == 2 + 4 * 3  # three rounds at the least
    seen.clear()
    in_turns(calls, turns=1, clock=told(1e-6))
    assert seen == [1, 2] + [1] * 10 + [2] * 10  # what is short comes often
    assert all(0 <= value < float("inf") for value in in_turns(calls).values())


def test_plain_kernels_end_with_their_block():
    before = torch.backends.mkldnn.enabled
    with plain_kernels():
        assert not torch.backends.mkldnn.enabled
    assert torch.backends.mkldnn.enabled == before


def test_passes_through_what_returns_several_tensors_are_counted_once_each():
    lstm, x = nn.LSTM(3, 4), torch.randn(5, 2, 3)
    with Passes(lstm) as passes:
        output, (hidden, cell) = lstm(x)
        (output.sum() + hidden.sum()).backward(retain_graph=True)
        cell.sum().backward()
        with torch.no_grad():
            lstm(x)
    assert (passes.forwards, passes.backwards) == (2, 2)
