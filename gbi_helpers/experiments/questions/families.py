"""Sources in families: whether a z of two levels, family and member, is worth anything in text.

The decoder of z alone over words, in closed form: log p(word) = z @ theta but for a constant, and theta (K, V) the log
frequencies of K sources. With two levels theta is split into its mean over the members of each family and what is left.
Pure z then say what they said before, and all slopes are sums of slopes: only the start is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor
from torch.nn import functional

from gbi_helpers import metrics
from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.language.windows import Windows, even_windows
from gbi_helpers.experiments.study import Row, Settings

Scores = dict[str, Any]
FAMILIES = (("speech", "message"), ("chat", "recipe"), ("reference", "api", "comment", "error"))


def counted(streams: Sequence[Tensor], words: int, size: int, seed: int) -> Tensor:
    """How often each of ``size`` words occurs (K, V), float64, in as many running words of each source.

    Where they begin depends on ``seed``; of a source that has fewer, all are taken.
    """
    draw = torch.Generator().manual_seed(seed)
    found = []
    for stream in streams:
        start = torch.randint(max(len(stream) - words, 0) + 1, (), generator=draw, device=draw.device)
        found.append(torch.bincount(stream[start : start + words], minlength=size))
    return torch.stack(found).double()


def leaning(counts: Tensor, family: Tensor | None, words: float) -> Tensor:
    """Frequencies (K, V) of counts, to which ``words`` are added as all sources use them, or as the family does.

    ``family`` (K,): its number for each source; None: one family of all.
    """
    bland = counts.sum(0) + 0.5
    wide = counts + words * bland / bland.sum()
    if family is not None:
        wide = wide.new_zeros(int(family.max()) + 1, wide.shape[1]).index_add_(0, family, wide)[family]
    else:
        wide = wide.sum(0, keepdim=True)
    mixed = counts + words * wide / wide.sum(1, keepdim=True)
    return mixed / mixed.sum(1, keepdim=True)


def fitted(counts: Tensor, family: Tensor | None, seen: Tensor, task: Tensor, among: Sequence[float]) -> Tensor:
    """:func:`leaning` by as many words as make the counts ``seen`` (N, V) of known sources likeliest: (K, V)."""
    made = [leaning(counts, family, words) for words in among]
    return max(made, key=lambda p: float((seen * p[task].log()).sum()))


def clustered(p: Tensor, families: int) -> Tensor:
    """The family (K,) of each source: as many clusters of frequencies (K, V), by Ward's rule on their square roots."""
    labels = fcluster(linkage(p.sqrt().cpu().numpy(), "ward"), families, "maxclust")
    return torch.tensor(labels, dtype=torch.int64, device=p.device) - 1


def named_families(tasks: Sequence[str], families: Sequence[Sequence[str]]) -> Tensor:
    """The family (K,) of each source, from the names in each family. Raises ``ValueError`` for a source in none."""
    number = {name: at for at, names in enumerate(families) for name in names}
    if missing := [task for task in tasks if task not in number]:
        raise ValueError(f"The source '{missing[0]}' is in no family: name one for it.")
    return torch.tensor([number[task] for task in tasks], dtype=torch.int64, device="cpu")


# ---------------------------------------------------------------- one step, flat or in two levels


def mean_of(theta: Tensor, family: Tensor) -> Tensor:
    """The mean (G, V) of what the members of each family say."""
    member = functional.one_hot(family).to(theta)
    return (member / member.sum(0)).T @ theta


def slopes(counts: Tensor, theta: Tensor, start: Tensor) -> Tensor:
    """Minus the gradient (N, K) of -log p of counts (N, V) along what each z says, theta (K, V), from a start (V,)."""
    expected = counts.sum(1, keepdim=True) * start.softmax(-1)
    return (counts - expected) @ theta.T


def flat(counts: Tensor, theta: Tensor, family: Tensor) -> Tensor:
    """Scores of the sources (N, K) from one gradient at the z that favours none."""
    return slopes(counts, theta, theta.mean(0))


def two_levels(counts: Tensor, theta: Tensor, family: Tensor) -> Tensor:
    """The same at the z that favours no family, and no member of any."""
    return slopes(counts, theta, mean_of(theta, family).mean(0))


def coarse_to_fine(counts: Tensor, theta: Tensor, family: Tensor) -> Tensor:
    """From two gradients: one for the family, then one for its member, from what the first said of the family."""
    means = mean_of(theta, family)
    log_family = slopes(counts, means, means.mean(0)).log_softmax(1)
    own = slopes(counts, theta, log_family.exp() @ means)
    apart = torch.where(functional.one_hot(family).T.bool(), own[:, None], -torch.inf).log_softmax(2)
    return (log_family[:, :, None] + apart).logsumexp(1)


def all_sources(counts: Tensor, theta: Tensor, family: Tensor) -> Tensor:
    """Exact Bayes, by a pass for each source; one step is, too, where its gap is put back."""
    return counts @ theta.log_softmax(1).T


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "flat": flat,
    "two_levels": two_levels,
    "coarse_to_fine": coarse_to_fine,
    "passes": all_sources,
}


# ---------------------------------------------------------------- the rows


def _windows(world: World, settings: Settings) -> tuple[Windows, Windows]:
    corpus, longest = world.language.corpus, max(settings["lengths"])
    parts = (corpus.validation, corpus.test)
    fit, test = (even_windows(part, corpus.start, settings["windows"], longest) for part in parts)
    return fit, test


def bags(windows: Windows, n: int, size: int) -> Tensor:
    """How often each word occurs in the first ``n`` of each window, (N, V) float64."""
    words = windows.first(n).words
    zeros = torch.zeros((len(words), size), dtype=torch.float64, device=words.device)
    return zeros.scatter_add_(1, words, torch.ones_like(words, dtype=torch.float64))


def steps(world: World, seed: int, settings: Settings) -> Scores:
    """Percent of windows whose source ("source"), and whose family ("family"), each way names right, by length.

    Families as "given" (:data:`FAMILIES`), and as "found" by :func:`clustered` in the words of the training text.
    """
    corpus, (fit, test) = world.language.corpus, _windows(world, settings)
    counts = counted(corpus.train, settings["words"][-1], corpus.size, seed)
    seen = bags(fit, max(settings["lengths"]), corpus.size)
    p = fitted(counts, None, seen, fit.task, settings["lean"])
    given = named_families(corpus.tasks, settings["families"])
    families = {"given": given, "found": clustered(p, len(settings["families"]))}
    found: Scores = {"lengths": settings["lengths"], "families": families}
    bag = {n: bags(test, n, corpus.size) for n in settings["lengths"]}
    for kind, family in families.items():
        found[kind] = {
            name: _named([way(bag[n], p.log(), family) for n in bag], test.task, family) for name, way in WAYS.items()
        }
    return found


def _named(scores: Sequence[Tensor], task: Tensor, family: Tensor) -> dict[str, list[float]]:
    best = [score.argmax(1) for score in scores]
    return {
        "source": [metrics.accuracy(one, task) for one in best],
        "family": [metrics.accuracy(family[one], family[task]) for one in best],
    }


def few_words(world: World, seed: int, settings: Settings) -> Scores:
    """What it is worth to lean on one's family where there is little training text, against leaning on all sources.

    Lists over "words" of training text for each source: "nats" for a word of test text whose source is known, and
    percent of test windows of the longest length that exact Bayes names right, "source". How much to lean is chosen on
    validation text, for each alike.
    """
    corpus, (fit, test) = world.language.corpus, _windows(world, settings)
    seen, asked = (bags(windows, max(settings["lengths"]), corpus.size) for windows in (fit, test))
    given = named_families(corpus.tasks, settings["families"])
    by: dict[str, dict[str, list[float]]] = {}
    for words in settings["words"]:
        counts = counted(corpus.train, words, corpus.size, seed)
        found = clustered(fitted(counts, None, seen, fit.task, settings["lean"]), len(settings["families"]))
        for kind, family in {"all": None, "given": given, "found": found}.items():
            p = fitted(counts, family, seen, fit.task, settings["lean"])
            row = by.setdefault(kind, {"nats": [], "source": []})
            row["nats"].append(-float((asked * p[test.task].log()).sum() / asked.sum()))
            row["source"].append(metrics.accuracy(all_sources(asked, p.log(), given).argmax(1), test.task))
    return {"words": settings["words"], **by}


DATA = {
    "words": (300, 1_000, 3_000, 10_000, 30_000),
    "lengths": (5, 20, 80),
    "windows": 200,
    "lean": (3, 10, 30, 100, 300, 1_000, 3_000, 10_000),
    "families": FAMILIES,
}
ROWS: dict[str, Row] = {
    "families/steps": Row(steps, "sources in families: one step, flat or in two levels", DATA),
    "families/few_words": Row(few_words, "little text: leaning on one's family", DATA),
}
_FEW = {"words": (100, 500), "lengths": (5, 20), "windows": 10, "lean": (10, 100)}
SMALL: dict[str, dict[str, Any]] = dict.fromkeys(ROWS, _FEW)
