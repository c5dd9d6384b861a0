"""What Bayes knows of a stream is exact, and never underflows."""

import itertools
import math

import pytest
import torch

from gbi_helpers.bayes import bayes_filter, log_likelihood, predict_next, window_posterior
from gbi_helpers.data.toy import switching_stream

F64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize(("n_contexts", "hazard"), [(2, 0.1), (3, 0.3), (4, 0.0), (2, 1.0)])
def test_filter_equals_the_sum_over_all_paths(n_contexts, hazard):
    steps = 5
    evidence = normal(steps, n_contexts, seed=n_contexts)
    prior = torch.log_softmax(normal(n_contexts, seed=9), 0)
    belief = bayes_filter(evidence, hazard, prior)
    for t in range(steps):
        total = torch.zeros(n_contexts, dtype=F64)
        for path in itertools.product(range(n_contexts), repeat=t + 1):
            jumps = [1 - hazard if a == b else hazard / (n_contexts - 1) for a, b in itertools.pairwise(path)]
            total[path[-1]] += math.prod(jumps) * math.exp(
                float(prior[path[0]]) + sum(float(evidence[i, k]) for i, k in enumerate(path))
            )
        torch.testing.assert_close(belief[t].exp(), total / total.sum())


def test_filter_does_not_underflow_in_a_long_stream():
    evidence = normal(3000, 2) - torch.tensor([0.0, 400.0], dtype=F64)
    belief = bayes_filter(evidence, hazard=0.01)
    assert belief.isfinite().all()
    torch.testing.assert_close(belief.exp().sum(1), torch.ones(3000, dtype=F64))


@pytest.mark.parametrize(("shape", "hazard"), [((5,), 0.1), ((5, 1), 0.1), ((5, 2), 1.5), ((5, 2), -0.1)])
def test_filter_refuses_what_makes_no_sense(shape, hazard):
    with pytest.raises(ValueError, match=r"but (is|lies)"):
        bayes_filter(normal(*shape), hazard)


def test_window_posterior_is_bayes_written_out():
    x, means = torch.tensor([[0.1], [0.6]]), torch.tensor([[0.2], [0.8]])
    density = [math.prod(math.exp(-((v - m) ** 2) / (2 * 0.09)) for v in (0.1, 0.6)) for m in (0.2, 0.8)]
    expected = torch.tensor(density) / sum(density)
    torch.testing.assert_close(window_posterior(x, means, 0.3).exp(), expected)


def test_log_likelihood_is_a_normalised_density():
    grid = torch.linspace(-4, 5, 9001)[:, None]
    density = log_likelihood(grid, torch.tensor([[0.2], [0.8]]), 0.3).exp()
    torch.testing.assert_close(density.sum(0) * 0.001, torch.ones(2), rtol=1e-3, atol=1e-3)


def test_the_filter_takes_many_streams_at_once():
    stream = switching_stream(3, blocks=4)
    evidence = log_likelihood(stream.x, stream.means, stream.sd)
    together = bayes_filter(evidence, 0.02)
    for seed in range(3):
        torch.testing.assert_close(together[seed], bayes_filter(evidence[seed], 0.02))


def test_prediction_of_a_certain_filter_is_the_mean_after_a_possible_jump():
    means = torch.tensor([[0.0], [1.0], [4.0]])
    certain = torch.tensor([[1.0, 0.0, 0.0]]).log()
    torch.testing.assert_close(predict_next(certain, 0.2, means), torch.tensor([[0.1 * 1 + 0.1 * 4]]))


def test_the_likelihood_of_vectors_adds_up_over_their_numbers():
    x, means = normal(7, 3), normal(4, 3, seed=1)
    expected = torch.distributions.Normal(means, 0.7).log_prob(x[:, None]).sum(-1)
    torch.testing.assert_close(log_likelihood(x, means, 0.7), expected)


MEANS = torch.tensor([[0.2], [0.8]])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (lambda: log_likelihood(torch.zeros(6), MEANS, 0.3), r"\(6,\), \(2, 1\) and 0.3"),
        (lambda: log_likelihood(torch.zeros(6, 1), torch.zeros(2, 5), 0.3), r"\(6, 1\), \(2, 5\)"),
        (lambda: log_likelihood(torch.zeros(6, 2), MEANS[:, 0], 0.3), r"\(6, 2\), \(2,\)"),
        (lambda: log_likelihood(torch.zeros(6, 1), MEANS, 0), "sd above 0"),
        (lambda: log_likelihood(torch.zeros(6, 1), MEANS, -0.3), "sd above 0"),
        (lambda: window_posterior(torch.zeros(2, 5), MEANS, 0.3), r"\(2, 5\), \(2, 1\)"),
        (
            lambda: bayes_filter(torch.zeros(4, 2), 0.1, torch.zeros(3, 2)),
            r"one number a context, \(2,\), but is \(3, 2\)",
        ),
        (lambda: predict_next(torch.zeros(3, 2), 1.7, MEANS), "between 0 and 1, but is 1.7"),
        (lambda: predict_next(torch.zeros(3, 1), 0.1, MEANS[:1]), "2 or more, but is 1"),
    ],
)
def test_what_would_only_be_stretched_to_fit_is_refused(asked, told):
    with pytest.raises(ValueError, match=told):
        asked()


def test_of_an_empty_stream_the_filter_says_nothing():
    assert bayes_filter(torch.zeros(0, 2), 0.1).shape == (0, 2)
