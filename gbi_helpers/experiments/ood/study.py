"""Out of distribution: which images are no digits, or no digit the network knows. Table 3 of the paper, and more.

``reproduce(seeds)`` trains and measures everything and writes ``assets/records/ood.json`` (and two checkpoints); it
goes on where it was stopped. ``load_results()`` reads the record. No setting and no step size saw a foreign image:
they were chosen on MNIST's validation images, by accuracy and log score.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.data import ImageData, add_asset, load_fashion_mnist, load_mnist
from gbi_helpers.experiments.mnist import recipes
from gbi_helpers.experiments.ood import recipes as ood_models
from gbi_helpers.experiments.ood import scores
from gbi_helpers.experiments.ood.measure import Row, classifier_row, generative_row, logits_of
from gbi_helpers.experiments.ood.sets import Sets
from gbi_helpers.experiments.ood.tables import NAME, PAIRS, OodResults, load_results
from gbi_helpers.experiments.rows import plain, take
from gbi_helpers.files import ASSETS, part_file, writable_cache
from gbi_helpers.meter import size_of, timed
from gbi_helpers.training import run_facts, save_checkpoint

__all__ = ["JOBS", "OodResults", "load_results", "reproduce", "run"]

MEMBERS = 5  # of the ensemble
SHIPPED = ("vae_mul", "classifier")  # of seed 0, for the notebook


@dataclass(frozen=True)
class Job:
    """One kind of model and one seed: the images, settings that differ, and where training goes on from."""

    sets: Sets
    seed: int
    changes: Mapping[str, Any]
    resume: Path | None = None

    def train(self, recipe: Callable[..., Any], name: str, member: int = 0, **more: Any) -> tuple[Any, Row]:
        """A trained model in eval mode, and what its training took."""
        settings = ood_models.scaled(ood_models.SETTINGS[name], self.sets.scale.sd)
        resume = self.resume and self.resume.with_suffix(f".{member}.pt")
        options = {**settings, **more, **self.changes}
        model, record = recipe(*self.sets.train, seed=self.seed + 1000 * member, resume=resume, **options)
        return model.eval(), {"train_cpu_seconds": record.facts["cpu_seconds"], "parameters": size_of(model)}


def generative(recipe: Callable[..., Any], name: str, thorough: bool = False) -> Callable[[Job], tuple[Any, Row]]:
    """A job for a generative model: every score against clothes and, if ``thorough``, all else there is to ask."""

    def measure(job: Job) -> tuple[Any, Row]:
        model, facts = job.train(recipe, name)
        return model, facts | generative_row(model, job.sets if thorough else job.sets.clothes_only())

    return measure


def near_generative(job: Job) -> tuple[Any, Row]:
    """VAE-mul trained without two digits, which differ from seed to seed, against these two."""
    sets = job.sets.without(PAIRS[job.seed % len(PAIRS)])
    model, facts = Job(sets, job.seed, job.changes, job.resume).train(recipes.train_vae, "vae_mul", n_tasks=8)
    return model, facts | generative_row(model, sets)


def classifiers(job: Job) -> tuple[Any, Row]:
    """A classifier, and the ensemble of five of which it is the first."""
    trained = [job.train(recipes.train_classifier, "classifier", member) for member in range(MEMBERS)]
    model, facts = trained[0]

    def both(images: Tensor) -> dict[str, Tensor]:
        logits = torch.stack([logits_of(one, images) for one, _ in trained])
        votes = scores.vote_scores(logits.log_softmax(2))
        return scores.classifier_scores(logits[0]) | {f"ensemble_{name}": score for name, score in votes.items()}

    return model, facts | classifier_row(job.sets, both, lambda images: logits_of(model, images))


def near_classifier(job: Job) -> tuple[Any, Row]:
    """A classifier trained without two digits, against these two."""
    sets = job.sets.without(PAIRS[job.seed % len(PAIRS)])
    model, facts = Job(sets, job.seed, job.changes, job.resume).train(recipes.train_classifier, "classifier")

    def logits(images: Tensor) -> Tensor:
        return logits_of(model, images)[:, :8]  # it has ten outputs, of which two have never been right

    return model, facts | classifier_row(sets, lambda images: scores.classifier_scores(logits(images)), logits)


def dropout(job: Job) -> tuple[Any, Row]:
    """The classifier with dropout at test, the paper's Bayesian network."""
    model, facts = job.train(ood_models.train_dropout, "dropout")

    def logits(images: Tensor) -> Tensor:
        return model.votes(images).logsumexp(0)

    def score(images: Tensor) -> dict[str, Tensor]:
        return {"softmax": scores.log_odds(logits(images))}

    return model, facts | classifier_row(job.sets.clothes_only(), score, logits)


JOBS: dict[str, Callable[[Job], tuple[Any, Row]]] = {
    "faithful": generative(ood_models.train_faithful, "faithful"),
    "vae_mul": generative(recipes.train_vae, "vae_mul", thorough=True),
    "gradient_aware": generative(recipes.train_gradient_aware, "gradient_aware"),
    "classifier": classifiers,
    "dropout": dropout,
    "near_vae_mul": near_generative,
    "near_classifier": near_classifier,
}


def run(
    seeds: Sequence[int],
    jobs: Sequence[str] | None = None,
    *,
    work: Path | None = None,
    data: ImageData | None = None,
    fashion: Tensor | None = None,
    changes: Mapping[str, Any] | None = None,
    keep: Callable[[str, int, Any, Row], None] | None = None,
) -> dict[str, dict[str, Row]]:
    """Train and measure the named ``jobs`` (all if None) for each seed: {job: {seed: row}}.

    Every finished one is in ``work/ood.json`` at once, and is not run again. ``changes`` replace settings of all
    recipes, ``data`` and ``fashion`` the images; ``keep(job, seed, model, row)`` is called with each new model.
    """
    work = work or writable_cache() / "experiments"
    state, settings = work / "ood.json", {"settings": ood_models.SETTINGS, "changes": dict(changes or {})}
    mark = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    clothes = load_fashion_mnist("slice").test.pixels() if fashion is None else fashion
    sets = Sets.of(data or load_mnist("slice"), clothes)

    def measure(name: str, seed: int) -> Row:
        job = Job(sets, seed, changes or {}, work / f"ood-{name}-{seed}-{mark}.pt")
        seconds, (model, row) = timed(JOBS[name], job)
        row = plain(row | {"seconds": seconds})
        if keep is not None:
            keep(name, seed, model, row)
        return row

    wanted = [(name, seed) for seed in seeds for name in jobs or JOBS]
    return take(wanted, measure, state, settings, "out of distribution")


def reproduce(seeds: int) -> Path:
    """Run everything for seeds 0 .. ``seeds`` - 1 on the images that come with the course, and write the record."""
    data = load_mnist("slice")
    source = f"{data.source}; {load_fashion_mnist('slice').source}"
    command = f"python -m gbi_helpers.experiments.ood.study --seeds {seeds}"
    facts = run_facts(command=command, data=source, threads=torch.get_num_threads())

    def keep(name: str, seed: int, model: Any, row: Row) -> None:
        if seed == 0 and name in SHIPPED:
            found = {"accuracy": row["accuracy"], "sizes": row.get("sizes", {})}
            more = facts | {"seed": seed, "minutes": round(row["seconds"] / 60, 2), "metrics": found}
            path = save_checkpoint(ASSETS / "checkpoints" / f"ood_{name}.safetensors", model, more)
            add_asset(path, **more)

    rows = run(range(seeds), data=data, keep=keep)
    facts["minutes"] = round(sum(row["seconds"] for runs in rows.values() for row in runs.values()) / 60, 1)
    path = ASSETS / NAME
    content = {"seeds": list(range(seeds)), "settings": ood_models.SETTINGS, "facts": facts, "rows": rows}
    with part_file(path) as part:
        part.write_text(json.dumps(content) + "\n", encoding="utf-8")
    add_asset(path, **facts, seed=list(range(seeds)), metrics=load_results(path).headline())
    (writable_cache() / "experiments" / "ood.json").unlink(missing_ok=True)
    print(f"Wrote {path}.", file=sys.stderr)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train and measure again what notebook 06 shows.")
    parser.add_argument("--seeds", type=int, default=5, help="how many (default: %(default)s)")
    reproduce(parser.parse_args().seeds)
