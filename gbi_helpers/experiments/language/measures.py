"""What the rows of the language study measure: each function takes the world, a seed and the row's settings.

Test text is used for the numbers returned, and for nothing else: what can be chosen is chosen on validation text.
Losses are in nats a word, accuracies in percent.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.experiments.language import counts, inference, maps, namer, novel, stream, tuning
from gbi_helpers.experiments.language.reading import continue_text
from gbi_helpers.experiments.language.recipes import told_z
from gbi_helpers.experiments.language.windows import by_source, even_windows, losses
from gbi_helpers.experiments.language.world import Settings, World, corpus_for, trained
from gbi_helpers.metrics import accuracy, correlation, first_below
from gbi_helpers.models.language import WordLSTM
from gbi_helpers.records import TrainingRecord

Scores = dict[str, Any]
PLACES = ((0, 1), (1, 5), (5, 10), (10, 20), (20, 40), (40, 64), (64, 128))  # words of a window


def pair(world: World, seed: int, settings: Settings) -> tuple[WordLSTM, WordLSTM]:
    """The GBI network and the LSTM of this seed."""
    gbi, lstm = (trained(world, name, seed, settings)[0] for name in ("gbi", "lstm"))
    return gbi, lstm


def learning(world: World, seed: int, settings: Settings) -> Scores:
    """Curves of both networks, and their test losses: by source, and by place in the window."""
    nets = {name: trained(world, name, seed, settings) for name in ("gbi", "lstm")}
    corpus = world.corpus
    windows = even_windows(corpus.test, corpus.start, settings["per_source"], 128)
    (gbi, _), (lstm, _) = nets.values()
    true = windows.z(corpus.n_tasks)
    read = {"gbi": losses(gbi, windows, true), "lstm": losses(lstm, windows), "uniform": losses(gbi, windows)}
    found: Scores = {"windows": len(windows.words), **_on_the_way(*(record for _, record in nets.values()))}
    found |= {f"{name}_test": by_source(loss[:, :64], windows.task).tolist() for name, loss in read.items()}
    found["gap"] = float((read["lstm"] - read["gbi"])[:, :64].mean())
    found["uniform_gap"] = float((read["lstm"] - read["uniform"])[:, :64].mean())
    found["gap_by_place"] = [float((read["lstm"] - read["gbi"])[:, a:b].mean()) for a, b in PLACES]
    return found | {f"{name}_cpu_seconds": record.facts["cpu_seconds"] for name, (_, record) in nets.items()}


def _on_the_way(gbi: TrainingRecord, lstm: TrainingRecord) -> Scores:
    """What validation text said during training, and the share of the tokens after which GBI was where LSTM ended."""
    steps, curves = gbi.curves["step"], {"gbi": gbi.curves["validation"], "lstm": lstm.curves["validation"]}
    goal = float(curves["lstm"][-1].mean())
    return {
        "tokens": (steps * (gbi.facts["tokens"] / gbi.facts["steps"])).tolist(),
        **{f"{name}_validation": curve.tolist() for name, curve in curves.items()},
        "tokens_to_lstm": share_of_tokens(steps, curves["gbi"].mean(1), goal),
    }


def share_of_tokens(steps: Tensor, curve: Tensor, goal: float) -> float:
    """Share of all steps after which a curve has fallen to ``goal``; infinite if never."""
    return first_below(steps, curve, goal) / float(steps[-1])


def naming(world: World, seed: int, settings: Settings) -> Scores:
    """Naming the source of the first n words, and what goes wrong when the loss is a mean instead of a sum."""
    gbi, corpus = trained(world, "gbi", seed, settings)[0], world.corpus
    gaps = inference.fit_gaps(gbi, corpus, settings["lengths"])
    windows = even_windows(corpus.test, corpus.start, settings["per_source"], 20)
    slope = inference.slopes(gbi, windows)
    by = {"sum": 1, "mean": windows.words.numel()}
    confidence = {kind: float(torch.softmax(slope / n, 1).amax(1).mean()) for kind, n in by.items()}
    found = inference.naming(gbi, corpus, gaps, settings["per_source"])
    return found | {"confidence": confidence, "deltas": {str(n): mean.tolist() for n, (mean, _) in gaps.items()}}


def rest(world: World, seed: int, settings: Settings) -> Scores:
    """Loss of later words with z inferred from the first ones."""
    (gbi, lstm), corpus = pair(world, seed, settings), world.corpus
    gaps = inference.fit_gaps(gbi, corpus, settings["lengths"])
    return inference.rest(gbi, lstm, corpus, gaps, settings["per_source"])


def online(world: World, seed: int, settings: Settings) -> Scores:
    """Reading test streams that switch, see :func:`.stream.compare`; "long": with pieces twice as long."""
    (gbi, lstm), corpus = pair(world, seed, settings), world.corpus
    filters = {name: stream.Filter(**how) for name, how in settings["filters"].items()}
    size = (settings["streams"], settings["length"], 1000 + seed)
    short, long = (stream.make_streams(corpus, "test", *size, piece=piece) for piece in settings["pieces"])
    found = stream.compare(gbi, lstm, corpus, short, filters)
    return found | {"long": stream.compare(gbi, lstm, corpus, long, {"filter": filters["filter"]})}


def structure(world: World, seed: int, settings: Settings) -> Scores:
    """Modules of both networks, who is confused with whom, and what lies between the two most different sources."""
    (gbi, lstm), corpus = pair(world, seed, settings), world.corpus
    windows = even_windows(corpus.test, corpus.start, settings["per_source"], 64)
    cross = maps.cross_losses(gbi, windows)
    two = maps.farthest_pair(cross)
    found: Scores = {"cross": cross.tolist(), "pair": list(two), **maps.interpolation(gbi, windows, *two)}
    return found | {"gbi": maps.modules(gbi, windows), "lstm": maps.modules(lstm, windows, told=False)}


# ---------------------------------------------------------------- longer, and beside rivals


def long(world: World, seed: int, settings: Settings) -> Scores:
    """Both networks trained on: curves on validation text, and test losses as in :func:`learning`.

    "gap" is LSTM minus GBI at the end, "gap_before" that of the chapter's networks on the same windows.
    """
    nets = {name: trained(world, name, seed, settings) for name in settings["networks"]}
    windows = even_windows(world.corpus.test, world.corpus.start, settings["per_source"], 64)
    true = windows.z(world.corpus.n_tasks)
    test = {name: losses(net, windows, true if "gbi" in name else None) for name, (net, _) in nets.items()}
    found: Scores = {"windows": len(windows.words), **_on_the_way(nets["gbi_long"][1], nets["lstm_long"][1])}
    found |= {f"{name}_test": float(loss.mean()) for name, loss in test.items()}
    found |= {f"{name}_cpu_seconds": record.facts["cpu_seconds"] for name, (_, record) in nets.items()}
    before, after = (found[f"lstm{end}_test"] - found[f"gbi{end}_test"] for end in ("", "_long"))
    return found | {"gap_before": before, "gap": after, "left": after / before}


def rest_counted(world: World, seed: int, settings: Settings) -> Scores:
    """Loss of later words with the belief of counts as Z, beside that of gradients and passes."""
    gbi, corpus = trained(world, "gbi", seed, settings)[0], world.corpus
    return counts.rest(gbi, corpus, inference.fit_gaps(gbi, corpus, settings["lengths"]), settings["per_source"])


def online_counted(world: World, seed: int, settings: Settings) -> Scores:
    """Reading test streams with a filter of counts, beside those of gradients and passes, settings chosen for each."""
    gbi, corpus = trained(world, "gbi", seed, settings)[0], world.corpus
    size = (settings["streams"], settings["length"], settings["piece"])
    test, validation = counts.streams_of(corpus, seed, *size)
    return counts.compare(gbi, corpus, test, validation, settings["grid"], settings["reread"])


def amortised(world: World, seed: int, settings: Settings) -> Scores:
    """An LSTM that names the source itself: how well, and what it costs its language."""
    nets = {name: trained(world, name, seed, settings) for name in ("namer", "gbi", "lstm")}
    (own, record), (gbi, _), (lstm, _) = nets.values()
    found = namer.naming(own, world.corpus, settings["per_source"])
    found |= namer.language(own, gbi, lstm, world.corpus, settings["per_source"])
    return found | {"train_cpu_seconds": record.facts["cpu_seconds"]}


def beyond(world: World, seed: int, settings: Settings) -> Scores:
    """What each way believes of a source that nobody was trained on: ``settings["source"]``."""
    source = settings["source"]
    own, gbi = (trained(world, f"{name}_without_{source}", seed, settings)[0] for name in ("namer", "gbi"))
    return namer.beyond(own, gbi, world.corpus, source, settings["per_source"])


def tuned(world: World, seed: int, settings: Settings) -> Scores:
    """What further training on a few words of a new source gains, from the Z found for it, and with few weights."""
    source = settings["source"]
    gbi, lstm = (trained(world, f"{name}_without_{source}", seed, settings)[0] for name in ("gbi", "lstm"))
    how = {key: settings[key] for key in ("sizes", "rates", "looks", "bias", "per_source")}
    return tuning.compare(gbi, lstm, world.corpus, source, **how)


def held_out(world: World, seed: int, settings: Settings) -> Scores:
    """How both networks take to one source that they were not trained on: ``settings["source"]``."""
    source = settings["source"]
    gbi, lstm = (trained(world, f"{name}_without_{source}", seed, settings)[0] for name in ("gbi", "lstm"))
    return novel.adaptation(gbi, lstm, world.corpus, source, settings["per_source"])


# ---------------------------------------------------------------- networks that differ in one thing


def beside(world: World, seed: int, settings: Settings) -> Scores:
    """The loss of ``settings["network"]`` at the end of its training, beside GBI's and the LSTM's after as many tokens.

    "gap" is the LSTM's loss minus its own, validation text, or that of ``settings["plain"]``, the same network told
    nothing, where there is one; "uniform" its loss told 1/K.
    """
    model, record = trained(world, settings["network"], seed, settings)
    at, corpus = int(record.curves["step"][-1]), world.corpus
    windows = even_windows(corpus.validation, corpus.start, 16, 64)
    loss = _last(record)
    found: Scores = {"steps": at, "loss": loss, "uniform": float(losses(model, windows).mean())}
    for name in ("lstm", "gbi"):
        curves = trained(world, name, seed, settings)[1].curves
        found[name] = float(curves["validation"][curves["step"] == at].mean())
    if "plain" in settings:
        found["plain"] = _last(trained(world, settings["plain"], seed, settings)[1])
    rival = found["plain" if "plain" in settings else "lstm"]
    return found | {"gap": rival - loss, "tokens_per_cpu_second": record.facts["tokens_per_cpu_second"]}


def other(world: World, seed: int, settings: Settings) -> Scores:
    """:func:`beside`; and one step, with the gap and without, against K passes, on the first 20 words."""
    model, corpus, n = trained(world, settings["network"], seed, settings)[0], world.corpus, 20
    delta, _ = inference.fit_gaps(model, corpus, [n])[n]
    windows = even_windows(corpus.test, corpus.start, settings["per_source"], n)
    exact = inference.log_likelihoods(model, windows, [n])[n]
    slope = inference.slopes(model, windows)
    ways = {"one_step": slope, "corrected": slope + delta, "exact": exact}
    return {
        **beside(world, seed, settings),
        "correlation": correlation(slope, exact),
        "corrected_correlation": correlation(slope + delta, exact),
        **{name: accuracy(score.argmax(1), windows.task) for name, score in ways.items()},
    }


def pieces(world: World, seed: int, settings: Settings) -> Scores:
    """Text cut into pieces of words: losses in nats a token and bits a character, told Z and not."""
    corpus = corpus_for(world, settings["networks"]["gbi_pieces"])
    windows = even_windows(corpus.validation, corpus.start, 16, 64)
    characters = sum(len(corpus.vocabulary.decode(row)) + 1 for row in windows.words)
    found: Scores = {"vocabulary": corpus.size, "characters_per_token": characters / windows.words.numel()}
    for name, z in (("gbi", told_z(windows.task, corpus.n_tasks, "true")), ("lstm", None)):
        model, record = trained(world, f"{name}_pieces", seed, settings)
        nats = float(losses(model, windows, z).mean())
        bits = nats / found["characters_per_token"] / math.log(2)
        found |= {name: nats, f"{name}_bits": bits, f"{name}_cpu_seconds": record.facts["cpu_seconds"]}
    return found | {"gap": found["lstm"] - found["gbi"]}


def plane(world: World, seed: int, settings: Settings) -> Scores:
    """A network whose sources have places in a plane: its loss beside GBI's, the map, and what it says at places."""
    nets = {name: trained(world, name, seed, settings) for name in ("plane", "gbi", "lstm")}
    model, corpus = nets["plane"][0], world.corpus
    drawn = maps.source_map(model, corpus, settings["side"], settings["per_source"])
    found: Scores = {name: value.tolist() for name, value in drawn.items()}
    found["validation"] = {name: _last(record) for name, (_, record) in nets.items()}
    found["texts"] = maps.texts_on(
        found["x"], found["y"], lambda place: continue_text(model, corpus.vocabulary, place, words=14)
    )
    return found


def _last(record: TrainingRecord) -> float:
    """The mean over sources of the last loss on validation text."""
    return float(record.curves["validation"][-1].mean())
