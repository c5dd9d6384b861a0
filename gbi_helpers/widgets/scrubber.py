"""``scrub(record)``: step through a gradient descent on z, in one self-contained output that needs no kernel."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from gbi_helpers.widgets import pack, page

if TYPE_CHECKING:
    pass


class Scrubber:
    """What :func:`scrub` returns: a view of one path. Left as the last line of a cell, it shows itself."""

    def __init__(self, path: pack.Path, note: str = "") -> None:
        self.path = path
        self._note = note

    @cached_property
    def html(self) -> str:
        """The whole scrubber as HTML: data, code and a fallback picture with a table; nothing is fetched."""
        return page.html(self.path, self._note)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/html": self.html, "text/plain": repr(self)}

    def __repr__(self) -> str:
        """The same on every machine: shapes, no values."""
        size = self.path.header["frame"]
        image = f", images {size[0]} x {size[1]}{' in colour' if size[2:] else ''}" if size else ""
        groups = f" in {len(self.path.groups)} groups" if self.path.groups else ""
        return f"Scrubber({len(self.path.loss) - 1} steps, {self.path.z.shape[1]} tasks{groups}{image})"
