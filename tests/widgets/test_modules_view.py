"""What ``modules`` returns, checked without a browser."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from widgets import outputs

from gbi_helpers import modules
from gbi_helpers.modularity import module_of, unit_order
from gbi_helpers.records import ModulesRecord, Trajectory


def record(frames=6, seeds=2, tasks=2, units=8, gated=True, seed=0):
    """A random network whose units drift smoothly, as trained ones do."""
    draw = torch.Generator().manual_seed(seed)
    drift = 0.02 * torch.randn(frames, seeds, tasks, units, generator=draw)
    drive = (torch.rand(1, seeds, tasks, units, generator=draw) + drift.cumsum(0)).clamp_min(0)
    gate = 0.75 + 0.1 * drift.cumsum(0)
    return ModulesRecord(
        step=40 * torch.arange(frames),
        activation=drive,
        z_only=drive.flip(-1),
        gate=gate.clamp_min(0) if gated else None,
        curves={"overlap": torch.linspace(0.9, 0.1, frames)[:, None].expand(-1, seeds)},
    )


def both(**sizes):
    return {"LSTM": record(gated=False, **sizes), "GBI-LSTM": record(seed=1, **sizes)}


def unpack(html):
    """Header and arrays of an output, read back as the browser reads them."""
    header, raw = outputs.unpack(html)
    frames, tasks, units = header["entries"], len(header["tasks"]), header["units"]
    at = 0

    def take(kind, *shape):
        nonlocal at
        found = np.frombuffer(raw, kind, int(np.prod(shape)), offset=at).reshape(shape)
        at += found.nbytes
        return found

    def cells():
        return take(np.uint8, frames, tasks, units).cumsum(0, dtype=np.uint8)

    step = take("<u4", frames)
    nets = []
    for net in header["nets"]:
        shown = {"name": net["name"], "activation": cells(), "gate": cells() if net["gated"] else None}
        nets.append(shown | {"owned": take("<u2", frames, tasks), "metric": take("<f4", frames)})
    assert at == len(raw)
    return header, step, nets


def test_the_browser_is_given_the_record_itself():
    records = both()
    _, step, nets = unpack(modules(records, seed=1).html)
    assert step.tolist() == [0, 40, 80, 120, 160, 200]
    assert [net["name"] for net in nets] == ["LSTM", "GBI-LSTM"]
    assert nets[0]["gate"] is None
    for net in nets:
        given = records[net["name"]]
        drive = given.activation[:, 1]
        order = unit_order(drive[-1])
        assert np.allclose((net["activation"] / 255.0) ** 2, drive[..., order] / drive.max(), atol=0.005)
        assert np.allclose(net["metric"], given.curves["overlap"][:, 1])
        assert net["owned"][:, 0].tolist() == (module_of(drive) == 0).sum(-1).tolist()
    gate = records["GBI-LSTM"].gate[:, 1]
    order = unit_order(records["GBI-LSTM"].activation[-1, 1])
    assert np.allclose((nets[1]["gate"] / 255.0) ** 2, gate[..., order] / gate.max(), atol=0.005)


def test_units_can_be_sorted_by_another_frame_and_shown_on_the_same_samples():
    given = record()
    _, _, nets = unpack(modules(given, sort_by=0, show="z_only").html)
    drive = given.z_only[:, 0]
    order = unit_order(drive[0])
    assert np.allclose((nets[0]["activation"] / 255.0) ** 2, drive[..., order] / drive.max(), atol=0.005)


def test_64_units_by_8_tasks_by_100_steps_fit_in_100_kilobytes():
    shown = modules(record(frames=100, seeds=1, tasks=8, units=64, gated=False), labels="task")
    assert len(json.dumps(shown._repr_mimebundle_()).encode()) <= 100_000


def test_without_javascript_there_is_a_picture_a_table_and_a_hint():
    before = outputs.still(modules(both(), title="Who does what?").html)
    assert "Run this cell to scrub" in before
    assert "GBI-LSTM 0.90 at the start, 0.10 at the end" in re.search(r'<img alt="([^"]+)"', before)[1]
    assert "<td>200</td><td>0.10</td><td>0.10</td>" in before
    assert '<th scope="col">LSTM: overlap</th>' in before


def test_one_network_and_one_frame_will_do():
    assert repr(modules(record(frames=1))) == "Modules(network: 1 frames, 8 units, 2 tasks)"
    assert "<table>" in modules(record(frames=1)).html


def test_silent_units_are_no_trouble():
    given = record()
    silent = replace(given, activation=torch.zeros_like(given.activation))
    _, _, nets = unpack(modules(silent).html)
    assert not nets[0]["activation"].any()


def test_names_cannot_break_out_of_the_page():
    html = modules({"</script><b>x</b>": record()}, labels=["<!-- y -->", "</td>"], title="<i>t</i>").html
    assert html.count("<!--") == html.count("-->") == 2  # those that the output itself opens
    assert "<b>x</b>" not in html
    assert "<i>t</i>" not in html


def test_no_address_is_named_and_the_same_record_gives_the_same_output():
    first, second = (modules(both()).html for _ in range(2))
    assert first == second
    assert set(re.findall(r"https?://[^\s\"')]+", first)) <= {"http://www.w3.org/2000/svg"}


def spoiled(name):
    given = record()
    values = getattr(given, name).clone()
    values[2] = float("nan")
    return replace(given, **{name: values})


def test_a_seed_and_a_frame_may_come_out_of_numpy():
    there = modules(record(), seed=np.int64(1), sort_by=np.int64(-2)).html
    assert there == modules(record(), seed=1, sort_by=-2).html


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (lambda: spoiled("activation"), {}, "activation of 'network' is not finite at step 2"),
        (lambda: spoiled("gate"), {}, "gate of 'network' is not finite at step 2"),
        (dict, {}, "was given no network"),
        (lambda: Trajectory(z=torch.zeros(2, 1, 3), loss=torch.zeros(2, 1)), {}, "not a Trajectory"),
        (lambda: {"LSTM": None}, {}, "not a NoneType"),
        (record, {"seed": 2}, "choose one of 0 to 1"),
        (record, {"seed": True}, "choose one of 0 to 1"),
        (record, {"sort_by": 6}, "choose one of 0 to 5"),
        (record, {"sort_by": 0.5}, "choose one of 0 to 5"),
        (record, {"curve": "ratio"}, "choose one of overlap"),
        (record, {"show": "gate"}, "choose 'activation' or 'z_only'"),
        (record, {"labels": ["low"]}, "names 1 tasks, but the record's activation has 2"),
        (lambda: {"a": record(), "b": record(frames=5)}, {}, "other training steps"),
        (lambda: {"a": record(), "b": record(units=9)}, {}, "other numbers of tasks or units"),
    ],
)
def test_bad_input_is_told_in_one_sentence(make, options, says):
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        modules(make(), **options)
    assert "\n" not in str(caught.value)
