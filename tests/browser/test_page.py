"""Scrubbers on a page opened from disk, with the network off."""

import io
import re
from itertools import pairwise
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from widgets.lab_benchmark import press_keys
from widgets.toy import toy_path

from gbi_helpers.course.export import to_html
from gbi_helpers.widgets import scrub

BOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Scrubbers</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body style="font-family: sans-serif"><main><h1>Scrubbers</h1>{}</main></body></html>"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page with two equal scrubbers and one of another record."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    digit = scrub(toy_path(steps=20), labels="digit", title="Which digit is it?")
    other = scrub(toy_path(3, steps=8, free=True), labels=["red", "green", "blue"])
    path.write_text(PAGE.format("<hr>".join([digit.html, digit.html, other.html])), encoding="utf-8")
    return path


GROUPS = [f"kind {k % 20} of many things" for k in range(100)]


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """A page with one scrubber over a hundred tasks in twenty groups, its pictures in colour, and its record."""
    record = toy_path(100, steps=20, lr=0.5)
    record = record.with_frames(
        torch.stack([record.frames, record.frames / 2, 1 - record.frames], 2),
        torch.stack([record.target, record.target / 2, 1 - record.target], 1),
    )
    path = tmp_path_factory.mktemp("page") / "grouped.html"
    names = [f"class {k}" for k in range(100)]
    shown = scrub(record, labels=names, groups=GROUPS, title="Which of a hundred?")
    path.write_text(PAGE.format(shown.html), encoding="utf-8")
    return path, record


def readout(page, number=0):
    return page.locator(".gbi-readout").nth(number).inner_text()


def test_it_scrubs_by_keyboard_and_asks_no_host(opened):
    page = opened()
    assert page.locator(".gbi").count() == 3
    assert re.fullmatch(r"step 0 of 20: all 10 equal at 0\.10, loss [\d.]+ nats", readout(page))
    page.locator(".gbi input").first.focus()
    for key, step in [("ArrowRight", 1), ("ArrowUp", 2), ("ArrowLeft", 1), ("PageUp", 3), ("PageDown", 1), ("End", 20)]:
        page.keyboard.press(key)
        assert readout(page).startswith(f"step {step} of 20: ")
    assert re.fullmatch(r"step 20 of 20: digit 3 at 0\.\d\d, loss [\d.]+ nats", readout(page))
    page.keyboard.press("ArrowRight")
    assert readout(page).startswith("step 20 of 20")
    page.keyboard.press("Home")
    assert readout(page).startswith("step 0 of 20")
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.troubles == []


def test_equal_and_other_scrubbers_do_not_disturb_each_other(opened):
    page = opened()
    page.locator(".gbi input").nth(1).focus()
    page.keyboard.press("End")
    steps = [readout(page, number).split(":")[0] for number in range(3)]
    assert steps == ["step 0 of 20", "step 20 of 20", "step 0 of 8"]


def test_the_three_views_change_together(opened):
    page = opened()
    first = page.locator(".gbi").first
    look = """root => ({ bars: [...root.querySelectorAll('.gbi-bar')].map(b => b.getAttribute('height')).join(),
        cursor: root.querySelector('.gbi-cursor').getAttribute('x1'),
        image: root.querySelectorAll('canvas')[0].toDataURL(),
        target: root.querySelectorAll('canvas')[1].toDataURL() })"""
    before = first.evaluate(look)
    first.locator("input").focus()
    page.keyboard.press("End")
    after = first.evaluate(look)
    assert {name for name in before if before[name] != after[name]} == {"bars", "cursor", "image"}


def test_the_mouse_moves_the_step_on_slider_and_curve(opened):
    page = opened()
    slider = page.locator(".gbi input").first.bounding_box()
    page.mouse.click(slider["x"] + slider["width"] - 9, slider["y"] + slider["height"] / 2)
    assert readout(page).startswith("step 20 of 20")
    curve = page.locator(".gbi-curve-box svg").first.bounding_box()
    page.mouse.click(curve["x"] + curve["width"] * 0.9, curve["y"] + 80, button="right")
    page.mouse.move(curve["x"] - 30, curve["y"] + 80)  # a drag that begins outside, as one that marks words
    page.mouse.down()
    page.mouse.move(curve["x"] + curve["width"] * 0.2, curve["y"] + 80)
    page.mouse.up()
    assert readout(page).startswith("step 20 of 20")
    page.mouse.click(curve["x"] + curve["width"] * 0.55, curve["y"] + 80)
    assert 6 <= int(readout(page).split()[1]) <= 14


def touch(page, spots):
    """A finger goes along these places."""
    session = page.context.new_cdp_session(page)
    for k, (x, y) in enumerate(spots):
        kind = "touchMove" if k else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_finger_that_scrolls_past_a_curve_moves_no_step(opened):
    page = opened(has_touch=True, viewport={"width": 390, "height": 500})
    curve = page.locator(".gbi-curve-box svg").first
    curve.scroll_into_view_if_needed()
    box, before = curve.bounding_box(), page.evaluate("scrollY")
    x, y = box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2
    touch(page, [(x, y - 12 * k) for k in range(15)])
    page.wait_for_function("before => scrollY > before + 50", arg=before)
    assert readout(page).startswith("step 0 of 20")
    curve.scroll_into_view_if_needed()
    box = curve.bounding_box()
    x, y = box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2
    touch(page, [(x, y)])
    assert 12 <= int(readout(page).split()[1]) <= 18
    touch(page, [(x - 10 * k, y + 2 * k) for k in range(16)])
    assert int(readout(page).split()[1]) < 12


def test_play_runs_to_the_end_and_stops(opened):
    page = opened()
    page.locator(".gbi input").first.focus()
    page.keyboard.press(" ")
    assert page.locator(".gbi-play").first.inner_text() == "Pause"
    page.locator(".gbi-play", has_text="Play").nth(2).wait_for(timeout=60_000)
    assert readout(page).startswith("step 20 of 20")
    page.locator(".gbi-play").first.click()
    page.wait_for_timeout(300)
    page.locator(".gbi-play").first.click()
    assert 0 < int(readout(page).split()[1]) < 20


def test_reduced_motion_plays_in_few_slow_steps(opened):
    page = opened(reduced_motion="reduce")
    wait = """() => new Promise((done) => {
        const start = performance.now();
        new MutationObserver(() => done(performance.now() - start))
            .observe(document.querySelector('.gbi-readout'), { childList: true, subtree: true, characterData: true });
        document.querySelector('.gbi-play').click(); })"""
    assert page.evaluate(wait) >= 600  # the default pace shows the next step after 90 ms
    moving = "[...document.querySelectorAll('.gbi *')].some(e => getComputedStyle(e).transitionDuration !== '0s')"
    assert not page.evaluate(moving)


HEARD = """window.heard = [];
new MutationObserver((all) => { for (const node of new Set(all.map(({ target }) => target))) {
    if (node.ariaLive === "polite" && node.matches(".gbi-readout")) heard.push(node.textContent); } })
        .observe(document, { childList: true, subtree: true });"""


def test_a_screen_reader_hears_where_the_reader_comes_to_rest_and_nothing_else(opened):
    page = opened()
    page.add_init_script(HEARD)
    page.reload()
    page.locator(".gbi").nth(2).wait_for()
    page.wait_for_timeout(1000)
    page.set_viewport_size({"width": 600, "height": 800})  # all is drawn anew
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_timeout(1000)
    assert page.evaluate("heard") == []
    page.locator(".gbi input").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("heard.length")
    page.locator(".gbi-play").first.click()
    page.wait_for_function("heard.length > 1")
    assert [said.split(":")[0] for said in page.evaluate("heard")] == ["step 3 of 20", "step 20 of 20"]
    where = page.locator(".gbi input").first.get_attribute("aria-valuetext")
    assert re.fullmatch(r"step \d+ of \d+", where)  # and the read-out says the rest: not the same twice
    assert readout(page).startswith(f"{where}:")


def test_the_largest_bar_is_told_by_more_than_colour(opened):
    page = opened()
    page.locator(".gbi input").first.focus()
    page.keyboard.press("End")
    bold = page.locator(".gbi").first.locator(".gbi-panel").first.locator(".gbi-on").all_text_contents()
    assert bold[0] == "3"
    assert re.fullmatch(r"0\.\d\d", bold[1])
    assert "url(" in page.locator(".gbi-bar").nth(3).get_attribute("style")
    label = page.locator(".gbi svg[role=img]").first.get_attribute("aria-label")
    assert re.fullmatch(
        r"Bars of z\. step 20 of 20: .+ nats\. " + ", ".join(rf"digit {k} at [\d.]+" for k in range(10)) + r"\.", label
    )


def test_the_largest_bar_stays_drawn_where_another_view_is_hidden(opened):
    """As in JupyterLab, which hides cells that are out of sight: a pattern in a hidden view paints nothing."""
    page = opened()
    page.evaluate("document.querySelector('.gbi').style.display = 'none'")
    view = page.locator(".gbi").nth(2)
    view.locator("input").focus()
    page.keyboard.press("End")
    bar = view.locator("rect.gbi-bar[style*='url']")
    pixels = np.array(Image.open(io.BytesIO(bar.screenshot())).convert("RGB")).astype(int)
    orange = (pixels[..., 0] - pixels[..., 2]) > 80
    assert orange.mean() > 0.3


def test_a_phone_needs_no_sideways_scrolling(opened):
    page = opened(viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [page.locator(".gbi").first.locator("svg[role=img]").nth(k).bounding_box() for k in range(2)]
    assert boxes[1]["y"] > boxes[0]["y"] + boxes[0]["height"] - 1  # one below the other
    assert all(box["width"] > 300 for box in boxes)


def test_a_print_shows_the_step_that_was_open(opened):
    page = opened()
    page.locator(".gbi input").first.focus()
    page.keyboard.press("End")
    page.emulate_media(media="print")
    assert readout(page).startswith("step 20 of 20")
    assert not page.locator(".gbi-play").first.is_visible()
    assert page.locator(".gbi svg[role=img]").first.is_visible()


def test_without_javascript_picture_table_and_hint_stand_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator(".gbi").count() == 0
    assert page.locator(".gbi-fallback img").first.is_visible()
    assert page.locator(".gbi-fallback table").first.is_visible()
    assert page.get_by_text("Run this cell to scrub").first.is_visible()


def test_the_fallback_is_hidden_where_it_scrubs(opened):
    assert not opened().locator(".gbi-fallback").first.is_visible()


# ---- colour and groups ----


def test_the_picture_has_the_colours_of_the_record(opened, grouped):
    path, record = grouped
    page = opened(path)
    page.locator(".gbi input").focus()
    page.keyboard.press("End")
    pixels = """number => { const canvas = document.querySelectorAll('canvas')[number];
        return [...canvas.getContext('2d').getImageData(0, 0, 28, 28).data]; }"""
    low, high = min(0.0, record.frames.min().item()), max(1.0, record.frames.max().item())
    for number, image in enumerate((record.frames[-1, 0], record.target[0])):
        wanted = ((image - low) / (high - low) * 255).permute(1, 2, 0).reshape(-1, 3)
        drawn = torch.tensor(page.evaluate(pixels, number)).reshape(-1, 4)
        assert (drawn[:, :3] - wanted).abs().max() <= 1
        assert (drawn[:, 3] == 255).all()


def test_a_hundred_bars_stand_by_group_and_the_readout_names_class_group_and_total(opened, grouped):
    path, record = grouped
    page = opened(path)
    assert page.locator(".gbi-bar").count() == 100
    assert page.locator(".gbi-shade").count() == 10  # every other group
    page.locator(".gbi input").focus()
    page.keyboard.press("End")
    best = int(record.z[-1, 0].argmax())
    total = sum(record.z[-1, 0, k] for k in range(100) if GROUPS[k] == GROUPS[best])
    said = re.match(r"step 20 of 20: class (\d+) at 0\.\d\d \((.+), (\d\.\d\d) in all\), loss", readout(page))
    assert (int(said[1]), said[2]) == (best, GROUPS[best])
    assert float(said[3]) == pytest.approx(total.item(), abs=0.006)
    order = sorted(set(GROUPS))
    heights = page.locator(".gbi-bar").evaluate_all("bars => bars.map((bar) => +bar.getAttribute('height'))")
    assert heights.index(max(heights)) // 5 == order.index(GROUPS[best])
    bold = page.locator(".gbi-grouped .gbi-on").all_text_contents()
    assert bold[0].startswith(GROUPS[best][:6])
    assert bold[1].startswith(f"class {best}: ")


@pytest.mark.parametrize("width", [1000, 360])
def test_names_of_groups_fit_and_do_not_cover_each_other(opened, violations, grouped, width):
    page = opened(grouped[0], viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    spots = (
        "texts => texts.filter((t) => t.textContent.startsWith('kind')).map((t) => t.getBoundingClientRect().toJSON())"
    )
    boxes = page.locator(".gbi-grouped svg text").evaluate_all(spots)
    assert len(boxes) == 20
    assert all(box["left"] >= 0 and box["right"] <= width for box in boxes)
    below = page.locator(".gbi-panel").nth(1).bounding_box()["y"]
    assert all(box["bottom"] <= below + 2 for box in boxes)
    assert all(after["right"] - before["right"] >= 11 for before, after in pairwise(boxes))
    assert violations(page) == []


def test_a_hundred_bars_are_drawn_within_a_frame(opened, grouped):
    page = opened(grouped[0])
    page.locator(".gbi input").focus()
    drawn = press_keys(page, 30)[:, 0]
    assert np.median(drawn) <= 16


@pytest.mark.parametrize("width", [1000, 390])
def test_axe_finds_no_serious_violation(opened, violations, width):
    page = opened(viewport={"width": width, "height": 900})
    page.locator(".gbi input").first.focus()
    page.keyboard.press("End")
    assert violations(page) == []


def test_the_exported_page_scrubs_offline_too(opened, violations, tmp_path):
    bundle = scrub(toy_path(steps=20), labels="digit")._repr_mimebundle_()
    output = nbformat.v4.new_output("execute_result", data=bundle, execution_count=1)
    cells = [
        nbformat.v4.new_markdown_cell("# A chapter\n\nWith a formula: $q_k = e^{-L_k}$."),
        nbformat.v4.new_code_cell("scrub(record)", outputs=[output], execution_count=1),
    ]
    notebook, page_path = tmp_path / "chapter.ipynb", tmp_path / "chapter.html"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    to_html(notebook, page_path)
    page = opened(page_path)
    page.locator(".gbi input").focus()
    page.keyboard.press("End")
    assert readout(page).startswith("step 20 of 20: digit 3")
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert violations(page) == []


def with_each_colour_of_code_once(path, short):
    """The page with one word of code in each of its colours: axe would take most of its time for ten thousand more."""
    seen = set()

    def once(word):
        return word[2] if word[1] in seen else seen.add(word[1]) or word[0]

    text = re.sub(r'<span class="([a-z][a-z0-9]?)">([^<]*)</span>', once, path.read_text(encoding="utf-8"))
    assert 10 < len(seen) < 60
    short.write_text(text, encoding="utf-8")
    return short


# Of a table's rows that consist of the same elements, the first three: as above.
FEW_ROWS = """() => document.querySelectorAll("table").forEach((table) => { const seen = {};
    for (const row of [...table.rows]) {
        const look = [...row.querySelectorAll("*")].map((node) => node.localName + "." + node.className).join();
        seen[look] = (seen[look] || 0) + 1;
        if (seen[look] > 3) row.remove();
    } })"""


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
def test_a_page_of_the_course_reads_offline_on_a_phone_and_passes_axe(
    browser, violations, page_of_chapter, tmp_path, book
):
    context = browser.new_context(offline=True, viewport={"width": 360, "height": 800})
    page, requests, troubles = context.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    written = page_of_chapter(book)
    for path in (written, with_each_colour_of_code_once(written, tmp_path / "short.html")):
        page.goto(path.as_uri())
        for number in range(page.locator(".gbi-host").count()):
            page.locator(".gbi-host").nth(number).locator(".gbi-bar-row input").wait_for(state="attached")
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.evaluate(FEW_ROWS)
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert violations(page, rules=["color-contrast", "link-in-text-block"]) == []  # what a scheme can change
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert troubles == []
    context.close()
