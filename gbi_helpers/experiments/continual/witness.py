"""What another library, Avalanche 0.6.0, reached on the same network, images and contexts, from the shipped record."""

from __future__ import annotations

from gbi_helpers.experiments.results import load_results
from gbi_helpers.metrics import Summary


def witnessed() -> dict[str, dict[str, Summary]]:
    """Accuracy in percent over five orders, by method and by whose: the record's facts say what each counts."""
    record = load_results("avalanche")
    whose = record.facts["conventions"]
    methods = {row.split("/")[1]: record.words[row] for row in record.rows}
    return {
        words: {who: record.summary(f"{who}/{name}", "accuracy") for who in whose} for name, words in methods.items()
    }
