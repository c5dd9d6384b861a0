"""The exercises of chapter 11, open questions; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from gbi_helpers.checks import ch11_contest, ch11_hazard, ch11_sphere, ch11_table, ch11_together

together = ch11_together.together
sphere_start = ch11_sphere.sphere_start
read_one = ch11_table.read_one
hazard_by_nats = ch11_hazard.hazard_by_nats
discover_tasks = ch11_contest.discover_tasks
