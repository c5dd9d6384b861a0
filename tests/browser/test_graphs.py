"""Any model in a real browser: the traced graph against PyTorch in 64 bits, and against the engine written by hand."""

import base64
import copy
import re
import zlib

import pytest
import torch
from torch import nn
from torch.nn import functional
from widgets.engine_benchmark import engine

from gbi_helpers import enumerate_tasks, iterate, loss_of, max_entropy, one_step, to_browser
from gbi_helpers.checkpoints import load_model
from gbi_helpers.data import load_mnist
from gbi_helpers.models.base import gaussian_nll
from gbi_helpers.models.image import ConvAutoencoder
from gbi_helpers.models.language import WordLSTM
from gbi_helpers.models.toy import ToyLSTM
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.widgets.graphs import graph_of
from gbi_helpers.widgets.weights import pack_image_model, pack_word_model

BYTES = "const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));"
ASK = f"""({{ told, raw, zs }}) => {{ {BYTES}
  const lossFn = gbi.graphModel(told, bytes(raw));
  return zs.map((z) => {{ const {{ loss, grad }} = lossFn(z);
    return {{ loss, grad: [...grad], forward: lossFn(z, false).loss }}; }}); }}"""
BY_HAND = f"""({{ facts, raw, x, ids, zs }}) => {{ {BYTES}
  const weights = gbi.unpackWeights(facts, bytes(raw));
  const net = ids ? gbi.wordModel(weights, facts) : gbi.imageModel(weights, facts);
  const lossFn = ids ? net.lossOf(ids) : net.lossOf(net.encode(x), x);
  return zs.map((z) => {{ const {{ loss, grad }} = lossFn(z); return {{ loss, grad: [...grad] }}; }}); }}"""


@pytest.fixture(scope="module")
def page(browser):
    opened = engine(browser)
    yield opened
    opened.close()


def rounded(model):
    """The model with weights of 16 bits, in 64, without dropout."""
    return copy.deepcopy(model).half().double().eval()


def b64(raw):
    return base64.b64encode(raw).decode()


def starts(tasks):
    """The uniform z, and one that was not traced."""
    z = torch.rand(1, tasks, dtype=torch.float64).softmax(1)
    return max_entropy(1, tasks, torch.float64), z


def same(told, wanted):
    """Loss and gradient within a millionth; the loss alone is the loss with the gradient."""
    for got, (loss, grad) in zip(told, wanted, strict=True):
        assert got["loss"] == pytest.approx(loss, rel=1e-6)
        assert got["grad"] == pytest.approx(grad, rel=1e-6, abs=1e-6 * max(map(abs, grad)))
        assert got.get("forward", got["loss"]) == got["loss"]


def ask(page, loss_fn, tasks):
    """What the page says at two z, held against PyTorch."""
    zs = starts(tasks)
    told, raw = graph_of(loss_fn, zs[0]).packed()
    got = page.evaluate(ASK, {"told": told, "raw": b64(raw), "zs": [z[0].tolist() for z in zs]})
    wanted = [one_step(loss_fn, z) for z in zs]
    same(got, [(step.loss.item(), step.grad[0].tolist()) for step in wanted])
    return got, [z[0].tolist() for z in zs]


IMAGES = {
    "mnist_vae_mul": lambda: load_model("checkpoints/mnist_vae_mul.safetensors")[0],
    "ConvAutoencoder": lambda: ConvAutoencoder(latent=5, n_tasks=3, channels=4),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_model_is_that_of_pytorch_and_of_the_engine(page, name):
    torch.manual_seed(0)
    model, x = IMAGES[name](), (load_mnist().test.x[:4, None].double() / 255)[3:]
    got, zs = ask(page, decoder_loss(rounded(model), x), model.n_tasks)
    facts, raw = pack_image_model(model)
    hand = page.evaluate(BY_HAND, {"facts": facts, "raw": b64(raw), "x": x.flatten().tolist(), "zs": zs})
    same(got, [(each["loss"], each["grad"]) for each in hand])


def test_a_word_model_is_that_of_pytorch_and_of_the_engine(page):
    torch.manual_seed(0)
    model, tokens = WordLSTM(120, 4, hidden=24), torch.tensor([[1, 5, 100, 7, 7, 30, 2]])
    same_model = rounded(model)
    loss_fn = loss_of(same_model, tokens[:, :-1], lambda logits, _: same_model.nll(logits, tokens[:, 1:]))
    got, zs = ask(page, loss_fn, 4)
    facts, raw = pack_word_model(model)
    hand = page.evaluate(BY_HAND, {"facts": facts, "raw": b64(raw), "ids": tokens[0, 1:].tolist(), "zs": zs})
    same(got, [(each["loss"], each["grad"]) for each in hand])


@pytest.mark.parametrize("variant", ["post", "rec"])
def test_a_toy_network_is_that_of_pytorch(page, variant):
    torch.manual_seed(0)
    net = ToyLSTM(1, variant, n_tasks=3, hidden=16).copied(torch.float16).copied(torch.float64)
    ask(page, loss_of(net, torch.randn(1, 12, 1).double(), lambda out, x: gaussian_nll(out[:, :-1], x[:, 1:], 0.3)), 3)


WIDE = 24  # from z (6): as a line (4, 6), or an image (2, 4, 3)
LINE, IMAGE = (4, 6), (2, 4, 3)


def plain_mlp():
    return nn.Sequential(
        nn.Linear(WIDE, 20), nn.LayerNorm(20), nn.GELU(), nn.Dropout(), nn.Linear(20, 7), nn.Softmax(1)
    )


def attention():
    return nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)


OWN = {
    "mlp": (plain_mlp, (WIDE,)),
    "lines": (lambda: nn.Conv1d(4, 6, 3, padding=1, groups=2), LINE),
    "images": (lambda: nn.Conv2d(2, 3, (2, 3), stride=2, padding=1, dilation=(1, 2)), IMAGE),
    "longer": (lambda: nn.ConvTranspose1d(4, 2, 3, stride=2, padding=1, output_padding=1), LINE),
    "larger": (lambda: nn.ConvTranspose2d(2, 4, 3, stride=3, groups=2), IMAGE),
    "normalised": (lambda: nn.Sequential(nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.SiLU(), nn.Softplus()), LINE),
    "attention": (attention, LINE),
}


@pytest.mark.parametrize("name", OWN)
def test_a_network_of_the_readers_own_is_that_of_pytorch(page, name):
    torch.manual_seed(0)
    make, shape = OWN[name]
    net, spread = rounded(make()), torch.randn(6, WIDE).half().double()
    ask(page, lambda z: net((z @ spread).view(1, *shape)).flatten(1).square().sum(1), 6)


def written_in_place(z, x):
    out = torch.zeros(1, 8, dtype=z.dtype)
    out[:, 1:7] = z
    out[:, 0] = 2 * z[:, 1]
    return (out.mul_(x[:, :8])).sum(1).exp()


def parts_of_a_matrix(z, x):
    matrix = x.T * x
    return (z @ matrix[:6, :4]).square().sum(1) + (z @ matrix[2:7, 3:9].T).square().sum(1)


def moved_far(z, x):
    long = z[:, :1] * torch.arange(5000.0, dtype=z.dtype)
    return (long.roll(1234, 1)[:, ::7] * long[:, ::7]).sum(1)


LOSSES = {
    "written in place": written_in_place,
    "moved": lambda z, x: ((z * x[:, :6]).roll(2, 1) * z.flip(1)).sum(1) + z[:, [1, 1, 4]].square().sum(1),
    "moved far": moved_far,
    "joined": lambda z, x: (functional.pad(torch.cat([z, x, 2 * z], 1), (2, -1), value=3.0) ** 3).sum(1),
    "added up": lambda z, x: (z.cumsum(1) * x[:, :6]).square().sum(1) + (z * x[:, :6]).norm(dim=1) + z.var(1),
    "chosen": lambda z, x: torch.where(z > 0.16, z.sin(), z.clamp(0.1, 0.15).sqrt()).sum(1) + (x[:, :6] * z).amax(1),
    "masked": lambda z, x: (z * x[:, :6]).masked_fill(x[:, :6] > 0.5, -torch.inf).softmax(1).square().sum(1),
    "scattered": lambda z, x: x.scatter_add(1, torch.tensor([[1, 1, 2, 5, 8, 0]]), z).square().sum(1),
    "gaussian": lambda z, x: -torch.distributions.Normal(z, z.exp(), False).log_prob(x[:, :6]).sum(1),
    "parts of a matrix": parts_of_a_matrix,
    "classified": lambda z, x: functional.cross_entropy(z * x[:, :6], torch.tensor([4]), reduction="none"),
    "error function": lambda z, x: (torch.linspace(-7, 7, 60, dtype=z.dtype) * z[:, :1] * 6).erf().cumsum(1)[:, 40],
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_the_readers_own_is_that_of_pytorch(page, name):
    torch.manual_seed(0)
    x = torch.rand(1, 9).double()
    ask(page, lambda z: LOSSES[name](z, x), 6)


# ---- the view ----

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Mine</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body style="font-family: sans-serif"><main><h1>Mine</h1>{}</main></body></html>"""


def two_wells(z):
    """A loss with a well near the first task, and a deeper one near the last."""
    wells = torch.tensor([[0.95, 0.04, 0.01], [0.01, 0.04, 0.95]], dtype=z.dtype)
    return -torch.logsumexp(torch.tensor([4.0, 6.0]) - 12 * (z[:, None] - wells).square().sum(2), 1)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    view = to_browser(two_wells, torch.full((1, 3), 1 / 3), labels=["left", "middle", "right"], title="Wells")
    path = tmp_path_factory.mktemp("page") / "wells.html"
    path.write_text(PAGE.format(view.html), encoding="utf-8")
    return path


def test_a_start_moved_by_keys_ends_where_iterate_ends(opened):
    page = opened()
    readout = page.locator(".gbi-readout")
    page.wait_for_function("document.querySelector('.gbi-readout').textContent.includes('50: right at')")
    page.locator(".gbi-start input").focus()
    page.keyboard.press("End")
    z0 = torch.tensor([[0.99, 0, 0]]) + 0.01 / 3
    path = iterate(two_wells, z0)
    page.wait_for_function("document.querySelector('.gbi-readout').textContent.includes('50: left')")
    assert f"step 50 of 50: left at {path.z[-1].max():.2f}, loss \N{MINUS SIGN}{-path.loss[-1].item():.2f} nats" in (
        readout.inner_text()
    )
    exact = enumerate_tasks(two_wells, z0).q.max()
    assert f"every task tried: right at {exact:.2f}" in readout.inner_text()
    page.locator(".gbi-bar-row input").focus()
    page.keyboard.press("Home")
    assert "step 0 of 50: left at 0.99" in readout.inner_text()
    bars = page.locator(".gbi-panels svg[role=img]").nth(1)
    told = "Bars of z at the cursor. left at 0.99, middle at 0.0033, right at 0.0033."
    assert bars.get_attribute("aria-label") == told
    assert page.locator(".gbi-start input").get_attribute("aria-valuetext") == "99 % of the start on left"
    assert page.requests == [page.url]
    assert page.troubles == []


def test_without_javascript_picture_and_table_stand_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator(".gbi-fallback img").is_visible()
    assert page.locator(".gbi-fallback td").all_inner_texts()[::3] == ["one step", "50 steps", "every task tried"]
    assert page.get_by_text("Run this cell to move the start of inference yourself").is_visible()


def damaged(html):
    """The same output with one number of its graph changed."""
    found = re.search(r'"data":"([^"]+)"', html).group(1)
    raw = zlib.decompress(base64.b64decode(found))
    changed = raw[:-1] + bytes([raw[-1] ^ 1])
    return html.replace(found, base64.b64encode(zlib.compress(changed, 9)).decode())


def cut(html):
    """The same output without a part of its data, as a broken download leaves it."""
    return re.sub(r'("data":"[^"]{400})[^"]{40}', r"\1", html)


DAMAGE = {
    "changed": (damaged, "the weights in this page are not those of its network, by their SHA-256"),
    "cut": (cut, ""),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_graph_is_told_in_one_sentence_and_the_picture_stays(browser, written, tmp_path, how):
    change, told = DAMAGE[how]
    html = written.read_text("utf-8")
    assert change(html) != html
    (tmp_path / "damaged.html").write_text(change(html), encoding="utf-8")
    page = browser.new_page()
    troubles = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto((tmp_path / "damaged.html").as_uri())
    said = page.locator(".gbi-fallback p")
    said.wait_for()
    assert said.inner_text().startswith(f"This view did not open ({told}")
    assert page.locator(".gbi-fallback img").is_visible()
    assert page.locator(".gbi").count() == 0
    assert troubles == []
    page.close()


@pytest.mark.parametrize("width", [1000, 390])
def test_axe_finds_no_serious_violation_and_a_phone_no_sideways_scrolling(opened, violations, width):
    page = opened(viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == []
