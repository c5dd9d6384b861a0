"""The exercises of chapter 10, cost and theory; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from gbi_helpers.checks import ch10_contest, ch10_prices, ch10_readout, ch10_theory

kl_gap = ch10_theory.kl_gap
circumcentre = ch10_theory.circumcentre
threshold = ch10_readout.threshold
half_of_ceiling = ch10_prices.half_of_ceiling
beat_rescoring = ch10_contest.beat_rescoring
