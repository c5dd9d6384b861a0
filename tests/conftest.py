"""One thread for all tests, tests on real data only where the data is, and one Chromium for all that need it."""

import os

import pytest


def pytest_configure(config):
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch: its sums depend on the threads
    os.environ.setdefault("MKL_NUM_THREADS", "1")


def pytest_collection_modifyitems(items):
    """Tests on real data only run where the data is."""
    for item in items:
        if item.get_closest_marker("realdata") and not os.environ.get("GBI_DATA_DIR"):
            item.add_marker(pytest.mark.skip(reason="needs the full data sets in GBI_DATA_DIR"))


@pytest.fixture
def stopping():
    """``stopping(name, seed)``: a ``keep`` that stops a study there, and the list of what it kept before."""

    def at(name, seed):
        done = []

        def keep(*found):
            if found[:2] == (name, seed):
                raise KeyboardInterrupt
            done.append(found[:2])

        return keep, done

    return at


@pytest.fixture(scope="session")
def for_all_workers(tmp_path_factory):
    """A folder that the tests of all workers see."""
    mine = tmp_path_factory.getbasetemp()
    return mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine


@pytest.fixture(scope="session")
def little(for_all_workers):
    """``little(study)``: the shelf on which tests of all workers keep its rows of size "small": none is measured twice.

    It lies in the cache of `gbi reproduce all --seeds 1 --size small`, which is a test, too.
    """
    from gbi_helpers.experiments.shelf import Shelf

    return lambda study: Shelf(for_all_workers / "little" / "shelf" / study.name)


@pytest.fixture(scope="session")
def page_of_chapter(for_all_workers):
    """``page_of_chapter(notebook)``: its page as `gbi run` writes it, made once for all tests of all workers."""
    shared = for_all_workers / "pages"
    shared.mkdir(exist_ok=True)

    def page(notebook):
        from gbi_helpers.course.export import to_html

        path = shared / f"{notebook.stem}.html"
        return path if path.exists() else to_html(notebook, path)

    return page


@pytest.fixture(scope="session")
def absent():
    """What to call where a tool is missing: it skips; in CI, where the tool must be there, it fails."""

    def skip(what):
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(f"{what}, and CI must run the browser tests.")
        pytest.skip(what)

    return skip


@pytest.fixture(scope="session")
def browser(absent):
    """Chromium, from GBI_CHROMIUM or the PATH."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed (pip install -e '.[test]')")
    from widgets.lab_benchmark import chromium

    path = chromium()
    if not path:
        absent("No Chromium on the PATH: install it, or set GBI_CHROMIUM to its path")
    arguments = ["--disable-dev-shm-usage", "--disable-gpu"] + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=arguments)
        yield running
        running.close()
