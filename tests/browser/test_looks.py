"""How the views look where others have a say: forced colours, the styles of a host page, paper, other templates."""

import io
from itertools import combinations
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image
from widgets.test_modules_view import both
from widgets.toy import toy_learning, toy_path

from gbi_helpers import Trajectory, WordsRecord, draw_along, learn_along, modules, read_along, scrub, slide, to_browser
from gbi_helpers.course.export import to_html
from gbi_helpers.models.image import ConditionalVAE
from gbi_helpers.widgets import Bars, Lines, Move, OneStep

pytestmark = pytest.mark.xdist_group("looks")  # one page is opened for many tests

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Views</title><style>{style}</style>
<style>@media screen {{ #page section {{ width: 800px !important; }} }}</style></head>
<body><div id="page" class="container"><div class="output_wrapper"><div class="output"><div class="output_area">
<div class="output_html rendered_html output_subarea"><section>{views}</section></div>
</div></div></div></div></body></html>"""
SLIDER = ".gbi-bar-row input"
VIEWS = ("scrub", "modules", "words", "slide", "theorem", "learn", "draw", "graph")


LINES = Lines("Loss along the way", {"loss": [2, 0, 1], "tangent": torch.eye(3), "z0": ([1], [1])}, x=[0, 1, 2])
MOVES = {"start": Move("z0", 0, 1), "noise": Move("sd", 0.5, 2)}
BARS = Bars("Belief", torch.eye(3), list("abc"))


def shades():
    """A text with words for, against, neutral and weakly for the true task."""
    evidence = torch.tensor([[3.0, -3.0], [-3.0, 3.0], [0.0, 0.0], [1.0, -1.0]] * 3)
    belief = torch.softmax(evidence.cumsum(0), 1)
    words, true = ["for", "against", "neutral", "weak"] * 3, torch.zeros(12, dtype=torch.long)
    return WordsRecord(belief, evidence, torch.ones(12), words, ["this", "that"], true)


@pytest.fixture(scope="module")
def html():
    """One view of each kind, by name."""
    nets = both(frames=9, units=12)
    return {
        "scrub": scrub(toy_path(steps=20), labels="digit", title="Which digit is it?").html,
        "modules": modules(nets, labels=["low", "high"], title="Do units divide?").html,
        "words": read_along(shades(), title="Which source is this from?").html,
        "slide": slide({"z0": [0, 1, 2]}, LINES, BARS, says={"nats": [1, 2, 3]}, start=[0], title="Where from?").html,
        "theorem": slide(MOVES, OneStep([1.0, 0.0], [[0, 0], [2, 1], [2, -1]], 1.0), title="What is missed?").html,
        "learn": learn_along(toy_learning(moments=2, each=2, gates=True), title="What is kept?").html,
        "draw": draw_along(ConditionalVAE(latent=2, channels=2, width=8), torch.rand(2, 1, 28, 28), title="Draw").html,
        "graph": to_browser(lambda z: (z @ torch.eye(3)).exp().sum(1), torch.full((1, 3), 1 / 3), title="Mine").html,
    }


@pytest.fixture(scope="module")
def written(html, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "views.html"
    path.write_text(PAGE.format(style="", views="<hr>".join(html.values())), encoding="utf-8")
    return path


def view(page, name):
    return page.locator(".gbi").nth(VIEWS.index(name))


def to_the_end(page):
    for number in range(page.locator(".gbi").count()):
        page.locator(SLIDER).nth(number).focus()
        page.keyboard.press("End")


def pixels(locator):
    return np.array(Image.open(io.BytesIO(locator.screenshot())).convert("RGB"), float) / 255


def contrast(one, other):
    """The contrast of two colours as WCAG counts it, 1 to 21."""
    linear = np.stack([one, other])
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (high + 0.05) / (low + 0.05)


def slider_on(page, name):
    """Contrast of track and thumb with their ground, and how many pixels high either stands out from it."""
    page.mouse.move(0, 0)
    view(page, name).locator(SLIDER).focus()
    page.keyboard.press("Home")
    page.evaluate("document.activeElement.blur()")
    seen = pixels(view(page, name).locator(SLIDER))
    ground, track, thumb = seen[3, -40], seen[:, -40], seen[:, 9]
    told = []
    for column in (track, thumb):
        apart = np.array([contrast(colour, ground) for colour in column])
        told.append((apart.max(), int((apart >= 3).sum())))
    return told


# ---- forced colours, and high contrast ----


@pytest.fixture(scope="module", params=["dark", "light"])
def forced(kept_open, request):
    return kept_open(forced_colors="active", color_scheme=request.param)


def test_in_forced_colours_words_for_against_neutral_and_weak_differ_in_shape(forced):
    look = """nodes => nodes.map((n) => { const { borderBottomStyle: style, borderBottomWidth: width } =
        getComputedStyle(n); return [n.textContent, parseFloat(width) ? style : "none", width]; })"""
    text = view(forced, "words").locator(".gbi-text .gbi-word").evaluate_all(look)[:4]
    for (one, *looks), (other, *others) in combinations(text, 2):
        assert looks != others, f"{one} looks like {other}"
    scale = [tuple(looks) for _, *looks in view(forced, "words").locator(".gbi-scale i").evaluate_all(look)]
    assert len(scale) == len(set(scale)) == 9


@pytest.mark.parametrize("name", VIEWS)
def test_in_forced_colours_track_and_thumb_of_the_slider_stand_out(forced, name):
    (track, tall), (thumb, taller) = slider_on(forced, name)
    assert track >= 3
    assert thumb >= 3
    assert taller > tall + 6


@pytest.mark.parametrize("name", VIEWS)
def test_in_forced_colours_focus_hover_and_the_current_place_are_told_by_lines(forced, name):
    line = "node => getComputedStyle(node).outlineStyle + getComputedStyle(node).outlineWidth"
    play, slider = (view(forced, name).locator(which) for which in (".gbi-play", SLIDER))
    rest = play.evaluate(line)
    play.hover()
    over = play.evaluate(line)
    slider.focus()
    forced.keyboard.press("Shift+Tab")
    forced.keyboard.press("Shift+Tab")
    focused = play.evaluate(line)
    assert len({rest, over, focused}) == 3
    assert focused == "solid3px"
    if name == "words":
        words = view(forced, name).locator(".gbi-text .gbi-word")
        assert words.nth(0).evaluate(line) != words.nth(1).evaluate(line)


def test_in_forced_colours_charts_are_drawn_in_the_readers_colours(forced):
    to_the_end(forced)
    colours = """nodes => nodes.map((node) => { const style = getComputedStyle(node);
        return style.stroke === "none" ? style.fill : style.stroke; })"""
    own = forced.evaluate("""() => ["CanvasText", "Highlight"].map((name) => {
        const node = document.body.appendChild(document.createElement("i"));
        node.style.color = name;
        const { color } = getComputedStyle(node);
        node.remove();
        return color; })""")
    for marks in (".gbi-bar:not([style])", ".gbi-stripe", ".gbi-curve", ".gbi-cursor", ".gbi-ridge"):
        seen = set(forced.locator(marks).evaluate_all(colours))
        assert seen, marks
        assert seen <= set(own), marks
    ink = """canvas => [...canvas.getContext("2d").getImageData(0, 0, 1, canvas.height).data].slice(0, 3)"""
    shade = forced.locator(".gbi-column canvas").first.evaluate(ink)
    assert f"rgb({', '.join(map(str, shade))})" == own[0]


def test_in_forced_colours_a_pure_task_is_not_the_start_in_plot_and_legend(forced):
    look = "node => [getComputedStyle(node).fill, getComputedStyle(node).strokeWidth]"
    for place in (".gbi-slide > svg", ".gbi-legend"):
        dots = [view(forced, "theorem").locator(f"{place} .gbi-full-{k}").first for k in (0, 3)]
        assert dots[0].evaluate(look) != dots[1].evaluate(look)


@pytest.fixture(scope="module")
def high_contrast(kept_open):
    page = kept_open()
    page.evaluate("""() => { const { style, dataset } = document.body;
        dataset.jpThemeName = "JupyterLab Dark High Contrast"; dataset.jpThemeLight = "false";
        style.background = "#111"; style.color = "#fff"; }""")
    return page


@pytest.mark.parametrize("name", VIEWS)
def test_in_jupyterlabs_high_contrast_theme_the_slider_stands_out(high_contrast, name):
    (track, _), (thumb, _) = slider_on(high_contrast, name)
    assert track >= 3
    assert thumb >= 3


def test_another_theme_changes_the_inks_at_once(opened):
    page = opened()
    drawn = "() => document.querySelector('.gbi-column canvas').toDataURL()"
    before = page.evaluate(drawn)
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_function(f"before => ({drawn})() !== before", arg=before, timeout=60_000)


# ---- the styles of a host page ----

HOSTILE = """
*, *::before, *::after { box-sizing: content-box; } *::before { content: "x"; }
#page .output_area { text-align: center; letter-spacing: 2px; word-spacing: 9px; text-indent: 3em; line-height: 3;
  white-space: pre-wrap; font: small-caps 200% serif; text-transform: uppercase; }
#page svg, #page img, #page canvas { max-width: 100%; height: auto; margin: 7px; padding: 5px; float: left; }
#page button, #page input, #page select { font: 20px serif; margin: 9px; padding: 9px; border: 4px solid red;
  line-height: 3; height: auto; width: auto; max-width: 50px; letter-spacing: 3px; border-radius: 0; }
#page label { display: block; margin-bottom: 25px; font-weight: 700; } #page p { margin: 2em; text-align: justify; }
#page figure { margin: 1em 40px; display: inline-block; } #page figcaption { display: none; }
#page div div { line-height: 2; } #page span { display: block; float: left; } #page i { padding: 9px; }
#page text { font-size: 30px; letter-spacing: 3px; } #page rect, #page path { stroke-width: 9px; stroke: red; }
"""
BOXES = """root => { const from = root.getBoundingClientRect();
  return [...root.querySelectorAll("*")].filter((node) => node.getClientRects().length).map((node) => {
    const { x, y, width, height } = node.getBoundingClientRect(), style = getComputedStyle(node);
    return [node.tagName + "." + (node.className.baseVal ?? node.className),
      ...[x - from.x, y - from.y, width, height].map(Math.round), style.font, style.letterSpacing, style.stroke,
      style.strokeWidth, style.borderWidth]; }); }"""


def classic():
    """The styles of nbconvert's classic template, which are those of Notebook 6."""
    folders = map(Path, HTMLExporter(template_name="classic").template_paths)
    return next(path for folder in folders if (path := folder / "static/style.css").exists()).read_text("utf-8")


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_looks_the_same_whatever_the_styles_of_its_page(opened, html, tmp_path, name):
    boxes = []
    for number, style in enumerate(("", classic(), classic() + HOSTILE)):
        path = tmp_path / f"{number}.html"
        path.write_text(PAGE.format(style=style, views=html[name]), encoding="utf-8")
        page = opened(path)
        page.locator(SLIDER).focus()
        page.keyboard.press("PageUp")
        boxes.append(page.locator(".gbi").evaluate(BOXES))
    plain, *others = boxes
    assert len(plain) > 30
    for other in others:
        assert [(one, two) for one, two in zip(plain, other, strict=True) if one != two] == []


# ---- paper ----

# Asked when the page has the width of the paper: after the views' own answer to the same question.
ON_PAPER = """() => matchMedia("print").addEventListener("change", ({ matches }) => {
  if (!matches) return;
  const all = (root, what) => [...root.querySelectorAll(what)];
  window.printed = { wide: document.documentElement.clientWidth, views: all(document, ".gbi").map((root) => ({
    said: root.querySelector(".gbi-readout").textContent,
    value: root.querySelector("svg .gbi-on, .gbi-counts").textContent,
    panels: all(root, "figure, .gbi-reading").map((panel) => {
      const marks = all(panel, "text, rect, path, line, circle, canvas, figcaption, .gbi-word")
        .map((mark) => mark.getBoundingClientRect()).filter(({ width, height }) => width || height);
      const ends = (side, pick) => pick(...marks.map((mark) => mark[side]));
      return [ends("left", Math.min), ends("top", Math.min), ends("right", Math.max), ends("bottom", Math.max)]; }),
  })) }; })"""


def test_a_pdf_shows_the_step_on_screen_in_panels_that_keep_apart(opened):
    page = opened(viewport={"width": 1280, "height": 900})
    to_the_end(page)
    said = page.locator(".gbi-readout").all_text_contents()
    value = "views => views.map((view) => view.querySelector('svg .gbi-on, .gbi-counts').textContent)"
    values = page.locator(".gbi").evaluate_all(value)
    page.evaluate(ON_PAPER)
    page.pdf(format="A4")
    printed = page.evaluate("window.printed")
    assert printed["wide"] < 800
    assert [view["said"] for view in printed["views"]] == said
    assert [view["value"] for view in printed["views"]] == values
    for view_printed in printed["views"]:
        assert len(view_printed["panels"]) >= 2
        for left, _, right, _ in view_printed["panels"]:
            assert left >= 0
            assert right <= printed["wide"]
        for one, other in combinations(view_printed["panels"], 2):
            over = [min(one[k + 2], other[k + 2]) - max(one[k], other[k]) for k in (0, 1)]
            assert min(over) <= 1, (one, other)


def test_a_dark_page_prints_on_white(opened):
    page = opened()
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.emulate_media(media="print")
    look = "node => [getComputedStyle(node).backgroundColor, getComputedStyle(node).color]"
    assert page.locator(".gbi").first.evaluate(look) == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    assert page.locator(".gbi-curve").first.evaluate("node => getComputedStyle(node).stroke") == "rgb(0, 114, 178)"


# ---- other templates, and ours ----

LIVE = f"""import sys; sys.path.append({str(Path(__file__).parents[1])!r})
from gbi_helpers import scrub, type_along
from gbi_helpers.widgets import Controls
from widgets.toy import toy_path, toy_read

def run(steps=8):
    return toy_path(steps=steps)"""
CELLS = [
    LIVE,
    'scrub(run(), labels="digit")',
    'scrub(run(9), labels="digit", controls=Controls(run, steps=(1, 9)))',
    'type_along(toy_read, text="stir the soup")',
]


@pytest.fixture(scope="module")
def executed():
    """A notebook with live views, executed as papermill does it: with the state of its widgets stored."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    assert notebook.metadata["widgets"]
    return notebook


@pytest.mark.parametrize("template", ["lab", "classic"])
def test_an_executed_copy_as_html_keeps_its_views_alive_without_a_network(opened, executed, tmp_path, template):
    path = tmp_path / f"{template}.html"
    path.write_text(HTMLExporter(template_name=template).from_notebook_node(executed)[0], encoding="utf-8")
    page = opened(path)
    assert page.locator(".gbi").count() == 3
    to_the_end(page)
    said = page.locator(".gbi-readout").all_text_contents()
    assert [text.split(":")[0] for text in said] == ["step 8 of 8", "step 9 of 9", "word 3 of 3, “soup”"]


@pytest.mark.parametrize("width", [1000, 360])
def test_no_focus_ring_is_cut_off_on_an_exported_page(opened, html, tmp_path, width):
    outputs = [nbformat.v4.new_output("display_data", {"text/html": each}) for each in html.values()]
    cells = [nbformat.v4.new_markdown_cell("# A chapter"), nbformat.v4.new_code_cell("views", outputs=outputs)]
    page = opened(
        to_html(nbformat.v4.new_notebook(cells=cells), tmp_path / "page.html"), viewport={"width": width, "height": 900}
    )
    page.keyboard.press("Tab")
    room = """nodes => nodes.map((node) => {
      node.focus();
      const ring = getComputedStyle(node), far = parseFloat(ring.outlineWidth) + parseFloat(ring.outlineOffset);
      const own = node.getBoundingClientRect(), frame = node.closest(".output").getBoundingClientRect();
      return [ring.outlineStyle, own.left - far - frame.left, frame.right - own.right - far]; })"""
    rings = page.locator(".gbi").locator("button, input, select, .gbi-text").evaluate_all(room)
    assert len(rings) == 51
    assert [ring for ring in rings if ring[0] != "solid" or min(ring[1:]) < 0] == []


# ---- length ----


def test_a_path_of_more_entries_than_a_call_takes_arguments_opens(browser, tmp_path):
    z = torch.softmax(torch.randn(130_000, 1, 2), -1)
    path = tmp_path / "long.html"
    path.write_text(scrub(Trajectory(z=z, loss=torch.rand(len(z), 1), q=z)).html, encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.locator(SLIDER).wait_for(timeout=60_000)
    page.close()


# ---- several views, narrow pages, other directions ----

LOOK = """root => {
  const seen = ".gbi-hollow, .gbi-full, .gbi-thick, .gbi-slide, .gbi-head, .gbi-bar";
  return Array.from(root.querySelectorAll(seen), (node) => {
    const { fill, stroke, strokeWidth, strokeDasharray, flexGrow, flexBasis } = getComputedStyle(node);
    return [fill.replace(/hatch-\\w+/, ""), stroke, strokeWidth, strokeDasharray, flexGrow, flexBasis].join();
  });
}"""


@pytest.mark.parametrize("name", ["slide", "theorem", "learn", "draw", "graph"])
def test_a_view_looks_as_it_does_alone_whatever_stands_below_it(opened, html, tmp_path, name):
    looks = []
    for shown in ([name], [name, *(other for other in VIEWS if other != name)]):
        path = tmp_path / f"{len(shown)}.html"
        path.write_text(PAGE.format(style="", views="<hr>".join(html[each] for each in shown)), encoding="utf-8")
        looks.append(opened(path).locator(".gbi").first.evaluate(LOOK))
    assert looks[0] == looks[1]
    assert len(looks[0]) > 0


def test_at_four_hundred_percent_nothing_leaves_the_page(opened, html, tmp_path):
    path = tmp_path / "narrow.html"
    moves = {
        "how many numbers there are": Move("sd", 0.5, 2),
        "share of the third in z0 at the start": Move("z0", 0, 1),
    }
    long = slide(moves, OneStep([1.0, 0.0], [[0, 0], [2, 1], [2, -1]], 1.0)).html
    head = "which of a hundred is the farthest in its own direction"
    heads = slide({"z0": [0, 1, 2]}, Bars(head, torch.eye(3), list("abc")), says={"x": [1, 2, 3]}).html
    views = "<hr>".join([*(html[name] for name in VIEWS), long, heads])
    path.write_text(f'<!doctype html><html lang="en"><title>V</title><body>{views}</body></html>', encoding="utf-8")
    page = opened(path, viewport={"width": 320, "height": 256})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    ends = page.evaluate(
        "Array.from(document.querySelectorAll('.gbi-value, .gbi-head'), n => n.getBoundingClientRect().right)"
    )
    assert max(ends) <= 320


def test_a_page_that_reads_from_the_right_leaves_the_charts_as_they_are(opened, html, tmp_path):
    places = []
    for direction in ("ltr", "rtl"):
        path = tmp_path / f"{direction}.html"
        path.write_text(
            f'<body dir="{direction}"><section style="width: 700px">{html["scrub"]}</section>', encoding="utf-8"
        )
        marks = """root => {
          const left = (node) => node.getBoundingClientRect().left;
          return Array.from(root.querySelectorAll('svg text'), (text) => Math.round(left(text) - left(root)));
        }"""
        places.append(opened(path).locator(".gbi").first.evaluate(marks))
    assert places[0] == places[1]


# ---- records at the edges ----


def test_a_long_record_with_many_groups_opens(opened, tmp_path):
    z = torch.softmax(torch.randn(20_000, 1, 20), -1)
    path = tmp_path / "groups.html"
    groups = [f"kind {k}" for k in range(20)]
    path.write_text(scrub(Trajectory(z=z, loss=torch.rand(20_000, 1), q=z), groups=groups).html, encoding="utf-8")
    page = opened(path)
    assert page.locator(".gbi-readout").inner_text().startswith("step 0 of 19999: ")
    assert page.locator(".gbi-fallback").is_hidden()  # else it says that the view did not open


def test_one_task_is_the_largest_and_small_losses_can_be_told_apart(opened, tmp_path):
    z, loss = torch.tensor([[[1.0]], [[2.0]], [[2.0]]]), torch.tensor([[0.003], [0.00012], [-1e-9]])
    path = tmp_path / "one.html"
    path.write_text(scrub(Trajectory(z, loss)).html, encoding="utf-8")
    page = opened(path)
    page.locator(SLIDER).focus()
    said = [page.locator(".gbi-readout").inner_text()]
    for _ in range(2):
        page.keyboard.press("ArrowRight")
        said.append(page.locator(".gbi-readout").inner_text())
    assert [each.partition(": ")[2] for each in said] == [
        "task 0 at 1.00, loss 0.0030 nats",
        "task 0 at 2.00, loss 0.00012 nats",
        "task 0 at 2.00, loss 0.00 nats",
    ]


def test_an_output_that_is_run_again_leaves_nothing_of_the_old_view(opened, html, tmp_path):
    path = tmp_path / "again.html"
    path.write_text(f"<!doctype html><title>V</title><div id=out>{html['scrub']}</div>", encoding="utf-8")
    page = opened(path)
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.enable")

    def nodes():
        for _ in range(3):
            session.send("HeapProfiler.collectGarbage")
        return session.send("Memory.getDOMCounters")["nodes"]

    counts = []
    for _ in range(6):
        page.evaluate(
            "html => { const out = document.getElementById('out'); out.replaceChildren(); out.innerHTML = html; }",
            html["scrub"],
        )
        page.locator(".gbi").wait_for()
        page.wait_for_timeout(1000)  # its read-out has come to rest
        counts.append(nodes())
    assert counts[-1] < counts[1] + 200  # one view has some 200
