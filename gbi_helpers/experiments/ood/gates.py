"""The gradient one layer further in: with respect to the gates that z opens, before it is summed up for each task.

In VAE-mul z reaches the decoder as gates, V z + c, one for each unit, so that the gradient with respect to z is
V^T a of the gradient a with respect to the gates. Ten numbers are enough to name a digit. Whether an image is any digit
at all, the 256 of a tell better: where they point is alike for images that the network knows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gbi_helpers.experiments.ood import rivals
from gbi_helpers.inference import max_entropy
from gbi_helpers.models.image import ConditionalVAE


def gate_gradient(model: ConditionalVAE, x: Tensor, chunk: int = 500) -> Tensor:
    """d log L / d gates (N, width) at the uniform z, for images x: one forward and one backward of the decoder.

    Raises ``ValueError`` for a model whose z is not multiplied in, which has no gates.
    """
    join = model.decoder.join
    if join.task is None or join.conditioning != "mul":
        raise ValueError(f"Gates need z multiplied into the decoder; here it is '{join.conditioning}': use VAE-mul.")
    found = []
    for part in x.split(chunk):
        with torch.no_grad():
            units = torch.relu(join.code(model.encode(part)))
        gates = join.task(max_entropy(len(part), model.n_tasks, x.dtype, x.device)).detach().requires_grad_()
        loss = model.nll(model.decoder.body(units * gates), part)
        (slope,) = torch.autograd.grad(loss.log().sum(), gates)
        found.append(slope)
    return torch.cat(found)


def on_gates(model: ConditionalVAE, x: Tensor, y: Tensor) -> rivals.Scorer:
    """Where gates' gradients point, by the scores of :mod:`rivals`; known are images x (M, 1, 28, 28) of classes y."""
    known = 100 * gate_gradient(model, x)  # of a size that suits the ridges
    scorers = rivals.nearest(known), rivals.mahalanobis(known, y)

    def score(images: Tensor) -> dict[str, Tensor]:
        gates = 100 * gate_gradient(model, images)
        return {name: values for one in scorers for name, values in one(gates).items()}

    return score
