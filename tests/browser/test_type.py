"""The text box on a page opened from disk: what is typed is read as Python reads it, without a kernel."""

import re

import nbformat
import pytest
import torch
from data.test_vocabulary import UNSPACED

from gbi_helpers import type_here
from gbi_helpers.bayes import bayes_filter
from gbi_helpers.course.export import to_html
from gbi_helpers.experiments.language.reading import load_language, read_words
from gbi_helpers.widgets.pack import number

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Type</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body style="font-family: sans-serif"><main><h1>Type</h1>{}</main></body></html>"""
FIRST = "My fellow citizens, whisk the eggs and the sugar until creamy"


def read(text):
    model, vocabulary, tasks, facts = load_language()
    return read_words(model, vocabulary, text, tasks=tasks, facts=facts)


@pytest.fixture(scope="module")
def html():
    model, vocabulary, _, facts = load_language()
    return type_here(model, vocabulary, FIRST, read(FIRST), facts=facts, title="Where is this text from?").html


@pytest.fixture(scope="module")
def written(html, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "type.html"
    path.write_text(PAGE.format(html), encoding="utf-8")
    return path


def readout(page):
    return page.locator(".gbi-readout").first.inner_text()


def wait(page, text):
    page.locator(".gbi-readout", has_text=text).first.wait_for(timeout=60_000)
    return page


@pytest.fixture
def typing(opened):
    """Opens the page and waits until its first text is read."""
    return lambda **options: wait(opened(**options), "word 12 of 12")


def said(record, word, belief=None):
    """What the read-out says at a word of a record that Python made."""
    q, loss = (record.belief if belief is None else belief)[word], record.loss
    top = int(q.argmax())
    nats = float(record.evidence[word, top])
    evidence = f"{'+' if nats >= 0.005 else ''}{number(nats)} nats for {record.tasks[top]}"
    return (
        f"word {word + 1} of {len(record.words)}, “{record.words[word]}”: {evidence}; "
        f"belief {record.tasks[top]} at {number(float(q[top]))}; loss {number(float(loss[word]))} nats, "
        f"{number(float(loss[: word + 1].mean()))} a word so far"
    )


def test_each_word_says_what_python_says_of_it_and_no_host_is_asked(typing):
    page, record = typing(), read(FIRST)
    page.get_by_role("slider", name="Place in the record, by word").focus()
    page.keyboard.press("Home")
    for word in range(12):
        assert readout(page) == said(record, word)
        page.keyboard.press("ArrowRight")
    assert page.requests == [page.url]
    assert page.troubles == []


def test_the_belief_follows_what_is_typed_changed_and_taken_away(typing):
    page = typing()
    box = page.get_by_role("textbox", name="Type or paste a text")
    box.press("Control+End")
    page.keyboard.type(". Raise ValueError")
    wait(page, said(read(f"{FIRST}. Raise ValueError"), 14))
    page.keyboard.press("Control+Home")
    page.keyboard.type("The ")
    assert wait(page, "of 16, ").locator(".gbi-text .gbi-word").all_inner_texts()[:2] == ["the", "my"]
    assert readout(page) == said(read(f"The {FIRST}. Raise ValueError"), 15)
    box.fill(" ")
    assert page.get_by_role("alert").first.inner_text().startswith("Type a few words")
    assert not page.locator(".gbi-text").is_visible()
    box.fill("whisk")
    wait(page, said(read("whisk"), 0))
    assert page.get_by_role("alert").count() == 0


def test_with_a_hazard_the_evidence_goes_through_the_filter_of_a_stream(typing):
    page, record = typing(), read(FIRST)
    slider = page.get_by_role("slider", name="hazard")
    slider.press("End")
    assert slider.get_attribute("aria-valuetext") == "0.5 a word"
    assert readout(page) == said(record, 11, bayes_filter(record.evidence, 0.5).exp())
    slider.press("Home")
    assert readout(page) == said(record, 11)


def test_it_writes_on_with_the_belief_as_z(typing):
    """Where chance always says a half: the word in the middle of the shares."""
    page = typing()
    model, vocabulary, *_ = load_language()
    page.evaluate("Math.random = () => 0.5")
    page.get_by_role("button", name="Write on").click()
    page.locator(".gbi-written:not(:empty)").wait_for(timeout=60_000)
    words, said_on = vocabulary.ids(vocabulary.clean(FIRST)), []
    z = read(FIRST).belief[-1:]
    with torch.no_grad():
        for _ in range(25):
            scores = model(torch.tensor([[vocabulary.start, *words]]), z)[0, -1].double() / 0.7
            scores[:2] = -torch.inf
            words.append(int((torch.softmax(scores, 0).cumsum(0) > 0.5).int().argmax()))
            said_on.append(vocabulary.words[words[-1]])
    assert page.locator(".gbi-written").first.inner_text() == " ".join(said_on)
    page.get_by_role("textbox").press("x")  # of another text it says nothing
    assert page.locator(".gbi-written").first.inner_text() == ""


def test_of_a_book_that_is_pasted_the_beginning_is_read_in_slices(typing):
    page = typing()
    page.get_by_role("textbox").press("Control+a")
    page.evaluate("""() => { window.pictures = 0;
        const [box, said] = ["textarea", ".gbi-readout"].map((part) => document.querySelector(`.gbi-typing ${part}`));
        const next = () => { pictures += box.value.length > 1000 && !said.textContent.startsWith("word 400 of 400");
            requestAnimationFrame(next); };
        next(); }""")
    page.keyboard.insert_text("cook the rice slowly . " * 20_000)
    told = page.get_by_role("alert").first
    assert told.inner_text() == "This text is long: its first 400 words are read, and no more."
    wait(page, "word 400 of 400, “.”: ")
    assert page.evaluate("pictures") > 5  # a page that reads at one go shows none meanwhile
    assert page.locator(".gbi-text .gbi-word").count() == 400
    assert page.get_by_role("button", name="Write on").is_enabled()


def test_who_stands_in_the_text_still_stands_there_when_it_was_read_anew(typing):
    page = typing()
    page.get_by_role("textbox").fill("the president of the states")
    page.locator(".gbi-text").focus()
    wait(page, "word 5 of 5")
    assert page.evaluate("document.activeElement.className") == "gbi-text"


BAD = {
    "🙂 🙂": "There is no word to read in this text: write at least one.",
    "שלום עולם": "No word of this text is in the model's vocabulary, so it says little: try others.",
    **{text: f"This text is {script.strip()}, which is written without " for script, text in UNSPACED.items()},
}


def test_what_cannot_be_read_is_told_in_one_sentence(typing):
    page = typing()
    for text, told in BAD.items():
        page.get_by_role("textbox").fill(text)
        assert page.get_by_role("alert").first.inner_text().startswith(told)
    page.get_by_role("textbox").fill("<img src=x onerror=alert(1)> bake <b>bread</b>")
    wait(page, "word 12 of 12, ")
    assert page.locator(".gbi-text .gbi-word").all_inner_texts()[-4:] == ["bake", "b", "bread", "b"]
    assert page.locator(".gbi-text img").count() == 0
    assert page.troubles == []


def test_emoji_are_passed_over_and_a_text_from_right_to_left_begins_at_the_right(typing):
    page = typing()
    box = page.get_by_role("textbox")
    text = "\U0001f642 whisk \U0001f469\u200d\U0001f467 the eggs \U0001f3f3\ufe0f\u200d\U0001f308"
    assert box.evaluate("node => getComputedStyle(node).direction") == "ltr"
    box.fill(text)
    wait(page, said(read(text), 2))
    box.fill("שלום whisk the eggs")
    wait(page, said(read("שלום whisk the eggs"), 3))
    assert box.evaluate("node => getComputedStyle(node).direction") == "rtl"
    assert page.troubles == []


def test_a_screen_reader_hears_once_the_typing_rests(typing):
    page = typing()
    page.wait_for_timeout(1000)
    page.evaluate("""() => { window.heard = []; const node = document.querySelector('.gbi-readout');
        new MutationObserver(() => { if (node.getAttribute('aria-live') === 'polite') heard.push(node.textContent); })
            .observe(node, { childList: true, characterData: true, subtree: true }); }""")
    page.get_by_role("textbox").press("Control+End")
    page.keyboard.type(" and bake it")
    assert page.evaluate("heard") == []
    page.wait_for_function("heard.length", timeout=60_000)
    page.wait_for_timeout(1000)
    assert page.evaluate("heard") == [readout(page)]


@pytest.mark.parametrize("look", [{"width": 1000}, {"width": 390, "scheme": "dark"}], ids=str)
def test_axe_finds_no_serious_violation_and_a_phone_no_sideways_scrolling(typing, violations, look):
    width = look["width"]
    page = typing(viewport={"width": width, "height": 900}, color_scheme=look.get("scheme", "light"))
    if "scheme" in look:
        page.add_style_tag(content=":root { color-scheme: dark; } body { background: #111; color: #ddd; }")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == []


def test_on_paper_the_text_stands_without_the_box(typing):
    page = typing()
    page.emulate_media(media="print")
    assert page.locator(".gbi-text").is_visible()
    for role in ("textbox", "slider", "button"):
        assert page.get_by_role(role).count() == 0


def test_without_javascript_picture_table_and_one_sentence_stand_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator(".gbi-fallback img").is_visible()
    assert page.locator(".gbi-fallback table").is_visible()
    assert page.get_by_text("Run this cell to type a text of your own").is_visible()


def test_it_reads_in_the_exported_page_under_its_policy_and_in_a_sandboxed_frame(opened, html, tmp_path):
    output = nbformat.v4.new_output("execute_result", data={"text/html": html}, execution_count=1)
    cell = nbformat.v4.new_code_cell("type_here(model, vocabulary)", outputs=[output], execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "book.ipynb")
    page = opened(to_html(tmp_path / "book.ipynb", tmp_path / "book.html"))
    page.get_by_role("textbox", name="Type or paste a text").fill("whisk the eggs")
    wait(page, "word 3 of 3, “eggs”")
    assert page.troubles == []
    framed, inside = tmp_path / "frame.html", html.replace("&", "&amp;").replace('"', "&quot;")
    framed.write_text(f'<iframe sandbox="allow-scripts" width="900" height="800" srcdoc="{inside}"></iframe>', "utf-8")
    page.goto(framed.as_uri())
    inner = page.frame_locator("iframe")
    inner.get_by_role("textbox").fill("whisk the eggs")
    inner.locator(".gbi-readout", has_text="word 3 of 3, “eggs”").wait_for()


def test_damaged_weights_are_told_in_one_sentence(browser, html, tmp_path):
    path = tmp_path / "damaged.html"
    path.write_text(PAGE.format(re.sub(r'("sha256":")\w\w', r"\g<1>00", html)), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    told = page.locator(".gbi-fallback p", has_text="did not open")
    told.wait_for()
    assert "the weights in this page are not those of its network" in told.inner_text()
    assert page.locator(".gbi-fallback img").is_visible()
    page.close()


def test_in_jupyterlab_it_reads_without_a_kernel_and_keys_are_its_own(without_kernel, html):
    with without_kernel("type.ipynb", html, "1 + 1") as page:
        wait(page, "word 12 of 12")
        page.locator(".gbi-typing textarea").press("Control+a")
        page.keyboard.type("dd whisk the eggs")
        wait(page, "word 4 of 4, “eggs”")
        assert page.locator(".jp-Cell").count() == 2
