"""The exercises of chapter 06, out of distribution; see :class:`gbi_helpers.checks.Exercise`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from gbi_helpers.checks.exercise import Exercise, Inputs, Mistake, drawn, normal, uniform, whole

CodeLoss = Callable[[Tensor, Tensor], Tensor]


def _best(loss_fn: CodeLoss, h: Tensor, tasks: int) -> Tensor:
    """The one-hot z (B, K) of least loss for each sample."""
    corners = torch.eye(tasks, dtype=h.dtype, device=h.device)
    losses = torch.stack([loss_fn(h, corner.expand(len(h), -1)) for corner in corners], 1)
    return corners[losses.argmin(1)]


def _relative_score_inputs(draw: Generator, batch: int, tasks: int) -> Inputs:
    return 0.5 + 3 * uniform(draw, batch), 4 * normal(draw, batch, tasks)


def _largest_share(score: Tensor) -> Tensor:
    return torch.softmax(score, -1).max(-1).values


relative_score = Exercise(
    "relative_score",
    "student(loss (B,), grad (B, K)) -> the largest entry of softmax(-d log L / dz) (B,).",
    lambda loss, g: _largest_share(-g / loss[:, None]),
    drawn(601, _relative_score_inputs, (6, 5), (4, 3), (7, 7)),
    mistakes=[
        Mistake(lambda loss, g: _largest_share(g / loss[:, None]), "The sign: z moves *against* the gradient."),
        Mistake(lambda loss, g: _largest_share(-g), "That is plain max Z: divide the gradient by the loss first."),
        Mistake(
            lambda loss, g: _largest_share(-g / loss.mean()),
            "You divided by the mean loss of the batch. Each image has a loss of its own.",
        ),
        Mistake(
            lambda loss, g: _largest_share(-g) / loss,
            "You divided the answer, not the gradient: take the softmax last.",
        ),
        Mistake(
            lambda loss, g: _largest_share(-g / loss.sqrt()[:, None]),
            "The derivative of log L is dL/dz by L, not by its root.",
        ),
        Mistake(
            lambda loss, g: _largest_share(-g / g.norm(dim=-1, keepdim=True)),
            "You divided by the norm of the gradient, which leaves its direction only. Divide by the loss.",
        ),
        Mistake(
            lambda loss, g: (-g / loss[:, None]).max(-1).values,
            "The softmax is missing: the largest entry alone does not say by how much it leads.",
        ),
    ],
)


def _auroc_inputs(draw: Generator, familiar: int, foreign: int, ahead: float) -> Inputs:
    scores = normal(draw, familiar) + ahead, normal(draw, foreign)
    return tuple((2 * part).round() / 2 for part in scores)  # rounded: there are ties


def _share_won(tie: float) -> Callable[..., Tensor]:
    def count(familiar: Tensor, foreign: Tensor) -> Tensor:
        one = familiar[:, None]
        return ((one > foreign).double() + tie * (one == foreign)).mean()

    return count


def _pairs_in_order(familiar: Tensor, foreign: Tensor) -> Tensor:
    n = min(len(familiar), len(foreign))
    return (familiar[:n] > foreign[:n]).double().mean()


auroc = Exercise(
    "auroc",
    "student(familiar (N,), foreign (M,)) -> chance () that a familiar score is higher, ties by half.",
    _share_won(0.5),
    drawn(602, _auroc_inputs, (30, 20, 0.7), (12, 50, 0.0), (25, 25, 2.0)),
    mistakes=[
        Mistake(lambda a, b: _share_won(0.5)(b, a), "The wrong way round: high scores should be the *familiar* ones'."),
        Mistake(_share_won(0.0), "Ties are missing: two equal scores are a coin toss, so count them half."),
        Mistake(_share_won(1.0), "You counted ties as won (>=). Two equal scores are a coin toss: count them half."),
        Mistake(
            lambda a, b: (a > b.mean()).double().mean(),
            "You compared with the mean of the foreign scores. Compare with every one of them.",
        ),
        Mistake(
            lambda a, b: 2 * _share_won(0.5)(a, b) - 1,
            "That is pairs won minus pairs lost. Asked for is the share won, a tie half: 1/2 where nothing is told.",
        ),
        Mistake(
            lambda a, b: _share_won(0.5)(a, b) * len(a) * len(b),
            "That is how many pairs are won. Divide by how many there are: take the mean, not the sum.",
        ),
        Mistake(
            _pairs_in_order, "You compared the first with the first, the second with the second. Take *all* pairs."
        ),
    ],
    without=("detection", "roc_auc_score"),
)


def _expected_calibration_error_inputs(draw: Generator, samples: int, tasks: int, bins: int) -> Inputs:
    q = torch.softmax(2 * normal(draw, samples, tasks), -1)
    y = torch.where(uniform(draw, samples) < 0.5, q.argmax(-1), whole(draw, 0, tasks, samples))
    return q, y, bins


_CERTAIN = torch.eye(4, dtype=torch.float64, device="cpu").repeat(6, 1)  # 24 samples, each named for sure


def _gaps(q: Tensor, y: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Confidence minus accuracy of each bin that is not empty, and its share of the samples."""
    confidence, chosen = q.max(-1)
    right, place = (chosen == y).double(), (confidence * bins).long().clamp(max=bins - 1)
    used = [place == b for b in range(bins) if (place == b).any()]
    return torch.stack([(confidence - right)[b].mean() for b in used]), torch.stack([b.double().mean() for b in used])


def _gaps_to(combine: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda q, y, bins: combine(*_gaps(q, y, bins))


expected_calibration_error = Exercise(
    "expected_calibration_error",
    "student(q (N, K), y (N,), bins) -> mean |confidence - accuracy| by bin of confidence, ().",
    _gaps_to(lambda gap, share: (gap.abs() * share).sum()),
    drawn(603, _expected_calibration_error_inputs, (200, 4, 10), (120, 3, 5), (300, 6, 15)),
    mistakes=[
        Mistake(
            _gaps_to(lambda gap, share: gap.abs().mean()),
            "You averaged over bins. A bin of three samples must not count like one of a hundred: weigh by share.",
        ),
        Mistake(
            _gaps_to(lambda gap, share: (gap * share).sum()),
            "The gaps cancel: where the answer is too timid it makes up for where it is too bold. Take |gap|.",
        ),
        Mistake(
            _gaps_to(lambda gap, share: (gap.square() * share).sum()),
            "You squared the gaps. This error is the mean of their absolute values.",
        ),
        Mistake(
            _gaps_to(lambda gap, share: gap.abs().max()),
            "That is the largest gap (the maximum calibration error). Take the mean over samples.",
        ),
        Mistake(
            _gaps_to(lambda gap, share: 100 * (gap.abs() * share).sum()),
            "That is in percent: return a share between 0 and 1.",
        ),
        Mistake(
            lambda q, y, bins: (q.max(-1).values - (q.argmax(-1) == y).double()).abs().mean(),
            "You took |confidence - right| sample by sample. Average inside each bin first, then take the gap.",
        ),
    ],
    hard=[
        (
            (_CERTAIN, _CERTAIN.argmax(-1).roll(3), 10),
            "Right until a confidence is exactly 1: that belongs to the last bin, not to one more.",
        )
    ],
    without=("calibration_error",),
)


def _likelihood_regret_inputs(draw: Generator, batch: int, size: int, tasks: int, steps: int, lr: float) -> Inputs:
    w, v, x = normal(draw, size, 6), 0.3 * normal(draw, tasks, 6), normal(draw, batch, 6)  # alike: z may change

    def loss_fn(h: Tensor, z: Tensor) -> Tensor:
        return (torch.tanh(h.to(x) @ w) + z.to(x) @ v - x).square().sum(-1)

    return loss_fn, normal(draw, batch, size), tasks, steps, lr


def _fitted(loss_fn: CodeLoss, h: Tensor, z: Tensor, steps: int, lr: float, mean: bool = False) -> Tensor:
    for _ in range(steps):
        h = h.detach().requires_grad_()
        loss = loss_fn(h, z)
        (gradient,) = torch.autograd.grad(loss.mean() if mean else loss.sum(), h)
        h = h - lr * gradient
    return loss_fn(h.detach(), z)


def _regret(loss_fn: CodeLoss, h: Tensor, tasks: int, steps: int, lr: float, mean: bool = False) -> Tensor:
    z = _best(loss_fn, h, tasks)
    return loss_fn(h, z) - _fitted(loss_fn, h, z, steps, lr, mean)


def _regret_rechosen(loss_fn: CodeLoss, h: Tensor, tasks: int, steps: int, lr: float) -> Tensor:
    before = loss_fn(h, _best(loss_fn, h, tasks))
    for _ in range(steps):
        h = h - lr * _slope(loss_fn, h, _best(loss_fn, h, tasks))
    return before - loss_fn(h, _best(loss_fn, h, tasks))


def _slope(loss_fn: CodeLoss, h: Tensor, z: Tensor) -> Tensor:
    h = h.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_fn(h, z).sum(), h)
    return gradient


def _regret_with_one_z(loss_fn: CodeLoss, h: Tensor, tasks: int, steps: int, lr: float) -> Tensor:
    corners = torch.eye(tasks, dtype=h.dtype, device=h.device)
    z = min((corner.expand(len(h), -1) for corner in corners), key=lambda z: float(loss_fn(h, z).sum()))
    return loss_fn(h, z) - _fitted(loss_fn, h, z, steps, lr)


def _regret_from_uniform(loss_fn: CodeLoss, h: Tensor, tasks: int, steps: int, lr: float) -> Tensor:
    middle = h.new_full((len(h), tasks), 1 / tasks)
    return loss_fn(h, middle) - _fitted(loss_fn, h, _best(loss_fn, h, tasks), steps, lr)


def _regret_at_uniform(loss_fn: CodeLoss, h: Tensor, tasks: int, steps: int, lr: float) -> Tensor:
    middle = h.new_full((len(h), tasks), 1 / tasks)
    return loss_fn(h, middle) - _fitted(loss_fn, h, middle, steps, lr)


likelihood_regret = Exercise(
    "likelihood_regret",
    "student(loss_fn, h (B, D), n_tasks, steps, lr) -> nats (B,) won by fitting the code to each sample. "
    "loss_fn(h, z) -> loss (B,). z is the best one-hot task at the start; the code goes down by plain "
    "gradient steps.",
    _regret,
    drawn(604, _likelihood_regret_inputs, (4, 3, 3, 5, 0.02), (6, 4, 8, 20, 0.05), (6, 2, 5, 12, 0.1)),
    mistakes=[
        Mistake(lambda *a: -_regret(*a), "The sign: regret is the loss *before* minus the loss *after*."),
        Mistake(
            _regret_from_uniform,
            "You measured the first loss at the uniform z. That adds what choosing z wins, and familiar images win "
            "most by it: the score turns round. Compare at the same, best, one-hot z.",
        ),
        Mistake(
            _regret_rechosen,
            "You chose z anew at every step. Then the fall is no longer that of fitting the code alone: choose z once, "
            "before the first step, and hold it.",
        ),
        Mistake(
            _regret_with_one_z,
            "You chose one z for the whole batch. Each sample has its own best one: losses.argmin(1), not argmin().",
        ),
        Mistake(_regret_at_uniform, "You kept z uniform throughout. Take each sample's best one-hot z first."),
        Mistake(
            lambda f, h, k, steps, lr: _regret(f, h, k, steps, lr, mean=True),
            "You averaged the loss over the batch, so every step was B times too short: sum it.",
        ),
        Mistake(lambda f, h, k, steps, lr: _regret(f, h, k, steps, -lr), "You walked uphill: subtract the gradient."),
        Mistake(lambda f, h, k, steps, lr: _regret(f, h, k, steps - 1, lr), "One step is missing."),
        Mistake(lambda f, h, k, steps, lr: _regret(f, h, k, 1, lr), "You took one step only: take all of them."),
    ],
)
