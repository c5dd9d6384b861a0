"""The measurements of the language study, by name: each takes the networks of one seed and returns numbers to keep."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.data.vocabulary import Vocabulary
from gbi_helpers.experiments.language import inference, maps, novel, stream
from gbi_helpers.experiments.language.nets import Nets
from gbi_helpers.experiments.language.recipes import told_z
from gbi_helpers.experiments.language.windows import Windows, by_source, even_windows, losses
from gbi_helpers.metrics import accuracy, correlation
from gbi_helpers.records import TrainingRecord

Scores = dict[str, Any]
SHORT = 300  # steps of the networks that are only compared, at equal tokens, with those of "learning" on their way
PLACES = ((0, 1), (1, 5), (5, 10), (10, 20), (20, 40), (40, 64), (64, 128))  # words of a window
FILTER = stream.Filter(chunk=1, hazard=0.02, step_size=1.2, reread=20)
FILTERS = {
    "filter": FILTER,
    "filter_exact": replace(FILTER, exact=True),
    "filter_forward": replace(FILTER, reread=0),
    "filter_five": stream.Filter(chunk=5, hazard=0.02),
}
HELD_OUT = {
    "babylm": ("childes", "gutenberg", "scripture", "wikipedia"),
    "packages": ("api", "chat", "recipe", "speech"),
}


@dataclass(frozen=True)
class Job:
    """One seed of the study: its networks, and how many windows of each source, and streams, are read."""

    nets: Nets
    seed: int
    per_source: int = 128
    streams: int = 24
    length: int = 600

    def pair(self) -> tuple[Any, Any]:
        """The GBI network and the LSTM of this seed."""
        return self.nets.get("gbi", self.seed)[0], self.nets.get("lstm", self.seed)[0]

    def windows(self, length: int = 128) -> Windows:
        """Test windows of all sources."""
        corpus = self.nets.corpus
        return even_windows(corpus.test, corpus.start, self.per_source, length)

    def gaps(self, model: Any) -> inference.Gaps:
        """What one step misses, for each length."""
        return inference.fit_gaps(model, self.nets.corpus)


def learning(job: Job) -> Scores:
    """Curves of both networks, and their test losses: by source, and by place in the window."""
    gbi, lstm = (job.nets.get(name, job.seed) for name in ("gbi", "lstm"))
    curves = {name: net[1].curves["validation"] for name, net in (("gbi", gbi), ("lstm", lstm))}
    steps, windows = gbi[1].curves["step"], job.windows()
    per_step = gbi[1].facts["tokens"] / gbi[1].facts["steps"]
    true = windows.z(gbi[0].n_tasks)
    read = {"gbi": losses(gbi[0], windows, true), "lstm": losses(lstm[0], windows), "uniform": losses(gbi[0], windows)}
    found: Scores = {"windows": len(windows.words), "tokens": (steps * per_step).tolist()}
    found |= {f"{name}_validation": curve.tolist() for name, curve in curves.items()}
    found |= {f"{name}_test": by_source(loss[:, :64], windows.task).tolist() for name, loss in read.items()}
    found["gap"] = float((read["lstm"] - read["gbi"])[:, :64].mean())
    found["uniform_gap"] = float((read["lstm"] - read["uniform"])[:, :64].mean())
    found["gap_by_place"] = [float((read["lstm"] - read["gbi"])[:, a:b].mean()) for a, b in PLACES]
    found["tokens_to_lstm"] = share_of_tokens(steps, curves["gbi"].mean(1), float(curves["lstm"][-1].mean()))
    for name, (_, record) in (("gbi", gbi), ("lstm", lstm)):
        found[f"{name}_cpu_seconds"] = record.facts["cpu_seconds"]
    return found


def share_of_tokens(steps: Tensor, curve: Tensor, goal: float) -> float:
    """Share of all steps after which a curve has fallen to ``goal``, lines drawn between looks; infinite if never."""
    below = (curve <= goal).nonzero()
    if not len(below):
        return math.inf
    at = int(below[0])
    if at == 0:
        return float(steps[0] / steps[-1])
    part = (curve[at - 1] - goal) / (curve[at - 1] - curve[at])
    return float((steps[at - 1] + part * (steps[at] - steps[at - 1])) / steps[-1])


def compared(network: str) -> Callable[[Job], Scores]:
    """A job for a network that differs in one thing: its loss after :data:`SHORT` steps, beside GBI's and the LSTM's.

    "gap" is the LSTM's loss minus its own, validation text, nats a word; "uniform" its loss told 1/K.
    """

    def measure(job: Job) -> Scores:
        model, record = job.nets.get(network, job.seed, steps=SHORT)
        at = int(record.curves["step"][-1])
        corpus = job.nets.corpus
        windows = even_windows(corpus.validation, corpus.start, 16, 64)
        loss = float(record.curves["validation"][-1].mean())
        found: Scores = {"steps": at, "loss": loss, "uniform": float(losses(model, windows).mean())}
        for name in ("lstm", "gbi"):
            curves = job.nets.get(name, job.seed)[1].curves
            found[name] = float(curves["validation"][curves["step"] == at].mean())
        found |= {"gap": found["lstm"] - loss, "tokens_per_cpu_second": record.facts["tokens_per_cpu_second"]}
        return found | (_short_naming(model, job) if network != "shuffled" else {})

    return measure


def _short_naming(model: Any, job: Job, n: int = 20) -> Scores:
    """One step, with the gap and without, against K passes, on the first 20 words."""
    corpus = job.nets.corpus
    delta = inference.fit_deltas(model, corpus, [n])[n]
    windows = even_windows(corpus.test, corpus.start, job.per_source, n)
    exact = inference.log_likelihoods(model, windows, [n])[n]
    slope = inference.slopes(model, windows)
    found = {"correlation": correlation(slope, exact), "corrected_correlation": correlation(slope + delta, exact)}
    ways = {"one_step": slope, "corrected": slope + delta, "exact": exact}
    return found | {name: accuracy(score.argmax(1), windows.task) for name, score in ways.items()}


def transformer(job: Job) -> Scores:
    """The Transformer with Z, and the same told nothing: their gap at equal tokens, and how it names sources."""
    found = compared("transformer")(job)
    plain = job.nets.get("transformer_lstm", job.seed, steps=found["steps"])[1].curves["validation"][-1]
    return found | {"plain": float(plain.mean()), "gap": float(plain.mean()) - found["loss"]}


def naming(job: Job) -> Scores:
    """Naming the source of the first n words, and what goes wrong when the loss is a mean instead of a sum."""
    gbi, _ = job.pair()
    gaps = job.gaps(gbi)
    windows = job.windows(20)
    slope = inference.slopes(gbi, windows)
    confidence = {kind: float(torch.softmax(slope / by, 1).amax(1).mean())
                  for kind, by in {"sum": 1, "mean": windows.words.numel()}.items()}  # fmt: skip
    found = inference.naming(gbi, job.nets.corpus, gaps, job.per_source)
    return found | {"confidence": confidence, "deltas": {str(n): mean.tolist() for n, (mean, _) in gaps.items()}}


def rest(job: Job) -> Scores:
    """Loss of later words with z inferred from the first ones."""
    gbi, lstm = job.pair()
    gaps = {n: gap for n, gap in job.gaps(gbi).items() if n in (1, 5, 20, 50)}
    return inference.rest(gbi, lstm, job.nets.corpus, gaps, job.per_source)


def online(job: Job) -> Scores:
    """Reading test streams that switch, see :func:`~.language_stream.compare`; "long": with pieces twice as long."""
    gbi, lstm = job.pair()
    corpus, size = job.nets.corpus, (job.streams, job.length, 1000 + job.seed)
    found = stream.compare(gbi, lstm, corpus, stream.make_streams(corpus, "test", *size), FILTERS)
    long = stream.make_streams(corpus, "test", *size, piece=stream.LONG_PIECE)
    return found | {"long": stream.compare(gbi, lstm, corpus, long, {"filter": FILTER})}


def structure(job: Job) -> Scores:
    """Modules of both networks, who is confused with whom, and what lies between the two most different sources."""
    gbi, lstm = job.pair()
    corpus = job.nets.corpus
    windows = even_windows(corpus.test, corpus.start, 24, 64)
    cross = maps.cross_losses(gbi, windows)
    pair = maps.farthest_pair(cross)
    found: Scores = {"cross": cross.tolist(), "pair": list(pair), **maps.interpolation(gbi, windows, *pair)}
    return found | {"gbi": maps.modules(gbi, windows), "lstm": maps.modules(lstm, windows, told=False)}


def held_out(source: str) -> Callable[[Job], Scores]:
    """A job for one source that both networks were not trained on."""

    def measure(job: Job) -> Scores:
        nets = job.nets.without(source)
        gbi, lstm = (nets.get(name, job.seed, steps=SHORT)[0] for name in ("gbi", "lstm"))
        found = novel.measure(gbi, lstm, nets.corpus, job.nets.corpus.only([source]), 2 * job.per_source)
        return found | {"known": list(nets.corpus.tasks)}

    return measure


def pieces(job: Job, vocabulary: Vocabulary) -> Scores:
    """A corpus cut into pieces of words: losses in nats a token and bits a character, told Z and not."""
    nets, corpus = job.nets, job.nets.corpus
    windows = even_windows(corpus.validation, corpus.start, 16, 64)
    characters = sum(len(vocabulary.decode(row)) + 1 for row in windows.words)
    found: Scores = {"vocabulary": corpus.size, "characters_per_token": characters / windows.words.numel()}
    for name, told in (("gbi", "true"), ("lstm", "nothing")):
        model, record = nets.get(name, job.seed, steps=SHORT)
        nats = float(losses(model, windows, told_z(windows.task, corpus.n_tasks, told)).mean())  # type: ignore[arg-type]
        bits = nats / found["characters_per_token"] / math.log(2)
        found |= {name: nats, f"{name}_bits": bits, f"{name}_cpu_seconds": record.facts["cpu_seconds"]}
    return found | {"gap": found["lstm"] - found["gbi"]}


def record_of(job: Job, network: str) -> TrainingRecord:
    """The training record of one network."""
    return job.nets.get(network, job.seed)[1]


BOTH_SETS: dict[str, Callable[[Job], Scores]] = {
    "learning": learning,
    "naming": naming,
    "rest": rest,
    "stream": online,
    "structure": structure,
    "shuffled": compared("shuffled"),
}
VARIANTS: dict[str, Callable[[Job], Scores]] = {
    **{name: compared(name) for name in ("gate", "concat", "gatein", "udrop")},
    "transformer": transformer,
}
