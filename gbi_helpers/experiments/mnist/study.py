"""The MNIST experiments: Table 2 of the paper, what drives the one-step, and two better models.

``reproduce(seeds, size)`` trains and measures everything and writes ``assets/records/mnist_<size>.json``; it goes on
where it was stopped. ``load_results(size)`` reads such a record. Test images are used for the numbers written, and for
nothing else: all settings (see :mod:`recipes`) were chosen on validation images.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gbi_helpers import metrics, runtime
from gbi_helpers.data import ImageData, add_asset, load_fashion_mnist, load_mnist
from gbi_helpers.experiments.mnist import failures, recipes
from gbi_helpers.experiments.mnist.tables import Results, load_results
from gbi_helpers.experiments.rows import plain, take
from gbi_helpers.files import ASSETS, part_file, writable_cache
from gbi_helpers.meter import size_of, timed
from gbi_helpers.readouts import Measured, readouts, relative_time
from gbi_helpers.training import run_facts, save_checkpoint

__all__ = ["JOBS", "Results", "load_results", "reproduce", "run"]

Metrics = dict[str, float]


@dataclass(frozen=True)
class Sets:
    """The images of one run, as a model wants them, on one device."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    fashion: Tensor


@dataclass(frozen=True)
class Job:
    """One model of one seed: the images, the seed, settings that differ, and where training goes on from."""

    sets: Sets
    seed: int
    changes: Mapping[str, Any]
    resume: Path | None = None

    def train(self, recipe: Callable[..., Any], **more: Any) -> tuple[Any, Metrics]:
        """A trained model in eval mode, and what its training took."""
        model, record = recipe(*self.sets.train, seed=self.seed, resume=self.resume, **{**more, **self.changes})
        times = {"train_seconds": record.facts["seconds"], "train_cpu_seconds": record.facts["cpu_seconds"]}
        return model.eval(), {**times, "parameters": size_of(model)}


def faithful(job: Job) -> tuple[Any, Metrics]:
    """The faithful model with every readout, its statistics, its leak, and the mistakes one can make with it."""
    model, facts = job.train(recipes.train_autoencoder)
    names = ("one_step", "iterative", "likelihood", "nbi", "ebi")
    found = facts | _scores(model, job.sets, names) | posterior_statistics(model, job.sets) | _leak(model, job)
    return model, found | failures.at_test(model, *job.sets.test, job.sets.fashion)


def variant(recipe: Callable[..., Any], **options: Any) -> Callable[[Job], tuple[Any, Metrics]]:
    """A job for a model that differs from the faithful one, or from the VAE, in one thing."""

    def measure(job: Job) -> tuple[Any, Metrics]:
        model, facts = job.train(recipe, **options)
        leak = _leak(model, job) if model.latent else {}
        return model, facts | _scores(model, job.sets, ("one_step", "likelihood")) | leak

    return measure


def improved(recipe: Callable[..., Any]) -> Callable[[Job], tuple[Any, Metrics]]:
    """A job for one of the two better models."""

    def measure(job: Job) -> tuple[Any, Metrics]:
        model, facts = job.train(recipe)
        scores = _scores(model, job.sets, ("one_step", "iterative", "likelihood"))
        return model, facts | scores | posterior_statistics(model, job.sets) | _leak(model, job)

    return measure


def classifier(**options: Any) -> Callable[[Job], tuple[Any, Metrics]]:
    """A job for the canonical classifier; its time is set against a forward of the faithful autoencoder."""

    def measure(job: Job) -> tuple[Any, Metrics]:
        model, facts = job.train(recipes.train_classifier, **options)
        x, y = job.sets.test
        with torch.no_grad():
            found = metrics.accuracy(torch.cat([model(part) for part in x.split(1000)]).argmax(1), y)
        other = recipes.ConvAutoencoder().to(x.device)
        return model, facts | {"accuracy": found, "accuracy_time": relative_time(model, other, x)}

    return measure


def batch_norm(job: Job) -> tuple[Any, Metrics]:
    """The faithful model with BatchNorm, asked in the wrong mode: see :mod:`failures`."""
    model, facts = job.train(failures.train_with_batch_norm)
    return model, facts | failures.of_batch_norm(model, *job.sets.test)


JOBS: dict[str, Callable[[Job], tuple[Any, Metrics]]] = {
    "faithful": faithful,
    "pure_generative": variant(recipes.train_autoencoder, latent=0),
    "classifier": classifier(),
    "classifier_long": classifier(**recipes.SETTINGS["classifier_long"]),
    "vae_mul": improved(recipes.train_vae),
    "gradient_aware": improved(recipes.train_gradient_aware),
    **{f"latent_{size}": variant(recipes.train_autoencoder, latent=size) for size in (2, 4, 8, 16)},
    "add": variant(recipes.train_autoencoder, conditioning="add"),
    "mul": variant(recipes.train_autoencoder, conditioning="mul"),
    "vae_concat": variant(recipes.train_vae, conditioning="concat"),
    "vae_no_kl": variant(recipes.train_vae, beta=0.0),
    "soft_z": variant(recipes.train_autoencoder, soften=True),
    "batch_norm": batch_norm,
}
FULL_JOBS = ("vae_mul", "gradient_aware", "classifier", "classifier_long")  # what more images and minutes are for
SHIPPED = ("vae_mul", "gradient_aware")  # trained longer than a notebook may: seed 0 on the slice is shipped


def posterior_statistics(model: Any, sets: Sets) -> Metrics:
    """How near one step comes to the posterior; step sizes, which move confidence only, are fitted on validation.

    "correlation" of -gradient with -loss across digits; "agreement" of their choices, percent; "kl" from the posterior
    to the one-step answer, nats; negative log score and calibration error of both.
    """
    (x_fit, y_fit), (x, y) = sets.validation, sets.test
    names = ("one_step", "likelihood")
    before, after = readouts(model, x_fit, names), readouts(model, x, names)
    found, log_q = {}, {}
    for name in names:
        size = metrics.fitted_step_size(_score(before[name]), y_fit)
        log_q[name] = torch.log_softmax(size * _score(after[name]), dim=1)
        found[f"{name}_size"] = size
        found[f"{name}_log_score"] = metrics.negative_log_score(log_q[name], y)
        found[f"{name}_ece"] = metrics.calibration_error(log_q[name].exp(), y)
    return found | {
        "correlation": metrics.correlation(_score(after["one_step"]), _score(after["likelihood"])),
        "agreement": metrics.agreement(log_q["one_step"], log_q["likelihood"]),
        "kl": metrics.kl(log_q["likelihood"], log_q["one_step"]),
        "nats": float(after["likelihood"].posterior.loss.gather(1, y[:, None]).mean()),
    }


def _score(measured: Measured) -> Tensor:
    """Minus the gradient, or minus the loss of each digit."""
    posterior = measured.posterior
    return -(posterior.loss if posterior.grad is None else posterior.grad)


def _scores(model: Any, sets: Sets, names: Sequence[str]) -> Metrics:
    """Accuracy, model runs and relative time of each readout on the test images."""
    found: Metrics = {}
    for name, measured in readouts(model, sets.test[0], names).items():
        found[name] = metrics.accuracy(measured.posterior.task, sets.test[1])
        found |= {f"{name}_forwards": measured.forwards, f"{name}_backwards": measured.backwards}
        found[f"{name}_time"] = measured.relative_time
    return found


def _leak(model: Any, job: Job) -> Metrics:
    """Digit accuracy of a small network on the code, percent."""
    (x, y), (x_test, y_test) = job.sets.train, job.sets.test
    with torch.no_grad():
        h, h_test = torch.cat([model.encode(part) for part in x.split(1000)]), model.encode(x_test)
    return {"probe": recipes.probe_accuracy(h, y, h_test, y_test, job.seed)}


def run(
    seeds: Sequence[int],
    size: str,
    jobs: Sequence[str] | None = None,
    *,
    work: Path | None = None,
    data: ImageData | None = None,
    fashion: Tensor | None = None,
    changes: Mapping[str, Any] | None = None,
    keep: Callable[[str, int, Any, Metrics], None] | None = None,
) -> dict[str, dict[str, Metrics]]:
    """Train and measure the named ``jobs`` (all of ``size`` if None) for each seed: {job: {seed: {metric: value}}}.

    Every finished one is in ``work/mnist_<size>.json`` at once, and is not run again. ``changes`` replace settings of
    all recipes, ``data`` and ``fashion`` the images; ``keep(job, seed, model, metrics)`` is called with each new model.
    """
    work = work or writable_cache() / "experiments"
    state = work / f"mnist_{size}.json"
    sets = _sets(data or load_mnist(size), fashion)
    names = jobs or (list(JOBS) if size == "slice" else FULL_JOBS)
    settings = {"settings": _settings(size), "changes": dict(changes or {})}
    mark = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]

    def measure(name: str, seed: int) -> Metrics:
        special = recipes.FULL.get(name, {}) if size == "full" else {}
        job = Job(sets, seed, {**special, **(changes or {})}, work / f"{size}-{name}-{seed}-{mark}.pt")
        seconds, (model, found) = timed(JOBS[name], job)
        found = plain(found | {"seconds": seconds})
        if keep is not None:
            keep(name, seed, model, found)
        return found

    return take([(name, seed) for seed in seeds for name in names], measure, state, settings, f"MNIST {size}")


def _sets(data: ImageData, fashion: Tensor | None) -> Sets:
    device = runtime.device()
    train, validation, test = (
        (part.pixels().to(device), part.y.to(device)) for part in (data.train, data.validation, data.test)
    )
    clothes = load_fashion_mnist("slice").test.pixels() if fashion is None else fashion
    return Sets(train, validation, test, clothes.to(device))


def reproduce(seeds: int, size: str = "slice") -> Path:
    """Run everything for seeds 0 .. ``seeds`` - 1 and write the record (and, for the slice, two checkpoints) to assets.

    Raises ``ValueError`` for another size than "slice" or "full", or where the full set is not at hand.
    """
    if size not in ("slice", "full"):
        raise ValueError(f"size is '{size}': choose 'slice' or 'full'.")
    data = load_mnist(size)
    if size == "full" and len(data.train) < 50_000:
        raise ValueError(f"The full set is not at hand ({data.source}): see 'gbi data', or use size='slice'.")
    command = f"gbi reproduce mnist --seeds {seeds} --size {size}"
    facts = run_facts(command=command, data=data.source, threads=torch.get_num_threads())

    def keep(name: str, seed: int, model: Any, found: Metrics) -> None:
        if size == "slice" and seed == 0 and name in SHIPPED:
            minutes = round(found["train_seconds"] / 60, 2)
            _ship_model(name, model, facts | {"seed": seed, "minutes": minutes, "metrics": found})

    rows = run(range(seeds), size, data=data, keep=keep)
    facts["minutes"] = round(sum(found["seconds"] for runs in rows.values() for found in runs.values()) / 60, 1)
    path = ASSETS / "records" / f"mnist_{size}.json"
    content = {"size": size, "seeds": list(range(seeds)), "settings": _settings(size), "facts": facts, "rows": rows}
    with part_file(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    add_asset(path, **facts, seed=list(range(seeds)), metrics=load_results(size, path).headline())
    (writable_cache() / "experiments" / f"mnist_{size}.json").unlink(missing_ok=True)
    print(f"Wrote {path}.", file=sys.stderr)
    return path


def _settings(size: str) -> dict[str, dict[str, Any]]:
    special = recipes.FULL if size == "full" else {}
    return {name: options | special.get(name, {}) for name, options in recipes.SETTINGS.items()}


def _ship_model(name: str, model: Any, facts: dict[str, Any]) -> None:
    path = save_checkpoint(ASSETS / "checkpoints" / f"mnist_{name}.safetensors", model, facts)
    add_asset(path, **facts)
