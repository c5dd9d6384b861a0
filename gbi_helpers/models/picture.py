"""A model that can be shipped and looked at: from an image to features, to a belief, and back to a picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.models.base import Described
from gbi_helpers.models.features import PatchFeatures
from gbi_helpers.models.hundred import CLASSES, ZOnly
from gbi_helpers.models.projection import Projection

SKETCH = 16  # pixels across of the picture that is drawn


class PictureModel(Described):
    """Patch features and their discriminants (``see``), a decoder of z alone for those, and a drawing (``draw``).

    The classes are held equidistant, so that one gradient step is exact. ``draw`` shows a description as the picture a
    linear map makes of it: 16x16 pixels, enlarged. It is for looking only; inference never uses it.
    """

    def __init__(self, n_filters: int = 100, pool: int = 3, n_tasks: int = CLASSES):
        super().__init__()
        self.features = PatchFeatures(n_filters, pool)
        self.discriminants = nn.Linear(self.features.size, n_tasks - 1)
        self.model = ZOnly(n_tasks - 1, n_tasks, equidistant=True)
        self.sketch = nn.Linear(n_tasks - 1, 3 * SKETCH**2)

    @torch.no_grad()
    def put(self, features: PatchFeatures, projection: Projection, model: ZOnly) -> PictureModel:
        """Take over features, projection and a fitted model."""
        self.features.load_state_dict(features.state_dict())
        self.discriminants.weight.copy_(projection.matrix.T)
        self.discriminants.bias.copy_(-projection.mean @ projection.matrix)
        self.model.load_state_dict(model.state_dict())
        return self

    @torch.no_grad()
    def fit_sketch(self, t: Tensor, pixels: Tensor) -> PictureModel:
        """Least squares from descriptions t (N, K - 1) to images (N, 3, 32, 32)."""
        small = functional.adaptive_avg_pool2d(pixels, SKETCH).flatten(1)
        extended = torch.cat([t, t.new_ones(len(t), 1)], dim=1)
        found = torch.linalg.lstsq(extended.double(), small.double()).solution
        self.sketch.weight.copy_(found[:-1].T)
        self.sketch.bias.copy_(found[-1])
        return self

    @torch.no_grad()
    def see(self, x: Tensor) -> Tensor:
        """The description (B, K - 1) of images x (B, 3, 32, 32): what the model is then asked about."""
        return torch.cat([self.discriminants(self.features(image)) for image in x.split(1)])

    @torch.no_grad()
    def draw(self, t: Tensor) -> Tensor:
        """The picture (B, 3, 32, 32), in [0, 1], of a description (B, K - 1)."""
        small = self.sketch(t).unflatten(1, (3, SKETCH, SKETCH))
        return functional.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False).clamp(0, 1)
