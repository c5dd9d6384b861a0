"""An exercise without one right answer: any method will do that names nearly as many as a sound one does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from gbi_helpers.checks.exercise import Exercise


@dataclass(frozen=True, eq=False, repr=False)
class Contest(Exercise):
    """Right is whoever names as many of the new ones as the reference does, up to a margin; the method is free.

    ``truth``: the classes (M,) of what is new in each case, which no student is given. ``margin``: how many points,
    percent of all cases together, may be lacking.
    """

    truth: Sequence[Tensor] = ()
    margin: float = 0.0

    def named(self, answers: Sequence[Tensor]) -> float:
        """Percent of all that is new, named right by one answer (M,) for each case."""
        right = [(answer == truth).sum().item() for answer, truth in zip(answers, self.truth, strict=True)]
        return 100 * sum(right) / sum(map(len, self.truth))

    def _right(self, got: Sequence[Tensor], want: Sequence[Tensor]) -> bool:
        return self.named(got) >= self.named(want) - self.margin

    def _describe(self, got: Sequence[Tensor], want: Sequence[Tensor]) -> str:
        if not all((g == g.round()).all() for g in got):
            return "These are no class numbers: return the number of the class for each new vector, as argmax does."
        can = self.named(want)
        return (
            f"It names {self.named(got):.1f} % of the new vectors right. A sound use of the same data names {can:.1f}, "
            f"and {can - self.margin:.1f} are enough here."
        )

    def _example(self, got: Sequence[Tensor], want: Sequence[Tensor]) -> str:
        return super()._example(got, [truth.to(g) for truth, g in zip(self.truth, got, strict=True)])


@dataclass(frozen=True, eq=False, repr=False)
class Duel(Contest):
    """Right is whoever names more than a rival does at the same price, by ``lead`` points of all cases together.

    ``truth``: what the dearest method names. ``rival``: the function to beat, called as a student's is.
    """

    rival: Callable[..., Tensor] = field(kw_only=True)
    lead: float = 0.0

    @property
    def enough(self) -> float:
        """Percent that must be named."""
        return self.named(self._of_rival()) + self.lead

    def compare(self, student: Callable[..., Tensor]) -> list[tuple[float, float]]:
        """Percent named by a student's function, and by the rival, in each problem."""
        answers = [answer for (answer,) in self._answers(student)]
        return list(zip(self._shares(answers), self._shares(self._of_rival()), strict=True))

    def _of_rival(self) -> list[Tensor]:
        return [answer for (answer,) in self._answers(self.rival)]

    def _right(self, got: Sequence[Tensor], want: Sequence[Tensor]) -> bool:
        return self.named(got) >= self.enough

    def _describe(self, got: Sequence[Tensor], want: Sequence[Tensor]) -> str:
        if not all((g == g.round()).all() for g in got):
            return "These are no tasks: return the number of the task for each sample, as argmax does."
        rival = self._of_rival()
        return (
            f"It names what all passes name in {self.named(got):.1f} % of the samples ({self._each(got)} by problem). "
            f"The rival does in {self.named(rival):.1f} % ({self._each(rival)}), and {self.enough:.1f} are enough here."
        )

    def _each(self, answers: Sequence[Tensor]) -> str:
        return ", ".join(f"{share:.0f}" for share in self._shares(answers))

    def _shares(self, answers: Sequence[Tensor]) -> list[float]:
        """Percent named in each problem."""
        return [100 * (a == t).double().mean().item() for a, t in zip(answers, self.truth, strict=True)]
