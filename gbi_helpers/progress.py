"""Progress bars that fit where they are read: a terminal, a notebook, a log file."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable
from typing import IO, Any, TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")
IN_NOTEBOOK = any(kind.__name__ == "tqdm_notebook" for kind in tqdm.__mro__)  # tqdm found out at its import
LOG_SECONDS = 10.0  # between two lines in a log file


class _Widget(tqdm):
    """tqdm's bar of a notebook, but one that leaves an empty output, not the view of a closed widget.

    Where outputs are shown later (a stored notebook, Voila), that view would say "model not found".
    """

    _shown: Any = None

    def display(self, *args: Any, close: bool = False, check_delay: bool = True, **options: Any) -> None:
        from IPython.display import display

        if check_delay and not getattr(self, "displayed", False):
            self._shown, self.displayed = display(self.container, display_id=True), True
        super().display(*args, close=close, check_delay=False, **options)
        if close and self._shown:
            self._shown.update({"text/html": "", "text/plain": ""}, raw=True)


class _Lines(io.TextIOBase):
    """A stream that a bar can be written to, of which a log file gets lines: one a state, none to wipe the bar out."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        for line in filter(str.strip, re.split(r"\r|\n|\x1b\[A", text)):  # \x1b[A: up a line, for a bar within a bar
            self._stream.write(line.rstrip() + "\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


def progress_bar(items: Iterable[T] | None = None, desc: str = "", **options: Any) -> Any:
    """A tqdm bar that appears after two seconds and leaves nothing behind; ``options`` are tqdm's.

    In a notebook a widget, in a terminal a line that moves, elsewhere (a log file, a pipe) a line every ten seconds.
    """
    options = {"desc": desc, "delay": 2, "leave": False, **options}
    if IN_NOTEBOOK:
        return _Widget(items, **options)
    stream = sys.stderr
    if stream is None or stream.isatty():  # None: Windows without a console, where tqdm knows what to do
        return tqdm(items, **options)
    lines = {"file": _Lines(stream), "mininterval": LOG_SECONDS, "maxinterval": LOG_SECONDS, "ascii": True}
    return tqdm(items, **options, **lines, ncols=100)
