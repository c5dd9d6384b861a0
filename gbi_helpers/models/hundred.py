"""Decoders with a task abstraction Z for a hundred classes: linear, with a code, with an embedded Z, equidistant.

As in :mod:`gbi_helpers.models.image`, a model is an encoder, which never sees z, and a decoder, which does: x -> h and
(h, z) -> x. What is described here is a vector x (B, D), such as whitened pixels or features (models of whole images
are in :mod:`gbi_helpers.models.hundred_images`). Losses are nats of a Gaussian of standard deviation 1 in each
direction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.models.base import Described, gaussian_nll
from gbi_helpers.models.image import Conditioning, Join

CLASSES = 100


class Columns(nn.Module):
    """A decoder of z alone, and linear in it: z @ patterns, where patterns (K, D) are what each class predicts."""

    def __init__(self, n_tasks: int, size: int):
        super().__init__()
        self.patterns = nn.Parameter(torch.zeros(n_tasks, size))

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """The vector (B, D) that z (B, K) predicts; h is not used."""
        return z @ self.patterns


class ZOnly(Described):
    """The pure generative model, x = z @ patterns + noise: least squares makes every pattern the mean of its class.

    ``fit`` finds it in closed form. ``equidistant=True`` holds the patterns at one distance from each other, so all are
    equally far from their centroid: then one step misses nothing (:mod:`gbi_helpers.theory`, 1).
    """

    nll = staticmethod(gaussian_nll)
    latent = 0

    def __init__(self, size: int, n_tasks: int = CLASSES, equidistant: bool = False):
        super().__init__()
        self.n_tasks, self.equidistant = n_tasks, equidistant
        self.decoder = Columns(n_tasks, size)

    @torch.no_grad()
    def fit(self, x: Tensor, y: Tensor) -> ZOnly:
        """Minimise the squared error over vectors x (N, D) with classes y (N,), in closed form."""
        means = class_means(x, y, self.n_tasks)
        self.decoder.patterns.copy_(nearest_equidistant(means) if self.equidistant else means)
        return self

    def encode(self, x: Tensor) -> Tensor:
        """No code: (B, 0)."""
        return x.new_zeros(len(x), 0)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """What z (B, K) predicts, (B, D)."""
        return self.decoder(self.encode(x), z)


def class_means(x: Tensor, y: Tensor, n_tasks: int = CLASSES) -> Tensor:
    """Mean (K, D) of the vectors x (N, D) of each class y (N,). Raises ``ValueError`` for a class without any."""
    counts = torch.bincount(y, minlength=n_tasks)
    if len(counts) > n_tasks or (counts == 0).any():
        raise ValueError(f"Each of the classes 0 .. {n_tasks - 1} needs an example, and none may be above them.")
    total = torch.zeros(n_tasks, x.shape[1], dtype=torch.float64, device=x.device)
    for part, labels in zip(x.split(5000), y.split(5000), strict=True):
        total.index_add_(0, labels, part.double())
    return (total / counts[:, None]).to(x if x.is_floating_point() and x.dtype != torch.float16 else torch.float32)


def nearest_equidistant(means: Tensor) -> Tensor:
    """The K points (K, D), all at one distance from each other, that come nearest to ``means``.

    A regular simplex around the same centroid, by orthogonal Procrustes: with the singular values of the centred means
    = U S V', the K - 1 of them that are not zero, it is mean(S) U V'. Needs D >= K - 1; ``ValueError`` otherwise.
    """
    n_tasks, size = means.shape
    if size < n_tasks - 1:
        raise ValueError(f"{n_tasks} equidistant points need {n_tasks - 1} dimensions or more, but there are {size}.")
    centre = means.double().mean(0)
    left, values, right = torch.linalg.svd(means.double() - centre, full_matrices=False)
    left, values, right = left[:, : n_tasks - 1], values[: n_tasks - 1], right[: n_tasks - 1]
    return (centre + values.mean() * left @ right).to(means)


def on_sphere(means: Tensor) -> Tensor:
    """The points (K, D), each moved along its line from their centroid until all are at their mean distance from it.

    Directions are kept, so that any number of tasks has room in two dimensions. One step from z with z @ points = that
    centre is exact then (:mod:`gbi_helpers.starts`, 10); from the uniform z it is so only as far as the centroid of the
    moved points is the centre still. Raises ``ValueError`` where a point lies at the centroid, and has no direction.
    """
    centre = means.mean(0)
    return centre + _one_length(means - centre)


def balanced_sphere(means: Tensor, steps: int = 500) -> Tensor:
    """The same with the centroid of the moved points in the centre of their sphere, so that one step is exact.

    By moving the centroid to the centre and the points back to the sphere, in turn. In high dimensions it hardly
    changes anything; in few it turns the points away from where most are. Raises ``ValueError`` if ``steps`` turns do
    not suffice, as on a line.
    """
    centre = means.double().mean(0)
    away = _one_length(means.double() - centre)
    for _ in range(steps):
        if away.mean(0).norm() <= 1e-9 * away[0].norm():
            return (centre + away).to(means)
        away = _one_length(away - away.mean(0), away[0].norm())
    raise ValueError(f"The centroid did not come to the centre in {steps} turns: allow more, or use more dimensions.")


def _one_length(away: Tensor, length: Tensor | None = None) -> Tensor:
    """Vectors (K, D) of one length, by default their mean one."""
    own = away.norm(dim=1, keepdim=True)
    if not (own > 1e-9 * own.max()).all():
        raise ValueError(
            "A point lies where the centroid does, so it has no direction: leave it out, or add dimensions."
        )
    return away / own * (own.mean() if length is None else length)


class Grouped(Described):
    """A two-level z: that of the class (B, K), and beside it that of its group, (B, K + G).

    The group's share of z is the sum over its classes, so one gradient to z adds up what both levels say.
    """

    membership: Tensor

    def __init__(self, group_of: Sequence[int]):
        super().__init__()
        membership = functional.one_hot(torch.tensor(group_of, dtype=torch.int64, device="cpu"))
        self.register_buffer("membership", membership.to(torch.get_default_device(), torch.get_default_dtype()))

    @property
    def size(self) -> int:
        """Length of the two-level z, K + G."""
        return sum(self.membership.shape)

    def forward(self, z: Tensor) -> Tensor:
        """Two-level z (B, K + G)."""
        return torch.cat([z, z @ self.membership], dim=1)


class Embedded(Described):
    """A z of K classes as a mixture of K learned embeddings, (B, size)."""

    def __init__(self, n_tasks: int, size: int):
        super().__init__()
        self.size = size
        self.embedding = nn.Linear(n_tasks, size, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """The mixture (B, size)."""
        return self.embedding(z)


class SphereEmbedded(Embedded):
    """The same with embeddings of length 1: their directions alone are learned."""

    def forward(self, z: Tensor) -> Tensor:
        """The mixture (B, size)."""
        return functional.linear(z, functional.normalize(self.embedding.weight, dim=0))


class TaskDecoder(nn.Module):
    """Vector (B, D) from a code and a task, which may first be mapped (:class:`Grouped`, :class:`Embedded`)."""

    def __init__(self, join: Join, size: int, task_map: nn.Module, drop: float):
        super().__init__()
        self.task_map, self.join = task_map, join
        self.body = nn.Sequential(nn.Dropout(drop), nn.Linear(join.code.out_features, size))

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """What the code h (B, latent) and z (B, K) predict, (B, D)."""
        return self.body(self.join(h, self.task_map(z)))


class CodeModel(Described):
    """An autoencoder of vectors x (B, D) with a code of ``latent`` numbers, and z in its decoder.

    ``conditioning`` "mul" lets z choose which hidden units take part, "concat" is the paper's, as we understand it.
    ``task_map``: what z goes through first. ``drop``: share of inputs and hidden units left out at each training step.
    """

    nll = staticmethod(gaussian_nll)

    def __init__(
        self,
        size: int,
        latent: int = 64,
        n_tasks: int = CLASSES,
        conditioning: Conditioning = "mul",
        width: int = 512,
        drop: float = 0.0,
        task_map: Grouped | Embedded | None = None,
    ):
        super().__init__()
        self.latent, self.n_tasks = latent, n_tasks
        self.encoder = encoder(size, width, latent, drop)
        join = Join(latent, task_map.size if task_map else n_tasks, width, conditioning)
        self.decoder = TaskDecoder(join, size, task_map or nn.Identity(), drop)

    def encode(self, x: Tensor) -> Tensor:
        """The code h (B, latent) of vectors x (B, D)."""
        return self.encoder(x)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """What the code of x and z (B, K) predict, (B, D)."""
        return self.decoder(self.encode(x), z)


class EquidistantModel(Described):
    """A model of its own learned description of x: class k is described by the k-th of K orthogonal columns.

    As in Pang et al. (2018) and Yang et al. (2021, arXiv 2101.00122), the classes' means are held equidistant and the
    network that describes x learns to come near them. One step equals the enumeration of all classes, by construction.
    """

    latent = 0

    def __init__(self, size: int, n_tasks: int = CLASSES, width: int = 512, drop: float = 0.0, radius: float = 3.0):
        super().__init__()
        self.n_tasks = n_tasks
        self.describe = encoder(size, width, n_tasks, drop)
        self.decoder = Columns(n_tasks, n_tasks)
        self.decoder.patterns.requires_grad_(False).fill_diagonal_(radius)

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        """Nats (B,) of the description of x around what z predicts."""
        return gaussian_nll(output, self.describe(x))

    def encode(self, x: Tensor) -> Tensor:
        """No code: (B, 0)."""
        return x.new_zeros(len(x), 0)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """What z (B, K) predicts of the description, (B, K)."""
        return self.decoder(self.encode(x), z)


class VectorClassifier(Described):
    """The plain classifier of vectors (B, D) with the same hidden layer: class logits (B, K). ``width=0``: linear."""

    def __init__(self, size: int, n_tasks: int = CLASSES, width: int = 512, drop: float = 0.0):
        super().__init__()
        self.layers = encoder(size, width, n_tasks, drop) if width else nn.Linear(size, n_tasks)

    def forward(self, x: Tensor) -> Tensor:
        """Class logits (B, K)."""
        return self.layers(x)


def encoder(size: int, width: int, out: int, drop: float = 0.0) -> nn.Sequential:
    """One hidden layer from vectors (B, size) to (B, out)."""
    return nn.Sequential(nn.Dropout(drop), nn.Linear(size, width), nn.ReLU(), nn.Dropout(drop), nn.Linear(width, out))
