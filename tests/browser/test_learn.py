"""The view of learners that go through contexts, on a page opened from disk and in forced colours."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from widgets.toy import toy_learning

from gbi_helpers import learn_along

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Learning</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body style="font-family: sans-serif"><main><h1>Learning</h1>{}</main></body></html>"""


@pytest.fixture(scope="module")
def record():
    return toy_learning(gates=True)


@pytest.fixture(scope="module")
def written(record, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "learning.html"
    path.write_text(PAGE.format(learn_along(record, title="What is kept?").html), encoding="utf-8")
    return path


FIT = "cells => cells.every((cell) => cell.scrollWidth <= cell.clientWidth)"


def press(page, *keys):
    page.locator(".gbi input").focus()
    for key in keys:
        page.keyboard.press(key)
    return page.locator(".gbi-readout").inner_text()


def cells(page, learner):
    """The numbers in the cells of one learner's map, row by row; None where there is none."""
    rows = "rows => rows.map((row) => [...row.querySelectorAll('td')].map((cell) => cell.textContent))"
    found = page.locator(".gbi-right table").nth(learner).locator("tr + tr").evaluate_all(rows)
    return [[int(text) if text else None for text in row] for row in found]


def rounded(values):
    return [None if np.isnan(v) else int(np.floor(v + 0.5)) for v in values.tolist()]


def test_arrows_move_through_training_and_the_map_fills_row_by_row(opened, record):
    page = opened()
    contexts = [(key, press(page, key)) for key in ("Home", *["ArrowRight"] * 6, "ArrowLeft", "End", "ArrowRight")]
    said = [
        re.match(r"context (\d) of 5 \((\d, \d)\), step (\d+); right so far: ", text).groups() for _, text in contexts
    ]
    assert said[:2] == [("1", "0, 1", "10"), ("1", "0, 1", "20")]
    assert said[6:] == [("2", "2, 3", "10"), ("1", "0, 1", "60"), ("5", "8, 9", "60"), ("5", "8, 9", "60")]
    press(page, "Home", *["ArrowRight"] * 14)  # the third moment of the third context
    for k in range(2):
        found = cells(page, k)
        assert found[:3] == [rounded(record.r[k, stage]) for stage in (5, 11, 14)]
        assert found[3:] == [[None] * 5] * 2
        later = page.locator(".gbi-right table").nth(k).locator(".gbi-later")
        assert later.count() == 4 + 3 + 2
        assert page.locator(".gbi-right table").nth(k).locator(".gbi-now th").inner_text() == "4, 5"
    assert page.requests == [page.url]
    assert page.troubles == []


def test_a_digit_shows_its_next_test_image_to_both_learners(opened, record):
    page = opened()
    pixels = """node => [...node.getContext('2d').getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0)"""
    canvas, told = page.locator(".gbi-pick canvas"), page.locator(".gbi-pick p")
    heights = "bars => bars.map((bar) => +bar.getAttribute('height'))"
    press(page, "End")
    for digit, image in ((7, 28), (7, 29), (7, 30), (7, 31), (0, 0)):
        said = press(page, str(digit))
        assert told.inner_text().startswith(f"a test image of {digit} ({image % 4 + 1} of 4)")
        np.testing.assert_allclose(np.array(canvas.evaluate(pixels)) / 255, record.images[image].flatten(), atol=0.003)
        for k, name in enumerate(record.learners):
            q = record.q[k, -1, image]
            drawn = np.array(page.locator(".gbi-learner").nth(k).locator(".gbi-bar").evaluate_all(heights))
            np.testing.assert_allclose(drawn / drawn.sum(), q, atol=0.01)
            read = re.search(rf"the {digit} shown is read as: .*{name} (\d) at (0\.\d\d|1\.00)", said)
            assert int(read[1]) == q.argmax()
            assert float(read[2]) == pytest.approx(q.max().item(), abs=0.008)
    press(page, "7", "7")
    assert told.inner_text().startswith("a test image of 7 (2 of 4)")
    pressed = page.locator(".gbi-choices [aria-pressed=true]")
    assert pressed.all_text_contents() == ["7"]
    page.locator(".gbi-choices button").nth(3).click()
    assert pressed.all_text_contents() == ["3"]
    page.keyboard.press("ArrowLeft")
    assert page.locator(".gbi-readout").inner_text().startswith("context 5 of 5 (8, 9), step 50")


def test_the_right_class_and_those_not_heard_of_are_marked_by_shapes(opened):
    page = opened()
    said = press(page, "Home", "6")
    assert "the 6 shown (not heard of yet) is read as: " in said
    for k in range(2):
        own = page.locator(".gbi-learner").nth(k)
        assert own.locator(".gbi-unheard").all_text_contents() == [""] * 2 + ["?"] * 8
        box, bar = (own.locator(which).bounding_box() for which in (".gbi-truth", ".gbi-unheard >> nth=6"))
        assert box["x"] < bar["x"] < bar["x"] + bar["width"] < box["x"] + box["width"]
        label = own.locator("svg[role=img]").get_attribute("aria-label")
        assert "the right class is 6. Not heard of yet: 2, 3, 4, 5, 6, 7, 8, 9." in label
    assert page.locator(".gbi-mean.gbi-absent").count() == 8
    press(page, "End")
    assert page.locator(".gbi-mean.gbi-absent").count() == 0
    assert page.locator(".gbi-kept [role=img]").get_attribute("aria-label").endswith("of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9.")
    assert page.locator(".gbi-unheard", has_text="?").count() == 0


def test_means_and_gates_are_those_of_the_record(opened, record):
    page = opened()
    press(page, "Home", *["ArrowRight"] * 8)
    pixels = "(node, channel) => [...node.getContext('2d').getImageData(0, 0, node.width, node.height).data]"
    pixels += ".filter((_, i) => i % 4 === channel)"
    mean = page.locator(".gbi-mean canvas").nth(3).evaluate(pixels, 0)
    np.testing.assert_allclose(np.array(mean) / 255, record.means[8, 3].clamp(0, 1).flatten(), atol=0.003)
    gates = [row.evaluate(pixels, 3) for row in page.locator(".gbi-gates canvas").all()]
    assert np.array_equal(np.array(gates) / 255, record.gates)
    assert page.locator(".gbi-gates .gbi-now span").all_text_contents() == ["2, 3"]
    on = int(record.gates[1].sum())
    assert (
        page.locator(".gbi-gates canvas").nth(1).get_attribute("aria-label") == f"{on} of 60 units on in context 2, 3"
    )


def test_numbers_on_the_darkest_cells_can_be_read_in_both_themes(opened):
    page = opened()
    press(page, "End")
    look = """node => { const canvas = document.createElement("canvas").getContext("2d");
        const rgba = (colour, under) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = under;
          canvas.fillRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
          return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };
        const { backgroundColor, color } = getComputedStyle(node), page = getComputedStyle(document.body);
        const ground = page.backgroundColor === "rgba(0, 0, 0, 0)" ? "#fff" : page.backgroundColor;
        return [rgba(backgroundColor, ground), rgba(color, ground)]; }"""
    darkest = page.locator(".gbi-told", has_text=re.compile("^100$")).first
    for theme in ("light", "dark"):
        if theme == "dark":
            page.evaluate("""() => { document.body.dataset.jpThemeLight = "false";
                document.body.style.cssText = "background: #111; color: #eee"; }""")
        ground, text = (luminance(colour) for colour in darkest.evaluate(look))
        low, high = sorted((ground, text))
        assert (high + 0.05) / (low + 0.05) >= 4.5


def luminance(colour):
    linear = np.array(colour) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_in_forced_colours_only_cells_that_are_asked_have_a_frame(opened):
    page = opened(forced_colors="active", color_scheme="dark")
    press(page, "Home", *["ArrowRight"] * 6)
    style = "nodes => nodes.map((node) => getComputedStyle(node).borderTopStyle)"
    frames = page.locator(".gbi-right table").first.locator("tr + tr td").evaluate_all(style)
    assert frames == [*["solid"] + ["dashed"] * 4, *["solid"] * 2 + ["dashed"] * 3, *["none"] * 15]


@pytest.mark.parametrize("width", [1000, 360])
def test_numbers_of_ten_contexts_fit_their_cells(opened, record, tmp_path, width):
    ten = {"r": torch.full((2, 10, 10), 100.0), "context": torch.arange(10), "contexts": [str(i) for i in range(10)]}
    first = {name: getattr(record, name)[:10] for name in ("step", "known", "means")}
    path = tmp_path / "ten.html"
    ten |= {"q": record.q[:, :10], "gates": torch.ones(10, 60)}
    path.write_text(PAGE.format(learn_along(replace(record, **ten, **first)).html), encoding="utf-8")
    page = opened(path, viewport={"width": width, "height": 900})
    press(page, "End")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".gbi-told", has_text="100").count() == 200
    assert page.locator(".gbi-right :is(th, td)").evaluate_all(FIT)
    sides = [page.locator(".gbi-learner").last.locator("figure").nth(k).bounding_box()["y"] for k in range(3)]
    assert (len({round(top) for top in sides}) == 1) == (width == 1000)


@pytest.mark.parametrize("width", [1000, 360])
def test_axe_finds_no_serious_violation_and_a_phone_no_sideways_scrolling(opened, violations, width):
    page = opened(viewport={"width": width, "height": 900})
    press(page, "End")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    tops = [page.locator(".gbi-learner").last.locator("figure").nth(k).bounding_box()["y"] for k in range(3)]
    assert (len({round(top) for top in tops}) == 1) == (width == 1000)  # side by side, or one below the other
    assert page.locator(".gbi-right :is(th, td)").evaluate_all(FIT)
    assert violations(page) == []


def test_without_javascript_picture_and_table_stand_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator(".gbi-fallback img").is_visible()
    assert page.locator(".gbi-fallback table").is_visible()
    assert page.get_by_text("Run this cell to scrub").is_visible()


# ---- a trusted notebook, opened in JupyterLab without a kernel ----


def test_digits_in_jupyterlab_choose_an_image_and_no_command_of_its_own(without_kernel, record):
    """There "0 0" restarts the kernel, and "m" makes the cell a text, also where a button of a view has the focus."""
    with without_kernel("learning.ipynb", learn_along(record).html) as page:
        slider = page.locator(".gbi input")
        slider.scroll_into_view_if_needed()
        slider.click(position={"x": 6, "y": 15})
        for key in "001":
            page.keyboard.press(key)
        told = page.locator(".gbi-pick p")
        assert told.inner_text().startswith("a test image of 1 (1 of 4)")
        page.locator(".gbi-choices button").nth(5).click()
        for key in "003mdd":
            page.keyboard.press(key)
        assert told.inner_text().startswith("a test image of 3 (1 of 4)")
        page.wait_for_timeout(300)
        assert page.locator(".jp-Dialog").count() == 0
        assert page.locator(".jp-CodeCell").count() == 1
