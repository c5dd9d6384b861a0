"""What the rows of the language study share: the corpus, the networks trained on it, and the shelf they lie on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gbi_helpers.data.text import TextData, load_text
from gbi_helpers.experiments.language import namer, recipes
from gbi_helpers.experiments.language.windows import Corpus, corpus_of
from gbi_helpers.experiments.shelf import Shelf, Trained
from gbi_helpers.experiments.source import code_of
from gbi_helpers.experiments.study import SMALL, Settings

TEXT = ("without", "pieces")  # settings of a network that say which text it is trained on


@dataclass(frozen=True)
class World:
    """The corpus of one process, and the shelf that trained networks lie on; ``networks``: the settings of each."""

    corpus: Corpus
    networks: Mapping[str, Settings]
    shelf: Shelf
    facts: Settings
    variant: str = ""

    @property
    def digest(self) -> str:
        """Tells the text from any other."""
        return self.corpus.digest


def corpus_for(world: World, options: Settings) -> Corpus:
    """What a network of these settings is trained on: all sources or all but one, whole words or pieces."""
    if "pieces" in options:
        return _in_pieces(world.variant, options["pieces"])
    return world.corpus.without(options["without"]) if "without" in options else world.corpus


@functools.cache
def _in_pieces(variant: str, pieces: int) -> Corpus:
    return corpus_of(read(variant, pieces))


def trained(world: World, network: str, seed: int, settings: Settings) -> Trained:
    """A network of a row's ``settings`` in eval mode, and its training record: from the shelf, or trained now.

    Networks of one seed meet the same windows in the same order, so what lies between two of them is paired.
    """
    options = settings["networks"][network]
    corpus = corpus_for(world, options)
    own = {name: value for name, value in options.items() if name not in TEXT}
    return world.shelf.network(
        f"{network}-{seed}",
        _depends(corpus, options),
        lambda resume: _trainer(options)(corpus, seed, resume=resume, **own),
    )


def train(world: World, network: str, seed: int) -> None:
    """See to it that a network of the world's settings lies on the shelf."""
    trained(world, network, seed, {"networks": world.networks})


def files(world: World, network: str, seed: int) -> list[Path]:
    """Where a network of the world's settings lies, or would: its weights, and the record of its training."""
    options = world.networks[network]
    path = world.shelf.place(f"{network}-{seed}", _depends(corpus_for(world, options), options), ".safetensors")
    return [path, path.with_suffix(".npz")]


def _depends(corpus: Corpus, options: Settings) -> list[Any]:
    return [corpus.digest, dict(options), code_of(_trainer(options))]


def _trainer(options: Settings) -> Callable[..., Trained]:
    """What trains a network of these settings: those that name the source are told it as a second target."""
    return namer.train if "weight" in options else recipes.train


def opened(shelf: Shelf, variant: str) -> World:
    """The packages' text, BabyLM's, or a little of the packages' ("small"). ``DataError`` where BabyLM is not here."""
    text = read(variant)
    corpus = corpus_of(text)
    facts = {"data": text.source, "name": text.name, "tasks": list(text.tasks), "text": corpus.digest}
    networks = recipes.SMALL_NETWORKS if variant == SMALL else recipes.NETWORKS
    return World(corpus, networks, shelf, facts, variant)


def read(variant: str, pieces: int = 0) -> TextData:
    """The text of a variant; with ``pieces``, cut into so many pieces of words instead of words."""
    if variant != SMALL:
        return load_text(variant, tokens="bpe", vocabulary=pieces) if pieces else load_text(variant)
    text = load_text("packages", tokens="bpe" if pieces else "word", vocabulary=pieces or 300)
    return text.cut(600, 300, 300)
