"""The engine in a real browser against PyTorch in 64 bits, both with the same weights of 16 bits."""

import base64
import copy
import hashlib
import unicodedata

import pytest
import torch
from data.test_vocabulary import PIECES, SPACED
from hypothesis import given, settings
from hypothesis import strategies as st
from widgets.engine_benchmark import engine

from gbi_helpers import enumerate_tasks, iterate, loss_of, max_entropy, one_step
from gbi_helpers.bayes import bayes_filter
from gbi_helpers.checkpoints import load_model
from gbi_helpers.data import load_mnist, text_sources
from gbi_helpers.data.vocabulary import clean
from gbi_helpers.experiments.language.reading import load_language, read_words
from gbi_helpers.models.base import gaussian_nll
from gbi_helpers.models.hundred import ZOnly
from gbi_helpers.models.image import ConditionalVAE, ConvAutoencoder
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.widgets.weights import pack_image_model, pack_weights, pack_word_model

LOAD = """({ facts, raw, make }) => {
  const bytes = Uint8Array.from(atob(raw), (c) => c.charCodeAt(0));
  const weights = gbi.unpackWeights(facts, bytes);
  window.net = make === "imageModel" ? gbi.imageModel(weights, facts) : gbi.wordModel(weights, facts);
}"""
IMAGES = """({ pixels, more }) => {
  const bytes = Uint8Array.from(atob(pixels), (c) => c.charCodeAt(0));
  return Array.from({ length: bytes.length / 784 }, (_, i) => {
    const x = Float64Array.from(bytes.subarray(784 * i, 784 * i + 784), (ink) => ink / 255);
    const h = net.encode(x);
    const lossFn = net.lossOf(h, x);
    const z0 = gbi.maxEntropy(net.tasks);
    const { logQ, loss } = gbi.oneStep(lossFn, z0);
    if (!more) return { logQ: [...logQ], loss };
    const path = [...gbi.walk(lossFn, z0)];
    return { logQ: [...logQ], loss, path: path.map(({ z }) => [...z]), losses: path.map((entry) => entry.loss),
      exact: [...gbi.enumerateTasks(lossFn, net.tasks).logQ], picture: [...net.picture(h, path.at(-1).z)] };
  });
}"""


@pytest.fixture(scope="module")
def page(browser):
    opened = engine(browser)
    yield opened
    opened.close()


def b64(values):
    return base64.b64encode(values if isinstance(values, bytes) else values.numpy().tobytes()).decode()


def load(page, packed, make="imageModel", **more):
    facts, raw = packed
    page.evaluate(LOAD, {"facts": facts | more, "raw": b64(raw), "make": make})


def rounded(model):
    """The model with weights of 16 bits, in 64."""
    return copy.deepcopy(model).half().double().eval()


def column(told, name):
    return torch.tensor([each[name] for each in told], dtype=torch.float64)


def largest(one, other):
    return (one - other).abs().max().item()


# ---- images ----


def closed():
    """A model whose gates are all 0 at the uniform z, and have slopes there."""
    model = ConditionalVAE(latent=2, channels=2, width=8, n_tasks=4)
    model.decoder.join.task.bias.data.zero_()
    model.decoder.join.task.weight.data.copy_(torch.tensor([1.0, -1.0, 2.0, -2.0]))
    return model


IMAGE_MODELS = {
    "closed": closed,
    "mnist_vae_mul": lambda: load_model("checkpoints/mnist_vae_mul.safetensors")[0],
    "mnist_gradient_aware": lambda: load_model("checkpoints/mnist_gradient_aware.safetensors")[0],
    "mnist_without_7": lambda: load_model("checkpoints/mnist_without_7.safetensors")[0],
    "pure": lambda: ConvAutoencoder(latent=0),
    "multiplied": lambda: ConvAutoencoder(latent=5, conditioning="mul", n_tasks=3, channels=4),
    "joined": lambda: ConditionalVAE(latent=4, conditioning="concat", width=32),
}


def see(page, x, more=False):
    """What the page says of images x (N, 28, 28), uint8; and the same images for PyTorch."""
    return page.evaluate(IMAGES, {"pixels": b64(x.contiguous()), "more": more}), x[:, None].double() / 255


def test_every_test_image_has_the_belief_that_pytorch_gives_it(page):
    model = IMAGE_MODELS["mnist_vae_mul"]()
    load(page, pack_image_model(model))
    told, x = see(page, load_mnist().test.x)
    wanted = one_step(decoder_loss(rounded(model), x), max_entropy(len(x), 10, torch.float64))
    assert largest(column(told, "logQ"), wanted.log_q) <= 1e-4
    assert (column(told, "logQ").argmax(1) == wanted.task).all()
    assert largest(column(told, "loss"), wanted.loss) <= 1e-4


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_paths_passes_and_pictures_are_those_of_pytorch(page, name):
    torch.manual_seed(0)
    model = IMAGE_MODELS[name]()
    load(page, pack_image_model(model))
    told, x = see(page, load_mnist().test.x[:12], more=True)
    same = rounded(model)
    loss_fn, z0 = decoder_loss(same, x), max_entropy(len(x), same.n_tasks, torch.float64)
    fast, path = one_step(loss_fn, z0), iterate(loss_fn, z0)
    assert largest(column(told, "logQ"), fast.log_q) <= 1e-4
    assert largest(column(told, "path").transpose(0, 1), path.z) <= 1e-4
    assert largest(column(told, "losses").T, path.loss) <= 1e-4
    assert largest(column(told, "exact"), enumerate_tasks(loss_fn, z0).log_q) <= 1e-4
    drawn = same.decoder(same.encode(x), path.z[-1]).detach().flatten(1)
    drawn = drawn.sigmoid() if isinstance(model, ConvAutoencoder) else drawn
    assert largest(column(told, "picture"), drawn) <= 1e-4


def test_a_decoder_of_z_alone_is_that_of_the_package(page):
    torch.manual_seed(0)
    model, x, z = ZOnly(7, 4).double(), torch.randn(3, 7).double(), torch.rand(3, 4).double().softmax(1)
    model.decoder.patterns.data.normal_()
    ask = """({ patterns, x, z }) => { const { lossOf } = gbi.gaussianDecoder(patterns, 0.5);
        return x.map((one, i) => ({ logQ: [...gbi.oneStep(lossOf(one), z[i]).logQ],
            exact: [...gbi.enumerateTasks(lossOf(one), 4).logQ] })); }"""
    told = page.evaluate(ask, {"patterns": model.decoder.patterns.tolist(), "x": x.tolist(), "z": z.tolist()})
    loss_fn = loss_of(model, x, lambda output, x: gaussian_nll(output, x) / 0.5**2)
    assert largest(column(told, "logQ"), one_step(loss_fn, z).log_q) <= 1e-9
    assert largest(column(told, "exact"), enumerate_tasks(loss_fn, z).log_q) <= 1e-9


@pytest.mark.parametrize("hazard", [0.0, 0.1, 1.0])
def test_a_stream_that_may_switch_is_filtered_as_in_the_package(page, hazard):
    torch.manual_seed(0)
    scores = 3 * torch.randn(40, 5).double()
    told = page.evaluate("([s, h]) => gbi.bayesFilter(s, h).map((each) => [...each])", [scores.tolist(), hazard])
    wanted = bayes_filter(scores, hazard).exp()
    assert largest(torch.tensor(told, dtype=torch.float64).exp(), wanted) <= 1e-9
    assert page.evaluate("h => gbi.bayesFilter([[0], [-1]], h).map((each) => [...each])", hazard) == [[0], [0]]


# ---- weights ----


def test_every_half_is_read_as_numpy_reads_it(page):
    bits = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.float16)
    every = bits[bits.isfinite()]
    facts, raw = pack_weights({"all": every})
    read = "([f, r]) => [...gbi.unpackWeights(f, Uint8Array.from(atob(r), (c) => c.charCodeAt(0))).all.values]"
    assert torch.equal(torch.tensor(page.evaluate(read, [facts, b64(raw)])), every.float())


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 1000])
def test_the_digest_is_that_of_the_standard_library(page, size):
    given = [7 * k % 256 for k in range(size)]
    digest = page.evaluate("(bytes) => gbi.sha256(new Uint8Array(bytes))", given)
    assert digest == hashlib.sha256(bytes(given)).hexdigest()


WRONG = {
    "by their SHA-256": lambda facts, raw: (facts, bytes([raw[0] ^ 1]) + raw[1:]),
    "which has more of them": lambda facts, raw: (facts | {"tensors": [*facts["tensors"], ["more", [2]]]}, raw),
    "which has decoder.body.0.weight": lambda facts, raw: pack_weights({"other": torch.ones(2)}),
    "whose decoder.join.task.weight is 256 x 9": lambda facts, raw: (facts | {"tasks": 9}, raw),
}


@pytest.mark.parametrize("why", WRONG)
def test_weights_of_another_network_are_told_in_one_sentence(page, why):
    facts, raw = pack_image_model(IMAGE_MODELS["mnist_vae_mul"]())
    wrong, bytes_ = WRONG[why](facts, raw)
    ask = f"(given) => {{ try {{ ({LOAD})(given); }} catch (error) {{ return error.message; }} }}"
    told = page.evaluate(ask, {"facts": facts | wrong, "raw": b64(bytes_), "make": "imageModel"})
    assert told == f"the weights in this page are not those of its network, {why}"


# ---- text ----

LANGUAGE = ("packages", "plane")
READ = """([ids, z, all]) => {
  const number = (list) => list.map((each) => [...each]);
  const { logQ, evidence, loss } = gbi.wordReader(net, window.deltas)(ids);
  const lossFn = net.lossOf(ids);
  const step = gbi.oneStep(lossFn, z);
  return { logQ: number(logQ), evidence: number(evidence), loss, step: [...step.logQ], sum: step.loss,
    exact: all ? [...gbi.enumerateTasks(lossFn, net.tasks).logQ] : null };
}"""


@pytest.fixture(scope="module", params=LANGUAGE)
def language(request, page):
    """A shipped model in the page, and the same for PyTorch with its vocabulary, tasks and facts."""
    model, vocabulary, tasks, facts = load_language(request.param)
    load(page, pack_word_model(model), "wordModel")
    page.evaluate("(deltas) => { window.deltas = deltas; }", facts["deltas"])
    return rounded(model), vocabulary, tasks, facts


def texts():
    """Texts of words that the model knows and of some that it does not."""
    known = load_language("packages")[1].words[2:]
    return st.lists(st.sampled_from([*known[:300], "zyx"]), min_size=1, max_size=12).map(" ".join)


@settings(max_examples=12, deadline=None)
@given(text=texts(), seed=st.integers(0, 99))
def test_texts_are_read_as_pytorch_reads_them(page, language, text, seed):
    model, vocabulary, tasks, facts = language
    ids = vocabulary.ids(text)
    z = torch.rand(1, len(tasks), generator=torch.Generator().manual_seed(seed)).double().softmax(1)
    told = page.evaluate(READ, [ids, z[0].tolist(), seed % 5 == 0])
    record = read_words(model, vocabulary, text, tasks=tasks, facts=facts)
    assert largest(torch.tensor(told["logQ"]).double().exp(), record.belief) <= 1e-5
    assert largest(torch.tensor(told["logQ"]).double(), record.belief.log()) <= 1e-4
    assert largest(torch.tensor(told["evidence"]).double(), record.evidence) <= 1e-4
    assert largest(torch.tensor(told["loss"]).double(), record.loss) <= 1e-4
    tokens = torch.tensor([[1, *ids]])
    loss_fn = loss_of(model, tokens[:, :-1], lambda logits, _: model.nll(logits, tokens[:, 1:]))
    step = one_step(loss_fn, z)
    assert largest(torch.tensor([told["step"]]).double(), step.log_q) <= 1e-4
    assert abs(told["sum"] - step.loss.item()) <= 1e-4
    if told["exact"]:
        assert largest(torch.tensor([told["exact"]]).double(), enumerate_tasks(loss_fn, z).log_q) <= 1e-4


def test_a_reader_goes_on_where_it_was(page, language):
    vocabulary = language[1]
    ids = vocabulary.ids("my fellow citizens , whisk the eggs and the sugar until creamy")
    grow = """(ids) => { const read = gbi.wordReader(net, window.deltas);
        const one = read(ids.slice(0, 5)), two = read([...ids.slice(0, 4), 7]), all = read(ids);
        const anew = gbi.wordReader(net, window.deltas)(ids);
        return { fresh: [one, two, all, anew].map(({ fresh }) => fresh), all: [...all.logQ.at(-1)],
            anew: [...anew.logQ.at(-1)] }; }"""
    told = page.evaluate(grow, ids)
    assert told["fresh"] == [5, 1, len(ids) - 4, len(ids)]
    assert told["all"] == told["anew"]


CLEAN = "(texts) => texts.map(gbi.clean)"


def test_clean_is_pythons_on_the_whole_text_of_the_course(page, monkeypatch):
    cleaned = {}
    monkeypatch.setattr(text_sources, "clean", lambda text: cleaned.setdefault(text, clean(text)))
    text_sources.package_texts()
    assert len(cleaned) > 1000
    assert page.evaluate(CLEAN, [*cleaned]) == [*cleaned.values()]


HARD = [
    *PIECES,
    *SPACED.values(),
    *"σς_0²½Ⅳʼ’‘`\x92\x85\x1c\u2028\u3000\ufeff\u1680\u180eﬁǅ",
    "I'm",
    "did  n't",
    "a\u0307",
    "🙂",
]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from(HARD), max_size=12).map("".join), max_size=30))
def test_clean_is_pythons_on_hard_texts(page, written):
    assert page.evaluate(CLEAN, written) == [clean(text) for text in written]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cn", "Co"))), max_size=30))
def test_clean_is_pythons_on_any_text(page, written):
    assert page.evaluate(CLEAN, written) == [clean(text) for text in written]


def test_clean_knows_every_sign(page):
    """Each sign of Python's Unicode, between two letters and alone; a browser may know later ones."""
    signs = [sign for sign in map(chr, range(0x20000)) if unicodedata.category(sign) not in ("Cs", "Cn", "Co")]
    written = ["".join(f"a{sign}b {sign} . " for sign in signs[at : at + 50]) for at in range(0, len(signs), 50)]
    told = page.evaluate(CLEAN, written)
    assert [(text, one) for text, one in zip(written, told, strict=True) if one != clean(text)] == []
