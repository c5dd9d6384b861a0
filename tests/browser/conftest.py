"""A real JupyterLab for the browser tests, ended by the process that started it; Chromium is in the conftest above."""

import contextlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import nbformat
import pytest
from widgets.lab_benchmark import jupyterlab

AXE = "axe-core@4.10.3"


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A JupyterLab with settings and signatures of its own."""
    with jupyterlab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="session")
def without_kernel(browser, lab):
    """Opens a trusted notebook of one view, and other cells, in JupyterLab without a kernel: a context manager."""

    @contextlib.contextmanager
    def open_notebook(name, html, *others):
        output = nbformat.v4.new_output("execute_result", data={"text/html": html}, execution_count=1)
        cells = [nbformat.v4.new_code_cell("view", outputs=[output], execution_count=1)]
        cells += [nbformat.v4.new_code_cell(source) for source in others]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), lab.folder / name)
        lab.trust(name)
        context = browser.new_context(viewport={"width": 1280, "height": 1000})
        page = context.new_page()
        lab.open_without_kernel(page, name)
        page.locator(".gbi").first.wait_for(timeout=60_000)
        yield page
        context.close()

    return open_notebook


@pytest.fixture(scope="session")
def axe(request, absent):
    """The source of axe-core, from npm, kept in pytest's cache."""
    folder = request.config.cache.mkdir("axe-core")
    source = folder / f"{AXE}.js"
    if not source.exists():
        if not shutil.which("npm"):
            absent("npm is missing, so axe-core cannot be fetched")
        fetched = subprocess.run(
            ["npm", "pack", AXE, "--silent"], cwd=folder, capture_output=True, text=True, check=False
        )
        if fetched.returncode:
            absent(f"npm could not fetch {AXE} ({fetched.stderr.strip()[-200:]})")
        with tarfile.open(folder / fetched.stdout.split()[-1]) as packed:
            part = folder / f"{os.getpid()}.part"  # another worker may be at it as well
            part.write_bytes(packed.extractfile("package/axe.min.js").read())
            part.replace(source)
    return source.read_text(encoding="utf-8")


LOOK = """async ([where, options]) => (await axe.run(where, options)).violations.map(
    ({ id, impact, nodes }) => [id, impact, nodes[0].html.slice(0, 200)])"""


@pytest.fixture(scope="session")
def violations(axe):
    """What axe finds: ``violations(page)``, serious ones alone; ``where``: in this part; ``rules``: of these alone."""

    def look(page, *, where="html", rules=None, impacts=("serious", "critical")):
        page.evaluate(axe)
        found = page.evaluate(LOOK, [where, {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})])
        return [(rule, html) for rule, impact, html in found if impact in impacts]

    return look


@contextlib.contextmanager
def opener(browser, written):
    """Opens ``written``, or another page, in a fresh, offline context; all are closed at the end."""
    contexts = []

    def open_page(path=written, **options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.requests, page.troubles = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            page.locator(".gbi input[type=range]").first.wait_for()
            page.locator(".gbi input[type=range]").nth(page.locator(".gbi-host").count() - 1).wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def opened(browser, written):
    """Opens the module's page, or another, in a fresh, offline context: ``opened(**context options)``."""
    with opener(browser, written) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def kept_open(browser, written):
    """The same for pages that several tests look at, each from the state that it makes."""
    with opener(browser, written) as open_page:
        yield open_page
