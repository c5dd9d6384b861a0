"""The exercises of chapter 09, continual learning; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from gbi_helpers.checks import ch09_gates, ch09_springs, ch09_store, ch09_sums

summary = ch09_sums.summary
streaming = ch09_sums.streaming
fisher_diagonal = ch09_springs.fisher_diagonal
gates_from_images = ch09_gates.gates_from_images
natural_gap = ch09_gates.natural_gap
name_new = ch09_store.name_new
