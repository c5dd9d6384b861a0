"""What ``scrub`` returns, checked without a browser."""

import base64
import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from widgets.outputs import comments, shown, still, unpack
from widgets.toy import toy_path

from gbi_helpers.records import Posterior, Trajectory
from gbi_helpers.widgets import Controls, scrub


def bare(entries=4, batch=2, dim=3, simplex=True):
    z = torch.rand(entries, batch, dim, generator=torch.Generator().manual_seed(0))
    z = z / z.sum(-1, keepdim=True)
    return Trajectory(z=z, loss=torch.linspace(9, 1, entries)[:, None].expand(-1, batch), q=z if simplex else None)


def tinted(record):
    """The record with its pictures in colour: red as they were, green at half, blue inverted."""

    def tint(x, axis):
        return torch.stack([x, x / 2, 1 - x], axis)

    return record.with_frames(tint(record.frames, 2), tint(record.target, 1))


def test_fifty_steps_with_images_fit_in_60_kilobytes():
    bundle = scrub(toy_path(steps=50), labels="digit", title="Which digit is it?")._repr_mimebundle_()
    assert len(json.dumps(bundle).encode()) <= 60_000


def test_fifty_steps_over_a_hundred_tasks_fit_too():
    bundle = scrub(toy_path(100, steps=50), labels=[f"name of class {k}" for k in range(100)])._repr_mimebundle_()
    assert len(json.dumps(bundle).encode()) <= 60_000


def test_the_browser_is_given_the_record_itself():
    record = toy_path(steps=12)
    header, raw = unpack(scrub(record).html)
    entries, dim = header["entries"], header["dim"]
    loss = np.frombuffer(raw, "<f4", entries)
    z = np.frombuffer(raw, "<u2", entries * dim, offset=4 * entries).reshape(entries, dim).cumsum(0, dtype=np.uint16)
    low, high = header["range"]
    images = np.frombuffer(raw, np.uint8, offset=4 * entries + 2 * entries * dim).reshape(-1, 28, 28)
    frames = images[:-1].cumsum(0, dtype=np.uint8)
    assert np.allclose(loss, record.loss[:, 0])
    assert np.allclose(low + z / 65535 * (high - low), record.z[:, 0], atol=1e-5)
    assert np.abs(frames / 255 - record.frames[:, 0].numpy()).max() < 0.01
    assert np.abs(images[-1] / 255 - record.target[0].numpy()).max() < 0.01


def test_colour_pictures_arrive_channel_by_channel():
    record = tinted(toy_path(steps=6))
    header, raw = unpack(scrub(record).html)
    assert header["frame"] == [28, 28, 3]
    images = np.frombuffer(raw, np.uint8, offset=4 * 7 + 2 * 7 * 10).reshape(-1, 3, 28, 28)
    frames = images[:-1].cumsum(0, dtype=np.uint8)
    span = max(1.0, record.frames.max().item()) - min(0.0, record.frames.min().item())
    low = min(0.0, record.frames.min().item())
    assert np.abs(frames / 255 * span + low - record.frames[:, 0].numpy()).max() < 0.01
    assert np.abs(images[-1] / 255 * span + low - record.target[0].numpy()).max() < 0.01


def test_bytes_in_colour_stay_the_same_bytes():
    frames = torch.arange(4 * 2 * 3 * 5 * 4).reshape(4, 2, 3, 5, 4).to(torch.uint8)
    html = scrub(bare().with_frames(frames, frames[0])).html
    _, raw = unpack(html)
    images = np.frombuffer(raw, np.uint8, offset=4 * 4 + 2 * 4 * 3).reshape(-1, 3, 5, 4)
    assert (images[:-1].cumsum(0, dtype=np.uint8) == frames[:, 0].numpy()).all()
    assert (images[-1] == frames[0, 0].numpy()).all()


def test_fifty_steps_in_colour_over_a_hundred_tasks_fit_in_120_kilobytes():
    shown = scrub(tinted(toy_path(100, steps=50)), groups=[f"group {k // 5}" for k in range(100)])
    assert len(json.dumps(shown._repr_mimebundle_()).encode()) <= 120_000
    assert repr(shown) == "Scrubber(50 steps, 100 tasks in 20 groups, images 28 x 28 in colour)"


def test_the_fallback_picture_is_in_colour_too():
    from PIL import Image

    html = scrub(tinted(toy_path(steps=3))).html
    png = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", html)[1])
    red, _, blue = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), int)[..., k] for k in range(3))
    assert ((blue - red) > 200).mean() > 0.05  # the dark ground of the digits, tinted
    assert ((red - blue) > 100).mean() > 0.01  # their strokes


# ---- groups ----


def test_tasks_stand_by_group_and_keep_their_values():
    record = bare(dim=5)
    names, groups = ["oak", "cod", "elm", "ray", "ant"], ["trees", "fish", "trees", "fish", "insects"]
    header, raw = unpack(scrub(record, labels=names, groups=groups).html)
    assert header["groups"] == [["fish", 2], ["insects", 1], ["trees", 2]]
    assert header["labels"] == ["cod", "ray", "ant", "oak", "elm"]
    z = np.frombuffer(raw, "<u2", 20, offset=16).reshape(4, 5).cumsum(0, dtype=np.uint16) / 65535
    low, high = header["range"]
    assert np.allclose(low + z * (high - low), record.z[:, 0, [1, 3, 4, 0, 2]], atol=1e-4)
    unsorted, _ = unpack(scrub(record, labels=names).html)
    assert "groups" not in unsorted
    assert unsorted["labels"] == names


def test_the_group_and_its_total_are_told_without_javascript():
    z = torch.tensor([[[0.1, 0.5, 0.1, 0.3]]])
    record = Trajectory(z=z, loss=torch.ones(1, 1), q=z)
    html = scrub(record, labels=["oak", "cod", "elm", "ray"], groups=["trees", "fish", "trees", "fish"]).html
    assert "<td>cod at 0.50 (fish, 0.80 in all)</td>" in still(html)
    free = scrub(Trajectory(z=z, loss=torch.ones(1, 1)), groups=["trees", "fish", "trees", "fish"]).html
    assert "<td>task 1 at 0.50 (fish)</td>" in free  # a free z is no belief: its sum says nothing


def test_sample_chooses_the_row():
    record = bare()
    header, _ = unpack(scrub(record, sample=1).html)
    assert header["range"] == pytest.approx([record.z[:, 1].min().item(), record.z[:, 1].max().item()])


def test_a_sample_may_come_out_of_numpy():
    record = bare()
    assert scrub(record, sample=np.int64(1)).html == scrub(record, sample=1).html


@pytest.mark.parametrize("dim", [2, 100])
def test_few_and_many_tasks(dim):
    header, _ = unpack(scrub(bare(dim=dim)).html)
    assert header["labels"] == [str(k) for k in range(dim)]


def test_free_z_keeps_its_negative_values():
    record = bare(simplex=False)
    record = Trajectory(z=record.z - 5, loss=record.loss)
    header, _ = unpack(scrub(record).html)
    assert header["range"][0] < -4
    assert not header["simplex"]


def test_a_single_entry_is_shown():
    assert "0 steps" in repr(scrub(bare(entries=1)))
    assert "<table>" in scrub(bare(entries=1)).html


def test_without_javascript_there_is_a_picture_a_table_and_a_hint():
    from PIL import Image

    html = scrub(toy_path(steps=10), labels="digit").html
    seen = still(html)
    assert "Run this cell to scrub" in seen
    assert re.search(r'<img alt="Path of 10 gradient steps\. [^"]{40,}"', seen)
    assert "<td>digit 3 at" in seen
    png = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", seen)[1])
    picture = Image.open(io.BytesIO(png))
    assert picture.width > 300
    assert len(np.unique(np.asarray(picture.convert("L")))) > 3  # not an empty picture


def test_an_equal_start_names_no_winner():
    assert "all 10 equal at 0.10" in scrub(toy_path(steps=3), labels="digit").html


def test_a_record_of_a_stream_can_use_its_own_words():
    words = {"z": "belief", "loss": "surprise", "step": "sample", "frames": "last samples"}
    header, _ = unpack(html := scrub(toy_path(steps=3), words=words).html)
    assert header["words"] == words
    assert "Path of 3 samples." in html
    assert "surprise (nats)</th>" in html
    header, _ = unpack(scrub(bare(), words={"step": "<b>"}).html)
    assert header["words"] == {"z": "z", "loss": "loss", "step": "<b>", "frames": "made from z"}


def test_names_cannot_break_out_of_the_page():
    names = ["</script><b>x</b>", "<!-- y", '"z" --> --!>']
    html = scrub(bare(), labels=names, title="<i>t</i> </div> -->").html
    assert html.count("<!--") == html.count("-->") == len(comments(html)) == 2  # that the output itself opens
    assert "<b>x</b>" not in html
    assert "<i>t</i>" not in html
    assert "--!>" not in still(html)
    header, _ = unpack(html)
    assert header["labels"] == names


def test_no_address_is_named():
    html = scrub(toy_path(steps=3)).html
    assert set(re.findall(r"https?://[^\s\"')]+", html)) <= {"http://www.w3.org/2000/svg"}


def test_the_same_record_gives_the_same_output_and_a_stable_repr():
    first, second = (scrub(toy_path(steps=5), labels="digit") for _ in range(2))
    assert first.html == second.html
    assert repr(first) == "Scrubber(5 steps, 10 tasks, images 28 x 28)"


def with_nan(name):
    record = bare()
    values = {key: getattr(record, key).clone() for key in ("z", "loss")}
    values[name][2] = float("nan")
    return Trajectory(**values)


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (lambda: with_nan("z"), {}, "z is not finite at step 2"),
        (lambda: with_nan("loss"), {}, "loss is not finite at step 2"),
        (lambda: Posterior(log_q=torch.zeros(2, 3), loss=torch.zeros(2)), {}, "was given a Posterior"),
        (lambda: None, {}, "was given a NoneType"),
        (bare, {"sample": 2}, "choose one of 0 to 1"),
        (bare, {"sample": -1}, "choose one of 0 to 1"),
        (bare, {"sample": "1"}, "choose one of 0 to 1"),
        (bare, {"labels": ["a", "b"]}, "names 2 tasks, but the record's z has 3"),
        (
            lambda: Trajectory(torch.full((2, 1, 3), 1e200, dtype=torch.float64), torch.zeros(2, 1)),
            {},
            "z is not finite",
        ),
        (lambda: Trajectory(torch.zeros(0, 1, 3), torch.zeros(0, 1)), {}, "record is empty"),
        (
            lambda: bare().with_frames(torch.zeros(4, 2, 8, 8, dtype=torch.uint8), torch.ones(2, 8, 8)),
            {},
            "both as uint8",
        ),
        (lambda: bare().with_frames(torch.zeros(4, 2, 9)), {}, "must be grey images"),
        (lambda: bare().with_frames(torch.zeros(4, 2, 2, 8, 8)), {}, "colour images (3, height, width)"),
        (lambda: bare().with_frames(torch.zeros(4, 2, 8, 8, 3)), {}, "one has shape (8, 8, 3)"),
        (
            lambda: bare().with_frames(torch.zeros(4, 2, 3, 8, 8), torch.zeros(2, 8, 8)),
            {},
            "frames are 3 x 8 x 8, the target 8 x 8",
        ),
        (bare, {"groups": ["a", "b"]}, "groups names the group of 2 tasks, but the record's z has 3"),
        (bare, {"groups": "abc"}, "give one a task"),
        (lambda: bare().with_frames(torch.full((4, 2, 8, 8), torch.inf)), {}, "frames is not finite"),
        (lambda: bare().with_frames(torch.zeros(4, 2, 8, 8), torch.zeros(2, 9, 9)), {}, "target 9 x 9"),
        (bare, {"words": {"colour": "red"}}, "the parts of the view are z, loss, step, frames"),
    ],
)
def test_bad_input_is_told_in_one_sentence(make, options, says):
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        scrub(make(), **options)
    assert "\n" not in str(caught.value)


def test_ipywidgets_is_imported_only_for_controls():
    code = (
        "import sys, torch; from gbi_helpers import scrub, Trajectory;"
        "scrub(Trajectory(z=torch.rand(3, 1, 4), loss=torch.rand(3, 1)))._repr_mimebundle_();"
        "sys.exit('ipywidgets' in sys.modules or 'anywidget' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- live ----


def run(image=0, start="uniform", steps=4):
    if image == 9:
        raise RuntimeError("no such\nimage")
    return toy_path(steps=steps, image=image)


def live(**choices):
    choices = choices or {"image": (0, 9), "start": ["uniform", "one-hot 3"], "steps": (1, 50)}
    return scrub(run(), labels="digit", controls=Controls(run, **choices))


def test_controls_start_at_the_defaults_of_the_function():
    assert {name: control.value for name, control in live().controls.items()} == {
        "image": 0,
        "start": "uniform",
        "steps": 4,
    }


def test_a_control_runs_inference_again_and_the_view_gets_the_new_path():
    shown = live()
    before = shown.view.data
    shown.controls["steps"].value = 7
    assert shown.view.header["entries"] == 8
    assert shown.view.data != before
    assert not shown.view.busy


def test_every_control_is_labelled_and_waits_for_the_release():
    shown = live(image=(0, 9), steps=(1, 50))
    assert [control.description for control in shown.controls.values()] == ["image", "steps"]
    assert not any(control.continuous_update for control in shown.controls.values())


def test_a_run_that_is_interrupted_leaves_the_view_awake_and_stops_what_set_it_off():
    def interrupted(image=0):
        if image:
            raise KeyboardInterrupt
        return toy_path()

    shown = scrub(interrupted(), controls=Controls(interrupted, image=(0, 9)))
    with pytest.raises(KeyboardInterrupt):
        shown.controls["image"].value = 3
    assert not shown.view.busy
    assert shown.view.message.startswith("Stopped")
    shown.controls["image"].value = 0
    assert (shown.view.busy, shown.view.message) == (False, "")


def test_a_failing_run_is_told_and_survived():
    shown = live()
    before = shown.view.data
    shown.controls["image"].value = 9
    assert shown.view.message == "RuntimeError: no such image"
    assert shown.view.data == before
    shown.controls["image"].value = 2
    assert shown.view.message == ""
    assert shown.view.data != before


def test_a_menu_of_pairs_shows_the_pairs():
    live = scrub(bare(), controls=Controls(lambda size: bare(), size=[(2, 3), (4, 5)]))
    assert live.controls["size"].value == (2, 3)


def test_a_run_that_returns_no_trajectory_is_told():
    shown = scrub(run(), controls=Controls(lambda k: None, k=(0, 3)))
    shown.controls["k"].value = 2
    assert "shows a Trajectory" in shown.view.message


def test_a_live_view_shows_a_copy_that_lasts_and_then_its_widget(monkeypatch):
    copy, widget = shown(live(), monkeypatch)
    assert set(copy) == {"text/html", "text/plain"}
    assert "need a running kernel" in copy["text/html"]
    assert copy["text/plain"] == "Scrubber(4 steps, 10 tasks, images 28 x 28)"
    assert set(widget) == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    assert widget["application/vnd.jupyter.widget-view+json"]["version_major"] == 2


def test_a_live_scrubber_keeps_its_groups():
    shown = scrub(bare(), groups=["b", "a", "b"], controls=Controls(lambda size: bare(), size=[2, 3]))
    shown.controls["size"].value = 3
    assert shown.view.message == ""
    assert shown.view.header["groups"] == [["a", 1], ["b", 2]]


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({}, "at least one control"),
        ({"k": (3, 1)}, "Control 'k'"),
        ({"k": (0, 1, 0)}, "Control 'k'"),
        ({"k": []}, "Control 'k'"),
        ({"k": 3}, "Control 'k'"),
        ({"steps": (10, 20)}, "cannot start at 4"),
    ],
)
def test_bad_controls_are_told(choices, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        Controls(run, **choices)
