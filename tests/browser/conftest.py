"""A real Chromium and a real JupyterLab for the browser tests, both ended by the process that started them."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from gbi_helpers.widgets.benchmark import chromium, jupyterlab

AXE = "axe-core@4.10.3"


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def absent(what):
    """Skip where a tool is missing; in CI, where it must be there, fail."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{what}, and CI must run the browser tests.")
    pytest.skip(what)


@pytest.fixture(scope="session")
def browser():
    """Chromium, from GBI_CHROMIUM or the PATH."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed (pip install -e '.[test]')")
    path = chromium()
    if not path:
        absent("No Chromium on the PATH: install it, or set GBI_CHROMIUM to its path")
    arguments = ["--disable-dev-shm-usage"] + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=arguments)
        yield running
        running.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A JupyterLab with settings and signatures of its own."""
    with jupyterlab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="session")
def axe(request):
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
            source.write_bytes(packed.extractfile("package/axe.min.js").read())
    return source.read_text(encoding="utf-8")
