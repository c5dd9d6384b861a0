"""The course as a static site from the stored notebooks: nothing is executed, and no page asks another for anything.

Links are names of files, so the same folder works from disk and below any path of a server.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader
from nbformat import NotebookNode

from gbi_helpers.course import publish
from gbi_helpers.course.chapters import (
    Chapter,
    described,
    has_sliders,
    lighten,
    opening,
    planned,
    sections,
    sliders,
)
from gbi_helpers.course.export import TEMPLATES, page_of
from gbi_helpers.course.notebooks import START, read
from gbi_helpers.course.pads import has_pads, link_pads, pads
from gbi_helpers.files import part_folder, questions
from gbi_helpers.progress import progress_bar

COURSE = "Gradient-based inference, a course in notebooks"
HOME, PLAY, SLIDERS, SEARCH, MISSING = "index.html", "play.html", "sliders.html", "search.html", "404.html"
CARD, SITEMAP = "card.png", "sitemap.xml"
TOYS = {
    PLAY: ("Draw a digit, type a text: a network reads it in this page, and nothing needs to be installed.", pads),
    SLIDERS: ("All the pictures of the course that sliders move.", sliders),
}
MADE = ".gbi-site"  # lists the files of a site, so that it may be overwritten and nothing else
LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what systems leave in a folder that was looked at


def write_site(books: Sequence[Path], out: Path, url: str = "", repository: str = "") -> list[Path]:
    """Write the pages of ``books``, their map, playground and search to the folder ``out``; returns the files.

    ``url``, the address that the site will have, adds what needs one: a social card and a sitemap. ``repository``,
    OWNER/NAME, adds links to Binder and Colab. The folder is written whole or not at all. Raises ``ValueError`` where
    it holds other files, for an address that is none, and for a notebook without stored outputs; ``OSError`` where it
    cannot be written.
    """
    url = publish.check_url(url) if url else ""
    out = out.resolve()
    _refuse(out)
    stored = {path: _stored(path) for path in books}
    with part_folder(out) as part:
        for name, content in _files(stored, url, repository):
            (part / name).write_bytes(content)
        names = sorted(path.name for path in part.iterdir())
        (part / MADE).write_text("\n".join([*names, MADE]) + "\n", encoding="utf-8")
    return [out / name for name in names]


def _refuse(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a folder for the site.")
    there = {path.name for path in out.iterdir()} if out.exists() else set()
    ours = set((out / MADE).read_text("utf-8").splitlines()) if MADE in there else set()
    others = sorted(there - ours - LITTER)
    if others:
        raise ValueError(f"{out} holds files that are not of a site made here ({others[0]}): choose another folder.")


def _stored(path: Path) -> NotebookNode:
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if code and not any(cell.outputs for cell in code):
        raise ValueError(f"{path.name} has no stored outputs: run 'gbi store' first.")
    return notebook


def _files(stored: Mapping[Path, NotebookNode], url: str, repository: str) -> Iterator[tuple[str, bytes]]:
    """Each file of the site, by its name."""
    chapters = [opening(path.stem, notebook) for path, notebook in stored.items()]
    toys = [(PLAY, "Playground", any(has_pads(path.stem, book) for path, book in stored.items()))]
    toys += [(SLIDERS, "Sliders", any(map(has_sliders, stored.values())))]
    site = _Site(tuple(chapters), url, repository, tuple((file, title) for file, title, there in toys if there))
    pages = {}
    for path, chapter in progress_bar(list(zip(stored, chapters, strict=True)), desc="pages", unit="page"):
        page = pages[chapter] = site.chapter_page(chapter, stored[path], path.parent)
        yield chapter.file, str(page).encode()
    yield from _around(site, pages)


@dataclass(frozen=True)
class _Site:
    """What each page of a site is told of it."""

    chapters: tuple[Chapter, ...]
    url: str
    repository: str
    toys: tuple[tuple[str, str], ...]

    @property
    def bar(self) -> list[tuple[str, str]]:
        """File and title of the pages that are no chapters."""
        return [(HOME, "All chapters"), *self.toys, (SEARCH, "Search")]

    def told(self, file: str, title: str, description: str, **more: Any) -> dict[str, Any]:
        """What the templates of the page ``file`` are told."""
        facts = {"file": file, "title": title, "description": description, "url": self.url, "course": COURSE}
        return {**facts, "bar": self.bar, "root": "", "runs": self._runs(START), **more}

    def _runs(self, notebook: str) -> list[tuple[str, str]]:
        """Where a reader may run a notebook, and how to get there."""
        path = f"notebooks/{notebook}"
        ways = [("on Binder", publish.binder), ("in Colab", publish.colab)] if self.repository else []
        return [(where, address(self.repository, path)) for where, address in ways]

    def chapter_page(self, chapter: Chapter, notebook: NotebookNode, folder: Path) -> BeautifulSoup:
        """A chapter's page with its neighbours, and pictures of fewer bytes."""
        place = self.chapters.index(chapter)
        before, after = [None, *self.chapters][place], [*self.chapters, None][place + 1]
        more = {"before": before, "after": after, "runs": self._runs(f"{chapter.name}.ipynb")}
        told = self.told(chapter.file, chapter.title, chapter.question, **more)
        page = page_of(notebook, chapter.name, str(folder), told)
        self._drop_dead_links(page)
        link_pads(chapter, page, PLAY)
        self._point_to_playground(page)
        lighten(page)
        return page

    def _drop_dead_links(self, page: BeautifulSoup) -> None:
        """A link to a file that is not on the site (a planned chapter, the README) becomes plain text."""
        known = {*dict(self.bar), *(chapter.file for chapter in self.chapters)}
        for link in page.find_all("a", href=re.compile(r"^(?![a-zA-Z][a-zA-Z0-9+.-]*:|//|#)")):
            if str(link["href"]).partition("#")[0] not in known:
                link.unwrap()

    def _point_to_playground(self, page: BeautifulSoup) -> None:
        """Below each view whose controls need a kernel, the way to those that need none (beside.js knows of nearer)."""
        if PLAY not in dict(self.toys):
            return
        for note in page.find_all(class_="gbi-note"):
            told = f'Without one there is <a href="{PLAY}">the playground</a>, which computes in the page.'
            note.append(BeautifulSoup(f'<span class="gbi-way-out"> {told}</span>', "html.parser"))

    def written(self, template: str, told: Mapping[str, Any], **more: Any) -> tuple[str, bytes]:
        """The name and the bytes of a page that is no chapter."""
        folders = [str(TEMPLATES / "site"), str(TEMPLATES / "course")]
        templates = Environment(loader=FileSystemLoader(folders), autoescape=True)
        return told["file"], templates.get_template(template).render(site=told, **more).encode()


def _around(site: _Site, pages: Mapping[Chapter, BeautifulSoup]) -> Iterator[tuple[str, bytes]]:
    """The files around the chapters."""
    lines = [described(chapter, page) for chapter, page in pages.items()]
    still_to_come = [planned(name) for name in questions() if name not in {line.name for line in lines}]
    what = "A network that was told its task can later be asked, by one gradient, which task it is looking at."
    yield site.written("index.html.j2", site.told(HOME, COURSE, what), chapters=[*lines, *still_to_come])
    for file, title in site.toys:
        what, find = TOYS[file]
        toys = [toy for chapter, page in pages.items() for toy in find(chapter, page)]
        yield site.written("play.html.j2", site.told(file, title, what), toys=toys)
    what = "Search the headings and the text of all chapters."
    yield site.written("search.html.j2", site.told(SEARCH, "Search", what), sections=_index(pages))
    # a server shows this page for an address in any folder, from where the name of a file would lead nowhere
    told = site.told(MISSING, "There is no such page", "It may have been renamed.", root=site.url)
    yield site.written("404.html.j2", told)
    if site.url:
        yield CARD, _card()
        yield SITEMAP, _sitemap(site)


def _index(pages: Mapping[Chapter, BeautifulSoup]) -> str:
    """What the search looks through, as JSON that can stand in a script."""
    names = [{"file": chapter.file, "title": chapter.title} for chapter in pages]
    found = [[number, *section] for number, page in enumerate(pages.values()) for section in sections(page)]
    written = json.dumps({"pages": names, "sections": found}, ensure_ascii=False, separators=(",", ":"))
    return written.replace("<", "\\u003c")


def _sitemap(site: _Site) -> bytes:
    names = [HOME, *(chapter.file for chapter in site.chapters), *dict(site.bar[1:])]
    rows = "".join(f"<url><loc>{escape(site.url + quote(name))}</loc></url>\n" for name in names)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    return f"{head}{rows}</urlset>\n".encode()


def _card() -> bytes:
    """The picture that is shown beside a link to the site, 1200 x 630 pixels."""
    from matplotlib.figure import Figure  # no pyplot: a figure of our own, no global state

    fig = Figure(figsize=(12, 6.3), dpi=100, facecolor="white")
    fig.text(0.06, 0.62, "Gradient-based\ninference", fontsize=52, fontweight="bold", va="center", linespacing=1.15)
    fig.text(0.06, 0.3, "One backward pass\nacts as a likelihood.", fontsize=28, color="#55595f", va="center")
    axes = fig.add_axes((0.6, 0.14, 0.34, 0.72))
    bars = axes.bar(range(10), [6, 4, 9, 5, 7, 14, 6, 62, 5, 9], color="#0072B2", width=0.75)
    bars[7].set(hatch="//", edgecolor="white", facecolor="#D55E00")
    axes.set_xticks(range(10), list("0123456789"), fontsize=18)
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
