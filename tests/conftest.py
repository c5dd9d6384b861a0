"""One thread for all tests, and tests on real data only where the data is."""

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
