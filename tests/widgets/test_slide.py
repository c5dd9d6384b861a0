"""A picture with sliders: what is packed comes out again, what does not fit is named, what stands there unscripted."""

import json
import re
import zlib

import numpy as np
import pytest
import torch

from gbi_helpers import slide
from gbi_helpers.widgets import Bars, Dots, Lines

X = np.linspace(0, 1, 20)
STARTS, SIZES = [0.0, 0.25, 0.5, 1.0], [1.0, 2.0, 3.0]
MOVING = torch.arange(4 * 3 * 20, dtype=torch.float32).reshape(4, 3, 20)
TOLD = torch.arange(12.0).reshape(4, 3)


def view(**changes):
    panels = [
        Lines("Loss", {"loss": X**2, "tangent": MOVING, "start": (np.array([0.5]), np.array([0.1]))}, x=X, xlabel="z"),
        Bars("Belief", torch.softmax(TOLD[..., None] * torch.tensor([0.1, 0.2]), -1), ["low", "high"], ylim=(0, 1)),
    ]
    given = {"says": {"nats": TOLD, "same": torch.tensor(3.0).expand(4, 3)}, "title": "Try it"} | changes
    return slide(given.pop("sliders", {"start": STARTS, "size": SIZES}), *given.pop("panels", panels), **given)


def test_what_moves_is_packed_and_comes_out_again_and_what_does_not_stands_in_the_header():
    slides = view().slides
    loss, tangent, start = slides.header["panels"][0]["curves"]
    assert loss["y"] == pytest.approx(list(X**2), abs=1e-4)
    assert (tangent["x"] is None, tangent["y"], start["n"]) == (False, None, 1)
    raw = zlib.decompress(slides.data)
    levels = np.cumsum(np.frombuffer(raw[: 2 * MOVING.numel()], "<u2").reshape(12, 20), 0, dtype=np.uint16)
    low, high = slides.header["panels"][0]["ylim"]
    back = low + (levels.astype(float) - 2000) / 2000 * (high - low)
    assert back.reshape(4, 3, 20) == pytest.approx(MOVING.numpy(), abs=(high - low) / 2000)
    assert np.frombuffer(raw[-96:-48], "<f4") == pytest.approx(range(12))


def test_it_opens_in_the_middle_or_where_it_is_told():
    assert view().slides.header["at"] == [2, 1]
    assert view(start=(0, 2)).slides.header["at"] == [0, 2]
    assert "At start 0.00, size 3: nats 2.00" in view(start=(0, 2)).html


def test_without_javascript_there_are_a_picture_and_a_table_along_the_first_slider():
    still = view().still()
    assert re.search(r'<img alt="Try it\. Loss; Belief\. At start 0\.50, size 2: nats 7\.00, same 3\.00\."', still)
    assert re.findall(r"<td>([\d.]+)</td>", still)[:6] == ["0.00", "1.00", "3.00", "0.25", "4.00", "3.00"]


def test_it_is_small_and_the_same_again():
    assert view().html == view().html
    assert len(view().html) < 60_000
    assert repr(view()) == "Slider(start (4), size (3): Loss, Belief)"
    assert json.loads(json.dumps(view().slides.header))["title"] == "Try it"


def test_dots_are_packed_with_how_full_they_are_and_their_names_stand_in_the_header():
    place, fill = torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0.0, 1.0])
    moving = torch.linspace(0, 1, 24).reshape(4, 3, 2)
    dots = {"a": Dots(place, [0.5, 0.5], moving, ["one", "two"]), "b": Dots([0, 1], [0, 1], fill, size=2)}
    slides = view(panels=[Lines("D", dots, xlim=(0, 1), ylim=(0, 1))]).slides
    one, two = slides.header["panels"][0]["curves"]
    assert (one["x"], one["n"], one["dots"]) == (None, 2, {"fill": None, "names": ["one", "two"], "size": 5.0})
    assert two["dots"] == {"fill": [0.0, 1.0], "names": [], "size": 2}
    levels = np.frombuffer(zlib.decompress(slides.data), "<u2", 2 * 24).reshape(2, 12, 2).cumsum(1, dtype=np.uint16)
    back = (levels.astype(float) - 2000) / 2000
    assert back[0].reshape(4, 3, 2) == pytest.approx(place.numpy(), abs=1 / 2000)
    assert back[1].reshape(4, 3, 2) == pytest.approx(moving.numpy(), abs=1 / 2000)


def test_one_fill_is_that_of_all_dots_and_the_picture_shows_them():
    lines = [Lines("D", {"a": Dots(X, X**2, fill, ["p"] * 20)}) for fill in (0.0, 1.0)]
    rings, full = (view(panels=[panel]) for panel in lines)
    assert rings.slides.header["panels"][0]["curves"][0]["dots"]["fill"] == [0.0] * 20
    assert rings.still() != full.still()


def test_small_numbers_have_two_digits_in_the_table_as_in_the_read_out():
    told = {"error": [0.00123, -0.0996, 0.0], "nats": [1e-7, 0.1, 0.000012]}
    shown = view(sliders={"rate": [0.001, 0.0025, 0.2]}, says=told, panels=[Lines("L", {"a": [1.0, 2.0]}, x=[0, 1])])
    assert "At rate 0.0025: error −0.1, nats 0.10." in shown.still()
    rows = [["0.001", "0.0012", "0.00"], ["0.0025", "−0.1", "0.10"], ["0.20", "0.00", "0.000012"]]
    assert re.findall(r"<td>([^<]+)</td>", shown.still()) == [cell for row in rows for cell in row]


@pytest.mark.parametrize("kind", [int, float])
def test_whole_numbers_are_written_without_decimals(kind):
    given = {"sliders": {"sample": [kind(3), kind(1200)]}, "says": {"slot": torch.tensor([7, 2]), "nats": [1.0, 2.0]}}
    shown = view(**given, panels=[Bars("B", torch.ones(2, 1), ["a"])], start=[0])
    assert "At sample 3: slot 7, nats 1.00." in shown.html
    assert re.findall(r"<td>([\d.]+)</td>", shown.still()) == ["3", "7", "1.00", "1200", "2", "2.00"]
    assert shown.slides.header["whole"] == ["sample", "slot"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sliders": {}}, "one or two sliders"),
        ({"sliders": {"a": [1], "b": [1, 2]}}, "2 values or more"),
        ({"sliders": {"a": range(100), "b": range(100)}}, "5,000 places"),
        ({"panels": []}, "needs a panel"),
        ({"says": {}}, "read-out"),
        ({"says": {"nats": torch.ones(3, 4)}}, r"'nats' has the shape \(3, 4\): begin it with .* \(4, 3\)"),
        ({"says": {"nats": torch.full((4, 3), torch.nan)}}, "nats is not finite"),
        ({"start": (4, 0)}, "start is"),
        ({"start": (1,)}, "start is"),
        ({"panels": [Lines("L", {"loss": X})]}, "'loss' has no x"),
        ({"panels": [Lines("L", {"loss": X}, x=X[1:])]}, "'loss' has 20 values over 19"),
        ({"panels": [Lines("L", {"d": Dots(X, X[1:])})]}, "'d' have 20 x, 19 y"),
        ({"panels": [Lines("L", {"d": Dots(X, X, X[:2])})]}, "2 fills"),
        ({"panels": [Lines("L", {"d": Dots(X, X, names="abc")})]}, "3 names"),
        ({"panels": [Lines("L", {"d": Dots(X, X, 1.5)})]}, "from 0 .a ring. to 1"),
        ({"panels": [Bars("B", torch.ones(3), ["a"])]}, "3 bars, but 1 labels"),
    ],
)
def test_what_does_not_fit_is_named(changes, why):
    with pytest.raises(ValueError, match=why):
        view(**changes)
