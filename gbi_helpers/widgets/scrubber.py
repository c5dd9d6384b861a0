"""``scrub(record)``: step through a gradient descent on z, in one self-contained output that needs no kernel."""

from __future__ import annotations

from gbi_helpers.widgets import pack, page
from gbi_helpers.widgets.view import RecordView


class Scrubber(RecordView):
    """What :func:`~gbi_helpers.widgets.scrub` returns: a view of one path."""

    def __init__(self, path: pack.Path, note: str = "") -> None:
        super().__init__(path, note)
        self.path = path

    def still(self) -> str:
        """What is seen without JavaScript or trust."""
        return page.fallback(self.path)

    def __repr__(self) -> str:
        """The same on every machine: shapes, no values."""
        size = self.path.header["frame"]
        image = f", images {size[0]} x {size[1]}{' in colour' if size[2:] else ''}" if size else ""
        groups = f" in {len(self.path.groups)} groups" if self.path.groups else ""
        return f"Scrubber({len(self.path.loss) - 1} steps, {self.path.z.shape[1]} tasks{groups}{image})"
