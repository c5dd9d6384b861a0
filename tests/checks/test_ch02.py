"""The checks of chapter 02 accept right answers, written in other ways, and name the typical mistakes."""

from __future__ import annotations

import math

import pytest
import torch
from checking import assert_broken_is_told, assert_one_stable_line, assert_told

from gbi_helpers.checks import ch02


# -- right answers, written as a student would ------------------------------------------------------------------------
def place_by_loop(error, block):
    return torch.stack([error[place::block].mean(0) for place in range(block)])


def until_by_loop(excess, criterion, never=math.inf, run=3, first=1):
    found = []
    for curve in excess.T:
        good = [end for end in range(run, len(curve) + 1) if curve[end - run : end].mean() < criterion]
        found.append(float(good[0] - 1 + first) if good else never)
    return torch.tensor(found)


def gated_by_einsum(h, z, gate, weight, bias):
    return torch.einsum("bh,bk,kh,dh->bd", h, z, gate, weight) + bias


def stacked_by_loop(x, weight, bias):
    return torch.stack([rows @ w.T + b for rows, w, b in zip(x, weight, bias, strict=True)])


def absolute_by_cdf(bias, sd):
    ratio = bias / sd
    density = torch.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
    return 2 * sd * density + bias * (2 * torch.special.ndtr(ratio) - 1)


RIGHT = {
    "by_place": place_by_loop,
    "blocks_until": until_by_loop,
    "gated": gated_by_einsum,
    "stacked": stacked_by_loop,
    "absolute_error": absolute_by_cdf,
}

# -- wrong answers: (exercise, the mistake, what the message must speak of) -------------------------------------------
WRONG = [
    ("by_place", lambda e, n: e.reshape(n, -1, e.shape[1]).mean(1), "pieces of `block` numbers"),
    ("by_place", lambda e, n: place_by_loop(e, n) * (len(e) // n), "take the mean"),
    ("by_place", lambda e, n: e[-n:], "last block alone"),
    ("by_place", lambda e, n: e.reshape(-1, n, e.shape[1]).mean(1), "shape should be"),
    ("by_place", lambda e, n: place_by_loop(e, n).mean(1), "shape should be"),
    ("blocks_until", lambda e, c: until_by_loop(e, c, first=0), "counted from 1"),
    ("blocks_until", lambda e, c: until_by_loop(e, c) - 2, "begins the run"),
    ("blocks_until", lambda e, c: until_by_loop(e, c, run=1), "may be luck"),
    ("blocks_until", lambda e, c: until_by_loop(e.unfold(0, 3, 1).amax(-1), c, run=1) + 2, "their mean"),
    ("blocks_until", lambda e, c: until_by_loop(e, c, never=0.0), "math.inf"),
    ("blocks_until", lambda e, c: until_by_loop(e, c, never=float(len(e))), "math.inf"),
    ("gated", lambda h, z, g, w, b: h @ w.T + b, "gate is missing"),
    ("gated", lambda h, z, g, w, b: gated_by_einsum(h, z, g, w, 0 * b), "bias"),
    ("gated", lambda h, z, g, w, b: (h + z @ g) @ w.T + b, "multiplies"),
    ("gated", lambda h, z, g, w, b: (h * g[z.argmax(1)]) @ w.T + b, "mix the gates"),
    ("gated", lambda h, z, g, w, b: (h * g.sum(0)) @ w.T + b, "z is not used"),
    ("stacked", lambda x, w, b: x @ w[0].T + b[0], "weights of the first one"),
    ("stacked", lambda x, w, b: x @ w.mT, "bias is missing"),
    ("stacked", lambda x, w, b: x @ w.mT + b[0], "bias of the first one"),
    ("stacked", lambda x, w, b: x @ w.mean(0).T + b.mean(0), "each seed has its own"),
    ("stacked", lambda x, w, b: (x @ w.mT + b[:, None]).mT, "shape should be"),
    ("absolute_error", lambda b, s: (b**2 + s**2) ** 0.5, "squared"),
    ("absolute_error", lambda b, s: b.abs(), "noise is missing"),
    ("absolute_error", lambda b, s: b.abs() + absolute_by_cdf(0 * b, s), "do not add up"),
    ("absolute_error", lambda b, s: absolute_by_cdf(0 * b, s), "floor"),
    ("absolute_error", lambda b, s: 2 * absolute_by_cdf(b, s), "2 times the right answer"),
]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_prints_one_stable_line(name, capsys):
    assert_one_stable_line(getattr(ch02, name), RIGHT[name], capsys)


@pytest.mark.parametrize(("name", "wrong", "speaks_of"), WRONG, ids=[f"{w[0]}-{w[2]}" for w in WRONG])
def test_a_wrong_answer_is_told_what_is_wrong(name, wrong, speaks_of):
    assert_told(getattr(ch02, name), wrong, speaks_of)


@pytest.mark.parametrize("name", RIGHT)
def test_an_empty_or_broken_answer_is_told_so(name):
    assert_broken_is_told(getattr(ch02, name))


def test_the_reference_of_the_absolute_error_is_what_sampling_gives():
    draw = torch.Generator().manual_seed(0)
    bias = torch.tensor([0.0, 0.3, -0.7], dtype=torch.float64)
    noise = 0.3 * torch.randn(200_000, 1, generator=draw, dtype=torch.float64)
    torch.testing.assert_close(absolute_by_cdf(bias, 0.3), (bias + noise).abs().mean(0), rtol=0, atol=3e-3)
