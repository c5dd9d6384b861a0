"""Views that are made for the site's playground, as the network in them is too large to be stored in a notebook."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bs4 import BeautifulSoup, Tag
from nbformat import NotebookNode

from gbi_helpers.course.chapters import Chapter, Toy
from gbi_helpers.course.export import stand_alone

FIRST = "My fellow citizens, whisk the eggs and the sugar until creamy"  # chapter 08's


class Pad(NamedTuple):
    """A view by the name of its place in the playground, the section that explains it, and what makes its HTML."""

    key: str
    chapter: str
    section: str
    make: Callable[[], str]


def has_pads(name: str, notebook: NotebookNode) -> bool:
    """Whether a chapter has a section for which :func:`pads` makes a view."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return any(_pad_of(name, heading) for text in texts for heading in re.findall(r"^##+ .*", text, re.MULTILINE))


def pads(chapter: Chapter, page: BeautifulSoup) -> Iterator[Toy]:
    """What a chapter's reader may draw on or write in, made as the chapter makes it in the same section."""
    for heading, pad in _found(chapter, page):
        title = f"Chapter {chapter.name.partition('_')[0]}: {pad.section}"
        view = BeautifulSoup(pad.make(), "html.parser")
        stand_alone(view)
        yield Toy(title, str(view), chapter.file, str(heading["id"]), pad.key)


def link_pads(chapter: Chapter, page: BeautifulSoup, play: str) -> None:
    """Below the heading of such a section, the way to its view in the playground, the page ``play``."""
    for heading, pad in _found(chapter, page):
        link = f'<a href="{play}#{pad.key}">Try it in the playground</a>'
        heading.insert_after(BeautifulSoup(f'<p class="try">{link}, without installing anything.</p>', "html.parser"))


def _found(chapter: Chapter, page: BeautifulSoup) -> list[tuple[Tag, Pad]]:
    named = [(heading, _pad_of(chapter.name, heading.get_text())) for heading in page.find_all(["h2", "h3"])]
    return [(heading, pad) for heading, pad in named if pad]


def _pad_of(name: str, heading: str) -> Pad | None:
    """The view of a section with this heading, which may begin with a number."""
    words = re.sub(r"^[#\s]*(\d+\.)?\s*", "", heading).strip()
    return next((pad for pad in PADS if name.startswith(f"{pad.chapter}_") and words == pad.section), None)


def _drawing() -> str:
    from gbi_helpers.checkpoints import load_checkpoint  # PyTorch, which no other page needs
    from gbi_helpers.data import load_mnist
    from gbi_helpers.models.image import ConditionalVAE
    from gbi_helpers.widgets import draw_along

    model, _ = load_checkpoint("checkpoints/mnist_vae_mul.safetensors", ConditionalVAE())
    mnist = load_mnist("slice")
    first = [int((mnist.test.y == digit).nonzero()[0]) for digit in (7, 8, 9, 0, 1, 2, 3, 4, 5, 6)]
    names = [f"a {int(mnist.test.y[i])}" for i in first]
    images, known = mnist.test.pixels()[first], mnist.validation.pixels()
    return draw_along(model, images, names=names, known=known, title="Which digit do you draw?").html


def _typing() -> str:
    from gbi_helpers.experiments.language.reading import load_language, read_words
    from gbi_helpers.widgets import type_here

    model, vocabulary, tasks, facts = load_language()
    record = read_words(model, vocabulary, FIRST, tasks=tasks, facts=facts)
    return type_here(model, vocabulary, FIRST, record, facts=facts, title="Where is this text from?").html


PADS = (Pad("draw", "05", "Draw one yourself", _drawing), Pad("type", "08", "Your turn", _typing))
