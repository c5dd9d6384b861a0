"""What one step costs, counted."""

from gbi_helpers.experiments.cost import step as benchmark


def test_benchmark_counts_one_forward_and_one_backward_of_the_whole_model():
    assert benchmark.passes(batch=8) == (1, 1)
    assert all(ratio > 0 for ratio in benchmark.ratios(batch=8, repetitions=3))
