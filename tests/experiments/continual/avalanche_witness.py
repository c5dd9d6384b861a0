"""Another library as a witness: the same network, images and contexts through Avalanche and through our own methods.

Run it by hand where Avalanche is (``pip install --no-deps avalanche-lib==0.6.0`` beside the course, and then what its
import asks for); it writes the shipped record ``records/avalanche.json``. Not a test, and no test needs it.
"""

from __future__ import annotations

import copy
import sys
import time
from importlib.metadata import version

import torch
from torch.nn import functional

from gbi_helpers.checkpoints import run_facts
from gbi_helpers.continual import EWC, Context, FineTuning, LwF, Replay, learn
from gbi_helpers.data import torchvision
from gbi_helpers.experiments.continual import networks, study
from gbi_helpers.experiments.continual.scenarios import CONTEXTS, accuracies
from gbi_helpers.experiments.results import Results, plain
from gbi_helpers.experiments.runner import write_record
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.files import ASSETS, add_asset

SEEDS, BATCH, EPOCHS, STEPS, LR = 5, 128, 2, 47, 1e-3
STRENGTH, TEMPERATURE, SIZE = 1e4, 2.0, 1000
SHARED = {"n": 15_000, "hidden": [100, 100], "batch_size": BATCH, "lr": LR, "sees": "pixels"}
OF = {
    "fine_tuning": {},
    "ewc": {"strength": STRENGTH, "separate": True},
    "lwf": {"temperature": TEMPERATURE},
    "replay": {"size": SIZE},
}
NAMES = {"fine_tuning": "fine-tuning", "ewc": "EWC", "lwf": "LwF", "replay": "replay of 1,000"}
CONVENTIONS = {
    "avalanche": "Avalanche as it comes: all ten outputs count from the start, and Adam keeps its state from one "
    "context to the next; EWC squares the gradient of a batch's mean loss, with true labels and without a factor 1/2; "
    "LwF adds one times the divergence from the old answers; replay gives half of each step's images to the store",
    "avalanche_new_adam": "the same, but Adam starts anew in each context",
    "matched": "our loop with Avalanche's conventions: ten outputs count, EWC, LwF and replay as there, Adam anew",
    "own": "our usual conventions: outputs seen so far count, Adam anew; EWC with the Fisher information of single "
    "images, labels drawn from the model, and the factor 1/2; in context t LwF and replay give 1/t to what is new",
}


class BatchEWC(EWC):
    """EWC whose "Fisher information" is the mean over batches of the squared gradient of a batch's mean loss."""

    def __init__(self):
        super().__init__(2 * STRENGTH, separate=True)  # no factor 1/2

    def after(self, model, context):
        """Measure and hold."""
        total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        batches = [part.split(BATCH) for part in (context.inputs[0], context.y)]
        for x, y in zip(*batches, strict=True):
            grads = torch.autograd.grad(functional.cross_entropy(model(x), y), list(model.parameters()))
            for name, g in zip(total, grads, strict=True):
                total[name] += g.square() / len(batches[0])
        self.hold(model, total, separate=True)


class PlainLwF(LwF):
    """LwF with weight 1 on both parts, and on outputs of digits seen before."""

    def loss(self, model, inputs, y, outputs):
        """The gradient of cross-entropy is that of the divergence."""
        found = FineTuning.loss(self, model, inputs, y, outputs)
        if not self.old:
            return found
        with torch.no_grad():
            before = self.old(*inputs)[:, : 2 * self.contexts] / TEMPERATURE
        now = model(*inputs)[:, : 2 * self.contexts] / TEMPERATURE
        return found + functional.cross_entropy(now, before.softmax(1))


class EvenReplay(Replay):
    """Replay with one half of the weight on the store, in every context."""

    def loss(self, model, inputs, y, outputs):
        """New and stored images."""
        found = FineTuning.loss(self, model, inputs, y, outputs)
        return (found + self._again(model, outputs)) / 2 if self.contexts else found


def own(name):
    """Our method as it is."""
    options = {**OF[name], **({"batch_size": BATCH} if name == "replay" else {})}
    return networks.METHODS[name](**options)


def matched(name):
    """Our method with Avalanche's conventions."""
    return {
        "fine_tuning": FineTuning,
        "ewc": BatchEWC,
        "lwf": lambda: PlainLwF(TEMPERATURE),
        "replay": lambda: EvenReplay(SIZE, batch_size=BATCH),
    }[name]()


def ours(split, method, seed, all_outputs):
    """R and, for EWC, the sum of all stiffness after the first context."""
    told, asked = split.contexts("class"), split.contexts("class", "test")
    if all_outputs:
        told = [Context(each.inputs, each.y, torch.ones_like(each.outputs)) for each in told]
    model, traces = networks.mlp(784, (100, 100), 10, seed), []

    def test(i):
        if isinstance(method, EWC):
            traces.append(sum(float(value.sum()) for value in method.springs[0][0].values()))
        return accuracies(model, asked, "class", i)

    r = learn(model, told, method, test, steps=STEPS, seed=seed, batch_size=BATCH, lr=LR)
    return networks.told(r) | ({"trace": traces[0]} if traces else {})


def theirs(split, name, seed, new_adam):
    """The same through Avalanche, read by our own measure."""
    from avalanche.benchmarks.scenarios.dataset_scenario import benchmark_from_datasets
    from avalanche.benchmarks.scenarios.supervised import with_classes_timeline
    from avalanche.benchmarks.utils import _make_taskaware_tensor_classification_dataset as with_tasks
    from avalanche.training import EWC as TheirEWC  # noqa: N811
    from avalanche.training import LwF as TheirLwF
    from avalanche.training import Naive
    from avalanche.training import Replay as TheirReplay
    from avalanche.training.plugins import EvaluationPlugin

    torch.manual_seed(seed)
    model, asked = networks.mlp(784, (100, 100), 10, seed), split.contexts("class", "test")
    kind, options = {
        "fine_tuning": (Naive, {}),
        "ewc": (TheirEWC, {"ewc_lambda": STRENGTH, "mode": "separate"}),
        "lwf": (TheirLwF, {"alpha": 1.0, "temperature": TEMPERATURE}),
        "replay": (TheirReplay, {"mem_size": SIZE}),
    }[name]
    strategy = kind(
        model=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=LR),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=BATCH,
        train_epochs=EPOCHS,
        evaluator=EvaluationPlugin(),
        **options,
    )
    parts = [with_tasks(*split.part("train", i), task_labels=0, targets=1) for i in range(CONTEXTS)]
    stream = with_classes_timeline(benchmark_from_datasets(train=parts)).train_stream
    rows, traces = [], []
    for i, experience in enumerate(stream):
        strategy.train(experience, reset_optimizer_state=new_adam)
        rows.append(accuracies(strategy.model, asked, "class", i))
        if name == "ewc":
            (plugin,) = (each for each in strategy.plugins if hasattr(each, "importances"))
            traces.append(sum(float(each.data.sum()) for each in plugin.importances[0].values()))
    return networks.told(torch.tensor(rows, dtype=torch.float64)) | ({"trace": traces[0]} if traces else {})


WAYS = {
    "avalanche": lambda split, name, seed: theirs(split, name, seed, new_adam=False),
    "avalanche_new_adam": lambda split, name, seed: theirs(split, name, seed, new_adam=True),
    "matched": lambda split, name, seed: ours(split, matched(name), seed, all_outputs=True),
    "own": lambda split, name, seed: ours(split, own(name), seed, all_outputs=False),
}


def main():
    """Measure every row for every seed and write the record."""
    try:
        torchvision()  # beside a PyTorch without CUDA torchvision needs the course's help, or Avalanche's import fails
        import avalanche  # noqa: F401
    except ImportError as error:
        sys.exit(
            f"Avalanche cannot be imported ({error}): pip install --no-deps avalanche-lib==0.6.0, and what it asks for."
        )
    torch.set_num_threads(1)
    world, began = study.opened(Shelf.of("continual"), ""), time.process_time()
    rows = {f"{way}/{name}": {} for way in WAYS for name in OF}
    for seed in range(SEEDS):
        split = world.split(seed, SHARED)
        for way, measure in WAYS.items():
            for name in OF:
                rows[f"{way}/{name}"][str(seed)] = plain(measure(copy.deepcopy(split), name, seed))
                print(seed, way, name, rows[f"{way}/{name}"][str(seed)]["accuracy"], flush=True)
    settings = {
        f"{way}/{name}": SHARED | OF[name] | ({"epochs": EPOCHS} if way.startswith("avalanche") else {"steps": STEPS})
        for way in WAYS
        for name in OF
    }
    words = {f"{way}/{name}": NAMES[name] for way in WAYS for name in OF}
    facts = run_facts(
        command="python tests/experiments/continual/avalanche_witness.py",
        seed=list(range(SEEDS)),
        threads=1,
        minutes=round((time.process_time() - began) / 60, 1),
        conventions=CONVENTIONS,
        avalanche=version("avalanche-lib"),
        **world.facts,
    )
    path = write_record(
        ASSETS / "records" / "avalanche.json", Results("avalanche", rows, settings, facts, words), facts
    )
    add_asset(path, **{name: value for name, value in facts.items() if name != "conventions"})


if __name__ == "__main__":
    main()
