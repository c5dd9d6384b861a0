"""A network that reads with tasks which nobody named.

Whoever guesses sources is a filter: it says how likely each word is in each state, and how states follow each other. So
slots, hidden Markov models and naive Bayes told the labels are all asked alike, word by word, and none ever sees a word
that the network has yet to predict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers.discovery import DiscoveryRecord, discover, predict
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.language.recipes import SETTINGS, ClippedAdamW
from gbi_helpers.experiments.language.windows import Corpus, with_start
from gbi_helpers.experiments.questions.discovered import HMMS, LITTLE, READ, SLOTS, streams
from gbi_helpers.experiments.questions.time_rivals import HMM, Clusters, best_clusters, fitted_hmms
from gbi_helpers.experiments.questions.unlabelled import Chunks, agreement
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.models.language import WordLSTM, word_nll
from gbi_helpers.models.slots import Words, WordSlots
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit

Scores = dict[str, Any]
Parts = tuple[Chunks, Chunks, Chunks]  # training, validation, test

# ---------------------------------------------------------------- filters


def filter_of(log_p: Tensor, hazard: float, towards: Tensor, weight: float = 1.0) -> HMM:
    """A filter of states with fixed words: log p of each (K, V), jumps with chance ``hazard``, ``towards`` (K,)."""
    jump = predict(torch.eye(len(log_p), dtype=log_p.dtype, device=log_p.device).log(), hazard, towards)
    return HMM(towards.log(), jump, lambda counts: counts @ log_p.mT, weight)


def before_words(model: HMM, chunks: Chunks, size: int) -> tuple[Tensor, Tensor]:
    """Belief (R, T, n, K) before each word, from all words before it; and that after each whole chunk, (R, T, K)."""
    after = model.filtered(chunks.counts(size))[0]
    expected = (after[:, :-1, :, None] + model.jump).logsumexp(2)
    expected = torch.cat([model.first.expand(len(after), 1, -1), expected], 1)
    score = _table(model, size)[chunks.words]
    read = model.weight * (score.cumsum(2) - score)
    return (expected[:, :, None] + read).softmax(-1), after.exp()


def _table(model: HMM, size: int) -> Tensor:
    """Log p (V, K) of each word in each state."""
    return model.says(torch.eye(size, dtype=model.jump.dtype, device=model.jump.device))


def own_nats(model: HMM, chunks: Chunks, size: int) -> float:
    """Nats a word by which the filter itself predicts a stream, word by word; it takes no label to choose by them."""
    belief = before_words(model, chunks, size)[0]
    return -float((belief.log() + _table(model, size)[chunks.words]).logsumexp(-1).mean())


def likeliest(models: Sequence[HMM], weights: Sequence[float], chunks: Chunks, size: int) -> HMM:
    """Of some filters, each with all weights of its evidence, the one that predicts the words of ``chunks`` best."""
    tried = [HMM(one.first, one.jump, one.says, weight) for one in models for weight in weights]
    return min(tried, key=lambda model: own_nats(model, chunks, size))


def discovered_filter(corpus: Corpus, train: Chunks, seed: int, settings: Settings) -> HMM:
    """What one pass through a stream without labels has left: slots, their hazard, and how often each was used."""
    model, read = read_once(corpus, train, seed, settings)
    with torch.no_grad():
        log_p = model(torch.eye(settings["slots"], dtype=model.bias.dtype, device=model.bias.device)).log_softmax(-1)
    usage = read.belief.sum((0, 1)) + 1
    return filter_of(log_p, float(read.hazard[-1].mean()), usage / usage.sum())


def read_once(corpus: Corpus, train: Chunks, seed: int, settings: Settings) -> tuple[WordSlots, DiscoveryRecord]:
    """One pass of so many ``slots`` through a stream without labels: their words, and what was believed on the way."""
    counts = torch.bincount(train.words.flatten(), minlength=corpus.size) + 1
    model = WordSlots((counts / counts.sum()).log(), settings["slots"], seed)
    return model, discover(Words(model, train.words), lr=settings["lr"], **settings["discover"])


def labelled_log_p(corpus: Corpus) -> Tensor:
    """Log p (K, V) of each word in each source, from labelled counts."""
    counts = torch.stack([torch.bincount(source, minlength=corpus.size) for source in corpus.train]) + 0.5
    return (counts / counts.sum(1, keepdim=True)).log()


def labelled_filter(corpus: Corpus, hazard: float) -> HMM:
    """Naive Bayes from labelled words, told the hazard."""
    log_p = labelled_log_p(corpus)
    return filter_of(log_p, hazard, torch.full_like(log_p[:, 0], 1 / corpus.n_tasks))


# ---------------------------------------------------------------- reading


def lstm(world: World, seed: int, settings: Settings) -> Scores:
    """Nats a word on test streams of word LSTMs that read with Z from different hands, all trained alike.

    Z before each word is what a filter believes after all words before it, in training too: "nats". Two more are for
    comparison: "before" each chunk, from earlier chunks alone; and "after" it, which has seen the words to predict.
    "none": told 1/K. "true": told the source of every chunk. "true_filtered": the same network, told what the labelled
    filter believes. "recovered": percent of the way from none to true; "of_labelled": from none to the labelled filter.
    k-means is told each chunk's cluster as of the chunk before: it is to be compared with "before".
    "by_place": nats of each word of a chunk. "ari": of a filter's states after each chunk; "weight", "states" and
    "setting": as chosen.
    """
    corpus, parts = world.language.corpus, streams(world.language.corpus, seed, settings)
    train, _, test = parts
    reader = Reader(corpus, train, test, seed, settings)
    even = torch.full((1, 1, 1, settings["slots"]), 1 / settings["slots"], dtype=torch.float32, device="cpu")
    found: Scores = {"none": reader.scored(reader.trained(even), even)}
    sources = [functional.one_hot(part.task, corpus.n_tasks).float()[:, :, None] for part in (train, test)]
    knowing = reader.trained(sources[0])
    found["true"] = reader.scored(knowing, sources[1])
    for name, model in _filters(corpus, parts, seed, settings).items():
        belief, after = before_words(model, test, corpus.size)
        network = reader.trained(before_words(model, train, corpus.size)[0])
        found[name] = reader.scored(network, belief) | _told(model, after, test)
        for other, z in (("before", belief[:, :, :1]), ("after", after[:, :, None])):
            found[name][other] = reader.scored(network, z)["nats"]
        if name == "labelled":
            found["true_filtered"] = reader.scored(knowing, belief)
    if "clusters" in settings:
        setting, clusters = _clustered(corpus, parts, seed, settings["clusters"])
        found["kmeans"] = reader.scored(reader.trained(clusters[0]), clusters[1]) | {"setting": setting}
    return {name: values | _shares(found, values["nats"]) for name, values in found.items()}


def _filters(corpus: Corpus, parts: Parts, seed: int, settings: Settings) -> dict[str, HMM]:
    """A filter of each kind, with the weight of evidence under which it predicts the validation stream best itself."""
    train, validation, _ = parts
    made = {
        "slots": [discovered_filter(corpus, train, seed, settings)],
        "labelled": [labelled_filter(corpus, settings["hazard"])],
    }
    if "hmm" in settings:
        made["hmm"] = fitted_hmms(train.counts(corpus.size), seed=seed, **settings["hmm"])
    return {name: likeliest(models, settings["weights"], validation, corpus.size) for name, models in made.items()}


def _told(model: HMM, after: Tensor, test: Chunks) -> Scores:
    ari = agreement(after.argmax(-1).flatten(), test.task.flatten())["ari"]
    return {"ari": ari, "weight": model.weight, "states": len(model.first)}


def _clustered(corpus: Corpus, parts: Parts, seed: int, settings: Settings) -> tuple[Scores, list[Tensor]]:
    """The chosen setting of k-means, and for training and test streams each chunk's cluster as of the one before."""
    train, validation, test = parts
    made = Clusters(train, corpus.size, settings["features"], seed)
    setting = best_clusters(made, (train, validation), settings["ks"], settings["keeps"])[0]
    k = int(setting["k"])
    slots = [made.slots(train, part, k, setting["keep"]) for part in (train, test)]
    return setting, [functional.pad(functional.one_hot(s[:, :-1], k).float(), (0, 0, 1, 0))[:, :, None] for s in slots]


def _shares(found: Mapping[str, Scores], nats: float) -> Scores:
    none, true, labelled = (found[name]["nats"] for name in ("none", "true", "labelled"))
    return {"recovered": 100 * (none - nats) / (none - true), "of_labelled": 100 * (none - nats) / (none - labelled)}


class Reader:
    """Trains and asks word LSTMs of one size on the same streams, whoever tells them Z.

    A z is (R, T, n, K), before each word, and may be 1 long where it is the same; fewer than ``slots`` K are padded.
    """

    def __init__(self, corpus: Corpus, train: Chunks, test: Chunks, seed: int, settings: Settings):
        self.corpus, self.train, self.test, self.seed, self.settings = corpus, train, test, seed, settings

    def trained(self, z: Tensor) -> WordLSTM:
        """A network trained with ``z`` on the training stream; all begin alike, and meet the same windows."""
        torch.manual_seed(self.seed)
        with usual_defaults():
            network = WordLSTM(self.corpus.size, self.settings["slots"], self.settings["hidden"])
        words, told = self._windows(self.train, z)

        def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
            return self._nats(network, *batch).mean()

        how = {"lr": SETTINGS["lr"], "schedule": SETTINGS["schedule"], "optimizer": ClippedAdamW, "desc": "reading"}
        size = self.settings["batch"] // words.shape[1]
        fit(network, loss, (words, told), epochs=self.settings["epochs"], batch_size=size, seed=self.seed, **how)
        return network.eval()

    @torch.no_grad()
    def scored(self, network: WordLSTM, z: Tensor) -> Scores:
        """Nats a word on the test stream read with ``z``, and by place in a chunk."""
        parts = zip(*(part.split(64) for part in self._windows(self.test, z)), strict=True)
        nats = torch.cat([self._nats(network, *part) for part in parts]).view(-1, self.test.words.shape[2])
        return {"nats": float(nats.mean()), "by_place": nats.mean(0)}

    def _nats(self, network: WordLSTM, words: Tensor, z: Tensor) -> Tensor:
        return word_nll(network(with_start(words, self.corpus.start)[:, :-1], z), words)

    def _windows(self, chunks: Chunks, z: Tensor) -> tuple[Tensor, Tensor]:
        """Words (N, n) of ``window`` chunks each, and the z (N, n, K) before each of them."""
        length = self.settings["window"] * chunks.words.shape[2]
        z = functional.pad(z, (0, self.settings["slots"] - z.shape[-1])).expand(*chunks.words.shape, -1)
        return chunks.words.reshape(-1, length), z.reshape(-1, length, self.settings["slots"])


CLUSTERS = {"features": 30, "ks": (8, 16), "keeps": (0.3, 0.5, 0.7, 0.8)}
LSTM: Scores = {
    **SLOTS, "discover": READ, "weights": (0.2, 0.3, 0.5, 0.7, 1.0),
    "hidden": 128, "window": 1, "batch": 960, "epochs": 1,
}  # fmt: skip
# As many states as slots, from one start: six networks are to be trained beside.
RIVALS: Scores = {"hmm": {**HMMS, "states": (16,), "starts": 1}, "clusters": CLUSTERS}

ROWS: dict[str, Row] = {
    "reading/lstm": Row(lstm, "an LSTM that reads chunk by chunk", {**LSTM, **RIVALS}),
    "reading/running": Row(lstm, "an LSTM that reads four chunks on end", {**LSTM, "window": 4}),
}

_READ: Scores = {
    **LITTLE, "slots": 8, "hmm": {"states": (3,), "weights": (1.0,), "starts": 1, "rounds": 2},
    "hidden": 8, "batch": 160, "clusters": {"features": 4, "ks": (3,), "keeps": (0.5,)}, "weights": (0.5, 1.0),
}  # fmt: skip
SMALL: dict[str, Settings] = {"reading/lstm": _READ, "reading/running": {**_READ, "window": 2}}
