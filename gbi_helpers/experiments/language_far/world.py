"""What the rows share: the text, one source of it kept from training, and the networks, each stretch on the shelf."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gbi_helpers.experiments.language import recipes as chapter
from gbi_helpers.experiments.language import world as language
from gbi_helpers.experiments.language.windows import Corpus, corpus_of
from gbi_helpers.experiments.language_far import recipes
from gbi_helpers.experiments.shelf import Shelf, Trained
from gbi_helpers.experiments.source import code_of
from gbi_helpers.experiments.study import SMALL, Settings

TEXT = ("after", "chapter")  # settings of a network that are no arguments of its training


@dataclass(frozen=True)
class World:
    """The text of one process with all its sources, which of them is ``new``, and the shelf that networks lie on."""

    whole: Corpus
    new: str
    networks: Mapping[str, Settings]
    shelf: Shelf
    facts: Settings

    @property
    def digest(self) -> str:
        """Tells the text from any other."""
        return self.whole.digest

    @property
    def known(self) -> Corpus:
        """What networks are trained on: all sources but one."""
        return self.whole.without(self.new)


def opened(shelf: Shelf, variant: str) -> World:
    """BabyLM's text, or a little of the packages' ("small"). ``DataError`` where BabyLM is not here."""
    text = language.read(variant or "babylm")
    whole, new = corpus_of(text), recipes.HELD_OUT[variant]
    facts = {"data": text.source, "name": text.name, "tasks": list(text.tasks), "new": new, "text": whole.digest}
    networks = recipes.SMALL_NETWORKS if variant == SMALL else recipes.NETWORKS
    return World(whole, new, networks, shelf, facts)


def trained(world: World, network: str, seed: int, settings: Settings) -> Trained:
    """A network of a row's ``settings`` in eval mode, and the record of its last stretch: from the shelf, or made now.

    The stretches before it are seen to first.
    """
    networks = settings["networks"]
    options = networks[network]

    def train(resume: Path) -> Trained:
        own = {name: value for name, value in options.items() if name not in TEXT}
        if "after" in options:
            own["start"] = trained(world, options["after"], seed, settings)[0]
            own["before"] = sum(networks[name]["steps"] for name in stretches(networks, options["after"]))
        return _trainer(options)(world.known, seed, resume=resume, **own)

    return world.shelf.network(f"{network}-{seed}", _depends(world, networks, network), train)


def train(world: World, network: str, seed: int) -> None:
    """See to it that a network of the world's settings lies on the shelf."""
    trained(world, network, seed, {"networks": world.networks})


def files(world: World, network: str, seed: int) -> list[Path]:
    """Where a network of the world's settings lies, or would: its weights, and the record of its training."""
    depends = _depends(world, world.networks, network)
    path = world.shelf.place(f"{network}-{seed}", depends, ".safetensors")
    return [path, path.with_suffix(".npz")]


def stretches(networks: Mapping[str, Settings], network: str) -> Iterator[str]:
    """The names of all stretches that lead to a network, the first one first."""
    if "after" in networks[network]:
        yield from stretches(networks, networks[network]["after"])
    yield network


def _depends(world: World, networks: Mapping[str, Settings], network: str) -> list[Any]:
    line = [dict(networks[name]) for name in stretches(networks, network)]
    return [world.digest, world.new, line, code_of(_trainer(networks[network]))]


def _trainer(options: Settings) -> Callable[..., Trained]:
    """What trains a network of these settings: chapter 08's way for its LSTM."""
    return chapter.train if "chapter" in options else recipes.train
