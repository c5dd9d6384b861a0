"""The world of the small study, which the tests of this folder share."""

from __future__ import annotations

import pytest

from gbi_helpers.experiments.borrowed import opened
from gbi_helpers.experiments.shelf import Shelf


@pytest.fixture(scope="package", name="world")
def a_little(tmp_path_factory):
    return opened(Shelf(tmp_path_factory.mktemp("shelf") / "questions"), "small")
