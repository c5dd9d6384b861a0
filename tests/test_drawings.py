"""The course's drawings, hand-made SVGs: readable by everybody, on any page, without a network."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from gbi_helpers import plots
from gbi_helpers.files import ASSETS

DRAWINGS = sorted((ASSETS / "pictures").glob("*.svg"))
SIZE = re.compile(r"\d+")
every_drawing = pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
GREYS = {"none", "#fff", "#000", "#999", "#666", "#ccc", "#eee"}


def parts(path):
    return list(ElementTree.parse(path).getroot().iter())


def attribute(element, name):
    """An attribute, or the same in a style."""
    inside = re.search(rf"(?:^|;)\s*{name}:\s*([^;]+)", element.get("style", ""))
    return element.get(name) or (inside and inside[1])


def test_there_are_drawings():
    assert DRAWINGS


@every_drawing
def test_a_drawing_has_a_size_a_title_and_a_description(path):
    root = ElementTree.parse(path).getroot()
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    assert len(root.findtext(f"{plots.SVG}title", "").split()) >= 2
    assert len(root.findtext(f"{plots.SVG}desc", "").split()) >= 10, "it is the alt text"


@every_drawing
def test_a_drawing_brings_its_background_and_needs_nothing_else(path):
    root = ElementTree.parse(path).getroot()
    first = next(child for child in root if child.tag == f"{plots.SVG}rect")
    assert (first.get("width"), first.get("height")) == (root.get("width"), root.get("height"))
    assert first.get("fill").lower() in {"#fff", "#ffffff", "white"}
    kinds = {element.tag.removeprefix(plots.SVG) for element in root.iter()}
    assert not kinds & {"image", "script", "foreignObject", "a", "use"}
    assert not re.search(r"(?:href|src)=|@import|url\((?!#)", path.read_text("utf-8"))


@every_drawing
def test_a_drawings_letters_can_be_read(path):
    sizes = [attribute(element, "font-size") for element in parts(path)]
    assert min(float(SIZE.match(size)[0]) for size in sizes if size) >= 12
    assert ElementTree.parse(path).getroot().get("font-size"), "say it for all"


@every_drawing
def test_a_drawings_colours_are_of_the_palette(path):
    palette = {colour.lower() for colour in plots.PALETTE}
    used = {attribute(element, name) for element in parts(path) for name in ("fill", "stroke")} - {None}
    assert {colour.lower() for colour in used if not colour.startswith("url(#")} <= palette | GREYS
