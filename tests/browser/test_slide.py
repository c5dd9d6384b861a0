"""The sliders' view on a page opened from disk: keys, mouse, read-out, screen reader."""

import math
import random

import pytest
import torch

from gbi_helpers import slide
from gbi_helpers.widgets import Bars, Dots, Lines, pack
from gbi_helpers.widgets.page import source

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Slide</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body style="font-family: sans-serif"><main><h1>Slide</h1>{}</main></body></html>"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A parabola with its tangent at z0, for two noises."""
    z, noise, x = torch.linspace(0, 1, 11)[:, None], torch.tensor([0.5, 1.0]), torch.linspace(0, 1, 30)
    slope = 6 * (z - 0.62) / noise**2  # (11, 2)
    height = 3 * (z - 0.62) ** 2 / noise**2
    tangent = height[..., None] + slope[..., None] * (x - z[..., None])
    loss = (3 * (x - 0.62) ** 2 / noise[:, None] ** 2).expand(11, 2, 30)
    here = {"loss": loss, "tangent": tangent, "z0": (z.expand(11, 2)[..., None], height[..., None])}
    belief = torch.stack([torch.sigmoid(slope), torch.sigmoid(-slope)], -1)
    panels = Lines("Loss along the way", here, x=x, xlabel="z"), Bars("Belief", belief, ["low", "high"], (0, 1))
    html = slide({"z0": z[:, 0], "noise": noise}, *panels, says={"nats": -slope}, title="Tangent", start=(5, 1)).html
    path = tmp_path_factory.mktemp("page") / "slide.html"
    path.write_text(PAGE.format(html), encoding="utf-8")
    return path


LOOK = """root => ({ paths: [...root.querySelectorAll('path.gbi-curve')].slice(0, 2).map(n => n.getAttribute('d')),
  dot: root.querySelector('.gbi-panels .gbi-slide > svg .gbi-spot').getAttribute('cx'),
  bars: [...root.querySelectorAll('.gbi-bar')].map(n => n.getAttribute('height')) })"""


def says(z0, noise):
    nats = -6 * (z0 - 0.62) / noise**2
    return f"z0 {z0:.2f}, noise {noise:.2f}: nats {nats:.2f}".replace("-", "\N{MINUS SIGN}")


def test_arrows_move_the_slider_in_focus_and_everything_is_drawn_again(opened):
    page = opened()
    root, (main, other) = page.locator(".gbi"), (page.locator(".gbi-bar-row input"), page.locator(".gbi-other"))
    readout = page.locator(".gbi-readout")
    assert readout.inner_text() == says(0.5, 1)
    before = root.evaluate(LOOK)
    main.focus()
    page.keyboard.press("ArrowRight")
    assert readout.inner_text() == says(0.6, 1)
    moved = root.evaluate(LOOK)
    assert before["paths"][0] == moved["paths"][0]  # the loss stays
    assert before["paths"][1] != moved["paths"][1]
    assert before["dot"] != moved["dot"]
    assert before["bars"] != moved["bars"]
    other.focus()
    page.keyboard.press("ArrowLeft")
    assert readout.inner_text() == says(0.6, 0.5)
    assert other.get_attribute("aria-valuetext") == "noise 0.50"
    assert root.evaluate(LOOK)["paths"][0] != moved["paths"][0]
    assert page.requests == [page.url]
    assert page.troubles == []


def test_bars_and_legend_say_what_is_drawn(opened):
    page = opened()
    q = 1 / (1 + math.exp(6 * (0.62 - 0.5)))
    assert page.locator(".gbi-slide .gbi-on").all_text_contents() == [f"{q:.2f}", f"{1 - q:.2f}"]
    page.get_by_role("button", name="Last place of z0").click()
    assert page.locator(".gbi-readout").inner_text() == says(1, 1)
    page.get_by_role("button", name="First place of z0").click()
    assert page.locator(".gbi-readout").inner_text() == says(0, 1)
    assert page.locator(".gbi-legend").inner_text().split() == ["loss", "tangent", "z0"]
    assert "nats 3.72" in page.locator(".gbi-slide > svg").first.get_attribute("aria-label")


def test_of_a_hundred_bars_some_have_room_for_a_label_and_the_largest_are_read_out(opened, tmp_path):
    belief = torch.zeros(2, 100)
    belief[1, [7, 42]] = torch.tensor([0.25, 0.75])
    bars = Bars("Belief", belief, [f"t{k}" for k in range(100)], (0, 1))
    path = tmp_path / "hundred.html"
    path.write_text(PAGE.format(slide({"step": [0, 1]}, bars, says={"most": belief.amax(1)}, start=[1]).html), "utf-8")
    page = opened(path)
    drawn = page.locator(".gbi-slide > svg").first
    assert drawn.locator("rect.gbi-bar").count() == 100
    written = [text for text in drawn.locator("text").all_text_contents() if text.startswith("t")]
    assert written == [f"t{k}" for k in range(0, 100, 10)]
    assert drawn.get_attribute("aria-label").startswith("Belief. t42 at 0.75, t7 at 0.25, ")
    assert drawn.get_attribute("aria-label").count(", ") == 4


def test_numbers_stand_over_bars_only_where_none_covers_another(opened, tmp_path):
    bars = Bars("Odds", torch.full((2, 8), -0.5), "abcdefgh")
    path = tmp_path / "eight.html"
    path.write_text(PAGE.format(slide({"step": [0, 1]}, bars, says={"nats": [1, 2]}).html), "utf-8")
    written = [opened(path, viewport={"width": w, "height": 800}).locator(".gbi-slide .gbi-on") for w in (320, 800)]
    assert [set(numbers.all_text_contents()) for numbers in written] == [{""}, {"\N{MINUS SIGN}0.50"}]


# Ties, which JavaScript alone would round up; numbers that are rounded to one more digit; and what is hardly a number.
TIES = [0.125, 0.375, 2.5, 0.0625, 0.28125, 10.25, 1000.5, 1001.5, 8.345, 1.005]
TURNS = [9.994, 9.996, 999.94, 999.96, 0.00994, 0.00996, 0.000996, 0.0996, 0.01 - 1e-10, 0.001, 1e-5]
NOISE = [0.0, 1e-7, 3e-6, 1e-300]


def test_numbers_are_written_as_python_writes_them(browser):
    draw = random.Random(0)
    sizes = [*TIES, *TURNS, *NOISE, *(10 ** draw.uniform(-7, 5) for _ in range(300))]
    values = [sign * size for size in sizes for sign in (1, -1)]
    page = browser.new_page()
    page.add_script_tag(content=f"{source('slide.js')}\nObject.assign(window, {{ number, short }});", type="module")
    page.wait_for_function("() => Boolean(window.short)")
    slides = slide({"n": [0, 1]}, Bars("B", [1.0], "a"), says={"x": [0.5, 1.5]}).slides
    assert page.evaluate("values => values.map(number)", values) == [pack.number(value) for value in values]
    for name, own in (("n", [0, -3, 1200]), ("x", values)):
        told = page.evaluate("([name, values]) => values.map((v) => short({ whole: ['n'] }, name, v))", [name, own])
        assert told == [slides.written(name, value) for value in own]
    page.close()
    assert [pack.number(v) for v in (0.125, 9.999, -999.99)] == ["0.12", "10.0", "\N{MINUS SIGN}1000"]
    assert slides.written("x", -3e-6) == "0.00"


@pytest.fixture(scope="module")
def dotted(tmp_path_factory):
    """Two named dots of which one moves and empties, and ten without names; four panels, numbers whole."""
    x, fill = torch.tensor([[0.2, 0.8], [0.6, 0.8]]), torch.tensor([[1.0, 0.5], [0.25, 1.0]])
    many = Dots(torch.linspace(0, 1, 10), torch.linspace(0, 1, 10), (torch.arange(10) < 3).float(), size=2)
    plane = Lines("Plane", {"many": many, "slots": Dots(x, [0.5, 0.5], fill, ["s0", "s1"])}, xlim=(0, 1), ylim=(0, 1))
    bars = Bars("Belief", fill, ["s0", "s1"], (0, 1))
    says = {"slot": torch.tensor([0, 1])}
    html = slide({"sample": [5, 40]}, plane, plane, bars, bars, says=says, title="Dots", start=[0]).html
    path = tmp_path_factory.mktemp("page") / "dots.html"
    path.write_text(PAGE.format(html), encoding="utf-8")
    return path


DOTS = """svg => [...svg.querySelectorAll('.gbi-full-1')].map(
    n => [n.getAttribute('cx'), n.getAttribute('fill-opacity')])"""


def test_dots_move_and_fill_and_are_told_by_name(opened, dotted):
    page = opened(dotted)
    plane = page.locator(".gbi-slide > svg").first
    assert page.locator(".gbi-readout").inner_text() == "sample 5: slot 0"
    before = plane.evaluate(DOTS)
    assert [fill for _, fill in before] == ["1", "0.5"]
    said = plane.get_attribute("aria-label")
    assert '3 of 10 dots "many" are filled. slots: s0 at 0.20, 0.50; s1 at 0.80, 0.50.' in said
    page.locator(".gbi-bar-row input").focus()
    page.keyboard.press("ArrowRight")
    after = plane.evaluate(DOTS)
    assert [fill for _, fill in after] == ["0.25", "1"]
    assert (after[0][0] != before[0][0], after[1][0]) == (True, before[1][0])
    assert "slots: s1 at 0.80, 0.50; s0 at 0.60, 0.50." in plane.get_attribute("aria-label")
    names = plane.locator("text").filter(has_text="s")
    assert names.all_text_contents() == ["s0", "s1"]
    assert float(names.first.get_attribute("x")) == pytest.approx(float(after[0][0]) + 7)
    assert page.locator(".gbi-readout").inner_text() == "sample 40: slot 1"
    assert page.troubles == []


def test_four_panels_stand_two_by_two(opened, dotted):
    boxes = [box.bounding_box() for box in opened(dotted).locator(".gbi-slide").all()]
    rows = [round(box["y"]) for box in boxes]
    assert rows[0] == rows[1] < rows[2] == rows[3]


@pytest.mark.parametrize("width", [1000, 390])
@pytest.mark.parametrize("which", ["written", "dotted"])
def test_axe_finds_no_serious_violation_and_a_phone_no_sideways_scrolling(opened, violations, request, width, which):
    page = opened(request.getfixturevalue(which), viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == []


def test_without_javascript_picture_and_table_stand_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator(".gbi-fallback img").is_visible()
    assert page.locator(".gbi-fallback table").is_visible()
