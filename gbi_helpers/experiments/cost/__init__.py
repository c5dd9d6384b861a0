"""What things cost: benchmarks, each a ratio within one run."""
