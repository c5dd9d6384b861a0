"""The data and networks of chapters 05 to 08 for a later chapter's rows, each opened by its own study."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from gbi_helpers.experiments.cifar import world as cifar
from gbi_helpers.experiments.language import world as language
from gbi_helpers.experiments.mnist import study as mnist
from gbi_helpers.experiments.needed import at_hand, needs
from gbi_helpers.experiments.ood import study as ood
from gbi_helpers.experiments.ood import unopened
from gbi_helpers.experiments.shelf import Shelf, mark
from gbi_helpers.experiments.study import SMALL, Settings


@dataclass(frozen=True)
class World:
    """Worlds of other studies, opened where a row first asks. Their networks lie on their own shelves."""

    shelf: Shelf
    variant: str

    @functools.cached_property
    def mnist(self) -> mnist.World:
        """The slice of MNIST that comes with the course."""
        return mnist.opened(self._shelf("mnist"), self.variant or "slice")

    @functools.cached_property
    def ood(self) -> ood.World:
        """The same slice, standardised, and all that is foreign to it; its data are the digest's already."""
        return ood.opened(self._shelf("ood"), SMALL if self.variant == SMALL else "")

    @functools.cached_property
    def language(self) -> language.World:
        """The packages' text."""
        return language.opened(self._shelf("language"), self.variant or "packages")

    @functools.cached_property
    def cifar(self) -> cifar.World:
        """All of CIFAR-100; the small variant has a little of its stand-in. ``DataError`` without the real set."""
        return cifar.opened(self._shelf("cifar"), self.variant)

    @property
    def digest(self) -> str:
        """Tells the digits and the text from any other; what else a row reads is told by :func:`digest_for`."""
        return mark(self.mnist.digest, self.language.digest)

    @property
    def facts(self) -> Settings:
        """What the record says of the data."""
        return {"data": {"mnist": self.mnist.facts, "language": self.language.facts}}

    def _shelf(self, study: str) -> Shelf:
        """A small run shares nothing with the real ones."""
        return self.shelf if self.variant == SMALL else Shelf(self.shelf.folder.parent / study)


def digest_for(study: str, world: World, row: str, settings: Settings) -> str:
    """Tells CIFAR-100 and the photographs that a row of a study reads from any other; "" where it reads neither.

    (Or where they are not at hand: the small variant has CIFAR-100's stand-in, so it always is.)
    """
    hundred = "cifar-100" in needs(study, row) and (world.variant == SMALL or at_hand("cifar-100"))
    found = [world.cifar.digest] if hundred else []
    if "photographs" in settings.get("unopened", ()):
        found.append(unopened.digest())
    return mark(*found) if any(found) else ""


def opened(shelf: Shelf, variant: str) -> World:
    """Nothing is read yet."""
    return World(shelf, variant)
