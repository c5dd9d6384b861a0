"""Small real records to try the widgets on: a path to the mixture that makes a digit, and a text that is read.

Used by the benchmark and the tests; the course's notebooks show paths of trained networks instead.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gbi_helpers.inference import iterate, max_entropy
from gbi_helpers.records import ContinualRecord, Trajectory, WordsRecord
from gbi_helpers.watching import Watcher
from gbi_helpers.widgets import Bars, Lines, slide
from gbi_helpers.widgets.slide_view import Slider

UNKNOWN = "<unk>"
TEXTS = {
    "kitchen": "stir the soup and add a pinch of salt , then bake the bread until the crust is golden . "
    "chop two onions , melt the butter in a pan , and let the dough rest for an hour .",
    "weather": "rain is on the way from the west , with strong wind over the hills . "
    "the night stays cold and clear , and snow may fall in the north before the sun is back .",
    "computer": "the program reads a file and prints an error when the value is missing . "
    "check the type of the list , call the function again , and close the window .",
}


def toy_path(n_tasks: int = 10, steps: int = 50, *, image: int = 3, lr: float = 0.1, free: bool = False) -> Trajectory:
    """Infer z for one handwritten digit under a linear-Gaussian decoder: frames (S+1, 1, 28, 28), target (1, 28, 28).

    The decoder mixes ``n_tasks`` pictures: the mean digits of scikit-learn's set, from ten on each in other tones.
    """
    digits, means = _digits()
    tone = torch.linspace(1.0, 0.5, n_tasks).reshape(-1, 1, 1)
    pictures = means[torch.arange(n_tasks) % 10] * tone
    target = digits[image]

    def decode(z: Tensor) -> Tensor:
        return torch.einsum("...k,khw->...hw", z, pictures)

    def loss(z: Tensor) -> Tensor:
        return 3.0 * (decode(z) - target).square().sum((-1, -2))

    path = iterate(loss, max_entropy(1, n_tasks), steps=steps, lr=lr, space="free" if free else "logits")
    return path.with_frames(decode(path.z), target[None])


def _digits() -> tuple[Tensor, Tensor]:
    """Every image of scikit-learn's digits, enlarged to 28 x 28 and in [0, 1], and the mean image of each digit."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(data.images.astype(np.float32) / 16)
    large = interpolate(images[:, None], size=(28, 28), mode="bicubic", antialias=True)[:, 0].clamp(0, 1)
    return large, torch.stack([large[torch.from_numpy(data.target == k)].mean(0) for k in range(10)])


def toy_learning(moments: int = 6, each: int = 4, gates: bool = False) -> ContinualRecord:
    """Ten digits learned two by two: by one who only knows the newest two, and by one who keeps the mean of every one.

    Belief is by the squared distance to mean pictures, which sharpen from moment to moment.
    """
    images, means = _digits()
    y = (images[:, None] - means).square().sum((2, 3)).argmin(1)[: 40 * each]
    shown = torch.cat([(y == k).nonzero()[:each, 0] for k in range(10)])
    seen = Watcher(images[shown], y, y // 2, shown)
    for i in range(5):
        for step in range(1, moments + 1):
            kept = means[: 2 * i + 2] * torch.tensor([*[1.0] * 2 * i, *[step / moments] * 2])[:, None, None]
            score = -0.5 * (images[: len(y), None] - kept).square().sum((2, 3))
            newest = torch.arange(len(kept)) >= 2 * i
            seen.note("newest", i, 10 * step, score.masked_fill(~newest, -torch.inf).softmax(1))
            seen.note("means", i, 10 * step, score.softmax(1), means=kept)
    draw = torch.Generator().manual_seed(0)
    return seen.record(gates=(torch.rand(5, 60, generator=draw) > 0.7).float() if gates else None)


def toy_read(text: str, true: Tensor | None = None) -> WordsRecord:
    """Read a text as naive Bayes over three small sources; at each word the source may change (one in twenty).

    Raises ``ValueError`` for a text without a word.
    """
    words = text.lower().split()
    if not words:
        raise ValueError("There is no word to read.")
    vocabulary = sorted({word for source in TEXTS.values() for word in source.split()})
    columns = (*vocabulary, UNKNOWN)
    counts = torch.tensor([[source.split().count(word) for word in columns] for source in TEXTS.values()])
    log_p = ((counts + 0.2) / (counts + 0.2).sum(1, keepdim=True)).log()
    index = [vocabulary.index(word) if word in vocabulary else len(vocabulary) for word in words]
    scores = log_p[:, index].T
    belief, loss = torch.empty_like(scores), torch.empty(len(words))
    prior = torch.full((len(TEXTS),), 1 / len(TEXTS))
    for t, score in enumerate(scores):
        loss[t] = -(prior.log() + score).logsumexp(0)
        belief[t] = (prior.log() + score + loss[t]).exp()
        prior = 0.95 * belief[t] + 0.05 / len(TEXTS)
    shown = [word if place < len(vocabulary) else UNKNOWN for word, place in zip(words, index, strict=True)]
    return WordsRecord(belief, scores - scores.mean(1, keepdim=True), loss, shown, list(TEXTS), true)


def toy_words(count: int = 120) -> WordsRecord:
    """The three sources one after the other and again, ``count`` words in all, with the true source of each."""
    sources = [text.split() for text in TEXTS.values()]
    once = [(word, k) for k, words in enumerate(sources) for word in words]
    words, true = zip(*(once * (count // len(once) + 1))[:count], strict=True)
    return toy_read(" ".join(words), torch.tensor(true))


def toy_slide() -> Slider:
    """Two panels, with a curve of 200 points and bars, for 10 x 7 places of two sliders."""
    draw = torch.Generator().manual_seed(0)
    moving, bars = torch.rand(10, 7, 200, generator=draw), torch.rand(10, 7, 4, generator=draw)
    curves = {"moving": moving, "still": torch.rand(200, generator=draw)}
    panels = Lines("A curve", curves, range(200)), Bars("Bars", bars, "abcd")
    return slide({"one": range(10), "two": range(7)}, *panels, says={"mean": moving.mean(-1)})


def toy_slots(count: int = 60) -> WordsRecord:
    """The same text as read in five slots, of which the third to fifth stand for its three sources."""
    record = toy_words(count)

    def spread(values: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(values[:, :2]), values], 1)

    given = spread(record.belief), spread(record.evidence), record.loss, record.words
    return WordsRecord(*given, [f"slot {k}" for k in range(5)], record.true, sources=record.tasks)
