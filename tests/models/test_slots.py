"""What networks with slots say and lose, beside the same written out."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.data.toy import switching_stream
from gbi_helpers.models.base import gaussian_nll
from gbi_helpers.models.slots import Samples, Words, WordSlots
from gbi_helpers.models.toy import ToyLSTM

PURE = torch.eye(3).expand(2, -1, -1)


def test_a_sample_is_predicted_from_those_before_it_at_each_z_as_by_the_network_itself():
    stream = switching_stream(2, means=[[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], blocks=3, block=10)
    model = ToyLSTM(stream.seeds, "post", n_tasks=3, size=2, hidden=6)
    read = Samples(model, stream.x, window=4)
    assert len(read) == 26
    said = read.says(read.given(7), PURE)
    for slot in range(3):
        expected = model(stream.x[:, 7:11], PURE[:, slot])[:, -1]
        torch.testing.assert_close(said[:, slot], expected)
    loss = read.loss(said, 7)
    torch.testing.assert_close(loss[:, 1], gaussian_nll(said[:, 1:2], stream.x[:, 11:12], 1.0))
    assert read.spread.shape == (2,)


def test_words_of_a_chunk_cost_their_log_probabilities():
    draw = torch.Generator().manual_seed(0)
    model = WordSlots(torch.randn(9, generator=draw), slots=3, seed=1, start=1.0)
    words = torch.randint(9, (2, 5, 4), generator=draw)
    read = Words(model, words)
    assert len(read) == 5
    loss = read.loss(read.says(read.given(3), PURE), 3)
    log_p = (model.bias + model.entry).log_softmax(-1)
    torch.testing.assert_close(loss, -log_p[:, words[:, 3]].sum(-1).mT)
    middle = read.says(read.given(3), torch.full((2, 1, 3), 1 / 3))
    torch.testing.assert_close(middle[0, 0], model.bias + model.entry.mean(0))


def test_slots_start_apart_and_the_same_for_one_seed():
    first, again, other = (WordSlots(torch.zeros(9), 3, seed).entry.detach() for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.std()) == pytest.approx(0.1, rel=0.4)
    assert torch.pdist(first).min() > 0
