"""What a chapter's page tells of itself: its question, time and needs, first picture, sections, and sliders."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bs4 import BeautifulSoup, Comment, Tag
from nbformat import NotebookNode

from gbi_helpers.files import questions

PNG = "data:image/png;base64,"
SMALL = 20_000  # letters of an image's address that are not worth making fewer
THUMB = (480, 300)  # pixels
SEEN = 0.5  # of 255: the mean error of a pixel that would be seen


@dataclass(frozen=True)
class Chapter:
    """A line of the map; ``needs`` is HTML, ``picture`` the address of an image that carries its own bytes."""

    name: str
    title: str
    question: str
    status: str = "planned"
    minutes: str = ""
    needs: str = ""
    picture: str = ""

    @property
    def file(self) -> str:
        """The name of its page."""
        return f"{self.name}.html"

    @property
    def planned(self) -> bool:
        """Whether it is yet to be written."""
        return self.status == "planned"


@dataclass(frozen=True)
class Toy:
    """Something to play with: its HTML, the place in a chapter that explains it, and its own name in an address."""

    title: str
    html: str
    file: str
    anchor: str
    key: str


def planned(name: str) -> Chapter:
    """The line of a chapter that is not there yet."""
    number, _, words = name.partition("_")
    return Chapter(name, f"{number} · {words.replace('_', ' ').capitalize()}", questions()[name])


def opening(name: str, notebook: NotebookNode) -> Chapter:
    """A chapter before its page is made: name, title, question and status."""
    first = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), "")
    heading = re.search(r"^# +(.+)", first, re.MULTILINE)
    title = re.sub(r"[*`$]", "", heading[1]).strip() if heading else name
    return Chapter(name, title, questions().get(name, title), _contents(notebook))


def _contents(notebook: NotebookNode) -> str:
    """That it is ready, and how much of it can be moved through or answered."""
    views = sum(text.count('class="gbi-host"') for text in _shown(notebook))
    tasks = sum(bool(cell.metadata.get("nbgrader", {}).get("solution")) for cell in notebook.cells)
    return f"ready; {_counted(views, 'view')} to move through, {_counted(tasks, 'exercise')} with checks"


def _shown(notebook: NotebookNode) -> list[str]:
    """The HTML among the stored outputs."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [str(output.get("data", {}).get("text/html", "")) for output in outputs]


def described(chapter: Chapter, page: BeautifulSoup) -> Chapter:
    """The chapter with what its page says of time and needs, and with its first picture."""
    image = page.select_one('.output img[src^="data:image/"]')
    return Chapter(
        chapter.name,
        chapter.title,
        chapter.question,
        chapter.status,
        _minutes(_told(page, "Minutes")),
        _told(page, "Before"),
        _thumbnail(str(image["src"])) if image else "",
    )


def _counted(count: int, word: str) -> str:
    return f"{count or 'no'} {word}{'' if count == 1 else 's'}"


def _told(page: BeautifulSoup, word: str) -> str:
    """The HTML that follows **word** in the opening, up to the end of its line."""
    name = page.find("strong", string=re.compile(rf"^{word}:?$"))
    if not isinstance(name, Tag):
        return ""
    parts = []
    for part in name.next_siblings:
        if isinstance(part, Tag) and part.name in ("strong", "br"):
            break
        parts.append(str(part))
    return "".join(parts).strip().removeprefix(":").strip()


def _minutes(told: str) -> str:
    reading = re.search(r"reading (\d+)|(\d+) to read", told)
    exercises = re.search(r"exercises (\d+)|(\d+) more for the exercises", told)
    found = [(reading, "min to read"), (exercises, "for the exercises")]
    return ", ".join(f"{match[1] or match[2]} {word}" for match, word in found if match)


def _thumbnail(source: str) -> str:
    """A drawing as it is, a picture made small."""
    from PIL import Image

    if not source.startswith(PNG):
        return source
    image = Image.open(io.BytesIO(base64.b64decode(source.removeprefix(PNG)))).convert("RGB")
    image.thumbnail(THUMB)
    return _address(image.quantize(64))


def _address(image: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)  # type: ignore[attr-defined]
    return PNG + base64.b64encode(buffer.getvalue()).decode()


def lighten(page: BeautifulSoup) -> None:
    """Large pictures get a palette of 256 colours, unless the eye could tell: a third of the bytes, or less."""
    for image in page.find_all("img", src=re.compile(f"^{PNG}")):
        source = str(image["src"])
        if len(source) > SMALL and not image.find_parent(class_="gbi-host"):
            image["src"] = min(source, _with_palette(source), key=len)


def _with_palette(source: str) -> str:
    import numpy as np
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(source.removeprefix(PNG)))).convert("RGB")
    fewer = image.quantize(256, dither=Image.Dither.NONE)
    error = np.abs(np.asarray(fewer.convert("RGB"), float) - np.asarray(image, float)).mean()
    return _address(fewer) if error < SEEN else source


def sections(page: BeautifulSoup) -> list[tuple[str, str, str]]:
    """The anchor, the heading and the text of each section; code and its outputs are left out."""
    found: list[tuple[str, str, list[str]]] = []
    cells = page.main.find_all("div", class_="text", recursive=False) if page.main else []
    for part in [part for cell in cells for part in cell.find_all(recursive=False)]:
        text = " ".join(part.get_text(" " if part.name in ("ul", "ol", "div", "details") else "").split())
        if re.fullmatch(r"h[1-4]", part.name):
            found.append((str(part["id"]), text, []))
        elif found:
            found[-1][2].append(text)
    return [(anchor, heading, " ".join(texts)) for anchor, heading, texts in found]


SLIDES = '"kind":"slides"'


def has_sliders(notebook: NotebookNode) -> bool:
    """Whether a notebook's stored outputs have something for :func:`sliders`."""
    return any(SLIDES in text for text in _shown(notebook))


def sliders(chapter: Chapter, page: BeautifulSoup) -> Iterator[Toy]:
    """The views of a chapter in which sliders change what a formula or a network says."""
    keys: list[str] = []
    for host in page.find_all(class_="gbi-host"):
        heading = host.find_previous(["h1", "h2", "h3"])
        if any(SLIDES in note for note in host if isinstance(note, Comment)) and isinstance(heading, Tag):
            number, said = chapter.name.partition("_")[0], " ".join(heading.get_text().split())
            keys.append("-".join([number, *re.findall(r"[a-z0-9]+", said.lower())]))
            again = f"-{keys.count(keys[-1])}" if keys[-1] in keys[:-1] else ""
            yield Toy(f"Chapter {number}: {said}", str(host), chapter.file, str(heading["id"]), keys[-1] + again)
