"""The words view on a page opened from disk, with the network off."""

import re

import nbformat
import numpy as np
import pytest
from widgets.lab_benchmark import press_keys
from widgets.toy import toy_read, toy_slots, toy_words

from gbi_helpers import read_along
from gbi_helpers.course.export import to_html

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Words</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body style="font-family: sans-serif"><main><h1>Words</h1>{}</main></body></html>"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page with a stream whose true sources are known, and a text whose source nobody knows."""
    path = tmp_path_factory.mktemp("page") / "words.html"
    known = read_along(toy_words(120), title="Which source is this from?").html
    path.write_text(PAGE.format(f"{known}<hr>{read_along(toy_read('bake the bread when it rains')).html}"), "utf-8")
    return path


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "long.html"
    path.write_text(PAGE.format(read_along(toy_words(1000)).html), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def slotted(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "slots.html"
    path.write_text(PAGE.format(read_along(toy_slots(120)).html), encoding="utf-8")
    return path


def readout(page, number=0):
    return page.locator(".gbi-readout").nth(number).inner_text()


def word(page, number):
    return page.locator(".gbi").first.locator(f"[data-at='{number - 1}']")


def test_keys_move_from_word_to_word_and_no_host_is_asked(opened):
    page = opened()
    record = toy_words(120)
    said = re.fullmatch(
        r"word 1 of 120, “stir”: (\+\d\.\d\d) nats for kitchen; belief kitchen at (0\.\d\d) \(true: kitchen\); "
        r"loss (\d\.\d\d) nats, \3 a word so far",
        readout(page),
    )
    assert float(said[1]) == pytest.approx(record.evidence[0, 0].item(), abs=0.006)
    assert float(said[2]) == pytest.approx(record.belief[0, 0].item(), abs=0.006)
    page.locator(".gbi input").first.focus()
    for key, place in [("ArrowRight", 2), ("ArrowLeft", 1), ("PageUp", 13), ("End", 120), ("ArrowRight", 120)]:
        page.keyboard.press(key)
        assert readout(page).startswith(f"word {place} of 120, “{record.words[place - 1]}”: ")
    assert readout(page).endswith(f"{record.loss.mean():.2f} a word so far")
    page.keyboard.press("Home")
    assert readout(page, 1).startswith("word 1 of 6")
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.troubles == []


def test_a_click_on_a_word_jumps_there_and_keys_go_on_from_it(opened):
    page = opened()
    word(page, 50).click()
    assert readout(page).startswith("word 50 of 120, “with”")
    assert page.locator(".gbi").first.locator(".gbi-now").all_text_contents() == ["with"]
    page.keyboard.press("ArrowRight")
    assert readout(page).startswith("word 51 of 120")
    assert page.locator(".gbi-text").first.evaluate("node => node === document.activeElement")


def test_bars_rows_and_text_change_together(opened):
    page = opened()
    look = """root => ({ bars: [...root.querySelectorAll('.gbi-bar')].map(b => b.getAttribute('height')).join(),
        cursor: root.querySelector('.gbi-cursor').getAttribute('x1'),
        top: root.querySelector('.gbi-ridges .gbi-on').textContent,
        told: root.querySelector('.gbi-ridges svg').getAttribute('aria-label'),
        word: root.querySelector('.gbi-now').textContent })"""
    first = page.locator(".gbi").first
    before = first.evaluate(look)
    first.locator("input").focus()
    for _ in range(4):
        page.keyboard.press("PageUp")
    after = first.evaluate(look)
    assert {name for name in before if before[name] != after[name]} == set(before)
    assert after["top"] == "weather"
    box = page.locator(".gbi-ridges svg").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 6, box["y"] + 40)
    assert int(readout(page).split()[1]) >= 118


def test_the_colours_follow_the_chosen_task_and_the_sign_is_told_without_colour(opened):
    page = opened()
    kinds = """root => [...root.querySelectorAll('.gbi-text .gbi-word')].map((word) => ({
        sign: /gbi-(for|against)-/.exec(word.className)?.[1] ?? '',
        line: getComputedStyle(word).borderBottomStyle }))"""
    first, record = page.locator(".gbi").first, toy_words(120)
    lines = {"for": "solid", "against": "dotted"}

    def signs():
        seen = first.evaluate(kinds)
        assert all(each["line"] == lines[each["sign"]] for each in seen if each["sign"])
        return [each["sign"] for each in seen]

    def wanted(evidence):
        return ["" if abs(e) < 0.25 else "for" if e > 0 else "against" for e in evidence.tolist()]  # 2 nats in 8 halves

    assert signs() == wanted(record.evidence.gather(1, record.true[:, None])[:, 0])
    first.locator("select").select_option("computer")
    assert signs() == wanted(record.evidence[:, 2])
    assert re.match(r"word 1 of 120, “stir”: −\d\.\d\d nats for computer; belief kitchen", readout(page))
    first.locator("select").select_option("the task on top at the cursor")
    assert signs() == wanted(record.evidence[:, 0])
    word(page, 50).click()
    assert signs() == wanted(record.evidence[:, 1])


def test_keys_on_the_menu_choose_a_task_and_not_a_word(opened):
    page = opened()
    word(page, 7).click()
    page.locator("select").first.focus()
    page.keyboard.press("ArrowDown")
    assert readout(page).startswith("word 7 of 120")
    assert page.locator("select").first.input_value() == "top"


def test_true_sources_stand_in_the_text_and_as_boxes_by_name(opened):
    page = opened()
    first, second = page.locator(".gbi").first, page.locator(".gbi").nth(1)
    assert first.locator(".gbi-source").all_text_contents() == ["kitchen", "weather", "computer", "kitchen"]
    assert first.locator(".gbi-true").count() == 4
    assert second.locator(".gbi-source, .gbi-true").count() == 0
    assert second.locator("option").all_text_contents() == [
        "the task on top at the cursor",
        "kitchen",
        "weather",
        "computer",
    ]


def test_a_thousand_words_stay_quick_and_the_cursor_in_sight(opened, long):
    page = opened(long)
    page.locator("select").select_option("top")
    drawn = press_keys(page, 40)[:, 0]
    assert np.median(drawn) <= 16
    page.keyboard.press("End")
    inside = """() => { const box = document.querySelector('.gbi-text').getBoundingClientRect();
        const word = document.querySelector('.gbi-now').getBoundingClientRect();
        return word.top >= box.top && word.bottom <= box.bottom; }"""
    assert page.evaluate(inside)


def test_words_have_the_colour_and_the_sign_of_their_slot_and_the_true_source_as_a_line(opened, slotted):
    page, record = opened(slotted), toy_slots(120)
    slot = record.belief.argmax(1)
    turns = [0, *(slot.diff().nonzero()[:, 0] + 1).tolist()]
    assert page.locator(".gbi-slot").all_text_contents() == [f"slot {slot[t]}" for t in turns]
    sources = ["kitchen", "weather", "computer", "kitchen"]
    assert page.locator(".gbi-source:not(.gbi-slot)").all_text_contents() == sources
    look = """nodes => nodes.map(n => [getComputedStyle(n).backgroundColor, getComputedStyle(n).borderBottomStyle])"""
    looks = page.locator(".gbi-text .gbi-word").evaluate_all(look)
    colours = {
        int(k): {colour for (colour, _), own in zip(looks, slot, strict=True) if own == k} for k in slot.unique()
    }
    assert all(len(found) == 1 for found in colours.values())
    assert len(set.union(*colours.values())) == len(colours) == 3
    begins = [0, *(record.true.diff().nonzero()[:, 0] + 1).tolist()]
    assert [looks[t][1] for t in begins] == ["solid", "double", "solid", "double"]
    assert re.search(r"belief slot 2 at 0\.\d\d \(true: kitchen\)", readout(page))
    page.locator("select").select_option("evidence for the slot on top at the cursor")
    assert page.locator(".gbi-slotted").count() == 0
    assert page.locator(".gbi-text .gbi-for-2").count() > 0
    page.locator("select").select_option("the slot of each word")
    assert page.locator(".gbi-slotted").count() == 120
    assert page.troubles == []


def test_of_slots_only_those_in_use_have_a_row_and_the_last_row_is_the_true_source(opened, slotted):
    page = opened(slotted)
    assert "3 of 5 slots (last row: true source)" in page.locator(".gbi-ridges .gbi-head").inner_text()
    assert page.locator(".gbi-ridge").count() == 3
    boxes = page.locator(".gbi-true")
    assert boxes.count() == 4
    assert len({boxes.nth(k).get_attribute("y") for k in range(4)}) == 1
    assert {"kitchen", "weather", "computer"} <= set(page.locator(".gbi-ridges text").all_text_contents())


@pytest.mark.parametrize("width", [1000, 360])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("which", ["written", "slotted"])
def test_axe_finds_no_serious_violation_and_a_phone_needs_no_sideways_scrolling(
    opened, violations, request, which, width, theme
):
    page = opened(request.getfixturevalue(which), viewport={"width": width, "height": 900})
    if theme == "dark":
        page.evaluate("""() => { const { style, dataset } = document.body; dataset.jpThemeLight = 'false';
            style.background = '#111'; style.color = '#eee'; }""")
    word(page, 50).click()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_print_shows_the_whole_text(opened, long):
    page = opened(long)
    page.emulate_media(media="print")
    text = page.locator(".gbi-text").first
    assert text.evaluate("node => node.scrollHeight - node.clientHeight") <= 1
    assert not page.locator(".gbi-play").first.is_visible()


def test_it_reads_along_on_an_exported_page(opened, violations, tmp_path):
    bundle = read_along(toy_words(120))._repr_mimebundle_()
    output = nbformat.v4.new_output("execute_result", data=bundle, execution_count=1)
    cells = [nbformat.v4.new_markdown_cell("# A chapter")]
    cells.append(nbformat.v4.new_code_cell("read_along(record)", outputs=[output], execution_count=1))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "chapter.ipynb")
    page = opened(
        to_html(tmp_path / "chapter.ipynb", tmp_path / "chapter.html"), viewport={"width": 360, "height": 800}
    )
    word(page, 50).click()
    assert readout(page).startswith("word 50 of 120, “with”")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_without_javascript_picture_table_and_text_stand_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator(".gbi-fallback img").first.is_visible()
    assert page.locator(".gbi-fallback table").first.is_visible()
    assert page.get_by_text("Run this cell to scrub through the words").first.is_visible()
