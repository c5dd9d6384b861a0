"""A new source as a column of its own: its scale and shift at every depth are learnt, and no other weight moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gbi_helpers.experiments.language.novel import WINDOW
from gbi_helpers.experiments.language.tuning import best_of
from gbi_helpers.experiments.language.windows import Corpus, even_windows
from gbi_helpers.models.deep import DeepTransformer
from gbi_helpers.runtime import usual_defaults

LOOKS = (0, 5, 10, 20, 35, 50, 75, 100)  # steps at which validation text is read
COLUMNS = "turns."  # z has one 1, so of these weights none but the new columns have a gradient


def widened(model: DeepTransformer) -> DeepTransformer:
    """A copy that knows one more task, the last: until it is learnt, its columns are the mean of the others'."""
    state = model.state_dict()
    turns = [name for name in state if name.startswith(COLUMNS)]
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
    wider = widened(model)
    z = torch.eye(wider.n_tasks, dtype=wider.bias.dtype, device=wider.bias.device)[-1]
    best = best_of(wider, learn, stop, test, z, rates, COLUMNS, LOOKS)
    moved = sum(len(weight) for name, weight in wider.named_parameters() if name.startswith(COLUMNS))
    return best | {"moved": moved}
