from __future__ import annotations

import pytest
import torch

from gbi_helpers.experiments.cifar import tables
from gbi_helpers.experiments.cifar.measure import packed
from gbi_helpers.experiments.cifar.study import ROWS
from gbi_helpers.experiments.results import Results
from gbi_helpers.metrics import summarise

N = 400


def seed(right, **numbers):
    return {"right": packed(right), "test_n": len(right), **numbers}


@pytest.fixture(scope="module", name="results")
def three_rows():
    """``better`` is right where ``base`` is and on one image in ten besides, ``other`` on images of its own."""
    draw = torch.Generator().manual_seed(0)
    base = [torch.rand(N, generator=draw) < 0.5 for _ in range(3)]
    better = [right | (torch.arange(N) % 10 == 0) for right in base]
    other = [torch.rand(N, generator=draw) < 0.5 for _ in range(3)]
    rows = {name: {str(s): seed(r) for s, r in enumerate(row)} for name, row in
            {"base": base, "better": better, "other": other, "fixed": base[:1]}.items()}  # fmt: skip
    return Results("made up", rows, {}, {}, {})


def test_differences_are_paired_over_images(results):
    paired, apart = tables.difference(results, "better", "base"), tables.difference(results, "other", "base")
    assert paired.mean == pytest.approx(5, abs=1)
    assert paired.low > 0
    assert apart.half_width > 2 * paired.half_width


def test_a_model_without_a_seed_is_held_against_every_seed_of_another(results):
    found = tables.difference(results, "better", "fixed")
    right = {row: tables.right(results, row).double() for row in ("better", "fixed")}
    assert found.n == 3
    assert found.mean == pytest.approx(100 * float(right["better"].mean() - right["fixed"].mean()))
    assert tables.difference(results, "fixed", "fixed").half_width == 0


def test_another_readout_is_held_against_one_step_of_the_same_images():
    gains, losses = (12.0, 11.0, 13.0), (4.0, 5.0, 3.0)
    rows = {"row": {str(s): {"likelihood_gains": g, "likelihood_losses": b, "test_n": 8_000}
                    for s, (g, b) in enumerate(zip(gains, losses, strict=True))}}  # fmt: skip
    found = tables.beyond_one_step(Results("made up", rows, {}, {}, {}), "row", "likelihood")
    seeds = summarise([8.0, 6.0, 10.0])
    assert found.mean == 8
    assert seeds.half_width < found.half_width < seeds.half_width + 1


def test_blocks_name_rows_of_the_study_once():
    named = [row for rows in tables.BLOCKS.values() for row in rows]
    assert len(named) == len(set(named)) == 20
    assert set(named) <= set(ROWS)
