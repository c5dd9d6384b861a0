"""The studies behind the course's tables: ``gbi reproduce`` measures them, the notebooks read what they left."""

from __future__ import annotations

STUDIES = {
    name: f"gbi_helpers.experiments.{name}.study"
    for name in (
        "toy",
        "mnist",
        "ood",
        "cifar",
        "cifar_far",
        "language",
        "language_far",
        "continual",
        "cost",
        "questions",
    )
}
