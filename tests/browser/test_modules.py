"""The modules view on a page opened from disk, and in a real JupyterLab."""

import re

import pytest

from gbi_helpers import modules
from gbi_helpers.data.toy import switching_stream
from gbi_helpers.experiments.toy.recipes import train

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Modules</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body style="font-family: sans-serif"><main><h1>Modules</h1>{}</main></body></html>"""


@pytest.fixture(scope="module")
def html():
    """Two networks, really trained for a moment, watched at 21 moments."""
    stream = switching_stream(2, blocks=8, block=25)
    nets = {"LSTM": train(stream, frames=21).modules, "GBI-LSTM": train(stream, "post", "learned", frames=21).modules}
    return modules(nets, labels=["low", "high"], title="Do units divide?").html


@pytest.fixture(scope="module")
def written(html, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "modules.html"
    path.write_text(PAGE.format(f"{html}<hr>{html}"), encoding="utf-8")
    return path


def readout(page, number=0):
    return page.locator(".gbi-readout").nth(number).inner_text()


LOOK = """root => ({ maps: [...root.querySelectorAll('canvas')].map(c => c.toDataURL()),
  cursor: root.querySelector('.gbi-cursor').getAttribute('x1'),
  told: [...root.querySelectorAll('.gbi-maps')].map(m => m.getAttribute('aria-label')) })"""


def test_keys_move_through_training_and_no_host_is_asked(opened):
    page = opened()
    assert re.fullmatch(r"training step 0 of 195: LSTM overlap 0\.\d\d, GBI-LSTM overlap 0\.\d\d", readout(page))
    page.locator(".gbi input").first.focus()
    steps = []
    for key in ("ArrowRight", "ArrowLeft", "PageUp", "End", "ArrowRight", "PageDown", "Home"):
        page.keyboard.press(key)
        steps.append(int(readout(page).split()[2]))
    assert steps == [9, 0, 19, 195, 195, 175, 0]
    assert readout(page, 1).startswith("training step 0 of 195")
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.troubles == []


def test_units_gates_curve_and_words_change_together(opened):
    page = opened()
    first = page.locator(".gbi").first
    before = first.evaluate(LOOK)
    assert len(before["maps"]) == 6  # two tasks: the LSTM's drive, and drive and gate of the GBI-LSTM
    assert first.get_by_text("no gate").count() == 1
    first.locator("input").focus()
    page.keyboard.press("End")
    after = first.evaluate(LOOK)
    assert before["cursor"] != after["cursor"]
    assert all(old != new for old, new in zip(before["maps"], after["maps"], strict=True))
    assert re.fullmatch(
        r"LSTM, 32 units by 2 tasks at training step 195\. "
        r"Units for low: \d+, high: \d+, shared or silent: \d+\.",
        after["told"][0],
    )


def test_the_mouse_moves_the_step_on_the_curve(opened):
    page = opened()
    curve = page.locator(".gbi-curve-box svg").first.bounding_box()
    page.mouse.click(curve["x"] + curve["width"] * 0.53, curve["y"] + 80)
    assert 70 <= int(readout(page).split()[2]) <= 130


def test_the_networks_are_told_apart_by_more_than_colour(opened):
    page = opened()
    first = page.locator(".gbi").first
    assert sorted(first.locator(".gbi-name").all_text_contents()) == ["GBI-LSTM", "LSTM"]
    dashes = [first.locator(f".gbi-curve-{k}").evaluate("n => getComputedStyle(n).strokeDasharray") for k in (0, 1)]
    assert dashes[0] != dashes[1]


def test_play_runs_to_the_end_and_stops(opened):
    page = opened()
    page.locator(".gbi input").first.focus()
    page.keyboard.press(" ")
    assert page.locator(".gbi-play").first.inner_text() == "Pause"
    page.locator(".gbi").first.locator(".gbi-play", has_text="Play").wait_for(timeout=60_000)
    assert readout(page).startswith("training step 195 of 195")


def test_a_phone_needs_no_sideways_scrolling(opened):
    page = opened(viewport={"width": 390, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    nets = [page.locator(".gbi").first.locator(".gbi-net").nth(k).bounding_box() for k in range(2)]
    assert nets[1]["y"] > nets[0]["y"] + nets[0]["height"] - 1  # one below the other


def test_without_javascript_picture_and_table_stand_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator(".gbi-fallback img").first.is_visible()
    assert page.locator(".gbi-fallback table").first.is_visible()
    assert page.get_by_text("Run this cell to scrub").first.is_visible()


@pytest.mark.parametrize("width", [1000, 390])
def test_axe_finds_no_serious_violation(opened, violations, width):
    page = opened(viewport={"width": width, "height": 900})
    page.locator(".gbi input").first.focus()
    page.keyboard.press("End")
    assert violations(page) == []


# ---- a trusted notebook, opened in JupyterLab without a kernel ----


@pytest.fixture(scope="module")
def in_lab(without_kernel, html):
    with without_kernel("modules.ipynb", html, "1 + 1") as page:
        yield page


def selected(page):
    cells = page.locator(".jp-Notebook .jp-Cell")
    return [k for k in range(cells.count()) if "jp-mod-selected" in cells.nth(k).get_attribute("class")], cells.count()


def test_keys_in_jupyterlab_move_the_step_and_not_the_cell_without_a_kernel(in_lab):
    slider = in_lab.locator(".gbi input")
    slider.scroll_into_view_if_needed()
    slider.click(position={"x": 6, "y": 15})
    in_lab.keyboard.press("Home")
    before = selected(in_lab)
    for key, step in [("ArrowRight", 9), ("ArrowDown", 0), ("End", 195), ("PageDown", 175)]:
        in_lab.keyboard.press(key)
        assert readout(in_lab).startswith(f"training step {step} of 195")
    for key in ("d", "d", "x", "a"):
        in_lab.keyboard.press(key)
    assert selected(in_lab) == before
    assert not in_lab.locator(".gbi-fallback").is_visible()


def test_the_dark_theme_changes_the_inks(in_lab):
    in_lab.locator(".gbi input").focus()
    in_lab.keyboard.press("End")
    before = in_lab.locator(".gbi").evaluate(LOOK)["maps"]
    in_lab.evaluate("document.body.setAttribute('data-jp-theme-light', 'false')")
    in_lab.keyboard.press("ArrowLeft")
    in_lab.keyboard.press("ArrowRight")
    assert in_lab.locator(".gbi").evaluate(LOOK)["maps"][0] != before[0]
    in_lab.evaluate("document.body.setAttribute('data-jp-theme-light', 'true')")
