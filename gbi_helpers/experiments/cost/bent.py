"""..."""

from __future__ import annotations

from typing import Any

from gbi_helpers.experiments.study import Row

ROWS: dict[str, Row] = {}
SMALL: dict[str, dict[str, Any]] = {}
