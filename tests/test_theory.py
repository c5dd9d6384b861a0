"""What the theory module states, against enumeration and against the inference functions."""

import itertools
import math

import pytest
import torch

from gbi_helpers import enumerate_tasks, max_entropy, one_step
from gbi_helpers.theory import bayes_filter, curvature_offset


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("n_contexts", "hazard"), [(2, 0.1), (3, 0.3), (4, 0.0), (2, 1.0)])
def test_filter_equals_the_sum_over_all_paths(n_contexts, hazard):
    steps = 5
    evidence = normal(steps, n_contexts, seed=n_contexts)
    prior = torch.log_softmax(normal(n_contexts, seed=9), 0)
    belief = bayes_filter(evidence, hazard, prior)
    for t in range(steps):
        total = torch.zeros(n_contexts, dtype=torch.float64)
        for path in itertools.product(range(n_contexts), repeat=t + 1):
            jumps = [1 - hazard if a == b else hazard / (n_contexts - 1) for a, b in itertools.pairwise(path)]
            total[path[-1]] += math.prod(jumps) * math.exp(
                float(prior[path[0]]) + sum(float(evidence[i, k]) for i, k in enumerate(path))
            )
        torch.testing.assert_close(belief[t].exp(), total / total.sum())


def test_filter_does_not_underflow_in_a_long_stream():
    evidence = normal(3000, 2) - torch.tensor([0.0, 400.0], dtype=torch.float64)
    belief = bayes_filter(evidence, hazard=0.01)
    assert belief.isfinite().all()
    torch.testing.assert_close(belief.exp().sum(1), torch.ones(3000, dtype=torch.float64))


@pytest.mark.parametrize(("shape", "hazard"), [((5,), 0.1), ((5, 1), 0.1), ((5, 2), 1.5), ((5, 2), -0.1)])
def test_filter_refuses_what_makes_no_sense(shape, hazard):
    with pytest.raises(ValueError, match=r"but (is|lies)"):
        bayes_filter(normal(*shape), hazard)


@pytest.mark.parametrize("n_tasks", [2, 3, 7])
def test_curvature_is_what_one_step_misses(n_tasks):
    patterns, x, sd = normal(n_tasks, 5, seed=1), normal(50, 5, seed=2), 0.7

    def loss(z):
        return (((x - z @ patterns) / sd) ** 2).sum(-1) / 2

    z0 = max_entropy(50, n_tasks, dtype=torch.float64)
    step, exact = one_step(loss, z0), enumerate_tasks(loss, z0)
    offset = curvature_offset(patterns, sd)
    torch.testing.assert_close(torch.log_softmax(step.log_q + offset, 1), exact.log_q, rtol=0, atol=1e-9)
    assert (float(offset.max() - offset.min()) < 1e-9) == (n_tasks == 2)
