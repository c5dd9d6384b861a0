"""Label-free features of images: how strongly small random patches of other images are found in each region.

After Coates, Lee and Ng (2011), "An analysis of single-layer networks in unsupervised feature learning", and Coates
and Ng (2011), "The importance of encoding versus training": patches drawn at random and whitened do nearly as well as
learned ones. No label is used anywhere here, and nothing is trained. Images are (B, C, S, S) with values in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.progress import progress_bar

CONTRAST = 1.5e-4  # added to a patch's variance, so that flat sky is not blown up to noise: 10 grey levels squared
FLOOR = 0.1  # added to the eigenvalues of the patch covariance, so that whitening does not amplify noise


class PatchFeatures(nn.Module):
    """Features (B, D) of images: each of ``n_filters`` patches and its mirror image, compared at every place.

    A patch of the image is set to mean 0 and variance 1, whitened, and compared with each filter (a dot product r).
    Kept are relu(r - threshold) and relu(-r - threshold), averaged over ``pool`` x ``pool`` regions; square roots tame
    the few large ones. Responses of a filter and of its mirror image (at the mirrored place) are added, so an image and
    its mirror image have the same features: D = 2 * n_filters * pool**2. Not with ``mirror=False``, for digits, whose
    mirror images are none.
    """

    filters: Tensor
    offset: Tensor

    def __init__(
        self,
        n_filters: int = 400,
        pool: int = 3,
        patch: int = 6,
        stride: int = 1,
        threshold: float = 0.25,
        channels: int = 3,
        mirror: bool = True,
    ):
        super().__init__()
        self.pool, self.stride, self.threshold, self.copies = pool, stride, threshold, 1 + mirror
        self.register_buffer("filters", torch.zeros(self.copies * n_filters, channels, patch, patch))
        self.register_buffer("offset", torch.zeros(self.copies * n_filters))

    @property
    def size(self) -> int:
        """Number of features D."""
        return 2 * len(self.filters) // self.copies * self.pool**2

    @torch.no_grad()
    def fit(self, x: Tensor, seed: int = 0, patches: int = 50_000) -> PatchFeatures:
        """Draw the filters from images x (N, C, S, S): the only thing that is learned, and without a label.

        ``patches``: how many of them the whitening is estimated from.
        """
        draw = torch.Generator().manual_seed(seed)
        side, drawn = self.filters.shape[-1], len(self.filters) // self.copies
        cut = _random_patches(x, max(patches, drawn), side, draw)
        mean, whiten = _whitening(_normalised(self._mirrored(cut)).flatten(1))
        chosen = _normalised(cut[:drawn])
        unit = functional.normalize((chosen.flatten(1) - mean) @ whiten, dim=1)
        weights = self._mirrored((unit @ whiten).view(chosen.shape))
        self.offset.copy_(weights.flatten(1) @ mean)
        self.filters.copy_(weights - weights.mean((1, 2, 3), keepdim=True))  # then a patch's mean drops out by itself
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, D) of images x."""
        seen = self._patches(x) @ self._weights()  # (B, places, filters): each response, less the threshold
        above = self._regions(seen.clamp_min(0))
        below = self._regions(seen.clamp_max(-2 * self.threshold)).neg() - 2 * self.copies * self.threshold
        return torch.cat([above, below], dim=1).clamp_min(0).flatten(1).sqrt()

    def _mirrored(self, patches: Tensor) -> Tensor:
        """The patches and, where they count, their mirror images."""
        return torch.cat([patches, patches.flip(-1)]) if self.copies == 2 else patches

    def _patches(self, x: Tensor) -> Tensor:
        """Every patch, divided by its contrast, with a last 1 for the offset: (B, places, C * patch**2 + 1)."""
        cut = functional.unfold(x, self.filters.shape[-1], stride=self.stride)
        contrast = cut.var(1, keepdim=True, unbiased=False) + CONTRAST
        return torch.cat([cut * contrast.rsqrt(), torch.ones_like(contrast)], dim=1).transpose(1, 2).contiguous()

    def _weights(self) -> Tensor:
        """The filters as columns, with the offset and the threshold as a last row."""
        return torch.cat([self.filters.flatten(1), -(self.offset + self.threshold)[:, None]], dim=1).T

    def _regions(self, response: Tensor) -> Tensor:
        """Means by region of (B, places, filters), a filter with its mirror image: (B, n_filters, pool, pool)."""
        places = round(response.shape[1] ** 0.5)
        line = torch.arange(places, device=response.device) * self.pool // places
        region = functional.one_hot((line[:, None] * self.pool + line).flatten(), self.pool**2).to(response)
        found = ((region / region.sum(0)).T @ response).transpose(1, 2).unflatten(2, (self.pool, self.pool))
        one, *other = found.chunk(self.copies, dim=1)
        return one + other[0].flip(-1) if other else one

    @torch.no_grad()
    def of(self, images: Tensor, chunk: int | None = None, desc: str = "patch features") -> Tensor:
        """Features (N, D), in 16 bits, of many images (N, C, S, S), uint8 or in [0, 1].

        By default one at a time on a CPU, which is fastest there, since the responses then stay in its cache; on a GPU
        128.
        """
        chunk = chunk or (1 if images.device.type == "cpu" else 128)
        found = torch.empty(len(images), self.size, dtype=torch.float16, device=images.device)
        for start in progress_bar(range(0, len(images), chunk), desc=desc):
            part = images[start : start + chunk]
            found[start : start + chunk] = self(part if part.is_floating_point() else part.float() / 255)
        return found


def _random_patches(x: Tensor, n: int, side: int, draw: torch.Generator) -> Tensor:
    """n patches (n, C, side, side) from random places of random images."""
    image = torch.randint(len(x), (n, 1, 1), generator=draw, device=draw.device)
    top, left = torch.randint(x.shape[-1] - side + 1, (2, n, 1, 1), generator=draw, device=draw.device)
    line = torch.arange(side, device=draw.device)
    return x.permute(0, 2, 3, 1)[image, top + line[:, None], left + line].permute(0, 3, 1, 2).contiguous()


def _normalised(patches: Tensor) -> Tensor:
    """Each patch with mean 0 and variance 1, flat ones less."""
    centred = patches - patches.mean((1, 2, 3), keepdim=True)
    return centred * (centred.square().mean((1, 2, 3), keepdim=True) + CONTRAST).rsqrt()


def _whitening(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and the symmetric matrix (D, D) that makes rows (N, D) uncorrelated with variance 1 (ZCA)."""
    mean = flat.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(flat.T).double())
    return mean, ((vectors * (values.clamp_min(0) + FLOOR).rsqrt()) @ vectors.T).to(flat)
