"""The language study: sources as tasks, on the set that BabyLM stands behind (where at hand) and on the packages' text.

``reproduce(seeds)`` trains and measures everything and writes ``assets/records/language_<data>.json``; it goes on where
it was stopped. ``load_results(data)`` reads such a record. Test text is used for the numbers written, and for nothing
else: settings were chosen on validation text. Networks of one seed meet the same windows, so gaps are paired.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from gbi_helpers.checkpoints import run_facts, save_checkpoint
from gbi_helpers.data.text import TextData, load_text
from gbi_helpers.experiments.language import jobs as jobs_of
from gbi_helpers.experiments.language import stream
from gbi_helpers.experiments.language.inference import fit_gaps
from gbi_helpers.experiments.language.jobs import BOTH_SETS, FILTER, FILTERS, HELD_OUT, SHORT, VARIANTS, Job, Scores
from gbi_helpers.experiments.language.maps import source_map, texts_on
from gbi_helpers.experiments.language.nets import Nets
from gbi_helpers.experiments.language.reading import continue_text, delta_of, load_language, read_words
from gbi_helpers.experiments.language.recipes import NETWORKS, SETTINGS
from gbi_helpers.experiments.language.results import LanguageResults, load_results
from gbi_helpers.experiments.language.windows import corpus_of
from gbi_helpers.experiments.rows import Rows, plain, take
from gbi_helpers.files import ASSETS, DataError, add_asset, part_file, writable_cache
from gbi_helpers.records import TrainingRecord, WordsRecord

__all__ = [
    "LanguageResults", "continue_text", "delta_of", "load_language", "load_results", "read_words", "reproduce", "run",
]  # fmt: skip
DATA = ("packages", "babylm")
# Sources of the shared set whose text may be passed on: only these are quoted in records.
QUOTABLE = ("children_stories", "gutenberg", "online_chat", "scripture", "speeches", "techdoc", "wikipedia")


def job_names(data: str, tasks: Sequence[str]) -> list[str]:
    """All measurements for a set with these sources, in the order in which they are taken."""
    own = [*VARIANTS, "bpe", "map"] if data == "packages" else []
    return [*BOTH_SETS, *(f"held_out/{source}" for source in HELD_OUT.get(data, ()) if source in tasks), *own]


def run(
    seeds: Sequence[int],
    data: str,
    jobs: Sequence[str] | None = None,
    *,
    text: TextData | None = None,
    work: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    **sizes: int,
) -> Rows:
    """Take the named measurements (all if None) of each seed: {job: {seed: {metric: value}}}.

    The map, a picture, is taken of the first seed only. Finished ones are in ``work/language_<data>.json`` at once, and
    are not taken again. ``text`` replaces the set, ``changes`` settings of all networks, ``sizes`` those of
    :class:`~.language_jobs.Job`.
    """
    work = work or writable_cache() / "experiments" / "language"
    text = text or load_text(data)
    corpus = corpus_of(text)
    settings = _settings() | {"changes": dict(changes or {}), "sizes": dict(sizes), "text": corpus.digest}
    nets = Nets(corpus, data, work, changes or {})

    def measure(name: str, seed: int) -> Scores:
        started = time.process_time() - sum(nets.spent)
        found = _taken(name, Job(nets, seed, **sizes), text)
        return found | {"cpu_seconds": time.process_time() - sum(nets.spent) - started}

    wanted = [
        (name, s) for s in seeds for name in jobs or job_names(data, text.tasks) if name != "map" or s == seeds[0]
    ]
    return take(wanted, measure, work / f"language_{data}.json", settings, f"language, {data}")


def _taken(name: str, job: Job, text: TextData) -> Scores:
    kind, _, source = name.partition("/")
    if kind == "held_out":
        return jobs_of.held_out(source)(job)
    if kind == "map":
        return plane(job, text)
    if kind == "bpe":
        cut = load_text(text.name, tokens="bpe", vocabulary=1200)
        nets = Nets(corpus_of(cut), f"{job.nets.name}-bpe", job.nets.work, job.nets.changes, job.nets.spent)
        return jobs_of.pieces(Job(nets, job.seed), cut.vocabulary)
    return (BOTH_SETS | VARIANTS)[name](job)


def plane(job: Job, text: TextData) -> Scores:
    """A network whose sources have places in a plane: its loss beside GBI's, the map, and what it says at places."""
    model, record = job.nets.get("plane", job.seed)
    found: Scores = {name: value.tolist() for name, value in source_map(model, job.nets.corpus).items()}
    both = {"plane": record, "gbi": jobs_of.record_of(job, "gbi"), "lstm": jobs_of.record_of(job, "lstm")}
    found["validation"] = {name: float(one.curves["validation"][-1].mean()) for name, one in both.items()}
    found["texts"] = texts_on(
        found["x"], found["y"], lambda place: continue_text(model, text.vocabulary, place, words=14)
    )
    return found


def _settings() -> dict[str, Any]:
    filters = {name: asdict(how) for name, how in FILTERS.items()}
    return {
        **SETTINGS,
        "networks": NETWORKS,
        "filters": filters,
        "short": SHORT,
        "pieces": [list(stream.PIECE), list(stream.LONG_PIECE)],
    }


# ---------------------------------------------------------------- what is shipped


def reproduce(seeds: int, data: str | None = None) -> list[Path]:
    """Measure everything for seeds 0 .. ``seeds`` - 1 and write record, stream and checkpoints to assets: their paths.

    ``data``: "packages", "babylm" (the real set, or whatever ``load_text("babylm")`` finds), or None: both where at
    hand. Raises ``ValueError`` for another name, ``DataError`` where the named set is missing.
    """
    if data not in (None, *DATA):
        raise ValueError(f"data is '{data}': choose one of {', '.join(DATA)}.")
    paths = []
    for name in DATA if data is None else (data,):
        try:
            text = load_text(name)
        except DataError:
            if data is not None or name == "packages":
                raise
            print("BabyLM is not here, so it is left out.", file=sys.stderr)
            continue
        run(range(seeds), name, text=text)
        paths += ship(seeds, name, text)
    return paths


def ship(seeds: int, data: str, text: TextData) -> list[Path]:
    """Write what :func:`run` has left of so many seeds: the record, a stream to watch, the packages' checkpoints."""
    work = writable_cache() / "experiments" / "language"
    stored = json.loads((work / f"language_{data}.json").read_text(encoding="utf-8"))
    rows = {job: {s: row for s, row in runs.items() if int(s) < seeds} for job, runs in stored["rows"].items()}
    command = f"gbi reproduce language --seeds {seeds}"
    facts = run_facts(command=command, data=text.source, threads=torch.get_num_threads(), seed=list(range(seeds)))
    facts["cpu_minutes"] = round(_cpu_seconds(rows, work, data, seeds) / 60, 1)
    path = ASSETS / "records" / f"language_{data}.json"
    content = {"data": data, "tasks": list(text.tasks), "settings": stored["settings"], "facts": facts}
    with part_file(path) as part:
        part.write_text(json.dumps({**content, "rows": rows}) + "\n", encoding="utf-8")
    add_asset(path, **facts, metrics=load_results(data, path).headline())
    nets = Nets(corpus_of(text), data, work)
    paths = [path, *_ship_stream(Job(nets, 0), text, facts)]
    if data == "packages":
        paths += [_ship_model(Job(nets, 0), text, network, facts) for network in ("gbi", "plane")]
    print(f"Wrote {', '.join(str(path) for path in paths)}.", file=sys.stderr)
    return paths


def _cpu_seconds(rows: Rows, work: Path, data: str, seeds: int) -> float:
    """Of the measurements, and of all networks behind them, whenever they were trained."""
    networks = [path for path in work.glob(f"{data}-*.npz") if int(path.stem.split("-")[-2]) < seeds]
    trained = [TrainingRecord.load(path).facts["cpu_seconds"] for path in networks]
    return sum(trained) + sum(found["cpu_seconds"] for runs in rows.values() for found in runs.values())


def _ship_stream(job: Job, text: TextData, facts: Mapping[str, Any]) -> list[Path]:
    """One test stream as the filter reads it, word by word: of 15, the one in which it is right as often as the median.

    Only of sources that may be quoted; none where these are fewer than two.
    """
    gbi, _ = job.pair()
    corpus = job.nets.corpus
    sources = [k for k, task in enumerate(text.tasks) if text.name == "packages" or task in QUOTABLE]
    if len(sources) < 2:
        return []
    made = stream.make_streams(corpus, "test", 15, 240, seed=7, sources=sources)
    read = stream.read_inferred(gbi, made, FILTER, stream.fit_stream_delta(gbi, corpus, FILTER.chunk))
    assert read.belief is not None
    assert read.evidence is not None
    one = int((read.belief.argmax(2) == made.task).sum(1).argsort(stable=True)[7])
    words = [text.vocabulary.words[int(word)] for word in made.words[one]]
    shown = WordsRecord(read.belief[one], read.evidence[one], read.loss[one], words, list(text.tasks), made.task[one])
    path = shown.save(ASSETS / "records" / f"language_{job.nets.name}_stream.npz")
    add_asset(path, **facts)
    return [path]


def _ship_model(job: Job, text: TextData, network: str, facts: Mapping[str, Any]) -> Path:
    """A checkpoint of seed 0 with its vocabulary and the gap of one step."""
    model, record = job.nets.get(network, job.seed)
    gaps = fit_gaps(model, job.nets.corpus)
    deltas, near = ({n: plain(pair[which].tolist()) for n, pair in gaps.items()} for which in (0, 1))
    told = {**facts, "seed": job.seed, "tasks": list(text.tasks), "sizes": {"plane": model.plane}, "network": network}
    told["training"] = {key: record.facts[key] for key in ("steps", "tokens", "cpu_seconds")}
    inside = told | {"vocabulary": text.vocabulary.to_json(), "deltas": deltas, "matched": near}
    name = "packages" if network == "gbi" else network
    path = save_checkpoint(ASSETS / "checkpoints" / f"language_{name}.safetensors", model, inside)
    add_asset(path, **told)
    return path
