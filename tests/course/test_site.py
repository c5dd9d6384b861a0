import base64
import io
import json
import re

import numpy as np
import pytest
from bs4 import BeautifulSoup
from course.pages import lost_links, no_request, read_pages
from nbformat import v4
from PIL import Image
from widgets.outputs import comments
from widgets.toy import toy_path

from gbi_helpers import cli, plots, scrub, slide
from gbi_helpers.course import notebooks, site
from gbi_helpers.course.site import write_site
from gbi_helpers.files import questions
from gbi_helpers.widgets import Controls, Lines

OPENING = """# 05 · Which *digit* is it?

See [the start](00_start_here.ipynb#What-for?), [what comes](11_open_questions.ipynb), [more](../README.md).

- **Minutes**: reading 80, exercises 75; running it takes seconds.
- **Before**: [00 Start](00_start_here.ipynb), and `backward()`.
"""
START = """# 00 · Start here

**Minutes**: 25 to read, 5 more for the exercises.
**Before:** nothing.

## What for?

To find a café, and no `</script>`.
"""
URL = "https://ada.example.org/gbi/"


def shown(html):
    return v4.new_code_cell("x", outputs=[v4.new_output("display_data", {"text/html": html, "text/plain": "x"})])


def figure():
    fig, ax = plots.new(6.4, 3)
    ax.plot(np.linspace(0, 1, 40), np.random.default_rng(0).random((40, 4)))
    return plots.as_html(fig, "Four lines that go up and down")


def sliders():
    lines = Lines("Loss", {"loss": [[2, 0, 1], [1, 0, 2]]}, x=[0, 1, 2])
    return slide({"z0": [0, 1]}, lines, says={"nats": [1, 2]}, title="Where from?").html


def save(folder, name, *cells):
    cells = [v4.new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    notebooks.write(v4.new_notebook(cells=cells), folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course") / "notebooks"
    exercise = v4.new_code_cell("raise NotImplementedError()", metadata={"nbgrader": {"solution": True}})
    return [
        save(folder, "00_start_here", START, shown(figure())),
        save(folder, "05_mnist", OPENING, shown(figure()), "## Scrub $z$\n\nMove it.", shown(sliders()), exercise),
        save(folder, "06_mnist_ood", "# 06 · The last\n\nText"),
    ]


@pytest.fixture(scope="module")
def made(books, tmp_path_factory):
    """The site as it is written without an address."""
    folder = tmp_path_factory.mktemp("site") / "OUT"
    write_site(books, folder)
    return folder


@pytest.fixture(scope="module")
def pages(made):
    return read_pages(made)


def chapter(pages, number):
    return pages["index.html"].select(".map li")[number]


def test_all_links_are_names_of_files_that_lead_somewhere_and_nothing_is_loaded(pages):
    assert lost_links(pages) == []
    for soup in pages.values():
        no_request(soup)
        assert soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"].startswith(
            "default-src 'none'; base-uri 'none';"
        )
        assert [link["href"] for link in soup.select("a") if re.match(r"[./]", link["href"])] == []
        assert soup.select_one('header a[href="index.html"]'), "the way home"
        assert len(soup.find_all("h1")) == len(soup.find_all("main")) == 1


def test_the_map_tells_question_time_needs_and_what_is_there_and_shows_the_first_figure(pages):
    line = chapter(pages, 1)
    assert line.h3.a["href"] == "05_mnist.html"
    assert line.h3.get_text() == "05 · Which digit is it?"
    assert line.p.get_text() == questions()["05_mnist"]
    time, needs, status = line.find_all("dd")
    assert time.get_text() == "80 min to read, 75 for the exercises"
    assert needs.decode_contents() == '<a href="00_start_here.html">00 Start</a>, and <code>backward()</code>.'
    assert status.get_text() == "ready; 1 view to move through, 1 exercise with checks"
    assert chapter(pages, 0).dd.get_text() == "25 min to read, 5 for the exercises"
    assert chapter(pages, 0).find_all("dd")[1].get_text() == "nothing."
    small, large = (opened(element.img) for element in (line, pages["05_mnist.html"].select_one(".output")))
    assert small.width < large.width
    assert np.abs(np.array(small, float) - np.array(large.resize(small.size), float)).mean() < 5


def test_chapters_still_to_come_are_on_the_map_without_a_link(pages):
    last = pages["index.html"].select(".map li")[-1]
    assert last.dd.get_text() == "planned"
    assert last.a is None
    assert {link["href"] for link in pages["index.html"].select(".map h3 a")} == {
        "00_start_here.html",
        "05_mnist.html",
        "06_mnist_ood.html",
    }


def test_a_link_to_what_is_not_on_the_site_is_plain_text(pages):
    text = pages["05_mnist.html"].select_one(".text p:nth-of-type(1)")
    assert text.get_text().startswith("See the start, what comes, more.")
    assert [link["href"] for link in text.find_all("a")] == ["00_start_here.html#What-for?"]


def test_chapters_lead_to_the_one_before_and_the_one_after(pages):
    ways = {name: {link["rel"][0]: link["href"] for link in soup.select("a[rel]")} for name, soup in pages.items()}
    assert ways["00_start_here.html"] == {"next": "05_mnist.html"}
    assert ways["05_mnist.html"] == {"prev": "00_start_here.html", "next": "06_mnist_ood.html"}
    assert ways["06_mnist_ood.html"] == {"prev": "05_mnist.html"}


def test_the_views_with_sliders_stand_on_one_page_byte_for_byte_and_tell_where_they_are_explained(pages, made):
    assert comments((made / "sliders.html").read_text("utf-8")) == comments(sliders())
    link = pages["sliders.html"].select_one("main h2 a")
    assert link.get_text() == "Chapter 05: Scrub z"
    assert link["href"].startswith("05_mnist.html#Scrub")
    assert "sliders.html" in {link["href"] for link in pages["index.html"].main.find_all("a")}


def test_two_views_below_one_heading_have_names_of_their_own(tmp_path):
    book = save(tmp_path / "notebooks", "05_mnist", OPENING, "## Scrub: both", shown(sliders()), shown(sliders()))
    write_site([book], tmp_path / "OUT")
    page = read_pages(tmp_path / "OUT")["sliders.html"]
    assert [part["data-toy"] for part in page.select("main section")] == ["05-scrub-both", "05-scrub-both-2"]
    assert [head["id"] for head in page.select("main h2")] == ["05-scrub-both", "05-scrub-both-2"]


@pytest.mark.parametrize(
    ("name", "heading", "title", "key"),
    [
        ("05_mnist", "### Draw one yourself", "Which digit do you draw?", "draw"),
        ("08_language", "## 6. Your turn", "Where is this text from?", "type"),
    ],
)
def test_a_chapter_that_lets_one_draw_or_write_has_its_view_in_the_playground(tmp_path, name, heading, title, key):
    other = save(tmp_path / "notebooks", "03_other", "# Other", f"{heading}\n\nHere it is an exercise.")
    book = save(tmp_path / "notebooks", name, OPENING, shown(sliders()), f"{heading}\n\nA seven.")
    write_site([other, book], tmp_path / "OUT")
    pages = read_pages(tmp_path / "OUT")
    (section,) = pages["play.html"].select("main section")
    link = section.select_one("h2 a")
    anchor = link["href"].removeprefix(f"{name}.html#")
    assert title in section.get_text()
    assert "Allow JavaScript to" in section.select_one(".gbi-fallback").get_text()
    assert section.select_one(".gbi-fallback table").parent["class"] == ["table"]
    assert link.get_text() == f"Chapter {name[:2]}: {heading.strip('# 6.')}"
    heads = {part["id"]: part for part in pages[f"{name}.html"].find_all(["h2", "h3"])}
    there = heads[anchor].find_next_sibling("p").a
    assert (there["href"], there.get_text()) == (f"play.html#{key}", "Try it in the playground")
    assert lost_links(pages) == []


def test_without_sliders_or_pads_there_is_no_page_of_them_and_no_link_to_one(books, tmp_path):
    write_site(books[:1], tmp_path / "OUT")
    pages = read_pages(tmp_path / "OUT")
    assert not {"play.html", "sliders.html"} & set(pages)
    assert lost_links(pages) == []


@pytest.mark.parametrize("playground", [True, False])
def test_below_a_view_that_needs_a_kernel_stands_the_way_to_the_playground_if_there_is_one(playground, tmp_path):
    live = scrub(toy_path(steps=4), controls=Controls(lambda k: toy_path(steps=k), k=(1, 4))).html
    book = save(
        tmp_path / "notebooks", "05_mnist", OPENING, shown(live), *["### Draw one yourself\n\nA seven."] * playground
    )
    write_site([book], tmp_path / "OUT")
    pages = read_pages(tmp_path / "OUT")
    note = pages["05_mnist.html"].select_one(".gbi-note")
    assert "need a running kernel" in note.get_text()
    assert [link["href"] for link in note.find_all("a")] == ["play.html"] * playground
    assert lost_links(pages) == []


def test_the_search_knows_every_section_by_heading_and_text(pages):
    known = json.loads(pages["search.html"].find(id="sections").string)
    assert [page["file"] for page in known["pages"]] == ["00_start_here.html", "05_mnist.html", "06_mnist_ood.html"]
    assert [section[:3] for section in known["sections"]] == [
        [0, "00-·-Start-here", "00 · Start here"],
        [0, "What-for?", "What for?"],
        [1, "05-·-Which-digit-is-it?", "05 · Which digit is it?"],
        [1, pages["05_mnist.html"].select_one("main h2")["id"], "Scrub z"],
        [2, "06-·-The-last", "06 · The last"],
    ]
    assert known["sections"][1][3] == "To find a café, and no </script>."
    assert known["sections"][3][3] == "Move it."


def opened(image):
    return Image.open(io.BytesIO(base64.b64decode(str(image["src"]).partition(",")[2]))).convert("RGB")


def test_pictures_take_fewer_bytes_and_look_the_same(pages):
    before, after = BeautifulSoup(figure(), "html.parser").img, pages["05_mnist.html"].select_one(".output img")
    assert len(after["src"]) < 0.6 * len(before["src"])
    assert after["alt"] == before["alt"]
    assert np.abs(np.array(opened(before), float) - np.array(opened(after), float)).mean() < 0.5


def test_a_photograph_that_256_colours_would_spoil_keeps_all_of_them(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "png")
    image = f'<img alt="Noise" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
    write_site([save(tmp_path, "x", "# X", shown(image))], tmp_path / "OUT")
    kept = opened(read_pages(tmp_path / "OUT")["x.html"].select_one(".output img"))
    assert np.array_equal(np.array(kept), noise)


def test_an_address_brings_a_card_a_sitemap_and_a_way_home_from_any_folder(books, made, tmp_path):
    write_site(books, tmp_path / "OUT", URL.rstrip("/"))
    pages = read_pages(tmp_path / "OUT")
    for name, soup in pages.items():
        tags = {tag["property"]: tag["content"] for tag in soup.select("meta[property]")}
        assert (tags["og:url"], tags["og:image"]) == (URL + name, URL + "card.png")
        assert tags["og:title"] == soup.title.get_text()
    assert Image.open(tmp_path / "OUT" / "card.png").size == (1200, 630)
    listed = set(re.findall("<loc>(.*?)</loc>", (tmp_path / "OUT" / "sitemap.xml").read_text("utf-8")))
    assert listed == {URL + name for name in pages} - {URL + "404.html"}
    assert {link["href"] for link in pages["404.html"].select("a:not(.skip)")} == {
        URL + name for name in ("index.html", "sliders.html", "search.html")
    }
    assert lost_links({name: soup for name, soup in pages.items() if name != "404.html"}) == []
    assert not {"card.png", "sitemap.xml"} & {path.name for path in made.iterdir()}
    assert not BeautifulSoup((made / "index.html").read_bytes(), "html.parser").select("meta[property]")


def test_pages_link_to_binder_and_colab_once_the_repository_is_known(books, pages, tmp_path):
    write_site(books, tmp_path / "OUT", repository="ada/gbi")
    links = [link["href"] for link in read_pages(tmp_path / "OUT")["05_mnist.html"].footer.find_all("a")]
    assert links == [
        "https://mybinder.org/v2/gh/ada/gbi/HEAD?urlpath=lab/tree/notebooks/05_mnist.ipynb",
        "https://colab.research.google.com/github/ada/gbi/blob/HEAD/notebooks/05_mnist.ipynb",
    ]
    assert pages["05_mnist.html"].footer.find_all("a") == []


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_site_is_written_over_and_what_it_no_longer_has_goes(books, tmp_path):
    write_site(books, tmp_path / "OUT", URL)
    (tmp_path / "OUT" / ".DS_Store").write_bytes(b"left by a system")
    written = write_site(books[:1], tmp_path / "OUT")
    assert sorted(contents(tmp_path / "OUT")) == [".gbi-site", *(path.name for path in written)]
    assert "05_mnist.html" not in contents(tmp_path / "OUT")
    assert [path.name for path in tmp_path.iterdir()] == ["OUT"]


@pytest.mark.parametrize("name", ["CNAME", "my-own.html"])
def test_a_folder_with_other_files_is_refused_and_left_alone(books, tmp_path, name):
    write_site(books[:1], tmp_path / "OUT")
    (tmp_path / "OUT" / name).write_text("mine")
    before = contents(tmp_path / "OUT")
    with pytest.raises(ValueError, match=rf"holds files that are not of a site made here \({name}\)"):
        write_site(books, tmp_path / "OUT")
    assert contents(tmp_path / "OUT") == before


def test_what_fails_half_way_leaves_the_old_site_and_nothing_else(books, tmp_path, monkeypatch):
    write_site(books[:1], tmp_path / "OUT")
    before = contents(tmp_path / "OUT")
    monkeypatch.setattr(site, "_card", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_site(books, tmp_path / "OUT", URL)
    assert contents(tmp_path / "OUT") == before
    assert [path.name for path in tmp_path.iterdir()] == ["OUT"]


def command(monkeypatch, capsys, folder, *arguments):
    monkeypatch.setattr(notebooks, "course_folder", lambda: folder)
    status = cli.main(["site", *map(str, arguments)])
    told = capsys.readouterr()
    return status, told.out, [line for line in told.err.splitlines() if line.startswith("gbi:")]


def test_the_command_says_where_the_site_is(books, tmp_path, monkeypatch, capsys):
    status, told, errors = command(monkeypatch, capsys, books[0].parents[1], tmp_path / "OUT")
    assert (status, errors) == (0, [])
    assert re.search(r"^\d+ files \(\d+\.\d MB\) are in .*OUT: open index.html there\.$", told)
    assert (tmp_path / "OUT" / "index.html").is_file()


def test_no_notebooks_or_no_outputs_or_no_folder_to_write_is_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "file").write_text("a file")
    told = [command(monkeypatch, capsys, tmp_path, tmp_path / "OUT")]
    save(tmp_path / "notebooks", "05_mnist", "# Title", v4.new_code_cell("1 + 1"))
    told.append(command(monkeypatch, capsys, tmp_path, tmp_path / "OUT"))
    save(tmp_path / "notebooks", "05_mnist", "# Title")
    told += [command(monkeypatch, capsys, tmp_path, tmp_path / name) for name in ("file", "file/OUT", "notebooks")]
    assert [status for status, _, _ in told] == [1] * 5
    says = ["no notebooks in", "no stored outputs: run 'gbi store' first", "is a file", "Cannot write", "holds files"]
    for (_, _, errors), words in zip(told, says, strict=True):
        assert len(errors) == 1
        assert words in errors[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "notebooks"]


NO_ADDRESS = [
    "ada.github.io",
    "ftp://a.b/",
    "https://",
    "https://a.b/?q",
    "https://a.b/#c",
    "https://a.b:x",
    "https://a b",
]


@pytest.mark.parametrize("url", NO_ADDRESS)
def test_an_address_that_is_none_is_refused_before_anything_is_written(url, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["site", str(tmp_path / "OUT"), "--url", url])
    assert end.value.code == 2
    assert "is not a site's address" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
