"""Exercise of chapter 10 on what K passes cost, and one step; see :mod:`~gbi_helpers.checks.ch10`."""

from __future__ import annotations

from collections.abc import Callable

from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, whole


def _price_inputs(draw: Generator, tasks: int, width: int, outputs: int) -> Inputs:
    return whole(draw, 2, 60, tasks).double(), width, outputs


def _ratio(step: Callable[..., Tensor], column: bool = False) -> Callable[..., Tensor]:
    """K passes of F FLOPs over what ``step(F, 2 w K)`` says; ``column``: each pass multiplies all columns."""

    def advantage(k: Tensor, w: int, d: int) -> Tensor:
        f, read = 2.0 * w * d, 2 * w * k
        return k * (f + column * read) / step(f, read)

    return advantage


_advantage = _ratio(lambda f, read: 2 * f + read)

half_of_ceiling = Exercise(
    "half_of_ceiling",
    "student(n_tasks (N,), width, outputs) -> FLOPs of K passes over those of one step (N,), and the K at which this "
    "reaches half of what it can ever reach.",
    lambda k, w, d: (_advantage(k, w, d), 2 * d),
    drawn(1008, _price_inputs, (5, 64, 20), (4, 30, 7), (6, 5, 12)),
    mistakes=[
        Mistake(
            lambda k, w, d: k / 2,
            "That is K / 2, which grows for ever: either the step's last product, 2 width K, is left out, or all "
            "passes multiply K columns as well, where one would look its column up.",
            "advantage",
        ),
        Mistake(
            lambda k, w, d: 1 / _advantage(k, w, d),
            "Upside down: K passes over one step, so that larger is better for one step.",
            "advantage",
        ),
        Mistake(
            _ratio(lambda f, read: 2 * f + read, column=True),
            "Your passes multiply a one-hot z by all K columns. Whoever tries a task looks its column up, for nothing.",
            "advantage",
        ),
        Mistake(
            _ratio(lambda f, read: 3 * f + read),
            "3 F is a *training* step, which pays a second product for the weights. They are frozen here: 2 F.",
            "advantage",
        ),
        Mistake(
            _ratio(lambda f, read: f + read),
            "A step goes there *and back*: 2 F.",
            "advantage",
        ),
        Mistake(
            _ratio(lambda f, read: 2 * f + read / 2),
            "A multiply-add is 2 FLOPs, in the last product as well: 2 width K.",
            "advantage",
        ),
        Mistake(
            _ratio(lambda f, read: 2 * f + 2 * read),
            "A multiply-add is 2 FLOPs above Z as well: F = 2 width outputs.",
            "advantage",
        ),
        Mistake(
            lambda k, w, d: 2.0 * w * (k * d - 2 * d - k),
            "That is the difference in FLOPs. Asked for is the ratio.",
            "advantage",
        ),
        Mistake(
            lambda k, w, d: k * d / (2 * d + k) / k,
            "That is one pass over one step. All K tasks are tried: K passes.",
            "advantage",
        ),
        Mistake(
            lambda k, w, d: d,
            "That is the ceiling itself, F / 2w = outputs. As a K it gives a third of it only. Solve advantage(K) = "
            "ceiling / 2 for K.",
            "half",
        ),
        Mistake(
            lambda k, w, d: d / 2,
            "That is *how high* half of the ceiling is. Asked for is the K where the advantage gets there.",
            "half",
        ),
        Mistake(
            lambda k, w, d: 2 * w * d,
            "That is F. The last product, 2 width K, must be as large as the rest of the step, 2 F: solve for K.",
            "half",
        ),
        Mistake(
            lambda k, w, d: 2 * w,
            "Width and outputs are swapped: F / width, and F = 2 width outputs, so the *width* cancels.",
            "half",
        ),
        Mistake(
            lambda k, w, d: 4 * d,
            "At this K the step costs three times 2 F. It must cost twice as much: 2 width K = 2 F.",
            "half",
        ),
    ],
    parts=("advantage", "half"),
)
