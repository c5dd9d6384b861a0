from __future__ import annotations

import math

import pytest
import torch

from gbi_helpers import files, metrics
from gbi_helpers.data import DataError, ImageData, Images, load_asset, load_cifar100
from gbi_helpers.data.standin import render_standin
from gbi_helpers.experiments.cifar import (
    live as cifar_live,
)
from gbi_helpers.experiments.cifar import (
    prices as cifar_cost,
)
from gbi_helpers.experiments.cifar import (
    recipes as cifar_recipes,
)
from gbi_helpers.experiments.cifar import (
    study as cifar,
)
from gbi_helpers.experiments.cifar.measure import Labels, confusions, measure
from gbi_helpers.experiments.cifar.rows import LADDER, ROWS
from gbi_helpers.experiments.cifar.tables import load_cifar_results, load_confusions, sampling_error
from gbi_helpers.experiments.cifar.views import Study, View

GROUP_OF = tuple(k // 5 for k in range(100))
SMALL = {
    "features": {"n_filters": 16, "pool": 2, "stride": 3},
    "feature_pca": {"out": 32},
    "pixel_pca": {"out": 32},
}
QUICK = {"epochs": 1, "batch_size": 50}


def coloured(n, seed):
    """Noisy pictures whose colours name their class, a hundred classes by turns."""
    draw = torch.Generator().manual_seed(seed)
    palette = torch.randint(40, 216, (100, 3, 2), generator=torch.Generator().manual_seed(0))
    y = torch.arange(n) % 100
    x = palette[y].permute(0, 2, 1).repeat_interleave(16, 1)[:, :, None].expand(-1, -1, 32, -1).float()
    return Images((x + 25 * torch.randn(x.shape, generator=draw)).clamp(0, 255).to(torch.uint8), y)


@pytest.fixture(scope="module", name="small")
def a_little_set():
    names = tuple(f"class {k}" for k in range(100))
    parts = coloured(400, 1), coloured(100, 2), coloured(100, 3)
    return ImageData("Colours", "made up", *parts, names, tuple(f"group {g}" for g in range(20)), GROUP_OF)


@pytest.fixture(scope="module", name="work")
def a_work_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


# The rows, their run and its resume


@pytest.mark.parametrize("row", ROWS)
def test_every_row_runs_and_gives_finite_numbers(work, small, row):
    found = cifar.run([0], [row], data=small, work=work, views=SMALL, changes=QUICK)[row]["0"]
    assert all(math.isfinite(value) for value in found.values())
    if ROWS[row].classifier:
        assert found["accuracy_forwards"] == 1
    else:
        assert (found["one_step_forwards"], found["one_step_backwards"]) == (1, 1)
        assert (found["likelihood_forwards"], found["iterative_forwards"]) == (100, 51)
    assert found["superclass"] >= found.get("one_step", 0)


def test_an_interrupted_run_goes_on_and_repeats_nothing(tmp_path, small, stopping):
    keep, done = stopping("best_softmax", 1)
    options = {"data": small, "work": tmp_path, "views": SMALL, "changes": QUICK}
    with pytest.raises(KeyboardInterrupt):
        cifar.run([0, 1], ["class_mean", "best_softmax"], keep=keep, **options)
    rows = cifar.run([0, 1], ["class_mean", "best_softmax"], keep=lambda *a: done.append(a[:2]), **options)
    assert done == [("class_mean", 0), ("best_softmax", 0), ("best_softmax", 1)]
    assert {name: set(seeds) for name, seeds in rows.items()} == {"class_mean": {"0"}, "best_softmax": {"0", "1"}}
    other = {**options, "changes": {"epochs": 2, "batch_size": 50}}
    cifar.run([0], ["best_softmax"], keep=lambda *a: done.append("again"), **other)
    assert done[-1] == "again"  # other settings: nothing of the earlier run is taken over


def test_closed_form_rows_do_well_where_colours_tell(work, small):
    rows = cifar.run([0], ["class_mean", "whitened"], data=small, work=work, views=SMALL, changes=None)
    assert rows["class_mean"]["0"]["likelihood"] > 80
    assert rows["class_mean"]["0"]["one_step"] < rows["class_mean"]["0"]["likelihood"]
    for row in rows.values():  # linear in z: the gap is the same for every image, and putting it back is exact
        assert row["0"]["one_step_delta"] == pytest.approx(row["0"]["likelihood"], abs=1e-6)


def test_reproduce_says_how_to_get_the_real_set(monkeypatch, small):
    monkeypatch.setattr(cifar, "load_cifar100", lambda size: small)
    with pytest.raises(DataError, match="get it with 'gbi data get cifar-100'"):
        cifar.reproduce(1)


def test_reproduce_writes_record_and_confusions(monkeypatch, tmp_path, small):
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(cifar, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(cifar.cifar_cost, "prices", list)
    (tmp_path / "assets").mkdir()
    path = cifar.reproduce(1, data=small, rows=["class_mean", "best"], changes=QUICK, views=SMALL)
    results = load_cifar_results(path)
    assert [row.name for row in results.ladder()] == ["class_mean"]
    assert results.facts["splits"] == {"train": 400, "validation": 100, "test": 100}
    counts = load_confusions(tmp_path / "assets" / "records" / "cifar100_confusions.npz").counts
    assert int(counts.sum()) == 100
    assert float(counts.diagonal().sum()) == pytest.approx(results.values("best", "one_step")[0])


# What is measured


def test_measure_tells_one_step_from_likelihood(small):
    """Of equidistant columns both say the same; of others they do not, and a fitted bias helps."""
    study = Study(small, work=None, settings=SMALL)
    view, labels = study.view("pixels"), Labels(*study.labels(), torch.tensor(GROUP_OF))
    held = measure(cifar_recipes.ZOnly(768, equidistant=True).fit(view.train, labels.train), view, labels)
    free = measure(cifar_recipes.ZOnly(768).fit(view.train, labels.train), view, labels, bias=True)
    assert held["agreement_likelihood"] == 100
    assert free["agreement_likelihood"] < 95
    assert free["one_step_bias"] > free["one_step"]
    assert free["one_step_delta"] == free["likelihood"]


def test_confusions_are_counted_in_the_order_asked_for():
    counts = confusions(torch.tensor([1, 1, 0, 2]), torch.tensor([0, 1, 0, 2]), order=[2, 0, 1])
    assert counts.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


def test_groups_right_counts_a_mistake_within_the_group():
    labels = Labels(*(torch.tensor([0, 1, 2]),) * 3, group_of=torch.tensor([0, 0, 1]))
    assert labels.groups_right(torch.tensor([1, 2, 2])) == pytest.approx(200 / 3)


def test_sampling_error_is_that_of_a_binomial():
    assert sampling_error(50, 10_000) == pytest.approx(0.98, abs=0.01)


# What it costs


@pytest.mark.parametrize("n_tasks", [10, 100])
def test_one_step_is_one_pass_each_way_whatever_the_number_of_classes(n_tasks):
    assert cifar_cost.passes(n_tasks) == {"forwards": 1, "backwards": 1, "all_forwards": n_tasks}


def test_prices_grow_with_the_layer_of_z_alone():
    few, many = cifar_cost.prices((10, 1000), batch=4, repetitions=5)
    assert many["z_parameters"] == 100 * few["z_parameters"]
    assert many["all_over_step"] > 5 * few["all_over_step"]
    assert many["step_ms"] < 30 * few["step_ms"]


# Details of the recipes


def test_varied_moves_and_mirrors_whole_images():
    x = torch.zeros(200, 3, 32, 32)
    x[:, :, 10, 12] = 1
    torch.manual_seed(0)
    moved = cifar_recipes.varied(x)[:, 0, 2:-2, 2:-2]
    places = {(int(p) // 28 + 2, int(p) % 28 + 2) for p in moved.flatten(1).argmax(1)}
    rows, columns = {row for row, _ in places}, {column for _, column in places}
    assert rows == set(range(8, 13))
    assert columns == set(range(10, 15)) | set(range(17, 22))


@pytest.mark.parametrize("row", ["best", "best_classifier", "equidistant_learned", "conv_ga"])
def test_recipes_return_models_that_drop_nothing_at_test(small, row):
    x, y = torch.randn(100, 16), torch.arange(100)
    seen = small.train.x[:100].permute(0, 3, 1, 2) if ROWS[row].view == "images" else x
    model, _ = ROWS[row].recipe(seen, y, seed=0, **(ROWS[row].options | QUICK))
    assert not model.training


# Every family learns from scratch, so that stored weights cannot hide a broken loop


@pytest.fixture(scope="module", name="clusters")
def vectors_of_a_hundred_classes():
    draw = torch.Generator().manual_seed(0)
    means = torch.randn(100, 64, generator=draw)
    y = torch.arange(4000) % 100
    x = means[y] + torch.randn(4000, 64, generator=draw)
    return View(x[:3000], x[3000:3500], x[3500:]), Labels(y[:3000], y[3000:3500], y[3500:], torch.tensor(GROUP_OF))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "options", "at_least"),
    [
        (cifar_recipes.train_code, {"conditioning": "concat", "latent": 4, "width": 128}, 30),
        (cifar_recipes.train_code, {"conditioning": "concat", "weight": 30.0}, 60),
        (cifar_recipes.train_code, {"conditioning": "mul", "weight": 30.0}, 60),
        (cifar_recipes.train_linear, {}, 70),
        (cifar_recipes.train_equidistant, {}, 60),
    ],
)
def test_models_of_vectors_learn(recipe, options, at_least, clusters):
    view, labels = clusters
    model, record = recipe(view.train, labels.train, seed=0, epochs=10, batch_size=64, **options)
    assert record.loss[-20:].mean() < record.loss[:20].mean()
    assert measure(model, view, labels)["one_step"] >= at_least


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.0, 50.0])
def test_convolutions_learn(small, weight):
    x, y = small.train.x.permute(0, 3, 1, 2), small.train.y
    _, record = cifar_recipes.train_images(x, y, epochs=6, batch_size=50, weight=weight)
    assert record.loss[-5:].mean() < 0.8 * record.loss[:5].mean()


# What is shipped


def test_shipped_record_holds_every_row_and_its_facts():
    results = load_cifar_results()
    assert set(results.rows) == set(ROWS)
    assert [row.name for row in results.ladder()] == list(LADDER)
    assert {"command", "commit", "versions", "device", "minutes", "data", "sha256_of_images"} <= results.facts.keys()
    assert results.facts["splits"] == {"train": 45_000, "validation": 5_000, "test": 8_000}
    assert all(row.half_width > 0.3 for row in [*results.ladder(), *results.lifts(), *results.best()])
    with pytest.raises(KeyError, match="choose one of"):
        results.values("best", "accuracy of things")


def test_shipped_record_tells_the_story():
    results = load_cifar_results()
    assert results.values("class_mean", "likelihood")[0] == pytest.approx(10.0, abs=0.2)
    assert results.values("lda_pixels", "likelihood")[0] == pytest.approx(17.9, abs=0.3)
    assert results.summary("unet", "one_step").mean < 5
    assert results.summary("pixels_ga", "one_step").mean >= 20.5
    assert results.values("equidistant", "agreement_likelihood")[0] >= 99.9
    best = results.row("best")
    assert best.accuracy.mean - best.half_width >= 49
    assert best.accuracy.n >= 3


def test_shipped_prices_are_of_one_pass_each_way():
    prices = load_cifar_results().prices
    assert [row["classes"] for row in prices] == list(cifar_cost.CLASSES)
    assert {(row["forwards"], row["backwards"]) for row in prices} == {(1, 1)}
    assert [row["all_forwards"] for row in prices] == list(cifar_cost.CLASSES)
    assert prices[-1]["all_over_step"] > 1000


def test_shipped_confusions_belong_to_the_record():
    confusion = load_confusions()
    results = load_cifar_results()
    right = 100 * float(confusion.counts.diagonal().sum() / confusion.counts.sum())
    assert right == pytest.approx(results.values("best", "one_step")[0], abs=0.01)
    assert len(set(confusion.groups)) == 20
    assert list(confusion.groups) == sorted(confusion.groups, key=confusion.groups.index)


def test_shipped_picture_models_are_small():
    sizes = [load_asset(f"checkpoints/{name}.safetensors").stat().st_size for name in cifar_live.FILES.values()]
    assert max(sizes) < 5_000_000
    assert sum(sizes) < 12_000_000


def test_shipped_model_of_the_standin_gives_the_recorded_accuracy():
    picture, facts = cifar_live.load_picture_model("Glyphs-100")
    x, y = render_standin(600, seed=7)  # pictures it has not seen
    images = Images(torch.from_numpy(x), torch.from_numpy(y))
    found = metrics.accuracy(cifar_live.picture_one_step(picture, images.pixels()).task, images.y)
    assert found == pytest.approx(facts["metrics"]["one_step"], abs=7)  # 600 pictures: 95 % within 4


def test_picture_trajectory_has_a_colour_frame_for_each_step():
    picture, _ = cifar_live.load_picture_model("Glyphs-100")
    x = Images(*map(torch.from_numpy, render_standin(4, seed=7))).pixels()
    path = cifar_live.picture_trajectory(picture, x, steps=5)
    assert path.frames.shape == (6, 4, 3, 32, 32)
    assert torch.equal(path.target, x)
    assert 0 <= path.frames.min() <= path.frames.max() <= 1
    assert (path.loss[-1] < path.loss[0]).all()
    assert (path.frames[0] - path.frames[-1]).abs().max() > 0.01  # what is drawn changes with z
    torch.testing.assert_close(path.q.sum(-1), torch.ones(6, 4))
    with pytest.raises(ValueError, match="choose one of"):
        cifar_live.load_picture_model("CIFAR-10")


# On the real set


@pytest.fixture(scope="module", name="real")
def the_real_study(tmp_path_factory):
    return Study(load_cifar100("full"), tmp_path_factory.mktemp("real"))


def real_labels(study):
    return Labels(*study.labels(), torch.tensor(study.data.group_of))


@pytest.mark.realdata
@pytest.mark.parametrize(("row", "expected", "within"), [("class_mean", 10.0, 0.2), ("lda_pixels", 17.9, 0.3)])
def test_where_the_papers_numbers_sit(real, row, expected, within):
    """Closed form, so exact: with the gap put back, one step is the full score of every class."""
    everything = real.joined()  # all 50,000 images, as in the record
    view, labels = everything.view(ROWS[row].view), real_labels(everything)
    model, _ = ROWS[row].recipe(view.train, labels.train)
    score = cifar.scores(model, view.test)
    found = metrics.accuracy((score + cifar.gap(model, view.train[:50])).argmax(1), labels.test)
    assert found == pytest.approx(expected, abs=within)
    assert metrics.accuracy(score.argmax(1), labels.test) < found - 2


@pytest.mark.realdata
@pytest.mark.slow
def test_gradient_aware_on_pixels_from_scratch(real):
    view, labels, row = real.view("pixels"), real_labels(real), ROWS["pixels_ga"]
    model, _ = row.recipe(view.train, labels.train, seed=0, **{**row.options, "epochs": 3})
    assert metrics.accuracy(cifar.scores(model, view.test).argmax(1), labels.test) >= 19
