"""A source of text that no network was trained on, read with a z that names sources, with one that was trained to be
adapted, or with weights that move.

The network of chapter 08, smaller and with its gate alone, the same for all. All sources but two are trained; one of
these chooses the rates, the other is asked. All losses are in nats a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from gbi_helpers.adaptation import Inner, Moving, TaskLoss, at_best_rate, for_each, outer_loss, tried
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.language.recipes import ClippedAdamW
from gbi_helpers.experiments.language.windows import Corpus, even_windows, random_windows, with_start
from gbi_helpers.experiments.study import Settings
from gbi_helpers.inference import max_entropy
from gbi_helpers.models.language import WordLSTM, word_nll
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit


def new_source(world: World, seed: int, settings: Settings) -> dict[str, Any]:
    """Nats a word of a source never trained, after z or the weights were adapted to a few windows of it.

    For each side and number of words by number of steps (``looks``), mean over draws of the windows, at the rate that
    suits another source never trained. "counts": words alone, as frequent as in what was seen and in what was trained,
    weighted by what suits the other source; nothing is trained.
    """
    sources = Sources(world.language.corpus, seed, settings)
    found: dict[str, Any] = {"asked": sources.asked.tasks[0], "chooser": sources.chooser.tasks[0]}
    networks: dict[Any, WordLSTM] = {}
    for name, side in settings["sides"].items():
        key = side["told"], side.get("inner")
        if key not in networks:
            networks[key] = trained(sources, *key, settings)
        found[name] = adapted(networks[key], sources, side["moves"], side["rates"], settings)
    return found | {"counts": counted(sources, settings)}


class Sources:
    """The text of one seed: ``known`` sources, the one that is ``asked``, and the ``chooser`` of the rates."""

    def __init__(self, corpus: Corpus, seed: int, settings: Settings):
        names = corpus.tasks
        asked, chooser = names[seed % len(names)], names[(seed + 3) % len(names)]
        self.known = corpus.without(asked).without(chooser)
        self.asked, self.chooser = corpus.only([asked]), corpus.only([chooser])
        self.seed, self.settings = seed, settings

    def to_learn(self, source: Corpus, windows: int) -> Tensor:
        """Draws of so many training windows of a source, (T, windows, words)."""
        draws, words = self.settings["draws"], self.settings["window"]
        drawn = [random_windows(source, windows, words, 1000 * self.seed + draw).words for draw in range(draws)]
        return torch.stack(drawn)

    def to_ask(self, source: Corpus) -> Tensor:
        """Windows (N, words) to ask: of the chooser's validation text, of any other source's test text."""
        text = source.validation if source is self.chooser else source.test
        return even_windows(text, source.start, self.settings["test"], self.settings["window"]).words


# ---------------------------------------------------------------- training


def trained(sources: Sources, told: str, inner: Inner | None, settings: Settings) -> WordLSTM:
    """The network. ``told``: "names", one-hot; "nothing", 1/K; "context" and "weights": meta-trained.

    An update sees two windows of each source. Those that are meta-trained make steps on one, by ``inner``, their rate
    and number, and learn from the other, the weights to first order; the others learn from both.
    """
    known, seed = sources.known, sources.seed
    torch.manual_seed(seed)
    with usual_defaults():
        model = WordLSTM(known.size, known.n_tasks, settings["hidden"], "gate")
    eye = torch.eye(known.n_tasks, dtype=torch.float32, device=known.train[0].device)

    def batch(step: int) -> Tensor:
        return random_windows(known, 2, settings["window"], seed * 1_000_003 + step).words.unflatten(0, (len(eye), 2))

    def loss(words: Tensor) -> Tensor:
        one, other = (evidence(model, words[:, half, None], known.start) for half in (0, 1))
        return outer_loss(told, one, other, eye, lambda moves: beginning(model, len(eye), moves), inner).mean()

    how = {"lr": settings["lr"], "schedule": "constant", "optimizer": ClippedAdamW}
    fit(model, loss, batch, steps=settings["steps"], seed=seed, desc=f"told {told}", **how)
    return model.eval().requires_grad_(False)


def beginning(model: WordLSTM, n: int, moves: str) -> dict[str, Tensor]:
    """What moves, from its start, for n tasks: z from 1/K, all weights, or the "bias" of each word alone."""
    if moves == "z":
        return {"z": max_entropy(n, model.n_tasks, model.bias.dtype, model.bias.device)}
    weights = dict(model.named_parameters())
    return for_each({"bias": weights["bias"]} if moves == "bias" else weights, n)


def evidence(model: WordLSTM, words: Tensor, start: int) -> TaskLoss:
    """Nats a word (T,) of words (T, n, words), each row a task's, as a function of what moves."""
    n, windows = words.shape[:2]

    def loss(moved: Moving) -> Tensor:
        if "z" in moved:
            return (
                _nats(model, {}, words.flatten(0, 1), moved["z"].repeat_interleave(windows, 0), start)
                .view(n, -1)
                .mean(1)
            )
        z = max_entropy(windows, model.n_tasks, model.bias.dtype, model.bias.device)
        own = [{name: value[task] for name, value in moved.items()} for task in range(n)]
        return torch.stack([_nats(model, own[task], words[task], z, start).mean() for task in range(n)])

    return loss


def _nats(model: WordLSTM, weights: Moving, words: Tensor, z: Tensor, start: int) -> Tensor:
    """Nats (N, words) of each word, read by the model with some weights of its own replaced."""
    return word_nll(functional_call(model, dict(weights), (with_start(words, start)[:, :-1], z)), words)


# ---------------------------------------------------------------- adapting


def adapted(
    model: WordLSTM, sources: Sources, moves: str, rates: Sequence[float], settings: Settings
) -> dict[str, Any]:
    """By number of windows: nats a word of the source asked, by steps; "rates": numbers of those chosen."""
    found: dict[str, Any] = {"rates": {}}
    start = beginning(model, settings["draws"], moves)
    for windows in settings["windows"]:
        scores = [_scores(model, sources, source, windows, start, rates) for source in (sources.chooser, sources.asked)]
        words = str(windows * settings["window"])
        found[words], found["rates"][words] = at_best_rate(*scores)
    return found


def _scores(
    model: WordLSTM, sources: Sources, source: Corpus, windows: int, start: Moving, rates: Sequence[float]
) -> Tensor:
    learn, ask = sources.to_learn(source, windows), sources.to_ask(source)
    support, query = (evidence(model, words, source.start) for words in (learn, ask.expand(len(learn), -1, -1)))
    return tried(support, query, start, rates, sources.settings["looks"])


def counted(sources: Sources, settings: Settings) -> dict[str, Tensor]:
    """Nats a word by number of words seen, of words that do not know what came before."""
    size, found = sources.known.size, {}
    base = torch.bincount(torch.cat(sources.known.train), minlength=size) + 0.5
    for windows in settings["windows"]:
        scores = []
        for source in (sources.chooser, sources.asked):
            seen = torch.stack([torch.bincount(w.flatten(), minlength=size) for w in sources.to_learn(source, windows)])
            table = torch.stack([seen + weight * base / base.sum() for weight in settings["weights"]])
            log_p = (table / table.sum(-1, keepdim=True)).log()
            scores.append(-log_p[..., sources.to_ask(source).flatten()].mean((1, 2)))
        found[str(windows * settings["window"])] = scores[1][scores[0].argmin()]
    return found
