"""A source that was never trained: its Z is found by gradient steps, and so is the LSTM's input, which is no help.

Everything is trained on the other sources. Then, weights frozen, one z for the whole new source is optimised on a few
words of it; beside it, all weights are fine-tuned on the same words. Losses are nats a word on the source's test text.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from gbi_helpers.experiments.language.inference import evidence, fit_gaps, log_likelihoods, nearness, slopes
from gbi_helpers.experiments.language.recipes import ClippedAdamW
from gbi_helpers.experiments.language.windows import Corpus, Part, Windows, even_windows, losses
from gbi_helpers.inference import iterate
from gbi_helpers.models.language import WordModel
from gbi_helpers.progress import progress_bar

WINDOW = 64
WORDS = (256, 2048)  # how much of the new source there is to learn from
RATES = {"free": 0.01, "logits": 0.3}  # chosen on validation text; a faster free z overshoots off the simplex
EVERY = 5  # steps of z between two looks at test text
TUNING = (0, 5, 10, 20, 50)  # steps of fine-tuning at which test text is read
Scores = dict[str, Any]


def adaptation(gbi: WordModel, lstm: WordModel, corpus: Corpus, source: str, per_source: int = 96) -> Scores:
    """How both networks, trained on all other sources of the corpus, take to this one; see :func:`adapt`, :func:`tune`.

    Also "delta": whether the gap measured on the others helps one step on this one; "known": who they are.
    """
    known, new = corpus.without(source), corpus.only([source])
    learn = {words: _windows(new, "train", words // WINDOW) for words in WORDS}
    stop, test = _windows(new, "validation", 32), _windows(new, "test", per_source)
    found: Scores = {"windows": len(test.words), "delta": delta_beyond(gbi, known, test)}
    for name, model in {"gbi": gbi, "lstm": lstm}.items():
        found[name] = {"uniform": _loss(model, test, None)}
        found[name] |= {str(words): adapt(model, part, test) for words, part in learn.items()}
        found[name] |= {f"tuned_{words}": tune(model, part, stop, test) for words, part in learn.items()}
    return found | {"known": list(known.tasks)}


def _windows(corpus: Corpus, part: Part, n: int) -> Windows:
    return even_windows(getattr(corpus, part), corpus.start, n, WINDOW)


def adapt(model: WordModel, learn: Windows, test: Windows, steps: int = 30) -> Scores:
    """Loss on ``test`` after one z was optimised on ``learn``: "free" and "logits", at every :data:`EVERY` steps.

    "z_free" and "z_logits" are the z found; "single" is the loss with the known source that suits ``learn`` best, and
    "single_task" which one that is.
    """
    pure = learn.pure(model.n_tasks)
    best = int(torch.stack([losses(model, learn, z).mean() for z in pure]).argmin())
    found: Scores = {"single_task": best, "single": _loss(model, test, pure[best])}
    for space in ("free", "logits"):
        path = shared_z(model, learn, space, steps)
        found[space] = [_loss(model, test, z) for z in path[::EVERY]]
        found[f"z_{space}"] = path[-1].tolist()
    return found


def shared_z(model: WordModel, windows: Windows, space: Literal["free", "logits"], steps: int) -> Tensor:
    """One z for all windows, optimised from the uniform one: its path (steps + 1, K)."""
    each = evidence(model, windows)
    path = iterate(
        lambda z: each(z.expand(len(windows.words), -1)).sum()[None],
        windows.uniform(model.n_tasks)[:1], steps=steps, lr=RATES[space], space=space,
    )  # fmt: skip
    return path.z[:, 0]


def tune(model: WordModel, learn: Windows, stop: Windows, test: Windows, lr: float = 1e-3) -> Scores:
    """Fine-tune all weights, z uniform, on windows of the new source; loss on ``test`` at each step of ``TUNING``.

    "early": that of the step at which ``stop``, the source's validation text, was read best.
    """
    curve, watched = [], []
    uniform = learn.uniform(model.n_tasks)[0]
    for tuned in on_the_way(model, learn, uniform, lr, TUNING):
        curve.append(_loss(tuned, test, None))
        watched.append(_loss(tuned, stop, None))
    return {"test": curve, "early": curve[watched.index(min(watched))]}


def on_the_way(
    model: WordModel, learn: Windows, z: Tensor, rate: float, looks: Sequence[int], moving: str = ""
) -> Iterator[WordModel]:
    """A copy of the model at each of the steps ``looks`` while it is fine-tuned on ``learn``, z (K,) told throughout.

    ``moving``: only weights whose names start so move, such as "bias", the output biases.
    """
    network = copy.deepcopy(model)
    weights = [weight for name, weight in network.named_parameters() if name.startswith(moving)]
    descent = ClippedAdamW(weights, lr=rate)
    draw = torch.Generator().manual_seed(0)
    for step in progress_bar(range(looks[-1] + 1), desc="fine-tuning"):
        if step in looks:
            yield network
        part = learn.rows(torch.randperm(len(learn.words), generator=draw, device=draw.device)[:16])
        loss = network.nll(network(part.inputs, z.expand(len(part.words), -1)), part.words).mean() / WINDOW
        network.zero_grad()
        loss.backward()
        descent.step()


def delta_beyond(model: WordModel, corpus: Corpus, test: Windows, n: int = 20) -> Scores:
    """Against exact Bayes over the sources of the corpus, on windows of another: one step without and with the gap."""
    delta, _ = fit_gaps(model, corpus, [n])[n]
    exact = log_likelihoods(model, test, [n])[n]
    slope = slopes(model, test.first(n))
    return {"one_step": nearness(slope, exact), "corrected": nearness(slope + delta, exact)}


def _loss(model: WordModel, windows: Windows, z: Tensor | None) -> float:
    return float(losses(model, windows, z).mean())
