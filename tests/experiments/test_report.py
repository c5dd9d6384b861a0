"""The page about what moved: it needs nothing else, hides nothing without style, and is whole or not there."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from gbi_helpers.experiments.moved import VERDICTS, compare
from gbi_helpers.experiments.report import Outcome, page, summary, write_page
from gbi_helpers.experiments.results import Results


def record(name, **rows):
    by_seed = {row: {str(seed): found for seed, found in enumerate(each)} for row, each in rows.items()}
    return Results(name, by_seed, {}, {}, {})


@pytest.fixture
def outcomes():
    steady = [{"score": 1.0, "curve": [1.0, 2.0], "seconds": 10.0}] * 3
    old = record("study", same=steady, moves=[{"score": 1.0}, {"score": 2.0}, {"score": 3.0}])
    new = record("study", same=[{**each, "seconds": 5.0} for each in steady], moves=[{"score": s} for s in (2, 3, 4.5)])
    return [
        Outcome("study", 2, Path("study.json"), compare(old, new), {"<row> & co": "CIFAR-100 is not here."}),
        Outcome("study_small", 3, Path("small.json")),
    ]


@pytest.fixture
def soup(outcomes):
    return BeautifulSoup(page("gbi reproduce all", outcomes), "html.parser")


def rows_of(soup, caption):
    table = next(table for table in soup.find_all("table") if table.caption.text == caption)
    return [[cell.text for cell in row.find_all(["th", "td"])] for row in table.tbody.find_all("tr")]


def test_the_summary_has_a_line_for_each_record_and_names_what_lies_outside(outcomes):
    head, study, small, chance, _, _, moved = summary(outcomes).splitlines()
    assert head.split("  ")[0] == "record"
    assert study.split() == ["study", "2", "of", "3", "3", "0", "0", "1", "0", "0", "x", "0.50"]
    assert small.split() == ["study_small", "3", *"-------"]
    assert "five in a hundred" in chance
    assert re.fullmatch(r"study +moves +score +2 +3\.16667 +\+1\.17 ± 0\.72", moved)


def test_where_no_row_was_measured_nothing_is_said_of_sizes():
    lost = [Outcome("study", left_out={"a": "no data"})]
    assert summary(lost).splitlines()[-1] == "No row was measured: nothing is compared."
    assert summary([Outcome("study_small", 3, Path("small.json"))]).endswith(
        "Nothing of this size is shipped: not compared."
    )


def test_values_that_are_equal_share_a_line_and_each_other_has_its_own(soup):
    same, moved = rows_of(soup, "Values, by row")
    assert same == ["study", "same", "3 values", "equal", "", "", "", ""]
    assert moved == ["study", "moves", "score", "moved outside", "2", "3.16667", "+1.17 ± 0.72", "3"]


def test_times_stand_apart_as_ratios_and_what_was_left_out_says_why(soup):
    assert rows_of(soup, "Times, as ratios") == [["study", "same", "seconds", "10", "5", "x 0.50"]]
    assert rows_of(soup, "Left out") == [["study", "<row> & co", "CIFAR-100 is not here."]]


def test_the_page_loads_nothing_and_runs_nothing(soup):
    assert not soup.find_all(["script", "link", "img", "iframe"])
    assert not re.search(r"https?:|@import|url\(", str(soup))


def test_the_page_can_be_read_by_ear_and_by_keyboard(soup):
    assert soup.html["lang"] == "en"
    assert soup.title.text == soup.h1.text == "gbi reproduce all"
    for table in soup.find_all("table"):
        assert table.caption
        assert all(cell["scope"] == "col" for cell in table.thead.find_all("th"))
        assert all(row.th["scope"] == "row" for row in table.tbody.find_all("tr"))
        assert table.parent["tabindex"] == "0", "what scrolls can be reached"
    assert soup.fieldset.legend
    assert all(choice.parent.name == "label" for choice in soup.find_all("input"))


def test_each_verdict_that_there_is_can_be_chosen_and_style_alone_hides_the_others(soup):
    chosen = {choice["id"]: choice.parent.text.split(" (")[0].strip() for choice in soup.find_all("input")}
    assert list(chosen.values()) == ["all", "equal", "moved outside"]
    style = soup.style.text
    for number in range(len(VERDICTS)):
        assert f":has(#v{number}:checked) tbody tr[class]:not(.v{number})" in style
    assert {row["class"][0] for row in soup.select("tr[class]")} == set(chosen) - {"all"}
    assert "prefers-color-scheme: dark" in style


def test_a_full_disk_leaves_no_page_and_is_told_in_one_sentence(outcomes, tmp_path, monkeypatch):
    def full(path, *_, **__):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"Cannot write .*report.html \(No space left on device\). Free some space"):
        write_page(tmp_path / "report.html", "title", outcomes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.browser
def test_a_choice_shows_its_lines_alone_in_a_browser(outcomes, tmp_path, browser):
    seen = browser.new_page(java_script_enabled=False)
    seen.goto(write_page(tmp_path / "report.html", "title", outcomes).as_uri())
    lines = seen.locator("tr[class]")
    assert lines.count() == 2
    assert [lines.nth(n).is_visible() for n in range(2)] == [True, True]
    seen.get_by_label("moved outside").check()
    assert [lines.nth(n).is_visible() for n in range(2)] == [False, True]
    seen.close()


def test_the_summary_names_the_furthest_first_and_no_more_than_it_can_show():
    names = [f"m{k:02}" for k in range(10)]
    old = record("study", row=[dict.fromkeys(names, 0.0)] * 3)
    moved = [{name: 1 + (seed - 1) * 0.2 / (k + 1) for k, name in enumerate(names)} for seed in range(3)]
    lines = summary([Outcome("study", 1, Path("study.json"), compare(old, record("study", row=moved)))]).splitlines()
    assert [line.split()[2] for line in lines[-8:]] == names[:1:-1]
