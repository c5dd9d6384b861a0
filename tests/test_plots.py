"""Figures: what is drawn, where, that nothing is told by colour alone, and that seaborn is what draws it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.collections
import matplotlib.colors
import matplotlib.pyplot
import numpy as np
import pytest
import seaborn
import torch

from gbi_helpers import TrainingRecord, plots

ROOT = Path(__file__).parents[1]
DRAW = torch.Generator().manual_seed(0)
SEEDS = {name: torch.rand(10, 5, generator=DRAW) for name in ("LSTM", "GBI", "idle")}
X = [1, 2, 5, 10, 20]
BINS = (torch.tensor([0.1, 0.002, 0.898]), torch.tensor([0.3, 0.6, 0.9]), torch.tensor([0.4, 0.5, 0.8]))
ON_AXES = {
    "bars": lambda ax: plots.bars(ax, [0.2, 0.8]),
    "lines": lambda ax: plots.lines(ax, X, {name: values[0] for name, values in SEEDS.items()}),
    "bands": lambda ax: plots.bands(ax, X, SEEDS),
    "strip": lambda ax: plots.strip(ax, SEEDS),
    "heatmap": lambda ax: plots.heatmap(ax, torch.eye(3), list("abc"), list("xyz")),
    "reliability": lambda ax: plots.reliability(ax, {"one step": BINS, "iterating": BINS}),
    "intervals": lambda ax: plots.intervals(ax, ["a", "b"], [1, 2], [0, 1], [2, 4]),
}
every_function = pytest.mark.parametrize("draw", ON_AXES.values(), ids=ON_AXES)


def test_pictures_bars_and_means_are_drawn_as_they_are(axes):
    x = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    drawn = plots.images(x, ["a"]).axes[0].images[0].get_array()
    assert np.allclose(drawn, x[0]), "the upper row is drawn above"
    plots.bars(axes, [-1.0, 2.0])
    assert [bar.get_height() for bar in axes.patches] == [-1, 2]
    record = TrainingRecord(torch.stack([torch.zeros(8), torch.ones(8)], 1))
    assert plots.training(record).axes[0].lines[0].get_ydata()[0] == pytest.approx(0.5), "the mean over seeds"


@pytest.fixture
def axes():
    return plots.new()[1]


def labelled(ax):
    """The lines that the legend names."""
    return [line for line in ax.lines if not line.get_label().startswith("_")]


def shades(ax):
    return [artist for artist in ax.collections if isinstance(artist, matplotlib.collections.PolyCollection)]


def ends_at(shade, x):
    heights = shade.get_paths()[0].vertices
    heights = heights[heights[:, 0] == x, 1]
    return heights.min(), heights.max()


@every_function
def test_it_draws_on_the_axes_it_is_given_and_on_no_other(draw):
    fig, (left, right) = plots.new(ncols=2)
    draw(left)
    assert len(left.lines) + len(left.collections) + len(left.patches)
    assert not [*right.lines, *right.collections, *right.patches]
    assert matplotlib.pyplot.get_fignums() == []
    assert fig.axes[:2] == [left, right]


@every_function
def test_the_same_picture_comes_out_the_same_byte_for_byte(draw):
    pictures = []
    for state in (1, 2):
        np.random.seed(state)
        fig, ax = plots.new(3, 2)
        draw(ax)
        pictures.append(plots.as_png(fig))
    assert pictures[0] == pictures[1]
    assert pictures[0].startswith(b"\x89PNG")


@every_function
def test_nobody_elses_figures_look_different_afterwards(draw, axes):
    before = dict(matplotlib.rcParams)
    draw(axes)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", ["bands", "lines", "reliability"])
def test_curves_differ_by_more_than_their_colour(name, axes):
    ON_AXES[name](axes)
    curves = labelled(axes)
    assert len({line.get_linestyle() for line in curves}) == len(curves)
    assert len({line.get_color() for line in curves}) == len(curves)
    assert name == "lines" or len({line.get_marker() for line in curves}) == len(curves)


def test_more_curves_than_colours_are_still_told_apart(axes):
    plots.bands(axes, X, {str(k): torch.arange(5.0) + k for k in range(12)})
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in labelled(axes)}
    assert len(looks) == 12


@pytest.mark.parametrize(
    ("error", "low", "high"),
    [
        (("pi", 80), lambda v: v.quantile(0.1), lambda v: v.quantile(0.9)),
        (("pi", 100), torch.amin, torch.amax),
        (("sd", 1), lambda v: v.mean() - v.std(), lambda v: v.mean() + v.std()),
    ],
)
def test_a_band_covers_what_it_says(error, low, high, axes):
    plots.bands(axes, X, SEEDS, error=error)
    for line, shade, values in zip(labelled(axes), shades(axes), SEEDS.values(), strict=True):
        np.testing.assert_allclose(line.get_ydata(), values.mean(0), atol=1e-6)
        assert shade.get_facecolor()[0][:3] == pytest.approx(matplotlib.colors.to_rgb(line.get_color()))
        for k, x in enumerate(X):
            assert ends_at(shade, x) == pytest.approx((float(low(values[:, k])), float(high(values[:, k]))), abs=1e-6)


def test_a_band_may_be_given_as_mean_and_half_width(axes):
    plots.bands(axes, [1, 2], {"a": ([3.0, 4.0], [1.0, 0.5])})
    assert labelled(axes)[0].get_ydata().tolist() == [3, 4]
    assert [ends_at(shades(axes)[0], x) for x in (1, 2)] == [(2, 4), (3.5, 4.5)]


def test_whiskers_stand_where_a_value_is_known(axes):
    plots.bands(axes, [1, 2, 4], {"a": ([3.0, float("nan"), 5.0], [1.0, float("nan"), 2.0])}, whiskers=True)
    bars = [a for a in axes.collections if isinstance(a, matplotlib.collections.LineCollection)]
    assert [segment.tolist() for segment in bars[0].get_segments()] == [[[1, 2], [1, 4]], [[4, 3], [4, 7]]]
    assert shades(axes) == []


def test_a_single_curve_has_no_width_and_without_an_error_there_is_none(axes):
    plots.bands(axes, X, {"one": torch.arange(5.0)})
    assert not shades(axes)[0].get_paths()
    other = plots.new()[1]
    plots.bands(other, X, SEEDS, error=None)
    assert not other.collections


def test_words_on_the_axis_keep_their_order(axes):
    plots.bands(axes, ["1", "2–5", "10", "6"], {"gain": torch.tensor([[4.0, 3, 2, 1], [4, 3, 2, 1]])})
    axes.figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2–5", "10", "6"]
    assert labelled(axes)[0].get_ydata().tolist() == [4, 3, 2, 1]


def test_bands_refuse_an_axis_on_which_the_mean_would_be_another(axes):
    axes.set_yscale("log")
    with pytest.raises(ValueError, match="first"):
        plots.bands(axes, X, SEEDS)


def test_the_legend_names_every_curve_or_is_left_out(axes):
    plots.bands(axes, X, SEEDS)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(SEEDS)
    other = plots.new()[1]
    plots.bands(other, X, SEEDS, legend=False)
    assert other.get_legend() is None


def test_a_strip_shows_every_seed_and_the_mean(axes):
    groups = {"LSTM": torch.tensor([1.0, 2, 6]), "GBI": torch.tensor([4.0, 4, 4, 8])}
    plots.strip(axes, groups, error=("pi", 100))
    assert [label.get_text() for label in axes.get_yticklabels()] == list(groups)
    assert axes.yaxis_inverted()  # the first on top
    drawn = [artist.get_offsets() for artist in axes.collections]
    for row, (ticks, values) in enumerate(zip(drawn, groups.values(), strict=True)):
        assert sorted(ticks[:, 0]) == values.tolist()
        assert set(ticks[:, 1]) == {row}
    means, *bars = axes.lines
    assert means.get_xdata().tolist() == [3, 5]
    assert [(min(bar.get_xdata()), max(bar.get_xdata())) for bar in bars] == [(1, 6), (4, 8)]


def test_a_heat_map_has_labels_and_values_on_few_cells_and_a_scale_on_many(axes):
    plots.heatmap(axes, [[0.0, 1.25], [2.5, 3.0]], ["a", "b"], ["x", "y"])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y"]
    assert [text.get_text() for text in axes.texts] == ["0.0", "1.2", "2.5", "3.0"]
    fig, many = plots.new()
    plots.heatmap(many, torch.rand(20, 20, generator=DRAW), False, False)
    assert not many.texts
    assert len(fig.axes) == 2


def test_cells_of_a_heat_map_get_a_frame(axes):
    plots.heatmap(axes, torch.zeros(2, 3), framed=[[False, False, True], [True, False, False]])
    corners = [patch.get_xy() for patch in axes.patches]
    assert [(int(x), int(y)) for x, y in corners] == [(2, 0), (0, 1)]
    with pytest.raises(ValueError, match="framed has the shape"):
        plots.heatmap(axes, torch.zeros(2, 3), framed=[[True]])


def test_heat_maps_that_share_an_axis_all_have_their_first_row_on_top():
    for ax in (both := plots.new(ncols=2, sharey=True)[1]):
        plots.heatmap(ax, torch.eye(3))
    assert [ax.get_ylim() for ax in both] == [(3, 0), (3, 0)]


def test_reliability_leaves_out_what_hardly_happens(axes):
    plots.reliability(axes, {"one step": BINS})
    diagonal, curve = axes.lines
    assert (diagonal.get_xdata().tolist(), diagonal.get_ydata().tolist()) == ([0, 1], [0, 1])
    np.testing.assert_allclose([curve.get_xdata(), curve.get_ydata()], [[0.3, 0.9], [0.4, 0.8]], atol=1e-6)


def test_intervals_reach_from_low_to_high_first_on_top(axes):
    plots.intervals(axes, ["a", "b"], [1, 2], [0, 1], [2, 4])
    segments = [segment.tolist() for segment in axes.collections[0].get_segments()]
    assert segments == [[[0, 1], [2, 1]], [[1, 0], [4, 0]]]
    assert dict(zip(["a", "b"], [1, 0], strict=True)) == {
        label.get_text(): at for label, at in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
    }


def test_the_marked_bar_is_hatched_and_has_its_value(axes):
    plots.bars(axes, [0.25, 0.75], ["low", "high"], mark=1)
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [False, True]
    assert [text.get_text() for text in axes.texts if text.get_text()] == ["0.75"]


def test_images_stand_under_their_titles_in_rows():
    fig = plots.images(torch.rand(5, 4, 4, generator=DRAW), list("abcde"), columns=3)
    assert [ax.get_title() for ax in fig.axes] == ["a", "b", "c", "d", "e", ""]
    assert [len(ax.images) for ax in fig.axes] == [1, 1, 1, 1, 1, 0]
    assert fig.axes[0].images[0].get_clim() == (0, 1)


@pytest.mark.parametrize(("pictures", "titles"), [(5, ["a", "b"]), (1, []), (1, ["a", "b"]), (0, [])])
def test_every_image_needs_its_title(pictures, titles):
    with pytest.raises(ValueError, match=f"{pictures} pictures and {len(titles)} titles: give one for each"):
        plots.images(torch.rand(pictures, 4, 4), titles)


def test_a_training_of_no_steps_is_not_drawn():
    with pytest.raises(ValueError, match="no step to draw"):
        plots.training(TrainingRecord(loss=torch.zeros(0), facts={}))


def test_a_training_curve_is_the_mean_over_some_steps():
    fig = plots.training(TrainingRecord(loss=torch.arange(100.0), facts={}), smooth=10)
    assert fig.axes[0].lines[0].get_xydata()[0].tolist() == pytest.approx([10, 4.5])


@pytest.mark.parametrize("alt", ["", "a figure", "   \n  "])
def test_a_figure_without_an_alt_text_is_not_shown(alt):
    with pytest.raises(ValueError, match="alt text"):
        plots.show(plots.new()[0], alt)


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, one bundle after the other."""
    bundles = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: bundles.append(bundle))
    return bundles


def test_a_figure_speaks_in_html_and_in_text(shown):
    plots.show(plots.new()[0], 'Two curves "low" & <high> cross')
    assert 'alt="Two curves &quot;low&quot; &amp; &lt;high&gt; cross"' in shown[0]["text/html"]
    assert shown[0]["text/plain"] == 'Figure: Two curves "low" & <high> cross'


def test_a_table_is_html_with_headers_and_aligned_text(shown):
    plots.table(["network", "%"], [["LSTM", "9.5"], ["<GBI>", "12"]], "Accuracy & more")
    assert shown[0]["text/plain"].splitlines() == ["Accuracy & more", "network  %", "LSTM     9.5", "<GBI>    12"]
    assert "Accuracy &amp; more</caption>" in shown[0]["text/html"]
    assert shown[0]["text/html"].count('scope="col"') == 2
    assert '<th scope="row" style="text-align:left;font-weight:normal">&lt;GBI&gt;</th>' in shown[0]["text/html"]


def test_a_folded_table_shows_its_caption_alone(shown):
    plots.table(["network", "%"], [["LSTM", "9.5"]], "Accuracy & more", folded=True)
    markup = shown[0]["text/html"]
    assert markup.startswith("<details><summary>Table: Accuracy &amp; more</summary><table>")
    assert markup.endswith("</table></details>")
    assert "LSTM     9.5" in shown[0]["text/plain"]


@pytest.mark.parametrize("name", ["bands", "reliability", "strip", "heatmap"])
def test_seaborn_is_what_draws(name, axes, monkeypatch):
    calls = []
    for drawer in ("lineplot", "stripplot", "pointplot", "heatmap"):
        plain = getattr(seaborn, drawer)
        monkeypatch.setattr(seaborn, drawer, lambda *a, _draw=plain, **k: calls.append(k["ax"]) or _draw(*a, **k))
    ON_AXES[name](axes)
    assert set(calls) == {axes}


def test_seaborn_is_imported_when_it_draws_not_before():
    program = "import sys; import gbi_helpers.plots; print('seaborn' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False False", done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_notebook_draws_its_own_bands_bars_or_heat_maps(path):
    """Only a step of one value, such as the true context, may be filled by hand."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert not re.findall(r"fill_between\((?!.*step=).*|.*errorbar\(.*|.*imshow\(.*|.*pcolormesh\(.*", source)
