"""After the Z of a source never seen is found: all weights go on from there; and rivals that tune a few numbers only.

Every way is given the same words, and chooses its learning rate and its step on the source's validation text.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.experiments.language.novel import WINDOW, on_the_way, shared_z
from gbi_helpers.experiments.language.windows import Corpus, Windows, even_windows, losses
from gbi_helpers.inference import max_entropy
from gbi_helpers.models.language import WordModel

LOOKS = (0, 2, 5, 10, 20, 35, 50)  # steps at which validation text is read
SEARCH = 30  # gradient steps on z before
Scores = dict[str, Any]


def compare(
    gbi: WordModel, lstm: WordModel, corpus: Corpus, source: str, sizes: Sequence[int], rates: Sequence[float],
    looks: Sequence[int], bias: Mapping[str, Any], per_source: int,
) -> Scores:  # fmt: skip
    """Loss on the source's test text, nats per word, of each way by number of words learned from: {words: {way: ...}}.

    "gbi" and "lstm": all weights, from the uniform z. "..._found": from the z that was found on the simplex first,
    which then stays; "..._free": from one found off it. "..._z": that free z alone; "..._bias": the output biases
    alone, with "rates" and "looks" of their own (``bias``); "..._untuned": nothing. "chosen": each way's "rate" and
    "steps".
    """
    new = corpus.only([source])
    stop, test = (
        even_windows(part, new.start, n, WINDOW) for part, n in ((new.validation, 32), (new.test, per_source))
    )
    found: Scores = {"windows": len(test.words)}
    how = {"": (rates, "", looks), "_bias": (bias["rates"], "bias", bias["looks"])}
    for n in sizes:
        learn = even_windows(new.train, new.start, n // WINDOW, WINDOW)
        found[str(n)] = {"chosen": {}}
        for name, model in {"gbi": gbi, "lstm": lstm}.items():
            uniform = max_entropy(1, model.n_tasks, torch.float32, learn.words.device)[0]
            simplex, free = (shared_z(model, learn, space, SEARCH)[-1] for space in ("logits", "free"))
            starts = {"": uniform, "_found": simplex, "_free": free, "_bias": uniform}
            for way, z in starts.items():
                best = best_of(model, learn, stop, test, z, *how.get(way, how[""]))
                found[str(n)][name + way] = best["loss"]
                found[str(n)]["chosen"][name + way] = {key: best[key] for key in ("rate", "steps")}
            found[str(n)] |= {f"{name}_untuned": _loss(model, test, uniform), f"{name}_z": _loss(model, test, free)}
    return found


def best_of(
    model: WordModel,
    learn: Windows,
    stop: Windows,
    test: Windows,
    z: Tensor,
    rates: Sequence[float],
    moving: str,
    looks: Sequence[int] = LOOKS,
) -> Scores:
    """The "loss" on ``test`` after steps on ``learn``, told z throughout, at the "rate" and after the "steps", of
    ``looks``, that read ``stop`` best ("watched").
    """
    best, kept = Scores(watched=float("inf")), model
    for rate in rates:
        for steps, network in zip(looks, on_the_way(model, learn, z, rate, looks, moving), strict=True):
            watched = _loss(network, stop, z)
            if watched < best["watched"]:
                best, kept = {"watched": watched, "rate": rate, "steps": steps}, copy.deepcopy(network)
    return best | {"loss": _loss(kept, test, z)}


def _loss(model: WordModel, windows: Windows, z: Tensor) -> float:
    return float(losses(model, windows, z).mean())
