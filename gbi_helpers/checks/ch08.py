"""The exercises of chapter 08, language; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, uniform, whole


def _after_each_word_inputs(draw: Generator, words: int, tasks: int, scale: float = 1.5) -> Inputs:
    return (scale * normal(draw, words, tasks) - 4.0,)


*_short, _long = drawn(801, _after_each_word_inputs, (6, 4), (9, 3), (3, 7), (400, 3, 20.0))

after_each_word = Exercise(
    "after_each_word",
    "student(evidence (T, K)) -> log posterior (T, K) after 1, 2, ..., T words, flat prior.",
    lambda e: torch.log_softmax(e.cumsum(0), 1),
    _short,
    mistakes=[
        Mistake(
            lambda e: torch.log_softmax(e, 1),
            "Each row looks at one word only. Evidence adds up: row n needs the sum over the first n words.",
        ),
        Mistake(
            lambda e: torch.log_softmax(e.sum(0, keepdim=True), 1).expand_as(e),
            "Every row has the evidence of the whole text. Row n may know the first n words only: a running sum.",
        ),
        Mistake(
            lambda e: torch.log_softmax(e.cumsum(0) / torch.arange(1, len(e) + 1, device=e.device)[:, None], 1),
            "You took a running mean. Evidence adds up: a mean makes word 50 as unsure as word 1.",
        ),
        Mistake(
            lambda e: torch.log_softmax(e.cumsum(0), 0),
            "You normalised over the words. Each row is a posterior over tasks, so it must sum to 1 there.",
        ),
        Mistake(
            lambda e: torch.log_softmax(e.cumsum(1), 1),
            "You summed over tasks. The running sum goes down the words, axis 0.",
        ),
        Mistake(
            lambda e: torch.log_softmax(-e.cumsum(0), 1),
            "The sign: evidence is a log-likelihood already, so the task with the most of it wins.",
        ),
    ],
    hard=[
        (
            _long,
            "Right for short texts, but over 400 words probabilities underflow to 0. Stay in logs: log_softmax.",
        )
    ],
    logs=True,
)


def _naive_bayes_inputs(draw: Generator, tasks: int, size: int, words: int) -> Inputs:
    counts = torch.ceil(30 * uniform(draw, tasks, size) ** 4 * (1 + 3 * uniform(draw, tasks, 1)))
    return counts, whole(draw, 0, size, words)


def _bayes(add: float = 1.0, reduce: Callable[[Tensor], Tensor] = lambda p: p.sum(1)) -> Callable[..., Tensor]:
    def posterior(counts: Tensor, words: Tensor) -> Tensor:
        share = (counts + add) / (counts + add).sum(1, keepdim=True)
        return torch.log_softmax(reduce(share.log()[:, words]), 0)

    return posterior


naive_bayes = Exercise(
    "naive_bayes",
    "student(counts (K, V), words (T,)) -> log posterior (K,) of the source, each count raised by 1.",
    _bayes(),
    drawn(802, _naive_bayes_inputs, (3, 12, 5), (5, 8, 9), (2, 20, 3)),
    mistakes=[
        Mistake(
            _bayes(reduce=lambda p: p.mean(1)),
            "You averaged over the words. Their evidence adds up, so that fifty words say more than one.",
        ),
        Mistake(
            lambda c, w: torch.log_softmax((c + 1).log()[:, w].sum(1), 0),
            "The counts are not divided by the size of each source, so a long source wins whatever is written. "
            "(A sum over sources is the same for all of them and drops out: sum over the *words* of each.)",
        ),
        Mistake(
            lambda c, w: torch.log_softmax(((c + 1) / c.sum(1, keepdim=True)).log()[:, w].sum(1), 0),
            "The added ones are missing in the total: divide by the sum of counts + 1, else shares sum to over 1.",
        ),
        Mistake(
            lambda c, w: _bayes()(c, w.unique()),
            "A word that comes twice is evidence twice: look up every word of the text, not every different one.",
        ),
        Mistake(
            lambda c, w: torch.log_softmax(_bayes()(c, w) + c.sum(1).log(), 0),
            "You gave long sources more prior. Here it is flat: each source is as likely before the first word.",
        ),
        Mistake(
            _bayes(0.0),
            "A word that a source never used makes its likelihood 0 for good. Add 1 to each count first.",
        ),
    ],
    logs=True,
)


def _mended_inputs(draw: Generator, batch: int, tasks: int, words: int) -> Inputs:
    return 3 * normal(draw, batch, tasks) / (batch * words), words


def _times(factor: Callable[[int, int], float]) -> Callable[..., Tensor]:
    return lambda g, n: torch.log_softmax(-g * factor(len(g), n), 1)


mended = Exercise(
    "mended",
    "student(grad (B, K), words) -> log q (B, K), from the gradient of a mean over B texts of n words.",
    _times(lambda b, n: b * n),
    drawn(803, _mended_inputs, (4, 5, 20), (7, 3, 50), (2, 8, 6)),
    mistakes=[
        Mistake(_times(lambda b, n: 1), "Still flat: the mean divided the evidence by batch times words. Undo both."),
        Mistake(_times(lambda b, n: n), "The words are mended, but .mean() also divided by the batch size, len(grad)."),
        Mistake(_times(lambda b, n: b), "The batch is mended, but .mean() also divided by the number of words."),
        Mistake(_times(lambda b, n: -b * n), "The sign: q is the softmax of *minus* the gradient."),
        Mistake(_times(lambda b, n: 1 / (b * n)), "You divided once more. Multiply, to undo the mean."),
    ],
    logs=True,
)


def _online_filter_inputs(draw: Generator, words: int, tasks: int, hazard: float, scale: float = 1.5) -> Inputs:
    return scale * normal(draw, words, tasks), hazard


def _filter(leak: Callable[[Tensor, float], Tensor], late: bool = False) -> Callable[..., Tensor]:
    def beliefs(evidence: Tensor, hazard: float) -> Tensor:
        expected = evidence.new_full(evidence.shape[1:], -math.log(evidence.shape[1]))
        found = []
        for row in evidence:
            seen = torch.log_softmax(expected + row, 0)
            expected = leak(seen, hazard)
            found.append(expected if late else seen)
        return torch.stack(found)

    return beliefs


def _to_all(log_q: Tensor, hazard: float) -> Tensor:
    kept = log_q + math.log1p(-hazard)
    return torch.logaddexp(kept, torch.full_like(kept, math.log(hazard / len(log_q))))


def _to_others(log_q: Tensor, hazard: float) -> Tensor:
    q = log_q.exp()
    return ((1 - hazard) * q + hazard / (len(q) - 1) * (1 - q)).log()


*_mild, _strong = drawn(804, _online_filter_inputs, (8, 4, 0.1), (12, 3, 0.3), (6, 6, 0.02), (300, 3, 0.02, 400.0))

online_filter = Exercise(
    "online_filter",
    "student(evidence (T, K), hazard) -> log belief (T, K) after each word of a stream that may switch.",
    _filter(_to_all),
    _mild,
    mistakes=[
        Mistake(
            _filter(lambda q, _: q),
            "Nothing leaks, so the belief can never leave a source it was once sure of. Mix in hazard / K.",
        ),
        Mistake(
            _filter(_to_all, late=True),
            "You return the belief after the leak, which is that *before* the next word. Leak first, then read.",
        ),
        Mistake(
            _filter(_to_others),
            "Your leak goes to the other K - 1 sources. Here a switch may draw any of the K: mix with 1 / K.",
        ),
        Mistake(
            lambda e, h: torch.log_softmax(e, 1),
            "Each row knows one word only. Carry the belief: it is the prior of the next word.",
        ),
        Mistake(
            _filter(lambda q, h: torch.log_softmax((1 - h) * q, 0)),
            "You mixed (or only shrank) *log* beliefs. That tempers the odds, and a source once ruled out stays ruled "
            "out. The leak mixes probabilities: (1 - h) q + h / K, in logs with torch.logaddexp.",
        ),
        Mistake(
            _filter(lambda q, h: ((1 - h) * q.exp() + h).log()),
            "The leak must be shared: hazard / K to each source, so that the belief still sums to 1.",
        ),
    ],
    hard=[
        (
            _strong,
            "Right for mild evidence, but when it is strong, probabilities underflow. Add evidence in logs, then "
            "normalise with log_softmax.",
        )
    ],
    logs=True,
    without=("bayes_filter",),
)


def _windows_inputs(draw: Generator, windows: int, tasks: int, steps: int, lr: float) -> Inputs:
    likelihood, weight = 0.02 + uniform(draw, windows, tasks) ** 3, 1 + 4 * uniform(draw, windows)
    start = torch.softmax(normal(draw, tasks) / 2, 0).expand(windows, -1).clone()
    return lambda z: -weight * (z * likelihood).sum(-1).log(), start, steps, lr


def _to_simplex(u: Tensor) -> Tensor:
    return torch.softmax(u, -1)


def _adapt(
    start: Callable[[Tensor], Tensor] = lambda z0: z0[0].log(),
    feed: Callable[[Tensor], Tensor] = _to_simplex,
    reduce: Callable[[Tensor], Tensor] = torch.sum,
    keeps: float = 0.0,
    most: float = math.inf,
    logits: bool = False,
) -> Callable[..., Tensor]:
    """Gradient descent on u, from ``start``; ``keeps``: share of the gradient left lying there for the next step."""

    def found(loss: Callable[[Tensor], Tensor], z0: Tensor, steps: int, lr: float) -> Tensor:
        u = start(z0).detach().clone().requires_grad_()
        total = torch.zeros_like(u)
        for _ in range(int(min(steps, most))):
            total = keeps * total + torch.autograd.grad(reduce(loss(feed(u).expand(len(z0), -1))), u)[0]
            u = (u - lr * total).detach().requires_grad_()
        return (u if logits else feed(u)).detach()

    return found


adapt_z = Exercise(
    "adapt_z",
    "student(loss_fn, z0 (N, K), steps, lr) -> the one z (K,) for N windows, by gradient descent on its logits.",
    _adapt(),
    drawn(806, _windows_inputs, (5, 4, 6, 0.05), (8, 3, 10, 0.03), (3, 6, 4, 0.1)),
    mistakes=[
        Mistake(
            _adapt(reduce=torch.mean),
            "You descend the mean over windows, so each step is N times too small. Evidence adds up: sum the losses.",
        ),
        Mistake(
            lambda f, z0, n, lr: _adapt(start=torch.log)(f, z0, n, lr).mean(0),
            "Each window has a z of its own, and you average at the end. One u (K,) for all: z.expand(len(z0), -1).",
        ),
        Mistake(
            _adapt(keeps=1.0),
            "Old gradients are added to the new ones. Clear u.grad at each step, or take torch.autograd.grad.",
        ),
        Mistake(
            lambda f, z0, n, lr: _adapt()(f, z0, n, -lr),
            "You climb: the loss should fall, so *subtract* lr times the gradient.",
        ),
        Mistake(
            _adapt(start=lambda z0: z0[0], feed=lambda z: z),
            "You stepped on z itself, which leaves the simplex. Step on the logits u, and feed z = softmax(u).",
        ),
        Mistake(
            _adapt(start=lambda z0: torch.zeros_like(z0[0])),
            "You started at the uniform z. Start where z0 says: u = log z0[0].",
        ),
        Mistake(
            _adapt(start=lambda z0: z0[0]),
            "z0 is on the simplex already, so its logits are log z0: softmax(z0) is another place.",
        ),
        Mistake(_adapt(logits=True), "You return the logits u. Asked for is z = softmax(u)."),
        Mistake(
            lambda f, z0, n, lr: _adapt()(lambda z: f(z)[:1], z0, n, lr),
            "You used the first window's loss only. All windows are of the one source: sum the losses of all.",
        ),
        Mistake(
            lambda f, z0, n, lr: _adapt()(f, z0, n - 1, lr),
            "One step is missing: `steps` gradients, each followed by a move.",
        ),
        Mistake(_adapt(most=1), "That is one step. Take `steps` of them, each with a new gradient."),
    ],
    between=(0, 1),
    without=("descend", "iterate"),
)
