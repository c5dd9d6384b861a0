import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from course.pages import no_request
from widgets.outputs import comments
from widgets.toy import toy_path

from gbi_helpers import scrub
from gbi_helpers.course.export import mathml, to_html

ROOT = Path(__file__).parents[2]
BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
v4 = nbformat.v4


def page(tmp_path, *cells):
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(c) if isinstance(c, str) else c for c in cells])
    return BeautifulSoup(to_html(notebook, tmp_path / "page.html").read_text("utf-8"), "html.parser")


def shown(html, **data):
    output = v4.new_output("execute_result", {"text/html": html, "text/plain": "x", **data}, execution_count=1)
    return v4.new_code_cell("show()", outputs=[output], execution_count=1)


def formulas(soup):
    return [re.sub(r"\s", "", m.get_text()) for m in soup.find_all("math")]


def test_formulas_are_mathml_and_code_and_money_stay(tmp_path):
    soup = page(
        tmp_path,
        "# On $z$\n\nInline $a_1 < b$ and `$code$`. It costs $5 and $6, or \\$7.\n\n$$\\frac{1}{2}$$\n\n"
        "\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}\n\n```python\nprice = '$x$'\n```\n",
    )
    assert formulas(soup) == ["z", "a1<b", "12", "a=bc=d"]
    text = soup.main.get_text()
    assert "It costs $5 and $6, or $7." in text
    assert [code.get_text() for code in soup.select(".text p code")] == ["$code$"]
    assert "price = '$x$'" in text
    assert soup.find("math", display="block") is not None
    assert len(soup.find_all("mtr")) == 2


def test_formulas_in_answers_that_unfold_stay_inside(tmp_path):
    soup = page(tmp_path, "<details><summary>What is $q$?</summary>\n\nIt is $e^{-L}$.\n\n</details>\n\nAfter.")
    fold = next(d for d in soup.main.find_all("details"))
    assert formulas(fold) == ["q", "e−L"]
    assert "After." not in fold.get_text()
    one_block = page(tmp_path, "<details><summary>Raw</summary>So $a<b$; <code>$no$</code>.</details>")
    assert formulas(one_block.main.details) == ["a<b"]
    assert one_block.main.details.code.get_text() == "$no$"


@pytest.mark.parametrize(
    ("tex", "letters"),
    [
        (r"\arg\max_z p(x \mid z)", "argmaxzp(x∣z)"),
        (r"\begin{aligned} a &= b \\ &= c \end{aligned}", "a=b=c"),
        (r"\operatorname{softmax}(u)", "softmax(u)"),
        (r"\mathbb{E}_{q}\left[\log p\right]", "𝔼q[logp]"),
        (r"\nabla_z \mathcal{L}(x, z_0)", "∇zℒ(x,z0)"),
        (r"\begin{cases} 1 & x > 0 \\ 0 & \text{else} \end{cases}", "{1x>00else"),
    ],
)
def test_formulas_of_the_course_are_known(tex, letters):
    assert re.sub(r"\s", "", BeautifulSoup(mathml(tex), "html.parser").get_text()) == letters


def test_a_sign_keeps_to_its_number_and_a_function_from_its_argument():
    signs = [mo.get("form") for mo in BeautifulSoup(mathml(r"a - b = -(-c)"), "html.parser").find_all("mo", string="−")]
    assert signs == [None, "prefix", "prefix"]
    assert BeautifulSoup(mathml(r"\log p"), "html.parser").find("mspace") is not None
    assert BeautifulSoup(mathml(r"\log(p)"), "html.parser").find("mspace") is None


@pytest.mark.parametrize("tex", [r"\frac{", r"\unheardof{x}", r"a & b"])
def test_a_formula_that_is_not_known_is_not_shown_wrong(tmp_path, tex):
    with pytest.raises(ValueError, match="formula"):
        mathml(tex)
    soup = page(tmp_path, f"See $${tex}$$ here.")
    assert soup.find("code", class_="tex").get_text() == tex


def test_page_has_language_title_landmarks_and_one_h1(tmp_path):
    soup = page(
        tmp_path, "# The *title* of $z$\n\nText", "## Part one", "# Not a second title", v4.new_code_cell("x = 1")
    )
    assert soup.html["lang"] == "en"
    assert soup.title.get_text() == "The title of z"
    assert len(soup.find_all("main")) == len(soup.find_all("h1")) == 1
    links = [a["href"] for a in soup.nav.find_all("a")]
    assert links == ["#Part-one", "#Not-a-second-title"]
    assert all(soup.find(id=link[1:]) for link in links)
    assert soup.find("meta", attrs={"name": "viewport"}) is not None


def test_scrubbers_survive_byte_for_byte(tmp_path):
    script = 'const a = 1 < 2 && "<b>&amp;<\\/b>"; document.title = `${a}`;'
    data = '{"header": {"k": "a\\u003cb"}, "data": "AAAA"}'
    run = "[1].find((a)=>a<2&&a!=='b')"
    html = (
        f'<div class="gbi-host"><!--{script}--><!--{data}--><img onload="{run}"><table><tr><th>a</th></tr></table>'
        "</div>"
        f'<script type="module">{script}</script>'
    )
    soup = page(tmp_path, shown(html))
    assert soup.find("script", type="module").string == script
    assert comments(str(soup)) == [script, data]
    assert soup.img["onload"] == run
    assert soup.find("table").parent["class"] == ["gbi-host"]


def test_without_javascript_a_view_asks_for_that_and_for_no_cell_and_its_table_scrolls(tmp_path):
    view = scrub(toy_path(steps=4), title="Which?").html
    soup = page(tmp_path, shown(view), "Run this cell to see more.")
    hint = soup.select_one(".gbi-fallback em").get_text()
    assert hint == "A still picture and a table. Allow JavaScript to scrub through the steps."
    assert soup.select_one(".text p").get_text() == "Run this cell to see more.", "other words stay"
    assert [table.parent["class"] for table in soup.select(".gbi-fallback table")] == [["table"]]
    assert comments(str(soup)) == comments(view)
    assert soup.select_one(".gbi-fallback img")["onload"]


@pytest.mark.browser
def test_without_javascript_a_wide_table_of_a_view_scrolls_and_the_page_does_not(tmp_path, browser):
    cells = "".join(f"<td>{'a' * 20}</td>" for _ in range(6))
    still = f'<div class="gbi-fallback"><em>Run this cell to go.</em><table><tr>{cells}</tr></table></div>'
    page(tmp_path, shown(f'<div class="gbi-host">{still}</div>'))
    context = browser.new_context(java_script_enabled=False, viewport={"width": 320, "height": 700})
    tab = context.new_page()
    tab.goto((tmp_path / "page.html").as_uri())
    outer = tab.locator(".output").evaluate("node => node.scrollWidth - node.clientWidth")
    inner = tab.locator(".table").evaluate("node => node.scrollWidth - node.clientWidth")
    assert outer == 0 < inner
    context.close()


def test_live_widgets_leave_their_html_and_scripts_of_others_go(tmp_path):
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "a", "version_major": 2, "version_minor": 0}}
    cell = shown(
        "<b>still</b><script src='https://example.org/x.js'></script><link href='//example.org/a.css'>", **view
    )
    soup = page(tmp_path, cell, "![A badge](https://example.org/badge.svg)")
    assert soup.find("b").get_text() == "still"
    assert "example.org" not in "".join(str(x) for x in soup.select("script, link, img"))
    assert soup.find("a", href="https://example.org/badge.svg").get_text() == "A badge"
    no_request(soup)
    policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_solutions_are_folded_and_answers_are_not_lost(tmp_path):
    solution = v4.new_code_cell("answer = 42", metadata={"tags": ["solution"]})
    hidden = v4.new_code_cell("plumbing = 1", metadata={"jupyter": {"source_hidden": True}})
    soup = page(tmp_path, solution, hidden, v4.new_code_cell("open = 1"))
    folded = soup.find_all("details", class_="folded")
    assert [fold.summary.get_text() for fold in folded] == ["Solution", "Code"]
    assert "answer = 42" in folded[0].get_text()
    assert len(soup.select(".cell")) == 3


def test_tables_name_their_headers_and_nothing_that_may_have_room_is_a_tab_stop(tmp_path):
    soup = page(tmp_path, "| a | b |\n|---|---|\n| $q$ | 2 |\n", shown("<table><tr><th></th><th>r</th></tr></table>"))
    assert [th["scope"] for th in soup.find_all("th")] == ["col", "col", "row"]
    assert [table.parent["class"] for table in soup.find_all("table")] == [["table"], ["table"]]
    long = page(tmp_path, v4.new_code_cell("x" * 200), "$$a = b$$\n\n| a |\n|---|\n| 1 |\n")
    assert len(long.select(".input pre, .formula, .table")) == 3
    assert long.select("[tabindex]") == []
    assert "ResizeObserver" in long.find_all("script")[-1].string, "which of them are too wide the page finds out"


def test_links_between_notebooks_lead_to_pages(tmp_path):
    soup = page(tmp_path, "[a](05_mnist.ipynb#Part) [b](https://example.org/x.ipynb) [c](#Here) [d](../README.md)")
    assert [a["href"] for a in soup.main.find_all("a")] == [
        "05_mnist.html#Part",
        "https://example.org/x.ipynb",
        "#Here",
        "../README.md",
    ]


def test_an_image_beside_the_notebook_is_carried_in_the_page(tmp_path):
    (tmp_path / "dot.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("![A dot](dot.svg)")]), tmp_path / "x.ipynb")
    soup = BeautifulSoup(to_html(tmp_path / "x.ipynb", tmp_path / "x.html").read_text("utf-8"), "html.parser")
    assert soup.main.img["src"].startswith("data:image/svg+xml;base64,")
    assert soup.main.img["alt"] == "A dot"


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_every_notebook_of_the_course(page_of_chapter, path):
    text = page_of_chapter(path).read_text("utf-8")
    soup = BeautifulSoup(text, "html.parser")
    no_request(soup)
    assert [code.get_text() for code in soup.find_all("code", class_="tex")] == [], "formulas that cannot be shown"
    for cell in soup.select(".text"):
        for code in cell.select("code, pre, math, script"):
            code.decompose()
        assert not re.search(r"\$[^$\n]*\\[a-z]+[^$\n]*\$", cell.get_text()), cell.get_text()[:300]
    assert len(soup.find_all("h1")) == 1
    assert all(image.get("alt") for image in soup.find_all("img"))
    stored = nbformat.read(path, as_version=4)
    outputs = [str(o.get("data", {}).get("text/html", "")) for c in stored.cells for o in c.get("outputs", [])]
    assert len(soup.select(".gbi-host")) == sum(html.count('class="gbi-host"') for html in outputs)
    ids = [element["id"] for element in soup.find_all(id=True)]
    assert len(set(ids)) == len(ids)


@pytest.mark.browser
def test_page_opens_from_disk_without_a_request_and_reads_on_a_phone(tmp_path, browser):
    script = "<p id='a'>no</p><script type='module'>document.getElementById('a').textContent = 'ran';</script>"
    wide = v4.new_code_cell("a_long_name = " + " + ".join(["something_long"] * 12))
    page(tmp_path, "# Title\n\n$$\\sum_k " + " + ".join(["z_k^2"] * 40) + "$$", wide, shown(script))
    requests, errors = [], []
    tab = browser.new_page(viewport={"width": 360, "height": 700})
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.goto((tmp_path / "page.html").as_uri())
    tab.wait_for_function("document.getElementById('a').textContent == 'ran'")
    width = tab.evaluate("document.documentElement.scrollWidth")
    tab.close()
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert errors == []
    assert width <= 360
