"""What ``read_along`` returns, checked without a browser."""

import base64
import io
import json
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from widgets import outputs
from widgets.toy import toy_read, toy_slots, toy_words

from gbi_helpers import WordsRecord, read_along, type_along
from gbi_helpers.records import Trajectory
from gbi_helpers.widgets import page


def unpack(html):
    """Header and arrays of an output, read back as the browser reads them."""
    return arrays_of(*outputs.unpack(html))


def arrays_of(header, raw):
    words, tasks = header["entries"], len(header["tasks"])
    loss = np.frombuffer(raw, "<f4", words)
    cells = np.frombuffer(raw, "<u2", 2 * words * tasks, offset=4 * words).reshape(2, words, tasks)
    low, high = header["span"]
    arrays = {
        "loss": loss,
        "belief": cells[0].cumsum(0, dtype=np.uint16) / 65535,
        "evidence": low + cells[1] / 65535 * (high - low),
    }
    rest = raw[4 * words + 4 * words * tasks :]
    return header, arrays | {"true": np.frombuffer(rest, "<u2") if rest else None}


def test_the_browser_is_given_the_record_itself():
    record = toy_words(60)
    header, arrays = unpack(read_along(record).html)
    assert (header["text"], header["tasks"], header["known"]) == (record.words, record.tasks, True)
    for name in ("belief", "evidence", "loss"):
        assert np.allclose(arrays[name], getattr(record, name), atol=1e-4)
    assert arrays["true"].tolist() == record.true.tolist()


def test_a_text_of_unknown_source_has_no_true_task():
    header, arrays = unpack(read_along(toy_read("bake the bread")).html)
    assert not header["known"]
    assert arrays["true"] is None


def test_of_slots_the_true_sources_have_names_of_their_own():
    record = toy_slots()
    header, arrays = unpack(read_along(record).html)
    assert header["sources"] == ["kitchen", "weather", "computer"]
    assert header["tasks"] == record.tasks
    assert arrays["true"].tolist() == record.true.tolist()
    assert "sources" not in unpack(read_along(toy_words(20)).html)[0]
    still = outputs.still(read_along(record).html)
    assert "<td>+1.12 for slot 2</td>" in still  # of the slot believed most: the true source is no slot


@pytest.mark.parametrize(
    ("size", "wanted"), [(0.0, 0.1), (0.13, 0.2), (0.9, 1), (2.0, 2), (3.7, 5), (8.0, 10), (90, 100)]
)
def test_the_scale_of_the_colours_is_a_round_number_that_holds_nearly_all(size, wanted):
    record = toy_words(20)
    header, _ = unpack(read_along(replace(record, evidence=torch.full_like(record.evidence, size))).html)
    assert header["scale"] == wanted


def test_a_thousand_words_over_eleven_tasks_fit_in_150_kilobytes():
    draw = torch.Generator().manual_seed(0)
    record = WordsRecord(
        belief=torch.softmax(torch.randn(1000, 11, generator=draw).cumsum(0), -1),
        evidence=torch.randn(1000, 11, generator=draw),
        loss=5 * torch.rand(1000, generator=draw),
        words=toy_words(1000).words,
        tasks=[f"source {k}" for k in range(11)],
        true=torch.arange(1000) // 100,
    )
    assert len(json.dumps(read_along(record)._repr_mimebundle_()).encode()) <= 150_000


def test_without_javascript_there_are_the_text_a_picture_a_table_and_a_hint():
    from PIL import Image

    before = outputs.still(read_along(toy_words(120), title="Which source?").html)
    assert "Run this cell to scrub through the words" in before
    alt = re.search(r'<img alt="([^"]+)"', before)[1]
    assert alt.startswith(
        "Which source?. Belief over 3 tasks while 120 words are read. After the first word: kitchen at"
    )
    png = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", before)[1])
    picture = Image.open(io.BytesIO(png))
    assert picture.width > 300
    assert len(np.unique(np.asarray(picture.convert("L")))) > 3  # not an empty picture
    assert "<td>1</td><td>stir</td><td>+1.12 for kitchen</td>" in before
    assert before.count("<tr>") == 9  # a head and eight of the words
    assert "stir the soup and add" in before


@pytest.mark.parametrize("tasks", [1, 2, 100])
def test_few_and_many_tasks_and_a_single_word(tasks):
    record = WordsRecord(
        belief=torch.full((1, tasks), 1 / tasks),
        evidence=torch.zeros(1, tasks),
        loss=torch.ones(1),
        words=["yes"],
        tasks=[f"source {k}" for k in range(tasks)],
    )
    shown = read_along(record)
    assert repr(shown) == f"ReadAlong(1 words, {tasks} tasks)"
    assert "<table>" in shown.html
    assert ("source 0 at 1.00" if tasks == 1 else f"all {tasks} equal at") in shown.html


def test_words_cannot_break_out_of_the_page():
    record = replace(toy_words(3), words=["</script><b>x</b>", "<!--", "<i>"], tasks=["</td>", "<u>", '"z"'])
    html = read_along(record, title="<s>t</s>").html
    assert html.count("<!--") == html.count("-->") == 2  # those that the output itself opens
    for mark in ("<b>x</b>", "<i>", "<u>", "<s>"):
        assert mark not in html
    header, _ = unpack(html)
    assert header["text"] == record.words


def test_no_address_is_named_and_the_same_record_gives_the_same_output():
    first, second = (read_along(toy_words()).html for _ in range(2))
    assert first == second
    assert set(re.findall(r"https?://[^\s\"')]+", first)) <= {"http://www.w3.org/2000/svg"}


def spoiled(name, value=float("nan")):
    record = toy_words(6)
    values = getattr(record, name).clone()
    values[2] = value
    return replace(record, **{name: values})


def empty():
    return WordsRecord(torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0), [], ["a", "b"])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: spoiled("belief"), "belief is not finite at word 2"),
        (lambda: spoiled("evidence"), "evidence is not finite at word 2"),
        (lambda: spoiled("loss"), "loss is not finite at word 2"),
        (lambda: spoiled("belief", 0.5), "The belief after word 2 is no probability"),
        (lambda: spoiled("belief", torch.tensor([-1.0, 1.0, 1.0])), "The belief after word 2 is no probability"),
        (empty, "There is no word to show"),
        (lambda: Trajectory(z=torch.zeros(2, 1, 3), loss=torch.zeros(2, 1)), "was given a Trajectory"),
        (lambda: None, "was given a NoneType"),
    ],
)
def test_bad_input_is_told_in_one_sentence(make, says):
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        read_along(make())
    assert "\n" not in str(caught.value)


# ---- typed ----


def infer(text):
    if "crash" in text:
        raise RuntimeError("no such\nmodel")
    if "nothing" in text:
        return None
    return toy_read(text)


def write(text):
    if "crash" in text:
        raise ValueError("It cannot write on from here.")
    return None if "nothing" in text else f"{text} and then some"


def shown_text(view):
    return view.header.get("text")


def test_a_typed_text_is_read_again_and_opens_at_its_last_word():
    typed = type_along(infer, text="bake the bread")
    assert shown_text(typed.view) == ["bake", "the", "bread"]
    typed.text.value = "rain is on the way"
    assert shown_text(typed.view) == ["rain", "is", "on", "the", "way"]
    assert typed.view.header["start"] == 4
    _, arrays = unpack_view(typed.view)
    assert np.allclose(arrays["belief"], toy_read("rain is on the way").belief, atol=1e-4)
    assert typed.view.message == ""
    assert typed.write_on is None


def unpack_view(view):
    return arrays_of(view.header, zlib.decompress(view.data))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Type a few words: the belief follows each of them."),
        (" \n ", "Type a few words: the belief follows each of them."),
        ("crash", "RuntimeError: no such model"),
        ("nothing", "read_along() shows a WordsRecord, but was given a NoneType."),
    ],
)
def test_what_cannot_be_read_is_told_and_the_text_before_stays(text, says):
    typed = type_along(infer, text="bake the bread")
    typed.text.value = text
    assert typed.view.message == says
    assert shown_text(typed.view) == ["bake", "the", "bread"]
    typed.text.value = "snow may fall"
    assert typed.view.message == ""
    assert shown_text(typed.view) == ["snow", "may", "fall"]


def test_a_long_word_is_shortened_between_its_letters():
    assert page.shorten("नमस्ते", 6) == "नमस्ते"
    assert page.shorten("नमस्तेनमस्ते", 6) == "नमस्…"  # not between t and its vowel
    assert page.shorten("recipe of a good soup", 8) == "recipe …"


def test_unknown_words_are_told():
    typed = type_along(infer, text="bake the bread")
    typed.text.value = "quark gluon"
    assert "No word of this text is in the model's vocabulary" in typed.view.message
    assert shown_text(typed.view) == ["<unk>", "<unk>"]
    typed.text.value = "quark gluon soup"
    assert typed.view.message == ""


def test_it_can_begin_with_an_empty_box():
    typed = type_along(infer, title="Your <own> text")
    assert typed.view.header["kind"] == "blank"
    assert typed.view.message.startswith("Type a few words")
    assert repr(typed) == "TypeAlong(no text yet)"
    assert "run this cell to type" in typed.html
    assert "<own>" not in typed.html
    typed.text.value = "soup"
    assert shown_text(typed.view) == ["soup"]


def test_the_model_writes_on_and_its_text_goes_with_the_text_it_follows():
    typed = type_along(infer, text="bake the bread", sample=write)
    typed.write_on.click()
    assert typed.view.written == "bake the bread and then some"
    assert not typed.view.busy
    typed.text.value = "rain"
    assert typed.view.written == ""


def test_writing_on_that_is_interrupted_leaves_the_view_awake():
    def interrupted(text):
        raise KeyboardInterrupt

    typed = type_along(infer, text="bake the bread", sample=interrupted)
    with pytest.raises(KeyboardInterrupt):
        typed.write_on.click()
    assert (typed.view.busy, typed.view.written) == (False, "")
    assert typed.view.message.startswith("Stopped")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bread crash", "It cannot write on from here."),
        ("nothing", "sample must return a text, but returned a NoneType."),
    ],
)
def test_what_cannot_be_written_is_told(text, says):
    typed = type_along(infer, text="bake the bread", sample=write)
    typed.text.value = text
    typed.write_on.click()
    assert (typed.view.message, typed.view.written, typed.view.busy) == (says, "", False)


def test_it_shows_a_copy_that_lasts_and_then_its_widget(monkeypatch):
    copy, widget = outputs.shown(type_along(infer, text="bake the bread", title="Yours"), monkeypatch)
    header, _ = unpack(copy["text/html"])
    assert header["text"] == ["bake", "the", "bread"]
    assert "The text box of this view needs a running kernel" in copy["text/html"]
    assert copy["text/plain"] == "TypeAlong(3 words, 3 tasks)"
    assert widget["application/vnd.jupyter.widget-view+json"]["version_major"] == 2


def test_a_wrong_call_is_answered_at_once():
    for bad in ({"infer": "soup"}, {"infer": infer, "sample": 3}):
        with pytest.raises(ValueError, match=r"needs a function infer\(text\)"):
            type_along(**bad)
    with pytest.raises(ValueError, match="text must be a string, but is a list"):
        type_along(infer, text=["soup"])
    with pytest.raises(RuntimeError, match="no such"):
        type_along(infer, text="crash")
