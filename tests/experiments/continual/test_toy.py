from __future__ import annotations

import pytest
import torch

from gbi_helpers.continual import Context
from gbi_helpers.data.toy import switching_stream
from gbi_helpers.experiments.continual import toy
from gbi_helpers.experiments.results import plain
from gbi_helpers.experiments.toy.modules import forgetting
from gbi_helpers.experiments.toy.recipes import train
from gbi_helpers.models.toy import ToyLSTM

EVERY = torch.ones(1, dtype=torch.bool)


def block(n=8, value=None, seeds=2):
    """A block of windows as a method meets it, all samples of one value if given."""
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, seeds, 5, 1, generator=draw) for _ in range(2))
    z = torch.eye(2)[0].expand(n, seeds, 5, 2)
    return Context((x if value is None else torch.full_like(x, value), z), y, EVERY)


def net(seeds=2):
    return toy.Stacked(ToyLSTM(seeds, hidden=4))


@pytest.mark.parametrize("name", toy.ROWS)
def test_every_row_tells_of_each_seed_that_is_asked(name):
    row = toy.ROWS[name]
    found = row.measure(None, [0, 1], {**row.settings, **toy.SMALL[name]})
    assert set(found) == {0, 1}
    ways = {"given", "inferred", "uniform"} if row.settings["network"] == toy.GBI else {"given"}
    assert ways == set(found[0]) & {"given", "inferred", "uniform"}
    assert len(found[1]["given"]["blocks"]["previous"]) == 5  # of six, the first has none before it
    assert len(found[1]["given"]["curve"]["seen"]) <= 60
    assert found[0]["given"]["previous"] != found[1]["given"]["previous"]


def test_a_seed_is_the_same_whoever_is_measured_beside_it():
    row = toy.ROWS["toy/replay_50"]
    settings = {**row.settings, **toy.SMALL["toy/replay_50"]}  # two in a stack
    alone, all_four = (row.measure(None, seeds, settings) for seeds in ([1, 0], [0, 1, 2, 3]))
    assert list(alone) == [1, 0]
    for seed in (0, 1):
        assert plain(alone[seed]) == plain(all_four[seed])
    assert plain(row.measure(None, [3], settings)[3]) == plain(all_four[3])
    assert len({float(one["given"]["previous"]) for one in all_four.values()}) == 4


def test_a_plain_learner_is_that_of_chapter_03():
    stream = switching_stream(2, blocks=4, block=20)
    for variant in ("lstm", "post"):
        found = toy.through(stream, {"variant": variant}, toy.Plain(), [80], rows=50)[80]
        expected = forgetting(train(stream, variant), rows=50)
        for way, both in expected.items():
            for on, value in both.items():
                torch.testing.assert_close(found[way][on], value)


def test_the_end_of_the_stream_is_no_news_to_who_looks_before_it():
    long = switching_stream([0], blocks=4, block=20)
    short = toy._until(long, 60)
    one, other = (toy.through(s, toy.LSTM, toy.StreamEWC(10.0), [60], rows=20)[60] for s in (long, short))
    assert torch.equal(one["given"]["previous"], other["given"]["previous"])


def test_stiffness_is_the_curvature_of_the_squared_error():
    """For the readout's bias the loss is quadratic with curvature 2, in every seed."""
    context = block(n=400)
    found = toy.gaussian_fisher(net(), context.inputs, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found["net.bias_out"], torch.full((2, 1), 2.0), rtol=0.2, atol=0)


def test_old_springs_fade_and_move():
    model, fading = net(), toy.StreamEWC(1.0, decay=0.5)
    fading.after(model, block())
    first = fading.springs[0][0]["net.weight_out"].clone()
    with torch.no_grad():
        model.net.weight_out.zero_()  # so that nothing but the readout itself can matter now
    assert float(fading.penalty(model).detach()) > 0
    lasting = toy.StreamEWC(1.0, decay=1.0)
    lasting.springs = [({n: v.clone() for n, v in how.items()}, rest) for how, rest in fading.springs]
    lasting.draw.set_state(fading.draw.get_state())
    for method in (fading, lasting):
        method.after(model, block())
        assert len(method.springs) == 1
        assert float(method.penalty(model).detach()) == 0
    gone = lasting.springs[0][0]["net.weight_out"] - fading.springs[0][0]["net.weight_out"]
    torch.testing.assert_close(gone, first / 2)


def test_to_answer_as_before_costs_nothing():
    model, method, context = net(), toy.StreamLwF(3.0), block()
    method.after(model, context)
    plain = toy.Plain()
    args = (model, context.inputs, context.y, EVERY)
    torch.testing.assert_close(method.loss(*args), plain.loss(*args))
    with torch.no_grad():
        model.net.bias_out += 1.0
    torch.testing.assert_close(method.loss(*args), plain.loss(*args) + 3.0 * 2)  # moved by 1 in each of two seeds
    assert method.stored > 0


def test_the_store_holds_as_many_stretches_of_each_block():
    model, method = net(), toy.StreamReplay(12, batch_size=4)
    for number in range(4):
        method.after(model, block(n=20, value=float(number)))
        assert len(method.y) == 12
    counts = torch.bincount(method.inputs[0][:, 0, 0, 0].long(), minlength=4)
    assert counts[3] == 3
    assert (counts > 0).all()
    assert method.stored == 12 * 2 * 6 * 4  # windows of two seeds, six samples each


def test_settings_are_chosen_on_held_out_streams_alone(monkeypatch):
    """The second setting is better on held-out streams, the first one on the seeds' own: the second it is."""
    errors = iter(([0.0, 0.0, 1.0], [1.0, 1.0, 0.0]))

    def told(stream, network, method, at, rows):
        value = torch.tensor(next(errors))
        return {seen: {"given": {"previous": value, "current": value}} for seen in at}

    monkeypatch.setattr(toy, "through", told)
    row = toy.ROWS["toy/ewc_50"]
    found = row.measure(None, [1], {**row.settings, **toy.SMALL["toy/ewc_50"]})
    assert found[1]["chosen"] == row.settings["options"][1]
    assert found[1]["tried"]["test"].tolist() == [0.0, 1.0]
    assert float(found[1]["given"]["previous"]) == 1.0


def test_bayes_is_the_floor():
    """Half the distance squared, if nothing told the means apart; nothing, if one sample did."""
    far, near = (switching_stream(1, sd=sd, blocks=2, block=10) for sd in (0.01, 100.0))
    assert toy.bayes(far) < 1e-6
    assert toy.bayes(near) == pytest.approx(0.09, rel=0.01)
