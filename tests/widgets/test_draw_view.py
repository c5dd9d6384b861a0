"""What ``draw_along`` returns, and the weights that go into a page, checked without a browser."""

import hashlib
import re

import numpy as np
import pytest
import torch
from torch import nn
from widgets import outputs

from gbi_helpers import draw_along, max_entropy, one_step
from gbi_helpers.metrics import log_odds
from gbi_helpers.models.image import ConditionalVAE, ConvAutoencoder
from gbi_helpers.models.language import WordLSTM
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.widgets.weights import pack_image_model, pack_weights, pack_word_model

IMAGES = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return ConditionalVAE(latent=2, channels=2, width=8, n_tasks=4)


def test_the_page_is_given_the_weights_that_inference_needs_and_the_images(model):
    header, raw = outputs.unpack(draw_along(model, IMAGES).html)
    size = header["bytes"]
    low, high = np.frombuffer(raw[:size], np.uint8).reshape(2, -1)
    halves = np.stack([low, high], 1).ravel().view("<f2")
    state = model.state_dict()
    for name, shape in header["network"]["tensors"]:
        found, halves = np.split(halves, [int(np.prod(shape))])
        wanted = state[name][: model.latent] if name.startswith("encoder.5") else state[name]
        assert np.array_equal(found.reshape(shape), wanted.half().numpy())
    assert len(halves) == 0
    assert header["network"]["sha256"] == hashlib.sha256(raw[:size]).hexdigest()
    images = np.frombuffer(raw, np.uint8, offset=size).reshape(3, 28, 28)
    assert np.array_equal(images, (255 * IMAGES[:, 0]).round().byte())


def test_names_labels_and_step_size_are_told(model):
    told = draw_along(
        model, IMAGES, names=["a", "b", "c"], labels=list("wxyz"), step_size=0.5, title="Draw"
    ).shown.header
    assert [told[name] for name in ("names", "labels", "step_size", "title")] == [
        list("abc"),
        list("wxyz"),
        0.5,
        "Draw",
    ]
    told = draw_along(model, IMAGES).shown.header
    assert (told["noun"], told["labels"], told["names"][2]) == ("digit", list("0123"), "image 3")


def test_what_is_familiar_is_what_95_of_100_known_images_are(model):
    assert draw_along(model, IMAGES).shown.header["familiar"] is None
    known = torch.rand(50, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    seen = one_step(decoder_loss(model, known), max_entropy(50, 4))
    score = log_odds(-seen.grad / seen.loss[:, None])
    familiar = draw_along(model, IMAGES, known=known).shown.header["familiar"]
    assert (score > familiar).float().mean() == pytest.approx(0.94)  # 3 of 50


def test_without_javascript_there_are_a_picture_a_table_and_one_sentence(model):
    html = outputs.still(draw_along(model, IMAGES, title="Draw").html)
    q = one_step(decoder_loss(model, IMAGES[:1]), max_entropy(1, 4)).q[0]
    top = f"{int(q.argmax())} at {q.max():.2f}"
    assert re.search(rf'<img alt="Draw\. The network looks at image 1\. one step: {top}; 50 steps: ', html)
    assert re.findall(r"<td>([^<]+)</td>", html)[:3] == ["one step", str(int(q.argmax())), f"{q.max():.2f}"]
    assert "Run this cell to draw here yourself, and see what the network takes it for." in html


def test_it_is_the_same_again_and_says_its_sizes(model):
    assert draw_along(model, IMAGES).html == draw_along(model, IMAGES).html
    assert repr(draw_along(model, IMAGES)) == "DrawAlong(4 tasks, 3 images to choose from)"


class Other(nn.Module):
    """A model of a reader's own."""


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model": Other()}, "not with this Other: use scrub"),
        ({"model": ConditionalVAE(conditioning="add")}, "whose conditioning is 'mul' or 'concat'"),
        ({"images": IMAGES[:, 0]}, r"are \(3, 28, 28\)"),
        ({"images": IMAGES[:0]}, r"1 to 100 of them"),
        ({"images": 2 * IMAGES}, r"values in \[0, 1\]"),
        ({"images": (255 * IMAGES).byte()}, r"values in \[0, 1\]"),
        ({"images": [1]}, "but are list"),
        ({"names": ["one"]}, "names names 1 images, but there are 3"),
        ({"labels": ["one"]}, "labels names 1 tasks"),
    ],
)
def test_what_does_not_fit_is_named(model, changes, why):
    given = {"model": model, "images": IMAGES} | changes
    with pytest.raises(ValueError, match=why):
        draw_along(given.pop("model"), given.pop("images"), **given)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 70_000.0])
def test_a_weight_that_16_bits_do_not_hold_is_named(bad):
    with pytest.raises(ValueError, match=r"layer\.weight has a weight that 16 bits do not hold"):
        pack_weights({"layer.weight": torch.tensor([1.0, bad])})


def test_models_of_every_kind_that_the_page_knows_are_told_apart():
    assert pack_image_model(ConvAutoencoder(latent=0))[0]["nll"] == "bernoulli"
    facts, raw = pack_word_model(WordLSTM(20, 3, hidden=4))
    assert (facts["tasks"], facts["tensors"][0]) == (3, ["bias", [20]])
    assert len(raw) == 2 * sum(value.numel() for value in WordLSTM(20, 3, hidden=4).state_dict().values())
    with pytest.raises(ValueError, match="conditioning is 'both'"):
        pack_word_model(WordLSTM(20, 3, hidden=4, conditioning="gate"))
