"""Tasks that nobody names: Gaussians in a stream of numbers, sources in a stream of text, and who finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from gbi_helpers.bayes import bayes_filter, log_likelihood
from gbi_helpers.data.toy import Stream, switching_stream
from gbi_helpers.discovery import DiscoveryRecord, discover, merged
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.language.windows import Corpus
from gbi_helpers.experiments.questions.time_rivals import HMM, Clusters, best_clusters, fitted_hmms, gaussian_hmm
from gbi_helpers.experiments.questions.unlabelled import Chunks, agreement, chunked, crossed
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.models.slots import Samples, Words, WordSlots
from gbi_helpers.models.toy import ToyLSTM

Scores = dict[str, Any]

# ---------------------------------------------------------------- numbers


def numbers(world: World, seeds: Sequence[int], settings: Settings) -> dict[int, Scores]:
    """What slots have to do with tasks in the second half of a stream, after one pass, for each seed.

    Scores of :func:`.unlabelled.agreement`, once more where slots that say nearly the same are "merged"; "bayes":
    percent right of the exact filter that knows means, noise and hazard; "sd" and "hazard" as estimated in the end.
    """
    stream = switching_stream(seeds, **settings["stream"])
    model = ToyLSTM(stream.seeds, "post", n_tasks=settings["slots"], size=stream.x.shape[2], hidden=settings["hidden"])
    found = discover(Samples(model, stream.x), **settings["discover"])
    return {seed: _scored(stream, found, row, settings["merge_below"]) for row, seed in enumerate(stream.seeds)}


def _scored(stream: Stream, found: DiscoveryRecord, row: int, below: float) -> Scores:
    after = len(found.slot) // 2
    slot, task = found.slot[after:, row], stream.context[row, -len(found.slot) :][after:]
    known = bayes_filter(log_likelihood(stream.x[row], stream.means, stream.sd), stream.hazard)[-len(slot) :]
    return {
        **agreement(slot, task),
        "merged": agreement(_names(found, row, after, below)[slot], task),
        "bayes": 100 * float((known.argmax(-1) == task).double().mean()),
        "sd": float(found.sd[after:, row].mean()),
        "hazard": float(found.hazard[-1, row]),
    }


def _names(found: DiscoveryRecord, row: int, at: int, below: float) -> Tensor:
    """The name (K,) of each slot, from what it said in the samples before ``at``."""
    assert found.prediction is not None  # it is there for all numbers
    recent = slice(max(at - 200, 0), at)
    said, sd = found.prediction[recent, row].mean(0), found.sd[at, row]
    return merged((said[:, None] - said).square().sum(-1) / (2 * sd**2), found.belief[:at, row].mean(0), below)


def gaussians(world: World, seed: int, settings: Settings) -> Scores:
    """A hidden Markov model of Gaussians: EM on the first half of the same stream, then a filter through all of it.

    Scores on the second half, of the likeliest of some "starts"; as many states as "slots" says.
    "centres": once more from the centres of k-means.
    """
    stream = switching_stream([seed], **settings["stream"])
    half = stream.x.shape[1] // 2
    seen = stream.x[:, :half]
    how: list[tuple[int, int, Tensor | None]] = [
        (1000 * seed + n, settings["rounds"], None) for n in range(settings["starts"])
    ]
    if settings.get("centres"):
        found = KMeans(settings["slots"], n_init=10, random_state=seed).fit(seen[0].numpy())
        how.append((seed, settings["rounds"], torch.from_numpy(found.cluster_centers_).to(seen)))
    made = [gaussian_hmm(seen, settings["slots"], *start) for start in how]
    best = min(made, key=lambda model: float(model.filtered(seen)[1].sum()))
    return agreement(best.filtered(stream.x)[0][0, half:].argmax(-1), stream.context[0, half:])


TWO, FOUR = {"blocks": 50, "block": 40}, {"blocks": 60, "block": 40}
SQUARE = {"means": [[0.2, 0.2], [0.2, 0.8], [0.8, 0.2], [0.8, 0.8]], "sd": 0.15, **FOUR}
LINE = {"means": [-0.1, 0.3, 0.7, 1.1], "sd": 0.1, **FOUR}
TIMES = 4  # settings were chosen on seeds 0 .. 9
WAYS = {"one_step": "one step", "corrected": "one step, gap put back", "exact": "all slots read out"}


STREAMS: dict[str, tuple[str, Settings, int]] = {
    "two/sd_.1": ("two tasks, sd .1", {"means": [0.2, 0.8], "sd": 0.1, **TWO}, 2),
    "two/sd_.3": ("two tasks, sd .3", {"means": [0.2, 0.8], "sd": 0.3, **TWO}, 2),
    "square": ("four on a square", SQUARE, 8),
    "line": ("four on a line", LINE, 8),
}


def _numbers(words: str, stream: Settings, slots: int, evidence: str) -> Row:
    settings = {"stream": stream, "slots": slots, "hidden": 32, "merge_below": 0.5, "discover": {"evidence": evidence}}
    return Row(numbers, words, settings, together=True, times=TIMES)


# ---------------------------------------------------------------- words


def streams(corpus: Corpus, seed: int, settings: Settings) -> tuple[Chunks, Chunks, Chunks]:
    """Training, validation and test streams of a seed."""
    sizes = settings["chunks"]
    parts = (corpus.train, corpus.validation, corpus.test)
    made = [
        chunked(part, settings["rows"], chunks, settings["words"], settings["hazard"], 10 * seed + at)
        for at, (part, chunks) in enumerate(zip(parts, sizes, strict=True))
    ]
    return made[0], made[1], made[2]


def slots(world: World, seed: int, settings: Settings) -> Scores:
    """One pass through streams without labels; then new streams, with weights and hazard as they are.

    Scores of :func:`.unlabelled.agreement` on the new ones; "table": percent of chunks in each slot (rows) and of each
    source; "hazard" as estimated.
    """
    corpus = world.language.corpus
    train, _, test = streams(corpus, seed, settings)
    counts = torch.bincount(train.words.flatten(), minlength=corpus.size) + 1
    model = WordSlots((counts / counts.sum()).log(), settings["slots"], seed)
    how = settings["discover"]
    read = discover(Words(model, train.words), lr=settings["lr"], **how)
    hazard = float(read.hazard[-1].mean())
    found = discover(Words(model, test.words), lr=0, **{**how, "hazard": hazard, "learn_hazard": False})
    slot, task = found.slot.mT.flatten(), test.task.flatten()
    return {**agreement(slot, task), "table": 100 * crossed(slot, task), "hazard": hazard}


def markov(world: World, seed: int, settings: Settings) -> Scores:
    """Hidden Markov models by Baum-Welch; on test streams they see no future. The one that suits the labels of
    validation streams best, as the slots' settings do; and "likeliest", the one under which their words are likeliest.

    "smoothed": the same with the future. "states" and "weight": of the chosen one.
    """
    corpus = world.language.corpus
    parts = streams(corpus, seed, settings)
    train, validation, test = (part.counts(corpus.size) for part in parts)
    read = [(model, *model.filtered(validation)) for model in fitted_hmms(train, seed=seed, **settings["hmm"])]

    def scored(model: HMM) -> Scores:
        log_belief, task = model.filtered(test)[0], parts[2].task
        later = agreement(model.smoothed(test)[0].argmax(-1).flatten(), task.flatten())
        told = {"smoothed": later, "states": len(model.first), "weight": model.weight}
        return {**agreement(log_belief.argmax(-1).flatten(), task.flatten()), **told}

    best = max(read, key=lambda one: agreement(one[1].argmax(-1).flatten(), parts[1].task.flatten())["ari"])
    return {**scored(best[0]), "likeliest": scored(min(read, key=lambda one: float(one[2].mean()))[0])}


def clusters(world: World, seed: int, settings: Settings) -> Scores:
    """k-means: of features of what was read so far, of nine chunks around ("around"), and of a chunk alone ("alone").

    Number of clusters and smoothing are those that suit the labels of validation streams best.
    """
    corpus = world.language.corpus
    train, validation, test = streams(corpus, seed, settings)
    made = Clusters(train, corpus.size, settings["features"], seed)
    found = {}
    for name, keeps, later in (("past", settings["keeps"], 0), ("around", [0.0], 4), ("alone", [0.0], 0)):
        setting = best_clusters(made, (train, validation), settings["ks"], keeps, later)[0]
        slot = made.slots(train, test, int(setting["k"]), setting["keep"], later)
        found[name] = {**agreement(slot.flatten(), test.task.flatten()), "setting": setting}
    return {**found["past"], "around": found["around"], "alone": found["alone"]}


def labelled(world: World, seed: int, settings: Settings) -> Scores:
    """Naive Bayes from labelled words with the exact filter, which is told the hazard: the ceiling."""
    corpus = world.language.corpus
    test = streams(corpus, seed, settings)[2]
    counts = torch.stack([torch.bincount(source, minlength=corpus.size) for source in corpus.train]) + 0.5
    score = test.counts(corpus.size) @ (counts / counts.sum(1, keepdim=True)).log().mT
    belief = bayes_filter(score, settings["hazard"])
    task = test.task.flatten()
    return {**agreement(belief.argmax(-1).flatten(), task), "alone": agreement(score.argmax(-1).flatten(), task)}


TEXT: Scores = {"rows": 16, "chunks": (900, 100, 100), "words": 20, "hazard": 0.1}
# Of learning rates .005 .. .03 and step sizes .3 .. 1 those that suited validation text best; words come in bursts.
SLOTS = {**TEXT, "slots": 16, "lr": 0.01}
READ = {"evidence": "corrected", "step_size": 0.5}
# A jump to any slot alike before each chunk: it knows nothing of those before.
EACH = {"hazard": 15 / 16, "learn_hazard": False, "by_usage": False}
HMMS = {"states": (8, 16), "weights": (0.5, 1.0), "bland": 100.0, "starts": 2, "rounds": 30}

ROWS: dict[str, Row] = {
    **{name: _numbers(*STREAMS[name], "one_step") for name in ("two/sd_.1", "two/sd_.3")},
    **{
        f"{name}/{way}": _numbers(f"{STREAMS[name][0]}, {told}", *STREAMS[name][1:], way)
        for name in ("square", "line")
        for way, told in WAYS.items()
    },
    **{
        f"{name}/hmm": Row(
            gaussians,
            f"{told}, hidden Markov model",
            {"stream": stream, "slots": slots, "starts": 3, "rounds": 30},
            times=TIMES,
        )
        for name, (told, stream, slots) in STREAMS.items()
    },
    **{
        f"{name}/hmm_4": Row(
            gaussians,
            f"{STREAMS[name][0]}, hidden Markov model, told how many",
            {"stream": STREAMS[name][1], "slots": 4, "starts": 2, "centres": True, "rounds": 30},
            times=TIMES,
        )
        for name in ("square", "line")
    },
    "language/slots_16": Row(slots, "one step, gap put back", {**SLOTS, "discover": READ}),
    "language/no_hazard": Row(slots, "each chunk alone", {**SLOTS, "discover": {**READ, **EACH}}),
    "language/no_delta": Row(slots, "one step", {**SLOTS, "discover": {**READ, "evidence": "one_step"}}),
    "language/hmm": Row(markov, "hidden Markov model", {**TEXT, "hmm": HMMS}),
    "language/kmeans": Row(
        clusters, "k-means, smoothed", {**TEXT, "features": 30, "ks": (8, 16), "keeps": (0.3, 0.5, 0.7, 0.8)}
    ),
    "language/naive_bayes": Row(labelled, "naive Bayes, told the labels", TEXT),
}

LITTLE: Scores = {"rows": 3, "chunks": (20, 10, 10)}
SMALL: dict[str, Settings] = {
    name: LITTLE if name.startswith("language") else {"stream": {**row.settings["stream"], "blocks": 3, "block": 20}}
    for name, row in ROWS.items()
} | {"language/hmm": {**LITTLE, "hmm": {"states": (3,), "weights": (1.0,), "starts": 1, "rounds": 2}}}
