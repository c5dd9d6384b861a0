"""Where the controls of a live scrubber start, and numbers of NumPy among them."""

import ipywidgets
import numpy as np
import pytest

from gbi_helpers.widgets.controls import Controls
from gbi_helpers.widgets.live import _control


def test_none_is_a_default_where_it_is_a_choice():
    def run(method=None, step=None):
        pass

    assert Controls(run, method=["a", None], step=(0, 9)).initial == {"method": None, "step": 0}


def test_numbers_of_numpy_are_numbers():
    four, half, two = np.int64(4), np.float32(0.5), np.int64(2)

    def run(steps=four, rate=half, rows=two):
        pass

    made = Controls(run, steps=(np.int64(1), np.int64(9)), rate=(np.float32(0), 1), rows=[np.int64(1), np.int64(2)])
    shown = {name: _control(name, choice, made.initial[name]) for name, choice in made.choices.items()}
    assert {name: control.value for name, control in shown.items()} == {"steps": 4, "rate": 0.5, "rows": 2}
    assert [type(control) for control in shown.values()] == [
        ipywidgets.IntSlider, ipywidgets.FloatSlider, ipywidgets.Dropdown,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [((0.001, 0.01), ".5f"), ((0.05, 1.0, 0.05), ".2f"), ((0, 1e-4, 1e-5), ".5f"), ((0, 30.5), ".2f")],
)
def test_a_slider_shows_as_many_decimals_as_its_steps_have(choice, wanted):
    assert _control("rate", choice, choice[1]).readout_format == wanted
