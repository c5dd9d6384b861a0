"""A model's weights as the page's engine wants them: half precision, low bytes and high bytes apart, with a SHA-256.

Nothing is rounded to fewer bits: 8 of them move beliefs by nats. Where a checkpoint was stored in half precision, as
the course's are, the page computes with the same numbers as PyTorch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from gbi_helpers.models.base import bernoulli_nll, squared_error
from gbi_helpers.models.image import ConditionalVAE, ConvAutoencoder
from gbi_helpers.models.language import WordLSTM

NLLS = {squared_error: "squared", bernoulli_nll: "bernoulli"}


def pack_weights(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], bytes]:
    """Tensors by name as what the engine is told of them, and their bytes: float16, all low bytes before all high ones.

    High bytes hold sign and exponent and are much alike, so apart they deflate better.
    Raises ``ValueError`` for a weight that is not finite in half precision.
    """
    parts = []
    for name, tensor in state.items():
        with np.errstate(over="ignore"):
            values = tensor.detach().cpu().float().numpy().astype("<f2")
        if not np.isfinite(values).all():
            raise ValueError(
                f"{name} has a weight that 16 bits do not hold (not finite, or above 65504): train it anew."
            )
        parts.append(values.ravel())
    raw = np.concatenate([np.empty(0, "<f2"), *parts]).view(np.uint8).reshape(-1, 2).T.tobytes()
    tensors = [[name, list(tensor.shape)] for name, tensor in state.items()]
    return {"tensors": tensors, "sha256": hashlib.sha256(raw).hexdigest()}, raw


def pack_image_model(model: Any) -> tuple[dict[str, Any], bytes]:
    """What the page's ``imageModel`` is told of a model, and its weights.

    Raises ``ValueError`` for another model than a ConditionalVAE or ConvAutoencoder with z multiplied or concatenated.
    """
    known = isinstance(model, ConditionalVAE | ConvAutoencoder) and model.nll in NLLS
    if not known or model.decoder.join.conditioning == "add":
        raise ValueError(
            "The page computes with a ConditionalVAE or a ConvAutoencoder whose conditioning is 'mul' or 'concat', "
            f"not with this {type(model).__name__}: use scrub(record) for it, or scrub(record, controls=...)."
        )
    state = dict(model.state_dict())
    if model.latent:  # inference takes the mean code: what gives the variance stays here
        for part in ("encoder.5.weight", "encoder.5.bias"):
            state[part] = state[part][: model.latent]
    facts, raw = pack_weights(state)
    return facts | {"latent": model.latent, "tasks": model.n_tasks, "nll": NLLS[model.nll]}, raw


def pack_word_model(model: WordLSTM) -> tuple[dict[str, Any], bytes]:
    """The same for the page's ``wordModel``. Raises ``ValueError`` for another conditioning than "both"."""
    if not isinstance(model, WordLSTM) or model.conditioning != "both":
        raise ValueError("The page reads with a WordLSTM whose conditioning is 'both': use type_along(...) for others.")
    facts, raw = pack_weights(model.state_dict())
    return facts | {"tasks": model.n_tasks}, raw
