"""Embeddings in few dimensions: the scores are those of the package, and what a common length brings."""

from __future__ import annotations

import pytest
import torch

from gbi_helpers.experiments.questions import embeddings, learned
from gbi_helpers.experiments.results import plain
from gbi_helpers.inference import enumerate_tasks, max_entropy, one_step
from gbi_helpers.metrics import accuracy
from gbi_helpers.models.base import gaussian_nll
from gbi_helpers.models.hundred import on_sphere
from gbi_helpers.starts import exact_start

F64 = torch.float64
ROWS, SMALL = {**embeddings.ROWS, **learned.ROWS}, {**embeddings.SMALL, **learned.SMALL}


@pytest.fixture(name="found", scope="module", params=embeddings.ROWS)
def measured(request, world):
    row = embeddings.ROWS[request.param]
    return plain(row.measure(world, 0, {**row.settings, **SMALL[request.param]}))


def test_settings_of_the_small_rows_are_settings_of_the_rows():
    for name, changes in SMALL.items():
        assert {*changes} <= {*ROWS[name].settings}


def test_where_lengths_are_equal_from_the_start_one_step_is_all_passes(found):
    for way in ("centre", "balanced"):
        assert found[way]["agreement"] == found[way]["visible"] == [100, 100, 100]
    assert found["equidistant"]["agreement"] == 100
    assert min(found["free"]["agreement"]) < 60


def test_on_a_sphere_whose_centre_is_not_the_centroid_some_tasks_stay_hidden_in_few_dimensions(found):
    assert found["sphere"]["visible"] == found["centred"]["visible"]  # it is the lengths around the start that count
    assert found["sphere"]["visible"][0] < 70
    assert found["sphere"]["visible"][-1] > 95
    assert found["centre"]["off_centre"][0] > 0.01
    assert found["sphere"]["passes"] == found["centre"]["passes"]


def problem(n_tasks=12, dims=4):
    draw = torch.Generator().manual_seed(0)
    patterns = torch.randn(n_tasks, dims, generator=draw, dtype=F64) * 2
    y = torch.arange(600) % n_tasks
    return patterns, patterns[y] + torch.randn(600, dims, generator=draw, dtype=F64), y


@pytest.mark.parametrize("way", embeddings.WAYS)
def test_scores_are_those_of_the_package(way):
    patterns, x, y = problem()
    patterns = embeddings.WAYS[way](patterns)
    found = embeddings.read(x, y, patterns)
    loss, z0 = (lambda z: gaussian_nll(z @ patterns, x)), max_entropy(600, 12, F64)
    assert found["one_step"] == accuracy(one_step(loss, z0).task, y)
    assert found["passes"] == accuracy(enumerate_tasks(loss, z0).task, y)


def test_from_a_start_of_ones_own_too():
    patterns, x, y = problem()
    sphere = on_sphere(patterns)
    start = exact_start(sphere)
    step = one_step(lambda z: gaussian_nll(z @ sphere, x), start.expand(600, -1), space="free")
    assert embeddings.read(x, y, sphere, start)["one_step"] == accuracy(step.task, y)


def test_equal_lengths_help_one_step_where_free_ones_hide_tasks():
    patterns, x, y = problem(n_tasks=40, dims=5)
    free, sphere = (embeddings.read(x, y, way(patterns)) for way in (embeddings.WAYS["free"], on_sphere))
    assert sphere["one_step"] > free["one_step"] + 10
    assert sphere["spread"] < free["spread"] / 5


def test_learned_embeddings_are_told_of_by_dimension(world):
    row = learned.ROWS["embeddings/learned"]
    found = plain(row.measure(world, 0, {**row.settings, **SMALL["embeddings/learned"]}))
    assert {*found} == {"free_4", "sphere_4"}
    assert found["free_4"]["spread"] != found["sphere_4"]["spread"]
