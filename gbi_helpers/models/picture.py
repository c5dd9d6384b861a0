"""A model that can be shipped and looked at: from an image to features, to a belief, and back to a picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gbi_helpers.models.features import PatchFeatures
from gbi_helpers.models.hundred import CodeModel
from gbi_helpers.models.projection import Projection

SKETCH = 16  # pixels across of the picture that is drawn


class PictureModel(nn.Module):
    """Patch features and their principal components (``see``), a :class:`CodeModel` of them, and a drawing.

    ``draw`` shows a description as the picture a linear map makes of it: 16x16 pixels, enlarged. It is for looking
    only; inference never uses it.
    """

    def __init__(self, n_filters: int = 100, pool: int = 3, components: int = 224, **sizes: int):
        super().__init__()
        self.features = PatchFeatures(n_filters, pool)
        self.components = nn.Linear(self.features.size, components)
        self.model = CodeModel(components, **sizes)
        self.sketch = nn.Linear(components, 3 * SKETCH**2)

    @torch.no_grad()
    def put(self, features: PatchFeatures, projection: Projection, model: CodeModel) -> PictureModel:
        """Take over features, projection and a trained model."""
        self.features.load_state_dict(features.state_dict())
        self.components.weight.copy_(projection.matrix.T)
        self.components.bias.copy_(-projection.mean @ projection.matrix)
        self.model.load_state_dict(model.state_dict())
        return self

    @torch.no_grad()
    def fit_sketch(self, t: Tensor, pixels: Tensor) -> PictureModel:
        """Least squares from descriptions t (N, components) to images (N, 3, 32, 32)."""
        small = functional.adaptive_avg_pool2d(pixels, SKETCH).flatten(1)
        extended = torch.cat([t, torch.ones(len(t), 1, device=t.device)], dim=1)
        found = torch.linalg.lstsq(extended.double(), small.double()).solution.float()
        self.sketch.weight.copy_(found[:-1].T)
        self.sketch.bias.copy_(found[-1])
        return self

    @torch.no_grad()
    def see(self, x: Tensor) -> Tensor:
        """The description (B, components) of images x (B, 3, 32, 32): what the model is then asked about."""
        return torch.cat([self.components(self.features(image)) for image in x.split(1)])

    @torch.no_grad()
    def draw(self, t: Tensor) -> Tensor:
        """The picture (B, 3, 32, 32), in [0, 1], of a description (B, components)."""
        small = self.sketch(t).unflatten(1, (3, SKETCH, SKETCH))
        return functional.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False).clamp(0, 1)
