"""Live views where no kernel is: they say what they need, and lead to a view on the page that infers by itself."""

import nbformat
import pytest
import torch
from browser.test_graphs import two_wells
from widgets.toy import toy_path, toy_read

from gbi_helpers import scrub, to_browser, type_along
from gbi_helpers.course.export import to_html
from gbi_helpers.widgets import Controls

PAGE = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Beside</title></head><body><main>{}</main>'
NEEDS = "The controls of this scrubber need a running kernel: in the notebook, run this cell to use them."
BOX_NEEDS = "The text box of this view needs a running kernel: in the notebook, run this cell to type here."
WAY = " Without one you can move the start of an inference on this page."


@pytest.fixture(scope="module")
def copies():
    """What stands in a stored notebook of a scrubber with controls, of a text box, and of an empty one."""
    live = scrub(toy_path(steps=20), labels="digit", controls=Controls(lambda k: toy_path(steps=k), k=(1, 30)))
    return live.html, type_along(toy_read, text="stir the soup").html, type_along(toy_read).html


@pytest.fixture(scope="module")
def alive():
    return to_browser(two_wells, torch.full((1, 3), 1 / 3), labels=["left", "middle", "right"], title="Wells").html


@pytest.fixture(scope="module")
def written(copies, tmp_path_factory):
    """A page of copies alone."""
    path = tmp_path_factory.mktemp("page") / "copies.html"
    path.write_text(PAGE.format("".join(copies[:2])), encoding="utf-8")
    return path


def follow(page):
    """The way out of the first copy leads to the other view, and its first control is in focus."""
    link = page.get_by_role("link", name="move the start of an inference").first
    link.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.matches('.gbi-start select')")
    assert page.locator(".gbi-start").is_visible()


def test_without_a_kernel_a_copy_says_what_its_controls_need(opened, copies, tmp_path):
    page = opened()
    page.wait_for_timeout(300)
    assert page.locator(".gbi-note").all_inner_texts() == [NEEDS, BOX_NEEDS]
    (tmp_path / "empty.html").write_text(PAGE.format(copies[2]), encoding="utf-8")
    page.goto((tmp_path / "empty.html").as_uri())
    assert page.locator(".gbi-note").inner_text() == BOX_NEEDS
    assert page.troubles == []


def test_in_an_exported_page_it_leads_to_the_view_that_needs_none(opened, copies, alive, tmp_path):
    cells = []
    for html in (*copies[:2], alive):
        output = nbformat.v4.new_output("display_data", data={"text/html": html})
        cells.append(nbformat.v4.new_code_cell("x", outputs=[output], execution_count=1))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "book.ipynb")
    page = opened(to_html(tmp_path / "book.ipynb", tmp_path / "book.html"))
    page.locator(".gbi-way-out").nth(1).wait_for()
    assert page.locator(".gbi-note").all_inner_texts() == [NEEDS + WAY, BOX_NEEDS + WAY]
    follow(page)
    assert page.locator(".gbi-start").bounding_box()["y"] < 300
    assert page.troubles == []


PAD = '<div class="gbi-host" data-gbi-key="{}"><!-- --><!--{{"header":{{"kind":"{}"}}}}--></div>'  # as notes see it


def test_views_that_notes_lead_to_have_ids_of_their_own(browser, copies, tmp_path):
    stand_ins = [PAD.format("a1", "draw"), PAD.format("b2", "type")]
    (tmp_path / "both.html").write_text(PAGE.format("".join([*copies[:2], *stand_ins])), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "both.html").as_uri())
    page.locator(".gbi-way-out").nth(1).wait_for()
    links = page.locator(".gbi-way-out a")
    assert links.all_inner_texts() == ["draw a digit", "type a text"]
    there = "all => all.map((link) => document.querySelectorAll(link.getAttribute('href')).length)"
    assert links.evaluate_all(there) == [1, 1]
    led = "all => all.map((link) => document.querySelector(link.getAttribute('href')).dataset.gbiKey)"
    assert links.evaluate_all(led) == ["a1", "b2"]
    page.close()


def test_in_jupyterlab_with_the_kernel_stopped_too(without_kernel, copies, alive):
    with without_kernel("beside.ipynb", copies[0] + alive) as page:
        page.locator(".gbi-way-out").wait_for()
        address = page.url
        assert page.locator(".gbi-note").inner_text() == NEEDS + WAY
        follow(page)
        assert page.url == address
