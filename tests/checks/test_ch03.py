"""The checks of chapter 03 accept right answers, written in other ways, and name the typical mistakes."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.checks import ch03


def overlap_by_sums(first, second):
    gap = (first - second).abs()
    return (first + second - gap).sum(1) / (first + second + gap).sum(1)


def ratio_by_loop(drive, threshold):
    answer = []
    for one in drive:
        low, high = (one > threshold * one.max()).tolist()
        either = sum(a or b for a, b in zip(low, high, strict=True))
        both = sum(a and b for a, b in zip(low, high, strict=True))
        answer.append(both / max(either, 1))
    return torch.tensor(answer)


def z_only_by_hand(hidden, x, w_out):
    drive = [(hidden(x, torch.eye(2)[k].repeat(len(x), 1)) * w_out).abs().mean(0) for k in (0, 1)]
    return overlap_by_sums(drive[0][None], drive[1][None])[0]


def z_only_on_halves(hidden, x, w_out):
    n = len(x) // 2
    drive = [
        (hidden(part, torch.eye(2)[k].repeat(len(part), 1)) * w_out).abs().mean(0)
        for k, part in enumerate((x[:n], x[n:]))
    ]
    return overlap_by_sums(drive[0][None], drive[1][None])[0]


def forgetting_by_loop(error, context):
    rises = [error[n, context[n - 1]] - error[n - 1, context[n - 1]] for n in range(1, len(context))]
    return sum(rises) / len(rises)


def left_by_loop(error, context):
    return torch.stack([error[n, context[n - 1]] for n in range(1, len(context))]).mean()


def stub(*inputs):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (ch03.overlap, overlap_by_sums),
        (ch03.shared_ratio, ratio_by_loop),
        (ch03.z_only_overlap, z_only_by_hand),
        (ch03.forgetting, forgetting_by_loop),
    ],
)
def test_a_right_answer_is_accepted_with_one_line(capsys, check, answer):
    check(answer)
    assert capsys.readouterr().out.startswith(f"✓ {check.__name__}: right on ")


@pytest.mark.parametrize(
    ("check", "answer", "advice"),
    [
        (ch03.overlap, lambda a, b: (torch.minimum(a, b) / torch.maximum(a, b)).mean(1), "Sum over the units first"),
        (ch03.overlap, lambda a, b: torch.minimum(a, b).sum(1) / (a.sum(1) + b.sum(1)), "sum of the maxima"),
        (ch03.overlap, lambda a, b: 1 / overlap_by_sums(a, b), "Upside down"),
        (ch03.overlap, lambda a, b: 1 - overlap_by_sums(a, b), "1 minus the overlap"),
        (ch03.overlap, lambda a, b: overlap_by_sums(a, b).mean(), "the shape should be"),
        (ch03.shared_ratio, lambda d, t: ratio_by_loop(d / d.amax((1, 2), keepdim=True) * 2, t / 2), "wrong"),
        (
            ch03.shared_ratio,
            lambda d, t: (
                (d > t * d.amax(2, keepdim=True)).all(1).sum(1) / (d > t * d.amax(2, keepdim=True)).any(1).sum(1)
            ),
            "largest drive of each task by itself",
        ),
        (ch03.shared_ratio, lambda d, t: (d > t).all(1).sum(1) / (d > t).any(1).sum(1), "The threshold is relative"),
        (
            ch03.shared_ratio,
            lambda d, t: (d > t * d.max()).all(1).sum(1) / (d > t * d.max()).any(1).sum(1),
            "Every network",
        ),
        (
            ch03.shared_ratio,
            lambda d, t: (d > t * d.amax((1, 2), keepdim=True)).all(1).double().mean(1),
            "belong to nobody",
        ),
        (
            ch03.shared_ratio,
            lambda d, t: (
                (d > t * d.amax((1, 2), keepdim=True)).all(1).sum(1)
                / (d > t * d.amax((1, 2), keepdim=True)).any(1).sum(1)
            ),
            "divide 0 by 0",
        ),
        (ch03.z_only_overlap, z_only_on_halves, "the same"),
        (ch03.z_only_overlap, lambda h, x, w: z_only_by_hand(h, x, torch.ones_like(w)), "nobody listens"),
        (ch03.z_only_overlap, lambda h, x, w: z_only_by_hand(lambda *a: h(*a).mean(0, True), x, w), "cancels itself"),
        (ch03.forgetting, left_by_loop, "how much it"),
        (ch03.forgetting, lambda e, c: -forgetting_by_loop(e, c), "The sign"),
        (ch03.forgetting, lambda e, c: left_by_loop(e, c) - e.gather(1, c[:, None])[1:].mean(), "one block earlier"),
        (
            ch03.forgetting,
            lambda e, c: torch.stack([e[n, c[n - 1]] - e[n - 1, c[n - 1]] for n in range(len(c))]).mean(),
            "leave it out",
        ),
        *((check, stub, "write your answer first") for check in (ch03.overlap, ch03.forgetting)),
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong(check, answer, advice):
    with pytest.raises(AssertionError, match=advice):
        check(answer)
