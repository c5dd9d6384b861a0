from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from gbi_helpers import metrics
from gbi_helpers.continual import EWC, SI, Context, FineTuning, LwF, Replay, fisher, learn, logits
from gbi_helpers.models.gated import GatedMLP

ALL = torch.ones(4, dtype=torch.bool)


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))


def contexts(scenario="class", n=200):
    """Two contexts of two classes each, which lie around four corners."""
    draw = torch.Generator().manual_seed(0)
    corners = 2 * torch.randn(4, 6, generator=draw)
    made = []
    for i in (0, 1):
        y = torch.arange(n) % 2 + 2 * i
        x = corners[y] + torch.randn(n, 6, generator=draw)
        outputs = {"class": torch.arange(4) < 2 * i + 2, "task": torch.arange(4) // 2 == i}[scenario]
        made.append(Context((x,), y, outputs))
    return made


def run(method, scenario="class", steps=150):
    told, model = contexts(scenario), net()

    def test(i):
        now = told[i].outputs if scenario == "class" else None
        answers = [logits(model, c.inputs, c.outputs if now is None else now).argmax(1) for c in told]
        return [metrics.accuracy(answer, c.y) for answer, c in zip(answers, told, strict=True)]

    return learn(model, told, method, test, steps=steps, lr=1e-2), model


def test_outputs_that_do_not_count_are_impossible():
    answer = logits(net(), (torch.randn(3, 6),), torch.tensor([True, False, True, False])).softmax(1)
    assert (answer[:, [1, 3]] == 0).all()


def test_fine_tuning_forgets_and_each_method_forgets_less():
    bare, _ = run(FineTuning())
    assert bare.diagonal().min() > 95
    assert bare[1, 0] < 20
    for method, scenario in (
        (Replay(40, batch_size=64), "class"),
        (LwF(), "task"),
        (EWC(1e3), "task"),
        (SI(10), "task"),
    ):
        kept, _ = run(method, scenario)
        assert kept[1, 0] > 90, method
        assert method.stored > 0


def test_fisher_is_the_mean_of_squared_gradients_of_single_images():
    model, x = net(), torch.randn(60, 6)
    found = fisher(model, (x,), ALL, torch.Generator().manual_seed(3))
    y = torch.multinomial(model(x).softmax(1), 1, generator=torch.Generator().manual_seed(3))[:, 0]
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for i in range(60):
        model.zero_grad()
        functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
        for name, p in model.named_parameters():
            total[name] += p.grad.square() / 60
    for name, value in total.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-7)


def test_the_springs_pull_is_the_second_order_of_the_loss_around_the_old_weights():
    """With strength 1 and Fisher of all sampled labels, EWC is what a Gaussian around w* says of -log p per image."""
    model, x = net(), torch.randn(4_000, 6)
    ewc = EWC(1.0, samples=4_000)
    ewc.after(model, Context((x,), torch.zeros(4_000, dtype=torch.long), ALL))
    assert float(ewc.penalty(model).detach()) == 0
    before = model(x).log_softmax(1).detach()
    with torch.no_grad():
        model[2].bias += torch.tensor([0.02, 0.0, 0.0, 0.0])  # one weight, so a diagonal Fisher is all of it
    moved = (before.exp() * (before - model(x).log_softmax(1))).sum(1).mean()  # KL, nats
    assert float(ewc.penalty(model).detach()) == pytest.approx(float(moved.detach()), rel=0.1)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n=st.integers(1, 70),
    strength=st.floats(0.1, 1e4),
    move=st.floats(-2, 2),
    place=st.integers(0, 10_000),
    seen=st.integers(2, 4),
)
def test_moving_one_weight_costs_the_mean_squared_slope_of_single_log_likelihoods(seed, n, strength, move, place, seen):
    """EWC's energy against autograd of the log-likelihood, an image at a time."""
    model, outputs = net(seed), torch.arange(4) < seen
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    ewc = EWC(strength, samples=n, seed=seed)
    ewc.after(model, Context((x,), torch.zeros(n, dtype=torch.long), outputs))
    draw = torch.Generator().manual_seed(seed)  # the labels that EWC drew from the model's answers, once more
    x = x[torch.randperm(n, generator=draw)]
    y = torch.multinomial(logits(model, (x,), outputs).softmax(1), 1, generator=draw)

    rest = nn.utils.parameters_to_vector(model.parameters()).detach()
    way = functional.one_hot(torch.tensor(place % len(rest)), len(rest)).float()

    def log_likelihood(vector):
        parts = vector.split([p.numel() for p in model.parameters()])
        weights = {name: part.view_as(p) for (name, p), part in zip(model.named_parameters(), parts, strict=True)}
        answer = torch.func.functional_call(model, weights, (x,))
        return answer.masked_fill(~outputs, -torch.inf).log_softmax(1).gather(1, y)[:, 0]

    slopes = torch.autograd.functional.jacobian(log_likelihood, rest) @ way
    nn.utils.vector_to_parameters(rest + move * way, model.parameters())
    moved = nn.utils.parameters_to_vector(model.parameters()).detach() - rest  # as rounded
    expected = strength / 2 * moved.square().sum() * slopes.square().mean()
    torch.testing.assert_close(ewc.penalty(model).detach(), expected, rtol=1e-3, atol=1e-6 * strength)


@settings(max_examples=20, deadline=None)
@given(strength=st.floats(0.1, 100), contexts=st.integers(1, 4), size=st.floats(0.01, 1))
def test_where_no_weight_has_moved_between_contexts_online_springs_are_separate_ones(strength, contexts, size):
    online, separate = (EWC(strength, samples=20, separate=separate) for separate in (False, True))
    for i in range(contexts):
        x = torch.randn(20, 6, generator=torch.Generator().manual_seed(i))
        for ewc in (online, separate):
            ewc.after(net(), Context((x,), torch.zeros(20, dtype=torch.long), ALL))
    model = net()
    assert float(online.penalty(model).detach()) == float(separate.penalty(model).detach()) == 0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += size * torch.randn_like(parameter)
    torch.testing.assert_close(online.penalty(model), separate.penalty(model), rtol=1e-4, atol=0)
    assert float(online.penalty(model).detach()) > 0


@pytest.mark.parametrize("separate", [False, True])
def test_springs_of_two_contexts_add_up(separate):
    ewc, (first, second) = EWC(2.0, separate=separate), contexts()
    for seed, context in enumerate((first, second)):
        ewc.after(net(seed), context)
    assert len(ewc.springs) == (2 if separate else 1)
    (stiff, rest) = ewc.springs[-1]
    assert all(torch.equal(rest[name], p) for name, p in net(1).named_parameters())
    alone = EWC(2.0)
    alone.after(net(0), first)
    assert all((stiff[name] >= alone.springs[0][0][name]).all() for name in stiff) != separate


def test_credit_adds_up_to_the_loss_that_was_lost():
    """The path integral of the gradient is the fall of the loss: small steps of plain descent on one batch."""
    (context, _), model, si = contexts(), net(), SI(0.0)
    descent = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = []
    for step in range(200):
        si.note(model, step)
        loss = si.loss(model, context.inputs, context.y, context.outputs)
        losses.append(float(loss.detach()))
        descent.zero_grad()
        loss.backward()
        descent.step()
    si.note(model, 200)
    last = float(si.loss(model, context.inputs, context.y, context.outputs).detach())
    assert float(sum(part.sum() for part in si.credit.values())) == pytest.approx(losses[0] - last, rel=0.01)


def test_credit_leaves_the_springs_own_gradient_out():
    (first, second), model, si = contexts(), net(), SI(5.0)
    learn(model, [first], si, lambda i: [0.0], steps=20)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1
    si.note(model, 0)
    gradients = []
    for method in (si, FineTuning()):
        loss = method.loss(model, second.inputs, second.y, second.outputs)
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    for (name, _), whole, own in zip(model.named_parameters(), *gradients, strict=True):
        torch.testing.assert_close(whole - si._pull(name), own, rtol=1e-4, atol=1e-5)


def test_lwf_keeps_the_widest_of_nested_outputs_and_all_separate_ones():
    for scenario, kept in (("class", 1), ("task", 2)):
        lwf = LwF()
        for context in contexts(scenario):
            lwf.after(net(), context)
        assert len(lwf.known) == kept


def test_lwf_asks_for_the_old_answers_by_share_of_contexts():
    (first, second), lwf, model = contexts("task"), LwF(temperature=2.0), net()
    lwf.after(model, first)
    new = FineTuning().loss(model, second.inputs, second.y, second.outputs)
    answer = (model(*second.inputs)[:, :2] / 2).softmax(1)
    same = -(answer * answer.log()).sum(1).mean()  # nothing has moved yet, so only the answers' own entropy
    found = lwf.loss(model, second.inputs, second.y, second.outputs)
    assert float(found.detach()) == pytest.approx(float((new / 2 + 4 * same / 2).detach()), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(8, 60), seed=st.integers(0, 1000), counts=st.lists(st.integers(1, 50), min_size=2, max_size=4))
def test_replay_holds_as_many_of_each_class_as_there_are_places(size, seed, counts):
    y = torch.cat([torch.full((n,), label) for label, n in enumerate(counts)])
    replay = Replay(size, seed=seed)
    for part in (y[y < 2], y[y >= 2]):  # two contexts, the second perhaps of none
        if len(part):
            replay.after(net(), Context((torch.randn(len(part), 6),), part, ALL))
    held, there = torch.bincount(replay.y, minlength=len(counts)), torch.tensor(counts)
    assert int(held.sum()) == min(size, int(there.sum()))
    assert held[held < there].tolist() == pytest.approx([int(held.max())] * int((held < there).sum()), abs=1)


@settings(max_examples=30, deadline=None)
@given(places=st.integers(1, 10), seed=st.integers(0, 1000), contexts=st.integers(2, 8), classes=st.integers(1, 4))
def test_a_store_is_shared_by_contexts_where_classes_come_back(places, seed, contexts, classes):
    """As with pixels in another order, or in the domain scenario: by class alone the last context would have it all."""
    replay, y = Replay(places * contexts * classes, seed=seed), torch.arange(classes).repeat(40)
    for _ in range(contexts):
        replay.after(net(), Context((torch.randn(len(y), 6),), y, ALL))
    held = torch.bincount(replay.y * contexts + replay.when, minlength=contexts * classes).view(classes, contexts)
    assert (held == places).all()


def test_replay_counts_outputs_of_now_where_they_include_those_of_then():
    for scenario, expected in (("class", 4), ("task", 2)):
        (first, second), replay, model = contexts(scenario), Replay(20), net()
        replay.after(model, first)
        with torch.no_grad():  # an output that is sure of itself, and counts only if all seen so far do
            model[2].bias += torch.tensor([0.0, 0.0, 50.0, 0.0])
        again = float(replay._again(model, second.outputs).detach())
        assert (again > 20) == (expected == 4)


def test_dark_experience_asks_for_the_logits_of_then():
    (first, second), model = contexts(), net()
    bare, dark = Replay(20), Replay(20, logits=1.0)
    for replay in (bare, dark):
        replay.after(model, first)
    args = (model, second.inputs, second.y, second.outputs)
    assert float(bare.loss(*args).detach()) == pytest.approx(float(dark.loss(*args).detach()))  # nothing has moved
    with torch.no_grad():
        model[2].bias += 1.0  # no softmax sees that
    assert float(dark.loss(*args).detach()) > float(bare.loss(*args).detach()) + 0.5


def test_gates_leave_the_right_share_on_and_z_mixes_them():
    model = GatedMLP([6, 10, 10, 4], n_tasks=3, off=0.4)
    assert all((gate.sum(1) == 6).all() for gate in model.gates())
    assert not torch.equal(model.gates()[0][0], model.gates()[0][1])
    x, z = torch.randn(5, 6), torch.eye(3)[torch.tensor([0, 1, 2, 0, 1])]
    by_hand = (model.layers[0](x).relu() * model.gates()[0][[0, 1, 2, 0, 1]]) @ model.layers[1].weight.T
    torch.testing.assert_close(
        model(x, z),
        model.layers[2]((by_hand + model.layers[1].bias).relu() * model.gates()[1][[0, 1, 2, 0, 1]]),
    )
    plain = GatedMLP([6, 10, 4], n_tasks=3, off=0.0)
    torch.testing.assert_close(plain(x, z), plain.layers[1](plain.layers[0](x).relu()))


def test_a_gated_network_learns_contexts_and_its_fisher_sees_its_gates():
    model, ewc = GatedMLP([6, 12, 4], n_tasks=2, off=0.5), EWC(10.0)
    told = [Context((c.inputs[0], torch.eye(2)[i].expand(len(c.y), 2)), c.y, ALL) for i, c in enumerate(contexts())]
    learn(model, told, ewc, lambda i: [0.0, 0.0], steps=30)
    only_first = EWC(10.0)
    only_first.after(model, told[0])
    off = model.gates()[0][0] == 0
    assert (only_first.springs[0][0]["layers.0.weight"][off] == 0).all()


R = torch.tensor([[100.0, 20, 30], [80, 90, 40], [60, 95, 70]], dtype=torch.float64)


def test_what_r_says():
    assert metrics.final_accuracy(R) == pytest.approx(75)
    assert metrics.learning_accuracy(R) == pytest.approx(260 / 3)
    assert metrics.forgetting(R) == pytest.approx((40 + 0) / 2)
    assert metrics.backward_transfer(R) == pytest.approx((-40 + 5) / 2)


def test_r_may_be_unknown_where_contexts_are_yet_to_come():
    partly = R.clone()
    partly[0, 1:], partly[1, 2] = torch.nan, torch.nan
    assert metrics.forgetting(partly) == metrics.forgetting(R)
    with pytest.raises(ValueError, match="a row and a column for each"):
        metrics.forgetting(R[:2])


def test_same_seed_same_learner():
    one, other = run(Replay(20), steps=20), run(Replay(20), steps=20)
    assert torch.equal(one[0], other[0])


class Counting(nn.Sequential):
    """How many samples were in each pass."""

    def forward(self, x):
        seen.append(len(x))
        return super().forward(x)


seen = []


def test_a_store_without_old_answers_asks_for_none():
    told, model = contexts(), Counting(*net())
    seen.clear()
    learn(model, told, Replay(20), lambda i: [0.0, 0.0], steps=3)
    assert max(seen) == 64
    learn(model, told, Replay(20, logits=1.0), lambda i: [0.0, 0.0], steps=3)
    assert max(seen) == 200


@pytest.mark.parametrize("part", [nn.Dropout(0.5), nn.BatchNorm1d(8)], ids=["dropout", "batch norm"])
def test_fisher_is_that_of_the_network_as_it_is_tested(part):
    linear, _, last = net()
    model, (first, second) = nn.Sequential(linear, nn.ReLU(), part, last).train(), contexts()
    r = learn(model, [first, second], EWC(1.0), lambda i: [0.0, 0.0], steps=3)
    assert r.shape == (2, 2)
    assert model.training
    one, two = (fisher(m, first.inputs, ALL, torch.Generator().manual_seed(0)) for m in (model, model.eval()))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_weights_that_never_move_matter_to_no_context():
    model, si = net(), SI(1.0)
    model[0].requires_grad_(False)
    learn(model, contexts(), si, lambda i: [0.0, 0.0], steps=5)
    stiffness = si.springs[-1][0]
    assert (stiffness["0.weight"] == 0).all()
    assert (stiffness["2.weight"] > 0).any()


@pytest.mark.parametrize("y", [torch.tensor([0, 3]), torch.tensor([0, 4]), torch.tensor([0, -1])])
def test_a_class_that_cannot_be_answered_is_refused(y):
    with pytest.raises(ValueError, match=r"not among the outputs .* set outputs\[y\] to True"):
        Context((torch.randn(2, 6),), y, torch.arange(4) < 3)


def test_words_and_numbers_are_no_classes():
    """Methods with another likelihood than that of classes have no outputs to leave out."""
    for y in (torch.full((2, 5), 7), torch.randn(2)):
        Context((torch.randn(2, 6),), y, torch.ones(1, dtype=torch.bool))


@pytest.mark.parametrize("sizes", [{"size": 0}, {"size": 5, "batch_size": 0}])
def test_a_store_that_holds_or_shows_nothing_is_refused(sizes):
    with pytest.raises(ValueError, match="must be 1 or more"):
        Replay(**sizes)


def test_old_answers_are_those_without_dropout():
    (first, _), replay = contexts("class"), Replay(20, logits=1.0)
    model = nn.Sequential(nn.Dropout(0.5), *net())
    replay.after(model.train(), first)
    assert model.training
    torch.testing.assert_close(replay.answers, model.eval()(*replay.inputs))


def test_old_outputs_within_wider_old_ones_are_not_asked_twice():
    method = LwF()
    for outputs in (ALL, torch.arange(4) < 2):
        method.after(net(), Context((torch.zeros(2, 6),), torch.zeros(2, dtype=torch.long), outputs))
    assert [known.tolist() for known in method.known] == [ALL.tolist()]


def third(method, scenario="task"):
    """Two contexts are behind the method; the model, and what a third would ask: its loss, and its new part alone."""
    told, model = contexts(scenario), net()
    for one in told:
        method.after(model, one)
    batch = told[1].inputs, told[1].y, ALL
    return model, method.loss(model, *batch), FineTuning().loss(model, *batch)


def test_in_a_third_context_new_images_weigh_a_third_beside_stored_ones():
    method = Replay(20, batch_size=99)
    model, found, new = third(method)
    raw = model(*method.inputs)
    count = torch.where((ALL | ~method.outputs).all(1, keepdim=True), ALL, method.outputs)
    again = functional.cross_entropy(raw.masked_fill(~count, -torch.inf), method.y)
    torch.testing.assert_close(found, new / 3 + 2 / 3 * again)


def test_in_a_third_context_old_answers_share_two_thirds():
    method = LwF(temperature=2.0)
    model, found, new = third(method)
    now = model(*contexts("task")[1].inputs) / 2
    each = [functional.cross_entropy(now[:, k], now[:, k].softmax(1)) for k in method.known]
    assert len(each) == 2
    torch.testing.assert_close(found, new / 3 + 2 / 3 * 4 * torch.stack(each).mean())
    assert not method.old.training


def test_a_credit_becomes_stiffness_by_the_way_travelled_and_never_pushes():
    method, model = SI(1.0), nn.Linear(1, 1, bias=False)
    method.note(model, 0)
    for credit, stiff in ((3.0, 3 / 4.1), (-3.0, 0.0)):
        method.began = {"weight": model.weight.detach() - 2}
        method.credit = {"weight": torch.tensor([[credit]])}
        method.springs = []
        method.after(model, None)
        torch.testing.assert_close(method.springs[0][0]["weight"], torch.tensor([[stiff]]))
    method.note(model, 0)
    assert torch.equal(method.began["weight"], model.weight)  # the way of the next context begins here


def test_old_answers_count_only_the_outputs_of_then_and_are_counted_as_bytes():
    told, model = contexts("task"), net()
    method = Replay(20, logits=1.0)
    method.after(model, told[0])
    batch = told[1].inputs, told[1].y, told[1].outputs
    before = method.loss(model, *batch) - FineTuning().loss(model, *batch) / 2
    with torch.no_grad():
        model[2].bias[2:] += 5  # outputs of the context to come
    after = method.loss(model, *batch) - FineTuning().loss(model, *batch) / 2
    torch.testing.assert_close(before, after)
    assert method.stored == 20 * (6 + 1) + 20 * 4 * 4


def test_another_seed_is_another_learner():
    def learned(seed):
        model = net()
        learn(model, contexts(), FineTuning(), lambda i: [0.0, 0.0], steps=5, seed=seed, lr=1e-2)
        return model[0].weight

    assert not torch.equal(learned(0), learned(1))
