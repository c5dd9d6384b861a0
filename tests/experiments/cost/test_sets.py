"""What the sets of chapter 10 are made of."""

from __future__ import annotations

import torch

from gbi_helpers.experiments.cost import sets
from gbi_helpers.experiments.language.inference import evidence
from gbi_helpers.experiments.language.windows import Windows
from gbi_helpers.inference import max_entropy, rescore
from gbi_helpers.models.hundred import ZOnly
from gbi_helpers.models.language import WordLSTM
from gbi_helpers.theory import one_step_gap

F64 = torch.float64


def words():
    torch.manual_seed(0)
    model = WordLSTM(20, 4, hidden=8).eval()
    return model, Windows(torch.randint(2, 20, (6, 5)), torch.arange(6) % 4, start=1)


def test_rows_of_windows_are_their_own_loss():
    model, windows = words()
    index, z = torch.tensor([4, 1, 4]), torch.eye(4)[:3]
    whole = torch.stack([evidence(model, windows)(z[[at] * 6])[index[at]] for at in range(3)])
    torch.testing.assert_close(sets.window_rows(model, windows)(index)(z), whole)


def test_a_text_may_be_rescored_window_by_window():
    model, windows = words()
    samples, z0 = sets.of_words(model, windows), max_entropy(6, 4)
    log_q = torch.log_softmax(samples.read().one, 1)
    packed, whole = (rescore(log_q, samples.everything(), z0, 2, rows=rows).log_q for rows in (samples.rows, None))
    torch.testing.assert_close(packed, whole)


def linear(n_tasks=6, dims=9):
    draw = torch.Generator().manual_seed(0)
    model = ZOnly(dims, n_tasks).double()
    model.decoder.patterns.data = torch.randn(n_tasks, dims, generator=draw, dtype=F64)
    return model, sets.of_images(model, torch.randn(30, dims, generator=draw, dtype=F64), torch.arange(30) % n_tasks)


def test_from_the_point_equally_far_from_all_one_step_is_all_passes():
    model, samples = linear()
    alone, exact = sets.linear_alone(model, samples, samples, seed=0), samples.read().exact
    torch.testing.assert_close(alone["start"].after, torch.log_softmax(exact, 1))
    assert alone["start"].price == alone["dreamed"].price == 2


def test_a_hundred_dreams_are_nearly_the_gap():
    model, samples = linear()
    dreamed, one = sets.linear_alone(model, samples, samples, seed=0)["dreamed"], samples.read().one
    delta = (dreamed.after - torch.log_softmax(one, 1))[0]
    exact = one_step_gap(model.decoder.patterns.detach(), 1.0)
    assert torch.corrcoef(torch.stack([delta, exact]))[0, 1] > 0.9
