"""Reading and writing with a trained language model: what it believes after each word, and how it would go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers.checkpoints import load_model
from gbi_helpers.data.vocabulary import Vocabulary, unspaced
from gbi_helpers.experiments.language.windows import with_start
from gbi_helpers.files import load_asset
from gbi_helpers.inference import max_entropy
from gbi_helpers.models.language import WordLSTM, word_nll
from gbi_helpers.records import WordsRecord

READ = 4000  # characters at the end of a text that are read at most: a whole book may have been pasted
Loaded = tuple[WordLSTM, Vocabulary, tuple[str, ...], dict[str, Any]]


def load_language(name: str = "packages") -> Loaded:
    """A shipped model in eval mode, its vocabulary, the names of its sources, and facts about its training.

    ``name``: "packages", trained on the eight sources that the course brings; "plane", the same with its sources on a
    plane; "without_speech" or "without_recipe", trained (300 steps) on all but that one, ``facts["held_out"]``.
    ``facts["deltas"]`` holds the gap of one step for some numbers of words: see :func:`delta_of`.
    Raises ``DataError`` for another name, or a damaged file.
    """
    model, facts = load_model(f"checkpoints/language_{name}.safetensors", WordLSTM)
    return model, Vocabulary.from_json(facts["vocabulary"]), tuple(facts["tasks"]), facts


def load_stream(name: str = "packages") -> WordsRecord:
    """A test stream of that set that switches its source, as the online filter read it, word by word."""
    return WordsRecord.load(load_asset(f"records/language_{name}_stream.npz"))


def delta_of(facts: dict[str, Any], words: int) -> Tensor:
    """The mean gap of one step after 1 .. ``words`` words, (words, K), from a checkpoint's facts.

    ``facts["deltas"]``: number of words -> gap (K,), with lines drawn in between; beyond the longest the last goes on.
    (``facts["matched"]`` holds those that bring the posterior nearest instead: see
    :func:`~.inference.matched`.)
    """
    lengths = [0, *map(int, facts["deltas"])]
    table = [[0.0] * len(facts["tasks"]), *facts["deltas"].values()]
    at, values = (torch.tensor(numbers, dtype=torch.float32, device="cpu") for numbers in (lengths, table))
    n = torch.arange(1, words + 1, dtype=torch.float32, device="cpu")
    right = torch.bucketize(n, at).clamp(1, len(at) - 1)
    share = ((n - at[right - 1]) / (at[right] - at[right - 1]))[:, None]
    return (1 - share) * values[right - 1] + share * values[right]


def word_slopes(model: WordLSTM, words: Tensor, start: int) -> Tensor:
    """Minus the gradient (T, K) of each word's loss at the uniform z, for one text of T words.

    Summed over the first n words it is what one step takes, for every n, in one pass: the text is read once for each
    word, side by side, with a z of its own, and each copy predicts its word only.
    """
    read = with_start(words[None], start)[:, :-1]
    weight, bias = model.embedding.weight.detach(), model.bias.detach()
    slopes = []
    places = torch.arange(len(words), device=words.device)
    for rows in places.chunk(4):  # early words need not be read to the end of the text
        z = max_entropy(len(rows), model.n_tasks, weight.dtype, words.device).requires_grad_()
        with torch.enable_grad():
            units = model.units(read[:, : int(rows[-1]) + 1].expand(len(rows), -1), z)
            own = units[rows - rows[0], rows]
            loss = functional.cross_entropy(functional.linear(own, weight, bias), words[rows], reduction="sum")
            slopes.append(-torch.autograd.grad(loss, z)[0])
    return torch.cat(slopes)


def read_words(
    model: WordLSTM,
    vocabulary: Vocabulary,
    text: str,
    *,
    tasks: Sequence[str],
    facts: dict[str, Any] | None = None,
    true: int | None = None,
    longest: int = 100,
) -> WordsRecord:
    """What the model believes of the source of ``text`` after each word (the last ``longest`` ones), by one step.

    ``facts`` of a checkpoint put the gap back; without them one step is left as it is. ``loss`` is that of each word
    when read with the belief before it as z. ``true``: number of the source, if known. Words outside the vocabulary
    stand in the record as the model sees them, as ``<unk>``.
    Raises ``ValueError`` for a text without a word, or in a script without spaces, which cannot be cut into words.
    """
    read = vocabulary.clean(text[-READ:])
    if told := unspaced(read):
        raise ValueError(told)
    said = read.split()[-longest:]
    words = torch.tensor(vocabulary.ids(" ".join(said)), dtype=torch.int64, device=model.bias.device)
    if len(words) == 0 or len(words) != len(said):
        raise ValueError("There is no word to read: write at least one (and use a vocabulary of words).")
    total = word_slopes(model, words, vocabulary.start).cumsum(0)
    if facts is not None:
        total = total + delta_of(facts, len(words)).to(total)
    log_q = torch.log_softmax(total, 1)
    evidence = torch.diff(total, dim=0, prepend=total.new_zeros(1, model.n_tasks))
    evidence = evidence - evidence.mean(1, keepdim=True)
    before = torch.cat([max_entropy(1, model.n_tasks, log_q.dtype, log_q.device), log_q.exp()[:-1]])
    with torch.no_grad():
        logits = model(with_start(words[None], vocabulary.start)[:, :-1], before[None])
    names = None if true is None else torch.full_like(words, true)
    seen = [vocabulary.words[int(word)] for word in words]
    return WordsRecord(log_q.exp(), evidence, word_nll(logits, words[None])[0], seen, list(tasks), names)


@torch.no_grad()
def continue_text(
    model: WordLSTM,
    vocabulary: Vocabulary,
    z: Tensor,
    text: str = "",
    *,
    words: int = 30,
    temperature: float = 0.7,
    seed: int = 0,
) -> str:
    """``words`` further words after ``text``, sampled with z (K,); ``<unk>`` and ``<bos>`` are never said.

    Of a long text only the end is read.

    A model with a plane also takes a place (2,) in it as z. The same seed says the same.
    Raises ``ValueError`` for a temperature that is not above zero.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, but is {temperature}: near 0 the likeliest words are said.")
    draw = torch.Generator().manual_seed(seed)
    place = z[None] if model.plane and len(z) == model.plane else model.place(z[None])
    read = with_start(vocabulary.encode(text[-READ:])[None], vocabulary.start).to(z.device)
    state, said = None, []
    for _ in range(words):
        logits, state = model.read(read, place, state)
        scores = logits[0, -1] / temperature
        scores[[vocabulary.unknown, vocabulary.start]] = -torch.inf
        read = torch.multinomial(torch.softmax(scores, 0).to(draw.device), 1, generator=draw)[None].to(z.device)
        said.append(read[0])
    return vocabulary.decode(torch.cat(said)) if said else ""
