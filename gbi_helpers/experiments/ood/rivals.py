"""Standard scores of how familiar an image is, high for familiar, that need no z: on pixels, or on a classifier.

Each function here is given what is known, and returns a :data:`Scorer`: from features (N, ...) of images to scores
(N,), one for each setting that the method leaves open, by name: "nearest 1". The first is the first guess; another is
chosen on strangers made of validation digits (:mod:`gbi_helpers.experiments.ood.pretend`), never on foreign images.
Pixels serve as features as they are, and then nothing is trained; a classifier's last hidden layer serves as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.experiments.ood.scores import classifier_scores, log_odds
from gbi_helpers.models.image import Classifier

Scorer = Callable[[Tensor], dict[str, Tensor]]
NEIGHBOURS = (1, 5, 20, 50)
RIDGES = (0.1, 0.001, 0.01, 1.0)
RANKS = (100, 10, 30, 50, 200)
SHIFTS = (0.0014, 0.0, 0.01, 0.05, 0.1)
VIM_RANKS = (256, 32, 64, 128, 512)


def nearest(known: Tensor) -> Scorer:
    """Cosine of the angle to the k-th nearest of the stored features (M, F). Nothing is fitted.

    On a classifier's features it is the deep nearest neighbour of Sun et al. (2022), arXiv 2204.06507: distance on the
    unit sphere, which ranks in the same way.
    """
    stored = _unit(known)

    def score(x: Tensor) -> dict[str, Tensor]:
        most = min(max(NEIGHBOURS), len(stored))
        close = torch.cat([(part @ stored.T).topk(most).values for part in _unit(x).split(500)]).double()
        return {f"nearest {k}": close[:, min(k, most) - 1] for k in NEIGHBOURS}

    return score


def _unit(x: Tensor) -> Tensor:
    return functional.normalize(x.flatten(1))


def mahalanobis(known: Tensor, y: Tensor) -> Scorer:
    """Minus the squared distance to the nearest class mean, in units of the covariance inside classes.

    Lee et al. (2018), arXiv 1807.03888, without their shift of the input. The covariance is one for all classes, with
    a ridge on its diagonal. "relative_mahalanobis": beside the distance from one Gaussian for all classes, Ren et al.
    (2021), arXiv 2106.09022.
    """
    features = known.flatten(1).double()
    inside, whole = _distances(features, y), _distances(features, torch.zeros_like(y))

    def score(x: Tensor) -> dict[str, Tensor]:
        near, far = inside(x.flatten(1).double()), whole(x.flatten(1).double())
        found = {f"mahalanobis {ridge:g}": -near[ridge] for ridge in RIDGES}
        return found | {f"relative_mahalanobis {ridge:g}": far[ridge] - near[ridge] for ridge in RIDGES}

    return score


def _distances(features: Tensor, y: Tensor) -> Callable[[Tensor], dict[float, Tensor]]:
    """Squared distance (N,) to the nearest class mean, by ridge."""
    classes, place = y.unique(return_inverse=True)
    means = torch.stack([features[y == k].mean(0) for k in classes])
    left = features - means[place]
    values, basis = torch.linalg.eigh(left.T @ left / len(left))
    centres = means @ basis

    def distance(x: Tensor) -> dict[float, Tensor]:
        turned, found = x @ basis, {}
        for ridge in RIDGES:
            scale = (values.clamp_min(0) + ridge).rsqrt()
            found[ridge] = torch.cdist(turned * scale, centres * scale).square().min(1).values
        return found

    return distance


def residual(known: Tensor) -> Scorer:
    """Minus the share of an image's length that its first principal components leave over: an untrained drawing."""
    features = known.flatten(1).double()
    mean = features.mean(0)
    basis = torch.linalg.eigh((features - mean).T @ (features - mean)).eigenvectors

    def score(x: Tensor) -> dict[str, Tensor]:
        parts = ((x.flatten(1).double() - mean) @ basis).square()
        return {f"residual {rank}": -(parts[:, :-rank].sum(1) / parts.sum(1)).sqrt() for rank in RANKS}

    return score


# ---------------------------------------------------------------- a classifier's


@dataclass(frozen=True)
class Head:
    """A classifier taken apart: ``body`` from images to features, ``last`` from these to logits, ``tasks`` of which
    have ever been right.
    """

    body: nn.Module
    last: nn.Linear
    tasks: int

    @staticmethod
    def of(net: Classifier, tasks: int = 10) -> Head:
        """Of a classifier whose first ``tasks`` outputs were trained."""
        last = net.encoder[-1]
        assert isinstance(last, nn.Linear)
        return Head(net.encoder[:-1], last, tasks)

    def logits(self, features: Tensor) -> Tensor:
        """Logits (N, K) of features (N, F)."""
        return self.last(features)[:, : self.tasks]

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Features (N, F) of images, a thousand at a time."""
        return torch.cat([self.body(part) for part in x.split(1000)])


@torch.no_grad()
def of_logits(head: Head, features: Tensor) -> dict[str, Tensor]:
    """Scores that need the network alone, and leave nothing open.

    Largest softmax (Hendrycks and Gimpel 2017), energy (Liu et al. 2020), largest logit (Hendrycks et al. 2022,
    arXiv 1911.11132) and GradNorm (Huang et al. 2021, arXiv 2110.00218): the length, summed over absolute entries, of
    the gradient to the last layer's weights of the divergence of the uniform answer from the network's.
    """
    logits = head.logits(features).double()
    away = (logits.softmax(1) - 1 / head.tasks).abs().sum(1)
    gradnorm = away * features.double().abs().sum(1)
    return classifier_scores(logits) | {"max_logit": logits.max(1).values, "gradnorm": gradnorm}


def odin(head: Head, x: Tensor) -> dict[str, Tensor]:
    """Largest softmax (N,) at temperature 1000, after a small step of every pixel of images x towards it.

    Liang et al. (2018), arXiv 1706.02690; the step is what they leave open.
    """
    parts = [_shifted(head, part) for part in x.split(500)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _shifted(head: Head, x: Tensor) -> dict[str, Tensor]:
    image = x.clone().requires_grad_()
    log_q = (head.logits(head.body(image)) / 1000).log_softmax(1)
    (slope,) = torch.autograd.grad(log_q.max(1).values.sum(), image)
    with torch.no_grad():
        moved = {shift: head.logits(head.body(x + shift * slope.sign())) for shift in SHIFTS}
    return {f"odin {shift:g}": log_odds(logits.double() / 1000) for shift, logits in moved.items()}


@torch.no_grad()
def vim(head: Head, known: Tensor) -> Scorer:
    """Energy minus a virtual logit: how far features lie outside the main directions of the known ones (M, F).

    Wang et al. (2022), arXiv 2203.10807; the virtual logit is scaled to the known ones' largest logit.
    """
    weight, bias = head.last.weight.double(), head.last.bias.double()
    origin = -torch.linalg.pinv(weight) @ bias
    left = known.double() - origin
    basis = torch.linalg.eigh(left.T @ left).eigenvectors
    logit = head.logits(known).max(1).values.double().mean()

    def outside(features: Tensor) -> dict[int, Tensor]:
        parts = ((features.double() - origin) @ basis).square()
        return {rank: parts[:, :-rank].sum(1).sqrt() for rank in VIM_RANKS}

    scale = {rank: logit / length.mean() for rank, length in outside(known).items()}

    def score(features: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            energy = head.logits(features).double().logsumexp(1)
        return {f"vim {rank}": energy - scale[rank] * length for rank, length in outside(features).items()}

    return score


def together(familiar: dict[str, Tensor], *more: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Adds "together R" to scores: nearest, relative Mahalanobis with ridge R, and ``more``, summed.

    ``familiar``: the same scores of validation digits; their means and deviations are the units of the sum.
    """

    def unit(scores: dict[str, Tensor], name: str) -> Tensor:
        return (scores[name] - familiar[name].mean()) / familiar[name].std()

    def added(scores: dict[str, Tensor]) -> dict[str, Tensor]:
        rest = sum(unit(scores, name) for name in ("nearest 1", *more))
        by_ridge = {f"{ridge:g}": unit(scores, f"relative_mahalanobis {ridge:g}") for ridge in RIDGES}
        return {f"{'_and_'.join(('together', *more))} {ridge}": rest + one for ridge, one in by_ridge.items()}

    return added


def on_pixels(x: Tensor, y: Tensor) -> Scorer:
    """All rivals that train nothing: of standardised images x (M, 1, 28, 28) of classes y."""
    scorers = nearest(x), mahalanobis(x, y), residual(x)
    return lambda images: {name: score for one in scorers for name, score in one(images).items()}


def on_features(head: Head, x: Tensor, y: Tensor) -> Scorer:
    """All rivals that have a classifier, which was trained on images x of classes y."""
    known = head.features(x)
    scorers = nearest(known), mahalanobis(known, y), vim(head, known)

    def score(images: Tensor) -> dict[str, Tensor]:
        features = head.features(images)
        found: dict[str, Any] = of_logits(head, features) | odin(head, images)
        return found | {name: values for one in scorers for name, values in one(features).items()}

    return score
