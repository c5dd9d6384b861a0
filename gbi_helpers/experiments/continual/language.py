"""Sources of text learned one after another: how many nats a word are lost, and what a source that is inferred saves.

A network reads the same windows of each source, in the order of the seed, whatever it is told. Losses are those of the
words after the first ``known`` of held-out windows: from the first ones z may be inferred, and every way to come by z
is judged on the same words. The inference knows of the sources seen so far, and of no others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers import metrics, theory
from gbi_helpers.continual import Context, FineTuning, Inputs, Replay, learn
from gbi_helpers.experiments.language import windows as text_windows
from gbi_helpers.experiments.language.inference import evidence
from gbi_helpers.experiments.language.recipes import ClippedAdamW
from gbi_helpers.experiments.language.windows import Corpus, Windows, by_source, corpus_of, even_windows, losses
from gbi_helpers.experiments.language.world import read
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.inference import loss_of, max_entropy, one_step
from gbi_helpers.models.language import WordLSTM, word_nll
from gbi_helpers.models.natural import NaturalGates, Streamed
from gbi_helpers.runtime import random_state_kept, usual_defaults

INFERRED = ("counts", "gradient")  # ways to come by z that know the first words of a window, and no more


@functools.cache
def text(variant: str) -> tuple[str, Corpus]:
    """What a text is called, and its corpus, opened once in a process."""
    data = read(variant)
    return data.source, corpus_of(data)


# ---------------------------------------------------------------- learning


class Words(FineTuning):
    """Nothing is kept: descends nats a word."""

    def loss(self, model: nn.Module, inputs: Inputs, y: Tensor, outputs: Tensor) -> Tensor:
        """What a step descends, () for windows of words y (B, T)."""
        return word_nll(model(*inputs), y).mean()


class ReplayedWords(Replay, Words):
    """``size`` windows of each source so far are read again, a batch with each step, with their z.

    They have a ``share`` of the loss. So few words, read so often, are soon known by heart, which is worse than to
    forget: a small share is a stronger rival than the 1 - 1/t of context t that images have.
    """

    def __init__(self, size: int, batch_size: int, share: float):
        super().__init__(size, batch_size)
        self.share = share

    def loss(self, model: nn.Module, inputs: Inputs, y: Tensor, outputs: Tensor) -> Tensor:
        """Nats a word of new and of stored windows."""
        new = Words.loss(self, model, inputs, y, outputs)
        return (1 - self.share) * new + self.share * self._again(model, outputs) if self.contexts else new

    def _again(self, model: nn.Module, outputs: Tensor) -> Tensor:
        rows = torch.randperm(len(self.y), generator=self.draw, device=self.draw.device)[: self.batch_size]
        return Words.loss(self, model, [part[rows] for part in self.inputs], self.y[rows], outputs)

    def after(self, model: nn.Module, context: Context) -> None:
        """Keep so many windows more."""
        rows = torch.randperm(len(context.y), generator=self.draw, device=self.draw.device)[: self.size]
        new = [part[rows] for part in (*context.inputs, context.y)]
        old = [*self.inputs, self.y] if self.contexts else [part[:0] for part in new]
        *inputs, self.y = (torch.cat(both) for both in zip(old, new, strict=True))
        self.inputs, self.contexts = tuple(inputs), self.contexts + 1

    @property
    def stored(self) -> int:
        """Two bytes for each word, and one for the source."""
        return 2 * self.y.numel() + len(self.y)


METHODS: dict[str, Callable[..., FineTuning]] = {"fine_tuning": Words, "replay": ReplayedWords}


def network(corpus: Corpus, seed: int, hidden: int, z: str, off: float = 0.5) -> WordLSTM:
    """A network that z enters as in chapter 08 ("both"), or by fixed gates alone that leave a share of units ``off``.

    "gate": on what the read-out sees; "gatein": on what the next word's cell sees, too. "nothing": the first kind,
    always told 1/K.
    """
    fixed = z.startswith("gate")
    with random_state_kept(seed=seed), usual_defaults():
        model = WordLSTM(corpus.size, corpus.n_tasks, hidden, z if fixed else "both")  # type: ignore[arg-type]
        if fixed:
            assert model.gate is not None
            shuffled = torch.rand(corpus.n_tasks, hidden).argsort(1)
            model.gate.weight.data = (shuffled >= round(off * hidden)).float().T
            model.gate.requires_grad_(False)
    return model.to(corpus.train[0].device)


def contexts(corpus: Corpus, seed: int, settings: Settings) -> list[Context]:
    """The windows of each source, enough for its steps, with z as the network is told it in training."""
    n = settings["steps"] * settings["batch_size"]
    every = torch.ones(1, dtype=torch.bool, device=corpus.train[0].device)
    found = []
    for i, name in enumerate(corpus.tasks):
        windows = text_windows.random_windows(corpus.only([name]), n, settings["window"], seed * 1_000 + i)
        z = torch.full((n, corpus.n_tasks), 1 / corpus.n_tasks, dtype=torch.float32, device=every.device)
        if settings["z"] != "nothing":
            z = windows.pure(corpus.n_tasks)[i].expand(n, -1)
        found.append(Context((windows.inputs, z), windows.words, every))
    return found


# ---------------------------------------------------------------- coming by z


def namers(corpus: Corpus, settings: Settings) -> list[NaturalGates]:
    """Decoders of word counts after each source came: sums, which do not forget.

    Mixed into each is the share, of ``shares``, that names most validation windows of the sources seen so far.
    """
    asked = even_windows(corpus.validation, corpus.start, settings["per_source"], settings["known"])
    streamed, found = Streamed("words"), []
    for i, stream in enumerate(corpus.train):
        counts = torch.bincount(stream, minlength=corpus.size)[None].double()
        streamed.add(counts, torch.full((1,), i, dtype=torch.int64, device=stream.device))
        seen = asked.rows(asked.task <= i)
        made = [streamed.gates(share) for share in settings["shares"]]
        found.append(max(made, key=lambda gates: _named(by_counts(gates, seen.words, i + 1), seen)))
    return found


def _named(z: Tensor, windows: Windows) -> float:
    """How many windows the belief z (N, K) assigns to their source, percent."""
    return metrics.accuracy(z.argmax(1), windows.task)


def by_counts(gates: NaturalGates, words: Tensor, n_tasks: int) -> Tensor:
    """Belief (N, K) in the source of words (N, n): one gradient of natural gates with its delta, 0 for unseen ones."""
    size = gates.decoder.patterns.shape[1]
    counts = torch.nn.functional.one_hot(words, size).sum(1).double()
    z0 = max_entropy(len(words), gates.n_tasks, torch.float64, words.device)
    delta = theory.natural_gap(gates.family.log_partition, gates.decoder.patterns, z0[0], words.shape[1])
    q = theory.corrected_one_step(loss_of(gates, counts, gates.nll), z0, delta).q
    return torch.nn.functional.pad(q, (0, n_tasks - gates.n_tasks)).float()


def by_gradient(model: WordLSTM, windows: Windows, seen: int, batch: int = 176) -> Tensor:
    """Belief (N, K) by one gradient through the network itself, at 1/K over the sources seen; 0 for others."""
    found = []
    for part in windows.parts(batch):
        z0 = torch.nn.functional.pad(
            max_entropy(len(part.words), seen, torch.float32, part.words.device), (0, model.n_tasks - seen)
        )
        grad = one_step(evidence(model, part), z0).grad
        assert grad is not None
        q = torch.softmax(-grad[:, :seen], 1)
        found.append(torch.nn.functional.pad(q, (0, model.n_tasks - seen)))
    return torch.cat(found)


def beliefs(model: WordLSTM, gates: NaturalGates, windows: Windows, settings: Settings) -> dict[str, Tensor]:
    """z (N, K) for windows by every way that the settings name; ``gates``: of the sources seen so far."""
    first, k = windows.first(settings["known"]), model.n_tasks
    ways: dict[str, Callable[[], Tensor]] = {
        "nothing": lambda: windows.uniform(k),
        "given": lambda: windows.z(k),
        "counts": lambda: by_counts(gates, first.words, k),
        "gradient": lambda: by_gradient(model, first, gates.n_tasks),
    }
    return {way: ways[way]() for way in settings["ways"]}


# ---------------------------------------------------------------- what is measured


def later(model: WordLSTM, windows: Windows, z: Tensor, known: int) -> Tensor:
    """Nats a word (K,) on windows of each source, of the words after the first ``known``."""
    return by_source(losses(model, windows, z)[:, known:], windows.task).double()


def told(r: Tensor, before: Tensor) -> dict[str, Any]:
    """What R (T, T), nats a word, says; ``before`` (T,): the untrained network's losses.

    "forgetting": last loss less the best since the source was learned, mean over all but the last source.
    """
    best = r.masked_fill(torch.ones_like(r, dtype=torch.bool).triu(1), torch.inf).amin(0)
    means = {"loss": r[-1].mean(), "learning": r.diagonal().mean(), "forgetting": (r[-1] - best)[:-1].mean()}
    return {"r": r, "before": before, **means}


def measured(world: Any, seed: int, settings: Settings) -> dict[str, Any]:
    """One network through all sources: R by way to come by z, and how often each way names the source, percent.

    "named" (T,): after each source, of windows of those seen so far. "validation": what "loss" of the first way is on
    validation windows, to choose settings by.
    """
    source, corpus, windows = opened(seed, settings)
    model, gates = network(corpus, seed, settings["hidden"], settings["z"]), namers(corpus, settings)
    rows: dict[str, list[Tensor]] = {way: [] for way in settings["ways"]}
    named: dict[str, list[float]] = {way: [] for way in settings["ways"] if way in INFERRED}
    method = METHODS[settings["method"]](**settings.get("options", {}))

    def losses_now(z: Tensor) -> Tensor:
        return later(model.eval(), windows, z, settings["known"])

    def test(i: int) -> list[float]:
        seen = windows.task <= i
        for way, z in beliefs(model, gates[i], windows, settings).items():
            rows[way].append(losses_now(z))
            if way in named:
                named[way].append(_named(z[seen], windows.rows(seen)))
        model.train()
        return rows[settings["ways"][0]][-1].tolist()

    nothing = windows.uniform(corpus.n_tasks)
    blank = {way: losses_now(windows.z(corpus.n_tasks) if way == "given" else nothing) for way in rows}
    learn(
        model.train(), contexts(corpus, seed, settings), method, test, steps=settings["steps"], seed=seed,
        batch_size=settings["batch_size"], lr=settings["lr"], optimizer=ClippedAdamW,
    )  # fmt: skip
    found = {way: told(torch.stack(r), blank[way]) for way, r in rows.items()}
    asked = even_windows(corpus.validation, corpus.start, settings["per_source"], settings["window"])
    z = beliefs(model.eval(), gates[-1], asked, {**settings, "ways": settings["ways"][:1]})[settings["ways"][0]]
    validation = later(model, asked, z, settings["known"]).mean()
    facts = {"order": corpus.tasks, "stored": method.stored, "named": named, "validation": validation}
    return found | facts | {"data": {"source": source, "digest": corpus.digest}}


def opened(seed: int, settings: Settings) -> tuple[str, Corpus, Windows]:
    """What the text is called, its corpus with the sources in the order of the seed, and its test windows."""
    source, corpus = text(settings["text"])
    order = torch.randperm(corpus.n_tasks, generator=torch.Generator().manual_seed(seed), device="cpu")
    corpus = corpus.only([corpus.tasks[k] for k in order.tolist()])
    return source, corpus, even_windows(corpus.test, corpus.start, settings["per_source"], settings["window"])


TEXT: Settings = {
    "text": "packages", "hidden": 128, "steps": 200, "batch_size": 16, "window": 64, "lr": 8e-3, "known": 20,
    "per_source": 48, "shares": (0.001, 0.01, 0.03, 0.1), "method": "fine_tuning",
}  # fmt: skip
EVERY_WAY = ("given", *INFERRED, "nothing")
NETWORKS: dict[str, tuple[str, Settings]] = {
    "no_z": ("LSTM", {"z": "nothing", "ways": ("nothing",)}),
    "both": ("z beside the words and as a gate", {"z": "both", "ways": EVERY_WAY}),
    "gates": ("fixed gates", {"z": "gate", "ways": EVERY_WAY}),
}
REPLAY = {"method": "replay", "options": {"size": 16, "batch_size": 4, "share": 0.1}}
ROWS = {
    **{f"lang/{name}": Row(measured, words, {**TEXT, **net}) for name, (words, net) in NETWORKS.items()},
    "lang/replay_16": Row(
        measured, "LSTM, 16 windows of each source, a tenth of the loss", {**TEXT, **NETWORKS["no_z"][1], **REPLAY}
    ),
}
SMALL = {
    name: {"text": "small", "hidden": 8, "steps": 3, "batch_size": 2, "window": 24, "per_source": 4} for name in ROWS
}
