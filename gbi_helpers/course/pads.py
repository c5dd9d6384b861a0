"""Views that are made for the site's playground, as the network in them is too large to be stored in a notebook."""

from __future__ import annotations

from collections.abc import Iterator

from bs4 import BeautifulSoup

from gbi_helpers.course.chapters import Chapter, Toy

SECTION = "Draw one yourself"  # where a chapter lets one draw


def pads(chapter: Chapter, page: BeautifulSoup) -> Iterator[Toy]:
    """A pad to draw digits on, read by the shipped VAE-mul, for a chapter that has a section of it."""
    for heading in page.find_all(["h2", "h3"]):
        if SECTION in heading.get_text():
            yield Toy(
                f"Chapter {chapter.name.partition('_')[0]}: {SECTION}", _drawing(), chapter.file, str(heading["id"])
            )


def _drawing() -> str:
    """The view that chapter 05 makes in the same section."""
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
