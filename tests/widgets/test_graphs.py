"""Any loss as a graph for the page: what is packed, and where a graph cannot go, told in one sentence."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from gbi_helpers import loss_of, max_entropy, to_browser
from gbi_helpers.widgets.graphs import graph_of

Z0 = max_entropy(1, 4)


def squares(output, x):
    return (output - x).square().sum(1)


class Net(nn.Module):
    """z through two layers, and x through one that z never reaches."""

    def __init__(self, wide=100, drop=0.0):
        super().__init__()
        self.eye, self.drop = nn.Linear(50, wide), nn.Dropout(drop)
        self.body = nn.Sequential(nn.Linear(4, wide), nn.ReLU(), nn.Linear(wide, 50))

    def forward(self, x, z):
        return self.body[2](self.drop(self.body[1](self.body[0](z) * self.eye(x))))


@pytest.fixture
def parts():
    torch.manual_seed(0)
    return Net(), torch.randn(300, 50)


def test_a_page_holds_each_weight_once_and_of_the_data_one_sample(parts):
    net, x = parts
    graph = graph_of(loss_of(net, x[7:8], squares), Z0)
    weights = [4 * 100, 100, 100 * 50, 50]  # without those that look at x: what they make is a constant
    assert sorted(v.size for v in graph.constants.values() if v.size > 1) == sorted([*weights, 100, 50])
    assert any(np.array_equal(v, x[7].numpy()) for v in graph.constants.values())


def singles(graph, bits=16):
    """How many numbers the constants of 32 bits have."""
    told, raw = graph.packed(bits)
    assert len(raw) == told["bytes"] + 4 * sum(count for _, count in told["singles"])
    return sorted(count for _, count in told["singles"] if count > 1)


def test_large_weights_have_16_bits_and_what_16_would_change_has_32(parts):
    net, x = parts
    graph = graph_of(loss_of(net, x[:1], squares), Z0)
    assert singles(graph) == [50, 50, 100, 100, 400]
    assert singles(graph, 32)[-1] == 5000
    net.half().float()
    assert singles(graph_of(loss_of(net, x[:1], squares), Z0)) == [50, 100]  # x, and what is made of it


def test_the_loss_alone_needs_the_first_operations_only(parts):
    net, x = parts
    graph = graph_of(loss_of(net, x[:1], squares), Z0)
    written = [graph.views[out][0] for _, out, *_ in graph.operations[: graph.forward]]
    assert graph.views[graph.ends[1]][0] in written
    assert graph.views[graph.ends[2]][0] not in written
    assert graph.forward < len(graph.operations)


def by_parts(z):
    long = z[:, :1] * torch.arange(500.0)
    return torch.stack([long[:, t].square() for t in range(20)]).sum(0)


def test_the_zeros_around_a_part_that_was_read_are_no_constants():
    sizes = [v.size for v in graph_of(by_parts, Z0).constants.values()]
    assert sum(sizes) < 600  # of 20 times 500


def test_an_lstm_of_32_bits_is_no_single_operation():
    torch.manual_seed(0)
    lstm = nn.LSTM(2, 5, batch_first=True).requires_grad_(False)
    names = {name for name, *_ in graph_of(lambda z: lstm(z.view(1, 2, 2))[0].flatten(1).sum(1), Z0).operations}
    assert {"products", "sigmoid", "tanh"} <= names


def drawn(z):
    return functional.dropout(z, 0.5).sum(1)


def by_numpy(z):
    return z.square().sum(1) * float(z.detach().numpy().max())


def branching(z):
    loss = z.square().sum(1)
    return loss if loss.item() > 0.1 else 2 * loss


REFUSED = {
    "branches on values": branching,
    "takes numbers out of z": by_numpy,
    "draws random numbers": drawn,
    "does not know the operation aten.sort": lambda z: (z.sort(1).values * torch.arange(4.0)).sum(1),
    "operation aten.lgamma": lambda z: torch.lgamma(z).sum(1),
    "places that depend on z": lambda z: z.square().gather(1, (4 * z).long()).sum(1),
    "no gradient to z": lambda z: z.detach().sum(1),
    "must return one loss per sample": lambda z: z.sum(),
}


@pytest.mark.parametrize("why", REFUSED)
def test_where_a_graph_cannot_go_is_told_in_one_sentence(why):
    with pytest.raises(ValueError, match=why) as told:
        graph_of(REFUSED[why], Z0)
    assert "\n" not in str(told.value)


def test_one_sample_on_the_simplex_and_no_more_than_a_page_should_hold(parts):
    net, x = parts
    with pytest.raises(ValueError, match="2 rows: give z0"):
        to_browser(loss_of(net, x[:2], squares), max_entropy(2, 4))
    with pytest.raises(ValueError, match="not on the simplex"):
        to_browser(loss_of(net, x[:1], squares), torch.ones(1, 4))
    with pytest.raises(ValueError, match=r"has 0\.013 MB of constants, .* 0\.005 at most"):
        to_browser(loss_of(net, x[:1], squares), Z0, most_mb=0.005)


def test_constants_have_16_bits_or_32_and_nothing_else(parts):
    net, x = parts
    half, full = (to_browser(loss_of(net, x[:1], squares), Z0, bits=bits).inferring for bits in (16, 32))
    assert len(half.constants) < len(full.constants)
    with pytest.raises(ValueError, match="bits is 8: choose 16 or 32"):
        to_browser(loss_of(net, x[:1], squares), Z0, bits=8)


def test_the_view_is_the_same_again_and_says_what_inference_says(parts):
    net, x = parts
    views = [to_browser(loss_of(net, x[:1], squares), Z0, labels=list("abcd"), title="Mine") for _ in range(2)]
    assert views[0].html == views[1].html
    assert "Mine. Beliefs of a model. one step: " in views[0].still()
    assert repr(views[0]).startswith("InBrowser(4 tasks, ")
    assert set(views[0].beliefs) == {"one step", "50 steps", "every task tried"}
    many = to_browser(lambda z: z.square().sum(1), max_entropy(1, 40))
    assert set(many.beliefs) == {"one step", "50 steps"}


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda z: torch.round(10 * z, decimals=1).sum(1), "does not know round with decimals"),
        (lambda z: (z * ((8 * z).long() & 3)).sum(1), "knows bitwise_and of true and false alone"),
    ],
)
def test_what_the_page_would_compute_otherwise_is_refused(loss, words):
    with pytest.raises(ValueError, match=words):
        graph_of(loss, Z0)


def test_the_page_knows_rounding_and_what_is_both():
    graph = graph_of(lambda z: (torch.div(z, 0.3, rounding_mode="floor") * ((z > 0.1) & (z < 0.9))).sum(1), Z0)
    assert {"floor", "logical_and"} <= {name for name, *_ in graph.operations}
