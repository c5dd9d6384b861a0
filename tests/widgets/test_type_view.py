"""What ``type_here`` returns, checked without a browser."""

import hashlib
import re

import pytest
import torch
from widgets import outputs

from gbi_helpers import type_here
from gbi_helpers.data.vocabulary import Vocabulary
from gbi_helpers.experiments.language.reading import read_words
from gbi_helpers.models.language import WordLSTM

VOCABULARY = Vocabulary(["<unk>", "<bos>", "bake", "bread", "."])
TASKS = ["kitchen", "weather", "computer"]
FACTS = {"deltas": {"1": [0.1, 0.2, -0.3], "4": [0.5, 0.0, -0.5]}, "tasks": TASKS}
TEXT = "Bake the bread."


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return WordLSTM(5, 3, hidden=4)


@pytest.fixture(scope="module")
def record(model):
    return read_words(model, VOCABULARY, TEXT, tasks=TASKS, facts=FACTS)


def test_the_page_is_given_the_weights_the_words_and_what_is_said_of_the_text(model, record):
    header, raw = outputs.unpack(type_here(model, VOCABULARY, TEXT, record, facts=FACTS, title="Type").html)
    assert header["network"]["sha256"] == hashlib.sha256(raw).hexdigest()
    assert len(raw) == header["bytes"] == 2 * sum(weight.numel() for weight in model.state_dict().values())
    told = {"vocabulary": [*VOCABULARY.words], "tasks": TASKS, "deltas": FACTS["deltas"], "text": TEXT, "title": "Type"}
    assert {name: header[name] for name in told} == told
    assert outputs.unpack(type_here(model, VOCABULARY, TEXT, record).html)[0]["deltas"] == {}


def test_without_javascript_the_first_text_is_read_already(model, record):
    html = outputs.still(type_here(model, VOCABULARY, TEXT, record, facts=FACTS, title="Type").html)
    top = int(record.belief[-1].argmax())
    assert f"At the end: {TASKS[top]} at {record.belief[-1, top]:.2f}." in html
    assert len(re.findall("<tr>", html)) == 1 + 4
    assert "Run this cell to type a text of your own" in html


def test_it_is_the_same_again_and_says_its_sizes(model, record):
    view = type_here(model, VOCABULARY, TEXT, record)
    assert view.html == type_here(model, VOCABULARY, TEXT, record).html
    assert repr(view) == "TypeHere(4 words, 3 tasks)"


NOT_ITS_OWN = "pass the vocabulary of words that it was trained with"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model": WordLSTM(5, 3, hidden=4, conditioning="gate")}, "conditioning is 'both'"),
        ({"vocabulary": Vocabulary([*VOCABULARY.words, "more"])}, NOT_ITS_OWN),
        ({"vocabulary": Vocabulary(VOCABULARY.words, cut=1)}, NOT_ITS_OWN),
        ({"text": "Bake the bread. Bake."}, "makes of all of this text"),
        ({"record": None}, "shows a WordsRecord"),
        ({"model": WordLSTM(5, 2, hidden=4)}, "makes of all of this text"),
    ],
)
def test_what_does_not_fit_is_named(model, record, changes, why):
    given = {"model": model, "vocabulary": VOCABULARY, "text": TEXT, "record": record} | changes
    with pytest.raises(ValueError, match=why):
        type_here(**given)
