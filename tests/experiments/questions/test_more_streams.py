"""A z that descends, clusters of what came last, and every row of theirs in small."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.data.toy import switching_stream
from gbi_helpers.experiments.questions import more_streams
from gbi_helpers.experiments.questions.study import STUDY
from gbi_helpers.experiments.questions.unlabelled import agreement
from gbi_helpers.experiments.runner import run
from gbi_helpers.models.toy import ToyLSTM

HOW = more_streams.ROWS["streams/two/sd_.1/descent"].settings


def descend(x, **changes):
    stream = switching_stream(2, sd=0.1, blocks=len(x) // 20, block=20) if isinstance(x, range) else x
    model = ToyLSTM(stream.seeds, "post", n_tasks=2, hidden=16, keep=0.3)
    return stream, more_streams.descended(stream, model, {**HOW, **changes})


def test_a_z_that_decays_follows_two_tasks_and_one_that_does_not_follows_less():
    stream, slot = descend(range(800))
    assert slot.shape == (2, 800 - HOW["window"])
    task = stream.context[:, -slot.shape[1] :]

    def right(slot):
        return min(agreement(slot[row, 400:], task[row, 400:])["one_to_one"] for row in range(2))

    assert right(slot) > 95
    assert right(descend(range(800), adam=(0.6, 0.7), z_lr=0.01, decay=0.0)[1]) < 90


def test_what_z_is_does_not_depend_on_samples_to_come():
    stream, slot = descend(range(60))
    stream.x[:, 40:] += 1.0
    assert torch.equal(descend(stream)[1][:, : 40 - HOW["window"]], slot[:, : 40 - HOW["window"]])


@pytest.mark.parametrize("name", more_streams.ROWS)
def test_every_row_is_measured_in_small(name, little):
    kept = run(STUDY, [0], [name], variant="small", shelf=little(STUDY)).first(name)
    assert 0 <= kept["one_to_one"] <= kept["many_to_one"] <= 100
