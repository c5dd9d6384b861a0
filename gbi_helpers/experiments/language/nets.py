"""Trained language models, kept on disk: an experiment that was stopped goes on, and several share one network."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gbi_helpers.checkpoints import load_checkpoint, save_checkpoint
from gbi_helpers.experiments.language.recipes import LOOKS, NETWORKS, SETTINGS, made, train
from gbi_helpers.experiments.language.windows import Corpus
from gbi_helpers.records import TrainingRecord

Net = tuple[Any, TrainingRecord]


@dataclass(frozen=True)
class Nets:
    """Networks trained on ``corpus``, by name in :data:`~.language_recipes.NETWORKS` and seed, kept in ``work``.

    ``name`` goes into the file names; ``changes`` replace settings of all networks; ``spent`` lists CPU seconds that
    training took here.
    """

    corpus: Corpus
    name: str
    work: Path
    changes: Mapping[str, Any] = field(default_factory=dict)
    spent: list[float] = field(default_factory=list)

    def get(self, network: str, seed: int, **more: Any) -> Net:
        """The network in eval mode and its training record: from disk, or trained now (and then kept).

        ``more``: further settings, say ``steps``. Curves of the validation loss come with the networks of all sources.
        """
        options = {**SETTINGS, **NETWORKS[network], **more, **self.changes}
        weights = self.work / f"{self.name}-{network}-{seed}-{self._mark(options)}.safetensors"
        record = weights.with_suffix(".npz")
        if weights.exists() and record.exists():
            with contextlib.suppress(ValueError):  # a damaged file: it is made anew
                return load_checkpoint(weights, made(self.corpus, **options))[0], TrainingRecord.load(record)
        looks = [step for step in LOOKS if step <= options["steps"]]
        model, found = train(self.corpus, seed, looks=looks, resume=weights.with_suffix(".pt"), **options)
        found.save(record)
        save_checkpoint(weights, model, found.facts, half=False)
        self.spent.append(found.facts["cpu_seconds"])
        return model, found

    def without(self, source: str) -> Nets:
        """Networks of the other sources only."""
        return Nets(self.corpus.without(source), f"{self.name}-without-{source}", self.work, self.changes, self.spent)

    def _mark(self, options: Mapping[str, Any]) -> str:
        """Tells other settings and other text apart."""
        told = json.dumps([dict(options), self.corpus.digest], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:8]
