"""What one step and K passes cost: exact counts, look-ups that change no loss, ratios below their ceiling."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gbi_helpers.experiments.cost import faster, lookup, wall
from gbi_helpers.experiments.cost.counted import counted, forward_of, kept_by
from gbi_helpers.experiments.cost.decoders import NAMES, all_at_once, asked, chunks
from gbi_helpers.experiments.cost.prices import ROWS, SMALL
from gbi_helpers.experiments.cost.study import STUDY
from gbi_helpers.experiments.runner import run
from gbi_helpers.inference import enumerate_tasks, one_step
from gbi_helpers.meter import flops

every_decoder = pytest.mark.parametrize("name", NAMES)
every_kind = pytest.mark.parametrize("kind", lookup.WORDS)


# -- the decoders ------------------------------------------------------------------------------------------------------
@every_decoder
def test_every_way_gives_the_answer_that_it_is_timed_for(name):
    question = asked(name, 3, 4, dtype=torch.float64)
    found = {way: call() for way, call in wall.ways(question).items()}
    step, exact = one_step(question.rows(), question.z0), enumerate_tasks(question.rows(), question.z0)
    for way in ("bare", "step"):
        torch.testing.assert_close(found[way], step.log_q, rtol=0, atol=1e-9)
    for way in ("batch", "rescored", "loop"):
        torch.testing.assert_close(found[way], exact.log_q, rtol=0, atol=1e-9)
    assert not torch.allclose(step.log_q, exact.log_q, rtol=0, atol=1e-6)  # so the two are told apart


@every_decoder
def test_a_batch_of_passes_is_the_same_in_chunks_of_any_size(name):
    question = asked(name, 3, 4, dtype=torch.float64)
    losses = enumerate_tasks(question.rows(), question.z0).loss
    for rows in (1, 5, 100):
        torch.testing.assert_close(all_at_once(chunks(question, rows), 3), losses, rtol=0, atol=1e-9)


def test_the_same_decoder_comes_every_time_and_the_callers_random_numbers_stay():
    torch.manual_seed(3)
    one, other = asked("mlp", 3, 2), asked("mlp", 3, 2)
    assert torch.equal(one.rows()(one.z0), other.rows()(other.z0))
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after)
    with pytest.raises(ValueError, match="choose one of mlp, conv"):
        asked("rnn", 3)


# -- counts ------------------------------------------------------------------------------------------------------------
FORWARD = {  # FLOPs a sample at K = 10, by hand: 2 for each weight that a sample passes, as often as it does
    "mlp": 2 * (64 * 512 + 10 * 512 + 512 * 512),
    "conv": 2 * (13 * 256 + 256 * 1568 + 49 * 32 * 16 * 16 + 196 * 16 * 16),
    "lstm": 2 * 20 * (4 * 128 * (128 + 10 + 128) + 128 * 2000) + 2 * 10 * 128,
    "gate": 2 * 20 * (4 * 128 * (128 + 128) + 128 * 2000) + 2 * 10 * 128,
    "transformer": 2 * 20 * (2 * 12 * 128 * 128 + 128 * 2000) + 2 * 2 * 10 * 128 + 2 * 2 * 2 * 20 * 20 * 128,
}


@every_decoder
def test_a_forward_is_counted_to_the_last_operation(name):
    assert counted(name, 10, 2)["forward"] == FORWARD[name]


@every_decoder
def test_counts_are_those_of_real_numbers_and_of_the_packages_functions(name):
    shapes, numbers = asked(name, 5, 3, device="meta"), asked(name, 5, 3)
    loss_fn, z0 = numbers.rows(), numbers.z0
    found = counted(name, 5, 3)
    assert found["forward"] * 3 == forward_of(shapes) == forward_of(numbers)
    assert found["step_over_forward"] == flops(one_step, loss_fn, z0) / forward_of(numbers)
    assert found["passes_over_step"] == flops(enumerate_tasks, loss_fn, z0) / flops(one_step, loss_fn, z0)
    assert found["saved"] * 3 == kept_by(shapes) == kept_by(numbers)


@every_decoder
def test_one_step_is_about_two_forwards_and_never_dearer_than_two_passes(name):
    for n_tasks in (2, 10, 10_000):
        found = counted(name, n_tasks)
        assert 1.5 < found["step_over_forward"] < 2.1
        assert found["passes_over_step"] == pytest.approx(n_tasks / found["step_over_forward"], rel=1e-6)
    assert counted(name, 2)["passes_over_step"] > 0.99


def test_the_later_z_enters_the_cheaper_the_step():
    early, late = counted("lstm", 10), counted("gate", 10)
    assert late["step_over_forward"] < 1.7 < 1.9 < early["step_over_forward"]
    assert late["saved"] < 0.8 * early["saved"]


@pytest.mark.parametrize("name", ["lstm", "gate", "transformer"])
def test_ratios_do_not_depend_on_the_length_of_a_text(name):
    short, long = (counted(name, 10, 4, words) for words in (5, 50))
    assert long["forward"] > 9 * short["forward"]
    assert long["step_over_forward"] == pytest.approx(short["step_over_forward"], rel=0.03)


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_prices_of_a_sample_do_not_depend_on_the_number_of_samples(name):
    assert counted(name, 10, 1) == counted(name, 10, 64)


# -- look-ups ----------------------------------------------------------------------------------------------------------
SMALLER = {
    "deep": {"size": 7, "width": 6},
    "added": {"size": 7, "width": 6},
    "linear": {"size": 7},
    "post": {"hidden": 5, "words": 4},
}


@every_kind
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 5), n_tasks=st.integers(2, 9))
def test_the_cheap_way_gives_every_exact_loss_and_the_same_step(kind, seed, batch, n_tasks):
    known = lookup.cheap(kind, n_tasks, batch, seed=seed, **SMALLER[kind])
    loss_fn, z0 = known.question.rows(), known.question.z0
    torch.testing.assert_close(known.all_losses(), enumerate_tasks(loss_fn, z0).loss, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(known.log_q(), one_step(loss_fn, z0).log_q, rtol=1e-4, atol=1e-4)


def test_many_tasks_are_looked_up_in_chunks(monkeypatch):
    monkeypatch.setattr(lookup, "CHUNK", 4)
    known = lookup.cheap("deep", 9, 2, **SMALLER["deep"])
    exact = enumerate_tasks(known.question.rows(), known.question.z0).loss
    torch.testing.assert_close(known.all_losses(), exact, rtol=1e-4, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(n_tasks=st.integers(2, 10_000), size=st.integers(1, 600), width=st.integers(1, 600))
def test_the_advantage_is_the_formulas_and_below_its_ceiling(n_tasks, size, width):
    above = 2 * width * size
    known = lookup.cheap("deep", n_tasks, device="meta", size=size, width=width)
    units = known.before()
    ratio = flops(known.every, units) / flops(known.slope, units)
    assert ratio == lookup.honest_ratio(n_tasks, above, width)
    assert ratio < lookup.ceiling(above, width) == size
    assert 2 * lookup.honest_ratio(size * 2, above, width) == pytest.approx(size)  # half of it at K = F / w


def test_ten_thousand_tasks_are_not_five_thousand_times_dearer_than_one_step():
    (found,) = lookup.counted_ratios("deep", [10_000])
    assert found["naive"] > 5_000
    assert found["whole"] < found["above_z"] < 512
    assert found["above_z"] == pytest.approx(464.4, abs=0.1)


def test_where_one_step_buys_nothing():
    tasks = (10, 100, 1_000, 10_000)
    linear, added, post = (lookup.counted_ratios(kind, tasks) for kind in ("linear", "added", "post"))
    assert [found["whole"] for found in linear] == [1.0] * 4
    assert all(found["whole"] < 1 for found in added)  # all K exact losses are the cheaper
    assert post[0]["whole"] < 1.1  # ten gates on the last layer
    assert all(found["above_z"] < 20 for found in post)  # as many as there are words, and no more
    assert all(found["naive"] > found["tasks"] / 2 - 1 for found in (*linear, *added, *post))  # as one-hots hide it


# -- by the clock, and what is faster ----------------------------------------------------------------------------------
def test_the_tie_lies_between_the_measured():
    row = {2: {"batch": 0.5}, 4: {"batch": 0.8}, 8: {"batch": 1.25}, 16: {"batch": 3.0}}
    assert wall.tie(row, "batch") == pytest.approx(4 * 2**0.5, abs=0.1)
    assert wall.tie({2: {"batch": 1.1}, 4: {"batch": 2.0}}, "batch") == 2
    assert wall.tie({2: {"batch": 0.1}}, "batch") is None
    assert wall.tie({}, "batch") is None


def test_what_takes_too_long_is_left_out():
    found = wall.crossover("gate", (2, 5), (1, 4), gigaflops=0.15, turns=1, seconds=0.0)
    assert {batch: list(row) for batch, row in found["ratios"].items()} == {1: [2, 5], 4: [2]}
    found = wall.crossover("gate", (2, 5), (1, 400), gigaflops=0.1, turns=1, seconds=0.0)
    assert set(found["ratios"]) == set(found["tie"]["batch"]) == {1}


@every_decoder
def test_forward_mode_takes_the_same_step_and_keeps_nothing(name):
    question = asked(name, 3, 2, dtype=torch.float64)
    step = one_step(question.rows(), question.z0)
    first, second, third = torch.eye(3, dtype=torch.float64)
    slopes = [faster.slope_along(question.rows(), question.z0, way - third) for way in (first, second)]
    log_q = torch.log_softmax(-torch.stack([*slopes, torch.zeros(2, dtype=torch.float64)], 1), 1)
    torch.testing.assert_close(log_q, step.log_q, rtol=0, atol=1e-9)
    found = faster.forward_mode(name, batch=2, turns=1, seconds=0.0)
    assert found["saved"] == 0
    assert found["flops"]["step"] > 1.3  # dearer than the step, and than the two passes


def test_what_a_machine_cannot_do_is_one_sentence():
    def fails():
        raise RuntimeError("/home/someone/c++: not found") from OSError("/home/someone")

    assert faster.tried(fails) == "This machine could not do it: PyTorch raised OSError."
    said = faster.tried(faster.compiled, "mlp", 2, 1, 1, 0.0, backend="a compiler that is not there")
    assert said.startswith("This machine could not do it: PyTorch raised ")


def test_without_a_gpu_it_is_said(monkeypatch):
    monkeypatch.setenv("GBI_DEVICE", "cpu")
    assert "No CUDA device" in faster.on_gpu(tuple(NAMES), 10, 4, 1, 0.0)["said"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_all_decoders_are_timed():
    found = faster.on_gpu(**{**ROWS["gpu"].settings, **SMALL["gpu"]})
    assert all(set(found[name]["crossover"]["ratios"]) == {1, 4} and found[name]["half"] for name in NAMES)
    assert found["machine"]["gpu"]


def test_the_machine_is_described_without_its_name_or_paths():
    found = wall.machine()
    assert {"processor", "instructions", "threads", "torch", "clock"} == set(found)
    assert all(value for value in found.values())
    assert not any("/home" in str(value) or "\\" in str(value) for value in found.values())


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_small_study_is_plain_values(name, little):
    assert set(SMALL) == set(ROWS)
    found = run(STUDY, [0], [name], variant="small", shelf=little(STUDY)).first(name)
    assert set(found) > {"seconds", "cpu_seconds"}
    assert "could not do it" not in json.dumps(found)  # every PyTorch has what the small study asks for
