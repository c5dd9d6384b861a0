"""By keyboard through an exported page: a stop is what can be used or scrolled, and what can be scrolled is one."""

import nbformat
import pytest

from gbi_helpers import plots
from gbi_helpers.course.export import to_html

v4 = nbformat.v4
WIDE = "| " + " | ".join(["averylongword"] * 4) + " |\n|" + "---|" * 4 + "\n| " + " | ".join("1234") + " |"
LONG = "$$\\sum_k " + " + ".join(["z_k^2"] * 12) + "$$"
TEXT = f"# Title\n\n[A link](#Title)\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n$$a = b$$\n\n{WIDE}\n\n{LONG}\n\n{LONG}"
LOOK = """() => { const at = document.activeElement; return at === document.body ? null : {
    use: at.matches("a, button, summary, input"), scrolls: at.scrollWidth > at.clientWidth,
    role: at.getAttribute("role"), name: at.getAttribute("aria-label") }; }"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page of code, tables and formulas, some of them too wide for a phone."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("IPython.display.display", lambda data, raw: found.append(data))
        plots.table([f"column{k}" for k in range(8)], [["1234567"] * 8], "Accuracy & more", folded=True)
    output = v4.new_output("display_data", data=found[0])
    cells = [v4.new_markdown_cell(TEXT), v4.new_code_cell("x = '" + "long " * 60 + "'", outputs=[output])]
    return to_html(v4.new_notebook(cells=cells), tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture
def visit(browser, written):
    """Opens the page at a width, with all that is folded unfolded, once it knows what fits."""
    contexts = []

    def go(width):
        contexts.append(browser.new_context(offline=True, viewport={"width": width, "height": 700}))
        page = contexts[-1].new_page()
        page.goto(written.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
        rest(page)
        return page

    yield go
    for context in contexts:
        context.close()


def rest(page):
    page.evaluate("new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))")


def stops(page):
    """What Tab leads to, one after the other, until it leaves the page."""
    found = []
    for _ in range(40):
        page.keyboard.press("Tab")
        found.append(page.evaluate(LOOK))
        if found[-1] is None:
            return found[:-1]
    raise AssertionError("Tab does not leave the page")


def test_where_all_has_room_only_what_can_be_used_is_a_stop(visit):
    found = stops(visit(1600))
    assert len(found) >= 3
    assert all(stop["use"] for stop in found), found


def test_what_is_too_wide_is_a_stop_with_role_and_name(visit, violations):
    page = visit(320)
    found = [stop for stop in stops(page) if not stop["use"]]
    assert [stop["name"] for stop in found] == ["Table 2", "Formula 2", "Formula 3", "Accuracy & more"]
    assert all(stop["scrolls"] and stop["role"] == "region" for stop in found)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert violations(page, impacts=("minor", "moderate", "serious", "critical")) == []


def test_it_keeps_to_the_width_that_the_page_has(visit):
    page = visit(320)
    assert page.locator("[role=region]").count() == 4
    page.set_viewport_size({"width": 1600, "height": 700})
    rest(page)
    assert page.locator("[role=region], [tabindex]").count() == 0
    page.set_viewport_size({"width": 320, "height": 700})
    rest(page)
    assert page.locator(".table[role=region][tabindex='0']").count() == 2


def test_arrow_keys_scroll_what_is_too_wide(visit):
    page = visit(320)
    table = page.get_by_role("region", name="Table 2")
    table.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("node => node.scrollLeft > 0", arg=table.element_handle())


def test_without_javascript_the_page_has_no_stop_of_its_making(browser, written):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 320, "height": 700})
    page = context.new_page()
    page.goto(written.as_uri())
    assert page.locator("[tabindex], [role=region]").count() == 0
    assert page.locator(".table").first.is_visible()
    context.close()
