"""Sliders on the theorem in a real browser: the page's numbers against PyTorch in 64 bits, and how it is used."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from widgets.engine_benchmark import engine

from gbi_helpers import slide
from gbi_helpers.widgets import Move, OneStep
from gbi_helpers.widgets.pack import number
from gbi_helpers.widgets.theorem_parts import Found, Setting, nice, panels_of
from gbi_helpers.widgets.theorem_view import knob

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Theorem</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body style="font-family: sans-serif"><main><h1>Theorem</h1>{}</main></body></html>"""
MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def page(browser):
    opened = engine(browser)
    yield opened
    opened.close()


# ---- the same numbers ----

ASK = """({ setting, fixed, seen }) => {
  const found = gbi.theorem(setting, fixed);
  const list = (values) => [...values].map((v) => (Number.isNaN(v) ? "lifted" : v));
  const { panels, says } = gbi.theoremPanels(found, seen);
  return { q: [...found.q], p: [...found.p], missed: [...found.loss].map((nats, k) => nats - found.read[k]), says,
    panels: panels.map(({ curves, ylim, notes }) => ({ curves: curves.map((each) => each.map(list)), ylim, notes })) };
}"""
FINITE = st.floats(-5, 5)


@st.composite
def any_setting(draw):
    """Decoders of 2 to 6 tasks in 1 to 3 dimensions, some with equal patterns, a tiny noise, or z0 at a corner."""
    tasks, size = draw(st.integers(2, 6)), draw(st.integers(1, 3))
    patterns = draw(st.lists(st.lists(FINITE, min_size=size, max_size=size), min_size=tasks, max_size=tasks))
    if draw(st.booleans()):
        patterns[1] = patterns[0]
    weights = draw(st.lists(st.floats(0.01, 1), min_size=tasks, max_size=tasks))
    corner = draw(st.integers(-1, tasks - 1))
    z0 = [float(k == corner) if corner >= 0 else w / math.fsum(weights) for k, w in enumerate(weights)]
    numbers = {
        "spread": draw(st.floats(0, 4)),
        "n": float(draw(st.integers(1, 50))),
        "sd": draw(st.sampled_from([1e-3, 0.05, 0.3, 1.0, 30.0])),
        "step_size": draw(st.sampled_from([1.0, 0.5, 3.0])),
    }
    x = draw(st.lists(FINITE, min_size=size, max_size=size))
    return {"patterns": patterns, "x": x, "z0": z0, **numbers}


def tensors(told):
    return {name: torch.tensor(v, dtype=torch.float64) if isinstance(v, list) else v for name, v in told.items()}


def near(told, wanted):
    """Within 1e-6, or as near as the rounding of numbers of this size lets it be."""
    assert [v == "lifted" for v in told] == [math.isnan(v) for v in wanted]
    finite = [v for v in wanted if not math.isnan(v)]
    size = max(map(abs, finite), default=1.0)
    assert [v for v in told if v != "lifted"] == pytest.approx(finite, abs=max(1e-6, 1e-12 * size), rel=1e-9)


EQUAL = {"patterns": [[0.5], [0.5]], "x": [0.4], "z0": [0.5, 0.5], "spread": 0.0, "n": 1.0, "sd": 0.3, "step_size": 1.0}


@settings(max_examples=60, deadline=None)
@given(any_setting(), st.booleans())
@example(EQUAL, True)
@example(EQUAL | {"sd": 1e-3, "z0": [0.0, 1.0]}, False)
def test_every_curve_belief_and_number_is_pythons(page, told, fixed):
    setting, labels, seen = Setting(**tensors(told)), [f"t{k}" for k in range(len(told["z0"]))], [(-6.1, 6.2)] * 2
    found = Found(setting, fixed)
    given_back = page.evaluate(ASK, {"setting": told, "fixed": fixed, "seen": seen})
    size = max(1.0, float(found.loss.abs().max()), float(found.tangent.abs().max()))
    rounding = max(1e-6, 1e-15 * size)  # of a belief, where its nats are thousands of millions
    assert given_back["q"] == pytest.approx(found.step.q[0].tolist(), abs=rounding)
    assert given_back["p"] == pytest.approx(found.bayes.q[0].tolist(), abs=rounding)
    near(given_back["missed"], found.missed.tolist())
    *nats, kl = found.says(labels).values()
    assert given_back["says"][:-1] == pytest.approx(nats, abs=max(1e-6, 1e-11 * size), rel=1e-9)
    assert given_back["says"][-1] == pytest.approx(kl, abs=max(1e-6, 1e-15 * size**2), rel=1e-9)
    panels = panels_of(found, labels, seen)
    assert len(panels) == len(given_back["panels"])
    for drawn, mine in zip(panels, given_back["panels"], strict=True):
        for curve, (x, y) in zip(drawn.curves, mine["curves"], strict=True):
            near(x, curve.x[0])
            near(y, curve.y[0])
        for (*where, text), (*place, nats) in zip(drawn.more.get("notes", []), mine["notes"] or [], strict=True):
            near(place, where)
            assert size > 1e6 or float(text.replace(MINUS, "-")) == pytest.approx(nats, abs=1)
        assert (mine["ylim"] or drawn.ylim) == pytest.approx(drawn.ylim)


@given(FINITE, FINITE)
def test_limits_are_rounded_as_in_python(page, one, other):
    low, high = sorted((one, other))
    assert page.evaluate("(v) => gbi.nice(...v)", [low, high]) == pytest.approx(nice(low, high), abs=1e-9)


MOVES = [Move("sd", 0.07, 1), Move("n", 1, 40), Move("x", -1, 3**0.5), Move("x", 0.4, 0.4 + 1e-9), Move("z0", 0, 1)]


@pytest.mark.parametrize("move", [*MOVES, Move("x", 0.399, 7), Move("x", -7, 0.401)])
def test_the_places_of_a_slider_are_pythons_and_one_is_where_it_stands(page, move):
    own = knob("a", move, OneStep([0.4], [0.2, 0.8], 0.3, z0=[1 / 3, 2 / 3]).setting)
    places = page.evaluate("(knob) => gbi.knobPlaces(knob)", own.told)
    assert places == pytest.approx(own.places, abs=1e-12)
    assert (places[0], places[-1]) == (move.low, move.high)
    assert places == sorted(set(places))


# ---- the view ----


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two tasks in one dimension, three in a plane."""
    two = {
        "start z0": Move("z0", 0, 1),
        "x": Move("x", -1, 2),
        "numbers": Move("n", 1, 9),
        "noise": Move("sd", 0.01, 1),
    }
    three = {"third": Move("patterns", 0, 4, at=(2, 0)), "across": Move("x", -2, 4), "up": Move("x", -2, 2, at=1)}
    html = slide(two, OneStep([0.4, 0.1, 0.5, 0.3, 0.6], [0.2, 0.8], 0.3, labels=["low", "high"]), title="Two").html
    html += slide(three, OneStep([0.5, 0.5], [[-1, -1], [-1, 1], [2, 0]], 1.0, labels=list("abc")), title="Three").html
    path = tmp_path_factory.mktemp("page") / "theorem.html"
    path.write_text(PAGE.format(html), encoding="utf-8")
    return path


def said(page, view=0):
    return page.locator(".gbi").nth(view).locator(".gbi-readout").inner_text()


def test_sliders_move_the_theorem_and_each_says_where_it_stands(opened):
    page = opened()
    root = page.locator(".gbi").first
    assert (
        said(page)
        == "start z0 0.500: nats for low by one step 4.00, by Bayes 4.00, nats missed unequally 0.00, KL in nats 0.00"
    )
    main = root.locator(".gbi-bar-row input")
    main.focus()
    page.keyboard.press("Home")
    assert said(page).startswith(
        f"start z0 0.000: nats for low by one step {MINUS}6.00, by Bayes 4.00, nats missed unequally"
    )
    assert main.get_attribute("aria-valuetext") == "start z0 0.000"
    page.keyboard.press("ArrowRight")  # each press is seen
    assert main.get_attribute("aria-valuetext") == "start z0 0.005"
    page.keyboard.press("End")
    assert "by one step 14.0, by Bayes 4.00" in said(page)
    numbers = root.get_by_label("numbers")
    numbers.focus()
    page.keyboard.press("End")
    assert numbers.get_attribute("aria-valuetext") == "numbers 9"
    assert root.locator(".gbi-value").nth(1).inner_text() == "9"
    assert "by Bayes 7.20" in said(page)
    noise = root.get_by_label("noise")
    noise.focus()
    page.keyboard.press("Home")
    assert "by Bayes 6480" in said(page)
    assert root.locator(".gbi-slide svg[role=img]").nth(2).get_attribute("aria-label") == (
        "Belief. one step: low at 1.00, high at 0.00; Bayes: low at 1.00, high at 0.00."
    )
    assert page.requests == [page.url]
    assert page.troubles == []


def test_every_place_of_the_sliders_says_what_python_says(opened):
    page = opened()
    main = page.locator(".gbi-bar-row input").first
    base = OneStep([0.4, 0.1, 0.5, 0.3, 0.6], [0.2, 0.8], 0.3).setting
    for step in range(0, 201, 40):
        main.evaluate("(node, at) => { node.value = at; node.dispatchEvent(new Event('input')); }", step)
        told = Found(base.moved("z0", (1,), step / 200)).says(["low", "high"])
        assert f"by one step {number(told['nats for low by one step'])}, by Bayes" in said(page)


def test_the_gap_put_back_lifts_the_rings_onto_the_dots(opened):
    page = opened()
    root = page.locator(".gbi").nth(1)
    assert "nats missed unequally 1.00, KL in nats 0.12" in said(page, 1)
    ways = root.locator(".gbi-slide svg[role=img]").nth(1)
    assert ways.get_attribute("aria-label").endswith("Missed by the tangent: a 1.00, b 1.00, c 2.00.")
    heights = (
        "svg => [0, 1].map((look) => [...svg.querySelectorAll('.gbi-full-' + look)].map((n) => n.getAttribute('cy')))"
    )
    dots, rings = ways.evaluate(heights)
    assert dots != rings
    box = root.get_by_role("checkbox")
    box.focus()
    page.keyboard.press("Space")
    assert "nats missed unequally 0.00, KL in nats 0.00" in said(page, 1)
    dots, rings = ways.evaluate(heights)
    assert dots == rings
    assert "one step + δ" in root.locator(".gbi-legend").last.inner_text()


def test_x_follows_the_pointer_on_the_plane(opened):
    page = opened()
    root = page.locator(".gbi").nth(1)
    plane = root.locator(".gbi-slide svg[role=img]").first
    target = plane.locator(".gbi-full-0").nth(1).bounding_box()
    page.mouse.click(target["x"] + target["width"] / 2, target["y"] + target["height"] / 2)
    where = [root.get_by_label(name).get_attribute("aria-valuetext") for name in ("across", "up")]
    assert [float(text.split()[1].replace(MINUS, "-")) for text in where] == pytest.approx([-1, 1], abs=0.03)


def test_a_screen_reader_hears_it_once_the_sliders_rest(opened):
    page = opened()
    readout = page.locator(".gbi-readout").first
    page.locator(".gbi-bar-row input").first.focus()
    page.keyboard.press("ArrowRight")
    assert readout.get_attribute("aria-live") == "off"
    page.wait_for_function("document.querySelector('.gbi-readout').getAttribute('aria-live') === 'polite'")
    assert readout.inner_text().startswith("start z0 0.505")


@pytest.mark.parametrize("options", [{}, {"viewport": {"width": 360, "height": 800}}, {"forced_colors": "active"}])
def test_axe_finds_no_serious_violation_and_a_phone_no_sideways_scrolling(opened, violations, options):
    page = opened(**options)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []


def test_without_javascript_the_start_stands_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator(".gbi-fallback img").first.is_visible()
    assert "At start z0 0.50" in page.locator(".gbi-fallback img").first.get_attribute("alt")
    assert page.locator(".gbi-fallback table").first.is_visible()
