"""Sources of text once more: settings chosen without labels, a mixture that counts its parts, few dimensions."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture
from torch import Tensor

from gbi_helpers import metrics
from gbi_helpers.discovery import discover
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.questions.discovered import LITTLE, READ, SLOTS, TEXT, streams
from gbi_helpers.experiments.questions.reading import CLUSTERS, labelled_log_p, read_once
from gbi_helpers.experiments.questions.time_rivals import Clusters
from gbi_helpers.experiments.questions.unlabelled import agreement
from gbi_helpers.experiments.study import Row, Settings
from gbi_helpers.models.hundred import on_sphere
from gbi_helpers.models.slots import Words

Scores = dict[str, Any]

# ---------------------------------------------------------------- settings chosen without labels


def chosen(world: World, seed: int, settings: Settings) -> Scores:
    """Discovery whose learning rate and step size are chosen by nats of validation streams, for which no label is read.

    Scores of :func:`.unlabelled.agreement` on test streams; "by_labels": of the setting that suits the labels of
    validation streams best; "setting" of each. "grid": [learning rate, step size, nats a word, ARI] of all on
    validation streams, and their ARI on test streams.
    """
    corpus = world.language.corpus
    train, *new = streams(corpus, seed, settings)
    tried, grid = [], []
    for lr, size in itertools.product(settings["lrs"], settings["step_sizes"]):
        how = {**settings["discover"], "step_size": size}
        model, read = read_once(corpus, train, seed, {**settings, "lr": lr, "discover": how})
        how |= {"hazard": float(read.hazard[-1].mean()), "learn_hazard": False}
        records = [discover(Words(model, part.words), lr=0, **how) for part in new]
        scores = [agreement(r.slot.mT.flatten(), p.task.flatten()) for r, p in zip(records, new, strict=True)]
        nats = float(records[0].nats.mean()) / settings["words"]
        tried.append({"nats": nats, "ari": scores[0]["ari"], "test": scores[1], "setting": {"lr": lr, "size": size}})
        grid.append([lr, size, nats, scores[0]["ari"], scores[1]["ari"]])
    blind, seeing = min(tried, key=lambda one: one["nats"]), max(tried, key=lambda one: one["ari"])
    found = [{**one["test"], "setting": one["setting"]} for one in (blind, seeing)]
    return {**found[0], "by_labels": found[1], "grid": grid}


# ---------------------------------------------------------------- a mixture that counts its parts itself


def mixture(world: World, seed: int, settings: Settings) -> Scores:
    """A Dirichlet process mixture of Gaussians (scikit-learn's, variational) of the features that k-means is given.

    How many there are at most, their shape and the smoothing are those that suit the labels of validation streams best.
    Scores of :func:`.unlabelled.agreement` on test streams; "setting": the chosen one.
    """
    corpus = world.language.corpus
    train, *new = streams(corpus, seed, settings)
    made = Clusters(train, corpus.size, settings["features"], seed)
    tried = []
    for most, keep, shape in itertools.product(settings["ks"], settings["keeps"], settings["shapes"]):
        seen, *asked = (made.features(part, keep).flatten(0, 1).double().numpy() for part in (train, *new))
        model = _fitted_mixture(seen, most, shape, settings["rounds"], seed)
        slots = [torch.from_numpy(model.predict(part)).long() for part in asked]
        scores = [agreement(slot, part.task.flatten()) for slot, part in zip(slots, new, strict=True)]
        tried.append((scores[0]["ari"], {**scores[1], "setting": {"k": most, "keep": keep, "shape": shape}}))
    return max(tried, key=lambda one: one[0])[1]


def _fitted_mixture(
    x: npt.NDArray[np.float64], most: int, shape: str, rounds: int, seed: int
) -> BayesianGaussianMixture:
    """Begun at k-means; after so many rounds it need not have come to rest, of which scikit-learn warns."""
    model = BayesianGaussianMixture(
        n_components=most,
        covariance_type=shape,
        weight_concentration_prior_type="dirichlet_process",
        max_iter=rounds,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x)


# ---------------------------------------------------------------- sources in few dimensions


def dimensions(world: World, seed: int, settings: Settings) -> Scores:
    """Percent of test chunks, each alone, named right by sources that have an embedding of ``dims`` numbers.

    Words are softmax(b + z W), W from labelled counts, and of its singular values the largest d are kept, words
    weighed by how frequent they are. "free": as it is; "sphere": all sources as far from their centre as they are in
    the mean. Of each: "one_step", "passes" (one step with its gap put back is the same), and their "agreement".
    """
    corpus = world.language.corpus
    test = streams(corpus, seed, settings)[2]
    counts, task = test.counts(corpus.size).flatten(0, 1).double(), test.task.flatten()
    base, entry = _word_logits(labelled_log_p(corpus).double())
    weight = base.softmax(-1).sqrt()
    axes = torch.linalg.svd(entry * weight, full_matrices=False).Vh
    found: Scores = {"dims": settings["dims"]}
    for way, placed in (("free", lambda means: means), ("sphere", on_sphere)):
        by = [read(counts, task, base, placed(entry * weight @ axes[:d].mT) @ axes[:d] / weight) for d in found["dims"]]
        found[way] = {name: [one[name] for one in by] for name in by[0]}
    return found


def _word_logits(log_p: Tensor) -> tuple[Tensor, Tensor]:
    """The b (V,) and W (K, V) of sources with words of log p (K, V): without z nothing moves, in the mean over words.

    A softmax does not see what is added to all words alike.
    """
    base = log_p.mean(0).log_softmax(-1)
    entry = log_p - log_p.mean(0)
    return base, entry - (entry @ base.exp())[:, None]


def read(counts: Tensor, task: Tensor, base: Tensor, entry: Tensor) -> dict[str, float]:
    """What one step from the uniform z, and K passes, say of chunks with word counts (N, V) of sources ``task`` (N,).

    ``base`` (V,) and ``entry`` (K, V): the model softmax(base + z @ entry). In percent.
    """
    words = counts.sum(-1, keepdim=True)
    expected = entry @ (base + entry.mean(0)).softmax(-1)
    one, exact = counts @ entry.mT - words * expected, counts @ entry.mT - words * (base + entry).logsumexp(-1)
    return {
        "one_step": metrics.accuracy(one.argmax(1), task),
        "passes": metrics.accuracy(exact.argmax(1), task),
        "agreement": metrics.agreement(one, exact),
    }


MIXTURE: Scores = {
    **TEXT, **CLUSTERS, "shapes": ("spherical", "diag", "tied"), "rounds": 100,
}  # fmt: skip
GRID: Scores = {"lrs": (0.005, 0.01, 0.02, 0.03), "step_sizes": (0.3, 0.5, 0.7, 1.0)}

ROWS: dict[str, Row] = {
    "reading/chosen_by_nats": Row(chosen, "settings chosen without labels", {**SLOTS, "discover": READ, **GRID}),
    "reading/mixture": Row(mixture, "Dirichlet process mixture, smoothed", MIXTURE),
    "reading/dimensions": Row(dimensions, "sources in d dimensions", {**TEXT, "dims": (1, 2, 3, 4, 5, 6, 7)}),
}
SMALL: dict[str, Settings] = {
    "reading/chosen_by_nats": {**LITTLE, "slots": 4, "lrs": (0.01, 0.03), "step_sizes": (0.5,)},
    "reading/mixture": {**LITTLE, "ks": (4,), "features": 4, "keeps": (0.5,), "shapes": ("diag",), "rounds": 5},
    "reading/dimensions": {**LITTLE, "dims": (1, 7)},
}
