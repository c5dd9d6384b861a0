"""Scrubbers in a real JupyterLab: real keys, a real kernel, and notebooks opened again without one."""

import contextlib
import json
import re
from pathlib import Path

import nbformat
import pytest
import torch
from browser.test_graphs import two_wells
from widgets.toy import toy_path

from gbi_helpers import to_browser
from gbi_helpers.widgets import scrub

TESTS = str(Path(__file__).parents[1])  # where a kernel finds the small records
LOAD = f"""import sys; sys.path.append({TESTS!r})
from gbi_helpers import Trajectory, scrub
from gbi_helpers.widgets import Controls
from widgets.toy import toy_path

record = Trajectory.load("path.npz")"""
LIVE = """def run(image=3, steps=20, method="iterative"):
    if image == 9:
        raise RuntimeError("no image 9")
    return toy_path(steps=steps if method == "iterative" else 1, image=image)

scrub(record, labels="digit", controls=Controls(run, image=(0, 9), steps=(1, 30), method=["iterative", "one-step"]))"""
TYPED = f"""import sys, time; sys.path.append({TESTS!r})
from gbi_helpers import type_along
from widgets.toy import toy_read

def infer(text):
    if "crash" in text:
        raise RuntimeError("no model for this")
    if "slow" in text:
        time.sleep(0.2)
    return toy_read(text)

type_along(infer, text="stir the soup", sample=lambda text: text + " and serve it", title="Your own text")"""
CELLS = [LOAD, 'scrub(record, labels="digit")', 'scrub(record, labels="digit")', LIVE]


def notebook(path, sources, outputs=None, kernel=True):
    cells = [nbformat.v4.new_code_cell(source, id=f"cell-{k}") for k, source in enumerate(sources)]
    for cell, output in zip(cells, outputs or [], strict=False):
        if output:
            cell.outputs, cell.execution_count = [output], 1
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}} if kernel else {}
    node = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    nbformat.write(node, path)


def run_all(page):
    """Run every cell once the kernel is there: before, JupyterLab would ask which kernel to use."""
    status = "jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status"
    page.wait_for_function(f"window.{status} === 'idle'", timeout=120_000)
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.ready")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")


@contextlib.contextmanager
def ran(browser, lab, name, cells, views):
    """A notebook whose cells have all run and show so many ``views``. Counts what goes to the kernel."""
    notebook(lab.folder / name, cells)
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.sent, page.troubles = [], []

    def listen(socket):
        if "/channels" in socket.url:
            socket.on("framesent", lambda frame: page.sent.append(frame))

    page.on("websocket", listen)
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.goto(lab.url(name))
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    run_all(page)
    page.locator(".gbi").nth(views - 1).wait_for(state="attached", timeout=60_000)
    yield page
    context.close()
    for session in json.loads(lab.api("sessions")):
        if session["path"] == name:
            lab.api(f"sessions/{session['id']}", method="DELETE")


@pytest.fixture(scope="module")
def live(browser, lab):
    """Two equal scrubbers and a live one."""
    toy_path(steps=20).save(lab.folder / "path.npz")
    with ran(browser, lab, "live.ipynb", CELLS, 3) as page:
        yield page


@pytest.fixture(scope="module")
def typed(browser, lab):
    """Two text boxes with the words view below: one with a text and a button, one that begins empty."""
    with ran(browser, lab, "typed.ipynb", [TYPED, "type_along(infer)"], 2) as page:
        yield page


def scrubber(page, number):
    return page.locator(".gbi").nth(number)


def readout(page, number):
    return scrubber(page, number).locator(".gbi-readout").inner_text()


def selected(page):
    """Ids of the selected cells, and how many cells there are."""
    cells = page.locator(".jp-Notebook .jp-Cell")
    chosen = [k for k in range(cells.count()) if "jp-mod-selected" in cells.nth(k).get_attribute("class")]
    return chosen, cells.count()


def settled(page):
    """The same once it stays as it is: which cell is selected follows the focus a moment later."""
    before = None
    while (now := selected(page)) != before:
        before = now
        page.wait_for_timeout(200)
    return now


def focus(page, number):
    """Reach the slider as a reader does, with the mouse, and go to the first step."""
    slider = scrubber(page, number).locator("input[type=range]")
    slider.scroll_into_view_if_needed()
    slider.click(position={"x": 6, "y": 15})
    page.keyboard.press("Home")
    assert readout(page, number).startswith("step 0 of ")


def test_keys_move_the_step_and_not_the_cell(live):
    focus(live, 0)
    before = selected(live)
    steps = []
    for key in ("ArrowRight", "ArrowDown", "ArrowUp", "ArrowUp", "ArrowLeft", "PageUp", "End", "PageDown", "Home"):
        live.keyboard.press(key)
        steps.append(int(readout(live, 0).split()[1]))
        assert selected(live) == before
    assert steps == [1, 0, 1, 2, 1, 3, 20, 18, 0]


def test_scrubbing_sends_nothing_to_the_kernel(live):
    focus(live, 0)
    live.wait_for_timeout(500)
    sent = len(live.sent)
    assert sent > 0  # the counter works: running the cells was seen
    for _ in range(15):
        live.keyboard.press("ArrowRight")
    focus(live, 2)
    for _ in range(15):
        live.keyboard.press("ArrowRight")
    live.wait_for_timeout(500)
    assert readout(live, 2).startswith("step 15 of 20")
    assert len(live.sent) == sent


def test_two_equal_scrubbers_do_not_disturb_each_other(live):
    focus(live, 0)
    focus(live, 1)
    for _ in range(4):
        live.keyboard.press("ArrowRight")
    assert readout(live, 0).startswith("step 0 of 20")
    assert readout(live, 1).startswith("step 4 of 20")


def test_dd_on_the_slider_or_a_button_deletes_nothing(live):
    for target in ("input[type=range]", ".gbi-play"):
        focus(live, 0)
        before = selected(live)
        scrubber(live, 0).locator(target).focus()
        for key in ("d", "d", "x", "a", "z"):
            live.keyboard.press(key)
        assert selected(live) == before
        assert scrubber(live, 0).locator(target).evaluate("node => node === document.activeElement")


def test_space_plays(live):
    focus(live, 0)
    before = selected(live)
    live.keyboard.press(" ")
    live.wait_for_timeout(400)
    live.keyboard.press(" ")
    assert 0 < int(readout(live, 0).split()[1]) < 20
    assert selected(live) == before


def test_a_new_view_of_the_output_scrubs_on_its_own(live):
    focus(live, 0)
    live.locator(".jp-Cell").nth(1).locator(".jp-OutputArea-output").click(button="right", position={"x": 300, "y": 20})
    live.get_by_role("menuitem", name="Create New View for Cell Output").click()
    view = live.locator(".jp-LinkedOutputView .gbi")
    view.wait_for(timeout=60_000)
    view.locator("input").focus()
    live.keyboard.press("End")
    assert view.locator(".gbi-readout").inner_text().startswith("step 20 of 20")
    assert readout(live, 0).startswith("step 0 of 20")
    live.locator(".lm-TabBar-tab", has_text="Output View").locator(".lm-TabBar-tabCloseIcon").click()
    live.locator(".jp-LinkedOutputView").wait_for(state="detached")


def test_a_cell_that_runs_again_scrubs_again(live):
    cell = live.locator(".jp-Cell").nth(1)
    focus(live, 0)
    live.keyboard.press("End")
    cell.locator(".cm-content").click()
    live.keyboard.press("Control+Enter")
    cell.locator(".gbi-readout", has_text="step 0 of 20").wait_for(timeout=60_000)
    focus(live, 0)
    live.keyboard.press("End")
    assert readout(live, 0).startswith("step 20 of 20")


def test_it_follows_the_dark_theme(live):
    colour = "node => getComputedStyle(node).color"
    text = scrubber(live, 0).locator(".gbi-readout")
    light = text.evaluate(colour)
    live.evaluate("document.body.setAttribute('data-jp-theme-light', 'false')")
    bar = scrubber(live, 0).locator(".gbi-bar").first.evaluate("node => getComputedStyle(node).fill")
    live.evaluate("document.body.setAttribute('data-jp-theme-light', 'true')")
    assert bar != scrubber(live, 0).locator(".gbi-bar").first.evaluate("node => getComputedStyle(node).fill")
    live.evaluate("document.body.style.setProperty('--jp-content-font-color1', 'rgb(250, 250, 250)')")
    assert text.evaluate(colour) == "rgb(250, 250, 250)" != light
    live.evaluate("document.body.style.removeProperty('--jp-content-font-color1')")


# ---- live controls ----


def control(page, name):
    return page.locator(".gbi-controls").get_by_role("slider", name=name)


def test_a_control_runs_inference_again_and_the_same_view_repaints(live):
    focus(live, 2)
    for _ in range(5):
        live.keyboard.press("ArrowRight")
    scrubber(live, 2).evaluate("node => { node.dataset.same = 'yes'; }")
    target = scrubber(live, 2).locator("canvas").nth(1)
    before, step = target.evaluate("node => node.toDataURL()"), readout(live, 2)
    chosen = selected(live)
    control(live, "image").focus()
    live.keyboard.press("ArrowRight")
    live.wait_for_function(
        "before => document.querySelectorAll('.gbi')[2].querySelectorAll('canvas')[1].toDataURL() != before",
        arg=before,
        timeout=60_000,
    )
    assert scrubber(live, 2).get_attribute("data-same") == "yes"
    assert readout(live, 2).startswith("step 5 of 20")
    assert readout(live, 2) != step
    assert selected(live) == chosen


def test_the_copy_of_a_live_view_gives_its_place_to_it(live):
    assert live.locator(".gbi").count() == 3
    assert live.locator("[data-gbi-copy]").count() == 0
    live.evaluate("jupyterapp.shell.currentWidget.context.save()")
    outputs = live.evaluate("jupyterapp.shell.currentWidget.content.model.cells.get(3).outputs.toJSON()")
    assert ["text/html" in output["data"] for output in outputs] == [True, False]


def test_fewer_steps_keep_the_step_where_it_can(live):
    focus(live, 2)
    for _ in range(3):
        live.keyboard.press("ArrowRight")
    live.locator(".gbi-controls").get_by_label("method").select_option("one-step")
    scrubber(live, 2).locator(".gbi-readout", has_text="step 1 of 1:").wait_for(timeout=60_000)
    live.locator(".gbi-controls").get_by_label("method").select_option("iterative")
    scrubber(live, 2).locator(".gbi-readout", has_text="step 1 of 20:").wait_for(timeout=60_000)


def test_an_error_is_told_and_the_widget_survives(live):
    control(live, "image").focus()
    live.keyboard.press("End")
    said = scrubber(live, 2).locator(".gbi-say")
    said.wait_for(timeout=60_000)
    assert said.inner_text() == "RuntimeError: no image 9"
    live.keyboard.press("Home")
    said.wait_for(state="hidden", timeout=60_000)
    focus(live, 2)
    live.keyboard.press("End")
    assert readout(live, 2).startswith("step 20 of 20: digit 0")


def test_dd_on_a_control_deletes_nothing(live):
    cells = selected(live)[1]
    for place in (control(live, "image"), live.locator(".gbi-controls select")):
        place.focus()
        before = settled(live)
        live.keyboard.press("d")
        live.keyboard.press("d")
        assert settled(live) == before
    assert before[1] == cells


def test_every_control_has_a_name(live):
    names = [control(live, name).count() for name in ("image", "steps")]
    assert names == [1, 1]
    assert live.locator(".gbi-controls").get_by_label("method").count() == 1


def test_in_forced_colours_the_controls_stand_out(live):
    live.emulate_media(forced_colors="active", color_scheme="dark")
    look = "node => [getComputedStyle(node).backgroundColor, getComputedStyle(node).borderColor]"
    white = "rgb(255, 255, 255)"
    rail, handle = (live.locator(f".gbi-controls {part}").first for part in (".noUi-connects", ".noUi-handle"))
    assert rail.evaluate(look)[0] == white
    assert handle.evaluate(look)[1] == white
    assert handle.evaluate(look)[0] not in (white, "rgb(0, 0, 0)")
    live.emulate_media(forced_colors="none", color_scheme="light")


def test_the_page_had_no_error(live):
    assert live.troubles == []


# ---- a text box ----


def box(page, number=0):
    return page.locator(".gbi-live").nth(number)


def retype(page, text, number=0):
    box(page, number).locator("textarea").click()
    page.keyboard.press("Control+A")
    page.keyboard.type(text)


def told(page, text, number=0):
    box(page, number).locator(".gbi-readout", has_text=text).wait_for(timeout=60_000)


def test_typing_moves_the_belief_and_stays_in_the_box(typed):
    told(typed, "word 3 of 3, “soup”")
    before = selected(typed)
    retype(typed, "rain and snow dd")
    told(typed, re.compile(r"word 4 of 4, “<unk>”.*belief weather at 0\.\d\d"))
    assert box(typed).locator(".gbi-text .gbi-word").all_text_contents() == ["rain", "and", "snow", "<unk>"]
    assert box(typed).locator(".gbi-ridges .gbi-on").text_content() == "weather"
    assert selected(typed)[1] == before[1]


def test_the_chosen_task_outlives_a_repaint_and_keys_scrub_the_typed_text(typed):
    retype(typed, "check the type of the list")
    told(typed, "word 6 of 6, “list”")
    box(typed).locator(".gbi-choose select").select_option("kitchen")
    told(typed, "nats for kitchen; belief computer")
    retype(typed, "check the file")
    told(typed, re.compile("word 3 of 3, “file”.* nats for kitchen"))
    box(typed).locator(".gbi-word").nth(1).click()
    box(typed).locator(".gbi-text .gbi-word").first.click()
    typed.keyboard.press("ArrowRight")
    told(typed, "word 2 of 3, “the”")


def test_an_empty_box_and_an_error_are_told_and_the_text_before_stays(typed):
    retype(typed, "melt the butter")
    told(typed, "word 3 of 3, “butter”")
    said = box(typed).locator(".gbi-say")
    typed.keyboard.press("Control+A")
    typed.keyboard.press("Backspace")
    said.filter(has_text="Type a few words").wait_for(timeout=60_000)
    typed.keyboard.type("crash")
    said.filter(has_text="RuntimeError: no model for this").wait_for(timeout=60_000)
    retype(typed, "melt")
    said.wait_for(state="hidden", timeout=60_000)
    told(typed, "word 1 of 1, “melt”")


def test_a_box_can_begin_empty(typed):
    view = box(typed, 1).locator(".gbi")
    assert view.locator(".gbi-say").inner_text() == "Type a few words: the belief follows each of them."
    assert not view.locator("input[type=range]").is_visible()
    retype(typed, "snow", 1)
    told(typed, "word 1 of 1, “snow”", 1)
    assert view.locator("input[type=range]").is_visible()
    assert not view.locator(".gbi-say").is_visible()


def test_the_model_writes_on_below(typed):
    retype(typed, "stir the soup")
    told(typed, "word 3 of 3, “soup”")
    typed.get_by_role("button", name="Write on").click()
    written = box(typed).locator(".gbi-written")
    written.filter(has_text="stir the soup and serve it").wait_for(timeout=60_000)
    assert written.get_attribute("aria-live") == "polite"


def test_a_slow_model_skips_letters_and_does_not_fall_behind(typed):
    retype(typed, "slow ")
    told(typed, "word 1 of 1")
    sent = len(typed.sent)
    typed.keyboard.type("bread and butter and salt", delay=15)
    told(typed, "word 6 of 6, “salt”")
    assert len(typed.sent) - sent <= 12  # of 25 keys


def test_the_box_passes_axe_and_the_page_had_no_error(typed, violations):
    assert violations(typed, where=".gbi-live") == []
    assert typed.get_by_label("Text", exact=True).count() == 2
    assert typed.troubles == []


SAID_BELOW = "node => getComputedStyle(node, '::after').content"


def test_after_a_restart_of_the_kernel_controls_and_box_say_what_to_do(browser, lab):
    toy_path(steps=20).save(lab.folder / "path.npz")
    with ran(browser, lab, "stopped.ipynb", [LOAD, LIVE, TYPED], 2) as page:
        rows = page.locator(".gbi-controls")
        assert rows.evaluate_all(f"all => all.map({SAID_BELOW})") == ["none", "none"]
        page.evaluate("jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
        page.locator(".gbi-controls.jupyter-widgets-disconnected").nth(1).wait_for(timeout=60_000)
        told = '"These controls have lost their kernel: run this cell again to use them."'
        assert rows.evaluate_all(f"all => all.map({SAID_BELOW})") == [told, told]
        focus(page, 0)  # what was inferred before still scrubs
        page.keyboard.press("End")
        assert readout(page, 0).startswith("step 20 of 20")


# ---- opened again, without a kernel ----


def reopen(browser, lab, name, trusted, *others):
    """Open a notebook with outputs of a scrubber, and of other views, in a fresh browser, without a kernel."""
    # The title differs: a notebook with the content of a trusted one would be trusted too.
    views = [scrub(toy_path(steps=20), labels="digit", title=name), *others]
    bundles = [view._repr_mimebundle_() for view in views]
    outputs = [nbformat.v4.new_output("execute_result", data=data, execution_count=1) for data in bundles]
    notebook(lab.folder / name, ["a view"] * len(views), outputs, kernel=False)
    if trusted:
        lab.trust(name)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    lab.open_without_kernel(page, name)
    return context, page


def test_a_trusted_notebook_scrubs_without_a_kernel(browser, lab):
    context, page = reopen(browser, lab, "trusted.ipynb", trusted=True)
    page.locator(".gbi").wait_for(timeout=60_000)
    focus(page, 0)
    page.keyboard.press("End")
    assert re.match(r"step 20 of 20: digit 3 at 0\.\d\d, loss", readout(page, 0))
    assert not page.locator(".gbi-fallback").is_visible()
    assert not [k for k in json.loads(lab.api("sessions")) if k["path"] == "trusted.ipynb"]
    context.close()


def test_an_untrusted_notebook_shows_picture_table_and_hint(browser, lab):
    wells = to_browser(two_wells, torch.full((1, 3), 1 / 3), title="Wells")
    context, page = reopen(browser, lab, "untrusted.ipynb", False, wells)
    output, other = map(page.locator(".jp-OutputArea-output").nth, (0, 1))
    output.get_by_text("Run this cell to scrub").wait_for(timeout=60_000)
    other.get_by_text("Run this cell to move the start of inference yourself").wait_for(timeout=60_000)
    assert page.locator(".gbi").count() == 0
    assert output.locator("img").get_attribute("alt").startswith("untrusted.ipynb. Path of 20 gradient steps")
    assert other.locator("img").get_attribute("alt").startswith("Wells. Beliefs of a model. one step: 2 at ")
    for shown, rows in ((output, 6), (other, 3)):
        assert shown.locator("img").evaluate("image => image.naturalWidth") > 300
        assert shown.locator("tr:has(td)").count() == rows
        assert "eNp" not in shown.inner_text()  # the data itself does not show
        assert "function" not in shown.inner_text()
    context.close()
