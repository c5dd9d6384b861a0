"""The pad on a page opened from disk: pen, finger, keys, choices, and what is said of a drawing."""

import hashlib
import json
import re

import nbformat
import numpy as np
import pytest
from browser.test_engine import LOAD, b64
from browser.test_page import touch
from widgets.engine_benchmark import engine

from gbi_helpers import draw_along, iterate, max_entropy, one_step
from gbi_helpers.checkpoints import load_model
from gbi_helpers.course.export import to_html
from gbi_helpers.data import load_mnist
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.widgets.weights import pack_image_model

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Draw</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body style="font-family: sans-serif"><main><h1>Draw</h1>{}</main></body></html>"""
SEVEN = [(0.3, 0.2), (0.7, 0.2), (0.45, 0.8)]
WALKED = re.compile(r"step 50 of 50: ")


@pytest.fixture(scope="module")
def digits():
    """The VAE, ten test images, one of each digit from 7 on, and images that it knows."""
    data = load_mnist()
    first = [int((data.test.y == k).nonzero()[0]) for k in (7, 8, 9, 0, 1, 2, 3, 4, 5, 6)]
    known = data.validation.pixels()[:300]
    return load_model("checkpoints/mnist_vae_mul.safetensors")[0], data.test.pixels()[first], known


@pytest.fixture(scope="module")
def html(digits):
    model, images, known = digits
    names = [f"a {k}" for k in (7, 8, 9, 0, 1, 2, 3, 4, 5, 6)]
    return draw_along(model, images, names=names, known=known, title="Which digit do you draw?").html


@pytest.fixture(scope="module")
def written(html, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "draw.html"
    path.write_text(PAGE.format(html), encoding="utf-8")
    return path


def readout(page):
    return page.locator(".gbi-readout").inner_text()


def walked(page, said=""):
    """The read-out, once the fifty steps are there (and it says that)."""
    page.locator(".gbi-readout", has_text=WALKED).filter(has_text=said).wait_for(timeout=60_000)
    return readout(page)


def draw(page, places, up=True, mouse=None):
    """Draw one stroke with the mouse; of a frame, with that of its page."""
    mouse = mouse or page.mouse
    box = page.locator(".gbi-pad canvas").bounding_box()
    spots = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    mouse.move(*spots[0])
    mouse.down()
    for spot in spots[1:]:
        mouse.move(*spot, steps=10)
    if up:
        mouse.up()


def seen(page, number=0):
    """A picture below the charts as (28, 28), 0 to 255: what the network sees, and what it draws."""
    data = """node => [...node.getContext('2d').getImageData(0, 0, 28, 28).data].filter((_, k) => k % 4 === 0)"""
    return np.array(page.locator(".gbi-seen canvas").nth(number).evaluate(data)).reshape(28, 28)


def test_it_opens_with_the_first_image_and_says_what_pytorch_says(opened, digits):
    model, images, _ = digits
    page = opened()
    loss_fn, z0 = decoder_loss(model, images[:1]), max_entropy(1, 10)
    q, path = one_step(loss_fn, z0).q[0], iterate(loss_fn, z0)
    end = f"digit 7 at {path.z[-1, 0, 7]:.2f}, loss {path.loss[-1, 0]:.2f} nats; familiar: "
    assert walked(page).startswith(f"One step: digit 7 at {q[7]:.2f}; step 50 of 50: {end}")
    page.locator(".gbi-bar-row input").focus()
    page.keyboard.press("Home")
    assert f"step 0 of 50: all 10 equal at 0.10, loss {path.loss[0, 0]:.1f} nats" in readout(page)
    assert np.abs(seen(page) - 255 * images[0, 0].numpy()).max() <= 1
    drawn = 255 * model.decoder(model.encode(images[:1]), z0)[0, 0].detach().clamp(0, 1).numpy()
    assert np.abs(seen(page, 2) - drawn).max() <= 1
    assert page.requests == [page.url]
    assert page.troubles == []


def test_everything_follows_the_pen_before_it_is_lifted(opened):
    page = opened()
    page.get_by_role("button", name="Clear").click()
    page.locator(".gbi-readout", has_text="The pad is empty").wait_for()
    draw(page, [(0.5, 0.1), (0.5, 0.9)], up=False)
    assert walked(page).startswith("One step: digit 1 at ")
    line, made = page.locator("path.gbi-best").get_attribute("d"), seen(page, 2)
    page.mouse.up()
    page.get_by_role("button", name="Clear").click()
    draw(page, SEVEN, up=False)
    assert "digit 7" in walked(page, "One step: digit 7")
    page.wait_for_function("line => document.querySelector('path.gbi-best').getAttribute('d') !== line", arg=line)
    assert page.locator(".gbi-bar").nth(7).get_attribute("style")
    assert np.abs(seen(page, 2) - made).max() > 50
    assert page.troubles == []


def test_a_finger_draws_and_the_page_stays(opened):
    page = opened(has_touch=True, viewport={"width": 390, "height": 500})
    pad = page.locator(".gbi-pad canvas")
    pad.scroll_into_view_if_needed()
    before, box = page.evaluate("scrollY"), pad.bounding_box()
    touch(page, [(box["x"] + 95, box["y"] + 20 + 13 * k) for k in range(12)])
    assert walked(page, "One step: digit 1").startswith("One step: digit 1")
    assert page.evaluate("scrollY") == before


def test_keys_alone_draw_take_back_clear_and_leave(opened):
    page = opened()
    page.locator(".gbi-pad canvas").focus()
    status = page.locator(".gbi-pad [role=status]")
    page.keyboard.press("Delete")
    page.locator(".gbi-readout", has_text="The pad is empty").wait_for()
    page.keyboard.press("Space")
    assert status.inner_text() == "Pen down."
    for _ in range(5):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Space")
    assert status.inner_text() == "Pen up."
    assert walked(page, "One step: digit 1")
    page.keyboard.press("Backspace")
    page.locator(".gbi-readout", has_text="The pad is empty").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Clear"


def test_a_digit_is_taken_written_or_from_the_test_images(opened, digits):
    page = opened()
    select = page.locator(".gbi-pad select")
    right = 0
    for k in range(10):
        select.select_option(value=f"written {k}")
        page.evaluate("new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))")
        right += readout(page).startswith(f"One step: digit {k} ")
    assert right >= 8
    select.select_option(value="image 3")
    walked(page, "One step: digit 0")
    assert np.abs(seen(page) - 255 * digits[1][3, 0].numpy()).max() <= 1
    pictures = page.locator(".gbi-seen canvas")
    assert pictures.first.get_attribute("aria-label") == "what the network sees: a 0"
    draw(page, SEVEN)  # and a pen begins anew
    assert "digit 7" in walked(page, "One step: digit 7")
    sees, *made = (pictures.nth(k).get_attribute("aria-label") for k in range(3))
    assert sees == "what the network sees: your drawing"
    for label, how in zip(made, ("q of one step", "z at the cursor"), strict=True):
        assert re.fullmatch(rf"drawn with {how}: digit 7 at [01]\.\d\d", label)


LIST = """() => { const pad = document.querySelector('.gbi-pad'), { record } = pad.querySelector('canvas').pad;
    return [pad.querySelector('select').selectedIndex, record.strokes.length, record.written?.[0] ?? null]; }"""


def test_arrow_keys_go_through_the_list_and_a_drawing_stays_until_enter(opened):
    page = opened()
    status = page.locator(".gbi-pad [role=status]")
    usual = status.inner_text()
    draw(page, SEVEN)
    page.locator(".gbi-pad select").focus()
    for place in (1, 2, 3, 4):
        page.keyboard.press("ArrowDown")
        assert page.evaluate(LIST) == [place, 1, None]
        assert status.inner_text() == "Enter takes it, Escape leaves the pad as it is."
    page.keyboard.press("Enter")
    place, _, digit = page.evaluate(LIST)
    assert (place, digit, status.inner_text()) == (4, 3, usual), "the fourth entry is a 3, and the next arrow leads on"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(LIST)[::2] == [5, 3]
    page.keyboard.press("Escape")
    assert page.evaluate(LIST)[::2] == [0, 3]
    assert status.inner_text() == usual
    assert page.troubles == []


def test_where_the_focus_leaves_a_choice_by_keys_the_pad_stays_as_it_is(opened):
    page = opened()
    page.locator(".gbi-pad select").focus()
    for key in ("ArrowDown", "ArrowDown", "Tab"):
        page.keyboard.press(key)
    assert page.evaluate(LIST)[::2] == [0, None]
    page.locator(".gbi-pad select").focus()
    page.keyboard.press("ArrowDown")
    draw(page, [(0.5, 0.1), (0.5, 0.9)])
    assert page.evaluate(LIST)[::2] == [0, None]
    assert walked(page, "One step: digit 1")


def test_in_an_open_list_a_choice_is_taken_at_once(opened):
    page = opened()
    page.locator(".gbi-pad select").click()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function(f"({LIST})()[2] === 1")
    page.locator(".gbi-pad select").press("Space")
    for key in ("ArrowDown", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function(f"({LIST})()[2] === 2")


COUNT = """window.listening = 0;
for (const [name, by] of [["addEventListener", 1], ["removeEventListener", -1]]) {
    const own = MediaQueryList.prototype[name];
    MediaQueryList.prototype[name] = function (...all) {
        if (this.media.includes("prefers-color-scheme")) window.listening += by;
        return own.apply(this, all);
    };
}"""


def test_a_pad_that_is_gone_listens_no_more_and_one_that_comes_back_does(browser, written):
    page = browser.new_page()
    page.add_init_script(COUNT)
    page.goto(written.as_uri())
    page.wait_for_function("listening === 1")
    page.evaluate("() => { window.kept = document.querySelector('.gbi'); window.place = kept.parentNode; }")
    page.evaluate("kept.remove()")
    page.wait_for_function("listening === 0")
    page.evaluate("place.append(kept)")
    page.wait_for_function("listening === 1")
    page.close()


def test_without_the_preparation_the_network_sees_the_pad_as_it_is(opened):
    page = opened()
    page.get_by_role("button", name="Clear").click()
    draw(page, [(0.1 + x / 4, 0.1 + y / 4) for x, y in SEVEN])
    walked(page, "One step: digit 7")
    rows, columns = np.nonzero(seen(page) > 127)
    assert np.ptp(rows) + 1 == pytest.approx(20, abs=1)  # MNIST's box
    mass = seen(page) / seen(page).sum()
    assert [(mass.sum(1) * np.arange(28)).sum(), (mass.sum(0) * np.arange(28)).sum()] == pytest.approx(
        [14, 14], abs=0.2
    )
    page.get_by_role("checkbox", name="prepared as MNIST was").uncheck()
    rows, columns = np.nonzero(seen(page) > 127)
    assert max(rows.max(), columns.max()) < 12


def test_a_drawing_that_is_no_digit_is_called_strange(opened):
    page = opened()
    assert "; familiar: score " in walked(page)
    page.get_by_role("button", name="Clear").click()
    for k in range(6):
        draw(page, [(0.1, 0.1 + 0.16 * k), (0.9, 0.1 + 0.16 * k)])
    assert re.search(
        r"strange: score −\d\.\d\d, and 95 of 100 known images lie above −\d\.\d\d$", walked(page, "strange")
    )


def test_beyond_the_pad_the_stroke_ends(opened):
    page = opened()
    page.get_by_role("button", name="Clear").click()
    draw(page, [(0.4, 0.5), (1.2, 0.5), (1.2, -1.5), (1.2, 0.5), (0.8, 0.5)])
    walked(page)
    rows, columns = np.nonzero(seen(page) > 127)
    assert np.ptp(rows) < 5
    assert np.ptp(columns) + 1 == pytest.approx(20, abs=1)


def test_a_pen_that_was_lifted_where_nobody_told_of_it_draws_no_more(opened):
    """The button goes up over something else, which took the pointer for itself; then the pen comes back."""
    page = opened()
    page.get_by_role("button", name="Clear").click()
    page.evaluate("""() => document.querySelector(".gbi-pad canvas").addEventListener("pointermove", (event) => {
        if (event.clientY < 0 || event.offsetX > 230) event.target.releasePointerCapture(event.pointerId); })""")
    draw(page, [(0.4, 0.3), (0.4, 0.7)], up=False)
    pad = page.locator(".gbi-pad canvas").bounding_box()
    page.mouse.move(pad["x"] + 300, pad["y"] + 100, steps=4)
    page.mouse.up()
    walked(page)
    before = seen(page)
    page.mouse.move(pad["x"] + 170, pad["y"] + 20, steps=4)
    page.mouse.move(pad["x"] + 30, pad["y"] + 160, steps=8)
    page.evaluate("new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))")
    assert np.array_equal(seen(page), before)
    assert page.troubles == []


def test_a_second_finger_draws_nothing(opened):
    page = opened(has_touch=True)
    page.get_by_role("button", name="Clear").click()
    pad = page.locator(".gbi-pad canvas").bounding_box()
    session = page.context.new_cdp_session(page)
    for k in range(10):
        points = [{"id": 1, "x": pad["x"] + 60, "y": pad["y"] + 30 + 13 * k}]
        points += [{"id": 2, "x": pad["x"] + 150, "y": pad["y"] + 150 - 6 * k}] if k > 2 else []
        kind = "touchStart" if k in (0, 3) else "touchMove"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert walked(page, "One step: digit 1")
    assert np.ptp(np.nonzero(seen(page) > 127)[1]) < 5


def test_a_browser_without_pointer_events_says_so_and_keys_draw(browser, written):
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.add_init_script("delete window.PointerEvent")
    page.goto(written.as_uri())
    assert "no pointer" in page.locator(".gbi-pad [role=status]").inner_text()
    page.locator(".gbi-pad canvas").focus()
    for key in ("Space", *["Shift+ArrowDown"] * 5):
        page.keyboard.press(key)
    assert walked(page, "One step: digit 1")
    context.close()


def test_a_screen_reader_hears_once_it_rests(opened):
    page = opened()
    walked(page)
    page.wait_for_timeout(1000)
    page.evaluate("""() => { window.heard = []; const node = document.querySelector('.gbi-readout');
        new MutationObserver(() => { if (node.getAttribute('aria-live') === 'polite') heard.push(node.textContent); })
            .observe(node, { childList: true, characterData: true, subtree: true }); }""")
    draw(page, SEVEN)
    assert page.evaluate("heard") == []
    page.wait_for_function("heard.length", timeout=60_000)
    page.wait_for_timeout(1000)
    assert page.evaluate("heard") == [readout(page)]
    label = page.locator(".gbi-found svg").first.get_attribute("aria-label")
    assert re.fullmatch(r"Bars of one step\. digit 0 at 0\.\d\d, digit 1 at 0\.\d\d, .*, digit 9 at 0\.\d\d\.", label)


@pytest.mark.parametrize("look", [{"width": 1000}, {"width": 390}, {"width": 390, "scheme": "dark"}], ids=str)
def test_axe_finds_no_serious_violation_and_a_phone_no_sideways_scrolling(opened, violations, look):
    width = look["width"]
    page = opened(viewport={"width": width, "height": 900}, color_scheme=look.get("scheme", "light"))
    if "scheme" in look:
        page.add_style_tag(content=":root { color-scheme: dark; } body { background: #111; color: #ddd; }")
    walked(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == []


def test_a_print_keeps_drawing_and_charts_and_leaves_the_controls_out(opened):
    page = opened()
    walked(page)
    page.emulate_media(media="print")
    assert page.locator(".gbi-pad canvas").is_visible()
    assert page.locator(".gbi-found svg").nth(1).is_visible()
    assert not page.locator(".gbi-pad select").is_visible()
    assert not page.get_by_role("checkbox").is_visible()


def test_without_javascript_picture_table_and_one_sentence_stand_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator(".gbi-fallback img").is_visible()
    assert page.locator(".gbi-fallback table").inner_text().split()[-3:] == ["steps", "7", "0.99"]
    assert page.get_by_text("Run this cell to draw here yourself").is_visible()


def test_damaged_weights_are_told_in_one_sentence(browser, html, tmp_path):
    path = tmp_path / "damaged.html"
    path.write_text(PAGE.format(re.sub(r'("sha256":")\w\w', r"\g<1>00", html)), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    told = page.locator(".gbi-fallback p")
    told.wait_for()
    assert told.inner_text().startswith("This view did not open (the weights in this page are not those of its ")
    assert page.locator(".gbi-fallback img").is_visible()
    page.close()


def test_it_draws_in_the_exported_page_under_its_policy_and_in_a_sandboxed_frame(opened, html, tmp_path):
    output = nbformat.v4.new_output("execute_result", data={"text/html": html}, execution_count=1)
    cell = nbformat.v4.new_code_cell("draw_along(model, images)", outputs=[output], execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "book.ipynb")
    page = opened(to_html(tmp_path / "book.ipynb", tmp_path / "book.html"))
    draw(page, [(0.5, 0.1), (0.5, 0.9)])
    assert walked(page, "One step: digit 1")
    assert page.troubles == []
    framed = tmp_path / "frame.html"
    framed.write_text(
        f'<iframe sandbox="allow-scripts" width="900" height="800" srcdoc="{escaped(html)}"></iframe>', "utf-8"
    )
    page.goto(framed.as_uri())
    inner = page.frame_locator("iframe")
    inner.locator(".gbi-pad select").select_option(value="image 4")
    inner.locator(".gbi-readout", has_text="One step: digit 1").wait_for()
    draw(inner, SEVEN, mouse=page.mouse)
    inner.locator(".gbi-readout", has_text="One step: digit 7").wait_for()
    for key in ("Delete", "Space", *["Shift+ArrowDown"] * 5):  # the mouse left the focus on the pad
        page.keyboard.press(key)
    inner.locator(".gbi-readout", has_text="One step: digit 1").wait_for()
    assert page.troubles == []


def test_in_jupyterlab_it_draws_without_a_kernel_and_keys_are_its_own(without_kernel, html):
    with without_kernel("draw.ipynb", html, "1 + 1") as page:
        draw(page, SEVEN)
        assert walked(page, "One step: digit 7")
        page.locator(".gbi-pad canvas").focus()
        for key in ("Delete", "d", "d", "Space", *["Shift+ArrowDown"] * 5):
            page.keyboard.press(key)
        assert walked(page, "One step: digit 1")
        assert page.locator(".jp-Cell").count() == 2


def escaped(html):
    return html.replace("&", "&amp;").replace('"', "&quot;")


# ---- 500 digits of a synthetic hand, frozen before anything was tuned ----

FROZEN = "8686825d0671af10475acc0c827f0e2619972bcfd58dc9fa00028fd80050d556"
HAND = """() => {
  const random = gbi.seeded(1);
  const hand = Array.from({ length: 500 }, (_, k) => gbi.written(k % 10, random));
  const right = (prepare) => hand.reduce((sum, strokes, k) => {
    const x = prepare(strokes);
    const { q } = gbi.oneStep(net.lossOf(net.encode(x), x), gbi.maxEntropy(10));
    return sum + (gbi.argmax(q) === k % 10);
  }, 0);
  return { prepared: right(gbi.likeMnist), raw: right(gbi.asDrawn),
    hand: JSON.stringify(hand.map((s) => s.map((k) => k.map((p) => p.map((v) => v.toFixed(4)))))) };
}"""


def test_500_frozen_digits_are_read_with_the_preparation_and_half_of_them_without(browser, digits):
    page = engine(browser)
    facts, raw = pack_image_model(digits[0])
    page.evaluate(LOAD, {"facts": facts, "raw": b64(raw), "make": "imageModel"})
    told = page.evaluate(HAND)
    page.close()
    assert hashlib.sha256(told["hand"].encode()).hexdigest() == FROZEN
    assert len(json.loads(told["hand"])) == 500
    assert told["prepared"] >= 475
    assert 200 <= told["raw"] <= 300
