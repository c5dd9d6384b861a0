"""The world of the small study, which the tests of this folder share."""

from __future__ import annotations

import pytest

from gbi_helpers.experiments.continual import study
from gbi_helpers.experiments.shelf import Shelf


@pytest.fixture(scope="package", name="world")
def a_little(tmp_path_factory):
    return study.opened(Shelf(tmp_path_factory.mktemp("shelf")), "small")
