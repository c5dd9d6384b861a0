"""Chapter 07 on the real CIFAR-100: its live cells must run, and its claims hold, there as on the stand-in."""

import os
from pathlib import Path

import pytest

from gbi_helpers.course import execution
from gbi_helpers.data import cifar

BOOK = Path(__file__).parents[2] / "notebooks" / "07_cifar100.ipynb"


@pytest.mark.realdata
def test_the_claims_of_chapter_07_hold_on_the_real_set(monkeypatch):
    if not cifar.lies_in(Path(os.environ["GBI_DATA_DIR"])):
        pytest.skip("CIFAR-100 is not in GBI_DATA_DIR")
    monkeypatch.setenv("GBI_PROFILE", "quick")
    done = execution.execute(BOOK)
    assert not done.failure, done.failure
    shown = "".join(output.get("text", "") for cell in done.notebook.cells for output in cell.get("outputs", []))
    assert "CIFAR-100, 20,000 of the" in shown
    assert "Glyphs-100" not in shown
