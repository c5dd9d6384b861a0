"""PyTorch's default device and dtype are the reader's: a function's new tensors take after what it is given instead.

Many GPU courses begin with ``torch.set_default_device("cuda")``. No GPU is needed here: "meta" stands for it, a device
whose tensors have no numbers, so that one made in the wrong place either cannot be joined with the others or shows.
"""

import ast
import contextlib
import copy
import dataclasses
import importlib
import inspect
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from checking import EXERCISES, rightly
from torch import Tensor, nn

from gbi_helpers import (
    adaptation,
    bayes,
    checks,
    discovery,
    inference,
    metrics,
    modularity,
    readouts,
    records,
    starts,
    theory,
    widgets,
)
from gbi_helpers.checkpoints import load_model
from gbi_helpers.data import Vocabulary, load_mnist, toy
from gbi_helpers.data.standin import render_standin
from gbi_helpers.experiments.cifar import live, prices
from gbi_helpers.experiments.cifar.recipes import train_code, train_linear, varied
from gbi_helpers.experiments.cost import counted, decoders, lookup, wall
from gbi_helpers.experiments.language import reading
from gbi_helpers.experiments.language.windows import Corpus
from gbi_helpers.experiments.language_far import column
from gbi_helpers.experiments.language_far import recipes as far
from gbi_helpers.experiments.mnist.recipes import train_gradient_aware
from gbi_helpers.experiments.toy import inference as toy_inference
from gbi_helpers.experiments.toy import modules as toy_modules
from gbi_helpers.experiments.toy import theory as toy_theory
from gbi_helpers.experiments.toy.recipes import train as train_toy
from gbi_helpers.models import base, factored, hundred, image, language, projection, slots
from gbi_helpers.models.toy import ToyLSTM
from gbi_helpers.runtime import usual_defaults
from gbi_helpers.training import fit

PACKAGE = Path(inference.__file__).parent
MODULES = (
    "adaptation", "inference", "theory", "starts", "discovery", "metrics", "records", "readouts", "bayes", "modularity",
    "widgets", "data.toy", "models.base", "models.factored", "models.hundred", "models.image", "models.projection",
)  # fmt: skip
# Layers made from nothing: like those of PyTorch, they are made where the defaults say.
FOLLOWS = {
    "models.base.made_from", "models.hundred.encoder", "models.image.conv_encoder", "models.image.conv_body",
    "models.image.mlp_body",
}  # fmt: skip
SEED = torch.Generator().manual_seed(0)


def randn(*shape):
    return torch.randn(shape, generator=SEED)


class Given(SimpleNamespace):
    """Small inputs, float32, all on one device; small models among them."""

    def to(self, device):
        return Given(**{name: copy.deepcopy(value).to(device) for name, value in vars(self).items()})

    def loss(self, z):
        return ((z @ self.weights[: z.shape[1]]) ** 3).sum(-1)


GIVEN = Given(
    model=image.ConvAutoencoder(2, 3, channels=2).eval(),
    vae=image.ConditionalVAE(2, 3, channels=2, width=8).eval(),
    reader=language.WordLSTM(6, 3, hidden=4).eval(),
    z0=torch.full((4, 3), 1 / 3),
    two=torch.full((4, 2), 1 / 2),
    weights=randn(3, 5),
    means=torch.tensor([[-1.0], [0.0], [1.0]]),
    x=randn(4, 1, 28, 28).sigmoid(),
    h=randn(4, 2),
    windows=randn(4, 6, 1),
    vectors=randn(40, 5),
    classes=torch.arange(40) % 3,
    y=torch.tensor([0, 2, 1, 2]),
    log_q=torch.log_softmax(3 * randn(4, 3), -1),
    other=torch.log_softmax(randn(4, 3), -1),
    drive=randn(6, 2, 8).abs(),
    many=randn(30, 2),
    frames=randn(6, 4, 5, 5).sigmoid(),
)
STREAM = toy.switching_stream(2, blocks=4, block=10)
LETTERS = Vocabulary(["<unk>", "<bos>", *"abcd"])


def units(d):
    steps = torch.arange(6, device=d.drive.device)
    return records.ModulesRecord(
        steps, d.drive[:, None], d.drive[:, None].flip(-1), None, {"overlap": d.drive[:, :1, 0]}
    )


def words(d):
    return records.WordsRecord(d.log_q.exp(), d.other, d.log_q[:, 0], list("abcd"), list("xyz"), d.y, {"seed": 0})


def learners(d):
    """Two learners in three contexts, looked at once in each."""
    r, heard = 100 * d.log_q[:3].exp().expand(2, 3, 3), torch.ones_like(d.weights[:, :3]).bool()
    q, stage = d.log_q.exp().expand(2, 3, 4, 3), torch.arange(3, device=d.y.device)
    names = {"learners": ["one", "two"], "contexts": list("abc"), "classes": list("xyz")}
    return records.ContinualRecord(r, q, d.x[:, 0], d.y, stage, stage + 5, heard, gates=heard.float(), **names)


def path(d):
    return inference.iterate(d.loss, d.z0, steps=5).with_frames(d.frames, d.frames[0])


def discovered_words(d):
    return slots.Words(slots.WordSlots(d.vectors[0], 3), d.classes.view(2, 4, 5))


def discovered_samples(d):
    with usual_defaults():
        model = ToyLSTM(4, "post", n_tasks=3, hidden=5)
    return slots.Samples(model.to(d.windows.device), d.windows, window=2)


def stored(record):
    """The record as it comes back from a file."""
    with tempfile.TemporaryDirectory() as folder:
        return type(record).load(record.save(Path(folder) / "record.npz"))


# Every public function, called with inputs d; what it leaves to the clock is left out.
CALLS = {
    "adaptation.descend": lambda d: adaptation.descend(lambda m: d.loss(m["z"]), {"z": d.z0}, 0.1, 2),
    "adaptation.outer_loss": lambda d: adaptation.outer_loss(
        "nothing", lambda m: d.loss(m["z"]), lambda m: d.loss(m["z"]), d.z0, lambda _: {"z": d.z0}, None
    ),
    "adaptation.for_each": lambda d: adaptation.for_each({"w": d.weights}, 2),
    "adaptation.tried": lambda d: adaptation.tried(
        lambda m: d.loss(m["z"]), lambda m: d.loss(m["z"]), {"z": d.z0}, (0.1, 0.2), (0, 2)
    ),
    "adaptation.at_best_rate": lambda d: adaptation.at_best_rate(d.x[:, 0, None], d.x[:, 0, None]),
    "inference.max_entropy": lambda d: inference.max_entropy(2, 3, d.x.dtype, d.x.device),
    "inference.one_step": lambda d: inference.one_step(d.loss, d.z0),
    "inference.enumerate_tasks": lambda d: inference.enumerate_tasks(d.loss, d.z0, log_prior=d.log_q[0]),
    "inference.rescore": lambda d: [
        inference.rescore(d.log_q, d.loss, d.z0),
        inference.rescore(d.log_q, d.loss, d.z0, within=0.5, rows=lambda index: d.loss),
    ],
    "inference.candidates": lambda d: [inference.candidates(d.log_q), inference.candidates(d.log_q, within=0.5)],
    "inference.decided": lambda d: inference.decided(d.log_q, d.other, d.other < d.log_q),
    "inference.fit_within": lambda d: inference.fit_within(d.log_q, d.other, 0.5),
    "inference.iterate": lambda d: [
        inference.iterate(d.loss, d.z0, steps=3, weight=0.1, penalty="entropy"),
        inference.iterate(d.loss, d.z0, steps=3, space="free", optimizer=torch.optim.SGD),
    ],
    "inference.loss_of": lambda d: inference.loss_of(d.model, d.x, d.model.nll)(d.z0),
    "theory.one_step_gap": lambda d: theory.one_step_gap(d.weights, 0.5),
    "theory.natural_gap": lambda d: theory.natural_gap(lambda t: t.exp().sum(-1), d.weights, d.z0[0], 2),
    "theory.gap": lambda d: theory.gap(d.loss, d.z0),
    "theory.fit_delta": lambda d: theory.fit_delta(d.loss, d.z0),
    "theory.dreamed_delta": lambda d: theory.dreamed_delta(d.other, d.z0[0]),
    "theory.second_order_gap": lambda d: theory.second_order_gap(d.loss, d.z0),
    "theory.corrected_one_step": lambda d: theory.corrected_one_step(d.loss, d.z0, d.other[0]),
    "theory.kl_bound": lambda d: theory.kl_bound(d.other),
    "theory.curvature_along": lambda d: theory.curvature_along(d.loss, d.z0, points=3),
    "theory.first_order_bound": lambda d: theory.first_order_bound(d.other - 1, d.other),
    "theory.third_order_bound": lambda d: theory.third_order_bound(d.loss, d.two, points=3),
    "theory.natural_kl": lambda d: theory.natural_kl(lambda t: t.exp().sum(-1), d.weights, d.z0[0], 2),
    "theory.natural_step": lambda d: theory.natural_step(d.loss, d.log_q.exp(), 0.5),
    "theory.survives": lambda d: theory.survives(d.log_q, d.other[0]),
    "starts.exact_start": lambda d: starts.exact_start(d.weights),
    "starts.natural_start": lambda d: starts.natural_start(lambda t: t.exp().sum(-1), d.weights),
    "starts.visible": lambda d: [starts.visible(d.weights), starts.visible(d.weights, d.z0[0])],
    "starts.nameable_share": lambda d: starts.nameable_share(20, 5),
    "metrics.summarise": lambda d: [metrics.summarise([1.0, 2.5, 4.1]), metrics.summarise(d.other)],
    "metrics.accuracy": lambda d: metrics.accuracy(d.log_q.argmax(1), d.y),
    "metrics.agreement": lambda d: metrics.agreement(d.log_q, d.other),
    "metrics.negative_log_score": lambda d: metrics.negative_log_score(d.log_q, d.y),
    "metrics.calibration_error": lambda d: metrics.calibration_error(d.log_q.exp(), d.y),
    "metrics.reliability": lambda d: metrics.reliability(d.log_q.exp(), d.y),
    "metrics.kl": lambda d: metrics.kl(d.log_q, d.other),
    "metrics.detection": lambda d: [
        metrics.detection(d.other[:, 0], d.other[:, 1]),
        metrics.detection([0.1, 0.3], [0.2]),
    ],
    "metrics.correlation": lambda d: metrics.correlation(d.log_q, d.other),
    "metrics.fitted_step_size": lambda d: metrics.fitted_step_size(d.other, d.y),
    "metrics.excess_error": lambda d: metrics.excess_error(d.windows, d.means[d.y][:, None]),
    "metrics.final_accuracy": lambda d: metrics.final_accuracy(d.weights[:, :3]),
    "metrics.learning_accuracy": lambda d: metrics.learning_accuracy(d.weights[:, :3]),
    "metrics.forgetting": lambda d: metrics.forgetting(d.weights[:, :3]),
    "metrics.backward_transfer": lambda d: metrics.backward_transfer(d.weights[:, :3]),
    "metrics.log_odds": lambda d: metrics.log_odds(d.other),
    "metrics.first_below": lambda d: metrics.first_below(d.h[:, 0].cumsum(0), d.h[:, 1], 0.0),
    "metrics.by_block": lambda d: metrics.by_block(d.many, 10),
    "metrics.blocks_to_criterion": lambda d: metrics.blocks_to_criterion(d.many.abs(), 0.7),
    "discovery.predict": lambda d: [
        discovery.predict(d.log_q, 0.1),
        discovery.predict(d.log_q, d.two[:, 0], d.log_q.exp()),
    ],
    "discovery.update": lambda d: discovery.update(d.log_q, d.other),
    "discovery.count_switches": lambda d: discovery.count_switches(d.z0, d.log_q, d.other, 0.1, 0.5),
    "discovery.merged": lambda d: discovery.merged(d.weights[:, :3].abs(), d.z0[0], 0.5),
    "discovery.discover": lambda d: [
        discovery.discover(stream(copy.deepcopy(d)), evidence, lr=0.1, every=2)
        for stream in (discovered_words, discovered_samples)
        for evidence in ("one_step", "corrected", "exact")
    ],
    "discovery.DiscoveryRecord": lambda d: stored(
        discovery.DiscoveryRecord(d.log_q[:, None], *[d.two[:, :1]] * 3, d.frames[:4, None, 0, :3, :2])
    ),
    "records.Posterior": lambda d: stored(records.Posterior(d.log_q, d.log_q[:, 0], d.other)).q,
    "records.Trajectory": lambda d: stored(path(d)),
    "records.TrainingRecord": lambda d: stored(records.TrainingRecord(d.other[0], {"a": d.many}, {"seed": 0})),
    "records.ModulesRecord": lambda d: stored(units(d)),
    "records.ContinualRecord": lambda d: stored(learners(d)),
    "records.WordsRecord": lambda d: stored(words(d)),
    "readouts.logits_of": lambda d: readouts.logits_of(lambda x: x @ d.weights[:2], d.many),
    "readouts.decoder_loss": lambda d: readouts.decoder_loss(d.model, d.x)(d.z0),
    "readouts.decoder_rows": lambda d: readouts.decoder_rows(d.model, d.x)(d.y)(d.z0),
    "readouts.gbi_one_step": lambda d: readouts.gbi_one_step(d.model, d.x),
    "readouts.gbi_iterative": lambda d: readouts.gbi_iterative(d.model, d.x, steps=3),
    "readouts.likelihood": lambda d: readouts.likelihood(d.model, d.x),
    "readouts.nbi": lambda d: readouts.nbi(d.model, d.x),
    "readouts.ebi": lambda d: readouts.ebi(d.model, d.x),
    "readouts.pixel_entropy": lambda d: readouts.pixel_entropy(d.x),
    "readouts.readouts": lambda d: [m.posterior for m in readouts.readouts(d.model, d.x, chunk=2).values()],
    "readouts.relative_time": lambda d: readouts.relative_time(d.model.encoder, d.model, d.x, 2) > 0,
    "bayes.log_likelihood": lambda d: bayes.log_likelihood(d.windows, d.means, 0.5),
    "bayes.window_posterior": lambda d: bayes.window_posterior(d.windows, d.means, 0.5),
    "bayes.bayes_filter": lambda d: bayes.bayes_filter(d.other, 0.1, d.log_q[0]),
    "bayes.predict_next": lambda d: bayes.predict_next(d.log_q, 0.1, d.means),
    "modularity.overlap": lambda d: modularity.overlap(d.drive),
    "modularity.shared_ratio": lambda d: modularity.shared_ratio(d.drive),
    "modularity.task_variance": lambda d: modularity.task_variance(d.windows[None, :2].repeat(2, 1, 1, 1)),
    "modularity.selectivity": lambda d: modularity.selectivity(d.drive),
    "modularity.module_of": lambda d: modularity.module_of(d.drive),
    "modularity.unit_order": lambda d: modularity.unit_order(d.drive[0]),
    "widgets.scrub": lambda d: [
        widgets.scrub(path(d), labels="digit", groups=list("aba")).html,
        widgets.scrub(path(d), controls=widgets.Controls(lambda image: path(d), image=(0, 3))).html,
    ],
    "widgets.modules": lambda d: widgets.modules({"one": units(d), "two": units(d)}).html,
    "widgets.slide": lambda d: [
        widgets.slide(
            {"z0": d.means[:, 0]}, widgets.Bars("q", d.log_q[:3], list("abc")), says={"nats": d.means[:, 0]}
        ).html,
        widgets.slide({"noise": widgets.Move("sd", 0.5, 2)}, widgets.OneStep(d.means[1], d.means[:, 0], 1.0)).html,
    ],
    "widgets.draw_along": lambda d: widgets.draw_along(d.vae, d.x, known=d.x, title="a pad").html,
    "widgets.learn_along": lambda d: widgets.learn_along(learners(d), title="three contexts").html,
    "widgets.read_along": lambda d: widgets.read_along(words(d), title="four words").html,
    "widgets.type_here": lambda d: widgets.type_here(d.reader, LETTERS, "a b c d", words(d)).html,
    "widgets.to_browser": lambda d: (
        widgets.to_browser(readouts.decoder_loss(d.vae, d.x[:1]), d.z0[:1], title="any model").html
    ),
    "widgets.type_along": lambda d: widgets.type_along(lambda text: words(d), text="a b c d").html,
    "data.toy.switching_stream": lambda d: [
        toy.switching_stream(2, blocks=3, block=4),
        toy.switching_stream([5], means=d.means.cpu(), blocks=3, block=4, hazard=0.3),
    ],
    "data.toy.random_z": lambda d: toy.random_z(STREAM, 3),
    "data.toy.shuffled_z": lambda d: toy.shuffled_z(STREAM),
    "data.toy.steady_windows": lambda d: toy.steady_windows(d.means, 0.3, 2, 4, seeds=2),
    "data.toy.floors": lambda d: toy.floors(STREAM),
    "models.base.bernoulli_nll": lambda d: base.bernoulli_nll(d.x - 0.5, d.x),
    "models.base.squared_error": lambda d: base.squared_error(d.x - 0.5, d.x),
    "models.base.gaussian_nll": lambda d: base.gaussian_nll(d.x - 0.5, d.x),
    "models.base.one_hot": lambda d: base.one_hot(d.y, 3),
    "models.base.description": lambda d: base.description(d.model),
    "models.hundred.class_means": lambda d: hundred.class_means(d.vectors, d.classes, 3),
    "models.hundred.nearest_equidistant": lambda d: hundred.nearest_equidistant(d.weights),
    "models.hundred.on_sphere": lambda d: hundred.on_sphere(d.weights),
    "models.hundred.balanced_sphere": lambda d: hundred.balanced_sphere(d.weights),
    "models.factored.turned": lambda d: factored.turned(d.x, 90 * d.y),
    "models.factored.mixture_of_turns": lambda d: factored.mixture_of_turns(d.x, d.z0),
    "models.factored.all_turned": lambda d: factored.all_turned(d.x, 4),
    "models.image.reconstruction": lambda d: image.reconstruction(d.model, d.x, d.y),
    "models.image.free_energy": lambda d: image.free_energy(d.vae, d.x, d.y, 0.5),
    "models.image.gradient_loss": lambda d: image.gradient_loss(d.model, d.h, d.x, d.y, d.other[0, 0]),
    "models.projection.moments": lambda d: projection.moments(d.vectors),
    "models.projection.shrunk": lambda d: projection.shrunk(d.vectors.T @ d.vectors, 0.1),
    "models.projection.whitening": lambda d: projection.whitening(*projection.moments(d.vectors), 3)(d.vectors),
    "models.projection.within_classes": lambda d: projection.within_classes(d.vectors, d.classes, n_tasks=3)(d.vectors),
    "models.projection.discriminants": lambda d: (
        projection.discriminants(d.weights.double(), (d.vectors.T @ d.vectors).double(), 0.1).matrix
    ),
}
# What cannot be asked of inputs without numbers: its answer is plain numbers, or depends on those in the input.
NEEDS_NUMBERS = {
    name for name in CALLS if name.split(".")[0] in ("records", "widgets") or name.startswith("models.projection.")
} | {
    "inference.rescore", "inference.fit_within", "discovery.merged", "discovery.DiscoveryRecord",
    "starts.exact_start", "starts.natural_start", "starts.nameable_share",
    "metrics.summarise", "metrics.accuracy", "metrics.agreement", "metrics.negative_log_score",
    "metrics.calibration_error", "metrics.reliability", "metrics.kl", "metrics.detection", "metrics.correlation",
    "metrics.fitted_step_size", "data.toy.switching_stream", "data.toy.random_z", "data.toy.shuffled_z",
    "data.toy.floors", "models.hundred.class_means", "models.base.description", "models.base.one_hot",
    "models.hundred.on_sphere", "models.hundred.balanced_sphere", "models.factored.mixture_of_turns",
    "models.image.reconstruction", "models.image.free_energy", "metrics.final_accuracy", "metrics.learning_accuracy",
    "metrics.first_below", "metrics.forgetting", "metrics.backward_transfer",
}  # fmt: skip


def public(module):
    """The names that a module offers: what ``__all__`` says, else its functions, and its records."""
    found = importlib.import_module(f"gbi_helpers.{module}")
    if hasattr(found, "__all__"):
        return {name for name in found.__all__ if not inspect.isclass(getattr(found, name))}
    own = {name: v for name, v in vars(found).items() if getattr(v, "__module__", "") == found.__name__}
    return {
        name
        for name, value in own.items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or (isinstance(value, type) and records.Record in value.__mro__[1:]))
    }


def leaves(value, where=""):
    """All numbers, texts and tensors in an answer, each with its place in it."""
    if isinstance(value, nn.Module):
        value = {**dict(value.named_parameters()), **dict(value.named_buffers())}
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, f"{where}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for key, inner in enumerate(value):
            yield from leaves(inner, f"{where}[{key}]")
    else:
        yield where, value


def assert_same(found, expected):
    """The same numbers, with the same dtype and on the same device; times apart."""
    pairs = zip(leaves(found), leaves(expected), strict=True)
    for (where, one), (_, other) in pairs:
        if isinstance(other, Tensor):
            assert (one.dtype, one.device) == (other.dtype, other.device), where
            assert torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0)), where
        elif "seconds" not in where:
            assert one == other, where


@contextlib.contextmanager
def default(other):
    """PyTorch as a reader may have set it up: with another default device, or with 64 bits."""
    set_it, usually = (
        (torch.set_default_dtype, torch.float32) if other == torch.float64 else (torch.set_default_device, None)
    )
    set_it(other)
    try:
        yield
    finally:
        set_it(usually)


needs_cuda = (pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))
CUDA = pytest.param("cuda", marks=needs_cuda)
every_default = pytest.mark.parametrize("other", ["meta", torch.float64, CUDA], ids=str)


def assert_unmoved(call, other):
    """That a call gives the same under another default as under PyTorch's own."""
    torch.manual_seed(0)
    expected = call()
    torch.manual_seed(0)
    with default(other):
        found = call()
    assert_same(found, expected)


# -- one function at a time --------------------------------------------------------------------------------------------
def test_every_public_function_is_called_here():
    offered = {f"{module}.{name}" for module in MODULES for name in public(module)}
    assert offered - FOLLOWS == set(CALLS)


@every_default
@pytest.mark.parametrize("name", CALLS)
def test_an_answer_does_not_depend_on_the_defaults(name, other):
    assert_unmoved(lambda: CALLS[name](GIVEN), other)


@pytest.mark.parametrize("device", ["meta", CUDA])
@pytest.mark.parametrize("name", sorted(set(CALLS) - NEEDS_NUMBERS))
def test_an_answer_lies_where_the_inputs_do(name, device):
    for where, value in leaves(CALLS[name](GIVEN.to(device))):
        assert not isinstance(value, Tensor) or value.device.type == device, where


@every_default
def test_starts_and_models_made_from_nothing_follow_the_defaults(other):
    with default(other):
        made = [
            inference.max_entropy(2, 3),
            *ToyLSTM(2, "post").state_dict().values(),
            *hundred.Grouped([0, 1]).buffers(),
        ]
        made += list(hundred.EquidistantModel(4, 3, width=5).state_dict().values())
        usually = torch.zeros(1)
    assert {(each.dtype, each.device) for each in made} == {(usually.dtype, usually.device)}


def test_a_toy_network_starts_from_the_same_numbers_in_64_bits():
    with default(torch.float64):
        double = ToyLSTM(2, "rec", "learned").state_dict()
    single = ToyLSTM(2, "rec", "learned").state_dict()
    assert all(torch.equal(double[name], single[name].double()) for name in single)


# -- data, files, training ---------------------------------------------------------------------------------------------
def mnist(n):
    images = load_mnist("slice").test[:n]
    return images.pixels(), images.y


def a_fit(folder):
    """Training that stops on its way and goes on from its file."""
    x, model = randn_like_always(60, 3), nn.Linear(3, 1, dtype=torch.float32, device="cpu")
    model.load_state_dict({"weight": torch.ones_like(model.weight), "bias": torch.zeros_like(model.bias)})
    left = [4]

    def loss(batch):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return (model(batch[0]) - batch[0].sum(1, keepdim=True)).square().mean()

    def run():
        return fit(model, loss, (x,), steps=8, batch_size=20, watch=lambda step: {"step": step, "half": step / 2},
                   resume=folder / "run.pt", save_every=0.0)  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        run()
    return run(), model


def randn_like_always(*shape):
    draw = torch.Generator().manual_seed(3)
    return torch.randn(shape, generator=draw, dtype=torch.float32, device="cpu")


def a_toy_run():
    run = train_toy(toy.switching_stream(2, blocks=4, block=10), "post", frames=2)
    return run.model, run.online, run.modules, toy_modules.modules_of(run, 4), toy_modules.forgetting(run, 4)


def told_of_a_toy_run():
    run = train_toy(toy.switching_stream(2, blocks=2, block=10), "add", told="random block")
    window = toy_inference.fresh_windows(run, rows=1).x[0]
    return (
        toy_inference.over_starts(run),
        toy_inference.unseen_means(run, steps=2, windows=2, tries=1),
        toy_inference.live_filter(run.model, run.stream),
        toy_inference.landscape(run.model.one(0), window, 0.3, fineness=4),
        toy_theory.gap_in_networks(run, rows=2, points=3),
        toy_theory.in_between(run, rows=2),
        toy_theory.linear_in_between(rows=3, seeds=2),
    )


def a_shipped_image_model():
    model, _ = load_model("checkpoints/mnist_vae_mul.safetensors")
    x, y = mnist(5)
    return model, readouts.gbi_one_step(model, x), metrics.accuracy(readouts.likelihood(model, x).task, y)


def a_shipped_picture_model():
    picture, _ = live.load_picture_model()
    x = torch.from_numpy(render_standin(4)[0]).permute(0, 3, 1, 2) / torch.tensor(
        255, dtype=torch.float32, device="cpu"
    )
    return live.picture_one_step(picture, x), live.picture_trajectory(picture, x[:1], steps=2), varied(x)


def a_shipped_language_model():
    model, vocabulary, tasks, facts = reading.load_language()
    record = reading.read_words(model, vocabulary, "stir the soup and bake the bread", tasks=tasks, facts=facts, true=1)
    return record, reading.continue_text(model, vocabulary, record.belief[-1], "add a pinch of", words=5)


def a_deep_language_model():
    """Two steps of training, and a new column, on a text that repeats itself."""
    ids = torch.arange(1, 6, device="cpu").repeat(60)
    both = (ids, ids.flip(0))
    corpus = Corpus(("on", "back"), LETTERS, both, both, both)
    model, record = far.train(corpus, steps=2, every=1, window=16, width=8, layers=1, heads=2)
    return record.loss, record.curves, column.column(model, corpus.only(["on"]), 64, [1e-2], 2)


def vectors():
    x = randn_like_always(60, 6)
    return x, torch.randint(3, (60,), generator=torch.Generator().manual_seed(1), device="cpu")


WHOLE = {
    "images": lambda: mnist(9),
    "words": lambda: Vocabulary(["<unk>", "<bos>", "soup"]).encode("the soup"),
    "a toy run": a_toy_run,
    "what is told of a toy run": told_of_a_toy_run,
    "an image model, trained": lambda: train_gradient_aware(*mnist(64), epochs=1, batch_size=32, channels=2, width=8),
    "a code model, trained": lambda: train_code(
        *vectors(), epochs=1, batch_size=20, n_tasks=3, width=8, group_of=[0, 1, 0]
    ),
    "a linear model, trained": lambda: train_linear(
        randn_like_always(200, 3), torch.arange(200, device="cpu") % 100, epochs=1, batch_size=100
    ),
    "a shipped image model": a_shipped_image_model,
    "a shipped picture model": a_shipped_picture_model,
    "a shipped language model": a_shipped_language_model,
    "a deep language model": a_deep_language_model,
    "passes counted": lambda: prices.passes(10),
    "operations counted": lambda: (counted.counted("gate", 10), lookup.counted_ratios("post", [10])),
    "all ways to an answer": lambda: [way() for way in wall.ways(decoders.asked("mlp", 3, 2)).values()],
    "cheap ways to an answer": lambda: [lookup.cheap(kind, 3, 2).all_losses() for kind in lookup.WORDS],
}


@every_default
@pytest.mark.parametrize("name", WHOLE)
def test_data_training_and_shipped_models_do_not_depend_on_the_defaults(name, other):
    assert_unmoved(WHOLE[name], other)


@every_default
def test_a_training_goes_on_from_its_file_under_any_default(tmp_path, other):
    assert_unmoved(lambda: a_fit(tmp_path), other)


@every_default
def test_a_student_may_make_new_tensors_under_any_default(other):
    with default(other):
        for key in ("ch06.likelihood_regret", "ch05.norms_at_corners", "ch10.beat_rescoring", "ch11.discover_tasks"):
            EXERCISES[key](rightly(EXERCISES[key]))
        checks.ch11.discover_tasks.board(lambda x: torch.zeros(len(x)))

        ours = rightly(checks.ch01.m_step)

        def m_step(x, r):  # zeros where they belong on the reader's own machine, without a word about the device
            return tuple(part + torch.zeros(len(part), dtype=x.dtype) for part in ours(x, r))

        checks.ch01.m_step(m_step)


def test_the_usual_defaults_are_those_of_a_fresh_pytorch_and_end():
    with torch.device("meta"):
        with usual_defaults():
            assert torch.zeros(1).device.type == "cpu"
        assert torch.zeros(1).is_meta
    with default(torch.float64), contextlib.suppress(KeyError), usual_defaults():
        assert torch.zeros(1).dtype == torch.float32
        raise KeyError
    assert torch.get_default_dtype() == torch.float32


# -- no new tensor without its device ----------------------------------------------------------------------------------
FACTORIES = {"arange", "as_tensor", "empty", "eye", "full", "linspace", "logspace", "ones", "rand", "randint", "randn",
             "randperm", "tensor", "zeros"}  # fmt: skip
WHOLE_NUMBERS = {"arange", "as_tensor", "randint", "randperm"}  # their dtype is that of their arguments


def of_defaults(node):
    """Whether code belongs to what may follow the defaults (a module's start), or says that it holds the usual ones."""
    if isinstance(node, ast.FunctionDef):
        return node.name == "__init__" or any("usual_defaults" in ast.unparse(each) for each in node.decorator_list)
    return isinstance(node, ast.With) and any("usual_defaults" in ast.unparse(each) for each in node.items)


def careless(node):
    """Calls that make a tensor without saying where (and, of fractions, in how many bits)."""
    if of_defaults(node):
        return
    if isinstance(node, ast.Call):
        function, named = ast.unparse(node.func), {keyword.arg for keyword in node.keywords}
        name = function.removeprefix("torch.")
        needed = {"device"} if name in WHOLE_NUMBERS else {"device", "dtype"}
        if function.startswith("torch.") and name in FACTORIES and not needed <= named:
            yield node
        if name == "max_entropy" and len(node.args) + len(needed & named) < 4:
            yield node
    for child in ast.iter_child_nodes(node):
        yield from careless(child)


def test_no_tensor_is_made_without_its_device():
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        assert [f"{path.name}:{node.lineno}: {ast.unparse(node)}" for node in careless(tree)] == []
