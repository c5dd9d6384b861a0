"""How fast does the page infer? ``PYTHONPATH=tests python -m widgets.engine_benchmark`` asks Chromium.

Wall time of each run, median and 95th percentile, and CPU time of the page's main thread, mean over the runs (what a
machine with nothing else to do would need). Needs playwright and Chromium (``GBI_CHROMIUM``, or on the PATH).
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import zlib
from importlib import resources
from typing import Any

import numpy as np
import torch
from widgets.lab_benchmark import chromium

from gbi_helpers import loss_of, max_entropy
from gbi_helpers.checkpoints import load_model
from gbi_helpers.data import load_mnist
from gbi_helpers.experiments.language.reading import load_language
from gbi_helpers.guards import LossFn
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.widgets.graphs import graph_of
from gbi_helpers.widgets.weights import pack_image_model, pack_word_model

FILES = ("engine.js", "images.js", "reading.js", "strokes.js", "graph.js", "theorem.js")
SET_UP = """({ facts, raw, words, pixels, ids, graph, constants }) => {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const weights = gbi.unpackWeights(facts, bytes(raw));
  window.traced = gbi.graphModel(graph, bytes(constants));
  if (words) { window.net = gbi.wordModel(weights, facts); window.ids = ids; window.byHand = net.lossOf(ids); return; }
  window.net = gbi.imageModel(weights, facts);
  const all = bytes(pixels);
  window.images = Array.from({ length: all.length / 784 }, (_, i) =>
    Float64Array.from(all.subarray(784 * i, 784 * i + 784), (ink) => ink / 255));
  window.byHand = net.lossOf(net.encode(images[0]), images[0]);
  const random = gbi.seeded(1);
  window.hand = images.map((_, k) => gbi.written(k % 10, random));
}"""
# What is timed: (number of the run) -> anything.
RUNS = {
    "one step, encoder and all": "(i) => { const x = images[i % images.length]; const h = net.encode(x);"
    " return gbi.oneStep(net.lossOf(h, x), gbi.maxEntropy(net.tasks)); }",
    "fifty steps": "(i) => { const x = images[i % images.length];"
    " return [...gbi.walk(net.lossOf(net.encode(x), x), gbi.maxEntropy(net.tasks))]; }",
    "a drawing prepared": "(i) => gbi.likeMnist(hand[i % hand.length])",
}
GRADIENTS = {
    "one gradient, by hand": "() => byHand(gbi.maxEntropy(net.tasks))",
    "one gradient, traced": "() => traced(gbi.maxEntropy(net.tasks))",
    "a loss alone, by hand": "() => byHand(gbi.maxEntropy(net.tasks), false)",
    "a loss alone, traced": "() => traced(gbi.maxEntropy(net.tasks), false)",
}
WORD_RUNS = {
    "a further letter": "(i) => { window.read ??= gbi.wordReader(net); read(ids.slice(0, 20));"
    " return read([...ids.slice(0, 19), i % 2000]); }",
    "a new word": "(i) => { window.read ??= gbi.wordReader(net); return read(ids.slice(0, 1 + (i % 100))); }",
    "100 pasted words": "(i) => gbi.wordReader(net)(ids.slice(i % 5, 100 + (i % 5)))",
}
TIME = """([run, count]) => { const times = []; const timed = eval(run);
  for (let i = 0; i < count; i++) { const from = performance.now(); timed(i); times.push(performance.now() - from); }
  return times; }"""


def engine(browser: Any) -> Any:
    """A playwright page that holds the engine's functions, and the synthetic hand, as ``gbi``."""
    files = resources.files("gbi_helpers.widgets")
    code = "\n".join(files.joinpath(name).read_text("utf-8") for name in FILES)
    names = re.findall(r"^export (?:function\*?|const) (\w+)", code, re.MULTILINE)
    page = browser.new_page()
    page.add_script_tag(content=f"{code}\nwindow.gbi = {{ {', '.join(names)} }};", type="module")
    page.wait_for_function("window.gbi")
    return page


def traced(loss_fn: LossFn, tasks: int) -> dict[str, Any]:
    """The graph of a loss, as the page is told it, and its bytes."""
    told, constants = graph_of(loss_fn, max_entropy(1, tasks)).packed()
    size = len(zlib.compress(json.dumps(told).encode() + constants, 9))
    return {"graph": told, "constants": base64.b64encode(constants).decode(), "size": size}


def cpu(session: Any) -> float:
    """CPU time of the page's main thread so far, ms."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(1000 * metric["value"] for metric in metrics if metric["name"] == "ThreadTime")


def measure(page: Any, given: dict[str, Any], runs: dict[str, str], count: int) -> None:
    """Print the times of each run, after as many that do not count."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.evaluate(SET_UP, given)
    for name, run in runs.items():
        n = max(5, count // 10) if name in ("fifty steps", "100 pasted words") else count
        page.evaluate(TIME, [run, n])
        before = cpu(session)
        times = np.array(page.evaluate(TIME, [run, n]))
        used = (cpu(session) - before) / n
        median, high = np.percentile(times, [50, 95])
        print(f"  {name}: wall {median:.1f} ms median, {high:.1f} 95th percentile; CPU {used:.1f} ms, over {n} runs")


def main(arguments: list[str] | None = None) -> None:
    """Measure the course's image models and its word model."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=200, help="how often the short ones run (default 200)")
    count = parser.parse_args(arguments).runs
    pixels = base64.b64encode(load_mnist().test.x[:100].numpy().tobytes()).decode()
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium(), args=options)
        page = engine(browser)
        x = load_mnist().test.x[:1, None].float() / 255
        for name in ("mnist_vae_mul", "mnist_without_7"):
            model = load_model(f"checkpoints/{name}.safetensors")[0]
            facts, raw = pack_image_model(model)
            given = {"facts": facts, "raw": base64.b64encode(raw).decode(), "words": False, "pixels": pixels}
            given |= traced(decoder_loss(model, x), model.n_tasks)
            print(f"{name}, {len(raw) / 1000:.0f} kB; traced, {given['size'] / 1000:.0f} kB")
            measure(page, given, RUNS | GRADIENTS, count)
        words = load_language()[0]
        facts, raw = pack_word_model(words)
        ids = np.random.default_rng(0).integers(2, 2000, 110).tolist()
        text = torch.tensor([[1, *ids[:20]]])
        loss_fn = loss_of(words, text[:, :-1], lambda logits, _: words.nll(logits, text[:, 1:]))
        given = {"facts": facts, "raw": base64.b64encode(raw).decode(), "words": True, "ids": ids[:20]}
        given |= traced(loss_fn, words.n_tasks)
        print(f"language_packages, {len(raw) / 1000:.0f} kB; 20 words traced, {given['size'] / 1000:.0f} kB")
        measure(page, given, GRADIENTS, count // 4)
        measure(page, given | {"ids": ids}, WORD_RUNS, count)
        browser.close()


if __name__ == "__main__":
    main()
