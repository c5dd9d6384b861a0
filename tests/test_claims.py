"""A claim prints what it found and its bound, and fails loudly."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gbi_helpers.claims import claim, shown
from gbi_helpers.metrics import summarise

numbers = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("bounds", "line"),
    [
        ({"at_least": 0.8546}, "✓ one step works: 0.912 (≥ 0.8546)\n"),
        ({"at_most": 2}, "✓ one step works: 0.912 (≤ 2)\n"),
        ({"at_least": 0, "at_most": 2}, "✓ one step works: 0.912 (≥ 0 and ≤ 2)\n"),
        ({"equals": 0.9, "within": 0.05}, "✓ one step works: 0.912 (= 0.9 ± 0.05)\n"),
        ({"at_least": 0.91234}, "✓ one step works: 0.912345 (≥ 0.91234)\n"),
    ],
)
def test_what_is_printed_holds_the_value_and_the_bound(capsys, bounds, line):
    claim("one step works", torch.tensor(0.912345, dtype=torch.float64), **bounds)
    assert capsys.readouterr().out == line


def test_of_a_summary_the_mean_is_claimed_and_its_interval_shown(capsys):
    claim("lead", summarise([1.0, 2.0, 3.0]), equals=2, within=0.5)
    claim("one seed", summarise([2.0]), at_least=1)
    assert capsys.readouterr().out == "✓ lead: 2.00 ± 2.48 (= 2 ± 0.5)\n✓ one seed: 2 (≥ 1)\n"
    claim("hundreds", summarise([110.0, 112.0, 114.0]), equals=112, within=5)  # no point without a digit behind it
    assert capsys.readouterr().out == "✓ hundreds: 112 ± 4.97 (= 112 ± 5)\n"


@given(value=numbers, bound=numbers)
def test_a_number_never_reads_as_on_the_other_side_of_its_bound(value, bound):
    assert (float(shown(value, bound, math.inf)) >= bound) == (value >= bound)
    assert abs(float(shown(value, bound, math.inf)) - value) <= abs(value) * 0.005 + 1e-300


@given(value=numbers, low=numbers, high=numbers)
def test_a_claim_raises_exactly_when_it_does_not_hold(value, low, high):
    if low <= value <= high:
        claim("x", value, at_least=low, at_most=high)
    else:
        with pytest.raises(AssertionError, match="does not hold: x"):
            claim("x", value, at_least=low, at_most=high)


def test_a_number_at_the_end_of_a_tolerance_holds_and_one_past_it_does_not():
    for value in (0.7, 0.9):
        claim("x", value, equals=0.8, within=0.1)
    with pytest.raises(AssertionError):
        claim("x", 0.6999999, equals=0.8, within=0.1)


def test_the_message_of_a_broken_claim_has_the_value():
    with pytest.raises(AssertionError, match=r"accuracy: 0\.85 \(≥ 0\.9\)\."):
        claim("accuracy", 0.85, at_least=0.9)


def test_a_near_miss_does_not_read_like_a_hit():
    with pytest.raises(AssertionError, match=r": 0\.8499999\d* \(≥ 0\.85\)\."):
        claim("accuracy", 0.8499999, at_least=0.85)


@pytest.mark.parametrize(("value", "told"), [(999.4, "999"), (999.6, "1000"), (-999.6, "-1000"), (123456.7, "123457")])
def test_a_number_near_a_thousand_has_no_power_of_ten(value, told, capsys):
    claim("x", value, at_least=-1e9)
    assert f"x: {told} (" in capsys.readouterr().out


@pytest.mark.parametrize("bounds", [{"at_least": -math.inf}, {"at_most": math.inf}, {"equals": 0.0, "within": 1e9}])
def test_nan_never_holds(bounds):
    with pytest.raises(AssertionError):
        claim("x", math.nan, **bounds)


def test_a_claim_without_a_bound_or_with_two_kinds_is_refused():
    with pytest.raises(ValueError, match="no bound"):
        claim("x", 1.0)
    with pytest.raises(ValueError, match="not both"):
        claim("x", 1.0, equals=1.0, at_least=0.0)


@pytest.mark.parametrize("bounds", [{"at_least": 2, "within": 5}, {"within": 5}, {"equals": 3, "within": -1}])
def test_a_tolerance_belongs_to_what_it_is_about(bounds):
    with pytest.raises(ValueError, match=r"zero or more, and belongs to equals="):
        claim("x", 3, **bounds)


def test_a_whole_number_above_a_million_is_told_in_all_its_digits(capsys):
    claim("parameters", 1234567, equals=1234567)
    claim("parameters", 2e6, at_most=2e6)
    assert capsys.readouterr().out == "✓ parameters: 1234567 (= 1234567)\n✓ parameters: 2e+06 (≤ 2e+06)\n"


SAYS = {
    "claim": "from gbi_helpers import claim; claim('δ is − 1 ± 0', 1.0, at_least=0.5, at_most=1.5)",
    "check": "import torch; from gbi_helpers import checks; "
    "checks.ch00.posterior_from_gradient(lambda g, s: torch.softmax(-s * g, -1))",
}


@pytest.mark.parametrize("what", SAYS)
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_ascii_stands_in_where_the_output_cannot_hold_a_sign(what, encoding):
    variables = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", SAYS[what]], env=variables, capture_output=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode(encoding)
    assert said.startswith("✓ " if encoding == "utf-8" else "ok: ")
    assert ("≥ 0.5" if encoding == "utf-8" else ">= 0.5") in said or what == "check"
