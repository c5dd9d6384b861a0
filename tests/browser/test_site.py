"""The course's own site, from disk and below a path of a server: one request a page, and it can be read by anyone."""

import functools
import http.server
import threading
from pathlib import Path

import pytest
from course.pages import lost_links, read_pages

from gbi_helpers.course.chapters import questions
from gbi_helpers.course.site import write_site

pytestmark = pytest.mark.xdist_group("site")  # it is built once
BOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
OWN = ("index.html", "play.html", "search.html", "404.html")  # the chapters are looked at in test_page
ROOM = {"play.html": 2e6}  # bytes; a chapter has 1.5e6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    write_site(BOOKS, folder / "some" / "path")
    return folder / "some" / "path"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module", params=["disk", "server"])
def address(request, made):
    """The site's address, with a slash at its end: from disk, or below a path of a server."""
    if request.param == "disk":
        yield made.as_uri() + "/"
        return
    handler = functools.partial(Quiet, directory=str(made.parents[1]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/some/path/"
        server.shutdown()


@pytest.fixture
def visit(browser):
    """Opens an address: ``visit(url, **context options)``; ``.requests`` and ``.troubles`` are kept."""
    contexts = []

    def go(url, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.requests, page.troubles = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.on("console", lambda said: page.troubles.append(said.text) if said.type in ("error", "warning") else None)
        page.goto(url)
        return page

    yield go
    for context in contexts:
        context.close()


def test_every_link_leads_somewhere_and_sizes_are_kept(made):
    assert lost_links(read_pages(made)) == []
    sizes = {path.name: path.stat().st_size for path in made.iterdir()}
    assert sum(sizes.values()) <= 20e6
    assert {name: size for name, size in sizes.items() if size > ROOM.get(name, 1.5e6)} == {}
    assert {path.stem for path in BOOKS} <= set(questions()), "each chapter has its question in assets/chapters.csv"


def test_every_page_is_one_request_without_an_error(visit, made, address):
    for path in sorted(made.glob("*.html")):
        page = visit(address + path.name)
        page.locator(".gbi-host").count() and page.locator(".gbi input[type=range]").first.wait_for()
        assert [url for url in page.requests if not url.startswith(("data:", "blob:"))] == [address + path.name]
        assert page.troubles == []
        page.close()


def test_a_reader_searches_from_home_and_gets_to_the_section(visit, address):
    page = visit(address + "index.html")
    page.get_by_label("Search the course").fill("HAZARD filter")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    assert page.get_by_role("status").inner_text().endswith("sections with these words.")
    marks = page.locator("#found li").first.locator("mark").all_inner_texts()
    assert {mark.lower() for mark in marks} <= {"hazard", "filter"}
    page.get_by_label("Words to look for").fill("maximal entropy recomposition")
    page.get_by_text("1 section with these words.").wait_for()
    page.locator("#found a").click()
    page.wait_for_url("**/00_start_here.html#Recap")
    assert page.locator("#Recap").bounding_box()["y"] < 100
    assert page.troubles == []


def test_words_that_are_nowhere_and_html_are_only_words(visit, address):
    page = visit(address + "search.html?q=<img src=x onerror=alert(1)> .* [")
    assert page.get_by_role("status").inner_text() == "No section has all of these words."
    assert page.locator("#q").input_value() == "<img src=x onerror=alert(1)> .* ["
    assert page.troubles == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1000), ("dark", 390)])
def test_axe_finds_nothing_and_no_page_is_wider_than_the_screen(visit, axe, made, scheme, width):
    for name in (*OWN, f"{BOOKS[0].stem}.html"):
        page = visit(made.as_uri() + f"/{name}?q=filter", color_scheme=scheme, viewport={"width": width, "height": 844})
        page.evaluate(axe)
        found = page.evaluate("axe.run()")["violations"]
        assert [(name, one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


LOOK = "node => getComputedStyle(node).fontWeight + ' ' + getComputedStyle(node).textDecorationLine"


def test_in_forced_colours_words_found_the_own_page_and_what_is_planned_are_told_apart(visit, made):
    page = visit(made.as_uri() + "/search.html?q=filter", forced_colors="active")
    looks = [
        page.locator(which).first.evaluate(LOOK) for which in ("#found mark", "#found p", ".bar a", "[aria-current]")
    ]
    assert looks[0] != looks[1]
    assert looks[2] != looks[3]
    page.goto(made.as_uri() + "/index.html")
    for line in page.locator(".map li").all():
        planned = line.locator("dd").last.inner_text() == "planned"
        assert (line.locator("h3").evaluate(LOOK) == "400 none") == planned


def test_on_paper_there_is_no_search_or_navigation_and_links_tell_their_target(visit, made):
    page = visit(made.as_uri() + "/index.html", color_scheme="dark")
    page.emulate_media(media="print")
    assert page.locator("form, nav").evaluate_all("all => all.map((one) => one.checkVisibility())") == [False, False]
    told = page.locator("main a[href^=https]").first.evaluate("node => getComputedStyle(node, '::after').content")
    assert "arxiv.org" in told
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
