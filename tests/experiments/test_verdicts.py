"""Chapter 12's page: each verdict follows from its rule and the records, and from nothing that was typed."""

import csv
import dataclasses
import functools
import importlib
import itertools
import math
import re
import shlex
import statistics
from pathlib import Path

import nbformat
import pytest
import torch
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gbi_helpers.experiments import STUDIES as STUDY_MODULES
from gbi_helpers.experiments import verdict_views as views
from gbi_helpers.experiments.cifar.measure import packed
from gbi_helpers.experiments.paper import reported
from gbi_helpers.experiments.results import Results, load_results
from gbi_helpers.experiments.verdicts import VERDICTS, Judged, Place, Statement, judged, sides
from gbi_helpers.files import load_asset
from gbi_helpers.metrics import Summary

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
STUDIES = ("toy", "mnist", "ood", "cifar")


def record(one, other=(0.0, 0.0, 0.0), name="made"):
    """A record of two rows, each with a number a seed, and the same in a list."""

    def seeds(values):
        return {
            str(seed): {"right": value, "curve": [0.0, value], "table": [[value, 0.0], [2 * value, 1.0]]}
            for seed, value in enumerate(values)
        }

    return Results(name, {"one": seeds(one), "other": seeds(other)}, {}, {"seed": [0, 1, 2]}, {})


def test_what_rounds_to_nothing_has_no_sign():
    one = dataclasses.replace(judged()[0], statement=Statement("g", "w", "s", "05", unit="points"))
    assert views.found(one, Summary(-0.0125, 0.0, 1.26, 1)) == "0.0 ± 1.3 points (one run)"


def verdict(values, rule, other=None, **more):
    places = ("made: one > right",) if other is None else ("made: one > right", "made: other > right")
    statement = Statement("g", "w", "s", "05", rule=rule, measured=places, **more)
    return Judged(statement, lambda name: record(values, other or (0.0, 0.0, 0.0))).verdict


# -- rules -------------------------------------------------------------------------------------------------------------
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8), st.floats(-3, 3))
def test_an_order_holds_as_students_test_has_it(values, limit):
    if len({round(value, 6) for value in values}) == 1:
        return  # no spread
    mean = torch.tensor(values, dtype=torch.float64).mean()
    low, high = stats.t.interval(0.95, len(values) - 1, loc=mean, scale=stats.sem(values))
    if min(abs(low - limit), abs(high - limit)) < 1e-6:
        return  # on the edge
    expected = "holds" if low > limit else "does not hold" if high < limit else "undecided"
    turned = {"holds": "does not hold", "does not hold": "holds"}.get(expected, expected)
    assert verdict(values, f"above {limit}") == expected
    assert verdict(values, f"below {limit}") == turned


def test_a_difference_is_taken_seed_by_seed():
    one, other = (70.0, 80.0, 90.0), (69.0, 79.1, 88.9)  # they overlap widely, and every seed is ahead
    assert verdict(one, "above 0", other) == "holds"
    assert verdict(one, "above 0", (69.0, 88.9, 79.1)) == "undecided"


def test_of_rows_with_other_seeds_those_are_compared_that_both_have():
    rows = {
        name: {str(k): {"x": x} for k, x in enumerate(xs)}
        for name, xs in {"a": [1, 2, 9], "b": [4, 6], "c": [3]}.items()
    }
    load = lambda record: Results("made", rows, {}, {}, {})  # noqa: E731
    assert [side.tolist() for side in sides(["made: a > x", "made: b > x"], load)] == [[1, 2], [4, 6]]
    assert [side.tolist() for side in sides(["made: a > x", "made: c > x"], load)] == [[1, 2, 9], [3]]


def test_a_single_run_decides_nothing_but_by_its_images():
    assert verdict((81.0,), "above 0", (80.0,)) == "undecided"
    assert verdict((81.0,), "above 0", (80.0,), images=1000) == "undecided"
    assert verdict((81.0,), "above 0", (80.0,), images=100_000) == "holds"
    assert verdict((80.0,), "above 0", (81.0,), images=100_000) == "does not hold"


def packed_record(accuracy=None):
    """One is right on 400 of 500 images, the other on ten of these less, and on no other."""
    right = torch.arange(500) < 400
    rights = {"one": right, "other": right & (torch.arange(500) >= 10)}
    rows = {
        name: {
            "0": {"of": {"accuracy": accuracy or float(of.double().mean()) * 100, "right": packed(of)}, "test_n": 500}
        }
        for name, of in rights.items()
    }
    return Results("made", rows, {}, {"seed": [0]}, {})


def test_what_saw_the_same_images_may_be_compared_image_by_image():
    places = ("made: one > of > accuracy", "made: other > of > accuracy")
    apart = Statement("g", "w", "s", "07", rule="above 0", images=500, measured=places)
    ours = Judged(dataclasses.replace(apart, paired=True), lambda name: packed_record())
    assert Judged(apart, ours.load).verdict == "undecided"
    assert ours.verdict == "holds"
    assert ours.measured.mean == pytest.approx(2)
    assert ours.measured.half_width == pytest.approx(196 * (0.02 * 0.98 / 500) ** 0.5, rel=0.01)


def test_images_that_another_readout_has_right_are_refused():
    with pytest.raises(ValueError, match="another readout"):
        Place.read("made: one > of > accuracy").right(lambda name: packed_record(accuracy=75.0))


def test_an_auroc_has_the_chance_of_its_images_too():
    statement = Statement("g", "w", "s", "06", "AUROC", measured=("made: one > right",))
    wide, narrow = (
        Judged(dataclasses.replace(statement, images=images), lambda name: record((0.8, 0.81, 0.79))).measured
        for images in (2000, 0)
    )
    assert (wide.mean, wide.n) == (narrow.mean, narrow.n)
    assert wide.half_width > narrow.half_width + 0.001


@pytest.mark.parametrize(
    ("values", "more", "expected"),
    [
        ((85.0, 85.4, 86.0), {}, "holds"),
        ((81.9, 82.0, 82.1), {}, "undecided"),  # only the paper's own ± reaches it
        ((80.9, 81.0, 81.1), {}, "does not hold"),
        ((80.9, 81.0, 81.1), {"images": 200}, "holds"),  # 5.4 points of chance
        ((80.9, 81.0, 81.1), {"images": 500}, "undecided"),  # 3.4 points, and the 3.6 of the paper
        ((80.9, 81.0, 81.1), {"images": 20_000}, "does not hold"),
        ((80.9, 81.0, 81.1), {"otherwise": ("made: other > right",)}, "holds otherwise"),
    ],
)
def test_a_reported_number_is_near_within_our_interval_and_open_within_both(values, more, expected):
    statement = Statement(
        "g", "w", "s", "05", "%", rule="near", paper="mnist:faithful:one_step", measured=("made: one > right",), **more
    )
    assert Judged(statement, lambda name: record(values, (85.0, 85.4, 86.0))).verdict == expected


@pytest.mark.parametrize("rule", ["abvoe 0", "above", "above zero", "near 1", "below 0 or so"])
def test_a_mistyped_rule_is_refused_and_not_taken_for_another(rule):
    with pytest.raises(ValueError, match=f"'{rule}' of 's' is no rule: write near, above x or below x"):
        Statement("g", "w", "s", "05", rule=rule)


def test_without_a_rule_nothing_is_judged():
    assert verdict((1.0, 1.1, 1.2), "") == "not comparable"
    assert Judged(Statement("g", "w", "s", "05", why="nobody did")).verdict == "not measured"


def test_near_needs_a_number():
    with pytest.raises(ValueError, match="near no number"):
        verdict((1.0, 1.1, 1.2), "near")


# -- places ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("made: one > right", [1.0, 3.0]),
        ("made: one > curve > 1", [1.0, 3.0]),
        ("made: one > curve > -2", [0.0, 0.0]),
        ("made: one > curve > mean", [0.5, 1.5]),
        ("made: one > table > 1 > 0", [2.0, 6.0]),
        ("made: one > table > mean > 1", [0.5, 0.5]),
    ],
)
def test_a_place_is_read_seed_by_seed(text, expected):
    assert Place.read(text).values(lambda name: record((1.0, 3.0))).tolist() == expected


def test_an_interval_over_samples_is_taken_as_it_stands():
    rows = {"one": {"0": {"gap": {"mean": 0.3, "low": 0.1, "high": 0.5}}}}
    made = Results("made", rows, {}, {}, {})
    one = Judged(
        Statement("g", "w", "s", "08", "nats", rule="above 0", measured=("made: one > gap",)), lambda name: made
    )
    assert (one.measured.mean, one.measured.n) == (0.3, 1)
    assert one.measured.half_width == pytest.approx(0.2)
    assert one.verdict == "holds"


@pytest.mark.parametrize("text", ["made", "made: one", "one > right", ""])
def test_what_names_no_place_is_told(text):
    with pytest.raises(ValueError, match=r"write 'record: row > key'"):
        Place.read(text)


def test_a_place_that_is_not_there_names_the_choices():
    with pytest.raises(KeyError, match="choose one of"):
        Place.read("made: one > wrong").values(lambda name: record((1.0,)))


def test_an_unknown_group_names_the_choices():
    with pytest.raises(KeyError, match="choose one of"):
        judged("nothing")


# -- the page ----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def statements():
    return judged()


def test_every_statement_is_judged_by_the_records(statements):
    assert {one.verdict for one in statements} <= set(VERDICTS)
    assert {one.statement.chapter for one in statements} <= {*views.chapters(), "here", ""}
    for one in statements:
        assert bool(one.measured) >= bool(one.statement.rule), one.statement.says
        assert bool(one.statement.otherwise) == bool(one.statement.elsewhere), one.statement.says


def test_no_measured_number_is_typed(statements):
    for one in statements:
        for text in (one.statement.says, one.statement.why, one.statement.elsewhere):
            assert not re.search(r"\d[.,]\d", text), text
        assert not re.search(r"\d", one.statement.why), one.statement.why


def test_every_number_of_the_paper_appears(statements):
    used = {one.statement.paper for one in statements}
    known = [f"{study}:{one.row}:{'/'.join(one.path)}" for study in STUDIES for one in reported(study) if one.value]
    assert not set(known) - used
    with load_asset("paper.csv").open(encoding="utf-8", newline="") as stream:
        assert {line["study"] for line in csv.DictReader(stream)} == set(STUDIES)


def test_the_numbers_that_chapters_hold_against_the_paper_are_those_of_its_table():
    """What 00 to 11 call the paper's, in digits, stands in paper.csv, of which every number appears in chapter 12."""
    known = {number for study in STUDIES for one in reported(study) for number in (one.value, one.spread) if number}
    called = r"(?:paper(?:'s| reports| has| gives| says)(?! way)|Table [1-4])[^.|]{0,40}?(\d+\.\d+)"
    for path in sorted(NOTEBOOKS.glob("[01][0-9]_*.ipynb")):
        if path.name[:2] == "12":
            continue
        for cell in nbformat.read(path, 4).cells:
            for number in re.findall(called, cell.source) if cell.cell_type == "markdown" else ():
                digits = len(number.partition(".")[2])
                assert float(number) in {round(one, digits) for one in known}, f"{path.name}: {number}"


def test_a_record_that_changes_changes_the_page(statements):
    """Who names more digits, the classifier or one step: the record says so, not the page."""

    def exchanged(name):
        found = load_results(name)
        if name != "mnist_slice":
            return found
        other = {
            seed: {key: value - 50 if key == "one_step" else value for key, value in measured.items()}
            for seed, measured in found.rows["faithful"].items()
        }
        return dataclasses.replace(found, rows={**found.rows, "faithful": other})

    before = {line[0]: line for line in views.lines_of(statements)}
    after = {line[0]: line for line in views.lines_of(judged(load=exchanged))}
    changed = [said for said in before if before[said] != after[said]]
    touched = [
        f"{one.statement.where}: {one.statement.says}"
        for one in statements
        if any(text.startswith("mnist_slice: faithful > one_step") for text in one.statement.measured)
    ]
    assert set(touched) <= set(changed)
    assert any(before[said][3] != after[said][3] for said in touched)


def halved(value):
    """Each number of a record by half; what is packed in words stays."""
    if isinstance(value, dict):
        return {key: halved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [halved(item) for item in value]
    return value / 2 if isinstance(value, int | float) else value


def test_every_line_follows_its_record(statements):
    """Those compared image by image apart: of them a record says which images were right, and refuses another share."""

    @functools.cache
    def load(name):
        found = load_results(name)
        return dataclasses.replace(found, rows=halved(found.rows))

    read = [one for one in statements if one.measured and not one.statement.paired]
    assert {Place.read(one.statement.measured[0]).record for one in read} >= {*STUDY_MODULES} - {"mnist", "language"}
    for one in read:
        after = Judged(one.statement, load).measured
        assert after.mean == pytest.approx(one.measured.mean / 2), one.statement.says
        if abs(one.measured.mean) > 10.0**-one.statement.digits:
            assert views.found(one, after) != views.found(one, one.measured), one.statement.says
    with pytest.raises(ValueError, match="of another readout"):
        _ = Judged(next(one.statement for one in statements if one.statement.paired), load).measured


# -- the table ---------------------------------------------------------------------------------------------------------
def shown(statements, monkeypatch, **more):
    found = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: found.append(data))
    views.verdict_table(statements, "All", **more)
    return BeautifulSoup(found[0]["text/html"], "html.parser"), found[0]["text/plain"]


def test_the_table_has_a_row_a_statement_and_reads_as_text(statements, monkeypatch):
    page, text = shown(statements, monkeypatch)
    rows = page.select("tbody tr")
    assert len(rows) == len(statements) == text.count("\n") - 1
    assert page.find("input") is None
    for row, one in zip(rows, statements, strict=True):
        assert row["data-verdict"] == one.verdict
        assert row.th["scope"] == "row"
        assert one.statement.says in row.th.get_text()
        assert views.marked(one.verdict) in row.get_text()
        assert [code.get_text() for code in row.find_all("code")] == one.commands
        assert ("holds if" in row.get_text()) == bool(one.statement.rule)


def test_rows_that_are_compared_are_measured_by_one_command(statements):
    """Each command replaces the record of its study in the cache, so a row of its own would lose the other."""
    for one in statements:
        studies = [command.split()[2] for command in one.commands if command.startswith("gbi reproduce")]
        assert len(set(studies)) == len(studies), one.commands


def test_a_command_is_one_for_sh_cmd_and_powershell_alike(statements):
    """Windows' cmd knows no single quotes; and what stands in double ones must be a row's name as it is."""
    for command in (command for one in statements for command in one.commands):
        assert "'" not in command
        words = shlex.split(command)
        if words[:2] == ["gbi", "reproduce"]:
            assert set(words[words.index("--rows") + 1 :]) <= set(study_of(words[2]).rows)


def study_of(name):
    return importlib.import_module(STUDY_MODULES[name]).STUDY


def test_the_filter_counts_every_verdict_and_needs_no_script(statements, monkeypatch):
    page, _ = shown(statements, monkeypatch, filtered=True)
    assert page.find("script") is None
    assert page.legend.get_text()
    values = [choice["value"] for choice in page.find_all("input", type="radio")]
    assert values == ["all", *views.counted(statements)]
    assert all(choice.has_attr("data-lm-suppress-shortcuts") for choice in page.find_all("input")), "JupyterLab's keys"
    assert sum(views.counted(statements).values()) == len(statements)


def test_each_table_has_buttons_of_its_own_by_a_name_that_a_run_anew_gives_again(statements, monkeypatch):
    def names():
        monkeypatch.setattr(views, "_MADE", itertools.count(1))  # as in a new process
        pages = [shown(statements, monkeypatch, filtered=True)[0] for _ in range(2)]
        return [{choice["name"] for choice in page.find_all("input")} for page in pages]

    first, second = names()
    assert len(first) == len(second) == 1
    assert first != second
    assert names() == [first, second]


@pytest.mark.browser
def test_a_choice_in_one_table_leaves_another_as_it_is(statements, monkeypatch, browser):
    tables = [str(shown(statements, monkeypatch, filtered=True)[0]) for _ in range(2)]
    page = browser.new_page()
    page.set_content("".join(tables))
    rows = [page.locator(".gbi-verdicts-all").nth(k).locator("tbody tr:visible") for k in (0, 1)]
    wanted = next(iter(views.counted(statements)))
    page.locator(f"input[value='{wanted}']").first.check()
    assert page.locator("input:checked").evaluate_all("all => all.map(({ value }) => value)") == [wanted, "all"]
    assert [found.count() for found in rows] == [views.counted(statements)[wanted], len(statements)]
    page.close()


def test_a_folded_table_tells_its_verdicts(statements, monkeypatch):
    page, _ = shown(statements, monkeypatch, folded=True)
    summary = page.find("details", recursive=True).summary.get_text()
    assert all(f"{views.marked(verdict)}: {n}" in summary for verdict, n in views.counted(statements).items())
    assert page.find("details").find("table")


def test_the_picture_tells_its_numbers(statements):
    fig, alt = views.numbers_figure(statements)
    lines = [one for one in statements if views.told(one) and one.measured]
    assert len(fig.axes[0].get_yticks()) == len(lines) >= 10
    assert all(one.statement.says in alt for one in lines)


# ---- each part of a rule ----


def made(values, other=(85.0, 85.1, 85.2), **more):
    told = {"rule": "near", "paper": "mnist:faithful:one_step", "measured": ("made: one > right",), "unit": "%", **more}
    return Judged(Statement("g", "w", "s", "05", **told), lambda name: record(values, other))


def test_a_number_far_above_is_not_near_and_a_second_try_must_pass_itself():
    assert made((95.0, 95.1, 95.2)).verdict == "does not hold"
    twice = made((80.9, 81.0, 81.1), (70.0, 70.1, 70.2), otherwise=("made: other > right",))
    assert twice.verdict == "does not hold"


def test_shares_are_scaled_to_percent():
    assert made((0.84, 0.85, 0.86), scale=100.0).measured.mean == pytest.approx(85)


def test_a_difference_of_two_accuracies_has_the_chance_of_both():
    sides_of = ("made: one > right", "made: other > right")
    found = made((80.0,), (60.0,), rule="above 0", measured=sides_of, images=1000).measured
    assert found.half_width == pytest.approx(196 * (0.16 / 1000 + 0.24 / 1000) ** 0.5)


def test_an_auroc_has_the_chance_of_two_thousand_images_of_each_kind():
    """By Hanley and McNeil's formula; a single run has that chance alone, and is told as one run."""
    one = made((0.8,), unit="AUROC", rule="above 0.5", images=2000).measured
    same_known, same_foreign = 0.8 / 1.2 - 0.64, 2 * 0.64 / 1.8 - 0.64
    variance = (0.8 * 0.2 + 1999 * same_known + 1999 * same_foreign) / 2000**2
    assert (one.mean, one.n) == (pytest.approx(0.8), 1)
    assert one.half_width == pytest.approx(1.96 * variance**0.5)
    three = made((0.8, 0.81, 0.79), unit="AUROC", rule="above 0.5", images=2000).measured
    assert three.n == 3
    assert three.half_width == pytest.approx(math.hypot(one.half_width, 4.303 * 0.01 / 3**0.5), rel=1e-3)


def test_what_measures_a_place_again_names_the_size_of_its_study():
    sized, sole = (
        Place.read(text).again(load_results)[0]
        for text in ("mnist_slice: faithful > one_step", "ood: faithful > auroc")
    )
    assert sized == ("gbi", "reproduce", "mnist", "--size", "slice")
    assert sole == ("gbi", "reproduce", "ood")


def test_the_chance_of_the_images_is_that_of_the_mean_over_seeds():
    found = made((99.0, 50.0, 70.0), rule="above 0", images=100).measured
    seeds = 4.302653 * statistics.stdev((99, 50, 70)) / 3**0.5
    assert found.half_width == pytest.approx(math.hypot(seeds, 196 * (0.73 * 0.27 / 100) ** 0.5), rel=1e-4)
