"""The loop of every study: what is measured already, what is left to do, and each finding on disk at once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from gbi_helpers.files import DataError, part_file

Rows = dict[str, dict[str, dict[str, Any]]]


def take(
    wanted: Iterable[tuple[str, int]],
    measure: Callable[[str, int], Mapping[str, Any]],
    state: Path,
    settings: Mapping[str, Any],
    desc: str,
) -> Rows:
    """All (name, seed) that are wanted, and whatever else is there already: {name: {seed: what was measured}}.

    ``measure(name, seed)`` is called for those that ``state`` does not hold; each is in that file before the next one
    begins. A file of other ``settings`` counts for nothing. Raises ``DataError`` for a damaged file.
    """
    told = json.loads(json.dumps(settings))
    rows = _finished(state, told)
    todo = [(name, seed) for name, seed in wanted if str(seed) not in rows.get(name, {})]
    for name, seed in tqdm(todo, desc=desc, delay=2):
        found = plain(measure(name, seed))
        rows = _finished(state, told)  # another process may have added rows meanwhile
        rows.setdefault(name, {})[str(seed)] = found
        with part_file(state) as part:
            part.write_text(json.dumps({"settings": told, "rows": rows}), encoding="utf-8")
    return rows


def plain(value: Any) -> Any:
    """The same as JSON will have it: keys as text, numbers with six significant digits, infinity as None.

    Raises ``ValueError`` for NaN, which no measurement may be.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError("A measurement is NaN (not a number), so it is not kept: look at its inputs.")
        return float(f"{value:.6g}") if abs(value) < math.inf else None
    return value


def _finished(state: Path, settings: Any) -> Rows:
    if not state.exists():
        return {}
    try:
        stored = json.loads(state.read_text(encoding="utf-8"))
        rows: Rows = stored["rows"] if stored.get("settings") == settings else {}
    except (ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{state} is damaged: delete it, and what it held is measured again.") from error
    return rows
