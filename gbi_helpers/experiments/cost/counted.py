"""What one step and K passes cost, counted: floating-point operations, and bytes kept for the backward pass.

All is counted on PyTorch's device "meta", by shapes: the same on every machine, and at once for ten thousand tasks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gbi_helpers.experiments.cost.decoders import WORDS, Asked, all_at_once, asked, chunks
from gbi_helpers.guards import LossFn
from gbi_helpers.inference import one_step
from gbi_helpers.meter import flops, saved_bytes

Counted = dict[str, float]


def counted(name: str, n_tasks: int, batch: int = 1, words: int = WORDS) -> Counted:
    """Of one decoder: "forward" in FLOPs a sample, its "step" over it, K "passes" over the step, and "saved" bytes."""
    question = asked(name, n_tasks, batch, device="meta", words=words)
    whole = chunks(question, rows=n_tasks * batch)  # without numbers there is no cache to spare
    forward, passes = forward_of(question), flops(all_at_once, whole, n_tasks)
    step = flops(one_step, question.rows(), question.z0)
    found = {"tasks": n_tasks, "forward": forward / batch, "step_over_forward": step / forward}
    return found | {"passes_over_step": passes / step, "saved": kept_by(question) / batch}


def forward_of(question: Asked) -> int:
    """FLOPs of one forward of all samples."""
    return flops(without_gradients, question.rows(), question.z0)


@torch.no_grad()
def without_gradients(loss_fn: LossFn, z: Tensor) -> Tensor:
    """The loss (B,) alone."""
    return loss_fn(z)


def kept_by(question: Asked) -> int:
    """Bytes that one step's forward keeps for its backward; weights and samples, which are there anyhow, apart."""
    anyhow = [*question.decoder.parameters(), question.given, question.seen]
    z = question.z0.requires_grad_()
    return saved_bytes(question.rows(), z, apart_from=[*anyhow, z])
