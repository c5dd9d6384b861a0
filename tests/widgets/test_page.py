"""What is left of an output where somebody takes the scripts out of it."""

import base64
import re
from dataclasses import replace
from importlib import resources

import bleach
import nbformat
import pytest
import torch
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbconvert.preprocessors.sanitize import SanitizeHTML
from widgets.test_modules_view import both
from widgets.toy import toy_path, toy_read, toy_words

from gbi_helpers import draw_along, modules, read_along, scrub, slide, type_here, widgets
from gbi_helpers.data.vocabulary import Vocabulary
from gbi_helpers.models.image import ConditionalVAE
from gbi_helpers.models.language import WordLSTM
from gbi_helpers.widgets import Bars, Lines, page

TAGS = {*bleach.ALLOWED_TAGS, "div", "p", "img", "table", "tr", "th", "td"}
PICTURES = {"tags": TAGS, "attributes": {"img": ["src", "alt"]}, "protocols": {"data"}}
VIEWS = {
    "scrub": lambda: scrub(toy_path(steps=5), labels="digit", title="A path"),
    "modules": lambda: modules(both(), title="Units"),
    "words": lambda: read_along(toy_words(60), title="A text"),
    "draw": lambda: draw_along(ConditionalVAE(latent=2, channels=2, width=8), torch.rand(3, 1, 28, 28), title="A pad"),
    "type": lambda: typed(toy_read("bake the bread")),
}


def typed(record):
    known = Vocabulary(["<unk>", "<bos>", *dict.fromkeys(record.words)])
    return type_here(WordLSTM(len(known), len(record.tasks), hidden=4), known, "bake the bread", record, title="A box")


@pytest.fixture(scope="module", params=VIEWS)
def view(request):
    return VIEWS[request.param]()


@pytest.fixture
def html(view):
    return view.html


@pytest.fixture
def tell_tales(view):
    """Pieces of the code and of the data, which must not be seen."""
    code, data = page.source(*view.scripts), base64.b64encode(view.shown.data).decode()
    return [*re.findall(r"^(?:export )?(?:async )?function \w+", code, re.M), data[:40], data[-40:]]


@pytest.mark.parametrize(
    "sanitise",
    [
        lambda html: bleach.clean(html, strip=True),
        lambda html: bleach.clean(html, strip=True, strip_comments=False),
        lambda html: bleach.clean(html, strip=True, **PICTURES),
        lambda html: SanitizeHTML(strip=True).sanitize_html_tags(html),
    ],
    ids=["bleach", "comments stay", "pictures stay", "nbconvert"],
)
def test_a_sanitiser_that_takes_only_tags_away_leaves_no_code_and_no_data_in_sight(html, tell_tales, sanitise):
    text = BeautifulSoup(sanitise(html), "html.parser").get_text()
    assert not [piece for piece in tell_tales if piece in text]
    assert not re.search(r"[A-Za-z0-9+/]{60}|[{}<>]|document", text)
    assert "Run this cell to " in text


def test_picture_and_table_stay_where_a_sanitiser_lets_pictures_through(html):
    left = BeautifulSoup(bleach.clean(html, strip=True, **PICTURES), "html.parser")
    before = BeautifulSoup(html, "html.parser")
    assert left.img["src"] == before.img["src"]
    assert left.img["alt"] == before.img["alt"]
    assert left.table.get_text("|") == before.table.get_text("|")
    assert left.find("script") is None


def test_nbconverts_sanitised_page_shows_the_table_and_no_code_or_data(html, tell_tales):
    """It lets no picture through, and shows the tag of each as text; all that it can show of ours stays."""
    cell = nbformat.v4.new_code_cell("view", outputs=[nbformat.v4.new_output("display_data", {"text/html": html})])
    exported, _ = HTMLExporter(sanitize_html=True).from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    seen = BeautifulSoup(exported, "html.parser").select_one(".jp-OutputArea-output")
    assert not [piece for piece in tell_tales if piece in seen.get_text()]
    wanted = [cell.get_text() for cell in BeautifulSoup(html, "html.parser").select("td")]
    assert [cell.get_text() for cell in seen.select("td")] == wanted


def test_no_view_knows_of_the_address_or_of_storage_as_it_may_stand_in_another_page():
    for script in resources.files(widgets).iterdir():
        if script.name.endswith(".js"):
            told = re.findall(r"\b(?:history|location|localStorage|sessionStorage|cookie)\b", script.read_text("utf-8"))
            assert told == [], script.name


NO_FORMULA = r"$\frac$"  # between two dollars matplotlib reads a formula, and stops at one that is none
PATH = toy_path(steps=5)
THREE = toy_words(4)
NAMED = {
    "groups": lambda: scrub(PATH, groups=[NO_FORMULA, *"b" * (PATH.z.shape[-1] - 1)]),
    "words": lambda: scrub(PATH, words={"z": NO_FORMULA, "loss": "US$ to A$"}),
    "tasks": lambda: read_along(replace(THREE, tasks=[NO_FORMULA, *THREE.tasks[1:]])),
    "panels": lambda: slide({"r": [1, 2]}, Lines(NO_FORMULA, {NO_FORMULA: [1.0, 2.0]}, x=[0, 1]), says={"n": [1, 2]}),
    "labels": lambda: slide({"r": [1, 2]}, Bars("B", [1.0, 2.0], [NO_FORMULA, "b"]), says={"n": [1, 2]}),
}


@pytest.mark.parametrize("named", NAMED.values(), ids=NAMED)
def test_a_name_with_two_dollars_is_no_formula_in_the_still_picture(named):
    assert NO_FORMULA in named().html.replace("\\\\", "\\")
