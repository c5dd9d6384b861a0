from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from gbi_helpers.records import TrainingRecord
from gbi_helpers.training import _rate, _Run, fit

X = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]]) + 1


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.ReLU(), nn.Linear(8, 1))


def squared(model):
    return lambda batch: functional.mse_loss(model(batch[0]), batch[1])


OPTIONS = {"epochs": 8, "batch_size": 20, "lr": 1e-2, "average": 0.9, "warm_up": 5}


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.state_dict().values()])  # BatchNorm's statistics too


def test_it_learns_and_records_each_step():
    model = nn.Linear(4, 1)
    record = fit(model, squared(model), (X, Y), epochs=60, batch_size=20, lr=5e-2)
    assert record.loss.shape == (600,)
    assert record.loss[-20:].mean() < 0.01 < record.loss[:20].mean()
    assert record.facts["steps"] == 600
    assert 0 < record.facts["cpu_seconds"] < 1000


def test_same_seed_same_weights_other_seed_others():
    first, second, third = network(), network(), network()
    for model, seed in ((first, 1), (second, 1), (third, 2)):
        fit(model, squared(model), (X, Y), seed=seed, **OPTIONS)
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(third))


def test_callers_random_state_is_left_alone():
    model = nn.Linear(4, 1)
    state = torch.get_rng_state()
    fit(model, squared(model), (X, Y), epochs=1, batch_size=20)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_on_the_cpu_seeds_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("the caller's GPUs were seeded"))
    model = nn.Linear(4, 1)
    fit(model, squared(model), (X, Y), epochs=1, batch_size=20)


class StopError(Exception):
    pass


@pytest.mark.parametrize("stop_at", [3, 33, 79])
def test_resumed_run_equals_an_uninterrupted_one(tmp_path, stop_at):
    def watch(step):
        return {"step": step}

    whole = network()
    expected = fit(whole, squared(whole), (X, Y), watch=watch, **OPTIONS)

    broken, calls = network(), 0

    def failing(batch):
        nonlocal calls
        calls += 1
        if calls > stop_at:
            raise StopError
        return squared(broken)(batch)

    path = tmp_path / "run.pt"
    with pytest.raises(StopError):
        fit(broken, failing, (X, Y), watch=watch, resume=path, save_every=0, **OPTIONS)
    assert path.exists()
    assert list(tmp_path.iterdir()) == [path]  # no part file left

    again = network()  # a fresh process starts from fresh weights
    torch.manual_seed(123)
    record = fit(again, squared(again), (X, Y), watch=watch, resume=path, save_every=0, **OPTIONS)
    assert torch.equal(weights(again), weights(whole))
    assert torch.equal(record.loss, expected.loss)
    assert torch.equal(record.curves["step"], expected.curves["step"])
    assert not path.exists()


def test_resume_file_of_another_run_or_damaged_is_named(tmp_path):
    path, model = tmp_path / "run.pt", network()

    def stop(batch):
        if len(seen) > 2:
            raise StopError
        seen.append(1)
        return squared(model)(batch)

    seen: list[int] = []
    with pytest.raises(StopError):
        fit(model, stop, (X, Y), resume=path, save_every=0, **OPTIONS)
    other = nn.Linear(4, 1)
    with pytest.raises(ValueError, match="belongs to another run"):
        fit(other, squared(other), (X, Y), resume=path, **OPTIONS)
    with pytest.raises(ValueError, match="belongs to another run"):
        fit(model, squared(model), (X, Y), resume=path, **{**OPTIONS, "lr": 1e-3})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read"):
        fit(model, squared(model), (X, Y), resume=path, **OPTIONS)


def stopped_once_saved(path, model, weight):
    """The loss and options of a run that stops as soon as its file is there, and has."""

    def loss(batch):
        if path.exists():
            raise StopError
        return weight.square()

    told = {"steps": 9, "resume": path, "save_every": 0}
    with pytest.raises(StopError):
        fit(model, loss, lambda step: None, **told)
    return loss, told


@pytest.mark.parametrize(
    "changed",
    [{"seed": 1}, {"schedule": "constant"}, {"warm_up": 9}, {"average": 0.5}, {"batch_size": 7}, {"steps": 8}],
)
def test_a_run_that_differs_in_one_option_alone_does_not_go_on_from_the_file(tmp_path, changed):
    weight = nn.Parameter(torch.tensor(1.0))
    loss, told = stopped_once_saved(tmp_path / "run.pt", [weight], weight)
    with pytest.raises(ValueError, match="belongs to another run"):
        fit([weight], loss, lambda step: None, **told | changed)


@pytest.mark.parametrize(
    ("changed", "buffers"),
    [
        ({"optimizer": torch.optim.SGD}, []),
        ({"optimizer": torch.optim.NAdam}, []),
        ({"optimizer": functools.partial(torch.optim.Adam, weight_decay=1.0)}, []),
        ({}, [nn.BatchNorm1d(1, affine=False)]),
    ],
)
def test_another_optimizer_or_other_buffers_do_not_go_on_from_the_file(tmp_path, changed, buffers):
    weight = nn.Parameter(torch.tensor(1.0))
    model = nn.ParameterList([weight])
    loss, told = stopped_once_saved(tmp_path / "run.pt", model, weight)
    model = nn.ModuleList([model, *buffers])
    with pytest.raises(ValueError, match="belongs to another run"):
        fit(model, loss, lambda step: None, **told | changed)


def test_no_file_is_written_before_its_time_has_come(tmp_path):
    path, weight, there = tmp_path / "run.pt", nn.Parameter(torch.tensor(1.0)), []

    def loss(batch):
        there.append(path.exists())
        return weight.square()

    fit([weight], loss, lambda step: None, steps=5, resume=path, save_every=1e9)
    assert there == [False] * 5


def test_nan_loss_stops_with_the_step_named():
    model = nn.Linear(4, 1)
    with pytest.raises(FloatingPointError, match=r"step 0.*Lower lr"):
        fit(model, lambda batch: model(batch[0]).sum() * float("nan"), (X, Y), epochs=1, batch_size=20)


def test_loss_must_be_one_number():
    model = nn.Linear(4, 1)
    with pytest.raises(ValueError, match="one number"):
        fit(model, lambda batch: model(batch[0]).squeeze(1), (X, Y), epochs=1, batch_size=20)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((X, Y[:5]), {"epochs": 1, "batch_size": 5}, "one length"),
        ((X, Y), {"epochs": 1, "batch_size": 500}, "at least batch_size"),
        ((X, Y), {"batch_size": 20}, "either steps"),
        ((X, Y), {"epochs": 1, "steps": 1, "batch_size": 20}, "either steps"),
        (lambda step: (X, Y), {"epochs": 1}, "steps="),
        (lambda step: (X, Y), {"steps": 3, "epochs": 7}, "no epochs="),
        ((X, Y), {"epochs": 1, "batch_size": 20, "schedule": "linear"}, "'cosine' or 'constant'"),
    ],
)
def test_bad_input_gets_a_clear_sentence(data, options, message):
    model = nn.Linear(4, 1)
    with pytest.raises(ValueError, match=message):
        fit(model, squared(model), data, **options)


def test_every_sample_is_seen_once_an_epoch():
    seen, model = [], nn.Linear(1, 1)

    def loss(batch):
        seen.append(batch[0])
        return model(batch[0]).square().mean()

    fit(model, loss, (torch.arange(20.0)[:, None],), epochs=2, batch_size=5)
    for epoch in (seen[:4], seen[4:]):
        assert sorted(torch.cat(epoch).flatten().tolist()) == list(range(20))
    assert not torch.equal(seen[0], seen[4])


def test_the_order_of_the_samples_depends_on_the_seed():
    orders, weight = [], nn.Parameter(torch.tensor(1.0))

    def loss(batch):
        orders.append(batch[0].tolist())
        return weight.square()

    for seed in (0, 1, 0):
        fit([weight], loss, (torch.arange(50),), epochs=1, batch_size=50, seed=seed)
    assert orders[0] == orders[2] != orders[1]


def test_batches_may_come_from_a_function_of_the_step():
    seen, model = [], nn.Linear(4, 1)
    fit(model, squared(model), lambda step: seen.append(step) or (X[:5], Y[:5]), steps=7)
    assert seen == list(range(7))


def test_parameters_progress_and_watch():
    parameter, shares = nn.Parameter(torch.tensor(3.0)), []

    def loss(batch, done):
        shares.append(done)
        return parameter.square()

    record = fit(
        [parameter], loss, lambda step: None, steps=10, lr=0.1, progress=True, watch=lambda s: {"p": parameter.detach()}
    )
    assert shares == [step / 10 for step in range(10)]
    assert record.curves["p"].shape == (11,)
    assert record.curves["p"][0] == 3 > record.curves["p"][-1]


def path_of_a_weight(slope=1.0, **options):
    """Where a weight stands before each step and after the last: from 0 down a loss that rises by ``slope``."""
    weight = nn.Parameter(torch.tensor(0.0, dtype=torch.float64))
    told = {"lr": 0.1, "schedule": "constant", "warm_up": 0, "optimizer": torch.optim.SGD, **options}
    record = fit(
        [weight], lambda batch: slope * weight, lambda step: None, watch=lambda step: {"weight": weight}, **told
    )
    return record.curves["weight"].tolist()


def test_the_optimiser_that_is_asked_for_takes_the_steps():
    assert path_of_a_weight(slope=3.0, steps=2) == pytest.approx([0.0, -0.3, -0.6])
    adam = path_of_a_weight(slope=3.0, steps=2, optimizer=torch.optim.Adam)
    assert adam == pytest.approx([0.0, -0.1, -0.2])  # as far as the rate, however steep


def test_the_rate_rises_by_equal_parts_until_the_warm_up_is_over():
    assert path_of_a_weight(steps=5, warm_up=4) == pytest.approx([0.0, -0.025, -0.075, -0.15, -0.25, -0.35])


def test_cosine_schedule_ends_at_zero_and_constant_does_not():
    for schedule, still in (("cosine", True), ("constant", False)):
        parameter = nn.Parameter(torch.tensor(0.0))
        record = fit(
            [parameter],
            lambda batch, p=parameter: p + 0,
            lambda step: None,
            steps=100,
            schedule=schedule,
            warm_up=0,
            watch=lambda s, p=parameter: {"p": p.detach()},
        )
        moved = record.curves["p"].diff().abs()
        assert bool(moved[-1] < 0.01 * moved[0]) is still


def test_average_of_weights_replaces_them():
    last, mean = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(0.0))
    for parameter, average in ((last, 0.0), (mean, 0.99)):
        fit([parameter], lambda b, p=parameter: p + 0, lambda s: None, steps=50, schedule="constant", average=average)
    assert last < mean < 0  # both went down; the mean lags


def test_the_average_begins_when_a_fifth_of_the_steps_is_done_and_keeps_the_share_that_is_told():
    before_the_end = [-0.1 * step for step in range(10)]
    mean = -0.2  # after the second of ten steps
    for step in range(3, 11):
        mean = 0.8 * mean + 0.2 * -0.1 * step
    assert path_of_a_weight(steps=10, average=0.8) == pytest.approx([*before_the_end, mean])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"steps": -2}, "steps is -2: give a whole number from 0 up"),
        ({"steps": 2.5}, "steps is 2.5: give a whole number"),
        ({"epochs": 0}, "epochs is 0: give a number above 0"),
        ({"epochs": 0.4, "batch_size": 200}, "epochs is 0.4 of 1 batches, which is no step"),
        ({"epochs": 1, "batch_size": 0}, "batch_size is 0: give a whole number from 1 up"),
        ({"epochs": 1, "average": 1.5}, "average is 1.5: give a decay from 0 to below 1"),
        ({"epochs": 1, "warm_up": -3}, "warm_up is -3: give a number of steps from 0 up"),
    ],
)
def test_numbers_that_mean_nothing_are_refused_before_it_begins(wrong, told):
    model = nn.Linear(4, 1)
    with pytest.raises(ValueError, match=told):
        fit(model, squared(model), (X, Y), **wrong)


def test_no_steps_are_no_training_and_a_part_of_an_epoch_is_some():
    model = nn.Linear(4, 1)
    before = weights(model).clone()
    assert len(fit(model, squared(model), (X, Y), steps=0).loss) == 0
    assert torch.equal(weights(model), before)
    assert len(fit(model, squared(model), (X, Y), epochs=0.4, batch_size=20).loss) == 4


def test_one_tensor_in_the_place_of_a_sequence_is_refused():
    for data in (torch.randn(50, 4), ()):
        with pytest.raises(ValueError, match=r"a sequence of one or more tensors: write \(x,\) for one"):
            fit(nn.Linear(4, 1), lambda batch: batch[0].sum(), data, steps=1, batch_size=4)


def test_numbers_of_numpy_are_taken_as_numbers_by_the_run_and_its_files(tmp_path):
    model, told = nn.Linear(1, 1), {"lr": np.float64(1e-3), "batch_size": np.int64(2), "average": np.float32(0.5)}

    def stopped(batch):
        if calls.append(1) or len(calls) == 2:
            raise KeyboardInterrupt
        return model(batch[0]).sum()

    calls, data = [], (torch.ones(4, 1),)
    asked = {"steps": np.int64(4), "resume": tmp_path / "run", "save_every": 0, **told}
    with pytest.raises(KeyboardInterrupt):
        fit(model, stopped, data, **asked)
    record = fit(model, stopped, data, **asked)
    assert len(record.loss) == 4
    assert TrainingRecord.load(record.save(tmp_path / "record.npz")).facts["steps"] == 4


def test_the_last_watch_leaves_the_callers_random_state_and_depends_on_the_seed():
    drawn = []
    for caller in (1, 2):
        torch.manual_seed(caller)
        state, model = torch.get_rng_state(), nn.Linear(4, 1)
        record = fit(model, squared(model), (X, Y), steps=3, watch=lambda step: {"drawn": torch.rand(())})
        torch.manual_seed(caller)
        assert torch.equal(torch.get_rng_state(), state)
        drawn.append(record.curves["drawn"])
    assert torch.equal(*drawn)


def test_the_rate_of_a_cosine_begins_whole_and_is_half_in_the_middle():
    assert _rate(0, 100, "cosine", 0) == 1
    assert _rate(50, 100, "cosine", 0) == pytest.approx(0.5)


def test_a_resumed_run_counts_the_seconds_before_it_was_stopped(tmp_path):
    def one():
        weights = [nn.Parameter(torch.zeros(1))]
        return _Run(weights, torch.optim.SGD(weights, lr=0.1), {"average": 0.0, "steps": 1})

    first, again = one(), one()
    first.before = (100.0, 7.0)
    first.save(tmp_path / "run.pt")
    again.load(tmp_path / "run.pt")
    wall, cpu = again.times()
    assert 100 <= wall < 160
    assert 7 <= cpu < 67
