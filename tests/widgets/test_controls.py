"""Where the controls of a live scrubber start, and numbers of NumPy among them."""

import ipywidgets
import numpy as np

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
