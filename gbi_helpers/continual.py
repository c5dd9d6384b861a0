"""Learning one context after another: what protects the old ones, what each method is told, and how much is lost.

A method is two hooks on the one training loop: ``loss`` before each backward pass, ``after`` at the end of a context
(SI has ``note`` before each step). All are told where a context ends, none that of a test image. Bytes are counted.

Three scenarios differ in the outputs that count: "task" (those of the image's context, which is told), "domain" (the
same in all contexts), "class" (all classes seen so far): van de Ven et al. 2022, doi 10.1038/s42256-022-00568-3.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from gbi_helpers.meter import bytes_of
from gbi_helpers.training import fit

Inputs = Sequence[Tensor]
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Context:
    """What is learned at one time: ``inputs`` as the model is called with them, each (N, ...), and classes ``y`` (N,).

    ``outputs`` (C,): which of the model's C outputs count here. Raises ``ValueError`` for a class that does not.
    """

    inputs: tuple[Tensor, ...]
    y: Tensor
    outputs: Tensor

    def __post_init__(self) -> None:
        classes = self.y.dim() == 1 and not self.y.is_floating_point() and len(self.outputs) > 1  # not words or numbers
        if classes and not torch.isin(self.y, self.outputs.nonzero()).all():
            raise ValueError("A class in y is not among the outputs that count here: set outputs[y] to True.")


def logits(model: nn.Module, inputs: Inputs, outputs: Tensor) -> Tensor:
    """The model's logits (B, C), minus infinity where an output does not count: ``outputs`` (C,) or (B, C)."""
    return model(*inputs).masked_fill(~outputs, -torch.inf)


class FineTuning:
    """Nothing is kept: the next context overwrites what it likes. Descends cross-entropy on a context's outputs."""

    def loss(self, model: nn.Module, inputs: Inputs, y: Tensor, outputs: Tensor) -> Tensor:
        """What a step descends, () in nats, for a batch of inputs and classes y (B,)."""
        return functional.cross_entropy(logits(model, inputs, outputs), y)

    def note(self, model: nn.Module, step: int) -> dict[str, Tensor]:
        """Called before each step of a context, and once after its last; returns what to record."""
        return {}

    def after(self, model: nn.Module, context: Context) -> None:
        """Called at the end of a context, with all that was learned from in it."""

    @property
    def stored(self) -> int:
        """Bytes kept between contexts, beside the network."""
        return 0


class Springs(FineTuning):
    """Weights that mattered to old contexts are held: strength * sum of stiffness (w - rest)^2 is added to the loss."""

    def __init__(self, strength: float):
        self.strength = strength
        self.springs: list[tuple[Weights, Weights]] = []  # stiffness and rest position of every weight

    def loss(self, model: nn.Module, inputs: Inputs, y: Tensor, outputs: Tensor) -> Tensor:
        """Cross-entropy and the springs' energy."""
        return super().loss(model, inputs, y, outputs) + self.penalty(model)

    def penalty(self, model: nn.Module) -> Tensor | float:
        """Energy () of all springs."""
        now = dict(model.named_parameters())
        each = [(how[n] * (now[n] - rest[n]).square()).sum() for how, rest in self.springs for n in now]
        return self.strength * torch.stack(each).sum() if each else 0.0

    def hold(self, model: nn.Module, stiffness: Weights, separate: bool = False) -> None:
        """A spring for each weight, where it stands: one more, or (not ``separate``) the old one, moved, stiffened."""
        old = {} if separate or not self.springs else self.springs.pop()[0]
        stiffness = {name: value + old.get(name, 0) for name, value in stiffness.items()}
        self.springs.append((stiffness, _weights(model)))

    @property
    def stored(self) -> int:
        """Stiffness and rest position of each spring."""
        return sum(bytes_of(*part.values()) for spring in self.springs for part in spring)


class EWC(Springs):
    """Elastic weight consolidation: the stiffness is the diagonal Fisher information, at strength / 2.

    ``separate``: springs for each context (Kirkpatrick et al. 2017, arXiv 1612.00796), else the newest weights carry
    the sum (online: Schwarz et al. 2018, arXiv 1805.06370). ``samples``: images that Fisher is the mean over.
    """

    def __init__(self, strength: float, samples: int = 500, separate: bool = False, seed: int = 0):
        super().__init__(strength / 2)
        self.samples, self.separate = samples, separate
        self.draw = torch.Generator().manual_seed(seed)

    def after(self, model: nn.Module, context: Context) -> None:
        """Measure what mattered here, and hold it."""
        chosen = _shuffled(context.y, self.draw)[: self.samples]
        told = fisher(model, [part[chosen] for part in context.inputs], context.outputs, self.draw)
        self.hold(model, told, self.separate)


class SI(Springs):
    """Synaptic intelligence: a weight matters by how much of the loss' fall went through it (Zenke et al. 2017).

    The stiffness adds, for each context, the sum over steps of minus gradient times movement, over the squared way
    travelled and ``damping``. arXiv 1703.04200.
    """

    def __init__(self, strength: float, damping: float = 0.1):
        super().__init__(strength)
        self.damping = damping
        self.began, self.last, self.credit = dict[str, Tensor](), dict[str, Tensor](), dict[str, Tensor]()

    def note(self, model: nn.Module, step: int) -> dict[str, Tensor]:
        """Credit the step that was just taken: minus the gradient of the context's own loss, times the movement."""
        now = _weights(model)
        if step == 0:
            self.began, self.credit = now, {n: torch.zeros_like(value) for n, value in now.items()}
        for name, parameter in model.named_parameters() if step else ():
            if parameter.grad is not None:  # the last step's; without one, as of a frozen weight, there was no movement
                self.credit[name] -= (parameter.grad - self._pull(name)) * (now[name] - self.last[name])
        self.last = now
        return {}

    def after(self, model: nn.Module, context: Context) -> None:
        """Turn credit into stiffness, and hold the weights here."""
        way = {n: (value - self.began[n]).square() + self.damping for n, value in self.last.items()}
        self.hold(model, {n: value.clamp_min(0) / way[n] for n, value in self.credit.items()})

    def _pull(self, name: str) -> Tensor | float:
        """The springs' part of the last gradient."""
        return sum(2 * self.strength * how[name] * (self.last[name] - rest[name]) for how, rest in self.springs)


class LwF(FineTuning):
    """Learning without forgetting: on the new images, answer for the old outputs as before (Li and Hoiem 2016).

    In context t the new labels weigh 1/t, the old network's answers 1 - 1/t. arXiv 1606.09282.
    """

    def __init__(self, temperature: float = 2.0):
        self.temperature, self.contexts = temperature, 0
        self.old: nn.Module | None = None
        self.known: list[Tensor] = []

    def loss(self, model: nn.Module, inputs: Inputs, y: Tensor, outputs: Tensor) -> Tensor:
        """Cross-entropy, and how far the answers have moved."""
        found = super().loss(model, inputs, y, outputs)
        if not self.old:
            return found
        with torch.no_grad():
            before = self.old(*inputs) / self.temperature
        now = model(*inputs) / self.temperature
        each = [functional.cross_entropy(now[:, known], before[:, known].softmax(1)) for known in self.known]
        share = 1 / (self.contexts + 1)
        return share * found + (1 - share) * self.temperature**2 * torch.stack(each).mean()

    def after(self, model: nn.Module, context: Context) -> None:
        """Keep the network, and which of its outputs it has learned; of those within others, the widest."""
        self.old, self.contexts = copy.deepcopy(model).eval().requires_grad_(False), self.contexts + 1
        apart = [known for known in self.known if not (context.outputs | ~known).all()]
        within = any((known | ~context.outputs).all() for known in apart)
        self.known = apart if within else [*apart, context.outputs]

    @property
    def stored(self) -> int:
        """The old network."""
        return bytes_of(*self.old.parameters()) if self.old else 0


class Replay(FineTuning):
    """Stored images, as many of each class of each context, are shown again (Chaudhry et al. 2019, arXiv 1902.10486).

    In context t new images weigh 1/t, a batch from the store 1 - 1/t (van de Ven et al. 2022). ``logits``: weight of a
    term after DER++ (Buzzega et al. 2020, arXiv 2004.07211): squared distance to what the batch's logits were when its
    context ended. Raises ``ValueError`` for a size, or a batch, below 1.
    """

    def __init__(self, size: int, batch_size: int = 64, logits: float = 0.0, seed: int = 0):
        if size < 1 or batch_size < 1:
            raise ValueError(f"size and batch_size must be 1 or more, but are {size} and {batch_size}.")
        self.size, self.batch_size, self.weight, self.contexts = size, batch_size, logits, 0
        self.draw = torch.Generator().manual_seed(seed)
        self.inputs: tuple[Tensor, ...] = ()
        self.when, self.y, self.outputs, self.answers = (torch.zeros(0) for _ in range(4))

    def loss(self, model: nn.Module, inputs: Inputs, y: Tensor, outputs: Tensor) -> Tensor:
        """Cross-entropy on new and on stored images."""
        found, before = super().loss(model, inputs, y, outputs), self.contexts
        return found / (before + 1) + before / (before + 1) * self._again(model, outputs) if before else found

    def _again(self, model: nn.Module, outputs: Tensor) -> Tensor:
        """The loss () of a batch from the store, over the outputs of now where they include those of then."""
        rows = _shuffled(self.y, self.draw)[: self.batch_size]
        then = self.outputs[rows]
        count = torch.where((outputs | ~then).all(1, keepdim=True), outputs, then)
        raw = model(*(part[rows] for part in self.inputs))
        moved = ((raw - self.answers[rows]).square() * then).sum(1).mean() if self.weight else 0.0
        return functional.cross_entropy(raw.masked_fill(~count, -torch.inf), self.y[rows]) + self.weight * moved

    @torch.no_grad()
    def after(self, model: nn.Module, context: Context) -> None:
        """Store new images, and drop old ones, so that each class of each context has as many."""
        when = torch.full((len(context.y),), self.contexts, dtype=torch.long, device=context.y.device)
        # without dropout; and not at all where nobody reads them, as a whole context may be too much for the memory
        answers = copy.deepcopy(model).eval()(*context.inputs) if self.weight else when.new_zeros(len(when), 0)
        new = [*context.inputs, when, context.y, context.outputs.expand(len(when), -1), answers]
        old = [*self.inputs, self.when, self.y, self.outputs, self.answers]
        whole = [torch.cat(parts) for parts in zip(old, new, strict=True)] if self.contexts else new
        rows = self._balanced(whole[-3], whole[-4])
        *inputs, self.when, self.y, self.outputs, self.answers = (part[rows] for part in whole)
        self.inputs, self.contexts = tuple(inputs), self.contexts + 1

    def _balanced(self, y: Tensor, when: Tensor) -> Tensor:
        """Rows, at most ``size``, that hold every class of every context equally often, as far as there are so many."""
        kind = y * (self.contexts + 1) + when  # by class alone, new images would crowd out old ones of the same class
        order = _shuffled(kind, self.draw)
        order = order[kind[order].argsort(stable=True)]  # kind by kind
        counts = torch.bincount(kind)
        place = torch.arange(len(kind), device=kind.device) - (counts.cumsum(0) - counts)[kind[order]]  # in its kind
        return order[place.argsort(stable=True)][: self.size]

    @property
    def stored(self) -> int:
        """Images (kept context by context) and classes, a byte for each pixel and class, and logits where used."""
        return sum(part.numel() for part in (*self.inputs, self.y)) + bool(self.weight) * bytes_of(self.answers)


def fisher(model: nn.Module, inputs: Inputs, outputs: Tensor, draw: torch.Generator) -> Weights:
    """Diagonal Fisher information of each weight: the mean over images of its squared gradient of log p(y | x).

    One y for each image is sampled from the model's own answer. Gradients are those of single images, in one backward
    pass: squares of a batch's mean gradient are another, far smaller number (van de Ven 2025, arXiv 2502.11756).
    """
    weights, model = _weights(model), copy.deepcopy(model).eval()  # without dropout; BatchNorm stays as it is
    p = logits(model, inputs, outputs).detach().softmax(1)
    y = torch.multinomial(p.cpu(), 1, generator=draw)[:, 0].to(p.device)

    def nats(weights: Weights, y: Tensor, *one: Tensor) -> Tensor:
        answer = functional_call(model, weights, tuple(part[None] for part in one))
        return functional.cross_entropy(answer.masked_fill(~outputs, -torch.inf), y[None])

    single = vmap(grad(nats), in_dims=(None, 0, *(0 for _ in inputs)))
    total = {name: torch.zeros_like(value) for name, value in weights.items()}
    for rows in torch.arange(len(y), device=y.device).split(50):  # all gradients of 50 images are kept at a time
        for name, value in single(weights, y[rows], *(part[rows] for part in inputs)).items():
            total[name] += value.square().sum(0)
    return {name: value / len(y) for name, value in total.items()}


def learn(
    model: nn.Module,
    contexts: Sequence[Context],
    method: FineTuning,
    test: Callable[[int], Sequence[float]],
    *,
    steps: int,
    seed: int = 0,
    **options: Any,
) -> Tensor:
    """Train a model through contexts, a new Adam for each; R (T, T), percent: row i what ``test(i)`` says after i.

    ``test(i)`` returns the accuracy on each of the T contexts, those to come as well (NaN where it makes no sense).
    ``options``: those of :func:`~gbi_helpers.training.fit`, of which the schedule is constant without a warm-up.
    """
    options, rows = {"lr": 1e-3, "batch_size": 64, "schedule": "constant", "warm_up": 0, **options}, []
    for i, context in enumerate(contexts):
        loss = lambda batch, on=context.outputs: method.loss(model, batch[:-1], batch[-1], on)  # noqa: E731
        told: dict[str, Any] = {"seed": seed * 1_000 + i, "desc": f"context {i + 1} of {len(contexts)}", **options}
        fit(model, loss, (*context.inputs, context.y), steps=steps, watch=lambda step: method.note(model, step), **told)
        method.after(model, context)
        rows.append(torch.as_tensor(test(i), dtype=torch.float64, device="cpu"))
    return torch.stack(rows)


def _weights(model: nn.Module) -> Weights:
    """A copy of all weights, by name."""
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def _shuffled(y: Tensor, draw: torch.Generator) -> Tensor:
    """The rows of y, in random order."""
    return torch.randperm(len(y), generator=draw, device=draw.device).to(y.device)
