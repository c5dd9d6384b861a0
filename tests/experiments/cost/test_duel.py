"""A hundred tasks for seven forwards: what each way pays, and what sharing the gap is worth."""

import pytest
import torch

from gbi_helpers.checks.ch10_contest import problems
from gbi_helpers.checks.priced import unspent
from gbi_helpers.experiments.cost.duel import ROWS, SMALL, WAYS, duel, shared_gap


@pytest.mark.parametrize("name", sorted(WAYS))
def test_a_way_names_a_task_for_seven_forwards_at_most(name):
    ask, z0, exact = problems(3, samples=100)[1]
    own = unspent(ask)
    named = WAYS[name](own, z0)
    assert named.shape == exact.shape
    assert not named.is_floating_point()
    assert own.left == {"one_step": 5, "zoom": 1, "midpoints": 1}.get(name, 0)


def test_in_a_linear_decoder_the_shared_gap_is_the_gap():
    ask, z0, exact = problems(4)[0]
    own = unspent(ask)
    logits, delta = shared_gap(own, z0)
    assert own.left == 4
    assert torch.equal(logits.argmax(1), exact)
    loss, slope = unspent(ask).gradient(z0)
    tasks = torch.eye(100, dtype=torch.float64)
    for k in (0, 57, 99):  # each sample's own, by another sample's pass
        missed = loss + ((tasks[k] - z0) * slope).sum(1) - unspent(ask).loss(tasks[k].expand_as(z0))
        torch.testing.assert_close(missed, delta[k].expand(len(z0)), rtol=0, atol=1e-9)


def test_sharing_beats_rescoring_and_zooming_does_not():
    found = duel(None, 0, {**ROWS["duel"].settings, **SMALL["duel"]})
    assert set(found) == set(WAYS)
    assert found["sharing"]["linear"] == 100
    assert found["zoom"]["mean"] < found["rescoring"]["mean"] < found["sharing"]["mean"] < found["turns"]["mean"]
