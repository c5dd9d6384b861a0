"""What the live scrubber lets a reader change, and the function that runs inference again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from gbi_helpers.records import Trajectory

Choice = tuple[float, ...] | Sequence[Any]
MISSING = inspect.Parameter.empty


class Controls:
    """Named controls for ``run(**values) -> Trajectory``: ``Controls(run, image=(0, 199), method=["a", "b"])``.

    A tuple (low, high) or (low, high, step) makes a slider, of whole numbers where all are whole; a list makes a menu.
    Each starts at the default that ``run`` gives to the parameter of that name, else at its first value: ``initial``.
    Raises ``ValueError`` for anything else, with the name of the control.
    """

    def __init__(self, run: Callable[..., Trajectory], **choices: Choice) -> None:
        if not callable(run) or not choices:
            raise ValueError("Controls needs a function and at least one control, as in Controls(run, image=(0, 9)).")
        for name, choice in choices.items():
            _check(name, choice)
        choices = {name: _plain(choice) for name, choice in choices.items()}
        defaults = {p.name: p.default for p in inspect.signature(run).parameters.values()}
        self.run = run
        self.choices = choices
        self.initial = {name: _first(name, choice, defaults.get(name, MISSING)) for name, choice in choices.items()}

    def __repr__(self) -> str:
        return f"Controls({', '.join(self.choices)})"


def _check(name: str, choice: Any) -> None:
    if isinstance(choice, tuple):
        good = len(choice) in (2, 3) and all(isinstance(v, Real) for v in choice) and choice[0] < choice[1]
        good = good and (len(choice) == 2 or choice[2] > 0)
    else:
        good = isinstance(choice, list) and len(choice) > 0
    if not good:
        raise ValueError(
            f"Control '{name}' is {choice!r}: give (low, high) or (low, high, step) for a slider, or a list for a menu."
        )


def _plain(choice: Choice) -> Choice:
    """Numbers of NumPy as Python's own, which a slider asks for."""
    return tuple(map(_number, choice)) if isinstance(choice, tuple) else choice


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _first(name: str, choice: Choice, default: Any) -> Any:
    """The default, or the first value where there is none (or None, which is not among the choices)."""
    if default is MISSING or (default is None and not any(one is None for one in choice)):
        return choice[0]
    slider = isinstance(choice, tuple)
    if not (choice[0] <= default <= choice[1] if slider else default in choice):
        raise ValueError(
            f"Control '{name}' cannot start at {default!r}, the function's default: it is not in {choice!r}."
        )
    return _number(default) if slider else default
