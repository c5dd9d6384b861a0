"""Learners that are looked at while they learn: they learn the same, and the record says what they believed."""

import numpy as np
import pytest
import torch
from torch import nn

from gbi_helpers.continual import SI, Context, FineTuning, learn
from gbi_helpers.models.streaming import StreamedMeans
from gbi_helpers.watching import Watched, Watcher, parts


def stream(contexts=3, n=40, seed=0):
    """Two classes a context, each around a corner of its own."""
    draw = torch.Generator().manual_seed(seed)
    made = []
    for i in range(contexts):
        y = torch.arange(n) % 2 + 2 * i
        x = 3 * torch.eye(2 * contexts)[y] + 0.3 * torch.randn(n, 2 * contexts, generator=draw)
        made.append(Context((x,), y, torch.arange(2 * contexts) // 2 <= i))
    return made


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Dropout(0.1), nn.Linear(12, 6))


def test_a_method_that_is_watched_learns_the_same_and_is_seen_at_the_steps_asked_for():
    weights, moments, modes = [], [], []
    for watched in (False, True):
        model, method = network(), SI(10.0)

        def look(i, step, model=model):
            moments.append((i, step))
            modes.append((model.training, torch.is_grad_enabled()))

        told = Watched(method, look, at=(1, 4, 6)) if watched else method
        learn(model, stream(), told, lambda i: [0.0] * 3, steps=6, batch_size=20)
        weights.append(nn.utils.parameters_to_vector(model.parameters()))
        assert told.stored == method.stored > 0
        assert model.training
    assert torch.equal(*weights)
    assert moments == [(i, step) for i in range(3) for step in (1, 4, 6)]
    assert set(modes) == {(False, False)}


def test_a_model_in_evaluation_mode_is_still_in_it_after_a_look():
    model = network().eval()
    Watched(FineTuning(), lambda i, step: None, at=(1,)).note(model, 1)
    assert not any(part.training for part in model.modules())


def test_a_part_that_was_frozen_is_still_frozen_after_a_look():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    model[1].eval()
    Watched(FineTuning(), lambda i, step: None, at=(1,)).note(model, 1)
    assert [part.training for part in model.modules()] == [True, True, False]


def test_parts_of_a_context_are_all_of_it_in_proportion_to_the_steps():
    (context, *_) = stream()
    cut = list(parts(context, at=(5, 50, 200)))
    assert [(step, len(y)) for step, _, y in cut] == [(5, 1), (50, 9), (200, 30)]
    assert torch.equal(torch.cat([x for _, (x,), _ in cut]), context.inputs[0])
    assert torch.equal(torch.cat([y for *_, y in cut]), context.y)


def test_a_network_and_sums_that_learn_side_by_side_make_a_record():
    train, at = stream(), (2, 5, 10)
    asked = stream(seed=1)
    x, y = torch.cat([each.inputs[0] for each in asked]), torch.cat([each.y for each in asked])
    shown = torch.tensor([0, 1, 41, 80])
    seen = Watcher(torch.rand(4, 28, 28), y, y // 2, shown)
    model = network()

    def look(i, step):
        seen.note("network", i, step, model(x)[:, : 2 * i + 2].softmax(1))

    learn(model, train, Watched(FineTuning(), look, at), lambda i: [0.0] * 3, steps=10, batch_size=20)
    sums = StreamedMeans(6)
    for i, context in enumerate(train):
        for step, (part,), digits in parts(context, at):
            sums.add(part, digits)
            q = (-(x.double()[:, None] - sums.means).square().sum(2)).softmax(1)
            seen.note("sums", i, step, q, means=sums.means[:, :4].reshape(-1, 2, 2).repeat(1, 14, 14))
    record = seen.record(gates=torch.ones(3, 5))
    assert (record.learners, record.contexts) == (["network", "sums"], ["0, 1", "2, 3", "4, 5"])
    assert record.context.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert record.step.tolist() == [2, 5, 10] * 3
    assert record.y.tolist() == y[shown].tolist()
    assert record.known.sum(1).tolist() == [2, 2, 2, 4, 4, 4, 6, 6, 6]
    assert record.means.shape == (9, 6, 28, 28)
    assert record.r[1, -1].tolist() == [100.0] * 3
    assert not record.q[:, 2, :, 2:].any()  # four classes of which nobody had heard
    now = model.eval()(x)
    torch.testing.assert_close(record.q[0, -1], now[shown].softmax(1))
    right = (now.argmax(1) == y).double().view(3, 40).mean(1)
    np.testing.assert_allclose(record.r[0, -1], 100 * right)
    assert record.r[0].isnan().any(0).tolist() == [False, True, True]


def test_learners_seen_at_other_moments_and_beliefs_of_another_shape_are_refused():
    y = torch.tensor([0, 1, 2, 3])
    seen = Watcher(torch.rand(1, 28, 28), y, y // 2, torch.tensor([0]))
    with pytest.raises(ValueError, match="Note at least one learner"):
        seen.record()
    for q in (torch.ones(3, 2) / 2, torch.ones(4, 5) / 5, torch.ones(4) / 4):
        with pytest.raises(ValueError, match="at most 4 classes for each of the 4 test images"):
            seen.note("one", 0, 5, q)
    seen.note("one", 0, 5, torch.ones(4, 2) / 2)
    seen.note("two", 0, 6, torch.ones(4, 2) / 2)
    with pytest.raises(ValueError, match="all learners at the same steps"):
        seen.record()
    seen.note("one", 0, 6, torch.ones(4, 2) / 2)
    seen.note("two", 0, 5, torch.ones(4, 2) / 2, means=torch.ones(2, 28, 28))
    with pytest.raises(ValueError, match="Means were noted at some moments only"):
        seen.record()


def test_a_look_that_draws_changes_nothing_of_the_training():
    model = torch.nn.Linear(1, 1)
    draws = []
    for look in (lambda i, step: None, lambda i, step: torch.rand(3)):
        torch.manual_seed(0)
        Watched(FineTuning(), look, at=(0,)).note(model, 0)
        draws.append(torch.rand(1))
    assert torch.equal(*draws)
