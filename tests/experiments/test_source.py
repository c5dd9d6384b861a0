"""The mark of a row's code: it changes with whatever can move a number, and with nothing else."""

from __future__ import annotations

import importlib.util
import itertools
import sys

import pytest

from gbi_helpers.experiments import source
from gbi_helpers.experiments.source import code_of

HELPER = "from __future__ import annotations\nSIZE = 3\n\n\ndef helper(x: int) -> int:\n    return x + SIZE\n"
MAIN = '''"""About this module."""
from __future__ import annotations
import torch
from NAME import helper
import NAME as other

WINDOW = (1, 2)


def first(x):
    return x


def second(x):
    return -x


BOTH = {"one": first, "two": second}
SETTINGS = {"a": {"lr": 0.1}, "b": {"lr": 0.2}}
TABLE = {"one": helper}
UNUSED = 7


class Model:
    """A model."""

    def forward(self, x):
        return WINDOW[0] * x


def made(scale):
    def measure(world, seed, settings) -> dict:
        """What is measured."""
        model = Model()  # a model
        kept: float = BOTH["one"](seed)
        if kept is None:
            raise ValueError("there is no number")
        return {"score": kept + scale * TABLE["one"](model.forward(seed)) + len(SETTINGS) + other.SIZE}

    return measure


measure = made(2)
'''
count = itertools.count()


@pytest.fixture
def marked(tmp_path):
    """``marked(main, helper)``: the mark of ``measure`` in modules of these sources."""
    made = []

    def mark(main=MAIN, helper=HELPER):
        pair = ("made_code", "made_helper")
        folder = tmp_path / str(next(count))
        folder.mkdir()
        for name, text in zip(pair, (main, helper), strict=True):
            (folder / f"{name}.py").write_text(text.replace("NAME", "made_helper"))
        for name in reversed(pair):  # the helper first
            spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            made.append(name)
        source._mark.cache_clear()
        return code_of(sys.modules["made_code"].measure)

    yield mark
    for name in made:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("scale * TABLE", "scale + TABLE"),
        ("made(2)", "made(3)"),
        ("WINDOW = (1, 2)", "WINDOW = (5, 2)"),
        ("WINDOW[0] * x", "WINDOW[1] * x"),
        ('{"one": helper}', '{"one": abs}'),
        ("WINDOW = (1, 2)", "WINDOW = (True, 2)"),
        ('"one": first, "two": second', '"one": second, "two": first'),
    ],
)
def test_what_can_move_a_number_changes_the_mark(marked, old, new):
    assert old in MAIN
    assert marked(MAIN.replace(old, new)) != marked()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""What is measured."""', '"""In other words."""'),
        ("  # a model", "  # another remark"),
        (" -> dict:", ":"),
        ("kept: float =", "kept ="),
        ("there is no number", "no number is there"),
        ('"""A model."""\n', '"""A fine\n    model."""\n'),
        ('"b": {"lr": 0.2}', '"b": {"lr": 0.5}'),
        ("UNUSED = 7", "UNUSED = 8"),
        ("        model = Model()", "\n        model = (Model())"),
    ],
)
def test_words_layout_and_what_is_not_used_do_not(marked, old, new):
    assert old in MAIN
    assert marked(MAIN.replace(old, new)) == marked()


@pytest.mark.parametrize(("old", "new"), [("SIZE = 3", "SIZE = 4"), ("x + SIZE", "x - SIZE")])
def test_code_of_other_modules_counts_where_it_is_named_as_ours(old, new, marked, monkeypatch):
    monkeypatch.setattr(source, "_is_code", lambda value, home: getattr(value, "__module__", "").startswith("made_"))
    assert marked(MAIN, HELPER.replace(old, new)) != marked()


def test_a_shipped_row_sees_the_inference_behind_it_and_not_the_row_beside_it():
    from gbi_helpers.experiments.mnist.study import STUDY

    found: set[str] = set()
    source._note("gbi_helpers", "", STUDY.rows["faithful"].measure, found, set())
    names = {line.partition(":")[0] for line in found}
    assert {"gbi_helpers.inference.one_step", "gbi_helpers.training.fit", "gbi_helpers.models.image.Join"} <= names
    assert not [name for name in names if "batch_norm" in name.lower() or "study.classifier" in name]
    alike, apart = (("latent_2", "latent_16", "add"), ("faithful", "latent_2", "vae_mul", "classifier", "batch_norm"))
    assert len({code_of(STUDY.rows[name].measure) for name in alike}) == 1
    assert len({code_of(STUDY.rows[name].measure) for name in apart}) == len(apart)
