"""What the rows measure: each function takes the world, a seed and the row's settings.

Test text is used for the numbers returned, and for nothing else: what can be chosen is chosen on validation text.
Losses are in nats a word, accuracies in percent. "low" and "high" bound 95 % over windows of text, not over networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.experiments.language import inference, novel, tuning
from gbi_helpers.experiments.language.windows import Corpus, Windows, by_source, even_windows, losses
from gbi_helpers.experiments.language_far.column import column
from gbi_helpers.experiments.language_far.world import Settings, World, stretches, trained
from gbi_helpers.metrics import detection, fitted_step_size, negative_log_score
from gbi_helpers.models.language import WordModel

Scores = dict[str, Any]
PAIRS = {"deep": ("gbi", "none"), "lstm": ("lstm_gbi", "lstm_none")}
BLOCK = 8  # neighbouring windows of a source, drawn together: those of one document may be alike
DRAWS = 2000
WAYS = ("one_step", "corrected", "exact", "unigram", "bigram")


def over_windows(values: Tensor, task: Tensor) -> dict[str, float]:
    """Mean of values (N,) over windows in the order of their sources (N,), and a 95 % interval: "mean", "low", "high".

    A bootstrap over blocks of :data:`BLOCK` neighbouring windows, within each source.
    """
    of_sources = [values[task == k].double() for k in range(int(task.max()) + 1)]
    draw = torch.Generator().manual_seed(0)
    means = []
    for own in of_sources:
        blocks = torch.stack([part.mean() for part in own.split(BLOCK)])
        rows = torch.randint(len(blocks), (DRAWS, len(blocks)), generator=draw, device=draw.device)
        means.append(blocks[rows.to(blocks.device)].mean(1))
    drawn = torch.stack(means).mean(0)
    low, high = (float(drawn.quantile(share)) for share in (0.025, 0.975))
    return {"mean": float(torch.stack([own.mean() for own in of_sources]).mean()), "low": low, "high": high}


def _models(world: World, seed: int, settings: Settings, *names: str) -> list[Any]:
    return [trained(world, name, seed, settings)[0] for name in names]


# ---------------------------------------------------------------- the gap to none


def learning(world: World, seed: int, settings: Settings) -> Scores:
    """Curves of the networks; test losses, told the source and not; and the gap between, of both kinds of network.

    "gap": told nothing minus told the true source, over the first 64 words of windows, paired window by window;
    "gap_late" over words 64 to 127, once a reader has had time to see where a text is from; "gap_bits": bits a word.
    "uniform": the loss of the network that is told sources, asked without one.
    """
    corpus = world.known
    windows = even_windows(corpus.test, corpus.start, settings["per_source"], 128)
    found: Scores = {"windows": len(windows.words), "sources": list(corpus.tasks)}
    for kind, (told, none) in PAIRS.items():
        pair = _models(world, seed, settings, told, none)
        found[kind] = _gap(pair[0], pair[1], windows)
    return found | {"curves": {name: curve(world, name, seed, settings) for pair in PAIRS.values() for name in pair}}


def _gap(told: WordModel, none: WordModel, windows: Windows) -> Scores:
    read = {"told": losses(told, windows, windows.z(told.n_tasks)), "none": losses(none, windows)}
    read["uniform"] = losses(told, windows)
    gain = read["none"] - read["told"]
    gap, late = (over_windows(part.mean(1), windows.task) for part in (gain[:, :64], gain[:, 64:]))
    return {
        "weights": sum(p.numel() for p in told.parameters()),
        **{name: over_windows(loss[:, :64].mean(1), windows.task) for name, loss in read.items()},
        **{f"{name}_late": float(loss[:, 64:].mean()) for name, loss in read.items()},
        "gap": gap,
        "gap_late": late,
        "gap_bits": {name: value / math.log(2) for name, value in gap.items()},
        "gap_by_source": by_source(gain[:, :64], windows.task).tolist(),
    }


def curve(world: World, network: str, seed: int, settings: Settings) -> Scores:
    """What a network's training looked like, all stretches joined.

    "tokens" and "validation", nats a word at each look; "training": the mean loss of each hundredth of the steps, of
    its own windows; "per_doubling": nats a word that the last doubling of the tokens brought at a constant rate.
    """
    records = [trained(world, name, seed, settings)[1] for name in stretches(settings["networks"], network)]
    a_step = records[0].facts["tokens"] / records[0].facts["steps"]
    look = [record.curves["validation"].mean(1) for record in records]
    tokens = [record.curves["step"] * a_step for record in records]
    steps = torch.cat([record.loss for record in records])
    found: Scores = {
        "tokens": torch.cat(tokens).tolist(),
        "validation": torch.cat(look).tolist(),
        "training": [float(part.mean()) for part in steps.tensor_split(min(100, len(steps)))],
        "seen": sum(record.facts["tokens"] for record in records),
        "passes": sum(record.facts["tokens"] for record in records) / sum(map(len, world.known.train)),
        "cpu_minutes": sum(record.facts["cpu_seconds"] for record in records) / 60,
    }
    return found | ({"per_doubling": _doubling(torch.cat(tokens[:-1]), torch.cat(look[:-1]))} if records[:-1] else {})


def _doubling(tokens: Tensor, loss: Tensor) -> float:
    """Slope of a loss over the last doubling of the tokens, nats a doubling: negative where it falls."""
    late = tokens >= tokens[-1] / 2
    x, y = tokens[late].double().log2(), loss[late].double()
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / x.square().sum())


# ---------------------------------------------------------------- naming


def naming(world: World, seed: int, settings: Settings) -> Scores:
    """Naming the source of the first n words, in each way, and what each believes of the source kept from training.

    For "deep" and "lstm", and each length n: see :func:`_ways`; counting is in both, on the same windows.
    """
    found: Scores = {}
    for kind, (told, _) in PAIRS.items():
        found[kind] = _named(
            trained(world, told, seed, settings)[0], world, settings["lengths"], settings["per_source"]
        )
    return found


def _named(model: WordModel, world: World, lengths: Sequence[int], per_source: int) -> Scores:
    corpus, longest = world.known, max(lengths)
    parts = {
        "fit": even_windows(corpus.validation, corpus.start, max(per_source // 2, 8), longest),
        "known": even_windows(corpus.test, corpus.start, per_source, longest),
        "new": even_windows(world.whole.only([world.new]).test, corpus.start, 2 * per_source, longest),
    }
    gaps = inference.fit_gaps(model, corpus, lengths)
    shares = inference.naming_shares(corpus, parts["fit"], lengths)
    scores = {name: inference.source_scores(model, corpus, part, shares, gaps) for name, part in parts.items()}
    found: Scores = {"windows": len(parts["known"].words), "new_windows": len(parts["new"].words)}
    for n in lengths:
        found[str(n)] = _ways({name: scores[name][n] for name in parts}, parts["fit"].task, parts["known"].task)
    return found | {"bigram_share": {str(n): share for n, share in shares.items()}}


def _ways(scores: dict[str, dict[str, Tensor]], fit_task: Tensor, task: Tensor) -> Scores:
    """How often each way is right, how near it is to exact Bayes, and what it makes of the new source.

    "over_bigram": points that it is right more often than counted pairs of words, paired window by window.
    "log_score" at step size 1, and "fitted_log_score" at the best one on validation text. With that one: "entropy" and
    "entropy_new", nats, of beliefs on known sources and on the new one; "auroc" of the top belief as a sign of which
    it is; "taken_for": how often the new one is taken for each known source, percent.
    """
    found: Scores = {}
    counted = scores["known"]["bigram"].argmax(1) == task
    for way in WAYS:
        fit, known, new = (scores[part][way] for part in ("fit", "known", "new"))
        size = fitted_step_size(fit, fit_task)
        q, q_new = torch.softmax(size * known, 1), torch.softmax(size * new, 1)
        right = known.argmax(1) == task
        found[way] = {
            "accuracy": over_windows(100.0 * right, task),
            "over_bigram": over_windows(100.0 * (right.float() - counted.float()), task),
            "log_score": negative_log_score(torch.log_softmax(known, 1), task),
            "step_size": size,
            "fitted_log_score": negative_log_score(torch.log_softmax(size * known, 1), task),
            **inference.nearness(known, scores["known"]["exact"]),
            "entropy": float(torch.special.entr(q).sum(1).mean()),
            "entropy_new": float(torch.special.entr(q_new).sum(1).mean()),
            "auroc": detection(q.amax(1), q_new.amax(1)).auroc,
            "taken_for": (100 * torch.nn.functional.one_hot(new.argmax(1), new.shape[1]).double().mean(0)).tolist(),
        }
    return found


def reading_on(world: World, seed: int, settings: Settings) -> Scores:
    """Loss of words 64 to 127 when z was inferred from the first n: what is left of the gap where nobody tells z.

    "none": the network that is told nothing; "uniform", "true"; for each length "one_step", "corrected" and "exact",
    soft beliefs at step size 1; "gain": none minus corrected, paired, with its interval.
    """
    gbi, none = _models(world, seed, settings, *PAIRS["deep"])
    corpus = world.known
    windows = even_windows(corpus.test, corpus.start, settings["per_source"], inference.REST.stop)

    def late(model: WordModel, z: Tensor | None) -> Tensor:
        return losses(model, windows, z)[:, inference.REST].mean(1)

    gaps = inference.fit_gaps(gbi, corpus, settings["lengths"])
    exact = inference.log_likelihoods(gbi, windows, settings["lengths"])
    found: Scores = {"windows": len(windows.words), "none": float((plain := late(none, None)).mean())}
    found |= {"uniform": float(late(gbi, None).mean()), "true": float(late(gbi, windows.z(corpus.n_tasks)).mean())}
    for n, (mean, _) in gaps.items():
        slope = inference.slopes(gbi, windows.first(n))
        scores = {"one_step": slope, "corrected": slope + mean, "exact": exact[n]}
        read = {name: late(gbi, torch.softmax(score, 1)) for name, score in scores.items()}
        found[str(n)] = {name: float(loss.mean()) for name, loss in read.items()}
        found[str(n)]["gain"] = over_windows(plain - read["corrected"], windows.task)
    return found


# ---------------------------------------------------------------- a source kept from training


def _new_source(world: World, settings: Settings) -> tuple[Windows, Windows, Windows]:
    """Of the source that was kept: what there is to learn from, validation windows, and test windows."""
    new, words = world.whole.only([world.new]), novel.WINDOW
    sizes = {"train": settings["learn_from"] // words, "validation": 32, "test": settings["per_source"]}
    learn, stop, test = (even_windows(getattr(new, part), new.start, n, words) for part, n in sizes.items())
    return learn, stop, test


def mixed(world: World, seed: int, settings: Settings) -> Scores:
    """The source that was kept from training, read with one z that was optimised on a few words of it, weights frozen.

    Nats a word of its test text: "uniform" and "none" before; "single", "free" and "logits" as in
    :func:`.novel.adapt`, whose "z_..." say which known sources it is mixed of; "gain_on_...": what the
    free one takes off, paired, with its interval. "delta": whether the gap of the known ones helps one step here.
    """
    gbi, none = _models(world, seed, settings, *PAIRS["deep"])
    learn, _, test = _new_source(world, settings)
    found: Scores = {"new": world.new, "known": list(world.known.tasks), "windows": len(test.words)}
    before = {"uniform": losses(gbi, test).mean(1), "none": losses(none, test).mean(1)}
    found |= {name: float(loss.mean()) for name, loss in before.items()} | novel.adapt(gbi, learn, test)
    z = torch.tensor(found["z_free"], dtype=torch.float32, device=test.words.device)
    after = losses(gbi, test, z).mean(1)
    found |= {f"gain_on_{name}": over_windows(loss - after, test.task) for name, loss in before.items()}
    return found | {"delta": novel.delta_beyond(gbi, world.known, test)}


def new_column(world: World, seed: int, settings: Settings) -> Scores:
    """The same source as a column of its own, learnt from the same words: see :func:`.column.column`."""
    (gbi,) = _models(world, seed, settings, "gbi")
    new: Corpus = world.whole.only([world.new])
    return column(gbi, new, settings["learn_from"], settings["rates"], settings["per_source"])


def tuned(world: World, seed: int, settings: Settings) -> Scores:
    """All weights of both large networks tuned on the same words, told nothing: "loss", nats a word of the test text.

    Each at the "rate" and after the "steps" that read the source's validation text best: :func:`.tuning.best_of`.
    """
    learn, stop, test = _new_source(world, settings)
    names = PAIRS["deep"]
    models = zip(names, _models(world, seed, settings, *names), strict=True)
    return {
        name: tuning.best_of(model, learn, stop, test, test.uniform(model.n_tasks)[0], settings["rates"], "")
        for name, model in models
    }
