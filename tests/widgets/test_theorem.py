"""Sliders on the theorem: what Python says of a setting is the theorem, and what cannot be moved is named."""

import math
import re

import numpy as np
import pytest
import torch
from widgets.outputs import unpack

from gbi_helpers import enumerate_tasks, one_step, slide, theory
from gbi_helpers.widgets import Bars, Move, OneStep
from gbi_helpers.widgets.theorem_parts import Found, nice, panels_of

F64 = torch.float64
NOISE = {"noise": Move("sd", 0.1, 1)}
TWO = OneStep([0.4, 0.1, 0.5, 0.3, 0.6], [0.2, 0.8], 0.3, labels=["low", "high"])
THREE = OneStep([0.5, 0.5], [[-1, -1], [-1, 1], [2, 0]], 1.0, labels="task")


def test_the_loss_is_that_of_the_numbers_and_one_step_and_bayes_are_the_packages():
    x, patterns = torch.tensor(TWO.x, dtype=F64), torch.tensor(TWO.patterns, dtype=F64)
    loss = lambda z: (x - z @ patterns[:, None].expand(2, 5)).square().sum(-1) / (2 * 0.3**2)  # noqa: E731
    z0 = torch.tensor([[0.7, 0.3]], dtype=F64)
    found = Found(OneStep(TWO.x, TWO.patterns, TWO.sd, z0[0]).setting)
    assert found.step.log_q.numpy() == pytest.approx(one_step(loss, z0).log_q.numpy(), abs=1e-12)
    assert found.loss.numpy() == pytest.approx(enumerate_tasks(loss, z0).loss[0].numpy(), abs=1e-12)
    assert found.says(["low", "high"])["nats for low by one step"] == pytest.approx(0, abs=1e-12)
    assert found.says(["low", "high"])["by Bayes"] == pytest.approx(4)


def test_what_is_missed_is_minus_the_gap_whatever_the_data():
    gap = theory.one_step_gap(torch.tensor(THREE.patterns, dtype=F64), 1.0)
    for x in ([0.5, 0.5], [-3.0, 7.0]):
        assert Found(OneStep(x, THREE.patterns, 1.0).setting).missed.numpy() == pytest.approx(-gap.numpy(), abs=1e-12)


@pytest.mark.parametrize("across", [0.0, math.sqrt(3) - 1, 3.0])
def test_one_step_is_bayes_where_all_are_missed_alike_and_everywhere_with_the_gap_put_back(across):
    setting = THREE.setting.moved("patterns", (2, 0), across)
    plain, fixed = Found(setting), Found(setting, fixed=True)
    told, back = plain.says(["a", "b", "c"]), fixed.says(["a", "b", "c"])
    assert (told["nats missed unequally"] < 1e-9) == (told["KL in nats"] < 1e-12) == (across not in (0.0, 3.0))
    assert (back["nats missed unequally"], back["KL in nats"]) == (0, 0)
    assert fixed.step.q.numpy() == pytest.approx(fixed.bayes.q.numpy(), abs=1e-12)
    assert torch.log_softmax(-fixed.read, 0).numpy() == pytest.approx(fixed.step.log_q[0].numpy(), abs=1e-12)


def test_a_share_of_z0_moves_and_the_others_keep_their_proportions():
    setting = OneStep([0.5, 0.5], THREE.patterns, 1.0, z0=[0.2, 0.6, 0.2]).setting
    assert setting.moved("z0", (2,), 0.6).z0.tolist() == pytest.approx([0.1, 0.3, 0.6])
    assert setting.moved("z0", (2,), 1.0).z0.tolist() == [0, 0, 1]
    assert setting.moved("z0", (2,), 1.0).moved("z0", (2,), 0.5).z0.tolist() == [0.25, 0.25, 0.5]


def test_a_step_of_another_size_reads_the_tangent_so_many_times():
    half = Found(OneStep(TWO.x, TWO.patterns, TWO.sd, step_size=0.5).setting).says(["low", "high"])
    assert half["nats for low by one step"] == pytest.approx(2)


def test_the_page_is_told_the_setting_and_the_sliders_and_nothing_that_it_can_compute():
    view = slide({"z": Move("z0", 0, 1), "n": Move("n", 1, 9), "noise": Move("sd", 0.07, 1)}, TWO, title="T")
    header, raw = unpack(view.html)
    assert raw == b""
    assert (header["kind"], header["entries"], header["at"], header["whole"]) == ("slides", 201, [100, 4, 115], ["n"])
    live = header["live"]
    assert (live["patterns"], live["n"], live["sd"], live["z0"]) == ([[0.2], [0.8]], 5, 0.3, [0.5, 0.5])
    assert live["spread"] == pytest.approx(np.var(TWO.x))
    assert [knob["at"] for knob in live["knobs"]] == [[1], [], []]
    assert "x" not in header["panels"][0]["curves"][0]
    assert repr(view).startswith("Slider(z (201), n (9), noise (466): What each task expects")
    assert "engine.js" in view.scripts
    assert len(view.html) < 80_000
    assert (
        view.html
        == slide({"z": Move("z0", 0, 1), "n": Move("n", 1, 9), "noise": Move("sd", 0.07, 1)}, TWO, title="T").html
    )


def test_without_javascript_the_start_is_drawn_and_a_table_goes_along_the_first_slider():
    still = slide({"start": Move("z0", 0, 1), **NOISE}, TWO).still()
    assert (
        "At start 0.50, noise 0.30: nats for low by one step 4.00, by Bayes 4.00, nats missed unequally 0.00" in still
    )
    cells = re.findall(r"<td>(.*?)</td>", still)
    assert cells[:5] == ["0.00", "\N{MINUS SIGN}6.00", "4.00", "10.0", "5.80"]
    assert cells[10:15] == ["0.50", "4.00", "4.00", "0.00", "0.00"]
    assert cells[-5:-2] == ["1.00", "14.0", "4.00"]


def test_there_are_a_picture_of_the_data_in_one_or_two_dimensions_the_ways_and_the_beliefs():
    titles = [drawn.title for drawn in slide(NOISE, THREE).slides.panels]
    assert titles == ["What each task predicts, and x", "Loss from z0 to each task, nats", "Belief"]
    wide = OneStep(torch.zeros(4, 12), torch.eye(12)[:4], 1.0)
    assert [drawn.title for drawn in slide(NOISE, wide).slides.panels] == titles[1:]


def test_the_spokes_are_as_long_as_the_root_of_what_is_missed():
    found = Found(THREE.setting.moved("z0", (2,), 0.7))
    plane, ways, _ = panels_of(found, ["a", "b", "c"], [(-2, 3), (-2, 2)])
    x, y = plane.curves[1].x[0].reshape(3, 3), plane.curves[1].y[0].reshape(3, 3)
    length = np.hypot(x[:, 1] - x[:, 0], y[:, 1] - y[:, 0])
    assert length**2 / 2 == pytest.approx(found.missed.numpy())
    assert [float(text) for *_, text in ways.more["notes"]] == pytest.approx((length**2 / 2).round(2))


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(-0.78, 5.72, (-2, 6)), (0.82, 3.0, (0, 3)), (1, 1, (1, 1.5)), (0, 0, (0, 0.5)), (1e6, 1e6 + 1e-9, (1e6, 1.5e6))],
)
def test_limits_are_round_and_never_one(low, high, wanted):
    assert nice(low, high) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"sd": 0.0}, "^sd must be a number above 0, but is 0.0.$"),
        ({"sd": np.float32(0)}, "^sd must be a number above 0"),
        ({"sd": math.nan}, "^sd must be a number above 0, but is nan.$"),
        ({"patterns": [0.2, math.nan]}, "^patterns must hold finite numbers, but one is nan.$"),
        ({"patterns": [0.2]}, r"^patterns must be \(tasks, dimensions\), of 2 to 6 tasks, but is \(1, 1\).$"),
        ({"patterns": torch.zeros(7, 1)}, "2 to 6 tasks"),
        ({"x": math.inf}, "^x must hold finite numbers, but one is inf.$"),
        ({"x": torch.zeros(3, 2)}, r"^x must be \(samples, 1\), as wide as the patterns, but is \(3, 2\).$"),
        ({"x": []}, r"but is \(0, 1\)"),
        ({"z0": [0.7, 0.7]}, "not on the simplex"),
        ({"z0": [1.0]}, "^z0 must hold one share for each of 2 tasks"),
        ({"step_size": math.inf}, "^step_size must be a finite number"),
        ({"labels": ["low"]}, "names 1 tasks"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named_in_a_sentence(given, why):
    with pytest.raises(ValueError, match=why):
        slide(NOISE, OneStep(**({"x": 0.4, "patterns": [0.2, 0.8], "sd": 0.3} | given)))


@pytest.mark.parametrize(
    ("sliders", "why"),
    [
        ({}, "needs sliders"),
        ({"noise": [0.1, 0.2]}, r"^The slider 'noise' must be Move\(what, low, high\)"),
        ({"noise": Move("sigma", 0.1, 1)}, "with one of x, patterns, z0, n, sd, step_size"),
        ({"noise": Move("sd", 0, 1)}, "^The slider 'noise' ends at 0, but sd must be a number above 0.$"),
        ({"noise": Move("sd", 0.1, math.nan)}, "ends at nan"),
        ({"noise": Move("sd", 0.5, 1)}, "goes from 0.5 to 1, but sd is 0.3 at first"),
        ({"noise": Move("sd", 1, 0.1)}, "let it lie between"),
        ({"n": Move("n", 0.5, 3)}, "a whole number from 1 on"),
        ({"start": Move("z0", -0.1, 1)}, "a share from 0 to 1"),
        ({"a": Move("x", 0, 1, at=1)}, r"^The slider 'a' moves x at \(1,\), but its shape is \(1,\).$"),
        ({"a": Move("patterns", 0, 1, at=(0, 0, 0))}, "moves patterns at"),
        ({"a": Move("sd", 0, 1, at=1)}, "moves sd at"),
        ({"a": Move("x", 0, 1), "b": Move("x", 0, 1)}, "moves another number"),
        ({"a": Move("z0", 0, 1), "b": Move("z0", 0, 1, at=0)}, "One slider can move z0"),
    ],
)
def test_what_a_slider_cannot_move_is_named_in_a_sentence(sliders, why):
    with pytest.raises(ValueError, match=why):
        slide(sliders, TWO)


@pytest.mark.parametrize(
    ("panels", "more"),
    [([TWO, TWO], {}), ([TWO], {"says": {"a": 1}}), ([TWO], {"start": [0]}), ([Bars("B", [1, 2], "ab")], {}), ([], {})],
)
def test_what_the_page_computes_stands_alone(panels, more):
    with pytest.raises(ValueError, match="A OneStep brings its own panels"):
        slide(NOISE, *panels, **more)
