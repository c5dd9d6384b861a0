"""Tables of the rivals say what the records hold: the right number in the right place."""

import pytest
import torch

from gbi_helpers.experiments.language import rival_tables
from gbi_helpers.experiments.results import Results

LENGTHS = [5, 20]


def scores(base, seed, keys):
    return {key: [base + 0.1 * seed, base + 1 + 0.1 * seed] for key in keys}


def long(seed):
    gbi, lstm = torch.tensor([5.0, 4.0, 3.5]), torch.tensor([6.0, 4.4 + 0.2 * seed, 3.6])
    return {
        "tokens": [1000, 2000, 4000],
        "gbi_validation": [[loss, loss] for loss in gbi.tolist()],
        "lstm_validation": [[loss - 0.5, loss + 0.5] for loss in lstm.tolist()],
    }


def rest(seed):
    found = {"lengths": LENGTHS}
    for base, way in enumerate(rival_tables.BELIEFS):
        found |= scores(base, seed, [way]) | scores(base + 0.5 + 0.1 * seed * base, seed, [f"{way}_fitted"])
    return found


def filtered(seed):
    return {
        name + again: {"loss": 4 + base + seed / 10, "accuracy": 70 + base}
        for base, name in enumerate(rival_tables.FILTERS)
        for again in ("", "_forward")
    }


@pytest.fixture(name="found")
def small_record():
    ways = [*rival_tables.BELIEFS, "namer"]
    measured = {
        "long": long,
        "rest_counted": rest,
        "stream_counted": filtered,
        "stream": lambda seed: {reader: {"loss": 8.0, "accuracy": 77.0} for reader in rival_tables.EXACT},
        "naming": lambda seed: {"lengths": [1, *LENGTHS], "windows": 100} | {
            f"{way}_accuracy": [0, 10 * base, 20 * base + seed] for base, way in enumerate(rival_tables.BELIEFS)
        },
        "amortised": lambda seed: {"lengths": LENGTHS, "accuracy": [60.0, 80.0 + seed]},
        "beyond/chat": lambda seed: {"lengths": LENGTHS} | {
            way: scores(base, seed, ["known", "new", "sure", "auroc"]) for base, way in enumerate(ways)
        },
        "tuned/chat": lambda seed: {"256": {way: base + seed for base, way in enumerate(rival_tables.TUNED)}},
    }  # fmt: skip
    rows = {row: {str(seed): measure(seed) for seed in (0, 1)} for row, measure in measured.items()}
    return Results("made", rows, {"long": {"networks": {"gbi_long": {"steps": 400}}}}, {}, {})


def test_the_gap_is_read_after_steps(found):
    assert rival_tables.gap_after(found, 100).tolist() == pytest.approx([1.0, 1.0])
    assert rival_tables.gap_after(found, 200).tolist() == pytest.approx([0.4, 0.6])
    with pytest.raises(KeyError, match=r"after 300 steps: choose one of \[100, 200, 400\]"):
        rival_tables.gap_after(found, 300)


def test_how_much_later_the_lstm_is_where_gbi_was(found):
    times = rival_tables.tokens_to_match(found, 200).tolist()
    assert times == pytest.approx([(200 + 200 * 0.4 / 0.8) / 200, (200 + 200 * 0.6 / 1.0) / 200])
    assert rival_tables.tokens_to_match(found, 400).isinf().all()
    rows = rival_tables.longer({"made": found}, (200, 400))[1]
    assert rows[0][:3] == ["made", "200", "4.500"]
    assert rows[1][4] == "more than it had"


def test_beliefs_stand_beside_each_other(found):
    head, rows = rival_tables.counted(found, fitted=False)
    assert head[1:] == ["5", "20", "price"]
    assert [row[0] for row in rows] == list(rival_tables.BELIEFS.values())
    assert rows[2][2].startswith("3.050 ± ")
    assert rival_tables.ahead(found, "bigram", "one_step", 20).mean == pytest.approx(4 + 0.1 * 4 / 2)


def test_filters_of_each_set_have_two_columns(found):
    head, rows = rival_tables.filters({"one": found, "two": found})
    assert head[1:3] == ["one: nats per word", "one: right, %"]
    assert rows[4][0] == "counts of words and pairs"
    assert rows[4][1].startswith("6.050 ± ")
    assert rows[4][2].startswith("72.0 ± ")
    assert rows[-1][:2] == ["K readers side by side", "8.000 ± 0.000"]


def test_the_lstm_that_names_comes_last(found):
    rows = rival_tables.amortised(found)[1]
    assert rows[1][2].startswith("20.5 ± ")
    assert rows[-1][0] == rival_tables.NAMER
    assert rows[-1][2].startswith("80.5 ± ")
    assert [row[1] for row in rows[3:5]] == ["30.0 ± 9.0", "40.0 ± 9.6"]  # the same in each seed: the windows' alone
    assert rival_tables.beyond(found, "chat")[1][-1][1].startswith("6.05 ± ")


def test_what_was_tuned_has_a_column_for_each_source(found):
    head, rows = rival_tables.tuned(found)
    assert head == ["tuned", "chat"]
    assert [row[1].split()[0] for row in rows] == [f"{base + 0.5:.3f}" for base in range(len(rows))]
