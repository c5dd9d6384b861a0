"""The course's own site, from disk and below a path of a server: one request a page, and it can be read by anyone."""

import functools
import http.server
import re
import threading
from pathlib import Path

import pytest
from course.pages import lost_links, read_pages

from gbi_helpers.course.site import write_site
from gbi_helpers.files import questions

pytestmark = pytest.mark.xdist_group("site")  # it is built once
BOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
OWN = ("index.html", "play.html", "sliders.html", "search.html", "404.html")  # the chapters are looked at in test_page
ANY = ("minor", "moderate", "serious", "critical")  # on a page of our own nothing at all is left
ROOM = {"play.html": 2e6}  # bytes; a chapter has 1.5e6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    write_site(BOOKS, folder / "some" / "path")
    return folder / "some" / "path"


@pytest.mark.skipif(pytest.version_tuple >= (9, 2), reason="pytest-xdist ignores groups with it (its issue 1386)")
def test_all_of_this_goes_to_one_worker(request):
    assert not request.config.getoption("loadgroup", default=False) or request.node.nodeid.endswith("@site")


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
    pages = read_pages(made)
    assert lost_links(pages) == []
    sizes = {path.name: path.stat().st_size for path in made.iterdir()}
    assert sum(sizes.values()) <= 20e6
    assert {name: size for name, size in sizes.items() if size > ROOM.get(name, 1.5e6)} == {}
    assert len(pages["play.html"].select("main section")) == 2, "a pad, and a text box"
    assert {path.stem for path in BOOKS} <= set(questions()), "each chapter has its question in assets/chapters.csv"


def test_every_page_is_one_request_without_an_error(visit, made, address):
    for name in sorted(path.name for path in made.glob("*.html")):
        page = visit(address + name)
        page.locator(".gbi-host").count() and page.locator(".gbi input[type=range]").first.wait_for()
        assert [url for url in page.requests if not url.startswith(("data:", "blob:"))] == [address + name]
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
def test_axe_finds_nothing_and_no_page_is_wider_than_the_screen(visit, violations, made, scheme, width):
    for name in (*OWN, f"{BOOKS[0].stem}.html"):
        page = visit(made.as_uri() + f"/{name}?q=filter", color_scheme=scheme, viewport={"width": width, "height": 844})
        if name in ("play.html", "sliders.html"):
            page.get_by_role("button", name="Copy a link").last.wait_for()
            page.locator("[aria-busy=true]").wait_for(state="detached")  # a text that is being read is dimmed
        assert (name, violations(page, impacts=ANY)) == (name, [])
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


# ---- what is kept in the address ----

COUNT = """const replace = history.replaceState.bind(history);
history.written = 0; history.replaceState = (...all) => { history.written += 1; replace(...all); }; 0"""


def readouts(page):
    return page.locator(".gbi-readout:visible").all_inner_texts()


@pytest.fixture
def play(visit, address):
    """Opens the playground, or another page to play with, at what stands behind #, and waits until it is at rest."""

    def go(state="", file="play.html", **options):
        page = visit(f"{address}{file}{state}", **options)
        page.get_by_role("button", name="Copy a link").last.wait_for()
        if file == "play.html":
            page.locator(".gbi-readout", has_text=re.compile(r"step \d+ of 50: |pad is empty")).first.wait_for()
        return page

    return go


def address_with(page, *parts):
    """The address, once it holds these parts."""
    page.wait_for_function("parts => parts.every((part) => location.hash.includes(part))", arg=parts)
    return page.evaluate("location.hash")


def stroke(page, places):
    pad = page.locator(".gbi-pad canvas")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    spots = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(*spots[0])
    page.mouse.down()
    for spot in spots[1:]:
        page.mouse.move(*spot, steps=12)
    page.mouse.up()


def test_what_is_drawn_typed_and_set_is_in_the_address_and_another_sees_the_same(play):
    page = play()
    assert page.evaluate("location.hash") == ""
    stroke(page, [(0.3, 0.2), (0.7, 0.2), (0.45, 0.8)])
    page.get_by_label("prepared as MNIST was").uncheck()
    page.get_by_role("slider", name="Gradient step").press("ArrowLeft")
    page.get_by_role("textbox").fill("Whisk the eggs & <b>sugar</b> #1 = 100 % für 世界")
    page.get_by_role("slider", name="hazard").press("End")
    page.locator("[aria-busy=true]").wait_for(state="detached")
    page.get_by_role("slider", name="by word").press("PageDown")
    page.get_by_label("colours: ").select_option(index=2)
    parts = "strokes=", "raw=1", "step=49", "text=Whisk", "hazard=0.5", "word=", "colours=1"
    state = address_with(page, *parts)
    page.locator(".gbi-readout", has_text="of 50: ").wait_for()
    other = play(state)
    other.locator(".gbi-readout", has_text=readouts(page)[1]).wait_for()
    other.locator(".gbi-readout", has_text=readouts(page)[0]).wait_for()
    assert other.get_by_role("textbox").input_value() == page.get_by_role("textbox").input_value()
    assert other.get_by_label("colours: ").input_value() == "1"
    assert other.locator("main b").filter(has_text="sugar").count() == 0, "a text is no HTML"
    assert len(other.requests) == 1
    assert page.troubles + other.troubles == []


def test_digits_written_for_one_and_test_images_have_a_word_in_the_address(play):
    page = play("#digit=3")
    page.locator(".gbi-readout", has_text="One step: digit 3").wait_for()
    page.get_by_label("Take a digit").select_option("written 3")
    state = address_with(page, "digit=3.2")
    other = play(state)
    other.locator(".gbi-readout", has_text=readouts(page)[0].partition(";")[0]).wait_for()
    page.get_by_label("Take a digit").select_option("image 3")
    assert address_with(page, "image=") == "#image=a+0"
    page.evaluate("location.hash = 'digit=5'")
    page.locator(".gbi-readout", has_text="One step: digit 5").wait_for()
    page.get_by_role("button", name="Clear").click()
    play(address_with(page, "strokes=")).locator(".gbi-readout", has_text="The pad is empty").wait_for()


def test_places_of_sliders_are_in_the_address_and_taken_back_they_are_not(play):
    page = play(file="sliders.html")
    view = page.locator("[data-toy='04-three-contexts']")
    slider = view.get_by_role("slider", name="height of context 2")
    slider.press("ArrowLeft")
    view.get_by_role("checkbox").check()
    state = address_with(page, "04-three-contexts=", "%2Con")
    other = play(state, "sliders.html")
    there = other.locator("[data-toy='04-three-contexts']")
    assert there.locator(".gbi-readout").inner_text() == view.locator(".gbi-readout").inner_text()
    assert there.get_by_role("checkbox").is_checked()
    assert abs(there.bounding_box()["y"]) < 100, "the reader is led to it"
    slider.press("ArrowRight")
    view.get_by_role("checkbox").uncheck()
    page.wait_for_function("() => !location.href.includes('#')")
    assert page.troubles + other.troubles == []


BAD = [
    "#digit=99&raw=2&step=51&hazard=7",
    "#strokes=abc&image=a+12&step=-1",
    "#strokes=<img>.~&raw=&text=%E0%A4%A",
    "#__proto__=x&toString=y&digit=",
    "#" + "text=a&strokes=" + "A" * 300_000,
]


@pytest.mark.parametrize("state", BAD, ids=range(len(BAD)))
def test_an_address_that_says_nothing_right_or_too_much_is_left_alone(play, state):
    page = play(state)
    page.locator(".gbi-readout", has_text="word 12 of 12").first.wait_for()
    page.locator(".gbi-readout", has_text="digit 7 at 0.99").first.wait_for()
    assert page.evaluate("scrollY") == 0
    assert page.troubles == []


def test_the_address_is_written_once_a_pause_and_never_by_a_chapter(visit, made):
    page = visit((made / "play.html").as_uri())
    page.evaluate(COUNT)
    page.get_by_role("button", name="Copy a link").last.wait_for()
    page.get_by_role("textbox").press_sequentially(" and then a great deal more of it", delay=20)
    address_with(page, "more+of+it")
    assert page.evaluate("history.written") < 10
    page.goto((made / "04_toy_infer_z.html").as_uri())
    page.evaluate(COUNT)
    page.locator(".gbi input[type=range]").first.press("ArrowLeft")
    page.wait_for_timeout(1500)
    assert page.evaluate("history.written") == 0
    assert "#" not in page.url


def test_where_one_view_did_not_open_the_other_keeps_its_link(visit, made, tmp_path):
    damaged = tmp_path / "play.html"
    whole = (made / "play.html").read_text(encoding="utf-8")
    damaged.write_text(re.sub('"data":"[^"]{9}', '"data":"AAAAAAAAA', whole, count=1), encoding="utf-8")
    page = visit(f"{damaged.as_uri()}#text=two+eggs")
    page.get_by_text("This view did not open").wait_for()
    page.get_by_role("button", name="Copy a link").wait_for()
    assert page.get_by_role("textbox").input_value() == "two eggs"


def test_a_link_is_copied_by_keyboard_and_holds_the_view_beside_it_alone(play):
    page = play("#digit=3&hazard=0.1")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy a link").last.press("Enter")
    page.get_by_role("status").filter(has_text="The link is copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").endswith("play.html#hazard=0.1")
    page.get_by_role("textbox").fill("many words " * 1000)
    page.get_by_role("button", name="Copy a link").last.press("Enter")
    page.get_by_role("status").filter(has_text="is too long for a link, and is not in it.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").endswith("play.html#hazard=0.1")


def test_where_a_browser_refuses_to_copy_the_link_stands_there_selected(play, violations):
    page = play("#digit=3")
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    page.get_by_role("button", name="Copy a link").first.press("Enter")
    page.get_by_role("status").filter(has_text="The browser did not let this page copy").wait_for()
    assert page.evaluate("getSelection().toString() || document.activeElement.value").endswith("play.html#digit=3")
    page.locator("[aria-busy=true]").wait_for(state="detached")
    assert violations(page, impacts=ANY) == []


def test_a_drawing_that_is_no_digit_any_more_is_called_strange_as_it_grows(play):
    page = play()
    page.get_by_role("button", name="Clear").click()
    stroke(page, [(0.3, 0.2), (0.7, 0.2), (0.45, 0.8)])
    page.locator(".gbi-readout", has_text="; familiar: score").wait_for()
    for y in (0.35, 0.5, 0.65):
        stroke(page, [(0.2, y), (0.8, y)])
    page.locator(".gbi-readout", has_text="; strange: score").wait_for()


def test_on_paper_and_without_javascript_the_playground_has_its_pictures_and_no_controls(visit, made):
    page = visit((made / "play.html").as_uri())
    page.get_by_role("button", name="Copy a link").last.wait_for()
    page.emulate_media(media="print")
    for control in ("button:visible", "textarea:visible", ".gbi-pad select:visible", ".gbi-pad label:visible"):
        assert page.locator(f"main {control}").count() == 0, control
    for file in ("play.html", "sliders.html"):
        page = visit((made / file).as_uri(), java_script_enabled=False)
        toys = page.locator("main section")
        assert page.locator("main section img:visible").count() == toys.count()
        assert page.get_by_text("Allow JavaScript to").count() == toys.count()
        assert page.get_by_role("button").count() == 0
