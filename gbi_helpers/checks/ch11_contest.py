"""Exercise of chapter 11: find the tasks of a stream that nobody names; see :mod:`~gbi_helpers.checks.ch11`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn.functional import avg_pool1d, one_hot

from gbi_helpers.checks.contest import Contest
from gbi_helpers.checks.exercise import Mistake, drawn, normal, uniform, whole

SAMPLES, SLOTS, HAZARD, SD = 600, 8, 0.05, 0.8
Finds = Callable[[Tensor], Tensor]  # x (N, 2) -> the slot (N,) of each sample

# ---------------------------------------------------------------- the contest


@dataclass(frozen=True, eq=False, repr=False)
class Discovery(Contest):
    """Right is whoever groups samples nearly as the tasks do, whatever the slots are called.

    ``truth``: the tasks (N,) of each stream. ``rivals``: other ways, for a table beside the student's.
    """

    rivals: dict[str, Finds] | None = None

    def named(self, answers: Sequence[Tensor]) -> float:
        """Mean adjusted Rand index over the streams, in percent: 100 for the tasks, 0 by chance."""
        found = [_rand(answer, truth) for answer, truth in zip(answers, self.truth, strict=True)]
        return 100 * sum(found) / len(found)

    def board(self, student: Finds) -> dict[str, float]:
        """What a student's function and each rival reach here, from low to high."""
        ways = {"yours": student, **(self.rivals or {})}
        reached = {name: self.named([answer for (answer,) in self._answers(way)]) for name, way in ways.items()}
        return dict(sorted(reached.items(), key=lambda one: one[1]))

    def anew(self, seed: int) -> Discovery:
        """The same on streams that nobody has seen."""
        made = streams(seed)
        return replace(self, cases=[(x,) for x, _ in made], truth=[task for _, task in made])

    def _same(self, got: Sequence[Tensor], want: Sequence[Tensor]) -> bool:
        return _whole(got) and all(g.shape == w.shape and _regrouped(g, w) for g, w in zip(got, want, strict=True))

    def _describe(self, got: Sequence[Tensor], want: Sequence[Tensor]) -> str:
        if not _whole(got):
            return "These are no slots: return the number of the slot for each sample, as argmax does."
        can = self.named(want)
        return (
            f"Its adjusted Rand index is {self.named(got):.1f} %. A sound use of the same samples reaches {can:.1f}, "
            f"and {can - self.margin:.1f} are enough here. {self._wrong(got)}"
        )

    def _wrong(self, got: Sequence[Tensor]) -> str:
        """What is most wrong with slots, as far as one can see from outside."""
        pairs = list(zip(got, self.truth, strict=True))
        switches, needed = (sum(int((p[i].diff() != 0).sum()) for p in pairs) for i in (0, 1))
        if switches > 2 * needed:
            return f"It switches {switches} times, and the tasks {needed}: they last, so ask the neighbours in time."
        used, tasks = (sum(_used(p[i]) for p in pairs) / len(pairs) for i in (0, 1))
        if used < tasks - 0.1:
            return f"It uses {used:.1f} slots for {tasks:.1f} tasks, on average: two tasks share a slot."
        if used > tasks + 0.1:
            return f"It uses {used:.1f} slots for {tasks:.1f} tasks, on average: a task is split. How many are needed?"
        if any(self.named([g.roll(-late) for g in got]) > self.named(got) + 1 for late in (1, 2, 3)):
            return "It is late after each switch: whoever has the whole stream may look at what comes after, too."
        return "Slots switch about as often as tasks, and are as many: look where they lie."

    def _example(self, got: Sequence[Tensor], want: Sequence[Tensor]) -> str:
        """The first stream that is grouped otherwise, from where it is, by each task's name for its largest slot."""
        for case, (answer, truth) in enumerate(zip(got, self.truth, strict=True)):
            wrong = (_called(answer, truth) != truth).nonzero()
            if len(wrong):
                rows = [one[wrong[0, 0] :][:4].tolist() for one in (_called(answer, truth), truth)]
                mine, right = ("[..., " + ", ".join(f"{v:g}" for v in row) + ", ...]" for row in rows)
                return f"(On input {case}: yours {mine}, right {right}.)"
        return ""


def _whole(numbers: Sequence[Tensor]) -> bool:
    return all(bool(((n - n.round()).abs() < 1e-5).all()) for n in numbers)


def _rand(slot: Tensor, task: Tensor) -> float:
    """The adjusted Rand index of slots (N,); 0 where these are none."""
    if not _whole([slot]):
        return 0.0
    from sklearn.metrics import adjusted_rand_score  # not at import: it is slow to load

    return float(adjusted_rand_score(task.numpy(), slot.numpy()))


def _regrouped(slot: Tensor, other: Tensor) -> bool:
    """Whether two groupings (N,) are the same, whatever the groups are called."""
    groups, both = (len(torch.unique(slot)), len(torch.unique(other))), torch.stack([slot, other])
    return groups[0] == groups[1] == len(torch.unique(both, dim=1).T)


def _used(slot: Tensor) -> int:
    """Slots that hold more than 2 % of the samples."""
    return int((torch.unique(slot, return_counts=True)[1] > 0.02 * len(slot)).sum())


def _called(slot: Tensor, task: Tensor) -> Tensor:
    """Each slot (N,) called by its most frequent task, if it is the largest that is; else -1."""
    own = torch.unique(slot, return_inverse=True)[1]
    table = torch.zeros(int(own.max()) + 1, int(task.max()) + 1, dtype=torch.float64, device="cpu")
    table.index_put_((own, task), torch.ones_like(own, dtype=torch.float64), accumulate=True)
    name = table.argmax(1)
    largest = table.argmax(0)[name] == torch.arange(len(table), device="cpu")
    return torch.where(largest, name, -1)[own]


# ---------------------------------------------------------------- streams


def _stream(draw: Generator, tasks: int) -> tuple[Tensor, Tensor]:
    """Samples (N, 2) around places near those of a 3 x 3 grid, and their tasks (N,)."""
    grid = torch.cartesian_prod(*[torch.arange(3, dtype=torch.float64, device=draw.device)] * 2)
    places = 1.75 * grid[torch.randperm(9, generator=draw, device=draw.device)[:tasks]] + 0.1 * normal(draw, tasks, 2)
    moved = whole(draw, 1, tasks, SAMPLES) * (uniform(draw, SAMPLES) < HAZARD)
    task = (int(whole(draw, 0, tasks, 1)) + moved.cumsum(0)) % tasks
    return places[task] + SD * normal(draw, SAMPLES, 2), task


def streams(seed: int) -> list[tuple[Tensor, Tensor]]:
    """Three streams, of three, four and five tasks in an order that depends on the seed."""
    return drawn(seed, _stream, *[(3 + (seed + at) % 3,) for at in range(3)])


# ---------------------------------------------------------------- ways to find them


def smoothed(x: Tensor, reach: int) -> Tensor:
    """Means (N, D) over ``reach`` samples on either side, of those that there are."""
    return avg_pool1d(x.T[None], 2 * reach + 1, 1, reach, count_include_pad=False)[0].T


def kmeans(x: Tensor, k: int, rounds: int = 10) -> Tensor:
    """Means (k, D), begun each at the sample that is furthest from those before."""
    means = x[torch.cdist(x, x.mean(0, keepdim=True)).argmax(0)]
    while len(means) < k:
        means = torch.cat([means, x[torch.cdist(x, means).amin(1).argmax()][None]])
    for _ in range(rounds):
        inside = one_hot(torch.cdist(x, means).argmin(1), k).to(x)
        means = inside.T @ x / (inside.sum(0)[:, None] + 1e-9)
    return means


def _nearest(x: Tensor, means: Tensor) -> Tensor:
    return torch.cdist(x, means).argmin(1)


def by_silhouette(x: Tensor) -> Tensor:
    """k-means with as many means as have the best silhouette: how much nearer a sample's own group is than the next."""
    from sklearn.metrics import silhouette_score

    tried = [_nearest(x, kmeans(x, k)) for k in range(2, SLOTS + 1)]
    return max(tried, key=lambda slot: silhouette_score(x.numpy(), slot.numpy()))


def _products(steps: Tensor) -> Tensor:
    """Products (N, K, K) of the first 1, 2, .. N matrices, each up to a factor, in log2 N rounds."""
    reach = 1
    while reach < len(steps):
        longer = steps[:-reach] @ steps[reach:]
        steps = torch.cat([steps[:reach], longer / longer.amax((1, 2), keepdim=True)])
        reach *= 2
    return steps


def _beliefs(score: Tensor) -> tuple[Tensor, Tensor]:
    """Belief (N, K) after each sample from those up to it, and from all: forwards and backwards through time."""
    k = score.shape[1]
    jump = score.new_full((k, k), HAZARD / (k - 1)).fill_diagonal_(1 - HAZARD)
    steps = jump * (score - score.amax(1, keepdim=True)).exp()[:, None]
    past = _products(steps).sum(1)
    later = torch.cat([_products(steps[1:].mT.flip(0)).sum(1).flip(0), score.new_ones(1, k)])
    return past / past.sum(1, keepdim=True), past * later / (past * later).sum(1, keepdim=True)


def hidden_markov(x: Tensor, k: int, rounds: int = 1) -> tuple[float, Tensor, Tensor]:
    """Gaussians of one variance with a known hazard, by EM: BIC in nats, belief from the past, and from all (N, k)."""
    means = kmeans(smoothed(x, 3), k)
    variance = torch.cdist(x, means).amin(1).square().mean() / 2
    for _ in range(rounds):
        belief = _beliefs(-torch.cdist(x, means).square() / (2 * variance))[1]
        means = belief.T @ x / (belief.sum(0)[:, None] + 1e-9)
        variance = (belief * torch.cdist(x, means).square()).sum() / x.numel()
    score = -torch.cdist(x, means).square() / (2 * variance)
    past, both = _beliefs(score)
    expected = (1 - HAZARD) * past[:-1] + HAZARD * (1 - past[:-1]) / (k - 1)
    nats = len(x) * (2 * math.pi * variance).log() - (expected.log() + score[1:]).logsumexp(1).sum()
    return float(nats) + k * math.log(len(x)), past, both  # two numbers a slot, each half a log N


def _as_many_as_needed(x: Tensor) -> tuple[float, Tensor, Tensor]:
    return min((hidden_markov(x, k) for k in range(2, SLOTS)), key=lambda fit: fit[0])


def one_step_at_a_time(x: Tensor, rate: float = 0.05) -> Tensor:
    """The chapter's discovery, with a table in the network's place: one gradient at the uniform z, then one step."""
    draw = Generator(device=x.device).manual_seed(0)
    means, variance = x.mean(0) + 0.3 * normal(draw, SLOTS, 2), x.var(0).mean()
    log_belief, found = torch.zeros_like(means[:, 0]).log_softmax(0), []
    for sample in x:
        belief = log_belief.exp()
        prior = ((1 - HAZARD) * belief + HAZARD * (1 - belief) / (SLOTS - 1)).log()
        log_belief = torch.log_softmax(prior + means @ (sample - means.mean(0)) / variance, 0)
        far, belief = sample - means, log_belief.exp()
        variance = variance + 0.02 * ((belief * far.square().mean(1)).sum() - variance)
        means = means + rate * belief[:, None] * far
        found.append(log_belief.argmax())
    return torch.stack(found)


_streams = streams(1109)

discover_tasks = Discovery(
    "discover_tasks",
    f"student(x ({SAMPLES}, 2)) -> the slot ({SAMPLES},) of each sample, whole numbers; how many tasks there are, "
    f"fewer than {SLOTS}, is for it to find.",
    lambda x: _as_many_as_needed(x)[2].argmax(1),
    [(x,) for x, _ in _streams],
    mistakes=[
        Mistake(
            lambda x: torch.zeros(len(x), dtype=torch.int64, device="cpu"),
            "All samples in one slot: that is what one slot that wins at first and is never doubted ends in.",
        ),
        Mistake(
            lambda x: torch.arange(len(x), device="cpu"),
            "Each sample has a slot of its own: tasks come back, and a slot is to be used again.",
        ),
        Mistake(
            lambda x: _as_many_as_needed(x)[1].argmax(1),
            "Sound, but it only knows what came *before* each sample. You have the whole stream: after a switch, the "
            "samples that follow say where it was.",
        ),
        Mistake(
            lambda x: hidden_markov(x, SLOTS)[2].argmax(1),
            f"Sound but for the number of slots: with all {SLOTS} in use tasks are split. Which number predicts best?",
        ),
        Mistake(
            one_step_at_a_time,
            f"That is the chapter's own: one gradient, one pass, {SLOTS} slots, of which those in the middle are never "
            "named and so never learn. You have the whole stream, and need not be so poor.",
        ),
    ],
    truth=[task for _, task in _streams],
    margin=5.0,
    up_to_constant=True,
    rivals={
        "one step, one pass": one_step_at_a_time,
        "k-means": by_silhouette,
        "k-means of five around": lambda x: by_silhouette(smoothed(x, 2)),
        "hidden Markov model": lambda x: _as_many_as_needed(x)[2].argmax(1),
    },
)
