"""What the course asks of a model: the contract of a generative one, the likelihoods, and how a file remembers it."""

from __future__ import annotations

import importlib
import inspect
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn import functional


class Generative(Protocol):
    """An encoder, which never sees z, and a decoder, which does: x -> h, and (h, z) -> output.

    What every readout asks of a model, so that a reader's own serves as well as the course's.
    """

    n_tasks: int

    @property
    def decoder(self) -> nn.Module:
        """From a code h and a task z (B, K) to an output: the only place where z enters."""

    def encode(self, x: Tensor) -> Any:
        """The code h of inputs x (B, ...)."""

    def nll(self, output: Tensor, x: Tensor, /) -> Tensor:
        """Loss (B,) in nats, summed over the data of each sample."""

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        """The output for inputs x seen as tasks z (B, K)."""


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """-log p(x) in nats (B,) of pixels as coins: binary cross-entropy summed over each image's pixels."""
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def squared_error(output: Tensor, x: Tensor) -> Tensor:
    """Squared error (B,) summed over each image's pixels, of output and x (B, ...).

    It is -log p(x) in nats, up to a constant, for Gaussian pixels of standard deviation sqrt(1/2) = 0.71. For a
    standard deviation s, divide by 2 s^2: the step size of one-step inference then grows by the same factor.
    Raises ``ValueError`` where the two differ in more than the number of samples.
    """
    if output.shape[1:] != x.shape[1:]:  # (B, 1, H, W) less (B, H, W) is each sample less every other
        raise ValueError(
            f"The output is {tuple(output.shape)} and the data {tuple(x.shape)}: reshape one of them, so that all axes "
            "but the first agree."
        )
    return (output - x).square().flatten(1).sum(1)


def gaussian_nll(output: Tensor, x: Tensor, sd: float = 1.0) -> Tensor:
    """-log p(x) in nats (B,), up to a constant, for Gaussian noise of standard deviation ``sd`` in each direction.

    Output and x are (B, ...). Raises ``ValueError`` as :func:`squared_error` does.
    """
    return squared_error(output, x) / (2 * sd**2)


def one_hot(y: Tensor, n_tasks: int = 10) -> Tensor:
    """Task z (B, K) of known labels y (B,): 1 at the label, 0 elsewhere."""
    return functional.one_hot(y, n_tasks).float()


class Described(nn.Module):
    """A module that remembers the sizes it was made with, so that a file of its weights can say whose they are."""

    sizes: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Note the arguments by name; a copy, which is made without any, takes over those of its original."""
        made = super().__new__(cls)
        told = inspect.signature(cls.__init__).bind_partial(made, *args, **kwargs).arguments
        made.__dict__["sizes"] = dict(list(told.items())[1:])  # without self
        return made


def description(model: Described) -> dict[str, Any]:
    """Class and sizes of a model as plain values; sizes that are models themselves are described in the same way."""
    sizes = {name: description(v) if isinstance(v, Described) else v for name, v in model.sizes.items()}
    return {"class": f"{type(model).__module__}.{type(model).__qualname__}", "sizes": sizes}


def made_from(described: dict[str, Any]) -> Any:
    """An untrained model from what :func:`description` wrote. Raises ``ValueError`` where it is no model of ours."""
    told = {k: made_from(v) if isinstance(v, dict) else v for k, v in described.get("sizes", {}).items()}
    try:
        return _class(str(described.get("class")))(**told)
    except (ModuleNotFoundError, AttributeError, TypeError) as gone:  # class or size: of another version, or not ours
        raise ValueError(
            f"'{described.get('class')}' is no model of this course (in this version): make the model yourself, "
            "and fill it with load_checkpoint(path, model)."
        ) from gone


def _class(path: str) -> type[Described]:
    module, _, name = path.rpartition(".")
    kind = getattr(importlib.import_module(module), name) if module.startswith("gbi_helpers.") else None
    if not (isinstance(kind, type) and issubclass(kind, Described)):
        raise TypeError(f"{path} is no Described model")
    return kind
