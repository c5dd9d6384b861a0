"""The checks of chapter 08 accept right answers, written in other ways, and name the typical mistakes."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from checking import assert_broken_is_told, assert_one_stable_line, assert_told

from gbi_helpers.checks import ch08


def after_by_loop(evidence):
    return torch.stack([torch.log_softmax(evidence[: n + 1].sum(0), 0) for n in range(len(evidence))])


def after_by_product(evidence):
    likelihood = evidence.exp().cumprod(0)
    return (likelihood / likelihood.sum(1, keepdim=True)).log()


def bayes_by_loop(counts, words):
    total = torch.zeros(len(counts), dtype=torch.float64)
    for word in words.tolist():
        total += ((counts[:, word] + 1) / (counts.sum(1) + counts.shape[1])).log()
    return total - torch.logsumexp(total, 0)


def bayes_without_smoothing(counts, words):
    return torch.log_softmax((counts / counts.sum(1, keepdim=True)).log()[:, words].sum(1), 0)


def mended_by_hand(grad, words):
    logits = -grad * grad.shape[0] * words
    return logits - logits.logsumexp(1, keepdim=True)


def filter_in_logs(evidence, hazard):
    tasks = evidence.shape[1]
    leak = torch.full((tasks,), math.log(hazard / tasks), dtype=evidence.dtype)
    belief, found = None, []
    for row in evidence:
        prior = torch.zeros_like(row) if belief is None else torch.logaddexp(belief + math.log(1 - hazard), leak)
        belief = torch.log_softmax(prior + row, 0)
        found.append(belief)
    return torch.stack(found)


def filter_in_probabilities(evidence, hazard, leak=lambda q, h: (1 - h) * q + h / len(q)):
    belief, found = torch.full_like(evidence[0], 1 / evidence.shape[1]), []
    for number, row in enumerate(evidence):
        prior = leak(belief, hazard) if number else belief
        belief = prior * row.exp() / (prior * row.exp()).sum()
        found.append(belief.log())
    return torch.stack(found)


def merge_by_counter(ids):
    counts = Counter(zip(ids.tolist(), ids[1:].tolist(), strict=False))
    return torch.tensor(min(counts, key=lambda pair: (-counts[pair], pair)))


def merge_seen_first(ids):
    return torch.tensor(Counter(zip(ids.tolist(), ids[1:].tolist(), strict=False)).most_common(1)[0][0])


def merge_by_key(key):
    def chosen(ids):
        counts = Counter(zip(ids.tolist(), ids[1:].tolist(), strict=False))
        return torch.tensor(max(counts, key=lambda pair: (counts[pair], *key(pair))))

    return chosen


def bayes_in_float32(counts, words):
    share = (counts.float() + 1) / (counts.float() + 1).sum(1, keepdim=True)
    return torch.log_softmax(share.log()[:, words].sum(1), 0)


def bayes_in_place(counts, words):
    counts += 1
    counts /= counts.sum(1, keepdim=True)
    return torch.log_softmax(counts.log()[:, words].sum(1), 0)


def filter_in_place(evidence, hazard):
    beliefs = filter_in_logs(evidence, hazard)
    evidence.zero_()
    return beliefs


RIGHT = [
    (ch08.after_each_word, after_by_loop),
    (ch08.naive_bayes, bayes_by_loop),
    (ch08.mended, mended_by_hand),
    (ch08.online_filter, filter_in_logs),
    (ch08.next_merge, merge_by_counter),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=lambda value: value.__name__)
def test_a_right_answer_is_accepted_with_one_stable_line(check, answer, capsys):
    assert_one_stable_line(check, answer, capsys)


@pytest.mark.parametrize(
    ("check", "wrong", "speaks_of"),
    [
        (ch08.after_each_word, lambda e: after_by_loop(e)[:1], "the shape should be"),
        (ch08.after_each_word, after_by_product, "underflow"),
        (ch08.after_each_word, lambda e: torch.log_softmax(e.float().cumsum(0), 1), "leave float64"),
        (ch08.after_each_word, lambda e: torch.log_softmax(e.cumsum_(0), 1), "changes its input"),
        (ch08.after_each_word, lambda e: torch.log_softmax(e, 1), "Evidence adds up"),
        (ch08.after_each_word, lambda e: after_by_loop(e)[-1].expand_as(e), "first n words only"),
        (ch08.after_each_word, lambda e: after_by_loop(e).exp(), "return their logarithms"),
        (ch08.after_each_word, lambda e: e.cumsum(0), "not normalised"),
        (ch08.naive_bayes, bayes_without_smoothing, "Add 1 to each count"),
        (ch08.naive_bayes, lambda c, w: torch.log_softmax((c + 1).log()[:, w].sum(1), 0), "long source wins"),
        (ch08.naive_bayes, lambda c, w: torch.log_softmax(bayes_by_loop(c, w) / len(w), 0), "You averaged"),
        (ch08.naive_bayes, bayes_in_float32, "leave float64"),
        (ch08.naive_bayes, lambda c, w: torch.zeros(len(c)), "do not sum to 1"),
        (ch08.naive_bayes, bayes_in_place, "changes its input"),
        (ch08.mended, lambda g, n: torch.log_softmax(-g, 1), "Undo both"),
        (ch08.mended, lambda g, n: torch.log_softmax(-g * n, 1), "batch size"),
        (ch08.mended, lambda g, n: torch.log_softmax(-g * len(g), 1), "number of words"),
        (ch08.mended, lambda g, n: torch.log_softmax(g * n * len(g), 1), "The sign"),
        (ch08.mended, lambda g, n: mended_by_hand(g.float(), n), "leave float64"),
        (ch08.online_filter, filter_in_probabilities, "underflow"),
        (ch08.online_filter, lambda e, h: filter_in_logs(e.float(), h), "leave float64"),
        (ch08.online_filter, filter_in_place, "changes its input"),
        (ch08.online_filter, lambda e, h: after_by_loop(e), "Nothing leaks"),
        (
            ch08.online_filter,
            lambda e, h: filter_in_probabilities(e, h, lambda q, h: (1 - h) * q + h * (1 - q) / (len(q) - 1)),
            "any of the K",
        ),
        (ch08.online_filter, lambda e, h: torch.log_softmax(e, 1), "prior of the next word"),
        (ch08.next_merge, lambda i: merge_by_counter(i).flip(0), "left one first"),
        (ch08.next_merge, lambda i: merge_by_counter(i)[0], "the shape should be"),
        (ch08.next_merge, lambda i: torch.bincount(i).argsort(descending=True)[:2], "Count neighbours"),
        (ch08.next_merge, merge_seen_first, "but for ties"),
        (ch08.next_merge, merge_by_key(lambda pair: pair), "but for ties"),
        (ch08.next_merge, merge_by_key(lambda pair: (-pair[1], -pair[0])), "but for ties"),
        (ch08.next_merge, lambda i: torch.histc(i, bins=4), "NotImplementedError: "),
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong(check, wrong, speaks_of):
    assert_told(check, wrong, speaks_of)


@pytest.mark.parametrize("check", [check for check, _ in RIGHT], ids=lambda check: check.__name__)
def test_a_broken_answer_is_told(check):
    assert_broken_is_told(check)
