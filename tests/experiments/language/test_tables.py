"""Tables of the language study say what its records hold: the right number in the right place, means over seeds."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.experiments.language import tables
from gbi_helpers.experiments.language.stream import LATE
from gbi_helpers.experiments.results import Results


def naming(seed):
    found = {"lengths": [20, 50], "confidence": {"sum": 0.8, "mean": 0.13}}
    for way, base in zip(tables.WAYS, (20, 21, 22, 23, 24, 25), strict=True):
        found[f"{way}_accuracy"] = [base + seed, 3 * base + seed]
        found |= {f"{way}_{key}": [0.5, 0.25] for key in ("ece", "step_size", "fitted_ece")}
        found[f"{way}_correlation"] = [0.9 + seed / 50, 0.8]
    return found


def rest(seed):
    found = {"lengths": [1, 5], "lstm": 4.0, "uniform": 4.2, "wrong": 4.9, "true": 3.9 + seed / 10}
    return found | {way: [4.1, 4.05 + seed / 10] for way in ("hard", "corrected", "iterative", "exact")}


def stream(seed):
    found = {reader: {"by_age": [5.0, 4.0], "recovered": 50 + seed} for reader in ("uniform", "filter")}
    for late, recovered in zip(LATE, (90, 80, 70, 50, 30), strict=True):
        found[f"late_{late}"] = {"recovered": recovered + seed}
    found |= {"long": {"filter": {"recovered": 80.0}}, "side_by_side": {"recovered": 75.0}}
    return found | {"true": {"recovered": 100.0}}


def held_out(shift):
    one = {
        "uniform": 4.0 + shift,
        "tuned_256": {"test": [4.0, 3.9, 3.9, 4.0, 4.3], "early": 3.95},
        "tuned_2048": {"test": [4.0, 3.6, 3.5], "early": 3.5},
    }
    one |= {words: {"free": [4.0, 3.8], "logits": [4.0, 3.85], "single": 3.9} for words in ("256", "2048")}
    return {"gbi": one, "lstm": {**one, "uniform": 3.95}}


@pytest.fixture
def found():
    rows = {
        "learning": {str(s): {"gap": 0.15 + s / 100, "tokens_to_lstm": 0.6} for s in (0, 1)},
        "naming": {str(s): naming(s) for s in (0, 1)},
        "rest": {str(s): rest(s) for s in (0, 1)},
        "stream": {str(s): stream(s) for s in (0, 1)},
        "shuffled": {str(s): {"gap": 0.0} for s in (0, 1)},
        "held_out/sea": {"0": held_out(0.0), "1": held_out(0.2)},
        "held_out/bank": {"0": held_out(0.1), "1": held_out(0.3)},
        "tuned/sea": {"0": {}, "1": {}},  # of a source held out, but another row
    }
    variant = dict.fromkeys(("gap", "one_step", "corrected", "exact"), 0.125) | {"lstm": 4.5, "gbi": 4.25}
    rows |= {job: {"0": variant} for job in tables.VARIANTS}
    settings = {row: {"source": row.partition("/")[2]} if "/" in row else {} for row in rows}
    return Results("language_packages", rows, settings, {"tasks": ["sea", "bank"]}, {})


def test_a_number_is_found_by_the_words_read(found):
    assert tables.at_length(found, "naming", "exact_accuracy", 50).mean == 69.5
    assert tables.at_length(found, "rest", "exact", 5).mean == pytest.approx(4.1)
    with pytest.raises(KeyError, match=r"after 2 words: choose one of \[20, 50\]"):
        tables.at_length(found, "naming", "exact_accuracy", 2)


def test_every_key_has_one_label(found):
    assert set(tables.MAIN) | set(tables.held_out_losses({"": found}, 256)) <= set(tables.LABELS)
    assert len(set(tables.LABELS.values())) == len(tables.LABELS)


def test_calibration_by_words_read_is_the_mean_over_seeds(found):
    head, rows = tables.calibration(found)
    assert head == ["words read", "20", "50"]
    assert rows[1] == ["step size, fitted", "0.50", "0.25"]
    assert [len(row) for row in rows] == [len(head)] * 3


def test_a_filter_is_as_good_as_being_told_so_many_words_late(found):
    assert tables.words_late(found) == pytest.approx(5)  # 5 words late it is 50, too
    for one in found.rows["stream"].values():
        one["filter"]["recovered"] += 10
    assert tables.words_late(found) == pytest.approx(4)


def test_held_out_sources_stand_side_by_side(found):
    results = {"a": found, "b": found}
    head, rows = tables.held_out(results, 2048)
    assert head == ["held out", "sea", "bank", "sea", "bank"]
    assert rows[3] == ["GBI, uniform Z", "4.100", "4.200", "4.100", "4.200"]
    losses = tables.held_out_losses(results, 2048)
    assert torch.equal(losses["gbi_free"], torch.full((4, 2), 3.8, dtype=torch.float64))
    torch.testing.assert_close(losses["uniform"][1], torch.tensor([4.1, 4.3], dtype=torch.float64))
    assert tables.held_out_curves(results, "gbi", "tuned_256", "test").shape == (4, 5)


def test_failures_are_told_as_differences(found):
    head, rows = tables.failures({"packages": found})
    told = dict(rows)
    assert head == ["mistake", "packages"]
    assert told["uniform Z taken for 'no Z'"] == "+0.20 against the LSTM"
    assert told["a wrong source"] == "+0.95 against the true one"
    assert told["50 steps of fine-tuning on 256 words"] == "+0.40 against each source's best step"
    assert told["no adaptation: Z on 256 words of a new source"] == "sea: -0.15 (all weights: -0.10)"


def test_variants_stand_below_the_network_of_the_chapter(found):
    head, (own, *others) = tables.variants(found)
    assert own[:3] == ["both, as in this chapter", "0.250", "–"]
    assert [row[1] for row in others] == ["0.125"] * len(tables.VARIANTS)
    assert {len(row) for row in (own, *others)} == {len(head)}


def test_the_main_numbers_have_intervals_over_seeds(found):
    head, rows = tables.headline({"packages": found})
    told = dict(rows)
    assert head == ["mean ± 95 %", "packages"]
    assert told["told the source: LSTM − GBI, nats per word"] == "0.155 ± 0.064"  # t with one degree of freedom: 12.7
    assert told["K passes − one step, 20 words, points"] == "3.0 ± 0.0"
    assert told["correlation with exact Bayes, one step + gap"] == "0.910 ± 0.127"
    assert told["filter, way from LSTM to being told, %"] == "50.5 ± 6.4"
    assert told["held out: LSTM − GBI, inputs optimised, nats"] == "0.000 ± 0.000"
