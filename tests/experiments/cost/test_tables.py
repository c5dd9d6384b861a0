"""Chapter 10's numbers for readers."""

from __future__ import annotations

import pytest

from gbi_helpers.experiments.cost import tables
from gbi_helpers.experiments.results import Results, load_results
from gbi_helpers.experiments.tables import sampling_error


def way(price, accuracy):
    return {"price": price, "accuracy": accuracy, "agreement": accuracy}


@pytest.fixture(name="results")
def two_seeds():
    first = {
        "one_step": way(2, 80.0), "delta": way(2, 78.0), "one_step_top_2": way(4, 90.0), "midpoint": way(4, 89.0),
        "all": way(10, 90.0), "softmax": way(0.1, 70.0), "softmax_top_2": way(2.1, 85.0),
    }  # fmt: skip
    for name in ("one_step", "delta", "softmax"):
        first |= {f"{name}_within_99": way(3, 88.0), f"{name}_best": way(5, 89.0)}
    first |= {"delta_top_2": way(4, 90.0), "samples": {"test": 100}}
    second = {**first, "one_step": way(2, 84.0)}
    return Results("cost", {"mnist": {"0": first, "1": second}}, {}, {}, {"mnist": "digits"})


def test_the_frontier_holds_what_nothing_as_cheap_beats(results):
    found, ours = (tables.pareto(results, "mnist", rivals=rivals) for rivals in (True, False))
    on_it = ["softmax", "one_step", "softmax_top_2", "one_step_within_99", "one_step_top_2"]
    assert [name for name, *_ in found] == on_it
    assert [name for name, *_ in ours] == [name for name in on_it if "softmax" not in name]
    assert found[1][1:] == (2, 82)


def test_a_curve_goes_from_a_proposer_alone_to_what_there_is_of_its_best(results):
    assert tables.curve(results, "mnist", "one_step") == ([2, 4], [82, 90])
    assert tables.curve(results, "mnist", "softmax") == (pytest.approx([0.1, 2.1]), [70, 85])


def test_a_set_is_told_from_cheap_to_dear(results):
    header, rows = tables.priced(results, "mnist")
    assert [row[0] for row in rows] == [
        "one step", "one step + δ", "one step, those within the threshold (99 %) re-scored",
        "one step + δ, those within the threshold (99 %) re-scored", "one step, best 2 re-scored",
        "one step, and one between the two best", "all K passes",
    ]  # fmt: skip
    assert rows[0][1:3] == ["2.00", "82.0 ± 26.5"]
    assert tables.right(results, "mnist", "one_step").half_width == pytest.approx(
        (results.summary("mnist", "one_step", "accuracy").half_width ** 2 + sampling_error(82, 100) ** 2) ** 0.5
    )
    assert len(header) == len(rows[0])


def test_rivals_stand_beside_one_step(results):
    header, rows = tables.beside(results, "mnist")
    assert [row[0] for row in rows] == ["one step", "one step + δ", "softmax regression"]
    assert rows[2][1:5] == ["0.10", "70.0 ± 9.0", "2.10", "85.0 ± 7.0"]
    assert all(len(row) == len(header) for row in rows)


def test_every_way_has_one_label():
    assert len(set(tables.LABELS.values())) == len(tables.LABELS)


def test_trained_networks_are_held_against_the_theorem_and_mended_in_its_ways():
    results = load_results("cost")
    _, held = tables.theorem(results)
    assert [row[0] for row in held] == list(tables.NETS.values())
    assert all(float(row[1].split(" ± ")[0]) == pytest.approx(1, abs=0.005) for row in held)
    header, rows = tables.mended(results)
    assert header[1:] == list(tables.MENDED)
    digits = results.summary("delta/vae_mul", "one_step", "accuracy")
    assert rows[0][:2] == ["digits, VAE-mul", f"{digits.mean:.1f} ± {digits.half_width:.1f}"]
