"""What is shipped beside the record of the language study: a stream to watch, and four networks of seed 0."""

from __future__ import annotations

from pathlib import Path

from gbi_helpers.checkpoints import save_checkpoint
from gbi_helpers.experiments.language import stream
from gbi_helpers.experiments.language.inference import fit_gaps
from gbi_helpers.experiments.language.world import World, corpus_for, trained
from gbi_helpers.experiments.results import Results, plain
from gbi_helpers.files import ASSETS, add_asset
from gbi_helpers.models.language import WordLSTM
from gbi_helpers.records import WordsRecord

# Sources of the shared set whose text may be passed on: only these are quoted in records.
QUOTABLE = ("children_stories", "gutenberg", "online_chat", "scripture", "speeches", "techdoc", "wikipedia")
# Network -> the row that has its settings, and the name it is shipped under. A Z found for the source that is lacking
# helps much with one (speech), hardly with the other (recipe).
SHIPPED = {
    "gbi": ("map", "packages"),
    "plane": ("map", "plane"),
    "gbi_without_speech": ("held_out/speech", "without_speech"),
    "gbi_without_recipe": ("held_out/recipe", "without_recipe"),
}


def ship(world: World, results: Results) -> list[Path]:
    """The stream, and of the packages' networks the chapter's, the one with a plane, and two that lack a source."""
    networks = SHIPPED if results.name == "language_packages" else ()
    return [*_stream(world, results), *(_model(world, results, network) for network in networks)]


def _stream(world: World, results: Results) -> list[Path]:
    """One test stream as the filter reads it, word by word: of 15, the one in which it is right as often as the median.

    Only of sources that may be quoted; none where these are fewer than two.
    """
    corpus = world.corpus
    sources = [k for k, task in enumerate(corpus.tasks) if world.facts["name"] == "packages" or task in QUOTABLE]
    if len(sources) < 2:
        return []
    gbi: WordLSTM = trained(world, "gbi", 0, results.settings["stream"])[0]
    how = stream.Filter(**results.settings["stream"]["filters"]["filter"])
    made = stream.make_streams(corpus, "test", 15, 240, seed=7, sources=sources)
    read = stream.read_inferred(gbi, made, how, stream.fit_stream_delta(gbi, corpus, how.chunk))
    assert read.belief is not None
    assert read.evidence is not None
    one = int((read.belief.argmax(2) == made.task).sum(1).argsort(stable=True)[7])
    words = [corpus.vocabulary.words[int(word)] for word in made.words[one]]
    shown = WordsRecord(read.belief[one], read.evidence[one], read.loss[one], words, list(corpus.tasks), made.task[one])
    path = shown.save(ASSETS / "records" / f"{results.name}_stream.npz")
    add_asset(path, **results.facts)
    return [path]


def _model(world: World, results: Results, network: str) -> Path:
    """A checkpoint with its vocabulary, the sources it knows, the one it lacks, and the gap of one step."""
    row, name = SHIPPED[network]
    options = results.settings[row]["networks"][network]
    model, record = trained(world, network, 0, results.settings[row])
    corpus = corpus_for(world, options)
    gaps = fit_gaps(model, corpus)
    deltas, near = ({n: plain(pair[which]) for n, pair in gaps.items()} for which in (0, 1))
    told = {**results.facts, "seed": 0, "network": network, "tasks": list(corpus.tasks)}
    told |= {"held_out": options["without"]} if "without" in options else {}
    told["training"] = {key: record.facts[key] for key in ("steps", "tokens", "cpu_seconds")}
    inside = told | {"vocabulary": world.corpus.vocabulary.to_json(), "deltas": deltas, "matched": near}
    path = save_checkpoint(ASSETS / "checkpoints" / f"language_{name}.safetensors", model, inside)
    add_asset(path, **told)
    return path
