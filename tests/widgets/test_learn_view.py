"""What ``learn_along`` returns, checked without a browser."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from widgets import outputs
from widgets.toy import toy_learning

from gbi_helpers import Posterior, learn_along


@pytest.fixture(scope="module")
def record():
    return toy_learning(gates=True)


def unpack(html):
    """Header and arrays of an output, read back as the browser reads them."""
    header, raw = outputs.unpack(html)
    stages, learners, contexts = header["entries"], len(header["learners"]), len(header["contexts"])
    classes, images, frame, at = len(header["classes"]), len(header["y"]), header["frame"], 0

    def take(kind, *shape):
        nonlocal at
        found = np.frombuffer(raw, kind, int(np.prod(shape)), offset=at).reshape(shape)
        at += found.nbytes
        return found

    arrays = {
        "r": take("<f4", stages, learners, contexts),
        "q": take(np.uint8, stages, learners, images, classes).cumsum(0, dtype=np.uint8),
        "known": take(np.uint8, stages, classes),
        "images": take(np.uint8, images, *frame),
    }
    if header["kept"]:
        arrays["means"] = take(np.uint8, stages, classes, *frame).cumsum(0, dtype=np.uint8)
    if header["units"]:
        arrays["gates"] = take(np.uint8, contexts, header["units"])
    assert at == len(raw)
    return header, arrays


def test_the_browser_is_given_the_record_itself(record):
    header, arrays = unpack(learn_along(record).html)
    np.testing.assert_allclose(arrays["r"], record.r.transpose(0, 1), rtol=1e-6)
    np.testing.assert_allclose(arrays["q"] / 255, record.q.transpose(0, 1), atol=0.51 / 255)
    np.testing.assert_allclose(arrays["images"] / 255, record.images, atol=0.51 / 255)
    np.testing.assert_allclose(arrays["means"] / 255, record.means.clamp(0, 1), atol=0.51 / 255)
    assert np.array_equal(arrays["known"], record.known)
    assert np.array_equal(arrays["gates"] / 255, record.gates)
    assert header["y"] == record.y.tolist()
    assert (header["context"], header["at"]) == (record.context.tolist(), record.step.tolist())


def test_images_in_bytes_stay_as_they_are_and_means_and_gates_may_be_missing(record):
    images = torch.randint(256, record.images.shape, dtype=torch.uint8)
    header, arrays = unpack(learn_along(replace(record, images=images, means=None, gates=None)).html)
    assert np.array_equal(arrays["images"], images)
    assert (header["kept"], header["units"]) == (False, 0)


def test_30_moments_of_2_learners_and_40_images_fit_in_150_kilobytes(record):
    assert record.q.shape == (2, 30, 40, 10)
    assert len(json.dumps(learn_along(record)._repr_mimebundle_()).encode()) <= 150_000


def test_without_javascript_there_is_a_picture_a_table_and_a_hint(record):
    before = outputs.still(learn_along(record, title="What is kept?").html)
    assert "Run this cell to scrub through the training" in before
    alt = re.search(r'<img alt="([^"]+)"', before)[1]
    newest, means = (record.r[k, -1].mean() for k in range(2))
    assert f"newest {newest:.1f} % right, and to it the test image is" in alt
    assert f"<td>0, 1</td><td>{record.r[0, 5, 0]:.1f}</td><td>{record.r[1, 5, 0]:.1f}</td>" in before
    assert f"<td>8, 9</td><td>{newest:.1f}</td><td>{means:.1f}</td>" in before
    assert '<th scope="col">means: % right so far</th>' in before


def test_it_opens_at_the_image_and_moment_asked_for_and_says_what_it_is(record):
    shown = learn_along(record, image=-1, start=-1)
    assert repr(shown) == "LearnAlong(newest, means: 30 moments in 5 contexts, 40 images, 10 classes)"
    header, _ = unpack(shown.html)
    assert (header["image"], header["start"]) == (39, 29)


def test_one_learner_seen_once_in_one_context_will_do():
    record = toy_learning(moments=1)
    first = {name: getattr(record, name)[:1] for name in ("context", "step", "known", "means")}
    names = {"learners": ["newest"], "contexts": ["0, 1"]}
    once = replace(record, r=record.r[:1, :1, :1], q=record.q[:1, :1], **first, **names)
    assert "<table>" in learn_along(once).html


def test_names_cannot_break_out_of_the_page(record):
    evil = replace(record, learners=["</script><b>x</b>", "<!-- y -->"], contexts=["</td>", *"bcde"])
    html = learn_along(evil, title="<i>t</i>").html
    assert html.count("<!--") == html.count("-->") == 2  # those that the output itself opens
    assert "<b>x</b>" not in html
    assert "<i>t</i>" not in html


def test_no_address_is_named_and_the_same_record_gives_the_same_output(record):
    first, second = (learn_along(record).html for _ in range(2))
    assert first == second
    assert set(re.findall(r"https?://[^\s\"')]+", first)) <= {"http://www.w3.org/2000/svg"}


def test_a_place_may_come_out_of_numpy_or_pytorch(record):
    there = learn_along(record, image=np.int64(3), start=torch.tensor(-1)).html
    assert there == learn_along(record, image=3, start=-1).html


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (lambda r: Posterior(torch.zeros(1, 2), torch.zeros(1)), {}, "was given a Posterior"),
        (lambda r: None, {}, "was given a NoneType"),
        (lambda r: r, {"image": 40}, "choose one of 0 to 39"),
        (lambda r: r, {"image": 1.0}, "choose one of 0 to 39"),
        (lambda r: r, {"start": 30}, "choose one of 0 to 29"),
        (lambda r: r, {"start": True}, "choose one of 0 to 29"),
        (lambda r: replace(r, images=r.images * torch.nan), {}, "record's images is not finite at entry 0"),
        (lambda r: replace(r, gates=r.gates / 0), {}, "record's gates is not finite at entry 0"),
        (lambda r: replace(r, q=r.q[:, :, :0], images=r.images[:0], y=r.y[:0]), {}, "There is nothing to show"),
    ],
)
def test_bad_input_is_told_in_one_sentence(record, change, options, says):
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        learn_along(change(record), **options)
    assert "\n" not in str(caught.value)
