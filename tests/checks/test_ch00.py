"""The warm-up's check accepts the right answer and names the typical mistakes."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.checks.ch00 import posterior_from_gradient


def by_hand(grad, step_size):
    weights = torch.exp(-step_size * grad)
    return weights / weights.sum()


def test_the_right_answer_is_accepted(capsys):
    posterior_from_gradient(by_hand)
    assert "✓ posterior_from_gradient" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (lambda g, a: by_hand(-g, a), "The sign"),
        (lambda g, a: by_hand(g, 1.0), "step size is missing"),
        (lambda g, a: by_hand(g, a).log(), "log probabilities"),
        (lambda g, a: (-a * g).exp(), "do not sum to 1"),
        (lambda g, a: None, "returns nothing"),
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong(answer, advice):
    with pytest.raises(AssertionError, match=advice):
        posterior_from_gradient(answer)
