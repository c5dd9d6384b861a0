"""Five kinds of decoder, each asked which of K tasks its samples come from; untrained, for no weight changes a price.

Their sizes are those of the chapters: vectors of 512 numbers (07), images (05), windows of 20 words of 2,000 (08).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gbi_helpers.guards import LossFn
from gbi_helpers.inference import loss_of, max_entropy
from gbi_helpers.models.hundred import CodeModel
from gbi_helpers.models.image import ConvAutoencoder
from gbi_helpers.models.language import WordLSTM, WordModel
from gbi_helpers.models.transformer import WordTransformer
from gbi_helpers.runtime import random_state_kept, usual_defaults

SIZE, VOCABULARY, WORDS = 512, 2_000, 20
CHUNK = 1_000  # rows of a pass: more than a processor's cache holds take longer for each

NAMES = {
    "mlp": "MLP on 512 features, Z multiplied in",
    "conv": "convolutions to 28 x 28 pixels, Z concatenated",
    "lstm": "LSTM of words, Z concatenated and as a gate",
    "gate": "LSTM of words, Z as a gate on its output",
    "transformer": "Transformer of words, two blocks",
}


@dataclass(frozen=True)
class Asked:
    """A decoder, and B samples of which each comes from one of K tasks: ``nll(decoder(given, z), seen)`` nats (B,).

    ``given`` (B, ...): what the decoder has beside z, a code or the words before; ``seen`` (B, ...): what it explains.
    """

    n_tasks: int
    decoder: nn.Module
    given: Tensor
    seen: Tensor
    nll: Callable[[Any, Any], Tensor]

    def rows(self, index: Tensor | slice = slice(None)) -> LossFn:
        """The loss of the samples ``index`` (N,) alone, which may repeat: z (N, K) -> (N,)."""
        return loss_of(self.decoder, self.given[index], lambda output, _: self.nll(output, self.seen[index]))

    @property
    def z0(self) -> Tensor:
        """The uniform start (B, K), on the decoder's device and in its precision."""
        like = next(self.decoder.parameters())
        return max_entropy(len(self.seen), self.n_tasks, like.dtype, like.device)


def asked(
    name: str,
    n_tasks: int,
    batch: int = 1,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    words: int = WORDS,
) -> Asked:
    """The decoder of this name and ``batch`` samples, all random. On the device "meta" it has shapes, but no numbers.

    Raises ``ValueError`` for another name, with the choices.
    """
    if name not in NAMES:
        raise ValueError(f"There is no decoder '{name}': choose one of {', '.join(NAMES)}.")
    with random_state_kept(), usual_defaults(), torch.device(device):
        torch.manual_seed(0)
        if name == "mlp":
            return _with_code(CodeModel(SIZE, n_tasks=n_tasks), torch.randn(batch, SIZE), dtype)
        if name == "conv":
            return _with_code(ConvAutoencoder(n_tasks=n_tasks), torch.rand(batch, 1, 28, 28), dtype)
        return _of_words(name, n_tasks, torch.randint(VOCABULARY, (batch, words + 1)), dtype)


@torch.no_grad()
def _with_code(model: CodeModel | ConvAutoencoder, x: Tensor, dtype: torch.dtype) -> Asked:
    """Autoencoders: the code is computed once, whatever is asked."""
    model, x = model.eval().to(dtype), x.to(dtype)
    return Asked(model.n_tasks, model.decoder, model.encode(x), x, model.nll)


def _of_words(name: str, n_tasks: int, text: Tensor, dtype: torch.dtype) -> Asked:
    """Models of the next word, which are decoders as a whole."""
    model: WordModel = (
        WordTransformer(VOCABULARY, n_tasks)
        if name == "transformer"
        else WordLSTM(VOCABULARY, n_tasks, conditioning="gate" if name == "gate" else "both")
    )
    return Asked(n_tasks, model.eval().to(dtype), text[:, :-1], text[:, 1:], model.nll)


def one_hots(task: Tensor, n_tasks: int, dtype: torch.dtype) -> Tensor:
    """One-hot z (N, K) of tasks (N,), on their device, "meta" too."""
    return (task[:, None] == torch.arange(n_tasks, device=task.device)).to(dtype)


def chunks(question: Asked, rows: int = CHUNK) -> list[tuple[LossFn, Tensor]]:
    """All K passes of all samples as losses and their one-hot z, ``rows`` at a time, sample by sample."""
    n_tasks, like = question.n_tasks, question.z0
    pairs = torch.arange(like.numel(), device=like.device).split(rows)
    return [(question.rows(pair // n_tasks), one_hots(pair % n_tasks, n_tasks, like.dtype)) for pair in pairs]


@torch.no_grad()
def all_at_once(passes: Sequence[tuple[LossFn, Tensor]], n_tasks: int) -> Tensor:
    """Exact losses (B, K) by the :func:`chunks` of K passes."""
    return torch.cat([loss_fn(z) for loss_fn, z in passes]).view(-1, n_tasks)
