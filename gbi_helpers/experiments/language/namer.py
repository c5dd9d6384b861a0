"""An LSTM with the label as a second target: it names the source at every word by itself, without a gradient.

Same labels, same windows in the same order, same steps as the other networks of its seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers.experiments.language import inference
from gbi_helpers.experiments.language.inference import LENGTHS, REST, fit_gaps
from gbi_helpers.experiments.language.recipes import ClippedAdamW
from gbi_helpers.experiments.language.windows import Corpus, Windows, even_windows, losses, random_windows, with_start
from gbi_helpers.metrics import accuracy, calibration_error, detection, fitted_step_size, negative_log_score
from gbi_helpers.models.language import WordLSTM, word_nll
from gbi_helpers.models.naming import WordNamer
from gbi_helpers.records import TrainingRecord
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit

Scores = dict[str, Any]


def train(
    corpus: Corpus,
    seed: int = 0,
    *,
    weight: float,
    steps: int,
    per_source: int,
    window: int,
    lr: float,
    schedule: str,
    resume: Path | None = None,
    **sizes: Any,
) -> tuple[WordNamer, TrainingRecord]:
    """A trained :class:`WordNamer` in eval mode, and its record.

    ``weight``: of the source's cross-entropy, mean over all words read, beside that of the next word.
    ``sizes``: "hidden" is taken; those of other networks are ignored.
    """
    torch.manual_seed(seed)
    with usual_defaults():
        model = WordNamer(corpus.size, corpus.n_tasks, sizes.get("hidden", 128)).to(corpus.train[0].device)

    def batch(step: int) -> Windows:
        return random_windows(corpus, per_source, window, seed * 1_000_003 + step)

    def loss(windows: Windows) -> Tensor:
        read = with_start(windows.words, windows.start)  # the source is also asked of all words, the last one too
        words, source = model.both(read)
        task = windows.task[:, None].expand(-1, window)
        naming = functional.cross_entropy(source[:, 1:].flatten(0, 1), task.flatten())
        return word_nll(words[:, :-1], windows.words).mean() + weight * naming

    record = fit(
        model, loss, batch, steps=steps, batch_size=per_source * corpus.n_tasks, lr=lr, schedule=schedule, seed=seed,
        optimizer=ClippedAdamW, resume=resume, desc="lstm that names",
    )  # fmt: skip
    record.facts["tokens"] = steps * per_source * corpus.n_tasks * window
    return model.eval(), record


@torch.no_grad()
def named(model: WordNamer, windows: Windows, batch: int = 128) -> Tensor:
    """Logits (N, T, K) of the source after 1 .. T words of each window."""
    return torch.cat([model.named(with_start(part.words, part.start))[:, 1:] for part in windows.parts(batch)])


def naming(model: WordNamer, corpus: Corpus, per_source: int, lengths: tuple[int, ...] = LENGTHS) -> Scores:
    """How well it names the source of the first n words: the scores of :func:`.inference.naming`, same windows."""
    longest = max(lengths)
    fit_on = even_windows(corpus.validation, corpus.start, max(per_source // 2, 8), longest)
    test = even_windows(corpus.test, corpus.start, per_source, longest)
    before, after = named(model, fit_on), named(model, test)
    found: Scores = {"lengths": list(lengths), "windows": len(test.words)}
    for n in lengths:
        size, score = fitted_step_size(before[:, n - 1], fit_on.task), after[:, n - 1]
        log_q, fitted = torch.log_softmax(score, 1), torch.log_softmax(size * score, 1)
        one = {
            "accuracy": accuracy(score.argmax(1), test.task),
            "log_score": negative_log_score(log_q, test.task),
            "step_size": size,
            "fitted_log_score": negative_log_score(fitted, test.task),
            "ece": calibration_error(log_q.exp(), test.task),
            "fitted_ece": calibration_error(fitted.exp(), test.task),
        }
        for key, value in one.items():
            found.setdefault(key, []).append(value)
    return found


def language(model: WordNamer, gbi: WordLSTM, lstm: WordLSTM, corpus: Corpus, per_source: int) -> Scores:
    """Test losses in nats per word of the first 64 words: its own, the LSTM's, GBI's told the source.

    And of words 64 to 127 read by GBI with its belief from the first n words as Z: "rest".
    """
    windows = even_windows(corpus.test, corpus.start, per_source, REST.stop)
    own = {"namer": losses(model, windows), "lstm": losses(lstm, windows)}
    own["gbi"] = losses(gbi, windows, windows.z(corpus.n_tasks))
    beliefs = torch.softmax(named(model, windows.first(max(LENGTHS))), 2)
    rest = [float(losses(gbi, windows, beliefs[:, n - 1])[:, REST].mean()) for n in LENGTHS]
    return {**{name: float(loss[:, :64].mean()) for name, loss in own.items()}, "rest": rest}


def beyond(model: WordNamer, gbi: WordLSTM, whole: Corpus, source: str, per_source: int) -> Scores:
    """What is believed of a source that nobody was trained on: who is how sure, after each number of words.

    Lists over :data:`LENGTHS` for each way: mean entropy in nats on windows of known sources ("known") and of the new
    one ("new"), mean top probability on the new one ("sure"), and the AUROC of the top probability as a sign of
    familiarity; each with the step size fitted on validation windows of the known sources.
    """
    corpus, longest = whole.without(source), max(LENGTHS)
    parts = {
        "fit": even_windows(corpus.validation, corpus.start, per_source // 2, longest),
        "known": even_windows(corpus.test, corpus.start, per_source, longest),
        "new": even_windows(whole.only([source]).test, corpus.start, per_source * corpus.n_tasks // 2, longest),
    }
    gaps, shares = fit_gaps(gbi, corpus), inference.naming_shares(corpus, parts["fit"], LENGTHS)
    scores = {name: inference.source_scores(gbi, corpus, part, shares, gaps) for name, part in parts.items()}
    for name, part in parts.items():
        own = named(model, part)
        for n in LENGTHS:
            scores[name][n]["namer"] = own[:, n - 1]
    found: Scores = {"lengths": list(LENGTHS)}
    for n in LENGTHS:
        for way in ("one_step", "corrected", "exact", "unigram", "bigram", "namer"):
            size = fitted_step_size(scores["fit"][n][way], parts["fit"].task)
            q = {name: torch.softmax(size * scores[name][n][way], 1) for name in ("known", "new")}
            top = {name: value.amax(1) for name, value in q.items()}
            one = {
                **{name: float(torch.special.entr(value).sum(1).mean()) for name, value in q.items()},
                "sure": float(top["new"].mean()),
                "auroc": detection(top["known"], top["new"]).auroc,
            }
            for key, value in one.items():
                found.setdefault(way, {}).setdefault(key, []).append(value)
    return found
