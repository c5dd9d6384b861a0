"""An exercise: the right function, random inputs, and the typical wrong answers with what to say to each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.priced import unspent
from gbi_helpers.checks.written import OURS, called, hint, narrow, numeric, quiet, rows_of, shapes, told_of, unchanged
from gbi_helpers.claims import say

Inputs = tuple[Any, ...]
Answer = tuple[Tensor, ...]

NEARLY = "Nearly right, but not to 6 digits: did you round, add a small number, or leave float64, as torch.zeros does?"


class NotTriedError(AssertionError):
    """The student's function is still the stub."""


@dataclass(frozen=True)
class Mistake:
    """A typical wrong answer: the function that makes it, and what to say to whoever wrote that.

    ``part``: the one part of a tuple that ``wrong`` returns and that the advice is about; empty: the only part.
    """

    wrong: Callable[..., Any]
    advice: str
    part: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Exercise:
    """The right function, inputs to try it on, and the wrong answers to recognise.

    Call it with a student's function: it says what is right or wrong. For a grade, :meth:`grade` it.

    ``what``: what the student's function is given and returns, for ``repr`` and ``help``. ``cases``: random inputs.
    ``hard``: inputs that break an answer which is right on the others, each with what to say then (say, of underflow).
    ``parts``: names of what is returned, several for a tuple. ``logs``: the answer is log probabilities over its last
    axis. ``up_to_constant``: a constant added to the last axis is no mistake. ``between``: no answer, right or wrong,
    can lie outside. ``without``: names of the package that an answer may not call, as they are, or do, what is asked;
    ``given``: names of the chapter itself, for the same reason. A student's own helper may be called anything.
    """

    name: str
    what: str
    reference: Callable[..., Any]
    cases: Sequence[Inputs]
    mistakes: Sequence[Mistake] = ()
    hard: Sequence[tuple[Inputs, str]] = ()
    parts: tuple[str, ...] = ("answer",)
    logs: bool = False
    up_to_constant: bool = False
    between: tuple[float, float] = (-math.inf, math.inf)
    without: tuple[str, ...] = ()
    given: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.what)  # for help(), which tells of the class otherwise

    def __repr__(self) -> str:
        return f"{self.name}: {self.what}"

    def __call__(self, student: Callable[..., Any]) -> None:
        """Say in a line that ``student`` is right, or still the stub; else raise ``AssertionError`` with advice."""
        try:
            self._try(student)
        except NotTriedError as error:
            say(str(error))
        else:
            self._say_right()

    def grade(self, student: Callable[..., Any]) -> None:
        """Say in a line that ``student`` is right; else, and for a stub too, raise ``AssertionError``; warn of nothing.

        A grader gives points by these two: nbgrader takes them where a check raises or writes to stderr.
        """
        with quiet():
            self._try(student)
        self._say_right()

    def settled(self, student: Callable[..., Any]) -> Callable[..., Any]:
        """The student's function once it is right, the reference until then: for a cell that puts it to use.

        The reference, too, and a line that says so, for one that is right but stops at float32, or returns no tensors.
        """
        try:
            with quiet():
                self._try(student)
                unfit = self._unfit(student)
        except AssertionError:
            return self.reference
        if not unfit:
            return student
        say(f"{self.name}: yours {unfit}, so ours is used here.")
        return self.reference

    def _say_right(self) -> None:
        say(f"✓ {self.name}: right on {len(self.cases) + len(self.hard)} random inputs")

    def _try(self, student: Callable[..., Any]) -> None:
        refused = (*OURS, *self.without, *self.given)
        if taken := {"reference"} if student is self.reference else called(student, self.given).intersection(refused):
            names = " and ".join(sorted(taken))
            self._fail(f"The numbers may be right, but this calls {names}, which is what you are asked to write.")
        right = self._answers(self.reference)
        given = self._answers(student)
        for inputs, ours, theirs in zip(self.cases, right, given, strict=True):
            self._check_shapes(inputs, ours, theirs)
        for index, part_name in enumerate(self.parts):
            want, got = [a[index] for a in right], [a[index] for a in given]
            if not self._right(got, want):
                advice = self._recognise(part_name, got) or self._describe(got, want)
                self._fail(f"{self._of(part_name)}{advice} {self._example(got, want)}")
        self._check_hard(student)

    def _answers(self, function: Callable[..., Any]) -> list[Answer]:
        return [self._call(function, inputs) for inputs in self.cases]

    def _call(self, function: Callable[..., Any], inputs: Inputs) -> Answer:
        """What the function returns for inputs of its own, as a tuple of float64 tensors."""
        passed = [_fresh(i) for i in inputs]
        try:
            with torch.device("cpu"):  # where the inputs are, and so what a student makes beside them
                result = function(*passed)
        except Exception as error:
            if isinstance(error, NotImplementedError) and not str(error):  # with a text it is PyTorch's own
                told = f"{self.name}: not tried yet. Write your answer in place of the stub, then run this check again."
                raise NotTriedError(told) from None
            raise AssertionError(
                f"{self.name}: your function stopped with {type(error).__name__}: {shorten(str(error), 300)} "
                f"{hint(error, inputs)}It was called with {shapes(inputs)}."
            ) from error
        if result is None:
            self._fail("your function returns nothing. Is the `return` missing?")
        if any(isinstance(i, Tensor) and not unchanged(i, p) for i, p in zip(inputs, passed, strict=True)):
            self._fail(
                "your function changes its input, by `+=`, `x[i] =` or a name that ends in `_`: "
                "work on a copy (.clone())."
            )
        several = self._several(result)
        if not isinstance(several, tuple | list) or len(several) != len(self.parts):
            self._fail(f"return {len(self.parts)} things, in this order: {', '.join(self.parts)}.")
        try:
            numbers = tuple(numeric(item) for item in several)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            if isinstance(result, tuple) and hasattr(result, "indices"):  # of max(-1), min(-1), sort(), topk()
                self._fail("you return values *and* places, as `max(-1)` gives both: return its `.values`.")
            self._fail(f"return a tensor of numbers, not {type(several[0]).__name__}.")
        if any(part.is_complex() for part in numbers):
            self._fail("your answer is complex, with an imaginary part: return real numbers.")
        return numbers

    def _check_shapes(self, inputs: Inputs, right: Answer, given: Answer) -> None:
        for name, want, got in zip(self.parts, right, given, strict=True):
            if want.shape != got.shape:
                turned = want.dim() == 2 and got.shape == want.T.shape
                hint = "The two axes are swapped." if turned else "Over which axis do you sum, and which one must stay?"
                self._fail(
                    f"{self._of(name)}the shape should be {tuple(want.shape)}, but is {tuple(got.shape)}, "
                    f"for inputs {shapes(inputs)}. {hint}"
                )

    def _check_hard(self, student: Callable[..., Any]) -> None:
        for inputs, advice in self.hard:
            want, got = self._call(self.reference, inputs), self._call(student, inputs)
            self._check_shapes(inputs, want, got)
            if not all(self._same([g], [w]) for g, w in zip(got, want, strict=True)):
                near = all(self._nearly([g], [w]) for g, w in zip(got, want, strict=True))
                self._fail(NEARLY if near else f"{advice} {self._example(got, want)}")

    def _unfit(self, student: Callable[..., Any]) -> str:
        """Why a right answer cannot be put to use by the cells that follow, which have networks; empty: it can."""
        inputs = tuple(narrow(i) for i in self.cases[0])
        if any(map(callable, inputs)):
            return ""
        ours = self._several(self.reference(*map(_fresh, inputs)))
        is_narrow = any(getattr(part, "dtype", None) == torch.float32 for part in ours)
        try:
            theirs = self._several(student(*map(_fresh, inputs if is_narrow else self.cases[0])))
        except RuntimeError:
            return "takes float64 alone, and what follows is float32"
        are_tensors = all(isinstance(t, Tensor) or not isinstance(o, Tensor) for o, t in zip(ours, theirs, strict=True))
        return "" if are_tensors else "returns no tensor, and what follows needs one"

    def _several(self, result: Any) -> Any:
        """What was returned as its parts, if it is what was asked for."""
        return result if len(self.parts) > 1 else (result,)

    def _right(self, got: Sequence[Tensor], want: Sequence[Tensor]) -> bool:
        """Whether answers to all cases count as right; that they are the same may be too much to ask."""
        return self._same(got, want)

    def _same(self, got: Sequence[Tensor], want: Sequence[Tensor]) -> bool:
        """Whether all numbers are the same: to 6 digits, or to 4 where those given have no more than float32 holds."""
        are_narrow = all(torch.equal(g, g.float().double()) for g in got)
        rtol, atol = (1e-4, 1e-5) if are_narrow else (1e-6, 1e-8)
        pairs = [(self._view(g), self._view(w)) for g, w in zip(got, want, strict=True)]
        return all(torch.allclose(g, w, rtol=rtol, atol=atol) for g, w in pairs)

    def _nearly(self, got: Sequence[Tensor], want: Sequence[Tensor]) -> bool:
        """Whether every number is right to about 1 %; near 0, to 0.001, or less where all the right ones are small."""
        pairs = [(self._view(g), self._view(w)) for g, w in zip(got, want, strict=True)]
        return all(torch.allclose(g, w, rtol=1e-2, atol=1e-3 * min(1.0, w.abs().max().item())) for g, w in pairs)

    def _view(self, answer: Tensor) -> Tensor:
        return answer - answer.mean(-1, keepdim=True) if self.up_to_constant else answer

    def _recognise(self, part: str, got: Sequence[Tensor]) -> str | None:
        """The advice of the first known mistake that gives the same wrong numbers on every input."""
        for mistake in self.mistakes:
            if (mistake.part or self.parts[0]) == part:
                wrong = [numeric(mistake.wrong(*inputs)) for inputs in self.cases]
                if self._same(got, wrong):
                    return mistake.advice
        return None

    def _describe(self, got: Sequence[Tensor], want: Sequence[Tensor]) -> str:
        """What can be said of a wrong answer that no known mistake gives."""
        if not all(g.isfinite().all() for g in got):
            known = any(isinstance(i, Tensor) and i.isnan().any() for inputs in self.cases for i in inputs)
            why = "one of the input's, taken along?" if known else "a division by zero, or the logarithm of zero?"
            return f"There are NaN or infinite numbers in it: {why}"
        if self._nearly(got, want):
            return NEARLY
        if self._same([-g for g in got], want):
            return "The sign is the wrong way round."
        if self.logs and self._same(got, [w.exp() for w in want]):
            return "These are probabilities; return their logarithms."
        if self.logs and self._same([torch.log_softmax(g, -1) for g in got], want):
            return "Right up to a constant: it is not normalised. Subtract the logsumexp of each row."
        factors = torch.cat([(self._view(g) / self._view(w)).flatten() for g, w in zip(got, want, strict=True)])
        if factors[0] != 0 and torch.allclose(factors, factors[0].expand_as(factors), rtol=1e-5):
            return f"It is always {factors[0]:.3g} times the right answer: a factor is missing or too many."
        if self.logs and not all(torch.allclose(s := g.exp().sum(-1), torch.ones_like(s)) for g in got):
            return "The probabilities (exp of what you return) do not sum to 1, and that is not the only thing wrong."
        return f"The numbers are wrong.{self._impossible(got)}"

    def _impossible(self, got: Sequence[Tensor]) -> str:
        """That a number lies where no answer can, if one does."""
        low, high = self.between
        outside = [v for g in got for v in g.flatten().tolist() if not low <= v <= high]
        return f" One is {outside[0]:.3g}: impossible, for they lie between {low:g} and {high:g}." if outside else ""

    def _example(self, got: Sequence[Tensor], want: Sequence[Tensor]) -> str:
        """The first row that differs, as given and as it should be."""
        for case, (ours, theirs) in enumerate(zip(want, got, strict=True)):
            rows = zip(rows_of(theirs), rows_of(ours), strict=True)
            for number, (g, w) in enumerate(rows):
                if not self._same([g], [w]):
                    place = f"Row {number} on input {case}" if ours.dim() > 1 else f"On input {case}"
                    column = int(torch.isclose(self._view(g), self._view(w), rtol=1e-6).long().argmin())
                    return f"({place}: yours {told_of(g, column)}, right {told_of(w, column)}.)"
        return ""

    def _of(self, part: str) -> str:
        return f"{part}: " if len(self.parts) > 1 else ""

    def _fail(self, why: str) -> Any:
        raise AssertionError(f"{self.name}: not yet. {why}")


def _fresh(value: Any) -> Any:
    """An input that no call before has touched: a copy of a tensor, a full budget."""
    return value.clone() if isinstance(value, Tensor) else unspent(value)


def drawn(seed: int, inputs: Callable[..., Inputs], *sizes: tuple[Any, ...]) -> list[Inputs]:
    """``inputs(draw, *size)`` for each size in turn, all from one generator that starts at ``seed``."""
    draw = Generator().manual_seed(seed)
    return [inputs(draw, *size) for size in sizes]


def normal(draw: Generator, *shape: int) -> Tensor:
    """Standard normal numbers in float64, for the inputs of a check."""
    return torch.randn(shape, generator=draw, dtype=torch.float64, device=draw.device)


def uniform(draw: Generator, *shape: int) -> Tensor:
    """Numbers between 0 and 1 in float64, for the inputs of a check."""
    return torch.rand(shape, generator=draw, dtype=torch.float64, device=draw.device)


def whole(draw: Generator, low: int, high: int, *shape: int) -> Tensor:
    """Whole numbers from ``low`` to ``high - 1``, for the inputs of a check."""
    return torch.randint(low, high, shape, generator=draw, device=draw.device)
