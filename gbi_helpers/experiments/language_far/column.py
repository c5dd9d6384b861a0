"""A new source as a column of its own: its scale and shift at every depth are learnt, and no other weight moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.experiments.language.novel import WINDOW
from gbi_helpers.experiments.language.recipes import ClippedAdamW
from gbi_helpers.experiments.language.windows import Corpus, Windows, even_windows, losses
from gbi_helpers.models.deep import DeepTransformer
from gbi_helpers.progress import progress_bar
from gbi_helpers.runtime import usual_defaults

LOOKS = (0, 5, 10, 20, 35, 50)  # steps at which validation text is read


def widened(model: DeepTransformer) -> DeepTransformer:
    """A copy that knows one more task, the last: until it is learnt, its columns are the mean of the others'."""
    state = model.state_dict()
    turns = [name for name in state if name.startswith("turns.")]
    state |= {name: torch.cat([state[name], state[name].mean(1, keepdim=True)], dim=1) for name in turns}
    sizes = {name: size for name, size in model.sizes.items() if name not in ("vocabulary_size", "n_tasks")}
    with usual_defaults():
        wider = DeepTransformer(len(model.bias), model.n_tasks + 1, **sizes).to(model.bias)
    wider.load_state_dict(state)
    return wider.eval()


def column(model: DeepTransformer, new: Corpus, words: int, rates: Sequence[float], per_source: int) -> dict[str, Any]:
    """Nats a word of a source's test text once its columns are learnt from so many words of it: "loss".

    Rate and number of steps are those that read its validation text best: "rate", "steps". "moved": how many numbers.
    """
    learn = even_windows(new.train, new.start, max(words // WINDOW, 1), WINDOW)
    stop, test = (
        even_windows(part, new.start, n, WINDOW) for part, n in ((new.validation, 32), (new.test, per_source))
    )
    best: dict[str, Any] = {"watched": float("inf")}
    for rate in rates:
        wider = widened(model)
        z = torch.eye(wider.n_tasks, dtype=wider.bias.dtype, device=wider.bias.device)[-1]
        for steps in _steps(wider, learn, z, rate):
            watched = float(losses(wider, stop, z).mean())
            if watched < best["watched"]:
                best = {"watched": watched, "rate": rate, "steps": steps, "state": _copied(wider)}
    wider.load_state_dict(best.pop("state"))
    moved = sum(len(weight) for name, weight in wider.state_dict().items() if name.startswith("turns."))
    return best | {"loss": float(losses(wider, test, z).mean()), "moved": moved}


def _steps(model: DeepTransformer, learn: Windows, z: Tensor, rate: float) -> Any:
    """Learn the columns that ``z`` (K,) reads: the numbers of steps at :data:`LOOKS`, each once it is reached."""
    descent = ClippedAdamW(list(model.turns.parameters()), lr=rate)  # z has one 1: other columns have no gradient
    draw = torch.Generator().manual_seed(0)
    for step in progress_bar(range(LOOKS[-1] + 1), desc="a new column"):
        if step in LOOKS:
            yield step
        part = learn.rows(torch.randperm(len(learn.words), generator=draw, device=draw.device)[:16])
        loss = model.nll(model(part.inputs, z.expand(len(part.words), -1)), part.words).mean() / WINDOW
        descent.zero_grad()
        loss.backward()
        descent.step()


def _copied(model: DeepTransformer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}
