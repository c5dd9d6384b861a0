from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from gbi_helpers import enumerate_tasks, max_entropy, one_step
from gbi_helpers.models.features import CONTRAST, PatchFeatures
from gbi_helpers.models.hundred import (
    CodeModel,
    Embedded,
    EquidistantModel,
    Grouped,
    SphereEmbedded,
    VectorClassifier,
    ZOnly,
    balanced_sphere,
    class_means,
    encoder,
    nearest_equidistant,
    on_sphere,
)
from gbi_helpers.models.hundred_images import ConvClassifier, ConvModel, UNet
from gbi_helpers.models.picture import PictureModel
from gbi_helpers.models.projection import Projection, moments, shrunk, whitening, within_classes
from gbi_helpers.readouts import decoder_loss
from gbi_helpers.theory import corrected_one_step, gap, one_step_gap

GROUP_OF = [k // 5 for k in range(100)]
VECTORS = {
    "z alone": lambda: ZOnly(120),
    "concat": lambda: CodeModel(120, conditioning="concat"),
    "mul": lambda: CodeModel(120),
    "grouped": lambda: CodeModel(120, task_map=Grouped(GROUP_OF)),
    "embedded": lambda: CodeModel(120, task_map=Embedded(100, 32)),
    "sphere": lambda: CodeModel(120, task_map=SphereEmbedded(100, 32)),
    "equidistant": lambda: EquidistantModel(120),
}
IMAGES = {"conv": lambda: ConvModel(), "conv mul": lambda: ConvModel(conditioning="mul"), "unet": lambda: UNet()}


def clusters(n=3000, size=120, n_tasks=100, seed=0):
    """Vectors around class means of unequal length, with correlated noise."""
    draw = torch.Generator().manual_seed(seed)
    means = torch.randn(n_tasks, size, generator=draw) * torch.linspace(0.3, 1, n_tasks)[:, None]
    mix = torch.eye(size) + torch.randn(size, size, generator=draw) / size**0.5 / 2
    y = torch.arange(n) % n_tasks
    return means[y] + torch.randn(n, size, generator=draw) @ mix, y


@pytest.fixture(name="images")
def some_images():
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def sample(kind):
    draw = torch.Generator().manual_seed(1)
    return torch.rand(6, 3, 32, 32, generator=draw) if kind in IMAGES else torch.randn(6, 120, generator=draw)


# Every model


@pytest.mark.parametrize("kind", [*VECTORS, *IMAGES])
def test_one_step_gives_a_gradient_for_each_sample_alone(kind):
    torch.manual_seed(0)
    model, x = (VECTORS | IMAGES)[kind]().eval(), sample(kind)
    if kind == "z alone":
        model.fit(*clusters())
    whole = one_step(decoder_loss(model, x), max_entropy(6, 100))
    alone = one_step(decoder_loss(model, x[2:3]), max_entropy(1, 100))
    assert whole.grad.shape == (6, 100)
    torch.testing.assert_close(whole.grad[2:3], alone.grad, rtol=1e-3, atol=1e-4)
    assert whole.grad.std(1).min() > 0


@pytest.mark.parametrize("kind", [*VECTORS, *IMAGES])
def test_loss_is_half_the_squared_error_summed_over_a_sample(kind):
    torch.manual_seed(0)
    model, x = (VECTORS | IMAGES)[kind]().eval(), sample(kind)
    output = model(x, max_entropy(6, 100))
    more = output + 1
    size = output[0].numel()
    rise = model.nll(more, x) - model.nll(output, x)
    slope = (model.nll(output + 1e-3, x) - model.nll(output - 1e-3, x)) / 2e-3
    torch.testing.assert_close(rise, slope + size / 2, rtol=2e-2, atol=0.5)


@pytest.mark.parametrize("model", [VectorClassifier(120), VectorClassifier(120, width=0), ConvClassifier()])
def test_classifiers_give_logits(model):
    x = sample("conv" if isinstance(model, ConvClassifier) else "mul")
    assert model(x).shape == (6, 100)


# Z alone, in closed form


def test_least_squares_of_z_alone_are_the_class_means():
    x, y = clusters()
    model = ZOnly(120).fit(x, y)
    patterns = model.decoder.patterns.detach().requires_grad_()
    functional.mse_loss(patterns[y], x).backward()
    assert patterns.grad.abs().max() < 1e-7  # nothing is left to descend
    torch.testing.assert_close(patterns[7], x[y == 7].mean(0), rtol=1e-4, atol=1e-5)


def test_a_class_without_examples_is_refused():
    x, y = clusters()
    with pytest.raises(ValueError, match="needs an example"):
        class_means(x, y.clamp_max(50))


def test_gap_of_z_alone_is_the_derived_one_and_puts_one_step_right():
    x, y = clusters()
    model = ZOnly(120).fit(x, y)
    loss_fn, z0 = decoder_loss(model, x[:50]), max_entropy(50, 100)
    delta = one_step_gap(model.decoder.patterns.detach(), 1.0)
    torch.testing.assert_close(gap(loss_fn, z0), (delta - delta.mean()).expand(50, -1), rtol=1e-3, atol=1e-3)
    exact = enumerate_tasks(loss_fn, z0).log_q
    assert (one_step(loss_fn, z0).log_q - exact).abs().max() > 0.5
    torch.testing.assert_close(corrected_one_step(loss_fn, z0, delta).log_q, exact, rtol=1e-3, atol=1e-3)


# Equidistant columns


def test_equidistant_points_are_so_and_near():
    means = class_means(*clusters())
    points = nearest_equidistant(means)
    apart = torch.cdist(points.double(), points.double())[~torch.eye(100, dtype=torch.bool)]
    assert apart.max() / apart.min() == pytest.approx(1, abs=1e-4)
    error = (points - means).square().sum()
    turn = torch.linalg.qr(torch.randn(120, 120, generator=torch.Generator().manual_seed(0)))[0]
    centre = means.mean(0)
    for other in (
        (points - centre) * 0.9 + centre,
        (points - centre) * 1.1 + centre,
        (points - centre) @ turn + centre,
    ):
        assert error < (other - means).square().sum()
    with pytest.raises(ValueError, match="99 dimensions or more"):
        nearest_equidistant(torch.randn(100, 50))


def points(n, dims):
    return torch.randn(n, dims, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3


@pytest.mark.parametrize("dims", [2, 8])
def test_points_on_a_sphere_keep_their_directions_and_mean_distance(dims):
    free = points(30, dims)
    away, moved = free - free.mean(0), on_sphere(free) - free.mean(0)
    torch.testing.assert_close(moved.norm(dim=1), away.norm(dim=1).mean().expand(30))
    torch.testing.assert_close(functional.cosine_similarity(moved, away), torch.ones_like(moved[:, 0]))
    assert moved.mean(0).norm() > 1e-3  # the centroid is another one


@pytest.mark.parametrize("dims", [2, 8])
def test_a_balanced_sphere_has_its_centroid_in_its_centre_so_that_one_step_is_exact(dims):
    free = points(30, dims)
    placed = balanced_sphere(free)
    torch.testing.assert_close(placed.mean(0), free.mean(0))
    away = (placed - placed.mean(0)).norm(dim=1)
    torch.testing.assert_close(away, (free - free.mean(0)).norm(dim=1).mean().expand(30))
    apart = (placed - free).square().sum()
    assert apart < (balanced_sphere(free.flip(0)) - free).square().sum()  # they stay near where they were
    turns = torch.linalg.qr(points(dims, dims)).Q
    torch.testing.assert_close(balanced_sphere(free @ turns), placed @ turns, atol=1e-6, rtol=0)


def test_points_without_direction_and_points_on_a_line_are_refused():
    with pytest.raises(ValueError, match="no direction"):
        on_sphere(torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]))
    with pytest.raises(ValueError, match="more dimensions"):
        balanced_sphere(torch.tensor([[-1.0], [0.4], [2.0]]))


def test_learned_directions_have_one_length_whatever_the_weights_are():
    torch.manual_seed(0)
    task_map = SphereEmbedded(5, 3)
    task_map.embedding.weight.data *= torch.arange(1.0, 6)
    torch.testing.assert_close(task_map(torch.eye(5)).norm(dim=1), torch.ones(5))


@pytest.mark.parametrize("kind", ["closed form", "learned"])
def test_one_step_of_equidistant_columns_is_exact_for_a_hundred_classes(kind):
    x, y = clusters()
    torch.manual_seed(0)
    model = ZOnly(120, equidistant=True).fit(x, y) if kind == "closed form" else EquidistantModel(120).eval()
    model, x = model.double(), x[:40].double()
    loss_fn, z0 = decoder_loss(model, x), max_entropy(40, 100, torch.float64)
    step, exact = one_step(loss_fn, z0).log_q, enumerate_tasks(loss_fn, z0).log_q
    torch.testing.assert_close(step, exact, rtol=0, atol=1e-5)
    assert exact.exp().amax(1).mean() > 0.02  # and not because both say nothing


# Z of two levels, Z embedded


def test_two_level_z_adds_what_the_group_says():
    torch.manual_seed(0)
    model, x = CodeModel(120, task_map=Grouped(GROUP_OF)).eval(), sample("mul")
    both = torch.cat([max_entropy(6, 100), torch.full((6, 20), 1 / 20)], 1).requires_grad_()
    decoder = model.decoder
    model.nll(decoder.body(decoder.join(model.encode(x), both)), x).sum().backward()
    fine, parent = both.grad.split([100, 20], dim=1)
    found = one_step(decoder_loss(model, x), max_entropy(6, 100)).grad
    torch.testing.assert_close(found, fine + parent[:, GROUP_OF], rtol=1e-3, atol=1e-4)


def test_embedded_z_has_the_rank_of_its_embedding():
    torch.manual_seed(0)
    model = CodeModel(120, task_map=Embedded(100, 8)).eval()
    grad = one_step(decoder_loss(model, torch.randn(60, 120)), max_entropy(60, 100)).grad
    assert torch.linalg.matrix_rank(grad, rtol=1e-4) <= 8


# Projections


def test_whitening_leaves_no_correlation():
    x, _ = clusters()
    mean, covariance = moments(x)
    torch.testing.assert_close(covariance.float(), torch.cov(x.T, correction=0), rtol=1e-3, atol=1e-4)
    made = whitening(mean, covariance, 120, floor=0.0)
    torch.testing.assert_close(torch.cov(made(x).T, correction=0), torch.eye(120), rtol=0, atol=5e-3)
    few = whitening(mean, covariance, 10, floor=0.0)
    torch.testing.assert_close(few(x), made(x)[:, :10], rtol=1e-3, atol=1e-3)


def test_moments_of_exact_vectors_far_from_zero_are_centred_before_they_are_rounded():
    x = 1e7 + torch.randn(2000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(moments(x)[1], torch.cov(x.T, correction=0), rtol=1e-4, atol=1e-4)


def test_whitening_of_many_dimensions_finds_the_same_components():
    x = torch.randn(500, 30, generator=torch.Generator().manual_seed(0)) * torch.linspace(3, 1, 30)
    wide = torch.cat([x, torch.zeros(500, 2000)], dim=1)
    narrow, broad = (whitening(*moments(v), 5, floor=0.0)(v) for v in (x, wide))
    torch.testing.assert_close(narrow.abs(), broad.abs(), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("shrink", [0.0, 0.1])
def test_lda_read_by_one_gradient_is_closed_form_lda(shrink):
    """Discriminant analysis by its textbook formula, in all dimensions, against z alone in K - 1 coordinates."""
    x, y = clusters()
    means = class_means(x, y).double()
    within = shrunk(torch.cov((x.double() - means[y]).T, correction=0), shrink)
    weights = torch.linalg.solve(within, means.T).T
    textbook = x.double() @ weights.T - (weights * means).sum(1) / 2
    made = within_classes(x, y, shrink)
    t = made(x)
    assert t.shape[1] == 99
    model = ZOnly(99).fit(t, y)
    loss_fn, z0 = decoder_loss(model, t), max_entropy(len(t), 100)
    found = corrected_one_step(loss_fn, z0, one_step_gap(model.decoder.patterns.detach(), 1.0)).log_q
    torch.testing.assert_close(found, torch.log_softmax(textbook, 1).float(), rtol=1e-3, atol=0.02)


# Patch features


@pytest.fixture(scope="module", name="features")
def fitted_features():
    x = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return PatchFeatures(8, pool=3).fit(functional.avg_pool2d(x, 3, 1, 1), patches=2000)


def test_features_are_what_their_text_says(features, images):
    """Patch by patch, with loops and no shortcut."""
    found = features(images[:2])
    sums = torch.zeros(2, 2, 16, 3, 3)
    for row in range(27):
        for column in range(27):
            patch = images[:2, :, row : row + 6, column : column + 6].flatten(1)
            patch = patch - patch.mean(1, keepdim=True)
            patch = patch / (patch.square().mean(1, keepdim=True) + CONTRAST).sqrt()
            response = patch @ features.filters.flatten(1).T - features.offset
            both = torch.stack([functional.relu(response - 0.25), functional.relu(-response - 0.25)])
            sums[:, :, :, row // 9, column // 9] += both / 81
    one, other = sums.split(8, dim=2)
    expected = (one + other.flip(-1)).transpose(0, 1).flatten(1).sqrt()
    torch.testing.assert_close(found.square(), expected.square(), rtol=1e-3, atol=1e-4)


def test_an_image_and_its_mirror_image_have_the_same_features(features, images):
    torch.testing.assert_close(features(images), features(images.flip(-1)), rtol=1e-3, atol=1e-3)
    assert (features(images) - features(images.flip(-2))).abs().max() > 0.05


def test_features_ignore_contrast_and_take_bytes(features, images):
    torch.testing.assert_close(features(images), features(0.5 * images + 0.2), rtol=2e-2, atol=2e-2)
    bytes_ = (255 * images).round().to(torch.uint8)
    torch.testing.assert_close(features.of(bytes_).float(), features(bytes_ / 255), rtol=1e-2, atol=1e-2)


def test_features_can_be_differentiated(features, images):
    (slope,) = torch.autograd.grad(features(images.requires_grad_()).sum(), images)
    assert slope.isfinite().all()
    assert slope.abs().max() > 0


def test_features_are_drawn_from_the_seed_alone(images):
    one, same, other = (PatchFeatures(4).fit(images, seed=seed, patches=500).filters for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


# The model that is shipped


def test_picture_model_sees_and_draws(images):
    torch.manual_seed(0)
    features = PatchFeatures(8).fit(images, patches=500)
    size = features.size
    projection = Projection.of(torch.randn(size), torch.randn(size, 19))
    picture = PictureModel(8, n_tasks=20).put(features, projection, ZOnly(19, 20)).eval()
    torch.testing.assert_close(picture.see(images), projection(features(images)), rtol=1e-3, atol=1e-3)
    t = torch.randn(200, 19)
    pixels = torch.sigmoid(t @ torch.randn(19, 3))[:, :, None, None].expand(-1, -1, 32, 32)
    drawn = picture.fit_sketch(t, pixels).draw(t)
    assert drawn.shape == (200, 3, 32, 32)
    assert (drawn - pixels).abs().mean() < 0.15


def test_whitening_keeps_the_smallest_variances_from_being_blown_up():
    made = whitening(torch.zeros(2), torch.diag(torch.tensor([3.0, 1.0])), 2, floor=0.5)
    found = sorted(made(torch.eye(2)).abs().amax(0).tolist())
    assert found == pytest.approx([4**-0.5, 2**-0.5], rel=1e-4)


def test_dropout_of_the_encoder_is_what_was_asked_for():
    assert [part.p for part in encoder(4, 8, 2, 0.5) if isinstance(part, torch.nn.Dropout)] == [0.5, 0.5]
