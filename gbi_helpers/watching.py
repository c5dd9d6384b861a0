"""Learners looked at while they go through contexts: what they know and believe at each moment, kept as a record.

As in::

    seen = Watcher(images, y, context, shown)
    method = Watched(FineTuning(), lambda i, step: seen.note("network", i, step, belief(model)), at=(10, 50, 200))
    learn(model, contexts, method, test, steps=200)
    for i, context in enumerate(contexts):
        for step, (x,), y in parts(context, at=(10, 50, 200)):
            sums.add(x, y)
            seen.note("sums", i, step, belief(sums))
    record = seen.record()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers.continual import Context, FineTuning, Inputs
from gbi_helpers.metrics import accuracy
from gbi_helpers.records import ContinualRecord
from gbi_helpers.runtime import random_state_kept


class Watched(FineTuning):
    """A method that learns as ``method`` does; ``look(context, step)`` is called after the steps ``at`` of each.

    While it looks, the model is in evaluation mode, no gradient is taken, and training draws as it would have.
    """

    def __init__(self, method: FineTuning, look: Callable[[int, int], Any], at: Sequence[int]):
        self.method, self.look, self.at, self.context = method, look, frozenset(at), 0

    def loss(self, model: nn.Module, inputs: Inputs, y: Tensor, outputs: Tensor) -> Tensor:
        """That of the method."""
        return self.method.loss(model, inputs, y, outputs)

    def note(self, model: nn.Module, step: int) -> dict[str, Tensor]:
        """Look where it is time to, then do what the method does."""
        if step in self.at:
            training = {part: part.training for part in model.modules()}  # some may be frozen
            model.eval()
            with torch.no_grad(), random_state_kept(*{parameter.device for parameter in model.parameters()}):
                self.look(self.context, step)
            for part, mode in training.items():
                part.training = mode
        return self.method.note(model, step)

    def after(self, model: nn.Module, context: Context) -> None:
        """That of the method."""
        self.method.after(model, context)
        self.context += 1

    @property
    def stored(self) -> int:
        """Bytes that the method keeps."""
        return self.method.stored


def parts(context: Context, at: Sequence[int]) -> Iterator[tuple[int, tuple[Tensor, ...], Tensor]]:
    """A context's images cut in parts, ``(step, inputs, y)``: after part ``step`` a share step / at[-1] has been seen.

    So a learner that takes each image once is looked at when one that takes ``at[-1]`` steps has made as much way.
    ``at``: rising, above 0.
    """
    done = 0
    for step in at:
        until = len(context.y) * step // at[-1]
        if until > done:
            yield step, tuple(part[done:until] for part in context.inputs), context.y[done:until]
        done = until


class Watcher:
    """Collects beliefs in K classes for M test images, moment by moment, and makes a record of them.

    ``y`` (M,): the class of each image. ``context`` (M,): the context to which it belongs. ``shown`` (N,): rows of the
    images that a reader may look at, and ``images`` (N, H, W) these images. A context of up to three classes is named
    by them.
    """

    def __init__(self, images: Tensor, y: Tensor, context: Tensor, shown: Tensor):
        self.images, self.y, self.context, self.shown = images, y, context, shown
        self.classes = list(map(str, range(int(y.max()) + 1)))
        self.contexts = list(map(self._named, range(int(context.max()) + 1)))
        self.seen: dict[str, dict[tuple[int, int], tuple[Tensor, Tensor, Tensor | None]]] = {}

    def _named(self, i: int) -> str:
        names = [self.classes[k] for k in self.y[self.context == i].unique().tolist()]
        return ", ".join(names) if len(names) <= 3 else str(i + 1)

    def note(self, learner: str, context: int, step: int, q: Tensor, means: Tensor | None = None) -> None:
        """Keep what a learner believes after ``step`` steps in a context: q (M, k), k <= K classes in their order.

        ``means`` (k, H, W): the mean pictures that it keeps, where it does. Raises ``ValueError`` for another shape.
        """
        if q.dim() != 2 or len(q) != len(self.y) or q.shape[1] > len(self.classes):
            raise ValueError(
                f"q has the shape {tuple(q.shape)}: give the belief in at most {len(self.classes)} classes for each of "
                f"the {len(self.y)} test images."
            )
        answer, kept = q.argmax(1).to(self.y.device), None if means is None else self._all(means, 0)
        r = torch.full((len(self.contexts),), torch.nan, dtype=torch.float64, device="cpu")
        for i in range(context + 1):
            mine = self.context == i
            r[i] = accuracy(answer[mine], self.y[mine])
        self.seen.setdefault(learner, {})[context, step] = r, self._all(q[self.shown.to(q.device)], 1), kept

    def _all(self, values: Tensor, axis: int) -> Tensor:
        """Float32 on the CPU, with zeros for the classes that are not there yet."""
        values = values.detach().to("cpu", torch.float32)
        shape = list(values.shape)
        shape[axis] = len(self.classes) - shape[axis]
        return torch.cat([values, values.new_zeros(shape)], dim=axis)

    def record(self, gates: Tensor | None = None) -> ContinualRecord:
        """What was noted, learners in the order in which they came; the last one's means, and ``gates`` of the first.

        Raises ``ValueError`` unless all learners were looked at in the same moments, means at all of them or at none.
        """
        looks = list(self.seen.values())
        stages = sorted(looks[0]) if looks else []
        if not stages or any(sorted(other) != stages for other in looks):
            raise ValueError("Note at least one learner, and all learners at the same steps of the same contexts.")
        context, step = torch.tensor(stages, dtype=torch.int64, device="cpu").T.contiguous()
        r, q, means = zip(*(zip(*(look[at] for at in stages), strict=True) for look in looks), strict=True)
        first = torch.stack([self.context[self.y == k].min() for k in range(len(self.classes))]).cpu()
        pictures = [each for each in means[-1] if each is not None]
        if 0 < len(pictures) < len(stages):
            raise ValueError("Means were noted at some moments only: note them at each, or at none.")
        return ContinualRecord(
            r=torch.stack([torch.stack(rows) for rows in r]),
            q=torch.stack([torch.stack(rows) for rows in q]),
            images=self.images.cpu(),
            y=self.y[self.shown].cpu(),
            context=context,
            step=step,
            known=first <= context[:, None],
            learners=list(self.seen),
            contexts=self.contexts,
            classes=self.classes,
            means=torch.stack(pictures) if pictures else None,
            gates=None if gates is None else gates.cpu(),
        )
