"""Every way of the paper's Table 2 to read the digit out of a generative model, and what each costs.

All go through :mod:`gbi_helpers.inference`; each takes a trained model and images (B, 1, 28, 28) and returns a
``Posterior`` over the K digits, or scores in that form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.inference import LossFn, enumerate_tasks, iterate, loss_of, max_entropy, one_step
from gbi_helpers.meter import Passes, timed
from gbi_helpers.models.base import Generative, bernoulli_nll
from gbi_helpers.records import Posterior

Readout = Callable[[Generative, Tensor], Posterior]
Nll = Callable[[Tensor, Tensor], Tensor]


def decoder_loss(model: Generative, x: Tensor, nll: Nll | None = None) -> LossFn:
    """z (B, K) -> loss (B,) in nats, for images x whose code is computed once, here. No gradient reaches a weight."""
    nll = nll or model.nll
    with torch.no_grad():
        h = model.encode(x)
    return loss_of(model.decoder, h, lambda output, _: nll(output, x))


def decoder_rows(model: Generative, x: Tensor, nll: Nll | None = None) -> Callable[[Tensor], LossFn]:
    """For :func:`gbi_helpers.inference.rescore`: ``rows(index)`` is the loss of the images x[index] alone, in nats.

    ``index`` (N,) may repeat; the codes of x (B, ...) are computed once, here. No gradient reaches a weight.
    """
    nll = nll or model.nll
    with torch.no_grad():
        h = model.encode(x)

    def rows(index: Tensor) -> LossFn:
        code = h[index] if isinstance(h, Tensor) else tuple(part[index] for part in h)  # a U-Net's has several parts
        return loss_of(model.decoder, code, lambda output, _: nll(output, x[index]))

    return rows


@torch.no_grad()
def logits_of(classifier: nn.Module, x: Tensor) -> Tensor:
    """Class logits (N, K) of images, a thousand at a time."""
    return torch.cat([classifier(part) for part in x.split(1000)])


def gbi_one_step(model: Generative, x: Tensor) -> Posterior:
    """One forward and one backward at maximal entropy."""
    return one_step(decoder_loss(model, x), _start(model, x))


def gbi_iterative(model: Generative, x: Tensor, steps: int = 50, lr: float = 0.2) -> Posterior:
    """``steps`` of Adam on the logits of z."""
    path = iterate(decoder_loss(model, x), _start(model, x), steps=steps, lr=lr)
    assert path.q is not None
    return Posterior(log_q=path.q[-1].clamp_min(1e-30).log(), loss=path.loss[-1])


def likelihood(model: Generative, x: Tensor) -> Posterior:
    """One forward for each digit: exact Bayes with a flat prior."""
    return enumerate_tasks(decoder_loss(model, x), _start(model, x))


def nbi(model: Generative, x: Tensor) -> Posterior:
    """Norm-based inference: the digit whose one-hot z has the smallest gradient, |dL/dz|. Scores are minus the norm."""
    loss_fn, start = decoder_loss(model, x), _start(model, x)
    norms = []
    for digit in range(model.n_tasks):
        corner = torch.zeros_like(start)
        corner[:, digit] = 1
        grad = one_step(loss_fn, corner).grad
        assert grad is not None
        norms.append(grad.norm(dim=1))
    norm = torch.stack(norms, dim=1)
    return Posterior(log_q=torch.log_softmax(-norm, dim=1), loss=norm)


def ebi(model: Generative, x: Tensor) -> Posterior:
    """Entropy-based inference: one step down the entropy of the model's own pixels, whatever the image's values are."""
    return one_step(decoder_loss(model, x, nll=lambda output, _: pixel_entropy(output)), _start(model, x))


def pixel_entropy(logits: Tensor) -> Tensor:
    """Entropy in nats (B,) of pixels that are coins with the given logits, summed over each image."""
    p = torch.sigmoid(logits)
    return functional.binary_cross_entropy_with_logits(logits, p, reduction="none").flatten(1).sum(1)


READOUTS: dict[str, Readout] = {
    "one_step": gbi_one_step,
    "iterative": gbi_iterative,
    "likelihood": likelihood,
    "nbi": nbi,
    "ebi": ebi,
}


@dataclass(frozen=True)
class Measured:
    """A readout of N images: ``posterior`` (N, K), passes through the decoder for each image, and relative time.

    ``relative_time``: seconds over those of one forward of the whole model without gradients, taken side by side on
    each chunk, the median over chunks.
    """

    posterior: Posterior
    forwards: int
    backwards: int
    relative_time: float


def readouts(
    model: Generative, images: Tensor, names: Sequence[str] = tuple(READOUTS), chunk: int = 250
) -> dict[str, Measured]:
    """Run the named readouts of Table 2 on images (N, 1, 28, 28), ``chunk`` at a time.

    "ebi" needs a model whose output are pixel logits. Model runs are counted, not assumed.
    """
    _check_names(model, names)
    return {name: _measure(model, images, READOUTS[name], chunk) for name in names}


def _check_names(model: Generative, names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in READOUTS]
    if unknown:
        raise ValueError(f"There is no readout {unknown}: choose among {list(READOUTS)}.")
    if "ebi" in names and model.nll is not bernoulli_nll:
        raise ValueError("Entropy-based inference needs pixels that are coins: leave out 'ebi' for this model.")


def _measure(model: Generative, images: Tensor, readout: Readout, chunk: int) -> Measured:
    parts, ratios, passes = [], [], Passes(model.decoder)
    for x in images.split(chunk):
        forward, _ = timed(_plain_forward, model, x)
        with passes:
            seconds, posterior = timed(readout, model, x)
        parts.append(posterior)
        ratios.append(seconds / forward)
    whole = Posterior(torch.cat([p.log_q for p in parts]), torch.cat([p.loss for p in parts]), _grads(parts))
    return Measured(whole, passes.forwards // len(parts), passes.backwards // len(parts), median(ratios))


def relative_time(model: nn.Module, other: Generative, images: Tensor, chunk: int = 250) -> float:
    """Seconds of one call of ``model`` over those of a forward of the generative model ``other``, median of chunks."""
    with torch.no_grad():
        return median(timed(model, x)[0] / timed(_plain_forward, other, x)[0] for x in images.split(chunk))


@torch.no_grad()
def _plain_forward(model: Generative, x: Tensor) -> Tensor:
    return model.nll(model(x, _start(model, x)), x)


def _grads(parts: Sequence[Posterior]) -> Tensor | None:
    grads = [part.grad for part in parts if part.grad is not None]
    return torch.cat(grads) if len(grads) == len(parts) else None


def _start(model: Generative, x: Tensor) -> Tensor:
    return max_entropy(len(x), model.n_tasks, x.dtype, x.device)
